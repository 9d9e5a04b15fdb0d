// SPDX-License-Identifier: GPL-3.0-or-later
//! Two pods, their node, and a machine outside that knows no route to a pod.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::namespace::Namespace;
use crate::{masquerade_plan, socket};

/// Generous, because it only bounds a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Lab {
    pub(crate) pods: [Namespace; 2],
    pub(crate) node: Namespace,
    outside: Namespace,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self {
            pods: [Namespace::new(), Namespace::new()],
            node: Namespace::new(),
            outside: Namespace::new(),
        };
        for (i, pod) in lab.pods.iter().enumerate() {
            lab.connect(pod, &format!("pod{i}"), &format!("10.42.{i}"), &format!("fd42:0:0:{i}"));
            pod.sh(&format!(
                "ip route add default via 10.42.{i}.1; ip route add default via fd42:0:0:{i}::1"
            ));
        }
        lab.connect(&lab.outside, "uplink", "192.0.2", "2001:db8:0:1");
        lab.node.sh(
            "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
        );
        lab
    }

    /// Joins the node and a peer: the node is `.1`, the peer `.2`. No wait for duplicate addresses.
    fn connect(&self, peer: &Namespace, link: &str, v4: &str, v6: &str) {
        self.node.sh(&format!(
            "ip link add {link} type veth peer name eth0 netns {}
             ip addr add {v4}.1/24 dev {link}; ip addr add {v6}::1/64 dev {link} nodad
             ip link set {link} up",
            peer.pid()
        ));
        peer.sh(&format!(
            "ip addr add {v4}.2/24 dev eth0; ip addr add {v6}::2/64 dev eth0 nodad
             ip link set eth0 up"
        ));
    }
}

/// Connects from one place to another; returns the address that the other sees.
fn seen_from(client: &Namespace, server: &Namespace, address: &str) -> IpAddr {
    let address: IpAddr = address.parse().unwrap();
    let listener = server.within(|| TcpListener::bind((address, 0)).unwrap());
    let to = SocketAddr::new(address, listener.local_addr().unwrap().port());
    let start = Instant::now();
    // A link that came up just now may refuse for some milliseconds.
    let stream = loop {
        match client.within(|| TcpStream::connect_timeout(&to, DEADLINE)) {
            Ok(stream) => break stream,
            Err(error) if start.elapsed() > DEADLINE => panic!("{to}: {error}"),
            Err(_) => thread::yield_now(),
        }
    };
    let (_, peer) = listener.accept().unwrap();
    drop(stream);
    peer.ip()
}

#[test]
fn outside_sees_the_node_and_a_pod_sees_the_pod() {
    let lab = Lab::new();
    socket(&lab.node).commit(&masquerade_plan()).unwrap();
    let [a, b] = &lab.pods;

    assert_eq!(seen_from(a, &lab.outside, "192.0.2.2").to_string(), "192.0.2.1");
    assert_eq!(seen_from(a, &lab.outside, "2001:db8:0:1::2").to_string(), "2001:db8:0:1::1");
    assert_eq!(seen_from(a, b, "10.42.1.2").to_string(), "10.42.0.2");
    assert_eq!(seen_from(b, a, "fd42::2").to_string(), "fd42:0:0:1::2");
    // The node itself keeps its address, wherever it connects to.
    assert_eq!(seen_from(&lab.node, a, "10.42.0.2").to_string(), "10.42.0.1");
}

#[test]
fn without_the_rules_outside_would_see_the_pod() {
    let lab = Lab::new();
    // What the test above rests upon: give outside the route that it normally lacks.
    lab.outside.sh("ip route add 10.42.0.0/16 via 192.0.2.1");
    let seen = || seen_from(&lab.pods[0], &lab.outside, "192.0.2.2").to_string();
    assert_eq!(seen(), "10.42.0.2");
    let mut socket = socket(&lab.node);
    socket.commit(&masquerade_plan()).unwrap();
    assert_eq!(seen(), "192.0.2.1");
    socket.commit(&netlab_nft::teardown()).unwrap();
    assert_eq!(seen(), "10.42.0.2");
}
