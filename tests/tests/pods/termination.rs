// SPDX-License-Identifier: GPL-3.0-or-later
//! The end of pods: SIGTERM, grace, SIGKILL, and nothing left of them.

use std::time::{Duration, Instant};

use netlab_tests::{Lab, observe, wait_until};

#[test]
fn a_deleted_pod_has_its_grace_period_to_end_by_itself() {
    let lab = Lab::new("grace");
    let script = "trap 'echo cleaning up; exit 0' TERM; echo started; while :; do sleep 0.05; done";
    lab.run("tidy", &["--", "sh", "-c", script]);
    wait_until("it listens", || lab.ctl(&["logs", "tidy"]).stdout == "started\n");
    let mut follow = lab.ctl_spawn(&["logs", "-f", "tidy"]);
    follow.close_stdin();
    follow.wait_for("started");
    let since = Instant::now();
    lab.ctl(&["delete", "pod", "tidy", "--grace-period=20"]).ok();
    assert!(since.elapsed() < Duration::from_secs(10), "it ended by itself at once");
    let (code, log) = follow.wait();
    assert_eq!((code, log.as_str()), (0, "started\ncleaning up\n"));
}

#[test]
fn a_pod_that_ignores_sigterm_is_killed_when_its_grace_period_is_over() {
    let lab = Lab::new("deaf");
    lab.run(
        "deaf",
        &["--", "sh", "-c", "trap '' TERM; echo started; while :; do sleep 0.05; done"],
    );
    wait_until("it is deaf", || lab.ctl(&["logs", "deaf"]).stdout == "started\n");
    let since = Instant::now();
    lab.ctl(&["delete", "pod", "deaf", "--grace-period=1"]).ok();
    let took = since.elapsed();
    assert!(took >= Duration::from_secs(1), "killed after {took:?}, within its grace period");
    assert!(took < Duration::from_secs(6), "killed after {took:?}");
}

#[test]
fn a_deleted_pod_leaves_nothing_and_others_stay() {
    // Without links that are kept ready, all there is belongs to a pod.
    let lab = Lab::builder("gone").config("pool-size = 0").start();
    // The folder of all pods' cgroups comes with the first limit and goes with the daemon's state.
    lab.run("stay", &["--limit=memory=64Mi"]);
    let (run, logs) = (lab.run_dir(), lab.state_dir().join("logs"));
    let everything = || {
        let cgroups = observe::cgroups(&format!("netlab-{}-", lab.id));
        let mut find = vec!["find", run.to_str().unwrap(), logs.to_str().unwrap()];
        find.extend(cgroups.iter().map(String::as_str));
        let mut all: Vec<_> = lab.netns_exec(&find).ok().lines().map(str::to_owned).collect();
        all.extend(observe::network(&lab.node));
        all.extend(observe::mounts(run.to_str().unwrap()));
        all.sort();
        all
    };
    wait_until("the link has its name", || {
        observe::network(&lab.node).iter().any(|line| line.contains("default/stay"))
    });
    let before = everything();
    lab.run("go", &["--limit=memory=64Mi", "--", "sleep", "9999"]);
    let ips = lab.pod_ips("go");
    assert_eq!(ips.len(), 2);
    assert!(ips.iter().all(|ip| !observe::route_to(&lab.node, ip).is_empty()));
    let pids = lab.pod_pids("go");
    assert!(!pids.is_empty() && everything() != before);
    lab.ctl(&["delete", "pod", "go", "--now"]).ok();
    // At once: when delete returns, it is done.
    for ip in &ips {
        assert_eq!(observe::route_to(&lab.node, ip), "");
    }
    let alive: Vec<_> =
        pids.into_iter().filter(|pid| observe::is_alive(*pid)).map(observe::describe).collect();
    assert!(alive.is_empty(), "{alive:?}");
    let now = everything();
    let left: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
    let gone: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
    assert!(left.is_empty() && gone.is_empty(), "left: {left:#?}\ngone: {gone:#?}");
    lab.pod_exec("stay", &["ping", "-c1", "-W1", "192.0.2.9"]).ok();
}

#[test]
fn force_kills_at_once_what_ignores_sigterm() {
    let lab = Lab::new("force");
    lab.run(
        "deaf",
        &["--", "sh", "-c", "trap '' TERM; echo started; while :; do sleep 0.05; done"],
    );
    wait_until("it is deaf", || lab.ctl(&["logs", "deaf"]).stdout == "started\n");
    let since = Instant::now();
    lab.ctl(&["delete", "pod", "deaf", "--grace-period=0", "--force"]).ok();
    assert!(since.elapsed() < Duration::from_secs(5), "took {:?}", since.elapsed());
}
