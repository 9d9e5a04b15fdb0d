// SPDX-License-Identifier: GPL-3.0-or-later
//! What the rules leave alone: services that are names only, marks of other programs, and
//! `route_localnet`.

use netlab_tests::{Machine, observe};

use crate::agent::{Ask, is_answer};
use crate::stage::{Layout, Place, Stage};

#[test]
fn foreign_marks_and_services_without_addresses_are_left_alone_in_layout_nftables() {
    left_alone("quiet-nft", Layout::Nftables);
}

#[test]
fn foreign_marks_and_services_without_addresses_are_left_alone_in_layout_iptables() {
    left_alone("quiet-ipt", Layout::Iptables);
}

fn left_alone(name: &str, layout: Layout) {
    let stage = Stage::full(name, layout);
    for node in stage.cluster.nodes() {
        let rules = node.netns_exec(&["nft", "list", "ruleset"]).ok();
        assert!(rules.contains("default/plain"), "rules name their services:\n{rules}");
        for absent in ["default/headless", "default/alias"] {
            assert!(!rules.contains(absent), "{absent} has rules on {}", node.node_name);
        }
        let setting = node.netns_exec(&["sysctl", "-n", "net.ipv4.conf.all.route_localnet"]).ok();
        assert_eq!(setting.trim(), "0", "on {}", node.node_name);
    }
    marks_survive(&stage);
    firewalls_hold(&stage);
}

/// A firewall of somebody else, through which services do not come until it lets them.
const FIREWALL: &str = "
table inet foreign {
    chain forward {
        type filter hook forward priority 0
        policy drop
        ct state established,related accept
    }
}
";

/// Row 27: netlab does not open what another table closes.
fn firewalls_hold(stage: &Stage) {
    let n1 = &stage.cluster.node("n1").node;
    n1.exec_with_input(&["nft", "-f", "-"], FIREWALL.as_bytes()).ok();
    for family in [0, 1] {
        let ask = Ask { timeout: 1.0, ..Ask::tcp(&stage.cluster_ip("plain", family)) };
        let found = stage.agent(Place::Pod("c1")).ask(&ask);
        assert!(found.contains_key("silence"), "{found:?}");
    }
    let rule =
        ["nft", "add", "rule", "inet", "foreign", "forward", "ct", "status", "dnat", "accept"];
    n1.exec(&rule).ok();
    for family in [0, 1] {
        let found =
            stage.agent(Place::Pod("c1")).ask(&Ask::tcp(&stage.cluster_ip("plain", family)));
        assert!(found.keys().all(|answer| is_answer(answer)), "{found:?}");
    }
    n1.exec(&["nft", "delete", "table", "inet", "foreign"]).ok();
}

/// Bits of the mark that another program uses: all but bit 14, with which services ask for
/// masquerading. The priority is looked at as well: services use it for a moment.
const FOREIGN: &str = "
table inet foreign {
    chain before {
        type filter hook prerouting priority -150
        tcp dport { 80, 30000-32767, 8080 } ct state new meta mark set 0x8a010007 counter
    }
    chain after {
        type filter hook postrouting priority 250
        tcp dport 8080 ct state new meta mark 0x8a010007 counter
        tcp dport 8080 ct state new meta mark != 0x8a010007 counter
        tcp dport 8080 ct state new meta priority != 0 counter
    }
}
";

fn marks_survive(stage: &Stage) {
    let n1 = &stage.cluster.node("n1").node;
    n1.exec_with_input(&["nft", "-f", "-"], FOREIGN.as_bytes()).ok();
    let mut made = 0;
    for family in [0, 1] {
        let door = stage.main_addresses("n1")[family].clone();
        let door = Ask::tcp(&door).at(stage.node_port("door", "tcp"));
        let plain = Ask::tcp(&stage.cluster_ip("plain", family));
        let outer = Ask::tcp(crate::offer::OUTER[family]);
        // Masqueraded and not, to endpoints of this node and of others.
        for (place, ask) in [
            (Place::Host("laptop"), door),
            (Place::Pod("c1"), plain),
            (Place::Pod("c1"), outer.clone()),
            (Place::Host("laptop"), outer),
        ] {
            let found = stage.agent(place).ask(&ask.times(20));
            assert!(found.keys().all(|answer| is_answer(answer)), "{place:?}: {found:?}");
            made += 20;
        }
    }
    let counters = counters(n1);
    n1.exec(&["nft", "delete", "table", "inet", "foreign"]).ok();
    assert_eq!(counters, [made, made, 0, 0], "marked, still marked, changed, of another priority");
}

/// Packets that each rule of the foreign table counted, in their order.
fn counters(machine: &Machine) -> Vec<u64> {
    let all = observe::nft(machine);
    let rules = all.iter().map(|item| &item["rule"]).filter(|rule| rule["table"] == "foreign");
    let expressions = rules.flat_map(|rule| observe::items(&rule["expr"]));
    expressions.filter_map(|expression| expression["counter"]["packets"].as_u64()).collect()
}
