// SPDX-License-Identifier: GPL-3.0-or-later
//! Which addresses and ports services get, as users see it: rows 3 and 5.

use netlab_tests::{Lab, observe};
use serde_json::{Value, json};

/// The lowest ports are given last, and so free for those who ask for one: the first 86 of
/// 30000-32767, as in Kubernetes.
const FIRST_GIVEN: u64 = 30_086;

fn make(lab: &Lab, name: &str, spec: Value) -> netlab_tests::Response {
    let body = json!({ "kind": "Service", "metadata": { "name": name }, "spec": spec });
    lab.api("POST", "/v1/namespaces/default/services", Some(&body))
}

fn of_type(kind: &str, node_port: Option<u16>) -> Value {
    let mut port = json!({ "port": 80 });
    if let Some(node_port) = node_port {
        port["nodePort"] = json!(node_port);
    }
    json!({ "type": kind, "ports": [port], "ipFamilyPolicy": "RequireDualStack" })
}

#[test]
fn ports_and_addresses_are_given_from_above_and_those_that_are_asked_for_are_checked() {
    let lab = Lab::new("allocation");
    for number in 0..40 {
        let made = make(&lab, &format!("any-{number}"), of_type("NodePort", None)).expect(201);
        let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
        assert!((FIRST_GIVEN..=32_767).contains(&port), "{port}");
        for address in observe::items(&made["spec"]["clusterIPs"]) {
            for low in crate::offer::UNALLOCATED {
                assert_ne!(address, low, "the lowest addresses are given last");
            }
        }
    }
    let made = make(&lab, "low", of_type("NodePort", Some(30_000))).expect(201);
    assert_eq!(made["spec"]["ports"][0]["nodePort"], 30_000);
    let taken = make(&lab, "same", of_type("NodePort", Some(30_000))).error(422, "Invalid");
    assert!(taken.contains("30000") && taken.contains("default/low"), "{taken}");
    let outside = make(&lab, "outside", of_type("NodePort", Some(8080))).error(422, "Invalid");
    assert!(outside.contains("30000-32767"), "{outside}");
    // What is given back can be had again, by both.
    lab.api("DELETE", "/v1/namespaces/default/services/low", None).expect(200);
    make(&lab, "same", of_type("NodePort", Some(30_000))).expect(201);
}
