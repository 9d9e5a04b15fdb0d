// SPDX-License-Identifier: GPL-3.0-or-later
//! Who reaches whom, with which source and how large packets.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use netlab_api::RouteMode;
use netlab_link::Netns;

use crate::lab::{Lab, sh, try_sh};

/// Generous, because it only bounds a failure.
const DEADLINE: Duration = Duration::from_secs(20);

/// Connects from one place to another; returns the address that the other sees.
pub(crate) fn seen_from(client: &Netns, server: &Netns, address: IpAddr) -> IpAddr {
    let listener = server.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let to = SocketAddr::new(address, listener.local_addr().unwrap().port());
    let stream = client.run(|| TcpStream::connect_timeout(&to, DEADLINE)).unwrap();
    drop(stream.unwrap_or_else(|error| panic!("{to}: {error}")));
    listener.accept().unwrap().1.ip()
}

fn check_every_pair(lab: &Lab, mtu: u32) {
    for (one, other) in lab.pairs() {
        for (from, to, headers) in [(one.v4, other.v4, 28), (one.v6, other.v6, 48)] {
            let size = mtu - headers;
            sh(&one.netns, &format!("ping -c 1 -w 20 {to}"));
            sh(&one.netns, &format!("ping -c 1 -w 20 -M do -s {size} {to}"));
            let larger = size + 1;
            let refused = try_sh(&one.netns, &format!("ping -c 1 -W 1 -M do -s {larger} {to}"));
            assert!(!refused.status.success(), "{larger} bytes and headers in an MTU of {mtu}");
            assert_eq!(seen_from(&one.netns, &other.netns, to), from, "{} of {}", to, other.name);
        }
    }
}

fn check_nodes_and_outside(lab: &Lab) {
    for node in &lab.nodes {
        for other in lab.nodes.iter().filter(|other| other.name != node.name) {
            for pod in &other.pods {
                for (address, tunnel) in [pod.v4, pod.v6].into_iter().zip(node.tunnel()) {
                    let seen = seen_from(&node.netns, &pod.netns, address);
                    assert!(seen == tunnel || node.addresses().contains(&seen), "{seen}");
                }
            }
        }
        for pod in &node.pods {
            for (outside, own) in ["10.0.9.9", "2001:db8:9::9"].into_iter().zip(node.addresses()) {
                let outside = outside.parse().unwrap();
                assert_eq!(seen_from(&pod.netns, &lab.outside, outside), own);
            }
        }
    }
}

#[test]
fn host_gw_reaches_every_pod_of_the_subnet_with_its_own_source() {
    let mut lab = Lab::flat(3);
    let outcomes = lab.set_mode(RouteMode::HostGw);
    assert!(outcomes.iter().all(|it| it.problems.is_empty() && it.pod_mtu == 1500), "{outcomes:?}");
    check_every_pair(&lab, 1500);
    check_nodes_and_outside(&lab);
    assert!(!sh(&lab.nodes[0].netns, "ip link").contains("nlvx"));
}

#[test]
fn host_gw_says_which_node_it_cannot_reach() {
    let mut lab = Lab::racks();
    let outcomes = lab.set_mode(RouteMode::HostGw);
    let text: Vec<_> = outcomes[0].problems.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(text[0].starts_with("host-gw cannot reach node n3: 10.0.2.3 is in no subnet"));
    let [one, two, three] = &lab.nodes[..] else { panic!() };
    sh(&one.pods[0].netns, &format!("ping -c 1 -w 20 {}", two.pods[0].v4));
    let lost = try_sh(&one.pods[0].netns, &format!("ping -c 1 -W 1 {}", three.pods[0].v4));
    assert!(!lost.status.success());
}

#[test]
fn vxlan_reaches_every_pod_across_subnets_with_its_own_source() {
    let mut lab = Lab::racks();
    let outcomes = lab.set_mode(RouteMode::Vxlan);
    assert!(outcomes.iter().all(|it| it.problems.is_empty() && it.pod_mtu == 1450), "{outcomes:?}");
    check_every_pair(&lab, 1450);
    check_nodes_and_outside(&lab);
}

#[test]
fn auto_reaches_every_pod_across_subnets_and_takes_the_direct_way_within_one() {
    let mut lab = Lab::racks();
    let outcomes = lab.set_mode(RouteMode::Auto);
    assert!(outcomes.iter().all(|it| it.problems.is_empty() && it.pod_mtu == 1450), "{outcomes:?}");
    check_every_pair(&lab, 1450);
    check_nodes_and_outside(&lab);
    let way = |to: &str| sh(&lab.nodes[0].netns, &format!("ip route get {to}"));
    assert!(way("10.42.2.5").contains("dev eth0"), "{}", way("10.42.2.5"));
    assert!(way("10.42.3.5").contains("dev nlvx"), "{}", way("10.42.3.5"));
}

#[test]
fn over_ipv6_alone_pods_of_both_families_talk() {
    for mode in [RouteMode::Vxlan, RouteMode::Auto] {
        let mut lab = Lab::racks();
        for node in &lab.nodes {
            sh(&node.netns, "ip -4 addr flush dev eth0");
        }
        let outcomes = lab.ensure(|wish| {
            wish.mode = mode;
            wish.peers.iter_mut().for_each(|peer| peer.addresses.retain(IpAddr::is_ipv6));
        });
        assert!(outcomes.iter().all(|it| it.problems.is_empty() && it.pod_mtu == 1430));
        check_every_pair(&lab, 1430);
    }
}

#[test]
fn over_ipv4_alone_pods_of_both_families_talk_where_it_is_encapsulated() {
    let mut lab = Lab::racks();
    for node in &lab.nodes {
        sh(&node.netns, "ip -6 addr flush dev eth0 scope global");
    }
    let ipv4_only = |mode| {
        move |wish: &mut netlabd::node::network::fabric::FabricWish| {
            wish.mode = mode;
            wish.peers.iter_mut().for_each(|peer| peer.addresses.retain(IpAddr::is_ipv4));
        }
    };
    let outcomes = lab.ensure(ipv4_only(RouteMode::Auto));
    assert!(outcomes.iter().all(|it| it.problems.is_empty() && it.pod_mtu == 1450));
    check_every_pair(&lab, 1450);
    let outcomes = lab.ensure(ipv4_only(RouteMode::HostGw));
    assert!(
        outcomes[0].problems.iter().any(|it| it.to_string().contains("the IPv6 pods of node n2"))
    );
}

#[test]
fn an_address_of_an_own_block_that_no_pod_has_never_leaves_the_node() {
    let mut lab = Lab::flat(2);
    let way = |lab: &Lab, to: &str| try_sh(&lab.nodes[0].netns, &format!("ip route get {to}"));
    for to in ["10.42.1.9", "fd42::1:9"] {
        assert!(String::from_utf8(way(&lab, to).stdout).unwrap().contains("eth0"), "{to}");
    }
    lab.set_mode(RouteMode::HostGw);
    for to in ["10.42.1.9", "fd42::1:9"] {
        let answer = way(&lab, to);
        let text = String::from_utf8(answer.stdout).unwrap();
        assert!(!answer.status.success() || text.contains("blackhole"), "{to}: {text}");
    }
}

#[test]
fn a_pod_that_forges_its_source_reaches_nobody_on_another_node() {
    let mut lab = Lab::racks();
    lab.set_mode(RouteMode::Auto);
    let [one, _, three] = &lab.nodes[..] else { panic!() };
    let (bad, victim) = (&one.pods[0], &three.pods[0]);
    // Addresses that the pod may add, being root in its namespace, and that are not its.
    for (stranger, own, to, family) in
        [("10.42.2.5", bad.v4, victim.v4, "ip"), ("fd42::2:5", bad.v6, victim.v6, "ip6")]
    {
        sh(&bad.netns, &format!("ip addr add {stranger} dev eth0"));
        let forged = try_sh(&bad.netns, &format!("ping -c 2 -i 0.1 -W 1 -I {stranger} {to}"));
        assert!(!forged.status.success());
        let rule = sh(&one.netns, &format!("nft list chain {family} netlab antispoof"));
        assert!(rule.contains("counter packets 2 "), "{rule}");
        sh(&bad.netns, &format!("ping -c 1 -w 20 -I {own} {to}"));
    }
}
