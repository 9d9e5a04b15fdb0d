// SPDX-License-Identifier: GPL-3.0-or-later
//! Stopping and coming back: pods and their packets do not notice.

use std::collections::BTreeMap;
use std::time::Duration;

use netlab_tests::ping::end_ping;
use netlab_tests::server::{SERVER, ask};
use netlab_tests::{Background, Lab, observe, wait_until};

/// Each process of these pods, with the time it started.
fn processes(lab: &Lab, pods: &[&str]) -> BTreeMap<u32, Option<u64>> {
    let pids = pods.iter().flat_map(|pod| lab.pod_pids(pod));
    pids.map(|pid| (pid, observe::start_time(pid))).collect()
}

#[test]
fn pods_run_on_and_packets_flow_while_the_daemon_is_stopped_killed_and_started() {
    let mut lab = Lab::new("flow");
    let words = [&["--ready=tcp:8080", "--"], SERVER.as_slice()].concat();
    lab.run("web", &words);
    lab.run("client", &[]);
    let before = processes(&lab, &["web", "client"]);
    assert!(before.len() >= 3, "{before:?}");
    let [v4, v6] = &lab.pod_ips("web")[..] else { panic!("two addresses expected") };
    let pings = [v4, v6, "192.0.2.9"].map(|to| {
        let words = ["ping", "-i", "0.02", "-W", "2", to];
        Background::spawn(&mut lab.pod_command("client", &words))
    });
    pings.iter().for_each(|ping| ping.wait_for("icmp_seq=5 "));
    lab.stop();
    for to in [v4, v6] {
        ask(|words| lab.pod_command("client", words), to);
    }
    lab.start();
    lab.kill9();
    lab.start();
    let resumed = pings.each_ref().map(|ping| ping.output().lines().count());
    wait_until("packets flow on", || {
        pings.iter().zip(resumed).all(|(ping, before)| ping.output().lines().count() > before + 10)
    });
    for ping in pings {
        let answers = end_ping(ping);
        assert!(answers.lost.is_empty(), "{answers:?}");
    }
    assert_eq!(processes(&lab, &["web", "client"]), before, "the same processes");
    let restarts = &lab.pod("web")["status"]["containerStatuses"][0]["restartCount"];
    assert_eq!(*restarts, 0);
}

#[test]
fn a_daemon_that_comes_back_writes_nothing_that_is_right_already() {
    let mut lab = Lab::builder("silent").config("pool-size = 0").start();
    lab.run("web", &["--replicas=5"]);
    // Names of links are written at leisure.
    wait_until("links have their names", || {
        let links = observe::items(&observe::ip(&lab.node, "-j link"));
        let named = links.iter().filter(|link| link["ifalias"].is_string());
        named.count() == 5
    });
    let before = observe::network(&lab.node);
    lab.stop();
    let ip = lab.node.spawn(&["ip", "-o", "monitor", "link", "address", "route", "neigh", "rule"]);
    let nft = lab.node.spawn(&["nft", "monitor"]);
    let mut inside = lab.pod_command("web-0", &["ip", "-o", "monitor", "all"]);
    let inside = Background::spawn(&mut inside);
    // A route of ours shows that the monitors listen, and again that they have seen all.
    let mark = |lab: &Lab, net: &str| {
        for change in ["add", "del"] {
            lab.node.ip(&format!("route {change} {net} dev lo"));
            lab.pod_exec("web-0", &["ip", "route", change, net, "dev", "lo"]).ok();
        }
        let table = net.replace('.', "_");
        lab.netns_exec(&["nft", &format!("add table ip x{table}; delete table ip x{table}")]).ok();
        [(&ip, net), (&inside, net), (&nft, table.as_str())]
            .iter()
            .all(|(monitor, text)| monitor.output().contains(text))
    };
    wait_until("the monitors listen", || mark(&lab, "198.51.100.1"));
    lab.start();
    lab.ctl(&["wait", "--for=condition=Ready", "pods", "--all"]).ok();
    wait_until("the monitors have seen all", || mark(&lab, "198.51.100.2"));
    // Neighbours of the uplink are the kernel's own affair.
    let lines = foreign_to(&ip, &["198.51.100.", "dev eth0 lladdr"]);
    assert!(lines.is_empty(), "on the node: {lines:#?}");
    let lines = foreign_to(&inside, &["198.51.100."]);
    assert!(lines.is_empty(), "inside a pod: {lines:#?}");
    let lines = foreign_to(&nft, &["x198_51_100_", "# new generation"]);
    assert!(lines.is_empty(), "in nf_tables: {lines:#?}");
    assert_eq!(observe::network(&lab.node), before);
}

/// Lines of a monitor that have none of these texts.
fn foreign_to(monitor: &Background, known: &[&str]) -> Vec<String> {
    let output = monitor.output();
    let lines = output.lines().filter(|line| !line.trim().is_empty());
    lines.filter(|line| !known.iter().any(|text| line.contains(text))).map(str::to_owned).collect()
}

#[test]
fn sigterm_stops_a_daemon_at_once_whoever_follows_and_watches() {
    let mut lab = Lab::new("term");
    lab.run("web", &["--", "sh", "-c", "while :; do echo x; sleep 0.05; done"]);
    let follow = lab.ctl_spawn(&["logs", "-f", "web"]);
    let watch = lab.ctl_spawn(&["get", "pods", "-w"]);
    follow.wait_for("x");
    watch.wait_for("web");
    let took = lab.stop();
    assert!(took < Duration::from_secs(1), "{took:?}");
    lab.start();
}

#[test]
fn a_session_may_end_but_does_not_keep_a_stopping_daemon() {
    let mut lab = Lab::new("termexec");
    lab.run("web", &[]);
    let words = |script| ["exec", "-i", "web", "--", "sh", "-c", script];
    let mut ends = lab.ctl_spawn(&words("echo begin; read x; echo got $x"));
    let stays = lab.ctl_spawn(&words("echo begin; exec sleep 1000"));
    ends.wait_for("begin");
    stays.wait_for("begin");
    // Its answer is on the way when the daemon is told to stop.
    ends.write(b"it\n");
    let took = lab.stop();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(ends.wait(), (0, "begin\ngot it\n".to_owned()));
    let (code, output) = stays.wait();
    assert_ne!(code, 0, "a session that is cut is no success: {output}");
    lab.start();
}
