// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections are spread evenly, and connection tracking knows their way.

use crate::agent::{Agent, Ask, Outcomes};
use crate::stage::{Layout, Place, Stage};

/// Connections of a sample.
const SAMPLE: u64 = 1000;

/// What chi-square exceeds once in a million times, with so many degrees of freedom (Abramowitz
/// and Stegun, table 26.8).
const ONE_IN_A_MILLION: [f64; 3] = [0.0, 23.93, 27.63];

/// Asserts that the servers got what chance gives each of them.
#[track_caller]
fn assert_even(what: &str, found: &Outcomes, servers: usize) {
    let total: u64 = found.values().sum();
    assert_eq!(total, SAMPLE, "{what}: {found:?}");
    assert_eq!(found.len(), servers, "{what}: {found:?}");
    let expected = SAMPLE as f64 / servers as f64;
    let chi_square: f64 =
        found.values().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
    println!("{what}: chi-square {chi_square:.2} of {found:?}");
    assert!(chi_square < ONE_IN_A_MILLION[servers - 1], "{what}: {chi_square}, {found:?}");
}

#[test]
fn a_thousand_connections_are_spread_evenly_in_layout_nftables() {
    spread("even-nft", Layout::Nftables);
}

#[test]
fn a_thousand_connections_are_spread_evenly_in_layout_iptables() {
    spread("even-ipt", Layout::Iptables);
}

fn spread(name: &str, layout: Layout) {
    let stage = Stage::full(name, layout);
    let thousand = |agent: &mut Agent, ask: Ask| agent.ask(&ask.times(SAMPLE));
    for family in [0, 1] {
        let plain = stage.cluster_ip("plain", family);
        let outer = crate::offer::OUTER[family];
        let node = &stage.main_addresses("n3")[family];
        let door = stage.node_port("door", "tcp");
        let found = thousand(&mut stage.agent(Place::Pod("c1")), Ask::tcp(&plain));
        assert_even("pod over TCP", &found, 3);
        let found = thousand(&mut stage.agent(Place::Pod("c1")), Ask::udp(&plain));
        assert_even("pod over UDP", &found, 3);
        let found = thousand(&mut stage.agent(Place::Node("n2")), Ask::tcp(&plain));
        assert_even("node", &found, 3);
        let found = thousand(&mut stage.agent(Place::Host("laptop")), Ask::tcp(outer));
        assert_even("host to an external address", &found, 3);
        let found = thousand(&mut stage.agent(Place::Host("laptop")), Ask::tcp(node).at(door));
        assert_even("host to a node port", &found, 2);
    }
    tracked(&stage);
}

/// Connection tracking turns the cluster IP to the endpoint, and leaves the client as it is.
fn tracked(stage: &Stage) {
    let (to, client) = (stage.cluster_ip("alone", 0), &stage.addresses("c2")[0]);
    let endpoint = &stage.addresses("s1")[0];
    let mut agent = stage.agent(Place::Pod("c2"));
    agent.open("kept", &Ask::tcp(&to));
    let node = &stage.cluster.node("n2").node;
    let flows = node.exec(&["conntrack", "-L", "-p", "tcp", "--orig-dst", &to]).ok();
    let way = format!("src={client} dst={to} ");
    let back = format!("src={endpoint} dst={client} sport=8080 ");
    let flow = flows.lines().find(|line| line.contains("ESTABLISHED") && line.contains(&way));
    assert!(flow.is_some_and(|flow| flow.contains(&back)), "{way}, {back}:\n{flows}");
    agent.close("kept");
}
