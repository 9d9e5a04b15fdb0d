// SPDX-License-Identifier: GPL-3.0-or-later
//! Mistakes, and whether the answer would help the person who made them.

use serde_json::json;

use super::*;
use crate::server::objects::{
    ApplyParams, DeleteManyParams, DeleteParams, ListParams, WriteParams,
};
use crate::server::query::{FromQuery, Query};

const PODS: &str = "/v1/namespaces/default/pods";

#[tokio::test]
async fn an_unknown_path_names_the_one_that_was_meant() {
    let lab = Lab::new().await;
    for (path, meant) in [
        ("/v1/pod", "/v1/pods"),
        ("/v1/pods/", "/v1/pods"),
        ("/api/v1/namespaces/default/pods/web", "/v1/namespaces/default/pods/web"),
        ("/v1/namespace/default/pod/web", "/v1/namespaces/default/pods/web"),
        ("/v1/namespaces/default/pods/web/logs", "/v1/namespaces/default/pods/web/log"),
        ("/v1/pods/web", "/v1/namespaces/default/pods/web"),
        ("/pods", "/v1/pods"),
        ("/health", "/healthz"),
        ("/metric", "/metrics"),
    ] {
        let meant = format!("did you mean `{meant}`?");
        lab.get(path).await.refused(Reason::NotFound, &[path, &meant]);
    }
    for path in ["/", "/v1", "/v2/frobnicate/all/the/things", "/%00", "/v1/%ff", "//"] {
        lab.get(path).await.refused(Reason::NotFound, &["/openapi.json"]);
    }
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let lab = Lab::new().await;
    for (method, path, allowed) in [
        ("DELETE", "/v1/nodes", "GET,HEAD"),
        ("POST", "/v1/events", "GET,HEAD"),
        ("PUT", "/v1/ipamblocks/x", "GET,HEAD"),
        ("GET", "/v1/apply", "POST"),
        ("GET", "/v1/namespaces/default/pods/web/exec", "POST"),
        ("POST", "/livez", "GET,HEAD"),
    ] {
        let reply = lab.send(method, path, &[], "").await;
        reply.refused(Reason::MethodNotAllowed, &[method]);
        assert_eq!(reply.header("allow"), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_bad_query_names_what_there_is() {
    let lab = Lab::new().await;
    for (path, words) in [
        ("/v1/pods?lableSelector=a", &["`lableSelector`", "did you mean `labelSelector`?"][..]),
        ("/v1/pods?x=1", &["`x`", "`fieldSelector`, `labelSelector`, `resourceVersion`, `watch`"]),
        ("/v1/version?x=1", &["`x`", "takes none"]),
        ("/v1/pods?watch=yes", &["`yes`", "`watch=true`"]),
        ("/v1/pods?watch=true&watch=true", &["`watch`", "more than once"]),
        ("/v1/pods?resourceVersion=3", &["add `watch=true`"]),
        ("/v1/pods?watch=1&resourceVersion=-3", &["`-3`", "a revision"]),
        ("/v1/pods?labelSelector=a%3D%3D%3Db", &["label selector"]),
        ("/v1/pods?fieldSelector=spec.colour%3Dred", &["spec.colour", "metadata.name"]),
        ("/v1/pods?labelSelector=%ff", &["`labelSelector`", "UTF-8"]),
        ("/v1/namespaces/default/pods/web?watch=true", &["`watch`", "takes none"]),
    ] {
        lab.get(path).await.refused(Reason::BadRequest, words);
    }
}

#[tokio::test]
async fn a_bad_body_is_told_where_it_is_bad() {
    let lab = Lab::new().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, words) in [
        ("", &["the body is empty"][..]),
        ("{\n  \"metadata\": {,}\n}", &["line 2, column 16"]),
        ("{\"metadata\":", &["truncated JSON at line 1, column 12"]),
        ("[]", &["the body is no pod"]),
        ("\u{0}", &["line 1, column 1"]),
        (&deep, &["recursion limit"]),
        ("{\"apiVersion\":\"v2\"}", &["apiVersion \"v2\"", "write \"v1\""]),
        ("{\"kind\":\"Node\"}", &["kind is \"Node\"", "the path's is \"Pod\""]),
        ("{\"metadata\":{\"name\":7}}", &["metadata.name", "expected a string"]),
        ("{\"spec\":{\"ports\":[{\"containerPort\":70000}]}}", &["spec.ports[0].containerPort"]),
        ("{\"spec\":{\"colour\":1}}", &["spec.colour", "unknown field `colour`"]),
        ("{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"}}", &["`b`", "`default`"]),
    ] {
        lab.send("POST", PODS, &[], body.to_owned()).await.refused(Reason::BadRequest, words);
    }
    for (body, words) in [
        ("{}", &["no list `items`"][..]),
        ("{\"items\":[1]}", &["items[0]"]),
        ("{\"items\":[{}]}", &["items[0].kind is missing", "Namespace, Node, Pod"]),
        ("{\"items\":[{\"kind\":\"pod\"}]}", &["did you mean \"Pod\"?"]),
        ("{\"items\":[],\"dryRun\":true}", &["`dryRun` beside `items`"]),
        ("{\"items\":[{\"kind\":\"Pod\",\"spec\":{\"env\":[{}]}}]}", &["items[0].spec.env[0]"]),
    ] {
        let reply = lab.send("POST", "/v1/apply", &[], body).await;
        reply.refused(Reason::BadRequest, words);
    }
    let reply = lab.send("POST", PODS, &[("content-type", "text/yaml")], "a: b").await;
    reply.refused(Reason::BadRequest, &["`text/yaml`", "`Content-Type: application/json`"]);
    let json = [("content-type", "application/json; charset=utf-8")];
    let reply = lab.send("POST", PODS, &json, "{\"metadata\":{\"name\":\"ok\"}}").await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let reply = lab.send("PATCH", &format!("{PODS}/ok"), &json, "{}").await;
    reply.refused(Reason::BadRequest, &["application/merge-patch+json"]);
}

#[tokio::test]
async fn path_and_body_must_mean_the_same_object() {
    let lab = Lab::new().await;
    lab.pod("web", json!({})).await;
    let path = format!("{PODS}/web");
    let body = json!({ "metadata": { "name": "other" } }).to_string();
    let reply = lab.send("PUT", &path, &[], body.clone()).await;
    reply.refused(Reason::BadRequest, &["`other`", "`web`"]);
    assert_eq!(reply.error().field.as_deref(), Some("metadata.name"));
    let reply = lab.send("PATCH", &path, &[], body).await;
    reply.refused(Reason::BadRequest, &["`other`", "`web`"]);
    let reply = lab.send("PATCH", &path, &[], "[1]").await;
    reply.refused(Reason::BadRequest, &["no JSON object"]);
}

#[tokio::test]
async fn a_name_that_no_object_can_have_reaches_no_store() {
    let lab = Lab::new().await;
    lab.pod("web", json!({})).await;
    for name in ["a%2Fb", "..%2Fdefault", "Web", "a%00", "%20", "we%62%2f"] {
        let path = format!("{PODS}/{name}");
        lab.get(&path).await.refused(Reason::NotFound, &["not found", "lower-case"]);
        let reply = lab.send("DELETE", &path, &[], "").await;
        reply.refused(Reason::NotFound, &["not found"]);
    }
    // The prefix of another namespace's keys must not be a namespace.
    let reply = lab.get("/v1/namespaces/default%2Fweb/pods").await;
    reply.refused(Reason::NotFound, &["namespaces", "not found"]);
    let reply = lab.get(&format!("{PODS}/%ff")).await;
    reply.refused(Reason::BadRequest, &["malformed path"]);
}

#[tokio::test]
async fn a_body_that_is_too_large_or_too_slow_is_refused() {
    let limits =
        Limits { body_bytes: 1000, arrival: Duration::from_millis(300), ..Limits::default() };
    let lab = Lab::with(Setting { limits, ..Setting::default() }).await;
    let reply = lab.send("POST", PODS, &[], vec![b' '; 1001]).await;
    reply.refused(Reason::RequestEntityTooLarge, &["1000 bytes"]);
    // Without a length, it is found out while reading.
    let mut chunked =
        b"POST /v1/apply HTTP/1.1\r\nhost: n\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(b"64\r\n");
        chunked.extend_from_slice(&[b' '; 100]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = String::from_utf8_lossy(&lab.raw(&chunked).await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let answer = lab.raw(b"POST /v1/apply HTTP/1.1\r\nhost: n\r\ncontent-length: 9\r\n\r\n{").await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("did not arrive within 0.3 s"), "{answer}");
}

#[tokio::test]
async fn a_panic_is_owned_up_to_and_survived() {
    let lab = Lab::new().await;
    let reply = lab.get("/v1/doctor").await;
    reply.refused(Reason::InternalError, &["BUG: ", "the doctor is ill", "defect of netlabd"]);
    assert_eq!(lab.get("/livez").await.status, 200);
}

/// The parameters that a route documents are those that it reads.
#[test]
fn parameters_are_documented_by_their_names() {
    fn check<T: FromQuery>() {
        let schema = schemars::schema_for!(T);
        let documented = schema.get("properties").and_then(Value::as_object).expect("properties");
        let mut documented: Vec<&str> = documented.keys().map(String::as_str).collect();
        let mut read = Query::names_known_to::<T>();
        documented.sort_unstable();
        read.sort_unstable();
        assert_eq!(documented, read);
    }
    check::<ListParams>();
    check::<WriteParams>();
    check::<ApplyParams>();
    check::<DeleteParams>();
    check::<DeleteManyParams>();
    check::<crate::server::exec::ExecParams>();
    check::<crate::server::log::LogParams>();
    check::<crate::server::health::ProgrammedParams>();
}
