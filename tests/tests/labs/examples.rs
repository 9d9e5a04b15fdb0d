// SPDX-License-Identifier: GPL-3.0-or-later
//! Every lab in `examples/` comes up, and what it says must be true is.

use netlab_tests::VirtualLab;

/// Builds the example, runs its tests, and removes it without a trace.
#[track_caller]
fn check(name: &str) -> VirtualLab {
    let lab = VirtualLab::example(name);
    lab.up().ok();
    let told = lab.ctl(&["lab", "test"]);
    assert!(told.is_ok(), "{told}");
    let nodes = lab.get(&["nodes"]);
    for node in netlab_tests::observe::items(&nodes["items"]) {
        let name = node["metadata"]["name"].as_str().unwrap();
        // A command on any node's socket works as on the server's.
        let pods = lab.ctl(&["--node", name, "get", "pods", "-o", "name"]).ok();
        assert_eq!(pods, lab.ctl(&["get", "pods", "-o", "name"]).ok());
    }
    lab
}

#[test]
fn quickstart() {
    let lab = check("quickstart");
    let pods = lab.ctl(&["get", "pods", "-o", "wide"]).ok();
    assert!(pods.contains("n1") && pods.contains("n2"), "spread over both nodes: {pods}");
    lab.down();
}

#[test]
fn two_racks() {
    let lab = check("two-racks");
    let labels =
        lab.ctl(&["get", "nodes", "-l", "topology.kubernetes.io/zone=rack1", "-o", "name"]);
    assert_eq!(labels.ok(), "node/n1\nnode/n2\n");
    lab.down();
}

#[test]
fn dual_stack() {
    let lab = check("dual-stack");
    let pods = lab.ctl(&["get", "pods", "-o", "jsonpath={.items[*].status.podIPs[*].ip}"]).ok();
    assert!(pods.contains("10.99.") && pods.contains("fd99:"), "{pods}");
    lab.down();
}

#[test]
fn partition() {
    let lab = check("partition");
    lab.ctl(&["node", "heal", "n2", "n3"]).ok();
    let told = lab.ctl(&["lab", "test"]);
    assert_eq!(told.code, 1, "two reaches three now: {told}");
    assert!(told.stdout.contains("expected timeout, and it is ok"), "{told}");
    lab.ctl(&["lab", "reset"]).ok();
    lab.ctl(&["lab", "test"]).ok();
    lab.down();
}
