// SPDX-License-Identifier: GPL-3.0-or-later
//! Who has no valid certificate reads nothing, writes nothing and slows nothing down.

use std::time::{Duration, Instant};

use netlabd::trust::{Connector, join};
use rcgen::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab::{Machine, Server, in_netns, stranger, version};

/// All that comes until the end, however it ends.
async fn rest(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&bytes).into_owned(),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
        }
    }
}

#[test]
fn plain_http_gets_no_answer() {
    in_netns(|| async {
        let server = Server::new().await;
        let mut tcp = TcpStream::connect(server.address).await.expect("it listens");
        tcp.write_all(b"GET /v1/version HTTP/1.1\r\nhost: n\r\n\r\n").await.expect("sent");
        let answer = rest(tcp).await;
        assert!(!answer.contains("HTTP"), "{answer}");
        // Whoever joins such a port is told so.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.expect("a connection");
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await
        });
        let options = Machine::new().options(address, "n2", Some(server.token().await));
        let error = join(&options).await.err().expect("refused");
        let text = format!("{:#}", anyhow::Error::from(error));
        assert!(text.contains("does not speak TLS"), "{text}");
    });
}

#[test]
fn without_a_certificate_there_is_nothing_but_joining() {
    in_netns(|| async {
        let server = Server::new().await;
        for (method, path, status) in [
            ("GET", "/v1/version", 403),
            ("GET", "/v1/pods?watch=true", 403),
            ("GET", "/metrics", 403),
            ("GET", "/livez", 403),
            ("POST", "/v1/tokens", 403),
            ("POST", "/v1/apply", 403),
            ("DELETE", "/v1/namespaces/default", 403),
            ("POST", "/v1/nodes/n2/certificate", 403),
            ("GET", "/v1/join", 403),
            ("POST", "/v1/join", 400),
        ] {
            let mut tls = stranger(&server, None).await.expect("a handshake");
            let head =
                format!("{method} {path} HTTP/1.1\r\nhost: n\r\ncontent-length: 2\r\n\r\n{{}}");
            tls.write_all(head.as_bytes()).await.expect("sent");
            let answer = rest(tls).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {path}: {answer}");
            // One answer a connection.
            assert!(answer.contains("connection: close"), "{answer}");
        }
    });
}

#[test]
fn a_foreign_certificate_is_refused_in_the_handshake() {
    in_netns(|| async {
        let (server, other) = (Server::new().await, Server::new().await);
        let key = KeyPair::generate().expect("a key");
        let request = rcgen::CertificateParams::default().serialize_request(&key).expect("request");
        let request = request.pem().expect("PEM");
        let foreign = other.membership.authority();
        let foreign = foreign.sign(&request, "n2", netlab_api::Time::now()).expect("signed");
        let certificate = Some((foreign.certificate.as_str(), &*key.serialize_pem()));
        // The server's refusal is the first thing to be read, after what TLS 1.3 lets us send.
        let read = async {
            let mut tls = stranger(&server, certificate).await?;
            tls.write_all(b"GET /v1/version HTTP/1.1\r\nhost: n\r\n\r\n").await?;
            tls.read(&mut [0; 100]).await
        };
        let error = read.await.expect_err("broken off");
        let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        assert!(matches!(alert, Some(rustls::Error::AlertReceived(_))), "{error:?}");
        // One of the right authority that never joined is not broken off, and gets nothing.
        let ours = server.membership.authority();
        let ours = ours.sign(&request, "n2", netlab_api::Time::now()).expect("signed");
        let certificate = Some((ours.certificate.as_str(), &*key.serialize_pem()));
        let mut tls = stranger(&server, certificate).await.expect("a handshake");
        tls.write_all(b"GET /v1/version HTTP/1.1\r\nhost: n\r\n\r\n").await.expect("sent");
        let answer = rest(tls).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("no member"), "{answer}");
    });
}

#[test]
fn heads_without_end_are_cut_off() {
    in_netns(|| async {
        let server = Server::new().await;
        // As fast as they can be sent, ...
        let mut tls = stranger(&server, None).await.expect("a handshake");
        let started = Instant::now();
        let _ = tls.write_all(b"POST /v1/join HTTP/1.1\r\n").await;
        let mut sent = 0_usize;
        while sent < 50 << 20 {
            let line = [b"x: ".as_slice(), &[b'a'; 1000], b"\r\n"].concat();
            if tls.write_all(&line).await.is_err() {
                break;
            }
            sent += line.len();
        }
        assert!(sent < 16 << 20, "{sent} bytes were taken");
        // ... and a body of the same kind.
        let mut tls = stranger(&server, None).await.expect("a handshake");
        let head = b"POST /v1/join HTTP/1.1\r\nhost: n\r\ncontent-length: 1000000000\r\n\r\n";
        let _ = tls.write_all(head).await;
        let mut sent = 0_usize;
        while sent < 50 << 20 && tls.write_all(&[b' '; 10_000]).await.is_ok() {
            sent += 10_000;
        }
        assert!(sent < 16 << 20, "{sent} bytes were taken");
        // One line a moment: the head has ten seconds.
        let mut tls = stranger(&server, None).await.expect("a handshake");
        let _ = tls.write_all(b"POST /v1/join HTTP/1.1\r\n").await;
        while tls.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    });
}

#[test]
fn a_handshake_that_dawdles_is_cut_off() {
    in_netns(|| async {
        let server = Server::new().await;
        let mut tcp = TcpStream::connect(server.address).await.expect("it listens");
        let started = Instant::now();
        // The head of a record of 512 bytes, which then come one by one.
        tcp.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.expect("sent");
        while tcp.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let took = started.elapsed();
        assert!(took > Duration::from_secs(3) && took < Duration::from_secs(10), "{took:?}");
    });
}

/// Round trips of a member: over a connection that is there, and over new ones.
async fn latencies(connector: &Connector) -> Vec<Duration> {
    let mut taken = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        version(connector).await.expect("a member is served");
        taken.push(started.elapsed());
    }
    taken.sort();
    taken
}

#[test]
fn a_thousand_idle_strangers_keep_no_member_waiting() {
    in_netns(|| async {
        let server = Server::new().await;
        let machine = Machine::new();
        let options = machine.options(server.address, "n2", Some(server.token().await));
        let joined = join(&options).await.expect("joins");
        let quiet = latencies(&joined.connector).await;
        // From the member's own address, which is the worst case: its budget is theirs.
        let mut strangers = Vec::new();
        for _ in 0..1000 {
            if let Ok(stream) = TcpStream::connect(server.address).await {
                strangers.push(stream);
            }
        }
        assert_eq!(strangers.len(), 1000);
        let crowded = latencies(&joined.connector).await;
        println!(
            "measured: a connection and a request, alone {:?} (longest {:?}), among 1000 idle \
             strangers {:?} (longest {:?})",
            quiet[25], quiet[49], crowded[25], crowded[49]
        );
        assert!(crowded[49] < Duration::from_millis(500), "{crowded:?}");
        // Those who are too many have been sent away.
        let mut here = 0;
        for stream in &mut strangers {
            match stream.try_read(&mut [0]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => here += 1,
                _ => {}
            }
        }
        assert!(here <= 256, "{here} are still here");
        // And a machine that never was here joins among them.
        let newcomer = Machine::new();
        let options = newcomer.options(server.address, "n3", Some(server.token().await));
        join(&options).await.expect("joins");
    });
}

#[test]
fn tokens_cannot_be_tried_out_and_members_do_not_notice() {
    in_netns(|| async {
        let server = Server::new().await;
        let member = Machine::new();
        let options = member.options(server.address, "n2", Some(server.token().await));
        let joined = join(&options).await.expect("joins");
        let text = server.token().await.to_string();
        let wrong = format!("{}aa", &text[..text.len() - 2]);
        let body = serde_json::json!({
            "token": wrong, "node": "n9", "request": "", "clock": netlab_api::Time::now(),
        });
        let body = body.to_string();
        let mut statuses = Vec::new();
        for _ in 0..15 {
            let mut tls = stranger(&server, None).await.expect("a handshake");
            let head = format!(
                "POST /v1/join HTTP/1.1\r\nhost: n\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            tls.write_all((head + &body).as_bytes()).await.expect("sent");
            let answer = rest(tls).await;
            statuses.push(answer.split(' ').nth(1).unwrap_or_default().to_owned());
        }
        let refused = statuses.iter().filter(|status| *status == "403").count();
        let put_off = statuses.iter().filter(|status| *status == "429").count();
        assert!((10..=11).contains(&refused) && refused + put_off == 15, "{statuses:?}");
        version(&joined.connector).await.expect("a member is served");
    });
}
