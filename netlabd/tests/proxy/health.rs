// SPDX-License-Identifier: GPL-3.0-or-later
//! Health check node ports, asked from another machine by `curl`.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use netlab_link::Netns;
use netlabd::node::proxy::health::{HealthFacts, HealthPorts};
use tokio::runtime::Runtime;

use crate::lab::{DEADLINE, connect, dial, eventually, namespace, sh};

const PORT: u16 = 32_100;

struct Lab {
    node: Netns,
    balancer: Netns,
    runtime: Runtime,
    ports: HealthPorts,
}

fn facts(local_endpoints: usize, proxy_healthy: bool) -> HealthFacts {
    HealthFacts {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        local_endpoints,
        proxy_healthy,
    }
}

impl Lab {
    fn new() -> Lab {
        let (node, balancer) = (namespace(), namespace());
        connect(&node, "uplink", &balancer);
        sh(
            &node,
            "ip addr add 192.0.2.1/24 dev uplink; ip addr add 2001:db8::1/64 dev uplink nodad",
        );
        sh(
            &balancer,
            "ip addr add 192.0.2.9/24 dev eth0; ip addr add 2001:db8::9/64 dev eth0 nodad",
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let ports = HealthPorts::open(&node).unwrap();
        Lab { node, balancer, runtime, ports }
    }

    fn wish(&mut self, wish: &[(u16, HealthFacts)]) -> Vec<String> {
        let wish: BTreeMap<u16, HealthFacts> = wish.iter().cloned().collect();
        let errors = self.runtime.block_on(self.ports.wish(&wish));
        errors.iter().map(ToString::to_string).collect()
    }

    /// The whole answer, as text.
    fn ask(&self, address: &str, options: &str) -> String {
        sh(&self.balancer, &format!("curl -gsi -m 20 {options} http://{address}:{PORT}/some/path"))
    }

    fn dial(&self) -> std::io::Result<TcpStream> {
        dial(&self.balancer, &format!("192.0.2.1:{PORT}"))
    }
}

/// The other side hangs up, or has done so.
fn assert_ended(connection: &mut TcpStream) {
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    match connection.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[test]
fn a_load_balancer_hears_of_the_endpoints_of_this_node_over_both_families() {
    let mut lab = Lab::new();
    assert!(lab.dial().is_err(), "nothing is served yet");
    assert_eq!(lab.wish(&[(PORT, facts(2, true))]), Vec::<String>::new());
    for address in ["192.0.2.1", "[2001:db8::1]"] {
        let answer = lab.ask(address, "");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        assert!(head.starts_with("http/1.1 200 ok"), "{head}");
        for line in [
            "content-type: application/json",
            "x-content-type-options: nosniff",
            "x-load-balancing-endpoint-weight: 2",
        ] {
            assert!(head.lines().any(|it| it == line), "{line} is missing: {head}");
        }
        let wanted = r#"{"service":{"namespace":"default","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}"#;
        let [body, wanted] =
            [body, wanted].map(|it| serde_json::from_str::<serde_json::Value>(it).unwrap());
        assert_eq!(body, wanted);
    }
    // Terminating endpoints only, and rules that are not as they must be.
    for (facts, weight, healthy) in [(facts(0, true), 0, true), (facts(3, false), 3, false)] {
        assert_eq!(lab.wish(&[(PORT, facts)]), Vec::<String>::new());
        let answer = lab.ask("192.0.2.1", "").to_lowercase();
        assert!(answer.starts_with("http/1.1 503 "), "{answer}");
        assert!(answer.contains(&format!("-weight: {weight}\r\n")), "{answer}");
        assert!(answer.contains(&format!("\"serviceproxyhealthy\":{healthy}")), "{answer}");
    }
    let head = lab.ask("192.0.2.1", "--head");
    assert!(head.starts_with("HTTP/1.1 503 ") && !head.contains('{'), "{head}");
}

#[test]
fn a_port_that_goes_is_closed_and_can_be_had_again_at_once() {
    let mut lab = Lab::new();
    for _ in 0..20 {
        assert_eq!(lab.wish(&[(PORT, facts(1, true))]), Vec::<String>::new());
        let mut idle = lab.dial().unwrap();
        assert_eq!(lab.wish(&[(PORT + 1, facts(1, true))]), Vec::<String>::new());
        assert_eq!(lab.ports.served().collect::<Vec<_>>(), [PORT + 1]);
        let refused = lab.dial().expect_err("it is closed");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        // Its connections go with it.
        assert_ended(&mut idle);
    }
}

#[test]
fn a_port_in_use_is_told_and_had_once_it_is_free() {
    let mut lab = Lab::new();
    let taken: SocketAddr = SocketAddr::from(([192, 0, 2, 1], PORT));
    let other = lab.node.run(|| TcpListener::bind(taken).unwrap()).unwrap();
    let wish = [(PORT, facts(1, true)), (PORT + 1, facts(1, true))];
    let errors = lab.wish(&wish);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("`32100` of service `default/web`"), "{errors:?}");
    assert_eq!(lab.ports.served().collect::<Vec<_>>(), [PORT + 1]);
    drop(other);
    // Not at once: a process that another test is spawning may have that socket for a moment.
    eventually("the port can be had", || lab.wish(&wish).is_empty());
    assert!(lab.ask("192.0.2.1", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn idle_and_talkative_strangers_keep_nobody_out() {
    let mut lab = Lab::new();
    lab.wish(&[(PORT, facts(1, true))]);
    let mut idle: Vec<TcpStream> = (0..200).map(|_| lab.dial().unwrap()).collect();
    let start = Instant::now();
    assert!(lab.ask("192.0.2.1", "").starts_with("HTTP/1.1 200 "));
    assert!(start.elapsed() < Duration::from_secs(4), "not by waiting for the others' time");
    // The oldest had to go.
    assert_ended(&mut idle[0]);
    // The others have their time, and no more.
    assert_ended(&mut idle[199]);
    // A head without an end is cut off as too long, with an answer or without.
    let mut talker = lab.dial().unwrap();
    talker.set_write_timeout(Some(DEADLINE)).unwrap();
    talker.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    let start = Instant::now();
    while talker.write_all(&[b'x'; 4096]).is_ok() {
        assert!(start.elapsed() < DEADLINE, "it is read for ever");
    }
    assert!(lab.ask("192.0.2.1", "").starts_with("HTTP/1.1 200 "));
}
