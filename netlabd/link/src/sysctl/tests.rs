// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::{
    Families,
    testing::{Node, pings},
};

#[test]
fn a_setting_is_written_once_and_only_in_its_namespace() {
    let node = Node::new();
    let other = Netns::create().unwrap();
    let name = "net/ipv4/ip_default_ttl";
    assert_eq!(ensure(&node.netns, name, "33").unwrap().as_deref(), Some("64"));
    assert_eq!(ensure(&node.netns, name, "33").unwrap(), None);
    assert_eq!(read(&node.netns, name).unwrap(), "33");
    assert_eq!(read(&other, name).unwrap(), "64");
}

#[test]
fn a_setting_that_is_not_there_is_not_found() {
    let node = Node::new();
    let error = ensure(&node.netns, "net/ipv4/conf/eth9/forwarding", "1").unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "failed to read sysctl `net/ipv4/conf/eth9/forwarding`");
}

#[test]
fn a_refused_value_is_an_error_that_names_it() {
    let node = Node::new();
    let error = ensure(&node.netns, "net/ipv4/ip_default_ttl", "many").unwrap_err();
    assert!(matches!(error, SysctlError::Write { .. }));
    assert!(error.to_string().contains("`many`"), "{error}");
}

/// A node with an uplink to a machine outside, and a pod.
#[test]
fn a_pod_reaches_a_machine_outside_and_the_node_stays_a_host() {
    let mut node = Node::new();
    let outside = std::sync::Arc::new(Netns::create().unwrap());
    let pin = node.pin_dir().join("outside");
    outside.pin(&pin).unwrap();
    node.ip(&format!("link add up0 type veth peer name eth0 netns {}", pin.display()));
    node.ip("link set up0 up");
    node.ip("address add 192.0.2.1/24 dev up0");
    node.ip("-6 address add 2001:db8::1/64 dev up0 nodad");
    for command in [
        "link set eth0 up",
        "address add 192.0.2.2/24 dev eth0",
        "-6 address add 2001:db8::2/64 dev eth0 nodad",
        "route add 10.42.0.0/16 via 192.0.2.1",
        "-6 route add fd42::/48 via 2001:db8::1",
    ] {
        crate::testing::ip(&outside, command);
    }
    let pool = node.pool(0, Families::DUAL_STACK);
    let pod = node.pod(&pool, 1);
    let uplinks = [IfName::new("up0").unwrap()];
    let changed = ensure_forwarding(&node.netns, &uplinks).unwrap();
    assert!(!changed.is_empty());
    assert!(pings(pod.netns(), "192.0.2.2"), "IPv4 out");
    assert!(pings(&outside, "10.42.0.1"), "IPv4 in");
    assert!(pings(pod.netns(), "2001:db8::2"), "IPv6 out");
    assert!(pings(&outside, "fd42::1"), "IPv6 in");
    assert_eq!(ensure_forwarding(&node.netns, &uplinks).unwrap(), [], "it was all done");
    if path("net/ipv6/conf/all/force_forwarding").exists() {
        assert_eq!(read(&node.netns, "net/ipv6/conf/up0/forwarding").unwrap(), "0");
        assert_eq!(read(&node.netns, "net/ipv6/conf/up0/accept_ra").unwrap(), "1");
    } else {
        assert_eq!(read(&node.netns, "net/ipv6/conf/up0/accept_ra").unwrap(), "2");
    }
}

#[test]
fn an_older_kernel_keeps_listening_to_routers_when_it_forwards() {
    let node = Node::new();
    node.ip("link add up0 type veth peer name eth0");
    node.ip("link add off0 type veth peer name eth1");
    ensure(&node.netns, "net/ipv6/conf/off0/accept_ra", "0").unwrap();
    let ensure = || {
        let mut plan = Vec::new();
        plan_all_forwarding(&mut plan)?;
        write_plan(plan)
    };
    node.netns.run(ensure).unwrap().unwrap();
    assert_eq!(read(&node.netns, "net/ipv6/conf/up0/accept_ra").unwrap(), "2");
    assert_eq!(read(&node.netns, "net/ipv6/conf/off0/accept_ra").unwrap(), "0");
    assert_eq!(read(&node.netns, "net/ipv6/conf/all/forwarding").unwrap(), "1");
}
