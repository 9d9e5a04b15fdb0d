// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses of load balancers on the link: a host that has no route but the link's finds them,
//! also when the node that had them is gone.

use std::time::Duration;

use netlab_tests::{observe, wait_until};
use serde_json::json;

use crate::agent::{Ask, is_answer};
use crate::offer::offer;
use crate::stage::{Layout, POOLS, Place, Stage};

#[test]
fn a_host_on_the_link_finds_a_load_balancer_and_finds_it_again_when_its_node_is_gone() {
    let mut stage = Stage::bare("announced", Layout::Nftables, "node-grace = '2s'");
    let laptop = stage.cluster.host("laptop");
    for pool in POOLS {
        let family = if pool.contains(':') { "-6" } else { "-4" };
        laptop.ip(&format!("{family} route del {pool}"));
        laptop.ip(&format!("{family} route add {pool} dev eth0"));
    }
    stage.provide(&[offer("web", json!({ "type": "LoadBalancer" }), &["s1", "s2", "s3"])]);
    let asks = [0, 1].map(|family| Ask::tcp(&stage.balancer_ip("web", family)).times(30));
    for ask in &asks {
        let found = stage.agent(Place::Host("laptop")).ask(ask);
        assert!(found.keys().all(|outcome| is_answer(outcome)), "{found:?}");
    }
    for ask in asks {
        let ask = Ask { timeout: 0.5, ..ask.times(1) };
        let holder = holder(&stage, &ask.to);
        // The server stays: it is what says who is ready.
        if holder == "n1" {
            continue;
        }
        stage.cluster.cut(&holder);
        stage.cluster.wait_node(&holder, "Unknown");
        let took = wait_until("another node has the address", || {
            let found = stage.agent(Place::Host("laptop")).ask(&ask);
            found.keys().all(|outcome| is_answer(outcome))
        });
        println!("{} went on after {took:?}", ask.to);
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_ne!(self::holder(&stage, &ask.to), holder);
        stage.cluster.heal(&holder);
        stage.cluster.wait_node(&holder, "True");
    }
}

/// The node that the host believes to have an address, by its MAC.
#[track_caller]
fn holder(stage: &Stage, address: &str) -> String {
    let laptop = stage.cluster.host("laptop");
    let neighbours = observe::items(&observe::ip(laptop, "-j neigh show dev eth0"));
    let of = |wanted: &str| {
        let found = neighbours.iter().find(|it| it["dst"] == wanted)?;
        Some(found["lladdr"].as_str()?.to_owned())
    };
    let mac = of(address).unwrap_or_else(|| panic!("{address} is no neighbour: {neighbours:?}"));
    let has_mac = |node: &&netlab_tests::Lab| {
        observe::ip(&node.node, "-j link show dev eth0")[0]["address"] == mac.as_str()
    };
    let node = stage.cluster.nodes().iter().find(has_mac);
    node.unwrap_or_else(|| panic!("no node has {mac}")).node_name.clone()
}
