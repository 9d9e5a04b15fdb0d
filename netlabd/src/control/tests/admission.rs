// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;

#[test]
fn a_created_pod_gets_what_the_server_owns_whatever_the_client_sent() {
    run(async {
        let lab = Lab::new().await;
        let sent = object(json!({
            "kind": "Pod",
            "metadata": {
                "name": "web", "uid": "mine", "resourceVersion": "77", "generation": 9,
                "creationTimestamp": "2001-01-01T00:00:00Z",
                "deletionTimestamp": "2001-01-01T00:00:00Z", "deletionGracePeriodSeconds": 3
            },
            "status": { "phase": "Running", "podIP": "192.0.2.1", "podIPs": [{ "ip": "192.0.2.1" }] }
        }));
        let made = lab.create(sent).await.unwrap();
        assert_eq!(made, lab.control.get(&pod_key("web")).await.unwrap());
        let Object::Pod(made) = made else { panic!() };
        assert_eq!(made.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(made.metadata.uid.len(), 36);
        assert_eq!(made.metadata.generation, 1);
        assert!(made.metadata.creation_timestamp.unwrap().to_string().as_str() > "2002");
        assert_eq!(made.metadata.deletion_timestamp, None);
        assert_eq!(made.metadata.deletion_grace_period_seconds, None);
        assert_eq!(made.spec.node_name.as_deref(), Some("n1"));
        let status = serde_json::to_value(&made.status).unwrap();
        assert_eq!(status["phase"], "Pending");
        assert_eq!(status["podIP"], "10.42.0.1");
        assert_eq!(status["podIPs"], json!([{ "ip": "10.42.0.1" }]));
        assert_eq!(status["conditions"][0]["type"], "PodScheduled");
        assert_eq!(
            status["containerStatuses"][0]["state"]["waiting"]["reason"],
            "ContainerCreating"
        );
    });
}

#[test]
fn a_bad_name_is_refused_in_kubernetes_words() {
    run(async {
        let lab = Lab::new().await;
        let error = lab.create(pod("Web_1")).await.unwrap_err();
        let start = "Pod \"Web_1\" is invalid: metadata.name: Invalid value: \"Web_1\": \
                     a lowercase RFC 1123 label must consist of";
        assert!(error.message.starts_with(start), "{error}");
        assert_eq!(error.reason, Reason::Invalid);
        assert_eq!(error.field.as_deref(), Some("metadata.name"));
        assert_eq!(error.object.as_deref(), Some("pod/Web_1"));
        let mut broken = pod("web");
        broken.spec.args = vec!["x".to_owned()];
        let error = lab.create(broken).await.unwrap_err();
        assert!(error.message.starts_with("Pod \"web\" is invalid: spec.args needs a `command`"));
    });
}

#[test]
fn nothing_is_made_in_a_namespace_that_is_missing_or_goes() {
    run(async {
        let lab = Lab::new().await;
        let mut stray = pod("web");
        stray.metadata.namespace = Some("shop".to_owned());
        let error = lab.create(stray.clone()).await.unwrap_err();
        assert_eq!(error.message, "namespaces \"shop\" not found");
        lab.create(namespace("shop")).await.unwrap();
        lab.create(stray.clone()).await.unwrap();
        lab.delete(&key(Kind::Namespace, "shop")).await.unwrap();
        stray.metadata.name = "late".to_owned();
        let error = lab.create(stray).await.unwrap_err();
        assert_eq!(error.reason, Reason::Forbidden, "{error}");
        assert!(error.message.contains("is being deleted"), "{error}");
        // Nor does an apply pretend that the namespace stays.
        let error = lab.apply(vec![namespace("shop").into()]).await.unwrap_err();
        assert_eq!(error.message, "namespaces \"shop\" is being deleted");
    });
}

#[test]
fn a_request_may_name_a_namespace_after_its_pods_and_is_answered_in_its_own_order() {
    run(async {
        let lab = Lab::new().await;
        let mut inner = pod("web");
        inner.metadata.namespace = Some("shop".to_owned());
        let answer = lab.apply(vec![inner.into(), namespace("shop").into()]).await.unwrap();
        let names: Vec<_> = answer.items.iter().map(|item| item.object.slash_name()).collect();
        assert_eq!(names, ["pod/web", "namespace/shop"]);
        let versions = answer.items.iter().map(|item| &item.object.metadata().resource_version);
        assert!(versions.clone().all(|version| *version == answer.revision.to_string()));
    });
}

#[test]
fn an_object_that_stands_twice_in_a_request_is_refused_and_nothing_is_made() {
    run(async {
        let lab = Lab::new().await;
        let error = lab.apply(vec![pod("web").into(), pod("web").into()]).await.unwrap_err();
        assert_eq!(error.message, "pod/web stands twice in one request");
        assert!(lab.is_gone(&pod_key("web")).await);
        assert_eq!(lab.held().await, 0);
    });
}

#[test]
fn one_bad_object_keeps_all_others_out() {
    run(async {
        let lab = Lab::new().await;
        let before = lab.control.revision().await.unwrap();
        lab.apply(vec![pod("web").into(), pod("Bad").into()]).await.unwrap_err();
        assert_eq!(lab.control.revision().await.unwrap(), before);
    });
}

#[test]
fn a_second_apply_of_the_same_changes_nothing() {
    run(async {
        let lab = Lab::new().await;
        assert_eq!(lab.apply_one(pod("web")).await, ApplyResult::Created);
        let before = lab.control.revision().await.unwrap();
        assert_eq!(lab.apply_one(pod("web")).await, ApplyResult::Unchanged);
        assert_eq!(lab.control.revision().await.unwrap(), before);
    });
}

#[test]
fn an_apply_takes_back_its_own_labels_and_leaves_those_of_others() {
    run(async {
        let lab = Lab::new().await;
        let labelled = |labels: Value| {
            object(json!({ "kind": "Pod", "metadata": { "name": "web", "labels": labels } }))
        };
        lab.apply_one(labelled(json!({ "app": "web", "tier": "front" }))).await;
        let others = json!({ "metadata": { "labels": { "theirs": "yes" } } });
        lab.patch(&pod_key("web"), others).await.unwrap();
        let result = lab.apply_one(labelled(json!({ "app": "web" }))).await;
        assert_eq!(result, ApplyResult::Configured);
        let labels = serde_json::to_value(lab.pod("web").await.metadata.labels).unwrap();
        assert_eq!(labels, json!({ "app": "web", "theirs": "yes" }));
    });
}

#[test]
fn a_field_that_an_apply_no_longer_names_returns_to_its_default() {
    run(async {
        let lab = Lab::new().await;
        let graceful = |spec: Value| {
            object(json!({ "kind": "Pod", "metadata": { "name": "web" }, "spec": spec }))
        };
        lab.apply_one(graceful(json!({ "terminationGracePeriodSeconds": 5 }))).await;
        assert_eq!(lab.apply_one(graceful(json!({}))).await, ApplyResult::Configured);
        let pod = lab.pod("web").await;
        assert_eq!(pod.spec.termination_grace_period_seconds, None);
        assert_eq!(pod.metadata.generation, 2);
        assert_eq!(pod.spec.node_name.as_deref(), Some("n1"));
    });
}

#[test]
fn an_endpoint_slice_is_applied_again_as_any_other_object() {
    run(async {
        let lab = Lab::new().await;
        let slice = |address: &str| {
            object(json!({
                "kind": "EndpointSlice", "metadata": { "name": "web-1" }, "addressType": "IPv4",
                "endpoints": [{ "addresses": [address] }], "ports": [{ "port": 80 }],
            }))
        };
        assert_eq!(lab.apply_one(slice("192.0.2.20")).await, ApplyResult::Created);
        assert_eq!(lab.apply_one(slice("192.0.2.20")).await, ApplyResult::Unchanged);
        assert_eq!(lab.apply_one(slice("192.0.2.21")).await, ApplyResult::Configured);
        let kept = lab.all(Kind::EndpointSlice).await.remove(0);
        let Object::EndpointSlice(kept) = kept else { panic!("a slice, not {kept:?}") };
        assert_eq!(kept.endpoints[0].addresses, ["192.0.2.21"]);
        assert_eq!(kept.metadata.generation, 2);
    });
}

#[test]
fn a_manifest_that_moved_is_no_change_but_is_remembered() {
    run(async {
        let lab = Lab::new().await;
        let at = |line: &str| {
            let annotations = json!({ "netlab.io/source": line });
            object(
                json!({ "kind": "Pod", "metadata": { "name": "web", "annotations": annotations } }),
            )
        };
        lab.apply_one(at("lab.toml:3")).await;
        let answer = lab.apply(vec![at("lab.toml:9")]).await.unwrap();
        assert_eq!(answer.items[0].result, ApplyResult::Unchanged);
        let stored = lab.pod("web").await;
        assert_eq!(stored.metadata.annotations["netlab.io/source"], "lab.toml:9");
        // The answer carries the revision of what is stored now.
        assert_eq!(answer.items[0].object, stored.into());
    });
}

#[test]
fn create_never_changes_what_is_there() {
    run(async {
        let lab = Lab::new().await;
        let first = lab.run("web").await;
        let error = lab.create(pod("web")).await.unwrap_err();
        assert_eq!(error.reason, Reason::AlreadyExists);
        assert_eq!(error.message, "pods \"web\" already exists");
        lab.delete(&pod_key("web")).await.unwrap();
        let error = lab.create(pod("web")).await.unwrap_err();
        assert_eq!(error.message, "object is being deleted: pods \"web\" already exists");
        let error = lab.apply(vec![pod("web").into()]).await.unwrap_err();
        assert_eq!((error.reason, error.code), (Reason::Conflict, 409));
        assert_eq!(lab.pod("web").await.metadata.uid, first.metadata.uid);
    });
}

#[test]
fn replace_holds_to_the_revision_and_the_uid_that_were_read() {
    run(async {
        let lab = Lab::new().await;
        let read = lab.run("web").await;
        lab.patch(&pod_key("web"), json!({ "metadata": { "labels": { "a": "1" } } }))
            .await
            .unwrap();
        let error = lab.control.replace(read.clone().into(), false).await.unwrap_err();
        assert_eq!(error.reason, Reason::Conflict, "{error}");
        let mut fresh = lab.pod("web").await;
        fresh.metadata.labels.clear();
        let replaced = lab.control.replace(fresh.into(), false).await.unwrap();
        assert_eq!(replaced, lab.pod("web").await.into());
        assert!(replaced.metadata().labels.is_empty());
        let mut earlier = pod("web");
        earlier.metadata.uid = "of-an-earlier-pod".to_owned();
        let error = lab.control.replace(earlier.into(), false).await.unwrap_err();
        assert_eq!(error.reason, Reason::Conflict, "{error}");
    });
}

#[test]
fn a_patch_changes_what_it_names_and_holds_to_a_revision() {
    run(async {
        let lab = Lab::new().await;
        lab.run("web").await;
        let key = pod_key("web");
        let labels = json!({ "metadata": { "labels": { "app": "web", "old": "x" } } });
        let first = lab.patch(&key, labels).await.unwrap();
        let stale = json!({ "metadata": { "resourceVersion": "1", "labels": { "app": "no" } } });
        assert_eq!(lab.patch(&key, stale).await.unwrap_err().reason, Reason::Conflict);
        let version = &first.metadata().resource_version;
        let fits = json!({ "metadata": { "resourceVersion": version, "labels": { "old": null } } });
        let second = lab.patch(&key, fits).await.unwrap();
        assert_eq!(
            serde_json::to_value(&second.metadata().labels).unwrap(),
            json!({ "app": "web" })
        );
        let any = json!({ "metadata": { "resourceVersion": null, "labels": { "old": null } } });
        assert_eq!(lab.patch(&key, any).await.unwrap(), second);
        // What changes nothing makes no revision.
        let same = lab.patch(&key, json!({ "metadata": { "labels": { "app": "web" } } })).await;
        assert_eq!(same.unwrap(), second);
    });
}

#[test]
fn a_patch_of_what_there_is_not_or_is_not_the_users_names_the_field() {
    run(async {
        let lab = Lab::new().await;
        let before = lab.run("web").await;
        for (patch, field) in [
            (json!({ "spec": { "comand": ["x"] } }), "spec.comand"),
            (
                json!({ "spec": { "readinessProbe": { "tcpSocket": { "prot": 1 } } } }),
                "spec.readinessProbe.tcpSocket.prot",
            ),
            (json!({ "spec": { "restartPolicy": "Sometimes" } }), "spec.restartPolicy"),
            (json!({ "sepc": {} }), "sepc"),
            (json!({ "metadata": { "label": {} } }), "metadata.label"),
            (json!({ "metadata": { "labels": { "a": 1 } } }), "metadata.labels.a"),
            (json!({ "metadata": { "uid": "x" } }), "metadata.uid"),
            (json!({ "metadata": { "generation": 7 } }), "metadata.generation"),
            (json!({ "metadata": { "name": "other" } }), "metadata.name"),
            (json!({ "status": { "phase": "Running" } }), "status.phase"),
            (json!({ "spec": { "hostname": "h" } }), "spec.hostname"),
            (json!({ "spec": { "nodeName": "n2" } }), "spec.nodeName"),
        ] {
            let error = lab.patch(&pod_key("web"), patch.clone()).await.unwrap_err();
            assert_eq!(error.reason, Reason::Invalid, "{patch}: {error}");
            assert_eq!(error.field.as_deref(), Some(field), "{patch}: {error}");
            assert!(error.message.contains(field), "{patch}: {error}");
        }
        assert_eq!(lab.pod("web").await, before);
    });
}

#[test]
fn what_runs_in_a_pod_cannot_change_and_the_error_says_the_cure() {
    run(async {
        let lab = Lab::new().await;
        lab.apply_one(pod("web")).await;
        let mut other = pod("web");
        other.spec.command = vec!["sleep".to_owned()];
        let error = lab.apply(vec![other.clone().into()]).await.unwrap_err();
        assert_eq!(error.field.as_deref(), Some("spec.command"));
        assert!(error.hint.unwrap().contains("netlabctl delete pod web"));
        lab.control.replace(other.into(), false).await.unwrap_err();
        assert!(lab.pod("web").await.spec.command.is_empty());
    });
}

#[test]
fn nobody_writes_nodes_blocks_and_events_by_hand() {
    run(async {
        let lab = Lab::new().await;
        lab.run("web").await;
        let mut node = Node::default();
        node.metadata.name = "n9".to_owned();
        let block = lab.blocks().await.remove(0);
        let event = lab.events().await.remove(0);
        for object in [Object::from(node), block.into(), event.into()] {
            let error = lab.create(object.clone()).await.unwrap_err();
            assert_eq!(error.reason, Reason::Forbidden, "{}: {error}", object.slash_name());
        }
        let key = ObjectKey::of(&lab.blocks().await.remove(0).into());
        let patch = json!({ "metadata": { "labels": { "a": "b" } } });
        assert_eq!(lab.patch(&key, patch).await.unwrap_err().reason, Reason::Forbidden);
    });
}

#[test]
fn a_dry_run_answers_what_would_be_and_stores_nothing() {
    run(async {
        let lab = Lab::new().await;
        lab.run("old").await;
        let before = lab.store.list("").await.unwrap();
        let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
        let answer = lab.control.apply(vec![pod("new").into()], dry).await.unwrap();
        assert_eq!(answer.items[0].result, ApplyResult::Created);
        let patch = json!({ "metadata": { "labels": { "a": "1" } } });
        let patched = lab.control.patch(&pod_key("old"), patch, true).await.unwrap();
        assert_eq!(patched.metadata().labels["a"], "1");
        let options = DeleteOptions { dry_run: true, ..DeleteOptions::default() };
        let gone = lab.control.delete(&pod_key("old"), &options).await.unwrap();
        assert!(gone.metadata().deletion_timestamp.is_some());
        assert_eq!(lab.store.list("").await.unwrap(), before);
    });
}
