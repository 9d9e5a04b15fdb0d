// SPDX-License-Identifier: GPL-3.0-or-later
//! Nodes that join, and commands on any of them.

use netlab_tests::{Cluster, wait_until};

#[test]
fn nodes_join_and_a_command_on_any_of_them_works_as_on_the_server() {
    let cluster = Cluster::builder("join").start();
    for node in cluster.nodes() {
        let listed = node.ctl(&["get", "nodes", "--no-headers"]).ok();
        let ready = listed.lines().filter(|line| line.contains(" Ready ")).count();
        assert_eq!(ready, 3, "on {}:\n{listed}", node.node_name);
    }
    // Made on one node, run on another, asked on a third.
    let n2 = cluster.node("n2");
    n2.ctl(&["pod", "run", "web", "--node=n3", "--", "sh", "-c", "echo hello; exec sleep 1000"])
        .ok();
    for node in cluster.nodes() {
        assert_eq!(node.ctl(&["exec", "web", "--", "hostname"]).ok().trim(), "web");
        assert_eq!(node.ctl(&["logs", "web"]).ok().trim(), "hello");
        let output = node.ctl_with_input(&["exec", "-i", "web", "--", "cat"], "through the tunnel");
        assert_eq!(output.ok(), "through the tunnel");
        node.ctl(&["exec", "web", "--", "sh", "-c", "exit 7"]).fails(7);
        let long = "# nothing\n".repeat(13_000) + "echo long";
        assert_eq!(node.ctl(&["exec", "web", "--", "sh", "-c", &long]).ok(), "long\n");
    }
    cluster.ctl(&["delete", "pod", "web", "--now"]).ok();
    wait_until("the pod's netns is gone", || !cluster.node("n3").pod_netns("web").exists());
}

#[test]
fn names_of_pods_of_other_nodes_are_known_when_the_command_returns() {
    let cluster = Cluster::builder("names").racks(&[2]).start();
    cluster.run_on("n1", "client", &[]);
    cluster.run_on("n2", "web", &[]);
    let known = |name: &str| {
        let output = cluster.ctl(&["exec", "client", "--", "getent", "hosts", name]);
        output.is_ok()
    };
    assert!(known("web") && known("web.default"));
    cluster.ctl(&["delete", "pod", "web", "--now"]).ok();
    assert!(!known("web"));
}

#[test]
fn replicas_are_spread_and_a_cordoned_node_gets_none() {
    let cluster = Cluster::builder("spread").start();
    cluster.ctl(&["cordon", "n2"]).ok();
    cluster.ctl(&["pod", "run", "web", "--replicas=4"]).ok();
    let homes = (0..4).map(|n| cluster.home_of(&format!("web-{n}")).node_name.clone());
    let mut homes: Vec<_> = homes.collect();
    homes.sort();
    assert_eq!(homes, ["n1", "n1", "n3", "n3"]);
}

#[test]
fn a_followed_log_outlives_the_daemon_of_the_pods_node() {
    let mut cluster = Cluster::builder("follow").racks(&[2]).start();
    let script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done";
    cluster.run_on("n2", "web", &["--", "sh", "-c", script]);
    let follow = cluster.server().ctl_spawn(&["logs", "-f", "web"]);
    follow.wait_for("line 10\n");
    cluster.node_mut("n2").restart();
    let reached = follow.output().lines().count();
    follow.wait_for(&format!("line {}\n", reached + 50));
    let output = follow.output();
    let lines = output.lines().filter(|line| line.starts_with("line "));
    for (index, line) in lines.enumerate() {
        assert_eq!(line, format!("line {}", index + 1), "{output}");
    }
}
