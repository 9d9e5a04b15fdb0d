// SPDX-License-Identifier: GPL-3.0-or-later
//! Random partitions, kills and sabotage while pods are made and deleted: afterwards all that was
//! promised is so, everybody talks to everybody, and nothing is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use netlab_tests::cluster::MTU;
use netlab_tests::{Cluster, Dice, Lab, observe, poll};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::routes::{VXLAN_HEADER, assert_all_pairs, run_servers};

const ROUNDS: u64 = 20;

/// What is done to a node for a while.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Cut,
    Kill,
    Stop,
    Sabotage,
}

/// What was promised of a pod: that it is there, or that it is gone.
type Promises = BTreeMap<String, bool>;

#[test]
fn after_twenty_partitions_and_kills_every_pair_talks_and_nothing_is_left() {
    let mut dice = Dice::seeded("CHAOS_SEED");
    let config = "route-mode = 'auto'\nnode-grace = '2s'";
    let mut cluster = Cluster::builder("chaos").racks(&[2, 1]).config(config).start();
    let servers = run_servers(&cluster);
    let mut promises: Promises = servers.iter().map(|pod| (pod.clone(), true)).collect();
    for round in 0..ROUNDS {
        let victim = *dice.pick(&["n1", "n2", "n3"]);
        let fault = *dice.pick(&[Fault::Cut, Fault::Kill, Fault::Stop, Fault::Sabotage]);
        println!("round {round}: {fault:?} {victim}");
        begin(&mut cluster, victim, fault, &mut dice);
        let others: Vec<&Lab> =
            cluster.nodes().iter().filter(|node| node.node_name != victim).collect();
        let asked = *dice.pick(&others);
        let wishes = dice.split();
        let rest = Duration::from_millis(dice.roll(2500));
        thread::scope(|scope| {
            let promises = &mut promises;
            let wishing = scope.spawn(move || wish(asked, round, wishes, promises));
            // How long it lasts is the test, so this is no wait for anything.
            thread::sleep(rest);
            match fault {
                Fault::Cut => cluster.heal(victim),
                Fault::Stop => cluster.node(victim).signal(Signal::SIGCONT),
                Fault::Kill | Fault::Sabotage => {}
            }
            if !matches!(fault, Fault::Kill) {
                wishing.join().expect("wishes are granted or refused");
            }
        });
        if matches!(fault, Fault::Kill) {
            cluster.node_mut(victim).start();
        }
        for node in ["n1", "n2", "n3"] {
            cluster.wait_node(node, "True");
        }
    }
    let pods = poll("everything is as promised", || match audit(&cluster, &promises) {
        Ok(pods) => Some(pods),
        Err(why) => {
            println!("not yet: {why}");
            None
        }
    });
    println!("{} pods after {ROUNDS} rounds", pods.len());
    assert!(promises.len() > servers.len() + 5, "too little was wished for: {promises:?}");
    assert_all_pairs(&cluster, &servers, MTU - VXLAN_HEADER);
    for node in cluster.nodes() {
        let report = node.ctl(&["doctor"]);
        assert!(report.is_ok(), "on {}: {report}", node.node_name);
    }
}

/// Does something to a node; what ends by itself needs no end.
fn begin(cluster: &mut Cluster, victim: &str, fault: Fault, dice: &mut Dice) {
    match fault {
        Fault::Cut => cluster.cut(victim),
        Fault::Kill => cluster.node_mut(victim).kill9(),
        Fault::Stop => cluster.node(victim).signal(Signal::SIGSTOP),
        Fault::Sabotage => {
            let node = &cluster.node(victim).node;
            // What is not there at present cannot be taken away.
            match dice.roll(4) {
                0 => drop(node.exec(&["nft", "delete", "table", "ip6", "netlab"])),
                1 => drop(node.exec(&["ip", "link", "del", "nlvx"])),
                2 => drop(node.exec(&["ip", "route", "flush", "proto", "110"])),
                _ => drop(node.exec(&["ip", "-6", "route", "flush", "proto", "110"])),
            }
        }
    }
}

/// Asks a node to make a pod or two and to delete one; notes what it promised.
fn wish(node: &Lab, round: u64, mut dice: Dice, promises: &mut Promises) {
    for number in 0..=dice.roll(2) {
        let name = format!("c{round}-{number}");
        if node.ctl(&["pod", "run", &name, "--no-wait"]).is_ok() {
            promises.insert(name, true);
        }
    }
    let made: Vec<String> = promises
        .iter()
        .filter(|(name, there)| **there && name.starts_with('c'))
        .map(|(name, _)| name.clone())
        .collect();
    if made.len() > 4 {
        let name = dice.pick(&made);
        if node.ctl(&["delete", "pod", name, "--now", "--wait=false"]).is_ok() {
            promises.insert(name.clone(), false);
        }
    }
}

/// Compares promises, objects, and what there is on each node.
fn audit(cluster: &Cluster, promises: &Promises) -> Result<Vec<Value>, String> {
    let list = cluster.server().get("/v1/pods").expect(200);
    let pods = observe::items(&list["items"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut homes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut addresses = BTreeSet::new();
    for pod in &pods {
        let name = text(&pod["metadata"]["name"]);
        let conditions = observe::items(&pod["status"]["conditions"]);
        let is_ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        if !is_ready || !pod["metadata"]["deletionTimestamp"].is_null() {
            return Err(format!("{name} is on its way"));
        }
        for ip in observe::items(&pod["status"]["podIPs"]) {
            if !addresses.insert(text(&ip["ip"])) {
                return Err(format!("{ip} is {name}'s and another's"));
            }
        }
        homes.entry(text(&pod["spec"]["nodeName"])).or_default().insert(name);
    }
    let there: BTreeSet<&String> = homes.values().flatten().collect();
    for (name, promised) in promises {
        if there.contains(name) != *promised {
            return Err(format!("{name}: promised {promised}"));
        }
    }
    let nobody = BTreeSet::new();
    for node in cluster.nodes() {
        let here = homes.get(&node.node_name).unwrap_or(&nobody);
        let run = node.run_dir();
        let entries = |folder: &str| -> Vec<String> {
            let found = std::fs::read_dir(run.join(folder)).into_iter().flatten().flatten();
            found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let records: BTreeSet<String> = entries("netns")
            .iter()
            .map(|name| name.strip_prefix("default_").unwrap_or(name).to_owned())
            .collect();
        if records != *here {
            return Err(format!("{}: records {records:?}, pods {here:?}", node.node_name));
        }
        let folders = entries("pods").len();
        if folders != here.len() {
            return Err(format!("{}: {folders} folders, pods {here:?}", node.node_name));
        }
        let routes = node.node.ip("-4 route show proto 110");
        let own = routes.lines().filter(|line| {
            let mut words = line.split(' ').skip_while(|word| *word != "dev");
            words.nth(1).is_some_and(|link| observe::pod_link_id(link).is_some())
        });
        if own.count() != here.len() {
            return Err(format!("{}: pods {here:?}, routes\n{routes}", node.node_name));
        }
    }
    Ok(pods)
}
