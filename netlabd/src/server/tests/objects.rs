// SPDX-License-Identifier: GPL-3.0-or-later
//! Every route of every kind, as a client uses it.

use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::control::plane::ControlPlane;
use netlab_api::view::{NodeReport, ProgrammedReport};

pub(super) const PATCH: (&str, &str) = ("content-type", "application/merge-patch+json");

#[tokio::test]
async fn a_pod_is_created_read_replaced_patched_and_deleted() {
    let lab = Lab::new().await;
    let created =
        lab.post("/v1/namespaces/default/pods", &json!({ "metadata": { "name": "web" } })).await;
    assert_eq!(created.status, 201);
    let pod = created.json();
    assert_eq!((&pod["apiVersion"], &pod["kind"]), (&json!("v1"), &json!("Pod")));
    assert_eq!(pod["metadata"]["namespace"], "default");
    assert_eq!(created.header("netlab-revision"), pod["metadata"]["resourceVersion"]);

    let path = "/v1/namespaces/default/pods/web";
    let read = lab.get(path).await;
    assert_eq!((read.status, read.json()), (200, pod.clone()));

    let mut wanted = pod.clone();
    wanted["metadata"]["labels"] = json!({ "app": "web" });
    let replaced = lab.send("PUT", path, &[], wanted.to_string()).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert_eq!(replaced.json()["metadata"]["labels"]["app"], "web");

    let stale = lab.send("PUT", path, &[], wanted.to_string()).await;
    stale.refused(Reason::Conflict, &["web"]);

    let patch = json!({ "metadata": { "labels": { "app": null, "tier": "db" } } });
    let patched = lab.send("PATCH", path, &[PATCH], patch.to_string()).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    assert_eq!(patched.json()["metadata"]["labels"], json!({ "tier": "db" }));

    let wrong = lab.send("DELETE", &format!("{path}?resourceVersion=1"), &[], "").await;
    wrong.refused(Reason::Conflict, &[]);
    let dry = lab.send("DELETE", &format!("{path}?dryRun=true"), &[], "").await;
    assert_eq!(dry.status, 200, "{dry:?}");
    assert_eq!(lab.get(path).await.status, 200, "a dry run deletes nothing");
    let deleted = lab.send("DELETE", &format!("{path}?gracePeriodSeconds=3"), &[], "").await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    // Nobody runs it, so nobody has to let go of it.
    lab.get(path).await.refused(Reason::NotFound, &["pods \"web\" not found"]);
}

#[tokio::test]
async fn a_list_is_named_after_its_kind_and_honours_selectors() {
    let lab = Lab::new().await;
    lab.pod("a", json!({ "app": "x" })).await;
    lab.pod("b", json!({ "app": "y" })).await;
    let all = lab.get("/v1/pods").await;
    let list = all.json();
    assert_eq!(list["kind"], "PodList");
    assert_eq!(list["apiVersion"], "v1");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(list["items"][0]["kind"], "Pod");
    assert_eq!(all.header("netlab-revision"), list["metadata"]["resourceVersion"]);

    for (query, names) in [
        ("labelSelector=app%3Dx", vec!["a"]),
        ("labelSelector=app!=x", vec!["b"]),
        ("labelSelector=app%20in%20(x,y)", vec!["a", "b"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("labelSelector=nope", vec![]),
    ] {
        let reply = lab.get(&format!("/v1/namespaces/default/pods?{query}")).await.json();
        let items = reply["items"].as_array().expect("items").clone();
        let found: Vec<_> = items.iter().map(|pod| pod["metadata"]["name"].clone()).collect();
        assert_eq!(json!(found), json!(names), "{query}");
    }
    assert_eq!(lab.get("/v1/namespaces/other/pods").await.json()["items"], json!([]));
}

#[tokio::test]
async fn every_kind_answers_on_its_paths() {
    let lab = Lab::new().await;
    for (path, kind) in [
        ("/v1/namespaces", "NamespaceList"),
        ("/v1/nodes", "NodeList"),
        ("/v1/ipamblocks", "IpamBlockList"),
        ("/v1/pods", "PodList"),
        ("/v1/events", "EventList"),
        ("/v1/namespaces/default/pods", "PodList"),
        ("/v1/namespaces/default/events", "EventList"),
        ("/v1/namespaces/default", "Namespace"),
    ] {
        let reply = lab.get(path).await;
        assert_eq!((reply.status, &reply.json()["kind"]), (200, &json!(kind)), "{path}");
    }
    for path in [
        "/v1/nodes/n9",
        "/v1/ipamblocks/n9",
        "/v1/namespaces/n9",
        "/v1/namespaces/default/pods/n9",
        "/v1/namespaces/default/events/n9",
        "/v1/namespaces/default/pods/n9/log",
    ] {
        lab.get(path).await.refused(Reason::NotFound, &["\"n9\" not found"]);
    }
    let created = lab.post("/v1/namespaces", &json!({ "metadata": { "name": "blue" } })).await;
    assert_eq!((created.status, &created.json()["kind"]), (201, &json!("Namespace")));
    let head = lab.send("HEAD", "/v1/namespaces/blue", &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn apply_is_all_or_nothing_and_says_what_it_did() {
    let lab = Lab::new().await;
    let pod =
        |name: &str| json!({ "kind": "Pod", "metadata": { "name": name, "namespace": "default" } });
    let set = json!({ "items": [pod("a"), pod("b")] });
    let dry = lab.post("/v1/apply?dryRun=true", &set).await;
    assert_eq!(dry.status, 200, "{dry:?}");
    assert_eq!(lab.get("/v1/pods").await.json()["items"], json!([]));

    let first = lab.post("/v1/apply", &set).await;
    assert_eq!(first.status, 200, "{first:?}");
    let results = |reply: &Reply| {
        let items = reply.json()["items"].as_array().expect("items").clone();
        items.iter().map(|item| item["result"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(results(&first), ["created", "created"]);
    assert_eq!(first.header("netlab-revision"), first.json()["revision"].to_string());
    assert_eq!(results(&lab.post("/v1/apply", &set).await), ["unchanged", "unchanged"]);

    let more = json!({ "items": [pod("c"), pod("a")] });
    lab.post("/v1/apply?create=true", &more).await.refused(Reason::AlreadyExists, &["\"a\""]);
    lab.get("/v1/namespaces/default/pods/c").await.refused(Reason::NotFound, &[]);
}

#[tokio::test]
async fn a_collection_is_deleted_by_names_or_by_selector_never_by_accident() {
    let lab = Lab::new().await;
    for name in ["a", "b", "c"] {
        lab.pod(name, json!({ "app": name })).await;
    }
    let pods = "/v1/namespaces/default/pods";
    let delete = |query: &'static str| {
        let path = format!("{pods}?{query}");
        let lab = &lab;
        async move { lab.send("DELETE", &path, &[], "").await }
    };
    let count = || async { lab.get(pods).await.json()["items"].as_array().expect("items").len() };
    delete("names=").await.refused(Reason::BadRequest, &["empty name"]);
    delete("names=a,,b").await.refused(Reason::BadRequest, &["empty name"]);
    delete("names=a&labelSelector=app").await.refused(Reason::BadRequest, &["do not go together"]);
    delete("names=a,nope").await.refused(Reason::NotFound, &["nope"]);
    delete("labelSelector=%3D").await.refused(Reason::BadRequest, &["label selector"]);
    delete("label=app").await.refused(Reason::BadRequest, &["`label`", "`labelSelector`"]);
    assert_eq!(count().await, 3);
    let named = delete("names=a,b").await;
    assert_eq!(named.json()["items"].as_array().map(Vec::len), Some(2), "{named:?}");
    assert_eq!(count().await, 1);
    assert_eq!(delete("labelSelector=app%3Dc").await.status, 200);
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_happens_all_the_same() {
    let lab = Lab::new().await;
    let body = json!({ "metadata": { "name": "web" } }).to_string();
    let mut stream = lab.connect().await;
    let request = format!(
        "POST /v1/namespaces/default/pods HTTP/1.1\r\nhost: n\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let before = lab.get("/v1/version").await.json()["revision"].as_u64();
    stream.write_all(request.as_bytes()).await.expect("sent");
    // The first byte of the answer may come, but the client does not stay for it.
    drop(stream);
    within(async {
        // Either it was read and then it is carried out, or the hang-up was seen first.
        while lab.metric("netlab_api_connections").await > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let after = lab.get("/v1/version").await.json()["revision"].as_u64();
    let found = lab.get("/v1/namespaces/default/pods/web").await.status == 200;
    assert_eq!(found, after > before, "a pod is there exactly when the store has it");
}

#[tokio::test]
async fn health_says_what_is_missing() {
    let lab = Lab::new().await;
    assert_eq!(lab.get("/livez").await.text(), "ok\n");
    assert_eq!(lab.get("/healthz").await.text(), "ok\n");
    assert_eq!(lab.get("/readyz").await.json(), json!({ "ready": true, "missing": [] }));
    let first = lab.readiness.gate("node: first reconcile");
    let second = lab.readiness.gate("dns: listening");
    let reply = lab.get("/readyz").await;
    assert_eq!(reply.status, 503);
    let missing = json!(["node: first reconcile", "dns: listening"]);
    assert_eq!(reply.json(), json!({ "ready": false, "missing": missing }));
    assert_eq!(lab.get("/livez").await.status, 200, "it lives all the same");
    first.open();
    assert_eq!(lab.get("/readyz").await.json()["missing"], json!(["dns: listening"]));
    drop(second);
    within(lab.readiness.ready()).await;
    assert_eq!(lab.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_refusal_of_the_store_is_told_until_a_write_is_taken() {
    let lab = Lab::new().await;
    let (refuse, refusal) = watch::channel(Some("no space".to_owned()));
    let following = tokio::spawn(lab.readiness.clone().follow("store", refusal));
    let missing = |expected: &'static [&'static str]| {
        let readiness = lab.readiness.clone();
        within(async move {
            while readiness.missing() != expected {
                tokio::task::yield_now().await;
            }
        })
    };
    missing(&["store: no space"]).await;
    assert_eq!(lab.get("/readyz").await.json()["missing"], json!(["store: no space"]));
    refuse.send_replace(Some("no quota".to_owned()));
    missing(&["store: no quota"]).await;
    refuse.send_replace(None);
    missing(&[]).await;
    drop(refuse);
    within(following).await.unwrap();
}

#[tokio::test]
async fn version_and_metrics_tell_what_runs() {
    let lab = Lab::new().await;
    let version = lab.get("/v1/version").await.json();
    assert_eq!((&version["version"], &version["node"]), (&json!("1.2.3"), &json!("n1")));
    lab.get("/v1/namespaces/default/pods/web").await;
    lab.send("BREW", "/coffee", &[], "").await;
    let text = lab.get("/metrics").await.text();
    for line in [
        "netlab_build_info{version=\"1.2.3\"} 1",
        "netlab_api_requests_total{method=\"GET\",path=\"/v1/namespaces/{namespace}/pods/{name}\",code=\"404\"} 1",
        "netlab_api_requests_total{method=\"other\",path=\"unknown\",code=\"404\"} 1",
        "netlab_api_watchers 0",
        &format!("netlab_store_revision {}", version["revision"]),
        "netlab_api_request_duration_seconds_count{method=\"GET\",path=\"/v1/version\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn programmed_waits_and_then_names_who_lags() {
    let lab = Lab::new().await;
    let reply = lab.get("/v1/programmed?revision=1&timeoutSeconds=0").await;
    assert_eq!(reply.status, 200, "without nodes there is nobody to wait for: {reply:?}");
    register(&lab, "n1").await;
    lab.pod("web", json!({})).await;
    let at = lab.get("/v1/version").await.json()["revision"].as_u64().expect("a number");
    let path = format!("/v1/programmed?revision={at}&timeoutSeconds=0");
    lab.get(&path).await.refused(Reason::Timeout, &["lagging: n1", "netlabctl status"]);
    let failures = vec!["pod/default/web: no".to_owned()];
    let programmed = Some(ProgrammedReport { revision: at, failures });
    let report = NodeReport { programmed, ..NodeReport::default() };
    lab.control.report("n1", report).await.expect("the store takes it");
    let reply = lab.get(&path).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["nodes"][0]["failures"], json!(["pod/default/web: no"]));
    lab.get("/v1/programmed").await.refused(Reason::BadRequest, &["`revision`"]);
    lab.get("/v1/programmed?revision=x").await.refused(Reason::BadRequest, &["`x`", "a revision"]);
    lab.get("/v1/programmed?revision=1&timeoutSeconds=99999")
        .await
        .refused(Reason::BadRequest, &["3600"]);
}

#[tokio::test]
async fn a_wait_for_kernels_ends_with_the_server() {
    let mut lab = Lab::new().await;
    register(&lab, "n1").await;
    lab.pod("web", json!({})).await;
    let at = lab.get("/v1/version").await.json()["revision"].as_u64().expect("a number");
    let mut waiting = lab.connect().await;
    let request = format!("GET /v1/programmed?revision={at} HTTP/1.1\r\nhost: n\r\n\r\n");
    waiting.write_all(request.as_bytes()).await.expect("sent");
    lab.metric_becomes("netlab_api_connections", 2).await;
    lab.stop();
    let mut answer = String::new();
    within(waiting.read_to_string(&mut answer)).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("netlabd is stopping"), "{answer}");
    within(&mut lab.server).await.expect("the server ends");
}

#[tokio::test]
async fn a_node_is_cordoned_and_not_created() {
    let lab = Lab::new().await;
    register(&lab, "n1").await;
    let patch = json!({ "spec": { "unschedulable": true } }).to_string();
    let reply = lab.send("PATCH", "/v1/nodes/n1", &[PATCH], patch).await;
    assert_eq!((reply.status, &reply.json()["spec"]["unschedulable"]), (200, &json!(true)));
    assert_eq!(lab.get("/v1/nodes").await.json()["items"][0]["kind"], "Node");
    let node = json!({ "metadata": { "name": "n2" } });
    lab.post("/v1/nodes", &node).await.refused(Reason::MethodNotAllowed, &["POST"]);
}

/// Makes a node that takes pods.
async fn register(lab: &Lab, name: &str) {
    let status = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    let status = serde_json::from_value(status).expect("a status");
    lab.control.register_node(name, status).await.expect("registered");
}

#[tokio::test]
async fn curl_works_as_the_documentation_shows_it() {
    let lab = Lab::new().await;
    lab.pod("web", json!({})).await;
    let socket = text_of(&lab.socket);
    let url = "http://netlab/v1/namespaces/default/pods";
    let list = run("curl", &["-sS", "--unix-socket", socket, url]).await;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list["items"][0]["metadata"]["name"], "web");
    // What curl does unless told otherwise is answered with what to tell it.
    let posted = run("curl", &["-sS", "--unix-socket", socket, "-d", "{}", url]).await;
    let error: ApiError = serde_json::from_str(&posted).expect("an error");
    assert!(error.to_string().contains("send `Content-Type: application/json`"), "{error}");
}
