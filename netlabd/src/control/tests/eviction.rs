// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_api::pod::{PodPhase, PodStatus};
use netlab_api::view::PodReport;
use netlab_api::wire::WatchEvent;

use super::*;

fn evict() -> DeleteOptions {
    DeleteOptions { evict: true, ..DeleteOptions::default() }
}

impl Lab {
    /// Nodes `n1` and `n2`, and a pod `web` on the first.
    async fn with_web_on_n1() -> (Lab, Pod) {
        let lab = Lab::new().await;
        let web = lab.run("web").await;
        assert_eq!(web.spec.node_name.as_deref(), Some("n1"));
        lab.register("n2", true).await;
        (lab, web)
    }

    async fn evict(&self, name: &str) -> Result<Pod, ApiError> {
        match self.control.delete(&pod_key(name), &evict()).await? {
            Object::Pod(pod) => Ok(pod),
            other => panic!("a pod, not {other:?}"),
        }
    }

    async fn moves(&self) -> usize {
        self.store.list("moves/").await.unwrap().entries.len()
    }
}

#[test]
fn an_evicted_pod_is_made_anew_on_another_node_once_its_own_has_let_go_of_it() {
    run(async {
        let (lab, _) = Lab::with_web_on_n1().await;
        let labels = json!({ "metadata": { "labels": { "app": "web" } } });
        lab.patch(&pod_key("web"), labels).await.unwrap();
        let going = lab.evict("web").await.unwrap();
        assert!(going.is_moving() && going.metadata.deletion_timestamp.is_some());
        // What the node says of its end does not make the cluster forget that it moves.
        let status = PodStatus { phase: PodPhase::Failed, ..PodStatus::default() };
        let report = PodReport { pod: PodIdentity::of(&going), status };
        lab.control.update_pod_statuses("n1", vec![report]).await.unwrap();
        lab.finalize(&[&going]).await;
        let anew = lab.pod("web").await;
        assert_eq!(anew.spec.node_name.as_deref(), Some("n2"));
        assert_ne!(anew.metadata.uid, going.metadata.uid);
        assert_eq!((anew.is_moving(), anew.metadata.deletion_timestamp), (false, None));
        assert_eq!((anew.status.phase, anew.ips().count()), (PodPhase::Pending, 1));
        assert_ne!(anew.status.pod_ip, going.status.pod_ip, "it is of another node's block");
        assert_eq!(anew.metadata.labels["app"], "web");
        assert_eq!((lab.held().await, lab.moves().await), (1, 0));
        let events = lab.events().await;
        let moved = events.iter().find(|event| event.reason == "Moved").unwrap();
        assert_eq!(moved.message, "Made default/web anew, which was evicted from n1");
        assert_eq!(moved.involved_object.uid, anew.metadata.uid);
    });
}

#[test]
fn a_watcher_hears_of_one_pod_that_is_gone_and_of_another_that_is_new() {
    run(async {
        let (lab, _) = Lab::with_web_on_n1().await;
        let going = lab.evict("web").await.unwrap();
        let from = lab.control.revision().await.unwrap();
        let mut watch =
            lab.control.watch(&scope(Kind::Pod), Filter::default(), from).await.unwrap();
        lab.finalize(&[&going]).await;
        let mut heard = Vec::new();
        while heard.len() < 2 {
            for event in watch.next().await.unwrap() {
                match event {
                    WatchEvent::Deleted(pod) => heard.push(("gone", pod.metadata().uid.clone())),
                    WatchEvent::Added(pod) => heard.push(("new", pod.metadata().uid.clone())),
                    WatchEvent::Bookmark(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        let anew = lab.pod("web").await;
        assert_eq!(heard, [("gone", going.metadata.uid), ("new", anew.metadata.uid)]);
    });
}

#[test]
fn a_pod_that_no_other_node_takes_is_not_evicted() {
    run(async {
        let lab = Lab::new().await;
        let before = lab.run("web").await;
        let error = lab.evict("web").await.unwrap_err();
        assert_eq!(error.reason, Reason::Conflict);
        assert_eq!(error.message, "pod \"web\" cannot be evicted: there is no other node");
        lab.register("n2", false).await;
        let error = lab.evict("web").await.unwrap_err();
        let why = "no other node takes it: 0/1 nodes are available: 0 cordoned, 1 not ready";
        assert_eq!(error.message, format!("pod \"web\" cannot be evicted: {why}"));
        assert_eq!(lab.pod("web").await, before, "nothing was changed");
        let error = lab.control.delete(&key(Kind::Node, "n2"), &evict()).await.unwrap_err();
        assert_eq!(error.message, "nodes cannot be evicted: only pods can");
    });
}

#[test]
fn a_pod_whose_new_node_is_lost_meanwhile_waits_for_one() {
    run(async {
        let (lab, _) = Lab::with_web_on_n1().await;
        let going = lab.evict("web").await.unwrap();
        let cordon = json!({ "spec": { "unschedulable": true } });
        lab.patch(&key(Kind::Node, "n1"), cordon).await.unwrap();
        lab.register("n2", false).await;
        lab.finalize(&[&going]).await;
        assert_eq!(lab.pod("web").await.spec.node_name, None);
        lab.register("n2", true).await;
        assert_eq!(lab.pod("web").await.spec.node_name.as_deref(), Some("n2"));
    });
}

#[test]
fn a_daemon_that_ends_between_the_two_writes_goes_on_when_it_is_back() {
    run(async {
        let (lab, web) = Lab::with_web_on_n1().await;
        lab.evict("web").await.unwrap();
        lab.control.remove_pods("n1", &[PodIdentity::of(&web)]).await.unwrap();
        assert!(lab.is_gone(&pod_key("web")).await);
        assert_eq!(lab.moves().await, 1);
        let config = lab.control.config().clone();
        let _next = Control::open(lab.store.clone(), config).await.unwrap();
        assert_eq!(lab.pod("web").await.spec.node_name.as_deref(), Some("n2"));
        assert_eq!(lab.moves().await, 0);
    });
}

#[test]
fn a_pod_that_is_deleted_while_it_moves_is_gone_for_good() {
    run(async {
        let (lab, web) = Lab::with_web_on_n1().await;
        lab.evict("web").await.unwrap();
        lab.delete(&pod_key("web")).await.unwrap();
        assert!(!lab.evict("web").await.unwrap().is_moving(), "who deleted it wants it gone");
        lab.finalize(&[&web]).await;
        assert!(lab.is_gone(&pod_key("web")).await);
    });
}

#[test]
fn a_command_that_has_ended_does_not_run_again_elsewhere() {
    run(async {
        let (lab, web) = Lab::with_web_on_n1().await;
        let status = PodStatus { phase: PodPhase::Succeeded, ..PodStatus::default() };
        let report = PodReport { pod: PodIdentity::of(&web), status };
        lab.control.update_pod_statuses("n1", vec![report]).await.unwrap();
        assert!(!lab.evict("web").await.unwrap().is_moving());
        lab.finalize(&[&web]).await;
        assert!(lab.is_gone(&pod_key("web")).await);
    });
}

#[test]
fn evicted_pods_of_a_lost_node_are_made_anew_when_it_is_deleted_and_others_go_with_it() {
    run(async {
        let lab = Lab::new().await;
        lab.control.watch_nodes("n1");
        lab.register("n2", true).await;
        for name in ["stays", "moves"] {
            let mut wanted = pod(name);
            wanted.spec.node_name = Some("n2".to_owned());
            lab.create(wanted).await.unwrap();
        }
        lab.register("n2", false).await;
        lab.evict("moves").await.unwrap();
        lab.delete(&key(Kind::Node, "n2")).await.unwrap();
        assert!(lab.is_gone(&pod_key("stays")).await);
        assert_eq!(lab.pod("moves").await.spec.node_name.as_deref(), Some("n1"));
        assert_eq!((lab.held().await, lab.moves().await), (1, 0));
    });
}

#[test]
fn a_node_may_be_deleted_while_its_pods_are_still_moving() {
    run(async {
        let lab = Lab::new().await;
        lab.control.watch_nodes("n1");
        lab.register("n2", true).await;
        let mut wanted = pod("web");
        wanted.spec.node_name = Some("n2".to_owned());
        lab.create(wanted).await.unwrap();
        let going = lab.evict("web").await.unwrap();
        lab.delete(&key(Kind::Node, "n2")).await.unwrap();
        lab.finalize(&[&going]).await;
        assert!(lab.is_gone(&key(Kind::Node, "n2")).await);
        assert_eq!(lab.pod("web").await.spec.node_name.as_deref(), Some("n1"));
    });
}

#[test]
fn a_name_that_is_taken_meanwhile_stays_with_who_took_it() {
    run(async {
        let (lab, web) = Lab::with_web_on_n1().await;
        lab.evict("web").await.unwrap();
        lab.control.remove_pods("n1", &[PodIdentity::of(&web)]).await.unwrap();
        let taken = lab.run("web").await;
        lab.control.finalize_pods("n1", Vec::new()).await.unwrap();
        assert_eq!(lab.pod("web").await.metadata.uid, taken.metadata.uid);
        assert_eq!(lab.moves().await, 0);
        assert!(lab.events().await.iter().any(|event| event.reason == "FailedMove"));
    });
}

#[test]
fn an_evicted_pod_goes_with_its_namespace() {
    run(async {
        let (lab, _) = Lab::with_web_on_n1().await;
        lab.create(namespace("shop")).await.unwrap();
        let mut wanted = pod("db");
        wanted.metadata.namespace = Some("shop".to_owned());
        wanted.spec.node_name = Some("n1".to_owned());
        let Object::Pod(made) = lab.create(wanted).await.unwrap() else { panic!() };
        let shop = Some("shop".to_owned());
        let db = ObjectKey { kind: Kind::Pod, namespace: shop, name: "db".to_owned() };
        lab.control.delete(&db, &evict()).await.unwrap();
        lab.delete(&key(Kind::Namespace, "shop")).await.unwrap();
        lab.finalize(&[&made]).await;
        assert!(lab.is_gone(&db).await && lab.is_gone(&key(Kind::Namespace, "shop")).await);
        assert_eq!(lab.moves().await, 0);
    });
}

#[test]
fn what_was_applied_of_an_evicted_pod_is_remembered() {
    run(async {
        let (lab, _) = Lab::with_web_on_n1().await;
        let manifest = |name: &str| {
            object(json!({ "kind": "Pod", "metadata": { "name": name, "labels": { "a": "b" } } }))
        };
        lab.apply_one(manifest("web")).await;
        let going = lab.evict("web").await.unwrap();
        lab.finalize(&[&going]).await;
        assert_eq!(lab.apply_one(manifest("web")).await, ApplyResult::Unchanged);
    });
}

#[test]
fn the_node_that_holds_the_store_has_the_role_of_the_server() {
    run(async {
        let lab = Lab::new().await;
        let roles = async |name: &str| {
            let node = lab.control.get(&key(Kind::Node, name)).await.unwrap();
            node.metadata().labels.contains_key(netlab_api::node::SERVER_ROLE_LABEL)
        };
        assert!(!roles("n1").await);
        lab.control.watch_nodes("n1");
        // A daemon that was there before there were roles says nothing new of itself.
        lab.register("n1", true).await;
        lab.register("n2", true).await;
        assert_eq!((roles("n1").await, roles("n2").await), (true, false));
    });
}
