// SPDX-License-Identifier: GPL-3.0-or-later
//! The API by `curl`: objects, conflicts, apply, watches, and what says how the daemon is. Needs
//! root.

use netlab_tests::observe::{self, items};
use netlab_tests::{Background, Lab, Response, poll, wait_until};
use serde_json::{Value, json};

const PODS: &str = "/v1/namespaces/default/pods";

fn pod(name: &str, labels: Value) -> Value {
    let metadata = json!({ "name": name, "labels": labels });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {} })
}

fn create(lab: &Lab, name: &str, labels: Value) -> Value {
    lab.api("POST", PODS, Some(&pod(name, labels))).expect(201)
}

fn apply(lab: &Lab, object: &Value) -> Value {
    let body = json!({ "items": [object] });
    lab.api("POST", "/v1/apply", Some(&body)).expect(200)["items"][0].clone()
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}

fn names(list: &Value) -> Vec<String> {
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<_> = items(&list["items"]).iter().map(name).collect();
    names.sort();
    names
}

#[test]
fn objects_are_created_read_changed_and_deleted() {
    let lab = Lab::new("crud");
    let made = create(&lab, "web", json!({ "app": "web" }));
    assert_eq!((&made["kind"], &made["metadata"]["namespace"]), (&"Pod".into(), &"default".into()));
    assert!(made["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36), "{made}");
    // From here on nobody else writes to it.
    lab.wait_for_pod("web", |pod| pod["status"]["phase"] == "Running");
    let message = lab.api("POST", PODS, Some(&pod("web", json!({})))).error(409, "AlreadyExists");
    assert_eq!(message, "pods \"web\" already exists");
    let patch = json!({ "metadata": { "labels": { "tier": "front", "app": null } } });
    let path = format!("{PODS}/web");
    let patched = lab.api("PATCH", &path, Some(&patch)).expect(200);
    assert_eq!(patched["metadata"]["labels"], json!({ "tier": "front" }));
    assert!(version(&patched) > version(&made) || version(&patched).len() > version(&made).len());
    let mut read = lab.pod("web");
    read["metadata"]["labels"]["x"] = "y".into();
    lab.api("PUT", &path, Some(&read)).expect(200);
    assert_eq!(lab.pod("web")["metadata"]["labels"], json!({ "tier": "front", "x": "y" }));
    lab.api("DELETE", &format!("{path}?gracePeriodSeconds=0"), None).expect(200);
    wait_until("the pod is gone", || lab.get(&path).status == 404);
    let message = lab.api("DELETE", &path, None).error(404, "NotFound");
    assert_eq!(message, "pods \"web\" not found");
}

#[test]
fn a_write_upon_something_older_is_a_conflict_and_changes_nothing() {
    let lab = Lab::new("conflict");
    create(&lab, "web", json!({}));
    let path = format!("{PODS}/web");
    lab.wait_for_pod("web", |pod| pod["status"]["phase"] == "Running");
    let mut old = lab.pod("web");
    lab.api("PATCH", &path, Some(&json!({ "metadata": { "labels": { "by": "another" } } })))
        .expect(200);
    old["metadata"]["labels"] = json!({ "by": "me" });
    lab.api("PUT", &path, Some(&old)).error(409, "Conflict");
    let stale = format!("{path}?resourceVersion={}", version(&old));
    lab.api("DELETE", &stale, None).error(409, "Conflict");
    let now = lab.pod("web");
    assert_eq!(now["metadata"]["labels"], json!({ "by": "another" }));
    assert!(now["metadata"]["deletionTimestamp"].is_null());
}

#[test]
fn apply_is_idempotent_and_removes_only_what_it_set_before() {
    let lab = Lab::new("apply");
    let both = pod("web", json!({ "app": "web", "tier": "front" }));
    assert_eq!(apply(&lab, &both)["result"], "created");
    lab.wait_for_pod("web", |pod| pod["status"]["phase"] == "Running");
    let before = version(&lab.pod("web"));
    assert_eq!(apply(&lab, &both)["result"], "unchanged");
    assert_eq!(version(&lab.pod("web")), before, "nothing was written");
    let theirs = json!({ "metadata": { "labels": { "theirs": "1" } } });
    lab.api("PATCH", &format!("{PODS}/web"), Some(&theirs)).expect(200);
    assert_eq!(apply(&lab, &pod("web", json!({ "app": "web" })))["result"], "configured");
    let labels = &lab.pod("web")["metadata"]["labels"];
    assert_eq!(*labels, json!({ "app": "web", "theirs": "1" }));
}

#[test]
fn apply_makes_all_objects_or_none() {
    let lab = Lab::new("atomic");
    let good = pod("good", json!({}));
    let mut bad = pod("bad", json!({}));
    bad["spec"]["restartPolicy"] = "Sometimes".into();
    let body = json!({ "items": [good, bad] });
    let refused = lab.api("POST", "/v1/apply", Some(&body));
    assert!(refused.status == 422 || refused.status == 400, "{}", refused.text);
    assert!(
        refused.text.contains("Sometimes") && refused.text.contains("restartPolicy"),
        "{}",
        refused.text
    );
    assert_eq!(names(&lab.get(PODS).expect(200)), [""; 0]);
    let dry = json!({ "items": [good] });
    lab.api("POST", "/v1/apply?dryRun=true", Some(&dry)).expect(200);
    assert_eq!(names(&lab.get(PODS).expect(200)), [""; 0], "a dry run stores nothing");
}

#[test]
fn lists_are_selected_by_labels_and_fields() {
    let lab = Lab::new("select");
    create(&lab, "a", json!({ "app": "x", "tier": "db" }));
    create(&lab, "b", json!({ "app": "x" }));
    create(&lab, "c", json!({ "app": "y" }));
    for pod in ["a", "b", "c"] {
        lab.wait_for_pod(pod, |pod| pod["status"]["phase"] == "Running");
    }
    for (query, expected) in [
        ("labelSelector=app=x", vec!["a", "b"]),
        ("labelSelector=app=x,tier!=db", vec!["b"]),
        ("labelSelector=app%20in%20(x,y),!tier", vec!["b", "c"]),
        ("labelSelector=tier", vec!["a"]),
        ("fieldSelector=metadata.name=c", vec!["c"]),
        ("fieldSelector=spec.nodeName=n1,status.phase=Running", vec!["a", "b", "c"]),
        ("fieldSelector=status.phase=Pending", vec![]),
    ] {
        assert_eq!(names(&lab.get(&format!("{PODS}?{query}")).expect(200)), expected, "{query}");
    }
    lab.get(&format!("{PODS}?labelSelector=a=(")).error(400, "BadRequest");
    let unknown = lab.get(&format!("{PODS}?lableSelector=a")).error(400, "BadRequest");
    assert!(unknown.contains("lableSelector"), "{unknown}");
}

/// Starts a watch beside the test.
fn watch(lab: &Lab, query: &str) -> Background {
    let url = format!("http://netlab{PODS}?watch=true&{query}");
    let socket = lab.socket().display().to_string();
    lab.node.spawn(&["curl", "-sSN", "--unix-socket", &socket, &url])
}

/// What a watch has told so far: type and name of the object.
fn told(watch: &Background) -> Vec<(String, String, Value)> {
    let read = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Some((event["type"].as_str()?.to_owned(), name, event["object"].clone()))
    };
    watch.output().lines().filter_map(read).collect()
}

#[test]
fn a_watch_goes_on_where_another_ended_and_misses_and_repeats_nothing() {
    let lab = Lab::new("watch");
    create(&lab, "first", json!({}));
    let whole = watch(&lab, "");
    let start = poll("a bookmark after the present objects", || {
        let told = told(&whole);
        let place = told.iter().position(|(kind, ..)| kind == "BOOKMARK")?;
        assert!(told[..place].iter().all(|(kind, name, _)| kind == "ADDED" && name == "first"));
        Some(told[place].2["resourceVersion"].as_str()?.to_owned())
    });
    create(&lab, "second", json!({}));
    lab.api("DELETE", &format!("{PODS}/second?gracePeriodSeconds=0"), None).expect(200);
    let of_second = |watch: &Background| {
        let told = told(watch);
        let of = told.into_iter().filter(|(_, name, _)| name == "second");
        of.map(|(kind, _, object)| (kind, version(&object))).collect::<Vec<_>>()
    };
    let is_over = |watch: &Background| of_second(watch).iter().any(|(kind, _)| kind == "DELETED");
    wait_until("the end of the second pod is told", || is_over(&whole));
    let seen = of_second(&whole);
    assert_eq!(seen[0].0, "ADDED", "{seen:?}");
    let revisions: Vec<u64> =
        seen.iter().map(|(_, version)| version.parse().unwrap_or(0)).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{seen:?}");
    // Resumed at the start, then in the middle.
    let again = watch(&lab, &format!("resourceVersion={start}"));
    wait_until("the end of the second pod is told again", || is_over(&again));
    assert_eq!(of_second(&again), seen);
    let resumed = watch(&lab, &format!("resourceVersion={}", seen[0].1));
    wait_until("the end of the second pod is told again", || is_over(&resumed));
    assert_eq!(of_second(&resumed), seen[1..]);
}

#[test]
fn a_watch_from_what_is_no_longer_kept_is_expired() {
    let lab = Lab::new("expired");
    let first = version(&create(&lab, "web", json!({})));
    lab.wait_for_pod("web", |pod| pod["status"]["phase"] == "Running");
    // History is kept up to some bytes: a few large changes push the first out.
    for round in 0..16 {
        let large = format!("{round}").repeat(200_000 / (round.to_string().len()));
        let patch = json!({ "metadata": { "annotations": { "large": large } } });
        lab.api("PATCH", &format!("{PODS}/web"), Some(&patch)).expect(200);
    }
    lab.get(&format!("{PODS}?watch=true&resourceVersion={first}")).error(410, "Expired");
    let now = lab.get(PODS).expect(200);
    let fresh = watch(&lab, &format!("resourceVersion={}", version(&now)));
    create(&lab, "late", json!({}));
    wait_until("a fresh watch works", || told(&fresh).iter().any(|(_, name, _)| name == "late"));
}

#[test]
fn what_is_programmed_is_in_the_kernel() {
    let lab = Lab::new("programmed");
    let made = create(&lab, "web", json!({}));
    let path = format!("/v1/programmed?revision={}&timeoutSeconds=20", version(&made));
    let answer = lab.get(&path).expect(200);
    assert_eq!(answer["nodes"][0]["name"], "n1", "{answer}");
    for ip in lab.pod_ips("web") {
        let route = observe::route_to(&lab.node, &ip);
        assert!(route.contains("dev nl"), "no route to {ip} although it is programmed: {route}");
    }
    let wrong = lab.get("/v1/programmed?revision=999999999&timeoutSeconds=0");
    assert!(wrong.status >= 400, "{}", wrong.text);
    lab.get("/v1/programmed").error(400, "BadRequest");
}

#[test]
fn the_daemon_says_how_it_is() {
    let lab = Lab::new("health");
    for path in ["/livez", "/healthz"] {
        let Response { status, text, .. } = lab.get(path);
        assert_eq!((status, text.as_str()), (200, "ok\n"), "{path}");
    }
    assert_eq!(lab.get("/readyz").expect(200), json!({ "ready": true, "missing": [] }));
    let metrics = lab.get("/metrics");
    assert!(metrics.status == 200 && metrics.text.contains("# TYPE "), "{}", metrics.text);
    assert!(metrics.text.ends_with("# EOF\n"), "{}", metrics.text);
    let described = lab.get("/openapi.json").expect(200);
    for path in ["/v1/namespaces/{namespace}/pods/{name}", "/v1/apply", "/readyz"] {
        let found = described["paths"].as_object().is_some_and(|paths| {
            paths.keys().any(|key| key.replace("{ns}", "{namespace}") == path)
        });
        assert!(
            found,
            "{path} is not among {:?}",
            described["paths"].as_object().map(|p| p.keys().collect::<Vec<_>>())
        );
    }
    assert_eq!(lab.get("/v1/version").expect(200)["node"], "n1");
    lab.get("/v1/nothing").error(404, "NotFound");
}

#[test]
fn only_root_and_its_group_may_speak_to_the_daemon() {
    let lab = Lab::new("nobody");
    let socket = lab.socket().display().to_string();
    // So that the socket's own mode decides, and not that of a folder above it.
    lab.netns_exec(&["chmod", "755", lab.dir().to_str().unwrap_or_default()]).ok();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let curl = ["curl", "-sS", "-f", "--unix-socket", &socket, "http://netlab/livez"];
    let refused = lab.netns_exec(&[&nobody[..], &curl[..]].concat()).fails(7);
    assert!(!refused.is_empty());
    lab.netns_exec(&curl).ok();
    // Even where the file lets it in, the daemon looks at who is there.
    lab.netns_exec(&["chmod", "666", &socket]).ok();
    let refused = lab.netns_exec(&[&nobody[..], &curl[..]].concat());
    assert!(!refused.is_ok(), "{refused}");
}

#[test]
fn broken_requests_are_answered_and_leave_the_daemon_as_it_was() {
    let lab = Lab::new("broken");
    let pid = lab.pid();
    let refused = lab.api(
        "POST",
        PODS,
        Some(&json!({ "kind": "Pod", "metadata": { "name": "x" }, "spec": { "comand": [] } })),
    );
    assert!(refused.status == 400 || refused.status == 422, "{}", refused.text);
    assert!(refused.text.contains("comand"), "{}", refused.text);
    let refused = lab.api("POST", PODS, Some(&json!(["no", "object"])));
    assert_eq!(refused.status, 400, "{}", refused.text);
    let large = pod("x", json!({ "l": "x".repeat(5 << 20) }));
    assert_eq!(lab.api("POST", PODS, Some(&large)).status, 413);
    assert_eq!(lab.api("BREW", PODS, None).status, 405);
    assert_eq!((lab.pid(), lab.get("/healthz").status), (pid, 200));
}
