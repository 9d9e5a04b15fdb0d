// SPDX-License-Identifier: GPL-3.0-or-later
//! What the configuration changes: where node ports are served (row 6), whether all connections
//! are masqueraded (row 21), and whether nodes take the short cut to load balancers (row 9).

use serde_json::json;

use crate::agent::Ask;
use crate::offer::offer;
use crate::stage::{Layout, Place, Stage};

const CONFIG: &str = "load-balancer.ip-mode = 'Proxy'
services.masquerade-all = true
services.node-port-addresses = ['172.30.1.0/24', 'fd44:0:0:1::/64']
";

/// More addresses of n1, at which no ports are served.
const SECOND: [&str; 2] = ["172.31.0.1", "fd45::1"];

#[test]
fn what_the_configuration_says_of_services_holds() {
    let mut stage = Stage::bare("config", Layout::Nftables, CONFIG);
    let n1 = &stage.cluster.node("n1").node;
    let laptop = stage.cluster.host("laptop");
    for (address, via) in SECOND.into_iter().zip(stage.main_addresses("n1")) {
        n1.ip(&format!("addr add {address} dev lo"));
        let family = if address.contains(':') { "-6" } else { "-4" };
        laptop.ip(&format!("{family} route add {address} via {via}"));
    }
    let web = json!({ "type": "LoadBalancer" });
    stage.provide(&[
        offer("web", web, &["s1", "s2", "s3"]),
        offer("door", json!({ "type": "NodePort" }), &["s1"]),
    ]);
    for layout in Layout::ALL {
        stage.switch(layout);
        for (family, second) in SECOND.into_iter().enumerate() {
            for protocol in ["tcp", "udp"] {
                holds(&stage, family, second, protocol);
            }
        }
    }
    let n1 = &stage.cluster.node("n1").node;
    for address in SECOND {
        n1.ip(&format!("addr del {address} dev lo"));
    }
}

fn holds(stage: &Stage, family: usize, second: &str, protocol: &'static str) {
    let ask = |to: &str| Ask { protocol, ..Ask::tcp(to) };
    let door = stage.node_port("door", protocol);
    let main = &stage.main_addresses("n1")[family];
    let mut laptop = stage.agent(Place::Host("laptop"));
    let found = laptop.ask(&ask(main).at(door));
    assert!(found.keys().all(|answer| answer.starts_with("s1 ")), "{found:?}");
    let found = laptop.ask(&ask(second).at(door));
    assert!(found.contains_key("refused"), "nothing listens at {second}:{door}: {found:?}");
    let found = stage.agent(Place::Pod("c1")).ask(&ask(&stage.cluster_ip("web", family)).times(60));
    // To a pod of its own the node may speak from any of its addresses.
    let nodes = stage.addresses("n1").iter().map(String::as_str).chain(SECOND);
    let nodes: Vec<&str> = nodes.collect();
    assert_eq!(found.len(), 3, "{found:?}");
    let is_masqueraded =
        |answer: &String| nodes.iter().any(|ip| answer.ends_with(&format!(" {ip}")));
    assert!(found.keys().all(is_masqueraded), "{found:?}");
    // It is for the load balancer to answer: packets leave the node, and the router knows of none.
    let (wanted, timeout) = match protocol {
        // Told while the client is busy with the first segment, it counts from the second on.
        "tcp" => (&["ENETUNREACH", "EHOSTUNREACH"][..], 5.0),
        // The router says the same, and clients of UDP go on.
        _ => (&["silence"][..], 1.0),
    };
    let balancer = Ask { timeout, ..ask(&stage.balancer_ip("web", family)) };
    for place in [Place::Pod("c1"), Place::Node("n2")] {
        let found = stage.agent(place).ask(&balancer);
        let is_so = found.keys().all(|outcome| wanted.contains(&outcome.as_str()));
        assert!(is_so, "{place:?} took the short cut: {found:?}");
    }
}
