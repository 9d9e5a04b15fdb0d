// SPDX-License-Identifier: GPL-3.0-or-later
use std::time::Instant;

use serde_json::{Value, json};

use super::*;

fn entry(key: &str, value: &Value, modified: u64) -> Entry {
    Entry::new(key, value.to_string().as_bytes(), Revision(1), Revision(modified))
}

fn pod(name: &str, labels: Value) -> Entry {
    let value = json!({
        "metadata": { "name": name, "namespace": "shop", "uid": name, "labels": labels },
        "spec": { "nodeName": "n1" },
        "status": { "podIPs": [{ "ip": "10.42.0.1" }] },
    });
    entry(&format!("pods/shop/{name}"), &value, 1)
}

fn service(name: &str, selector: Value) -> Entry {
    let value = json!({
        "metadata": { "name": name, "namespace": "shop", "uid": name },
        "spec": { "selector": selector, "ports": [{ "port": 80 }] },
    });
    entry(&format!("services/shop/{name}"), &value, 1)
}

fn slice(name: &str, service: &str, managed_by: &str, modified: u64) -> Entry {
    let labels = json!({
        "kubernetes.io/service-name": service,
        "endpointslice.kubernetes.io/managed-by": managed_by,
    });
    let value = json!({ "metadata": { "name": name, "namespace": "shop", "labels": labels } });
    entry(&format!("endpointslices/shop/{name}"), &value, modified)
}

impl Index {
    fn put(&mut self, entry: Entry) {
        self.take(&Change::Put { entry, before: None });
    }

    fn delete(&mut self, last: Entry) {
        self.take(&Change::Delete { revision: Revision(9), last });
    }

    /// What is to be looked at, once.
    fn stale(&mut self) -> Vec<String> {
        std::mem::take(&mut self.stale).into_iter().map(|(_, name)| name).collect()
    }

    fn pods_of(&self, service: &str) -> Vec<String> {
        let name = ("shop".to_owned(), service.to_owned());
        self.pods(&name).into_iter().map(|pod| pod.name.to_string()).collect()
    }
}

#[test]
fn a_pod_concerns_the_services_that_select_it_now_or_did_before() {
    let mut index = Index::default();
    index.put(service("all", json!({ "tier": "front" })));
    index.put(service("web", json!({ "app": "web", "tier": "front" })));
    index.put(service("db", json!({ "app": "db" })));
    // It selects nobody, so none of its slices is ours to write.
    index.put(service("mine", json!({})));
    assert_eq!(index.stale(), ["all", "db", "web"]);
    index.put(pod("web-0", json!({ "app": "web", "tier": "front" })));
    assert_eq!(index.stale(), ["all", "web"]);
    index.put(pod("web-0", json!({ "app": "db", "tier": "front" })));
    assert_eq!(index.stale(), ["all", "db", "web"]);
    index.put(pod("web-0", json!({ "app": "db", "tier": "front" })));
    assert!(index.stale().is_empty());
    assert_eq!((index.pods_of("web"), index.pods_of("db")), (vec![], vec!["web-0".to_owned()]));
    assert!(index.pods_of("mine").is_empty());
    index.delete(pod("web-0", json!({})));
    assert_eq!(index.stale(), ["all", "db"]);
}

#[test]
fn a_service_is_looked_at_when_its_wish_changes_and_not_for_its_status() {
    let mut index = Index::default();
    index.put(pod("web-0", json!({ "app": "web" })));
    index.put(service("web", json!({ "app": "web" })));
    assert_eq!(index.stale(), ["web"]);
    let with_status = service("web", json!({ "app": "web" }));
    let mut value: Value = serde_json::from_slice(&with_status.value).unwrap();
    value["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    index.put(entry(&with_status.key, &value, 1));
    assert!(index.stale().is_empty());
    index.put(service("web", json!({ "app": "other" })));
    assert_eq!(index.stale(), ["web"]);
    assert!(index.pods_of("web").is_empty());
    index.put(pod("web-1", json!({ "app": "web" })));
    assert!(index.stale().is_empty());
    index.delete(service("web", json!({})));
    assert_eq!(index.stale(), ["web"]);
}

#[test]
fn what_others_do_to_our_slices_is_looked_at_and_theirs_are_not() {
    let mut index = Index::default();
    index.put(slice("theirs", "web", "somebody", 2));
    assert!(index.stale().is_empty());
    let name = ("shop".to_owned(), "web".to_owned());
    index.wrote(&name, "ours", Some(slice("ours", "web", "netlabd", 3)));
    index.put(slice("ours", "web", "netlabd", 3));
    assert!(index.stale().is_empty());
    index.put(slice("ours", "web", "netlabd", 4));
    assert_eq!(index.stale(), ["web"]);
    // Written twice before the store told of the first.
    index.wrote(&name, "ours", Some(slice("ours", "web", "netlabd", 5)));
    index.put(slice("ours", "web", "netlabd", 4));
    assert!(index.stale().is_empty());
    assert_eq!(index.slices(&name)["ours"].1, Revision(5));
    index.put(slice("ours", "other", "netlabd", 6));
    assert_eq!(index.stale(), ["other", "web"]);
    index.put(slice("ours", "other", "somebody", 7));
    assert_eq!(index.stale(), ["other"]);
    assert!(index.slices(&name).is_empty());
}

#[test]
fn another_zone_concerns_the_services_of_the_pods_there() {
    let node = |zone: &str| {
        let labels = json!({ "topology.kubernetes.io/zone": zone });
        entry("nodes/n1", &json!({ "metadata": { "name": "n1", "labels": labels } }), 1)
    };
    let mut index = Index::default();
    index.put(service("web", json!({ "app": "web" })));
    index.put(service("db", json!({ "app": "db" })));
    index.put(pod("web-0", json!({ "app": "web" })));
    index.stale();
    index.put(node("a"));
    assert_eq!(index.stale(), ["web"]);
    index.put(node("a"));
    assert!(index.stale().is_empty());
    index.delete(node("a"));
    assert_eq!(index.stale(), ["web"]);
    assert!(index.zones.is_empty());
}

#[test]
fn nothing_is_kept_of_a_namespace_that_is_empty_again() {
    let mut index = Index::default();
    index.put(service("web", json!({ "app": "web" })));
    index.put(pod("web-0", json!({ "app": "web" })));
    index.put(slice("ours", "web", "netlabd", 3));
    index.delete(slice("ours", "web", "netlabd", 3));
    index.delete(pod("web-0", json!({})));
    index.delete(service("web", json!({})));
    assert!(index.spaces.is_empty());
}

/// Ten thousand services and as many pods in one namespace: a change of one pod is no look at all
/// of them. The bound is a hundred times what it takes.
#[test]
fn a_change_costs_the_same_however_many_services_there_are() {
    let mut index = Index::default();
    for number in 0..10_000 {
        let labels = json!({ "app": format!("web-{number}"), "tier": "front" });
        index.put(service(&format!("web-{number}"), labels.clone()));
        index.put(pod(&format!("web-{number}-0"), labels));
    }
    index.stale();
    let began = Instant::now();
    for number in 0..100 {
        index.delete(pod(&format!("web-{number}-0"), json!({})));
        let stale = index.stale();
        assert_eq!(stale, [format!("web-{number}")]);
        assert!(index.pods_of(&stale[0]).is_empty());
    }
    assert!(began.elapsed().as_millis() < 1000, "{:?}", began.elapsed());
}
