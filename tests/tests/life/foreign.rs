// SPDX-License-Identifier: GPL-3.0-or-later
//! What netlab did not make, it never edits and never removes.

use netlab_tests::{Lab, observe};

/// What someone else may have on a node, in lines of a shell.
const FOREIGN: &str = "
set -e
sysctl -qw net.ipv6.conf.default.accept_dad=0
ip link add nlmon0 type veth peer name nlmon1
ip link set nlmon0 up
ip addr add 203.0.113.1/24 dev nlmon0
ip link add nl0123456789a type bridge
ip link set nl0123456789a up
ip route add 10.42.200.0/24 dev nlmon0
ip route add 198.51.100.0/24 via 192.0.2.9 proto 110
ip -6 route add fd42:0:0:ff::/64 via 2001:db8::9
ip neigh add 203.0.113.7 lladdr 02:00:00:00:00:07 dev nlmon0
ip rule add from 203.0.113.0/24 lookup 77
nft add table ip filter
nft add chain ip filter forward '{ type filter hook forward priority 0; policy accept; }'
nft add rule ip filter forward ip saddr 203.0.113.9 drop
nft add table inet netlab
nft add table ip netlab-of-another
sysctl -qw net.ipv4.conf.eth0.rp_filter=2 net.ipv4.tcp_syncookies=0
";

#[test]
fn foreign_objects_survive_pods_restarts_and_teardown() {
    let mut lab = Lab::builder("foreign").build();
    lab.netns_exec(&["sh", "-c", FOREIGN]).ok();
    let before = observe::network(&lab.node);
    assert!(before.iter().any(|line| line.contains("203.0.113.9")));
    // Teardown, when the lab ends, compares the rest with what was before the first start.
    lab.start();
    lab.run("web", &["--replicas=3"]);
    let sysctls = observe::sysctls(&lab.node);
    assert_eq!(sysctls["net.ipv4.conf.eth0.rp_filter"], "2");
    assert_eq!(sysctls["net.ipv4.tcp_syncookies"], "0");
    assert_eq!(gone_of(&lab, &before), [""; 0], "while pods run");
    lab.kill9();
    lab.start();
    lab.ctl(&["delete", "pods", "--all", "--now"]).ok();
    assert_eq!(gone_of(&lab, &before), [""; 0], "after a kill, with the pods deleted");
}

/// What of a node's former network is there no longer.
fn gone_of(lab: &Lab, before: &[String]) -> Vec<String> {
    let now = observe::network(&lab.node);
    before.iter().filter(|line| !now.contains(line)).cloned().collect()
}

#[test]
fn what_others_add_to_our_links_and_inside_pods_stays() {
    let mut lab = Lab::new("added");
    lab.run("web", &[]);
    lab.pod_exec("web", &["ip", "addr", "add", "203.0.113.5/32", "dev", "eth0"]).ok();
    lab.pod_exec(
        "web",
        &["ip", "route", "add", "198.51.100.0/24", "via", "169.254.1.1", "dev", "eth0", "onlink"],
    )
    .ok();
    let link = lab.pod("web")["status"]["network"]["hostLink"].as_str().unwrap().to_owned();
    lab.node.ip(&format!("route add 203.0.113.5/32 dev {link}"));
    lab.restart();
    // Something to repair, so that the repair is seen to leave the rest.
    lab.node.ip("route del 10.42.0.1");
    netlab_tests::wait_until("the route is back", || {
        !lab.node.ip("route show 10.42.0.1").is_empty()
    });
    let inside = lab.pod_exec("web", &["ip", "addr"]).ok();
    assert!(inside.contains("203.0.113.5/32"), "{inside}");
    let inside = lab.pod_exec("web", &["ip", "route"]).ok();
    assert!(inside.contains("198.51.100.0/24"), "{inside}");
    assert!(!lab.node.ip("route show 203.0.113.5").is_empty());
}
