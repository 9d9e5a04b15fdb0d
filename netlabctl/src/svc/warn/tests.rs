// SPDX-License-Identifier: GPL-3.0-or-later
use serde_json::{Value, from_value, json};

use super::*;

fn pod(name: &str, node: &str, ready: &str) -> Pod {
    from_value(json!({
        "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": { "nodeName": node, "ports": [{ "name": "http", "containerPort": 8080 }] },
        "status": {
            "phase": "Running", "podIP": "10.42.0.5",
            "conditions": [{ "type": "Ready", "status": ready, "reason": "ReadinessProbe", "message": "refused" }],
        },
    }))
    .unwrap()
}

fn service(more: Value) -> Service {
    let mut spec =
        json!({ "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": "http" }] });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    from_value(json!({ "metadata": { "name": "web" }, "spec": spec })).unwrap()
}

#[test]
fn a_service_with_a_ready_pod_has_nothing_against_it() {
    let pods = [pod("web-0", "n1", "True"), pod("web-1", "n1", "False")];
    assert_eq!(warnings(&service(json!({})), &pods, &[Node::named("n2")]), [""; 0]);
    let alias = service(json!({ "type": "ExternalName", "externalName": "example.org" }));
    assert_eq!(warnings(&alias, &[], &[]), [""; 0]);
}

#[test]
fn a_selector_that_finds_nothing_is_compared_with_what_is_alike() {
    assert_eq!(
        warnings(&service(json!({})), &[], &[]),
        ["no pod has the labels app=web: nobody answers until one has"]
    );
    let other = service(json!({ "selector": { "app": "shop" } }));
    assert_eq!(
        warnings(&other, &[pod("web-0", "n1", "True")], &[]),
        ["no pod has the labels app=shop; pod/web-0 has app=web: did you mean these?"]
    );
}

#[test]
fn pods_that_are_not_ready_are_told_with_their_reasons() {
    let pods = [pod("web-0", "n1", "False"), pod("web-1", "n1", "False")];
    assert_eq!(
        warnings(&service(json!({})), &pods, &[]),
        [
            "none of its 2 pods is ready: pod/web-0: Ready is False: ReadinessProbe: refused; pod/web-1: Ready is False: ReadinessProbe: refused"
        ]
    );
    let all = service(json!({ "publishNotReadyAddresses": true }));
    assert_eq!(warnings(&all, &pods, &[]), [""; 0]);
}

#[test]
fn a_port_that_no_pod_names_is_told_with_those_there_are() {
    let wrong = service(json!({ "ports": [{ "port": 80, "targetPort": "web" }] }));
    assert_eq!(
        warnings(&wrong, &[pod("web-0", "n1", "True")], &[]),
        ["no pod has a TCP port named \"web\": they have http"]
    );
    let number = service(json!({ "ports": [{ "port": 80, "targetPort": 9999 }] }));
    assert_eq!(warnings(&number, &[pod("web-0", "n1", "True")], &[]), [""; 0]);
}

#[test]
fn pods_of_the_other_family_are_no_endpoints() {
    let six = service(json!({ "ipFamilies": ["IPv6"] }));
    let mut web = pod("web-0", "n1", "True");
    web.status.pod_ips = from_value(json!([{ "ip": "10.42.0.5" }])).unwrap();
    assert_eq!(warnings(&six, &[web.clone()], &[]), ["none of its pods has an IPv6 address"]);
    web.status.pod_ips = from_value(json!([{ "ip": "10.42.0.5" }, { "ip": "fd42::5" }])).unwrap();
    assert_eq!(warnings(&six, &[web], &[]), [""; 0]);
}

#[test]
fn nodes_that_drop_under_the_local_policy_are_named() {
    let local = service(json!({ "type": "NodePort", "externalTrafficPolicy": "Local" }));
    let nodes = ["n1", "n2", "n3"].map(Node::named);
    let told = warnings(&local, &[pod("web-0", "n1", "True")], &nodes);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("nodes n2, n3 have none of its pods"), "{told:?}");
}
