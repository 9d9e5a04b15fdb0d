// SPDX-License-Identifier: GPL-3.0-or-later
//! Health check ports of load balancers whose traffic stays on its node: row 15.

use netlab_tests::wait_until;
use serde_json::{Value, json};

use crate::offer::{How, offer};
use crate::stage::{Layout, Stage};

/// Asks a node for a service, as a load balancer does: the status, and what the answer says.
/// Nothing where nobody listens.
fn ask(stage: &Stage, node: &str, family: usize, port: u64) -> Option<(u64, Value)> {
    let address = &stage.main_addresses(node)[family];
    let url = match family {
        0 => format!("http://{address}:{port}/"),
        _ => format!("http://[{address}]:{port}/"),
    };
    let words =
        ["curl", "-s", "--max-time", "5", "-D", "/dev/stderr", "-w", "\n%{http_code}", &url];
    let output = stage.cluster.host("laptop").exec(&words);
    if output.code == 7 {
        return None;
    }
    let (body, status) = output.stdout.rsplit_once('\n').unwrap();
    let head = output.stderr.to_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    Some((status.parse().unwrap(), serde_json::from_str(body).unwrap()))
}

#[test]
fn each_node_tells_load_balancers_whether_it_has_ready_endpoints() {
    let mut stage = Stage::bare("health", Layout::Nftables, "");
    let spec = || json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" });
    let lingers = offer("web", spec(), &["s1"]).with(&[("s2", How::Lingers)]);
    stage.provide(&[lingers, offer("other", json!({ "type": "LoadBalancer" }), &["s1"])]);
    let service = |name: &str| {
        let path = format!("/v1/namespaces/default/services/{name}");
        stage.cluster.server().get(&path).expect(200)["spec"].clone()
    };
    assert!(service("other")["healthCheckNodePort"].is_null());
    let port = service("web")["healthCheckNodePort"].as_u64().expect("a port");
    let expect = |stage: &Stage, counts: [u64; 3]| {
        for (node, count) in ["n1", "n2", "n3"].into_iter().zip(counts) {
            for family in [0, 1] {
                let body = json!({
                    "service": { "namespace": "default", "name": "web" },
                    "localEndpoints": count,
                    "serviceProxyHealthy": true,
                });
                let status = if count > 0 { 200 } else { 503 };
                // Listening follows the rules, which is when a change is told as done.
                wait_until(&format!("{node} has {count} endpoints"), || {
                    ask(stage, node, family, port) == Some((status, body.clone()))
                });
            }
        }
    };
    // One that is ending counts no more, though it still serves.
    expect(&stage, [1, 0, 0]);
    stage.provide(&[offer("web", spec(), &["s2", "s3"])]);
    expect(&stage, [0, 1, 1]);
    stage.delete("services", "web");
    wait_until("nobody listens", || {
        ["n1", "n2", "n3"].iter().all(|node| ask(&stage, node, 0, port).is_none())
    });
}

#[test]
fn a_node_whose_kernel_refuses_rules_tells_load_balancers_to_go_elsewhere() {
    let mut stage = Stage::bare("refusing", Layout::Nftables, "");
    let spec = || json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local" });
    stage.provide(&[offer("web", spec(), &["s1"])]);
    let path = "/v1/namespaces/default/services/web";
    let web = stage.cluster.server().get(path).expect(200);
    let port = web["spec"]["healthCheckNodePort"].as_u64().expect("a port");
    let healthy = |stage: &Stage| {
        let (status, body) = ask(stage, "n1", 0, port)?;
        Some((status, body["serviceProxyHealthy"].clone()))
    };
    wait_until("n1 is healthy", || healthy(&stage) == Some((200, json!(true))));
    // A table with an owner is nobody else's to change, and goes with its owner.
    let n1 = &stage.cluster.node("n1").node;
    let mut owner = n1.spawn(&["nft", "-i"]);
    owner.write(b"delete table ip netlab; add table ip netlab { flags owner; }\n");
    wait_until("the table has an owner", || {
        n1.exec(&["nft", "list", "tables"]).ok();
        n1.exec(&["nft", "list", "table", "ip", "netlab"]).ok().contains("owner")
    });
    let more = offer("more", json!({}), &["s2"]).service(&stage.protocols);
    let body = json!({ "items": [more] });
    stage.cluster.server().api("POST", "/v1/apply", Some(&body)).expect(200);
    wait_until("n1 is not healthy", || healthy(&stage) == Some((503, json!(false))));
    wait_until("it is told", || {
        stage.cluster.ctl(&["events"]).ok().contains("ServicesNotProgrammed")
    });
    owner.close_stdin();
    drop(owner);
    wait_until("n1 is healthy again", || healthy(&stage) == Some((200, json!(true))));
    let ask = crate::agent::Ask::tcp(&stage.cluster_ip("web", 0));
    let found = stage.agent(crate::stage::Place::Pod("c2")).ask(&ask);
    assert!(found.keys().all(|answer| crate::agent::is_answer(answer)), "{found:?}");
}
