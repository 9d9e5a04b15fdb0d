// SPDX-License-Identifier: GPL-3.0-or-later
//! Every lab in `examples/` comes up, and what it says must be true is.

use std::collections::BTreeSet;

use netlab_tests::{VirtualLab, wait_until};

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

/// What `count` requests by `curl WORDS` are answered, from within a machine or a pod.
#[track_caller]
fn answers(lab: &VirtualLab, from: &[&str], count: usize, words: &str) -> BTreeSet<String> {
    let script = format!("for i in $(seq {count}); do curl -sS -m 5 {words} || exit 1; done");
    let told = lab.ctl(&[from, &["--", "sh", "-c", &script]].concat()).ok();
    assert_eq!(told.lines().count(), count, "{told}");
    told.lines().map(str::to_owned).collect()
}

#[test]
fn services() {
    let lab = check("services");
    let webs = BTreeSet::from(["web-0", "web-1", "web-2"].map(str::to_owned));
    // One of three that is missed by 60 requests is one run in ten thousand million.
    assert_eq!(answers(&lab, &["exec", "client"], 60, "http://10.43.0.80/"), webs);
    let laptop = ["host", "exec", "laptop"];
    assert_eq!(answers(&lab, &laptop, 60, "http://172.30.0.3:30080/"), webs);
    let route = ["--", "ip", "route", "add", "192.0.2.80", "via", "172.30.0.2"];
    lab.ctl(&[&laptop[..], &route].concat()).ok();
    assert_eq!(answers(&lab, &laptop, 60, "http://192.0.2.80/"), webs);
    let address = |name: &str| lab.get(&["svc", name])["spec"]["clusterIP"].clone();
    assert_eq!(address("web-headless"), "None");
    assert!(address("handbook").is_null(), "an alias has no address");
    let slices = ["endpointslices", "-l", "kubernetes.io/service-name=web-headless"];
    let count = |slice: &serde_json::Value| slice["endpoints"].as_array().map_or(0, Vec::len);
    let slices = lab.get(&slices);
    let slices = netlab_tests::observe::items(&slices["items"]);
    assert_eq!(slices.iter().map(count).sum::<usize>(), 3, "{slices:?}");
    lab.down();
}

#[test]
fn affinity() {
    let lab = check("affinity");
    let client = ["exec", "client"];
    let first = answers(&lab, &client, 40, "http://10.43.0.81/");
    assert_eq!(first.len(), 1, "a client stays: {first:?}");
    assert!(answers(&lab, &client, 40, "http://10.43.0.80/").len() > 1, "it need not");
    let pod = first.first().unwrap();
    lab.ctl(&["delete", "pod", pod]).ok();
    let second = answers(&lab, &client, 40, "http://10.43.0.81/");
    assert!(second.len() == 1 && second != first, "another, and stays: {first:?}, {second:?}");
    lab.down();
}

#[test]
fn external_local() {
    let lab = check("external-local");
    let laptop = ["host", "exec", "laptop"];
    let own = BTreeSet::from(["you come from 172.30.0.4".to_owned()]);
    assert_eq!(answers(&lab, &laptop, 5, "http://172.30.0.2:30081/"), own);
    assert_eq!(answers(&lab, &laptop, 5, "http://172.30.0.225/"), own);
    let others = answers(&lab, &laptop, 5, "http://172.30.0.3:30080/");
    assert!(others.is_disjoint(&own), "by way of another node it has a node's address: {others:?}");
    lab.down();
}

#[test]
fn loadbalancer() {
    let lab = check("loadbalancer");
    let laptop = ["host", "exec", "laptop"];
    assert_eq!(answers(&lab, &laptop, 60, "http://172.30.0.240/").len(), 3);
    let has = |node: &str| {
        let told = lab.ctl(&["host", "exec", node, "--", "ip", "neigh", "show", "proxy"]).ok();
        told.lines().any(|line| line.starts_with("172.30.0.240 "))
    };
    let nodes = ["n1", "n2", "n3"];
    let before: Vec<&str> = nodes.into_iter().filter(|node| has(node)).collect();
    assert_eq!(before, ["n3"], "one node answers for the address");
    lab.ctl(&["link", "down", "n3"]).ok();
    wait_until("another node takes the address over", || has("n1") || has("n2"));
    // Two of three pods are left, and the address is where it was.
    wait_until("the laptop reaches it again", || {
        let curl = ["host", "exec", "laptop", "--", "curl", "-sS", "-m", "1"];
        lab.ctl(&[&curl[..], &["http://172.30.0.240/"]].concat()).is_ok()
    });
    assert_eq!(answers(&lab, &laptop, 60, "http://172.30.0.240/").len(), 2);
    lab.ctl(&["lab", "reset"]).ok();
    wait_until("it goes back to the node that it was at", || {
        nodes.into_iter().filter(|node| has(node)).collect::<Vec<_>>() == ["n3"]
    });
    wait_until("all tests hold again", || lab.ctl(&["lab", "test"]).is_ok());
    lab.down();
}

#[test]
fn dns() {
    let lab = check("dns");
    let exec = |words: &[&str]| lab.ctl(&[&["exec", "client", "--"][..], words].concat());
    let addresses = |name: &str| -> BTreeSet<String> {
        let told = exec(&["getent", "ahosts", name]).ok();
        told.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect()
    };
    assert_eq!(addresses("db").len(), 4, "two pods with two addresses each");
    assert_eq!(addresses("copy.db").len(), 2);
    assert_eq!(addresses("printer.lan"), BTreeSet::from(["192.0.2.7".to_owned()]));
    let reverse = exec(&["getent", "hosts", "192.0.2.7"]).ok();
    assert!(reverse.contains("printer.lan"), "{reverse}");
    let port = exec(&["dig", "+search", "+short", "_http._tcp.web", "SRV"]).ok();
    assert!(port.ends_with(" 80 web.default.svc.cluster.local.\n"), "{port}");
    // The Internet, as the file says how to start it.
    let words = ["host", "exec", "internet", "--", "dnsmasq", "--keep-in-foreground"];
    let more = ["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root"];
    let pid = format!("--pid-file={}", lab.dir().join("internet.pid").display());
    let name = [&pid, "--address=/example.org/198.51.100.80"];
    let all = [&["--lab", &lab.name][..], &words, &more, &name].concat();
    let internet = netlab_tests::Background::spawn(&mut lab.netlabctl(&all));
    wait_until("names outside have addresses", || {
        exec(&["getent", "ahosts", "www.example.org"]).is_ok()
    });
    assert!(addresses("handbook").contains("198.51.100.80"));
    drop(internet);
    assert!(!addresses("web").is_empty(), "the cluster's names go on");
    lab.down();
}
