// SPDX-License-Identifier: GPL-3.0-or-later
//! Nodes that joined follow when the server is started with another configuration.

use netlab_tests::lab::Lab;
use netlab_tests::{Cluster, wait_until};
use serde_json::json;

const BEFORE: &str = "load-balancer.pools = ['203.0.113.0/28']
services.node-port-addresses = ['172.30.1.0/24']
";
const AFTER: &str = "load-balancer.pools = ['198.51.100.0/28']
services.node-port-addresses = ['127.0.0.0/8', '172.30.1.2/32']
services.masquerade-all = true
";

#[test]
fn joined_nodes_follow_another_configuration_of_the_server() {
    let mut cluster = Cluster::builder("settings").racks(&[2]).config(BEFORE).start();
    let web = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
        "spec": { "type": "LoadBalancer", "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
    });
    cluster.server().api("POST", "/v1/apply", Some(&json!({ "items": [web] }))).expect(200);
    wait_until("n2 goes by the configuration", || goes_by(cluster.node("n2"), false));
    cluster.server().configure(AFTER);
    cluster.node_mut("n1").restart();
    for node in ["n1", "n2"] {
        wait_until(&format!("{node} follows"), || goes_by(cluster.node(node), true));
    }
    // What the node compares its kernel with is the same.
    let doctor = cluster.node("n2").ctl(&["doctor"]).ok();
    let services = doctor.lines().find(|line| line.contains("services")).unwrap();
    let stray = "default/web has the address 203.0.113.0, which is in no pool";
    assert!(services.contains("warning") && services.contains(stray), "{doctor}");
    // A node that starts while the server is away knows it too.
    let view = cluster.node("n2").state_dir().join("view.json");
    wait_until("n2 keeps what it saw", || {
        std::fs::read_to_string(&view).is_ok_and(|text| text.contains("198.51.100.0/28"))
    });
    cluster.node_mut("n1").stop();
    cluster.node_mut("n2").stop();
    let n2 = cluster.node("n2");
    n2.netns_exec(&["nft", "delete", "table", "ip", "netlab"]).ok();
    cluster.node_mut("n2").start();
    wait_until("n2 goes by what it saw last", || goes_by(cluster.node("n2"), true));
    cluster.node_mut("n1").start();
}

/// Whether the node's rules and routes are those of the second configuration, or of the first.
fn goes_by(node: &Lab, after: bool) -> bool {
    let listed = node.netns_exec(&["nft", "list", "table", "ip", "netlab"]);
    let rules = if listed.is_ok() { listed.ok() } else { String::new() };
    let routes = node.netns_exec(&["ip", "route", "show", "dev", "nlsvc"]);
    let routes = if routes.is_ok() { routes.ok() } else { String::new() };
    let (one, other) = ("172.30.1.0/24", "172.30.1.2");
    // The address stays with its service, and its route with the node.
    let routed = if after {
        routes.contains("198.51.100.0/28")
            && routes.lines().any(|route| route.starts_with("203.0.113.0 "))
    } else {
        routes.contains("203.0.113.0/28")
    };
    routed && rules.contains(if after { other } else { one }) && rules.contains(one) != after
}
