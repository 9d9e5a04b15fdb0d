// SPDX-License-Identifier: GPL-3.0-or-later
//! Endpoints of services whose pods are on several nodes: they are there when a change is
//! programmed, and gone from all nodes before a pod is told to end.

use std::time::{Duration, Instant};

use netlab_tests::{Cluster, poll};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// How long a pod is kept from its end when a node does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": { "nodeName": node, "command": ["sleep", "infinity"] },
    })
}

fn web() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "web" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
    })
}

/// Applies objects and waits until all nodes have programmed them; answers what they are.
fn apply(cluster: &Cluster, items: &[Value]) {
    let body = json!({ "items": items });
    let applied = cluster.server().api("POST", "/v1/apply", Some(&body)).expect(200);
    programmed(cluster, &applied["revision"]);
}

fn programmed(cluster: &Cluster, revision: &Value) {
    let revision = revision.as_u64().or_else(|| revision.as_str()?.parse().ok()).unwrap();
    cluster.server().get(&format!("/v1/programmed?revision={revision}")).expect(200);
}

/// Names of the pods of the service's endpoints, and whether each is terminating.
fn endpoints(cluster: &Cluster) -> Vec<(String, bool)> {
    let slices = cluster.server().get("/v1/endpointslices").expect(200);
    let slices = slices["items"].as_array().unwrap().iter();
    let endpoints = slices.filter_map(|slice| slice["endpoints"].as_array()).flatten();
    let mut found: Vec<_> = endpoints
        .map(|endpoint| {
            let name = endpoint["targetRef"]["name"].as_str().unwrap().to_owned();
            (name, endpoint["conditions"]["terminating"] == true)
        })
        .collect();
    found.sort();
    found
}

/// Waits until the node says that it ends the pod.
fn wait_for_killing(cluster: &Cluster, pod: &str) {
    poll("the pod is told to end", || {
        let events = cluster.server().get("/v1/events").expect(200);
        let is_it =
            |event: &&Value| event["reason"] == "Killing" && event["involvedObject"]["name"] == pod;
        events["items"].as_array().unwrap().iter().find(is_it).map(|_| ())
    });
}

fn delete(cluster: &Cluster, pod: &str) -> Value {
    let path = format!("/v1/namespaces/default/pods/{pod}?gracePeriodSeconds=20");
    cluster.server().api("DELETE", &path, None).expect(200)
}

#[test]
fn endpoints_are_there_when_a_change_is_programmed() {
    let cluster = Cluster::builder("endpoints").racks(&[2]).start();
    apply(&cluster, &[web(), pod("a", "n1"), pod("b", "n2")]);
    let named = |names: &[&str]| -> Vec<(String, bool)> {
        names.iter().map(|name| ((*name).to_owned(), false)).collect()
    };
    assert_eq!(endpoints(&cluster), named(&["a", "b"]));
    apply(&cluster, &[pod("c", "n2")]);
    assert_eq!(endpoints(&cluster), named(&["a", "b", "c"]));
    let gone = cluster.server().api("DELETE", "/v1/namespaces/default/services/web", None);
    programmed(&cluster, &gone.expect(200)["metadata"]["resourceVersion"]);
    assert!(endpoints(&cluster).is_empty());
}

#[test]
fn a_pod_is_told_to_end_only_when_no_node_leads_connections_to_it() {
    let cluster = Cluster::builder("drained").racks(&[2]).start();
    apply(&cluster, &[web(), pod("a", "n1"), pod("b", "n1"), pod("c", "n1")]);
    // A node that does not answer is waited for, and not for long.
    cluster.node("n2").signal(Signal::SIGSTOP);
    let began = Instant::now();
    delete(&cluster, "a");
    wait_for_killing(&cluster, "a");
    let took = began.elapsed();
    cluster.node("n2").signal(Signal::SIGCONT);
    assert!(took >= PATIENCE, "told after {took:?}, while n2 led connections to it");
    // A pod that nobody leads connections to does not wait.
    let gone = cluster.server().api("DELETE", "/v1/namespaces/default/services/web", None);
    programmed(&cluster, &gone.expect(200)["metadata"]["resourceVersion"]);
    cluster.node("n2").signal(Signal::SIGSTOP);
    let began = Instant::now();
    delete(&cluster, "b");
    wait_for_killing(&cluster, "b");
    let took = began.elapsed();
    cluster.node("n2").signal(Signal::SIGCONT);
    assert!(took < PATIENCE, "told after {took:?}, though it backs no service");
}
