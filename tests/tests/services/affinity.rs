// SPDX-License-Identifier: GPL-3.0-or-later
//! Session affinity by the client's address: row 11.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use netlab_tests::{observe, wait_until};
use serde_json::{Value, json};

use crate::agent::{Ask, Outcomes};
use crate::offer::{Offer, offer};
use crate::stage::{Layout, Place, Stage};

const ALL: [&str; 3] = ["s1", "s2", "s3"];

/// Seconds after which a client is forgotten.
const BRIEFLY: u64 = 2;

#[test]
fn a_client_stays_with_its_server_until_it_is_forgotten_in_layout_nftables() {
    affinity("sticky-nft", Layout::Nftables);
}

#[test]
fn a_client_stays_with_its_server_until_it_is_forgotten_in_layout_iptables() {
    affinity("sticky-ipt", Layout::Iptables);
}

fn affinity(name: &str, layout: Layout) {
    let mut stage = Stage::bare(name, layout, "");
    stage.provide(&[sticky("brief", BRIEFLY, &ALL)]);
    forgotten(&stage);
    stage.provide(&[sticky("faithful", 3600, &ALL)]);
    for family in [0, 1] {
        shared(&stage, family);
        moved(&mut stage, family);
    }
}

fn sticky(name: &'static str, seconds: u64, servers: &[&'static str]) -> Offer {
    let config = json!({ "clientIP": { "timeoutSeconds": seconds } });
    let spec = json!({
        "type": "LoadBalancer", "sessionAffinity": "ClientIP", "sessionAffinityConfig": config,
    });
    offer(name, spec, servers)
}

/// The only server that answered.
#[track_caller]
fn one_server(what: &str, found: &Outcomes) -> String {
    let servers: BTreeSet<&str> = found.keys().map(|it| it.split(' ').next().unwrap()).collect();
    assert_eq!(servers.len(), 1, "{what}: {found:?}");
    servers.into_iter().next().unwrap().to_owned()
}

/// The server of each client, family and protocol, asked several times.
#[track_caller]
fn servers_of_all(stage: &Stage, service: &str) -> BTreeMap<(Place, usize, &'static str), String> {
    let mut found = BTreeMap::new();
    for place in stage.agents.keys() {
        for family in [0, 1] {
            let to = stage.cluster_ip(service, family);
            let asks = [Ask::tcp(&to).times(5), Ask::udp(&to).times(5)];
            let answers = stage.agent(*place).ask_all(&asks);
            for (ask, answer) in asks.iter().zip(&answers) {
                let what = format!("{place:?} over {} to {}", ask.protocol, ask.to);
                found.insert((*place, family, ask.protocol), one_server(&what, answer));
            }
        }
    }
    found
}

/// Each new connection keeps the memory of its client, which ends when none comes any more.
fn forgotten(stage: &Stage) {
    let first = servers_of_all(stage, "brief");
    // Hosts that come over one node keep apart: it is the address that counts. That all of them
    // get one server by chance happens once in 10^14.
    let servers: BTreeSet<&String> = first.values().collect();
    assert!(servers.len() > 1, "{first:?}");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2 * BRIEFLY) {
        assert_eq!(servers_of_all(stage, "brief"), first, "after {:?}", began.elapsed());
    }
    assert!(remembered(stage) > 0, "clients are remembered");
    wait_until("all clients are forgotten", || remembered(stage) == 0);
    for node in stage.cluster.nodes() {
        // A port that a client of UDP had before would lead to where it led then.
        node.netns_exec(&["conntrack", "-D", "-p", "udp"]);
        node.netns_exec(&["conntrack", "-D", "-p", "udp", "-f", "ipv6"]);
    }
    assert_ne!(servers_of_all(stage, "brief"), first, "all chose anew, and all the same");
}

/// Clients that the nodes remember.
fn remembered(stage: &Stage) -> usize {
    let count = |item: &Value| {
        let set = &item["set"];
        if set["timeout"].is_null() { 0 } else { observe::items(&set["elem"]).len() }
    };
    stage
        .cluster
        .nodes()
        .iter()
        .flat_map(|node| observe::nft(&node.node))
        .map(|it| count(&it))
        .sum()
}

/// It is one memory for all addresses of a port of a service.
fn shared(stage: &Stage, family: usize) {
    let all = [
        Ask::tcp(&stage.cluster_ip("faithful", family)),
        Ask::tcp(&stage.balancer_ip("faithful", family)),
        Ask::tcp(&stage.main_addresses("n1")[family]).at(stage.node_port("faithful", "tcp")),
    ];
    for place in [Place::Pod("c1"), Place::Host("laptop"), Place::Node("n1")] {
        let mut servers = BTreeSet::new();
        for ask in &all {
            let found = stage.agent(place).ask(&ask.clone().times(50));
            servers.insert(one_server(&format!("{place:?} to {}", ask.to), &found));
        }
        // A node speaks from an address of its own to each of them.
        if place != Place::Node("n1") {
            assert_eq!(servers.len(), 1, "{place:?}: {servers:?}");
        }
    }
}

/// A client whose server is gone gets another, and stays there when the first one is back.
fn moved(stage: &mut Stage, family: usize) {
    let ask = Ask::tcp(&stage.cluster_ip("faithful", family)).times(20);
    let first = one_server("c1", &stage.agent(Place::Pod("c1")).ask(&ask));
    let others: Vec<&'static str> = ALL.into_iter().filter(|server| *server != first).collect();
    stage.provide(&[sticky("faithful", 3600, &others)]);
    let second = one_server("c1", &stage.agent(Place::Pod("c1")).ask(&ask));
    assert_ne!(first, second);
    stage.provide(&[sticky("faithful", 3600, &ALL)]);
    let third = one_server("c1", &stage.agent(Place::Pod("c1")).ask(&ask));
    assert_eq!(second, third, "{first} is back, and is forgotten");
}
