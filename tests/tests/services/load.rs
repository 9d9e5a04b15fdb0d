// SPDX-License-Identifier: GPL-3.0-or-later
//! Under load, what changes is what was to change: no connection fails because rules are written,
//! because their layout is another, because the daemon is killed or because endpoints come and go.

use std::time::{Duration, Instant};

use netlab_tests::{Background, Machine, poll, wait_until};
use serde_json::json;

use crate::agent::{Ask, is_answer};
use crate::offer::offer;
use crate::stage::{Layout, Place, Stage};

/// Connections a second, over all clients.
const RATE: u32 = 500;

/// Clients that make them, each over another family or protocol.
const CLIENTS: [(Place, usize, &str); 4] = [
    (Place::Pod("c1"), 0, "tcp"),
    (Place::Pod("c3"), 1, "tcp"),
    (Place::Node("n2"), 0, "tcp"),
    (Place::Pod("c2"), 1, "udp"),
];

const LOAD: &str = "load";

/// Begins to load a service; returns when every client has got answers.
#[track_caller]
fn begin(stage: &Stage, service: &str) {
    for (place, family, protocol) in CLIENTS {
        let ask = Ask { protocol, ..Ask::tcp(&stage.cluster_ip(service, family)) };
        stage.agent(place).load(LOAD, &ask, RATE / CLIENTS.len() as u32);
    }
    more(stage, 50);
}

/// Waits until each client has made so many more connections.
#[track_caller]
fn more(stage: &Stage, count: u64) {
    for (place, ..) in CLIENTS {
        let made = || stage.agent(place).progress(LOAD).values().sum::<u64>();
        let before = made();
        wait_until("connections are made", || made() >= before + count);
    }
}

/// Ends the load. Asserts that each connection was answered by one of these servers.
#[track_caller]
fn end(stage: &Stage, what: &str, servers: &[&str]) {
    for (place, ..) in CLIENTS {
        let (found, all) = stage.agent(place).rest(LOAD);
        let is_well =
            |answer: &String| answer.split(' ').next().is_some_and(|name| servers.contains(&name));
        let made: u64 = found.values().sum();
        println!("{what}: {place:?} made {made} connections, {} retried", all["retried"]);
        assert!(made > 100, "{what}: {place:?} made few connections: {all}");
        assert!(found.keys().all(is_well), "{what}: {place:?}: {all}");
    }
}

/// Begins to note what changes in nf_tables; returns when it is sure to be heard.
#[track_caller]
fn watch_rules(node: &Machine) -> Background {
    let monitor = node.spawn(&["nft", "monitor"]);
    poll("changes are heard", || {
        node.exec(&["nft", "add", "table", "ip", "heard"]).ok();
        node.exec(&["nft", "delete", "table", "ip", "heard"]).ok();
        monitor.output().contains("delete table ip heard").then_some(())
    });
    monitor
}

/// What changed since, but for the tables that were made to be heard.
fn changes(monitor: &Background) -> Vec<String> {
    let text = monitor.output();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains("ip heard"));
    lines.map(str::to_owned).collect()
}

#[test]
fn no_connection_fails_while_layouts_are_switched_and_daemons_killed() {
    let mut stage = Stage::bare("load", Layout::Nftables, "");
    stage.provide(&[offer("web", json!({}), &["s1", "s2", "s3"])]);
    let all = ["s1", "s2", "s3"];

    begin(&stage, "web");
    for layout in [Layout::Iptables, Layout::Nftables, Layout::Iptables, Layout::Nftables] {
        stage.switch(layout);
        more(&stage, 50);
    }
    end(&stage, "four switches", &all);

    for layout in Layout::ALL {
        stage.switch(layout);
        begin(&stage, "web");
        for node in ["n2", "n1", "n3"] {
            let monitor = watch_rules(&stage.cluster.node(node).node);
            stage.cluster.node_mut(node).kill9();
            more(&stage, 25);
            stage.cluster.node_mut(node).start();
            more(&stage, 25);
            let changes = changes(&monitor);
            assert!(changes.is_empty(), "{node} wrote what was there:\n{}", changes.join("\n"));
        }
        end(&stage, &format!("three kills in layout {}", layout.as_str()), &all);
    }

    // Other services come and go; among them one that takes the addresses of another.
    begin(&stage, "web");
    let began = Instant::now();
    let mut made = 0;
    while began.elapsed() < Duration::from_secs(2) || made < 5 {
        stage.provide(&[
            offer("more", json!({ "type": "NodePort" }), &["s1", "s3"]),
            offer("sticky", json!({ "sessionAffinity": "ClientIP" }), &["s2"]),
        ]);
        for service in ["more", "sticky"] {
            stage.delete("services", service);
        }
        made += 1;
    }
    end(&stage, &format!("{made} times two services"), &all);
}

#[test]
fn endpoints_come_and_go_under_load_and_only_those_that_are_gone_are_missed() {
    let mut stage = Stage::bare("churn", Layout::Nftables, "");
    // s2 stays, the others come and go while their servers run: whoever reaches one is answered,
    // unless rules lead nowhere for a moment, or a flow goes while its answer is on its way.
    let sets: [&[&str]; 5] = [&["s1", "s2", "s3"], &["s2"], &["s2", "s3"], &["s1", "s2"], &["s2"]];
    for layout in Layout::ALL {
        stage.switch(layout);
        stage.provide(&[offer("web", json!({}), &["s2"])]);
        begin(&stage, "web");
        let began = Instant::now();
        let mut changes = 0;
        while began.elapsed() < Duration::from_secs(3) || changes < 20 {
            stage.provide(&[offer("web", json!({}), sets[changes % sets.len()])]);
            changes += 1;
        }
        let what = format!("{changes} changes in layout {}", layout.as_str());
        end(&stage, &what, &["s1", "s2", "s3"]);
        // When a change is told as done, new connections know of it.
        stage.provide(&[offer("web", json!({}), &["s2"])]);
        let to = stage.cluster_ip("web", 0);
        let found = stage.agent(Place::Pod("c1")).ask(&Ask::tcp(&to).times(50));
        assert_eq!(found.keys().filter(|answer| answer.starts_with("s2 ")).count(), 1, "{found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn a_table_that_is_deleted_by_hand_is_back_within_a_second() {
    let mut stage = Stage::bare("by-hand", Layout::Nftables, "");
    stage.provide(&[offer("web", json!({}), &["s1", "s2"])]);
    for layout in Layout::ALL {
        stage.switch(layout);
        for (family, table) in [(0, "ip"), (1, "ip6")] {
            let to = stage.cluster_ip("web", family);
            let ask = Ask { timeout: 0.1, ..Ask::tcp(&to) };
            let n1 = &stage.cluster.node("n1").node;
            n1.exec(&["nft", "delete", "table", table, "netlab"]).ok();
            let since = Instant::now();
            poll("the service is served again", || {
                let found = stage.agent(Place::Pod("c1")).ask(&ask);
                found.keys().all(|answer| is_answer(answer)).then_some(())
            });
            let took = since.elapsed();
            println!("{table} in layout {}: back after {took:?}", layout.as_str());
            assert!(took < Duration::from_secs(1), "{table} was away for {took:?}");
        }
        // Elements, too.
        if layout == Layout::Nftables {
            let n1 = &stage.cluster.node("n1").node;
            n1.exec(&["nft", "flush", "map", "ip", "netlab", "service-counts"]).ok();
            let ask = Ask { timeout: 0.1, ..Ask::tcp(&stage.cluster_ip("web", 0)) };
            let took = wait_until("the service is served again", || {
                let found = stage.agent(Place::Pod("c1")).ask(&ask);
                found.keys().all(|answer| is_answer(answer))
            });
            assert!(took < Duration::from_secs(1), "elements were away for {took:?}");
        }
    }
}
