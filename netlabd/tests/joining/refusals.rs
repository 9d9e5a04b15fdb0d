// SPDX-License-Identifier: GPL-3.0-or-later
//! Joins that fail: at once, and with an error that names the cure.

use netlab_api::Time;
use netlabd::trust::wire::JoinRequest;
use netlabd::trust::{JoinError, Token, join};
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{Machine, Server, in_netns, stranger};

/// The whole of what `netlabd --join` prints.
fn told(error: JoinError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

#[test]
fn each_thing_that_is_wrong_is_told_with_its_cure() {
    in_netns(|| async {
        let (server, other) = (Server::new().await, Server::new().await);
        let token = server.token().await;
        let try_join = async |node: &str, token: Option<Token>| {
            let machine = Machine::new();
            let options = machine.options(server.address, node, token);
            told(join(&options).await.err().expect("refused"))
        };
        let text = token.to_string();
        let damaged = format!("{}zz", &text[..text.len() - 2]).parse().expect("a token's form");
        let text = try_join("n2", Some(damaged)).await;
        assert!(text.contains(token.id()) && text.contains("is wrong"), "{text}");
        assert!(text.contains("netlabctl node token"), "{text}");

        let text = try_join("n2", Some(other.token().await)).await;
        let (ours, theirs) =
            (server.membership.authority().hash(), other.membership.authority().hash());
        assert!(text.contains(&format!("has CA hash {ours}")), "{text}");
        assert!(text.contains(&format!("the token says {theirs}")), "{text}");
        assert!(text.contains("another cluster"), "{text}");

        let text = try_join("n2", None).await;
        assert!(text.contains("no token") && text.contains("netlabctl node token"), "{text}");

        let text = try_join("n1", Some(token.clone())).await;
        assert!(text.contains("server's own node") && text.contains("--node-name"), "{text}");

        let first = Machine::new();
        join(&first.options(server.address, "n2", Some(token.clone()))).await.expect("joins");
        let text = try_join("n2", Some(token.clone())).await;
        assert!(text.contains("netlabctl delete node n2"), "{text}");

        let renamed = join(&first.options(server.address, "n3", None)).await.err();
        let text = told(renamed.expect("refused"));
        assert!(text.contains("joined as `n2`") && text.contains("n3"), "{text}");
        let elsewhere = first.options(other.address, "n2", Some(other.token().await));
        let text = told(join(&elsewhere).await.err().expect("refused"));
        assert!(text.contains(&ours.to_string()) && text.contains(&theirs.to_string()), "{text}");

        server.control.remove_token(token.id()).await.expect("revoked");
        let text = try_join("n4", Some(token)).await;
        assert!(text.contains("revoked"), "{text}");
    });
}

#[test]
fn a_server_does_not_join_another() {
    in_netns(|| async {
        let (server, other) = (Server::new().await, Server::new().await);
        let token = server.token().await;
        let address = server.address;
        let (_, state) = other.stop().await;
        let options = netlabd::trust::JoinOptions {
            state_dir: state.path().to_owned(),
            server: address.to_string().parse().expect("an address"),
            token: Some(token),
            node: "n2".to_owned(),
        };
        let text = told(join(&options).await.err().expect("refused"));
        assert!(text.contains("is a server itself") && text.contains("teardown"), "{text}");
    });
}

#[test]
fn a_machine_whose_clock_is_off_hears_both_clocks() {
    in_netns(|| async {
        let server = Server::new().await;
        let key = KeyPair::generate().expect("a key");
        let request = CertificateParams::default().serialize_request(&key).expect("a request");
        let clock: Time = "2001-02-03T04:05:06Z".parse::<jiff::Timestamp>().expect("valid").into();
        let wish = JoinRequest {
            token: server.token().await.to_string(),
            node: "n2".to_owned(),
            request: request.pem().expect("PEM"),
            clock,
        };
        let body = serde_json::to_string(&wish).expect("plain data");
        let mut tls = stranger(&server, None).await.expect("anybody may ask");
        let head = "POST /v1/join HTTP/1.1\r\nhost: n\r\ncontent-type: application/json\r\n";
        let sent = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        tls.write_all(sent.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        let _ = tls.read_to_string(&mut answer).await;
        let year = Time::now().to_string()[..4].to_owned();
        assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
        assert!(answer.contains("node's says 2001-02-03T04:05:06Z"), "{answer}");
        assert!(answer.contains(&format!("server's {year}-")), "{answer}");
        assert!(server.control.member("n2").await.expect("readable").is_none());
    });
}
