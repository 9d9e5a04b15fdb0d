// SPDX-License-Identifier: GPL-3.0-or-later
//! Watches: what they say, how many there may be, and what a bad reader does to others.

use hyper::body::Incoming;
use serde_json::json;

use super::*;

const PODS: &str = "/v1/namespaces/default/pods";

/// A watch as its client sees it.
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    async fn of(lab: &Lab, query: &str) -> Lines {
        let path = format!("{PODS}?watch=true{query}");
        let response = lab.open("GET", &path, &[], "").await;
        assert_eq!(response.status(), 200);
        Lines { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a line is JSON"));
            }
            let frame = within(self.body.frame()).await?.expect("an unbroken body");
            self.buffer.extend_from_slice(&frame.into_data().expect("data"));
        }
    }

    /// The next event as `TYPE name` or `BOOKMARK revision`.
    async fn said(&mut self) -> String {
        let event = self.next().await.expect("an event");
        let object = &event["object"];
        let what = object["metadata"]["name"].as_str().or(object["resourceVersion"].as_str());
        format!("{} {}", event["type"].as_str().expect("a type"), what.expect("a name"))
    }
}

async fn revision(lab: &Lab) -> u64 {
    lab.get("/v1/version").await.json()["revision"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_watch_starts_with_what_is_there_and_goes_on_with_what_comes() {
    let lab = Lab::new().await;
    lab.pod("a", json!({})).await;
    let at = revision(&lab).await;
    let mut watch = Lines::of(&lab, "").await;
    assert_eq!(watch.said().await, "ADDED a");
    assert_eq!(watch.said().await, format!("BOOKMARK {at}"));
    lab.pod("b", json!({})).await;
    assert_eq!(watch.said().await, "ADDED b");
    lab.send("DELETE", &format!("{PODS}/a?gracePeriodSeconds=0"), &[], "").await;
    assert_eq!(watch.said().await, "DELETED a");
}

#[tokio::test]
async fn a_watch_from_a_revision_repeats_nothing_and_misses_nothing() {
    let lab = Lab::new().await;
    lab.pod("a", json!({})).await;
    let at = revision(&lab).await;
    lab.pod("b", json!({})).await;
    lab.pod("c", json!({ "app": "c" })).await;
    let mut watch = Lines::of(&lab, &format!("&resourceVersion={at}")).await;
    assert_eq!(watch.said().await, "ADDED b");
    assert_eq!(watch.said().await, "ADDED c");
    let mut chosen = Lines::of(&lab, &format!("&resourceVersion={at}&labelSelector=app%3Dc")).await;
    assert_eq!(chosen.said().await, "ADDED c");
    let future = lab.get(&format!("{PODS}?watch=true&resourceVersion={}", at + 1000)).await;
    future.refused(Reason::Expired, &["list again"]);
}

#[tokio::test]
async fn a_silent_watch_tells_its_revision() {
    let limits = Limits { bookmark: Duration::from_millis(30), ..Limits::default() };
    let lab = Lab::with(Setting { limits, ..Setting::default() }).await;
    let at = revision(&lab).await;
    let mut watch = Lines::of(&lab, &format!("&resourceVersion={at}")).await;
    for _ in 0..3 {
        assert_eq!(watch.said().await, format!("BOOKMARK {at}"));
    }
    let pod = lab.pod("a", json!({})).await;
    let mut said = watch.said().await;
    while said.starts_with("BOOKMARK") {
        said = watch.said().await;
    }
    assert_eq!(said, "ADDED a");
    let at = pod["metadata"]["resourceVersion"].as_str().expect("a revision");
    assert_eq!(watch.said().await, format!("BOOKMARK {at}"));
}

#[tokio::test]
async fn a_watch_ends_with_its_client() {
    let lab = Lab::new().await;
    let watch = Lines::of(&lab, "").await;
    lab.metric_becomes("netlab_api_watchers", 1).await;
    drop(watch);
    lab.metric_becomes("netlab_api_watchers", 0).await;
    lab.metric_becomes("netlab_api_connections", 1).await;
}

#[tokio::test]
async fn a_watch_ends_with_the_server() {
    let mut lab = Lab::new().await;
    let at = revision(&lab).await;
    let mut watch = Lines::of(&lab, &format!("&resourceVersion={at}")).await;
    lab.stop();
    assert_eq!(watch.said().await, format!("BOOKMARK {at}"));
    assert_eq!(watch.next().await, None);
    within(&mut lab.server).await.expect("the server ends");
}

#[tokio::test]
async fn the_1001st_watch_is_refused_and_the_rest_goes_on() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(20_000), hard).expect("root may");
    let lab = Lab::new().await;
    let mut watches = Vec::new();
    for _ in 0..1000 {
        watches.push(Lines::of(&lab, "").await);
    }
    let refused = lab.get(&format!("{PODS}?watch=true")).await;
    refused.refused(Reason::TooManyRequests, &["1000 watches", "close some"]);
    lab.pod("web", json!({})).await;
    for watch in &mut watches {
        assert!(watch.said().await.starts_with("BOOKMARK"));
        assert_eq!(watch.said().await, "ADDED web");
    }
    watches.pop();
    lab.metric_becomes("netlab_api_watchers", 999).await;
    Lines::of(&lab, "").await;
}

/// A client that does not read must not make others wait, nor the daemon grow.
#[tokio::test]
async fn a_slow_reader_is_told_to_list_again_and_hinders_nobody() {
    let history = HistoryLimits { changes: 64, bytes: 1 << 20 };
    let options = Options { history, ..Options::default() };
    let lab = Lab::with(Setting { options, ..Setting::default() }).await;
    let mut slow = Lines::of(&lab, "").await;
    let mut quick = Lines::of(&lab, "").await;
    quick.said().await;
    lab.pod("web", json!({})).await;
    assert_eq!(quick.said().await, "ADDED web");
    // More than the socket's buffers and the history hold together.
    for round in 0..300 {
        let note = format!("{round}{}", "x".repeat(8000));
        let pod = json!({ "metadata": { "annotations": { "note": note } } }).to_string();
        let reply = lab.send("PUT", &format!("{PODS}/web"), &[], pod).await;
        assert_eq!(reply.status, 200);
        assert_eq!(quick.said().await, "MODIFIED web");
    }
    let mut last = None;
    let mut events = 0;
    while let Some(event) = slow.next().await {
        events += 1;
        last = Some(event);
    }
    let last = last.expect("a last event");
    assert_eq!((&last["type"], &last["object"]["reason"]), (&json!("ERROR"), &json!("Expired")));
    assert!(events < 300, "{events} events were kept for a reader that did not read");
}
