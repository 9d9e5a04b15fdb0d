// SPDX-License-Identifier: GPL-3.0-or-later
//! What nodes tell of their services in numbers: rows 12, 13, 24, 29 and 30.

use netlab_tests::{Lab, wait_until};
use serde_json::json;

use crate::agent::Ask;
use crate::offer::offer;
use crate::stage::{Layout, Place, Stage};

/// A metric of a node; nothing when it is not told.
fn metric(node: &Lab, name: &str) -> Option<f64> {
    let text = node.get("/metrics").text;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.trim().parse().expect("a number"))
}

/// Ports without endpoints of the node, by family and policy.
fn without_local(node: &Lab, policy: &str) -> [f64; 2] {
    ["IPv4", "IPv6"].map(|family| {
        let name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
        let labels = [("ip_family", family), ("traffic_policy", policy)];
        let found = [labels, [labels[1], labels[0]]].into_iter().find_map(|[a, b]| {
            metric(node, &format!("{name}{{{}=\"{}\",{}=\"{}\"}}", a.0, a.1, b.0, b.1))
        });
        found.unwrap_or_default()
    })
}

#[test]
fn nodes_tell_of_their_services_in_numbers() {
    let mut stage = Stage::bare("numbers", Layout::Nftables, "");
    let near = json!({ "internalTrafficPolicy": "Local" });
    let door = json!({ "type": "NodePort", "externalTrafficPolicy": "Local" });
    let offers = |servers: &[&'static str]| {
        [offer("near", near.clone(), servers), offer("door", door.clone(), servers)]
    };
    stage.provide(&offers(&["s1"]));
    let ports = stage.protocols.len() as f64;
    let tell = |stage: &Stage, node: &str, wanted: f64| {
        let node = stage.cluster.node(node);
        for policy in ["internal", "external"] {
            wait_until(&format!("{} tells {wanted} of {policy}", node.node_name), || {
                without_local(node, policy) == [wanted; 2]
            });
        }
    };
    tell(&stage, "n1", 0.0);
    tell(&stage, "n3", ports);
    stage.provide(&offers(&["s1", "s3"]));
    tell(&stage, "n3", 0.0);
    // Without any endpoint clients are refused, and nothing is amiss with the policy.
    stage.provide(&offers(&[]));
    tell(&stage, "n1", 0.0);

    stage.provide(&[offer("web", json!({}), &["s1"])]);
    let n2 = stage.cluster.node("n2");
    let deleted = |family: &str| {
        let name = "kubeproxy_conntrack_reconciler_deleted_entries_total";
        metric(n2, &format!("{name}{{ip_family=\"{family}\"}}")).unwrap_or_default()
    };
    let before = ["IPv4", "IPv6"].map(deleted);
    for family in [0, 1] {
        stage.agent(Place::Pod("c2")).ask(&Ask::udp(&stage.cluster_ip("web", family)).times(3));
    }
    let body = json!({ "items": offer("web", json!({}), &["s2"]).slices(&stage.protocols, |pod| {
        (Stage::home(pod).to_owned(), stage.addresses(pod).to_vec())
    }) });
    stage.cluster.server().api("POST", "/v1/apply", Some(&body)).expect(200);
    stage.settle_all();
    wait_until("deleted flows are counted", || {
        ["IPv4", "IPv6"].map(deleted) == before.map(|it| it + 3.0)
    });

    for node in stage.cluster.nodes() {
        for path in ["/healthz", "/livez", "/readyz"] {
            node.get(path).expect(200);
        }
        let name = "kubeproxy_sync_proxy_rules";
        for family in ["IPv4", "IPv6"] {
            let of = format!("{{ip_family=\"{family}\"}}");
            let synced = metric(node, &format!("{name}_duration_seconds_count{of}"));
            assert!(synced.is_some_and(|count| count >= 1.0), "{synced:?}");
            let last = metric(node, &format!("{name}_last_timestamp_seconds{of}"));
            assert!(last.is_some_and(|second| second > 1.0e9), "{last:?}");
        }
        assert_eq!(metric(node, &format!("{name}_endpoint_changes_pending")), Some(0.0));
    }
}
