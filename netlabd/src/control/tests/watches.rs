// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_api::wire::WatchEvent;

use super::*;
use crate::control::cluster::ObjectWatch;

impl Lab {
    async fn watch(&self, labels: &str, from: Revision) -> Box<dyn ObjectWatch> {
        let filter = Filter { labels: labels.parse().unwrap(), ..Filter::default() };
        self.control.watch(&scope(Kind::Pod), filter, from).await.unwrap()
    }

    async fn label(&self, name: &str, app: Value) -> Revision {
        let patch = json!({ "metadata": { "labels": { "app": app } } });
        let patched = self.patch(&pod_key(name), patch).await.unwrap();
        patched.metadata().resource_version.parse().unwrap()
    }

    async fn remove(&self, pod: &Pod) {
        self.delete(&ObjectKey::of(&pod.clone().into())).await.unwrap();
        self.finalize(&[pod]).await;
    }
}

/// The next `count` events that are no bookmarks: `ADDED web`.
async fn next(watch: &mut Box<dyn ObjectWatch>, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < count {
        for event in watch.next().await.unwrap() {
            let (word, object) = match event {
                WatchEvent::Added(object) => ("ADDED", object),
                WatchEvent::Modified(object) => ("MODIFIED", object),
                WatchEvent::Deleted(object) => ("DELETED", object),
                WatchEvent::Bookmark(_) => continue,
                WatchEvent::Error(error) => panic!("{error}"),
            };
            heard.push(format!("{word} {}", object.metadata().name));
        }
    }
    heard
}

#[test]
fn a_watch_of_everything_hears_each_change() {
    run(async {
        let lab = Lab::new().await;
        let mut watch = lab.watch("", lab.control.revision().await.unwrap()).await;
        let web = lab.run("web").await;
        lab.label("web", json!("web")).await;
        lab.remove(&web).await;
        let heard = next(&mut watch, 4).await;
        assert_eq!(heard, ["ADDED web", "MODIFIED web", "MODIFIED web", "DELETED web"]);
    });
}

#[test]
fn an_object_that_comes_to_match_is_added_and_one_that_no_longer_does_is_deleted() {
    run(async {
        let lab = Lab::new().await;
        let web = lab.run("web").await;
        let mut watch = lab.watch("app=web", lab.control.revision().await.unwrap()).await;
        lab.label("web", json!("web")).await;
        assert_eq!(next(&mut watch, 1).await, ["ADDED web"]);
        lab.patch(&pod_key("web"), json!({ "metadata": { "labels": { "b": "c" } } }))
            .await
            .unwrap();
        assert_eq!(next(&mut watch, 1).await, ["MODIFIED web"]);
        lab.label("web", json!("db")).await;
        assert_eq!(next(&mut watch, 1).await, ["DELETED web"]);
        // Not of interest any more: the next that is heard is another.
        lab.label("web", json!("mail")).await;
        lab.remove(&web).await;
        lab.run("other").await;
        lab.label("other", json!("web")).await;
        assert_eq!(next(&mut watch, 1).await, ["ADDED other"]);
    });
}

#[test]
fn a_watch_that_begins_with_matching_objects_knows_them() {
    run(async {
        let lab = Lab::new().await;
        lab.run("web").await;
        let from = lab.label("web", json!("web")).await;
        let mut watch = lab.watch("app=web", from).await;
        lab.label("web", json!(null)).await;
        assert_eq!(next(&mut watch, 1).await, ["DELETED web"]);
    });
}

#[test]
fn a_watch_that_resumes_hears_what_stopped_matching_meanwhile() {
    run(async {
        let lab = Lab::new().await;
        let gone = lab.run("gone").await;
        lab.label("gone", json!("web")).await;
        lab.run("changed").await;
        let from = lab.label("changed", json!("web")).await;
        lab.label("changed", json!("db")).await;
        lab.remove(&gone).await;
        let mut watch = lab.watch("app=web", from).await;
        let heard = next(&mut watch, 3).await;
        assert_eq!(heard, ["DELETED changed", "MODIFIED gone", "DELETED gone"]);
    });
}

#[test]
fn a_watch_that_resumes_hears_nothing_of_what_never_matched() {
    run(async {
        let lab = Lab::new().await;
        lab.run("other").await;
        let from = lab.run("web").await.metadata.resource_version.parse().unwrap();
        lab.label("other", json!("db")).await;
        lab.label("web", json!("web")).await;
        let mut of_label = lab.watch("app=web", from).await;
        assert_eq!(next(&mut of_label, 1).await, ["ADDED web"]);
        let filter = Filter { fields: "metadata.name=web".parse().unwrap(), ..Filter::default() };
        let mut of_name = lab.control.watch(&scope(Kind::Pod), filter, from).await.unwrap();
        assert_eq!(next(&mut of_name, 1).await, ["MODIFIED web"]);
    });
}

#[test]
fn what_stops_matching_is_told_as_it_was_when_it_still_did() {
    run(async {
        let lab = Lab::new().await;
        lab.run("web").await;
        let from = lab.label("web", json!("web")).await;
        let mut watch = lab.watch("app=web", from).await;
        let until = lab.label("web", json!("db")).await;
        let heard = watch.next().await.unwrap();
        let [WatchEvent::Deleted(object)] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!(object.metadata().labels["app"], "web");
        assert_eq!(object.metadata().resource_version, until.to_string());
    });
}

#[test]
fn what_is_of_no_interest_moves_the_bookmark() {
    run(async {
        let lab = Lab::new().await;
        let mut watch = lab.watch("app=web", lab.control.revision().await.unwrap()).await;
        let made = lab.run("other").await;
        let heard = watch.next().await.unwrap();
        let [WatchEvent::Bookmark(bookmark)] = heard.as_slice() else { panic!("{heard:?}") };
        assert_eq!(bookmark.resource_version, made.metadata.resource_version);
    });
}

#[test]
fn a_deleted_object_carries_the_revision_of_its_deletion() {
    run(async {
        let lab = Lab::new().await;
        let web = lab.run("web").await;
        lab.delete(&pod_key("web")).await.unwrap();
        let mut watch = lab.watch("", lab.control.revision().await.unwrap()).await;
        lab.finalize(&[&web]).await;
        let heard = watch.next().await.unwrap();
        let [WatchEvent::Deleted(gone)] = heard.as_slice() else { panic!("{heard:?}") };
        let revision = lab.control.revision().await.unwrap();
        assert_eq!(gone.metadata().resource_version, revision.to_string());
    });
}

#[test]
fn a_revision_that_is_not_kept_or_not_there_yet_is_expired() {
    run(async {
        let lab = Lab::new().await;
        let future = lab.control.revision().await.unwrap().next();
        let watch = lab.control.watch(&scope(Kind::Pod), Filter::default(), future).await;
        assert_eq!(watch.err().unwrap().reason, Reason::Expired);
    });
}
