// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;

fn grace(seconds: u64) -> DeleteOptions {
    DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() }
}

#[test]
fn a_deleted_pod_stays_until_its_node_has_let_go_of_it() {
    run(async {
        let lab = Lab::new().await;
        let made = lab.run("web").await;
        let going = lab.delete(&pod_key("web")).await.unwrap();
        assert_eq!(going, lab.pod("web").await.into());
        assert_eq!(going.metadata().deletion_grace_period_seconds, Some(30));
        assert_eq!(lab.held().await, 1);
        lab.finalize(&[&made]).await;
        assert!(lab.is_gone(&pod_key("web")).await);
        assert_eq!(lab.held().await, 0);
    });
}

#[test]
fn a_second_delete_can_only_shorten_the_grace_period() {
    run(async {
        let lab = Lab::new().await;
        lab.run("web").await;
        let first = lab.delete(&pod_key("web")).await.unwrap();
        let again = lab.delete(&pod_key("web")).await.unwrap();
        assert_eq!(again, first, "nothing new was said, so nothing is written");
        for (asked, remains) in [(60, 30), (5, 5), (20, 5), (0, 0)] {
            let gone = lab.control.delete(&pod_key("web"), &grace(asked)).await.unwrap();
            assert_eq!(gone.metadata().deletion_grace_period_seconds, Some(remains));
            assert_eq!(gone.metadata().deletion_timestamp, first.metadata().deletion_timestamp);
        }
    });
}

#[test]
fn a_delete_holds_to_the_revision_that_was_read() {
    run(async {
        let lab = Lab::new().await;
        let read = lab.run("web").await;
        lab.patch(&pod_key("web"), json!({ "metadata": { "labels": { "a": "b" } } }))
            .await
            .unwrap();
        let at = |revision: &str| DeleteOptions {
            resource_version: Some(revision.parse().unwrap()),
            ..DeleteOptions::default()
        };
        let stale = at(&read.metadata.resource_version);
        let error = lab.control.delete(&pod_key("web"), &stale).await.unwrap_err();
        assert_eq!(error.reason, Reason::Conflict);
        let fresh = at(&lab.pod("web").await.metadata.resource_version);
        lab.control.delete(&pod_key("web"), &fresh).await.unwrap();
    });
}

#[test]
fn of_named_pods_none_is_deleted_when_one_is_missing() {
    run(async {
        let lab = Lab::new().await;
        lab.run("a").await;
        lab.run("b").await;
        let pods = Scope { kind: Kind::Pod, namespace: Some("default".to_owned()) };
        let delete = |names: &'static [&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let (control, pods) = (lab.control.clone(), pods.clone());
            async move {
                let options = DeleteOptions::default();
                control.delete_many(&pods, &names, &Filter::default(), &options).await
            }
        };
        let error = delete(&["a", "nobody", "b"]).await.unwrap_err();
        assert_eq!(error.message, "pods \"nobody\" not found");
        assert_eq!(lab.pod("a").await.metadata.deletion_timestamp, None);
        let gone = delete(&["b", "a", "b"]).await.unwrap();
        let names: Vec<_> = gone.items.iter().map(Object::slash_name).collect();
        assert_eq!(names, ["pod/b", "pod/a"]);
        for object in gone.items {
            assert_eq!(object.metadata().resource_version, gone.revision.to_string());
        }
    });
}

#[test]
fn all_that_match_are_deleted_and_no_others() {
    run(async {
        let lab = Lab::new().await;
        for (name, app) in [("a", "web"), ("b", "db"), ("c", "web")] {
            let mut labelled = pod(name);
            labelled.metadata.labels.insert("app".to_owned(), app.to_owned());
            lab.create(labelled).await.unwrap();
        }
        let filter = Filter { labels: "app=web".parse().unwrap(), ..Filter::default() };
        let options = DeleteOptions::default();
        let gone =
            lab.control.delete_many(&scope(Kind::Pod), &[], &filter, &options).await.unwrap();
        assert_eq!(gone.items.len(), 2);
        assert_eq!(lab.pod("b").await.metadata.deletion_timestamp, None);
    });
}

#[test]
fn a_pod_without_a_node_goes_at_once() {
    run(async {
        let lab = Lab::with_networks(&["10.42.0.0/16"]).await;
        lab.run("web").await;
        lab.delete(&pod_key("web")).await.unwrap();
        assert!(lab.is_gone(&pod_key("web")).await);
    });
}

#[test]
fn what_was_applied_is_forgotten_with_the_pod() {
    run(async {
        let lab = Lab::new().await;
        let spec = json!({ "terminationGracePeriodSeconds": 5 });
        lab.apply_one(object(
            json!({ "kind": "Pod", "metadata": { "name": "web" }, "spec": spec }),
        ))
        .await;
        assert_eq!(lab.store.list("applied/pods/").await.unwrap().entries.len(), 1);
        let made = lab.pod("web").await;
        lab.delete(&pod_key("web")).await.unwrap();
        lab.finalize(&[&made]).await;
        assert!(lab.store.list("applied/pods/").await.unwrap().entries.is_empty());
    });
}

#[test]
fn a_pod_is_let_go_of_once_and_never_in_the_name_of_an_earlier_one() {
    run(async {
        let lab = Lab::new().await;
        let first = lab.run("web").await;
        lab.delete(&pod_key("web")).await.unwrap();
        lab.finalize(&[&first, &first]).await;
        let second = lab.run("web").await;
        let mut thief = lab.run("other").await;
        let revision = lab.control.revision().await.unwrap();
        // A node that repeats itself, and one that knows only the earlier pod.
        lab.finalize(&[&first]).await;
        thief.metadata.uid.clone_from(&first.metadata.uid);
        lab.finalize(&[&thief]).await;
        assert_eq!(lab.control.revision().await.unwrap(), revision);
        assert_eq!(lab.pod("web").await, second);
        assert_eq!(lab.held().await, 2);
    });
}

#[test]
fn a_namespace_goes_with_the_last_of_its_pods_and_its_events() {
    run(async {
        let lab = Lab::new().await;
        lab.create(namespace("shop")).await.unwrap();
        let mut pods = Vec::new();
        for name in ["a", "b"] {
            let mut inner = pod(name);
            inner.metadata.namespace = Some("shop".to_owned());
            let Object::Pod(made) = lab.create(inner).await.unwrap() else { panic!() };
            pods.push(made);
        }
        let shop = key(Kind::Namespace, "shop");
        let options = grace(3);
        let going = lab.control.delete(&shop, &options).await.unwrap();
        let Object::Namespace(terminating) = &going else { panic!() };
        assert_eq!(serde_json::to_value(&terminating.status).unwrap()["phase"], "Terminating");
        assert_eq!(lab.control.delete(&shop, &options).await.unwrap(), going);
        for object in lab.all(Kind::Pod).await {
            assert_eq!(object.metadata().deletion_grace_period_seconds, Some(3));
        }
        lab.finalize(&[&pods[0]]).await;
        assert!(!lab.is_gone(&shop).await);
        lab.finalize(&[&pods[1]]).await;
        assert!(lab.is_gone(&shop).await);
        assert!(lab.events().await.is_empty());
        // What the node still has to tell of them comes too late.
        let about = Object::Pod(pods.remove(0));
        let late = crate::control::event::event_about(
            &about,
            netlab_api::event::EventKind::Normal,
            "Killing",
            "Stopping pod".to_owned(),
            "node",
            "n1",
        );
        lab.control.record_events(vec![late]).await;
        assert!(lab.events().await.is_empty());
    });
}

#[test]
fn a_namespace_whose_pods_have_no_node_goes_at_once() {
    run(async {
        let lab = Lab::with_networks(&["10.42.0.0/16"]).await;
        lab.create(namespace("shop")).await.unwrap();
        let mut inner = pod("web");
        inner.metadata.namespace = Some("shop".to_owned());
        lab.create(inner).await.unwrap();
        lab.delete(&key(Kind::Namespace, "shop")).await.unwrap();
        assert!(lab.is_gone(&key(Kind::Namespace, "shop")).await);
        assert!(lab.all(Kind::Pod).await.is_empty());
        assert!(
            lab.store
                .list("applied/")
                .await
                .unwrap()
                .entries
                .iter()
                .all(|entry| { &*entry.key == "applied/namespaces/default" })
        );
    });
}

#[test]
fn no_pod_outlives_its_namespace_however_they_race() {
    run(async {
        let lab = Lab::new().await;
        for round in 0..20 {
            lab.create(namespace("shop")).await.unwrap();
            let control = lab.control.clone();
            let maker = tokio::spawn(async move {
                let mut inner = pod("web");
                inner.metadata.namespace = Some("shop".to_owned());
                control.apply(vec![inner.into()], WriteOptions::default()).await
            });
            lab.delete(&key(Kind::Namespace, "shop")).await.unwrap();
            let made = maker.await.unwrap();
            if let Ok(made) = made {
                let Object::Pod(made) = &made.items[0].object else { panic!() };
                assert!(!lab.is_gone(&key(Kind::Namespace, "shop")).await, "round {round}");
                lab.finalize(&[made]).await;
            }
            assert!(lab.is_gone(&key(Kind::Namespace, "shop")).await, "round {round}");
            assert!(lab.all(Kind::Pod).await.is_empty(), "round {round}");
        }
    });
}

#[test]
fn what_always_exists_cannot_be_deleted() {
    run(async {
        let lab = Lab::new().await;
        lab.control.watch_nodes("n1");
        lab.run("web").await;
        let block = ObjectKey::of(&lab.blocks().await.remove(0).into());
        for key in [key(Kind::Namespace, "default"), key(Kind::Node, "n1"), block] {
            let error = lab.delete(&key).await.unwrap_err();
            assert_eq!(error.reason, Reason::Forbidden, "{error}");
        }
        let error = lab.delete(&pod_key("nobody")).await.unwrap_err();
        assert_eq!(error.message, "pods \"nobody\" not found");
    });
}
