// SPDX-License-Identifier: GPL-3.0-or-later
//! Many watchers, some of which never read, while pods come and go.

use std::fs;
use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{Lab, wait_for};

const READING: usize = 20;
const STALLED: usize = 200;
const ROUNDS: usize = 15;
const PODS: usize = 10;

/// Rounds until every buffer is full that a watcher without a reader can fill.
const WARM_UP: usize = 7;

/// What the daemon may still grow by after that: the store's history, which is bounded.
const GROWTH_KIB: u64 = 24 << 10;

fn resident_kib(lab: &Lab) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", lab.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn slow_watchers_cost_nothing_and_hold_nobody_up() {
    let lab = Lab::started("watchers");
    let client = lab.client();
    let stalled: Vec<_> =
        (0..STALLED).map(|_| client.watch("/v1/pods?watch=true").unwrap()).collect();
    let heard = AtomicU64::new(0);
    let mut before = 0;
    let mut longest = Duration::ZERO;
    thread::scope(|scope| {
        for _ in 0..READING {
            let (client, heard) = (client.clone(), &heard);
            scope.spawn(move || read_until_marker(&client, heard));
        }
        for round in 0..ROUNDS {
            if round == WARM_UP {
                before = resident_kib(&lab);
            }
            let items: Vec<_> = (0..PODS)
                .map(|n| {
                    let mut pod = lab.pod_object(&format!("w{n}"));
                    // Large enough that those who do not read fill every buffer on the way.
                    pod["metadata"]["annotations"] = json!({ "filler": "x".repeat(8 << 10) });
                    pod
                })
                .collect();
            let began = Instant::now();
            client.post("/v1/apply", &json!({ "items": items })).unwrap().ok();
            longest = longest.max(began.elapsed());
            client.delete("/v1/namespaces/default/pods?gracePeriodSeconds=0").unwrap().ok();
            wait_for("the pods are gone", || match lab.pods().len() {
                0 => Ok(()),
                left => Err(left.to_string()),
            });
        }
        client.post("/v1/namespaces/default/pods", &lab.pod_object("marker")).unwrap().ok();
    });
    let after = resident_kib(&lab);
    println!("{before} KiB before, {after} KiB after; slowest apply {longest:?}");
    assert!(after < before + GROWTH_KIB, "{before} KiB grew to {after} KiB");
    assert!(longest < Duration::from_secs(5), "an apply took {longest:?}");
    // Every reader heard every pod come and go.
    let least = (READING * ROUNDS * PODS * 2) as u64;
    let heard = heard.load(Ordering::SeqCst);
    assert!(heard >= least, "{heard} events were heard, not {least}");
    drop(stalled);
    wait_for("the watches of those who left have ended", || {
        client.post("/v1/apply", &json!({ "items": [lab.pod_object("tick")] })).unwrap().ok();
        client.delete("/v1/namespaces/default/pods/tick?gracePeriodSeconds=0").unwrap().ok();
        lab.wait_gone("tick");
        let metrics = client.get("/metrics").unwrap().ok();
        let text = metrics.as_str().unwrap().to_owned();
        let watchers = text
            .lines()
            .find(|line| {
                line.starts_with("netlab") && line.contains("watch") && !line.starts_with('#')
            })
            .map(str::to_owned);
        match watchers {
            Some(line) if line.ends_with(" 0") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    lab.audit();
    lab.finish();
}

/// Counts what comes and goes until the pod `marker` comes.
fn read_until_marker(client: &crate::http::Client, heard: &AtomicU64) {
    let mut watch = client.watch("/v1/pods?watch=true").unwrap();
    let mut line = String::new();
    loop {
        line.clear();
        assert!(watch.read_line(&mut line).unwrap() > 0, "the watch ended");
        // Lines between chunks and of the head are no events.
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(kind) = event["type"].as_str() else { continue };
        assert_ne!(kind, "ERROR", "{line}");
        if event["object"]["metadata"]["name"] == "marker" {
            return;
        }
        if kind == "ADDED" || kind == "DELETED" {
            heard.fetch_add(1, Ordering::SeqCst);
        }
    }
}
