// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::testing::Node;

#[test]
fn a_node_without_a_default_route_has_no_uplink() {
    let mut node = Node::new();
    node.ip("link add va type veth peer name vb");
    node.ip("link set va up");
    node.ip("address add 192.0.2.1/24 dev va");
    assert_eq!(observe_uplink(&mut node.socket).unwrap(), None);
}

#[test]
fn the_default_route_with_the_lowest_metric_leads_to_the_uplink() {
    let mut node = Node::new();
    for (name, peer, network, metric) in
        [("va", "pa", "192.0.2", 100), ("vb", "pb", "198.51.100", 50)]
    {
        node.ip(&format!("link add {name} mtu 1400 type veth peer name {peer}"));
        node.ip(&format!("link set {name} up"));
        node.ip(&format!("link set {peer} up"));
        node.ip(&format!("address add {network}.1/24 dev {name}"));
        node.ip(&format!("route add default via {network}.254 metric {metric}"));
    }
    let found = observe_uplink(&mut node.socket).unwrap().unwrap();
    assert_eq!(found.link.name.as_str(), "vb");
    assert_eq!(found.link.mtu, 1400);
    assert_eq!(found.gateway, Some("198.51.100.254".parse().unwrap()));
    assert_eq!(found.addresses[0].address.to_string(), "198.51.100.1/24");
}

#[test]
fn without_ipv4_the_ipv6_default_route_counts() {
    let mut node = Node::new();
    node.ip("link add va type veth peer name vb");
    node.ip("link set va up");
    node.ip("link set vb up");
    node.ip("-6 address add 2001:db8::1/64 dev va nodad");
    node.ip("-6 route add default via 2001:db8::2 dev va");
    let found = observe_uplink(&mut node.socket).unwrap().unwrap();
    assert_eq!(found.link.name.as_str(), "va");
    assert!(found.addresses.iter().any(|it| it.address.to_string() == "2001:db8::1/64"));
}
