// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_api::view::{ViewChanges, ViewSnapshot};
use netlab_api::{ProxyMode, Service};
use serde_json::{Value, from_value, json};

use std::sync::Arc;

use super::*;
use crate::node::proxy::port::{NodeFacts, plan_service};
use crate::node::proxy::select::Endpoints;

fn changes(revision: u64, changes: Vec<ViewChange>) -> ViewEvent {
    ViewEvent::Changes(ViewChanges { revision, changes })
}

fn service(name: &str, more: Value) -> Service {
    let mut spec = json!({ "clusterIP": "10.43.0.7", "ports": [{ "port": 80 }] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    from_value(json!({ "metadata": { "name": name, "namespace": "default" }, "spec": spec }))
        .unwrap()
}

fn slice(trigger: Option<Time>) -> ViewChange {
    let mut slice = EndpointSlice::default();
    if let Some(trigger) = trigger {
        slice.metadata.annotations.insert(TRIGGER_ANNOTATION.to_owned(), trigger.to_string());
    }
    ViewChange::Slice(slice.into())
}

fn sync(revision: u64) -> Sync {
    let families = vec![IpFamily::Ip, IpFamily::Ip6];
    Sync { revision, families, took: Duration::from_millis(3), full: false }
}

fn text(metrics: &ProxyMetrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

#[track_caller]
fn has(metrics: &ProxyMetrics, line: &str) {
    let text = text(metrics);
    assert!(text.lines().any(|it| it == line), "`{line}` is not in\n{text}");
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

fn at(second: i64) -> Time {
    jiff::Timestamp::from_second(1_800_000_000 + second).unwrap().into()
}

#[test]
fn changes_are_counted_and_wait_until_the_kernel_has_them() {
    let (metrics, start) = (ProxyMetrics::new(at(0)), Instant::now());
    let web = ViewChange::Service(Arc::new(service("web", json!({}))));
    metrics.received(&changes(7, vec![web, slice(None), slice(None)]), start, at(10));
    has(&metrics, "kubeproxy_sync_proxy_rules_service_changes_total 1");
    has(&metrics, "kubeproxy_sync_proxy_rules_endpoint_changes_total 2");
    has(&metrics, "kubeproxy_sync_proxy_rules_endpoint_changes_pending 2");
    has(
        &metrics,
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} 1800000010.0",
    );
    metrics.programmed(&sync(7), after(start, 2), at(12));
    has(&metrics, "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0");
    has(
        &metrics,
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv6\"} 1800000012.0",
    );
    has(&metrics, "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"} 2.0");
    has(&metrics, "kubeproxy_sync_proxy_rules_duration_seconds_sum{ip_family=\"IPv4\"} 0.003");
    has(
        &metrics,
        "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} 1",
    );
    assert!(!text(&metrics).contains("sync_full_proxy_rules_duration_seconds_count"));
}

#[test]
fn the_time_of_the_cause_counts_when_it_is_known_and_news() {
    let (metrics, start) = (ProxyMetrics::new(at(0)), Instant::now());
    metrics.received(&changes(1, vec![slice(Some(at(5)))]), start, at(10));
    metrics.programmed(&sync(1), after(start, 1), at(11));
    has(&metrics, "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"} 6.0");
    // Before this daemon was there.
    metrics.received(&changes(2, vec![slice(Some(at(-500)))]), start, at(10));
    metrics.programmed(&sync(2), after(start, 1), at(11));
    has(&metrics, "kubeproxy_network_programming_duration_seconds_sum{ip_family=\"IPv4\"} 7.0");
}

#[test]
fn a_change_that_waits_for_too_long_is_told_with_the_reason() {
    let (metrics, start) = (ProxyMetrics::new(at(0)), Instant::now());
    metrics.received(&changes(3, vec![slice(None)]), start, at(0));
    assert_eq!(metrics.stuck(after(start, 30)), None);
    let stuck = metrics.stuck(after(start, 31)).unwrap();
    assert!(stuck.contains("31 s") && stuck.contains("does not get to it"), "{stuck}");
    metrics.failed(&[IpFamily::Ip], "the kernel says no");
    assert!(metrics.stuck(after(start, 40)).unwrap().ends_with("the kernel says no"));
    has(&metrics, "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"} 1");
    // A younger change came meanwhile, and is not in the kernel yet.
    metrics.received(&changes(4, vec![slice(None)]), after(start, 35), at(35));
    metrics.programmed(&sync(3), after(start, 41), at(41));
    assert_eq!(metrics.stuck(after(start, 60)), None);
    let stuck = metrics.stuck(after(start, 66)).unwrap();
    assert!(stuck.contains("does not get to it"), "{stuck}");
    metrics.programmed(&sync(4), after(start, 67), at(67));
    assert_eq!(metrics.stuck(after(start, 500)), None);
}

#[test]
fn what_is_not_about_services_does_not_wait_and_a_change_of_the_layout_does() {
    let (metrics, start) = (ProxyMetrics::new(at(0)), Instant::now());
    metrics.received(&ViewEvent::Ping, start, at(0));
    let gone = ViewChange::NodeGone { name: "n2".to_owned() };
    metrics.received(&changes(1, vec![gone]), start, at(0));
    assert_eq!(metrics.stuck(after(start, 100)), None);
    metrics.received(&changes(2, vec![ViewChange::ProxyMode(ProxyMode::Iptables)]), start, at(0));
    assert!(metrics.stuck(after(start, 100)).is_some());
    // A server that was put back to an older state counts on from there.
    let snapshot = ViewSnapshot { revision: 1, ..ViewSnapshot::default() };
    metrics.received(&ViewEvent::Snapshot(Box::new(snapshot)), after(start, 100), at(100));
    metrics.programmed(&sync(1), after(start, 101), at(101));
    assert_eq!(metrics.stuck(after(start, 500)), None);
}

#[test]
fn what_changed_nothing_waits_no_more() {
    let (metrics, start) = (ProxyMetrics::new(at(0)), Instant::now());
    let gone = |revision| {
        let (namespace, name) = ("default".to_owned(), "web-1".to_owned());
        changes(revision, vec![ViewChange::SliceGone { namespace, name }])
    };
    metrics.received(&gone(1), start, at(0));
    metrics.received(&gone(2), start, at(0));
    metrics.settled(1);
    has(&metrics, "kubeproxy_sync_proxy_rules_endpoint_changes_pending 1");
    metrics.settled(2);
    has(&metrics, "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0");
    assert_eq!(metrics.stuck(after(start, 100)), None);
    assert!(!text(&metrics).contains("programming_duration_seconds_count"), "nothing was written");
}

#[test]
fn ports_without_local_endpoints_are_counted_by_policy() {
    let metrics = ProxyMetrics::new(at(0));
    let elsewhere: EndpointSlice = from_value(json!({
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.42.0.66"], "nodeName": "n2" }],
        "ports": [{ "port": 80 }],
    }))
    .unwrap();
    let plan_with = |service: &Service, endpoints: Endpoints| {
        let name = ("default".to_owned(), service.metadata.name.clone());
        let node = NodeFacts { name: "n1".to_owned(), zone: None };
        (name, plan_service(service, &endpoints, &node))
    };
    let plan = |service: &Service| plan_with(service, Endpoints::of([&elsewhere]));
    let local = json!({ "internalTrafficPolicy": "Local" });
    let door = json!({
        "type": "NodePort",
        "externalTrafficPolicy": "Local",
        "ports": [{ "port": 80, "nodePort": 30080 }],
    });
    let count = |policy: &str, count: u32| {
        format!(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total\
            {{ip_family=\"IPv4\",traffic_policy=\"{policy}\"}} {count}"
        )
    };
    let both = BTreeMap::from([plan(&service("a", local.clone())), plan(&service("b", door))]);
    metrics.planned(&both, true);
    has(&metrics, &count("internal", 1));
    has(&metrics, &count("external", 1));
    metrics.planned(&BTreeMap::from([(both.keys().next().unwrap().clone(), Vec::new())]), false);
    has(&metrics, &count("internal", 0));
    has(&metrics, &count("external", 1));
    metrics.planned(&BTreeMap::from([plan(&service("c", local.clone()))]), true);
    has(&metrics, &count("internal", 1));
    has(&metrics, &count("external", 0));
    let nowhere = plan_with(&service("c", local), Endpoints::default());
    metrics.planned(&BTreeMap::from([nowhere]), true);
    has(&metrics, &count("internal", 0));
}

#[test]
fn deleted_flows_are_counted() {
    let metrics = ProxyMetrics::new(at(0));
    metrics.deleted_flows(IpFamily::Ip6, 3, Duration::from_millis(5));
    has(&metrics, "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv6\"} 3");
    has(
        &metrics,
        "kubeproxy_conntrack_reconciler_sync_duration_seconds_sum{ip_family=\"IPv6\"} 0.005",
    );
    metrics.cleanup_failed(&[IpFamily::Ip]);
    has(
        &metrics,
        "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total{ip_family=\"IPv4\"} 1",
    );
}
