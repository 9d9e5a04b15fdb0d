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
    let lab = Lab::new("gone");
    lab.run("stay", &[]);
    let everything = || {
        let run = lab.run_dir().display().to_string();
        let files = lab.netns_exec(&["find", &run, "-not", "-path", "*/pool*"]).ok();
        let mut network = observe::network(&lab.node);
        // Links that wait for the next pod come and go.
        network.retain(|line| !line.contains("nl"));
        (
            files.lines().filter(|line| line.contains("go")).map(str::to_owned).collect::<Vec<_>>(),
            network,
            lab.ctl(&["get", "pods", "-o", "name"]).ok(),
        )
    };
    let before = everything();
    lab.run("go", &["--", "sleep", "9999"]);
    let [v4, v6] = &lab.pod_ips("go")[..] else { panic!("two addresses expected") };
    assert!([v4, v6].iter().all(|ip| !observe::route_to(&lab.node, ip).is_empty()));
    let pids = lab.pod_pids("go");
    assert!(!pids.is_empty() && everything() != before);
    lab.ctl(&["delete", "pod", "go", "--now"]).ok();
    for ip in [v4, v6] {
        let route = observe::route_to(&lab.node, ip);
        assert_eq!(route, "", "no route is left when delete returns");
    }
    let alive: Vec<_> =
        pids.into_iter().filter(|pid| observe::is_alive(*pid)).map(observe::describe).collect();
    assert!(alive.is_empty(), "{alive:?}");
    assert_eq!(everything(), before);
    assert!(lab.state_dir().join("logs").read_dir().is_ok_and(|mut dir| {
        !dir.any(|entry| entry.is_ok_and(|e| e.file_name().to_string_lossy().contains("_go_")))
    }));
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
