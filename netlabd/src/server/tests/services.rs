// SPDX-License-Identifier: GPL-3.0-or-later
//! Services and slices of endpoints, by all verbs.

use serde_json::Value;

use super::objects::PATCH;
use super::*;

const SERVICES: &str = "/v1/namespaces/default/services";
const SLICES: &str = "/v1/namespaces/default/endpointslices";

async fn post(lab: &Lab, path: &str, body: &Value) -> Value {
    let created = lab.send("POST", path, &[], body.to_string()).await;
    assert_eq!(created.status, 201, "{created:?}");
    created.json()
}

#[tokio::test]
async fn a_service_is_created_replaced_patched_watched_and_deleted() {
    let lab = Lab::new().await;
    let web = json!({
        "metadata": { "name": "web" },
        "spec": { "type": "NodePort", "ports": [{ "port": 80 }] },
    });
    let made = post(&lab, SERVICES, &web).await;
    assert_eq!((&made["kind"], &made["spec"]["type"]), (&json!("Service"), &json!("NodePort")));
    let ip = made["spec"]["clusterIP"].as_str().expect("an address").to_owned();

    let path = format!("{SERVICES}/web");
    assert_eq!(lab.get(&path).await.json(), made);
    // As a manifest has it: without what the cluster gave.
    let replaced = lab.send("PUT", &path, &[], web.to_string()).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert_eq!(replaced.json()["spec"], made["spec"]);
    let patch = json!({ "spec": { "sessionAffinity": "ClientIP" } });
    let patched = lab.send("PATCH", &path, &[PATCH], patch.to_string()).await.json();
    let seconds = &patched["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    assert_eq!(seconds, &json!(10_800));
    let foreign = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } } });
    let refused = lab.send("PATCH", &path, &[PATCH], foreign.to_string()).await;
    refused.refused(Reason::Invalid, &["status.loadBalancer", "cannot be patched"]);

    let rival = json!({
        "metadata": { "name": "db" }, "spec": { "clusterIP": ip, "ports": [{ "port": 80 }] }
    });
    let refused = lab.send("POST", SERVICES, &[], rival.to_string()).await;
    let holder = format!("{ip} is already the cluster IP of service default/web");
    refused.refused(Reason::Invalid, &[&holder]);

    let list = lab.get("/v1/services").await.json();
    assert_eq!((&list["kind"], &list["items"][0]), (&json!("ServiceList"), &patched));
    let deleted = lab.send("DELETE", &path, &[], "").await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    lab.get(&path).await.refused(Reason::NotFound, &["services \"web\" not found"]);
    assert_eq!(post(&lab, SERVICES, &rival).await["spec"]["clusterIP"], json!(ip));

    let metrics = String::from_utf8(lab.get("/metrics").await.body.to_vec()).expect("text");
    let counted = "netlab_api_requests_total{method=\"POST\",\
                   path=\"/v1/namespaces/{namespace}/services\",code=\"422\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn slices_are_written_by_users_and_deleted_by_selector() {
    let lab = Lab::new().await;
    for (name, service) in [("a", "db"), ("b", "db"), ("c", "web")] {
        let slice = json!({
            "metadata": { "name": name, "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["192.0.2.1"] }],
            "ports": [{ "port": 5432 }],
        });
        post(&lab, SLICES, &slice).await;
    }
    let patch = json!({ "endpoints": [{ "addresses": ["192.0.2.2"] }] });
    let path = format!("{SLICES}/a");
    let patched = lab.send("PATCH", &path, &[PATCH], patch.to_string()).await.json();
    assert_eq!(patched["endpoints"][0]["addresses"], json!(["192.0.2.2"]));
    let wrong = json!({ "endpoints": [{ "addresses": ["127.0.0.1"] }] });
    let refused = lab.send("PATCH", &path, &[PATCH], wrong.to_string()).await;
    refused.refused(Reason::Invalid, &["loopback"]);
    let of_db = format!("{SLICES}?labelSelector=kubernetes.io/service-name%3Ddb");
    let deleted = lab.send("DELETE", &of_db, &[], "").await;
    assert_eq!(deleted.json()["items"].as_array().map(Vec::len), Some(2));
    let left = lab.get("/v1/endpointslices").await.json();
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(left["items"][0]["metadata"]["name"], "c");
}
