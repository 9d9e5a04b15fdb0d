// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon is killed two hundred times in the middle of its work.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netlab_tests::ping::end_ping;
use netlab_tests::{Background, Dice};
use serde_json::{Value, json};

use crate::audit::{ips, uid};
use crate::daemon::{Lab, ip_of, is_ready};
use crate::http::{Answer, Client};

const ROUNDS: usize = 200;
const CLIENTS: usize = 3;
/// A client keeps about so many pods.
const PODS: usize = 8;

/// What a client knows of a name.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    /// The daemon said that the pod with this uid is made, with these addresses.
    Made(String, Vec<String>),
    /// The daemon said that it is deleted; this one must not come back.
    Deleted(String),
    /// The connection broke before the answer.
    Unknown,
}

#[test]
fn two_hundred_kills_lose_nothing_and_leave_nothing() {
    let mut dice = Dice::seeded("FAULTS_SEED");
    let mut lab = Lab::started("kill");
    lab.run_pods(&["stays-a", "stays-b"]);
    let pings = ping(&lab, "stays-a", "stays-b");
    let mut known: Vec<BTreeMap<String, Known>> = vec![BTreeMap::new(); CLIENTS];
    let mut processes: BTreeMap<String, (i32, u64)> = BTreeMap::new();
    let mut deletes = 0;
    for round in 0..ROUNDS {
        let stop = AtomicBool::new(false);
        let client = lab.client();
        thread::scope(|scope| {
            for (number, known) in known.iter_mut().enumerate() {
                let (client, stop) = (&client, &stop);
                let mut dice = dice.split();
                scope.spawn(move || work(client, number, known, &mut dice, stop));
            }
            // The instant is the test, so this is no wait for anything.
            thread::sleep(Duration::from_micros(dice.roll(60_000)));
            lab.kill9();
            stop.store(true, Ordering::SeqCst);
        });
        lab.start();
        let pods = lab.pods();
        for known in &mut known {
            deletes += known.values().filter(|k| matches!(k, Known::Deleted(_))).count();
            check_promises(round, known, &pods);
        }
        check_processes(round, &lab, &pods, &mut processes);
        if round % 20 == 19 {
            lab.audit();
        }
    }
    let pods = lab.audit();
    check_processes(ROUNDS, &lab, &pods, &mut processes);
    assert!(pods.len() > 2, "the clients made no pods");
    assert!(deletes > ROUNDS / 10, "the clients deleted next to nothing: {deletes}");
    let answers = end_ping(pings);
    println!("{} packets over {ROUNDS} kills; {deletes} deletes", answers.last);
    assert!(answers.last > 100, "too few packets to tell");
    assert!(answers.lost.is_empty(), "packets between two pods were lost: {answers:?}");
    lab.client().delete("/v1/namespaces/default/pods?gracePeriodSeconds=0").unwrap().ok();
    crate::daemon::wait_for("all pods are gone", || match lab.pods().len() {
        0 => Ok(()),
        left => Err(format!("{left} are left")),
    });
    assert!(lab.audit().is_empty());
    lab.finish();
}

/// Makes and deletes pods until the connection breaks.
fn work(
    client: &Client,
    number: usize,
    known: &mut BTreeMap<String, Known>,
    dice: &mut Dice,
    stop: &AtomicBool,
) {
    while !stop.load(Ordering::SeqCst) {
        let made: Vec<String> = known
            .iter()
            .filter(|(_, known)| matches!(known, Known::Made(..)))
            .map(|(name, _)| name.clone())
            .collect();
        let fresh = |dice: &mut Dice| format!("c{number}-{}", dice.roll(4 * PODS as u64));
        let picks = |dice: &mut Dice, count: u64| -> Vec<String> {
            (0..count).map(|_| dice.pick(&made).clone()).collect()
        };
        let went_well = if made.len() < PODS / 2 || (made.len() < PODS && dice.roll(2) == 0) {
            let count = if dice.roll(3) == 0 { 4 } else { 1 };
            let mut names: Vec<_> = (0..count).map(|_| fresh(dice)).collect();
            names.sort();
            names.dedup();
            make(client, known, &names)
        } else {
            let count = if dice.roll(3) == 0 { 3 } else { 1 };
            let mut names = picks(dice, count);
            names.sort();
            names.dedup();
            let grace = if dice.roll(2) == 0 { "?gracePeriodSeconds=0" } else { "?" };
            delete(client, known, &names, grace)
        };
        if !went_well {
            return;
        }
    }
}

fn make(client: &Client, known: &mut BTreeMap<String, Known>, names: &[String]) -> bool {
    let pod = |name: &String| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": { "command": ["sleep", "100000"] },
        })
    };
    let items: Vec<_> = names.iter().map(pod).collect();
    let path = "/v1/apply?create=true";
    match client.post(path, &json!({ "items": items })) {
        Ok(Answer { status: 200 | 201, body }) => {
            for item in body["items"].as_array().unwrap() {
                let pod = &item["object"];
                let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
                known.insert(name, Known::Made(uid(pod), ips(pod)));
            }
            true
        }
        // One of them is there, or still on its way out.
        Ok(answer) => {
            assert_eq!(answer.status, 409, "{}", answer.body);
            true
        }
        Err(_) => {
            for name in names {
                // With `create=true` an object that was there is not touched.
                if !matches!(known.get(name), Some(Known::Made(..))) {
                    known.insert(name.clone(), Known::Unknown);
                }
            }
            false
        }
    }
}

fn delete(
    client: &Client,
    known: &mut BTreeMap<String, Known>,
    names: &[String],
    query: &str,
) -> bool {
    let separator = if query.ends_with('?') { "" } else { "&" };
    let path = match names {
        [name] => format!("/v1/namespaces/default/pods/{name}{query}"),
        names => {
            format!("/v1/namespaces/default/pods{query}{separator}names={}", names.join(","))
        }
    };
    let answer = client.delete(&path);
    for name in names {
        let now = match (&answer, known.get(name)) {
            (Ok(Answer { status: 200 | 202, .. }), Some(Known::Made(uid, _))) => {
                Known::Deleted(uid.clone())
            }
            (Ok(answer), _) => panic!("{path}: {} {}", answer.status, answer.body),
            (Err(_), _) => Known::Unknown,
        };
        known.insert(name.clone(), now);
    }
    answer.is_ok()
}

/// What was acknowledged before the kill is true after it.
fn check_promises(
    round: usize,
    known: &mut BTreeMap<String, Known>,
    pods: &BTreeMap<String, Value>,
) {
    known.retain(|name, known| {
        let pod = pods.get(&format!("default/{name}"));
        let stays = pod.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        match known {
            Known::Made(made, addresses) => {
                let pod = stays.unwrap_or_else(|| panic!("round {round}: {name} was lost"));
                assert_eq!((&uid(pod), &ips(pod)), (&*made, &*addresses), "round {round}: {name}");
            }
            Known::Deleted(deleted) => {
                let back = stays.is_some_and(|pod| uid(pod) == *deleted);
                assert!(!back, "round {round}: {name} is back");
                return false;
            }
            Known::Unknown => match stays {
                Some(pod) => *known = Known::Made(uid(pod), ips(pod)),
                None => return false,
            },
        }
        true
    });
}

/// A pod that ran before runs on in the same process.
fn check_processes(
    round: usize,
    lab: &Lab,
    pods: &BTreeMap<String, Value>,
    processes: &mut BTreeMap<String, (i32, u64)>,
) {
    let mut now = BTreeMap::new();
    for pod in pods.values() {
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            continue;
        }
        let (uid, found) = (uid(pod), lab.process(pod));
        if let Some(before) = processes.get(&uid) {
            let name = &pod["metadata"]["name"];
            assert_eq!(found.as_ref(), Some(before), "round {round}: {name} has another PID 1");
        }
        if let Some(found) = found
            && is_ready(pod)
        {
            now.insert(uid, found);
        }
    }
    *processes = now;
}

/// Packets from one pod to the other.
fn ping(lab: &Lab, from: &str, to: &str) -> Background {
    lab.assert_connected(from, to);
    let (from, to) = (lab.pod(from), lab.pod(to));
    let (pid, _) = lab.process(&from).unwrap();
    let netns = format!("--net=/proc/{pid}/ns/net");
    let words = [netns.as_str(), "ping", "-i", "0.05", &ip_of(&to)];
    Background::spawn(Command::new("nsenter").args(words))
}
