// SPDX-License-Identifier: GPL-3.0-or-later
//! Machines that are let in, and what becomes of them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use netlab_api::Reason;
use netlabd::trust::client::CallError;
use netlabd::trust::{ConnectError, Connector, join, renewal};

use crate::lab::{DEADLINE, Machine, Server, in_netns, version, within};

async fn get(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> hyper::Result<u16> {
    let request = Request::get(path).header("host", "netlab").body(Empty::new()).expect("valid");
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    response.into_body().collect().await?;
    Ok(status)
}

#[test]
fn a_machine_joins_once_and_needs_neither_token_nor_server_to_start_again() {
    in_netns(|| async {
        let server = Server::new().await;
        let machine = Machine::new();
        let token = server.token().await;
        let started = Instant::now();
        let options = machine.options(server.address, "n2", Some(token.clone()));
        let joined = join(&options).await.expect("joins");
        let took = started.elapsed();
        assert_eq!((joined.node.as_str(), joined.server.as_str()), ("n2", "n1"));
        assert_eq!(&joined.cluster, server.control.config());
        assert_eq!(version(&joined.connector).await.expect("the whole API").node, "n1");
        let started = Instant::now();
        version(&joined.connector).await.expect("again");
        println!("measured: join {took:?}, connection and request {:?}", started.elapsed());
        let tcp = joined.connector.connect().await.expect("a connection");
        assert_eq!(tcp.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        drop(tcp);
        // Tokens stand in configuration files long after their end.
        server.control.remove_token(token.id()).await.expect("revoked");
        let again = join(&options).await.expect("with a token of no use");
        version(&again.connector).await.expect("still a member");
        let (address, state) = server.stop().await;
        let alone = join(&machine.options(address, "n2", None)).await.expect("without a server");
        assert_eq!(alone.cluster, joined.cluster);
        let error = version(&alone.connector).await.expect_err("nobody there");
        assert!(error.is_transient(), "{error}");
        let _server = Server::at(address, state, Duration::from_secs(3600)).await;
        version(&alone.connector).await.expect("the same authority after a restart");
    });
}

#[test]
fn a_server_that_comes_later_is_waited_for() {
    in_netns(|| async {
        let server = Server::new().await;
        let token = server.token().await;
        let (address, state) = server.stop().await;
        let machine = Machine::new();
        let options = machine.options(address, "n2", Some(token));
        let joining = tokio::spawn(async move { join(&options).await });
        // It listens, and says nothing: the machine has asked when this connection is there.
        let listener = tokio::net::TcpListener::bind(address).await.expect("the port is free");
        drop(listener.accept().await.expect("the machine asks"));
        drop(listener);
        assert!(!joining.is_finished());
        let server = Server::at(address, state, Duration::from_secs(3600)).await;
        within(joining).await.expect("no panic").expect("joins");
        assert!(server.control.member("n2").await.expect("readable").is_some());
    });
}

#[test]
fn certificates_are_renewed_in_time_and_no_connection_notices() {
    in_netns(|| async {
        let server = Server::with_lifetime(Duration::from_secs(6)).await;
        let machine = Machine::new();
        let token = server.token().await;
        let options = machine.options(server.address, "n2", Some(token));
        let joined = join(&options).await.expect("joins");
        let connector = joined.connector.clone();
        let before = connector.identity().facts();
        let server_before = server.membership.authority().server().facts();
        let mut open = connector.http().await.expect("a connection");
        assert_eq!(get(&mut open, "/v1/version").await.expect("answered"), 200);
        let state_dir = machine.state_dir();
        let keeping = {
            let connector = connector.clone();
            tokio::spawn(async move { renewal::keep(&connector, "n2", &state_dir).await })
        };
        let deadline = Instant::now() + DEADLINE;
        let renewed = loop {
            let facts = connector.identity().facts();
            let server = server.membership.authority().server().facts();
            // Until what both began with has ended.
            if facts.not_after > before.not_after
                && server.not_after > server_before.not_after
                && netlab_api::Time::now() > before.not_after.max(server_before.not_after)
            {
                break facts;
            }
            assert!(Instant::now() < deadline, "not renewed: {facts:?}, {server:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(renewed.key, before.key);
        assert_eq!(get(&mut open, "/v1/version").await.expect("the old connection lives"), 200);
        version(&connector).await.expect("new connections too");
        let again = join(&machine.options(server.address, "n2", None)).await.expect("from disk");
        assert!(again.connector.identity().facts().not_after > before.not_after);
        keeping.abort();
    });
}

#[test]
fn a_node_that_is_cast_out_loses_its_connections_and_gets_no_others() {
    in_netns(|| async {
        let server = Server::new().await;
        let machine = Machine::new();
        let options = machine.options(server.address, "n2", Some(server.token().await));
        let joined = join(&options).await.expect("joins");
        let mut open = joined.connector.http().await.expect("a connection");
        assert_eq!(get(&mut open, "/v1/version").await.expect("answered"), 200);
        server.control.expel("n2").await.expect("written");
        let deadline = Instant::now() + DEADLINE;
        while !open.is_closed() {
            assert!(Instant::now() < deadline, "the connection lives on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let error = version(&joined.connector).await.expect_err("refused");
        let CallError::Refused { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.reason, Reason::Forbidden);
        assert!(source.message.contains("n2") && source.message.contains("deleted"), "{source}");
        assert!(!error.is_transient());
    });
}

#[test]
fn a_node_may_renew_its_own_certificate_and_no_other() {
    in_netns(|| async {
        let server = Server::new().await;
        let machine = Machine::new();
        let options = machine.options(server.address, "n2", Some(server.token().await));
        let joined = join(&options).await.expect("joins");
        let error = renewal::renew(&joined.connector, "n3", &machine.state_dir())
            .await
            .expect_err("another node's");
        assert!(format!("{error:?}").contains("only node `n3` itself"), "{error:?}");
        renewal::renew(&joined.connector, "n2", &machine.state_dir()).await.expect("its own");
    });
}

#[test]
fn a_node_takes_no_other_cluster_s_server() {
    in_netns(|| async {
        let (ours, other) = (Server::new().await, Server::new().await);
        let machine = Machine::new();
        let options = machine.options(ours.address, "n2", Some(ours.token().await));
        join(&options).await.expect("joins");
        let moved = machine.options(other.address, "n2", None);
        let moved = join(&moved).await.expect("from disk");
        let error = moved.connector.connect().await.expect_err("another authority");
        assert!(matches!(error, ConnectError::Untrusted { .. }), "{error:?}");
        // Another node of the cluster cannot pose as the server either: it lacks its name.
        let node = machine.state_dir().join("pki");
        let read = |name: &str| std::fs::read_to_string(node.join(name)).expect("readable");
        let posing =
            netlabd::trust::Identity::new(&read("node.crt"), &read("node.key"), &read("ca.crt"));
        let authority = ours.membership.authority().certificate_der().expect("readable");
        let config = netlabd::trust::tls::server(
            std::sync::Arc::new(posing.expect("they fit")),
            authority.clone(),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config.expect("fits")));
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.expect("a connection");
            acceptor.accept(tcp).await.map(drop)
        });
        let victim = Connector::new(
            address.to_string().parse().expect("an address"),
            moved.connector.identity().clone(),
            authority,
        );
        let error = victim.expect("fits").connect().await.expect_err("not the server");
        assert!(matches!(error, ConnectError::Untrusted { .. }), "{error:?}");
    });
}
