// SPDX-License-Identifier: GPL-3.0-or-later
//! The device for services: with it a node reaches them, and is refused where there are none.

use std::io;
use std::time::{Duration, Instant};

use netlab_link::{Monitor, Netns};
use netlabd::node::proxy::anchor::{self, Anchor, AnchorError, AnchorWish};
use tokio::runtime::{Builder, Runtime};

use crate::lab::{DEADLINE, connect, dial, namespace, serve, sh};

/// What is refused is refused at once, not after retransmissions, which take a second.
const AT_ONCE: Duration = Duration::from_millis(700);

fn wish() -> AnchorWish {
    let networks = ["10.43.0.0/16", "fd43::/112", "192.0.2.240/28"];
    let networks = networks.iter().map(|it| it.parse().unwrap()).collect();
    AnchorWish { networks, mtu: 1450, ..AnchorWish::default() }
}

/// Waits for an event that is about what was done to the device or a route.
fn hear(runtime: &Runtime, monitor: &mut Monitor, anchor: &Anchor, harm: &str) {
    let heard = async {
        loop {
            let event = monitor.next().await.unwrap();
            if anchor.concerns(&event) {
                return;
            }
        }
    };
    runtime
        .block_on(async { tokio::time::timeout(DEADLINE, heard).await })
        .unwrap_or_else(|_| panic!("no event of `{harm}`"));
}

/// A node without a default route, and a pod of it, with the rules of a service that has an
/// endpoint and of one that has none.
///
/// The latter resets IPv6, since ICMPv6 is of no use here: it comes while the node's own socket is
/// busy with sending, which the kernel takes for a passing trouble (`tcp_v6_err`), so the client
/// is refused after its first retransmission only. That of IPv4 is heard.
fn node() -> (Netns, Netns) {
    let (node, pod) = (namespace(), namespace());
    connect(&node, "nlpod", &pod);
    sh(
        &node,
        "ip addr add 10.0.0.1/32 dev nlpod; ip addr add fd00::1/128 dev nlpod nodad
         ip route add 10.42.0.5 dev nlpod; ip route add fd42::5 dev nlpod
         echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
         nft '
         table ip service {
             chain o { type nat hook output priority -100; ip daddr 10.43.0.1 tcp dport 80 dnat to 10.42.0.5:8080; }
             chain p { type nat hook prerouting priority -100; ip daddr 10.43.0.1 tcp dport 80 dnat to 10.42.0.5:8080; }
             chain s { type nat hook postrouting priority 100; ip daddr 10.42.0.5 masquerade; }
             chain f { type filter hook forward priority 0; ip daddr 10.43.0.9 reject; }
             chain r { type filter hook output priority 0; ip daddr 10.43.0.9 reject; }
         }
         table ip6 service {
             chain o { type nat hook output priority -100; ip6 daddr fd43::1 tcp dport 80 dnat to [fd42::5]:8080; }
             chain f { type filter hook forward priority 0; ip6 daddr fd43::9 meta l4proto tcp reject with tcp reset; }
             chain r { type filter hook output priority 0; ip6 daddr fd43::9 meta l4proto tcp reject with tcp reset; }
         }'",
    );
    sh(
        &pod,
        "ip addr add 10.42.0.5/32 dev eth0; ip addr add fd42::5/128 dev eth0 nodad
         ip route add 10.0.0.1 dev eth0; ip route add default via 10.0.0.1
         ip route add fd00::1 dev eth0; ip route add default via fd00::1",
    );
    (node, pod)
}

#[test]
fn a_node_without_a_default_route_reaches_services_and_is_refused_at_once() {
    let (node, pod) = node();
    serve(&pod, "10.42.0.5:8080");
    serve(&pod, "[fd42::5]:8080");
    for service in ["10.43.0.1:80", "[fd43::1]:80"] {
        let error = dial(&node, service).expect_err("there is no route yet");
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
    }
    let mut anchor = Anchor::open(&node).unwrap();
    assert!(anchor.ensure(&wish()).unwrap());
    for service in ["10.43.0.1:80", "[fd43::1]:80"] {
        dial(&node, service).unwrap();
    }
    for (client, service) in [
        (&node, "10.43.0.9:80"),
        (&node, "[fd43::9]:80"),
        (&pod, "10.43.0.9:80"),
        (&pod, "[fd43::9]:80"),
    ] {
        let start = Instant::now();
        let error = dial(client, service).expect_err("a rule rejects it");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{service}: {error}");
        let took = start.elapsed();
        assert!(took < AT_ONCE, "{service}: after {took:?}");
    }
}

#[test]
fn what_is_there_is_found_kept_mended_and_removed() {
    let (node, _pod) = node();
    let mut anchor = Anchor::open(&node).unwrap();
    anchor.ensure(&wish()).unwrap();
    let look = || {
        sh(
            &node,
            "ip -d -o link show nlsvc | sed 's/ link.ether.*//'; ip route show proto 110; ip -6 route show proto 110; ip addr show dev nlsvc | grep inet || true",
        )
    };
    let whole = look();
    for part in
        ["mtu 1450", "10.43.0.0/16 dev nlsvc", "192.0.2.240/28 dev nlsvc", "fd43::/112 dev nlsvc"]
    {
        assert!(whole.contains(part), "{whole}");
    }
    assert!(!whole.contains("inet"), "it has no address: {whole}");
    assert!(!anchor.ensure(&wish()).unwrap());
    // One that starts anew writes nothing either.
    let mut next = Anchor::open(&node).unwrap();
    assert!(!next.ensure(&wish()).unwrap());
    assert_eq!(next.repair().unwrap(), Vec::<String>::new());
    assert_eq!(next.examine(&wish()).unwrap(), Vec::<String>::new());

    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    for harm in [
        "link del nlsvc",
        "link set nlsvc down",
        "link set nlsvc mtu 1500",
        // There is no IPv6 on the device then, and a change of its settings is refused.
        "link set nlsvc mtu 1000",
        "route del 10.43.0.0/16",
        "-6 route del fd43::/112",
    ] {
        let _inside = runtime.enter();
        let mut monitor = Monitor::open(&node).unwrap();
        sh(&node, &format!("ip {harm}"));
        assert!(!next.examine(&wish()).unwrap().is_empty(), "{harm}");
        hear(&runtime, &mut monitor, &next, harm);
        assert!(!next.repair().unwrap().is_empty(), "{harm}");
        assert_eq!(look().lines().count(), whole.lines().count(), "after `ip {harm}`");
        assert_eq!(next.examine(&wish()).unwrap(), Vec::<String>::new(), "{harm}");
    }

    // A network that is no longer wished for loses its route, and the device goes with the last.
    let fewer = AnchorWish { networks: ["10.43.0.0/16".parse().unwrap()].into(), ..wish() };
    assert!(next.ensure(&fewer).unwrap());
    assert_eq!(
        sh(&node, "ip route show dev nlsvc; ip -6 route show dev nlsvc proto 110").lines().count(),
        1
    );
    anchor::teardown(&node).unwrap();
    assert_eq!(sh(&node, "ip -o link show type bridge"), "");
    assert_eq!(sh(&node, "ip route show proto 110; ip -6 route show proto 110"), "");
    anchor::teardown(&node).unwrap();
}

#[test]
fn addresses_come_back_after_an_mtu_without_ipv6() {
    let (node, _pod) = node();
    let addresses = ["10.43.0.10", "fd43::a"].map(|it| it.parse().unwrap()).into();
    let wish = AnchorWish { addresses, ..wish() };
    let look = || sh(&node, "ip -o addr show dev nlsvc | sed 's/.*inet/inet/; s/ scope.*//'");
    let mut anchor = Anchor::open(&node).unwrap();
    anchor.ensure(&wish).unwrap();
    assert_eq!(look(), "inet 10.43.0.10/32\ninet6 fd43::a/128\n");
    sh(&node, "ip link set nlsvc mtu 576");
    assert_eq!(look(), "inet 10.43.0.10/32\n");
    // As a daemon that was started again.
    let mut next = Anchor::open(&node).unwrap();
    assert!(next.ensure(&wish).unwrap());
    assert_eq!(look(), "inet 10.43.0.10/32\ninet6 fd43::a/128\n");
    assert_eq!(next.examine(&wish).unwrap(), Vec::<String>::new());
    // With IPv4 alone it may be so small.
    let networks = ["10.43.0.0/16".parse().unwrap()].into();
    let small = AnchorWish { networks, mtu: 576, ..wish };
    next.ensure(&small).unwrap();
    assert!(sh(&node, "ip -o link show nlsvc").contains("mtu 576"));
}

#[test]
fn what_others_made_is_in_the_way_and_stays() {
    let (node, _pod) = node();
    sh(&node, "ip link add nlsvc type bridge; ip link set nlsvc up");
    let mut anchor = Anchor::open(&node).unwrap();
    assert!(matches!(anchor.ensure(&wish()), Err(AnchorError::NameTaken { .. })));
    anchor::teardown(&node).unwrap();
    sh(&node, "ip link show nlsvc; ip link del nlsvc; ip route add 10.43.0.0/16 dev nlpod");
    let error = anchor.ensure(&wish()).expect_err("that route is somebody else's");
    assert!(error.to_string().contains("`10.43.0.0/16`"), "{error}");
    assert!(sh(&node, "ip route show 10.43.0.0/16").contains("nlpod"));
    // The others are there all the same, and this one once its place is free.
    assert!(sh(&node, "ip -6 route show dev nlsvc").contains("fd43::/112"));
    sh(&node, "ip route del 10.43.0.0/16");
    assert!(anchor.ensure(&wish()).unwrap());
    assert!(sh(&node, "ip route show 10.43.0.0/16").contains("nlsvc"));
}

#[test]
fn the_node_reaches_its_own_addresses_over_lo() {
    let (node, _pod) = node();
    let addresses = ["10.43.0.10", "fd43::a"].map(|it| it.parse().unwrap()).into();
    let wish = AnchorWish { addresses, ..wish() };
    let mut anchor = Anchor::open(&node).unwrap();
    anchor.ensure(&wish).unwrap();
    let ways = || sh(&node, "ip route show table local proto 110");
    assert_eq!(ways(), "local 10.43.0.10 dev lo scope host \n");
    // Twice the same: with its own device in that route, the kernel would not keep what it looked up.
    for _ in 0..2 {
        let way = sh(&node, "ip route get 10.43.0.10");
        assert!(way.starts_with("local 10.43.0.10 dev lo src 10.43.0.10"), "{way}");
    }
    let mut next = Anchor::open(&node).unwrap();
    assert!(!next.ensure(&wish).unwrap());

    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mut monitor = Monitor::open(&node).unwrap();
    let harm = "ip route del local 10.43.0.10 dev lo table local";
    sh(&node, harm);
    let told = ["local route to 10.43.0.10 is missing or wrong"];
    assert_eq!(next.examine(&wish).unwrap(), told);
    hear(&runtime, &mut monitor, &next, harm);
    assert_eq!(next.repair().unwrap(), ["local route to 10.43.0.10"]);
    assert_eq!(ways().lines().count(), 1);

    // It stays while `lo` is down.
    sh(&node, "ip link set lo down; ip link set lo up");
    assert_eq!(next.examine(&wish).unwrap(), Vec::<String>::new());

    // A device that is made anew finds it there, and with the device it goes.
    sh(&node, "ip link del nlsvc");
    next.repair().unwrap();
    assert_eq!(ways().lines().count(), 1);
    anchor::teardown(&node).unwrap();
    assert_eq!(sh(&node, "ip route show table all proto 110; ip addr show to 10.43.0.10"), "");
}
