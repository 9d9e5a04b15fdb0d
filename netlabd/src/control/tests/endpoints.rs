// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_api::endpoint_slice::{AddressType, Endpoint};
use netlab_api::pod::{PodPhase, PodStatus, READY};
use netlab_api::{EndpointSlice, Service};

use super::*;

/// A service that selects pods with `app=<name>`.
fn service(name: &str) -> Object {
    object(json!({
        "kind": "Service",
        "metadata": { "name": name },
        "spec": { "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    }))
}

fn labelled(name: &str, app: &str) -> Pod {
    let mut pod = pod(name);
    pod.metadata.labels.insert("app".to_owned(), app.to_owned());
    pod
}

fn namespaced(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey { kind, namespace: Some("default".to_owned()), name: name.to_owned() }
}

impl Lab {
    /// Waits for the endpoints of all that was written.
    async fn settled(&self) -> Revision {
        let newest = self.control.revision().await.unwrap();
        self.control.endpoints.settled(newest).await
    }

    async fn slices(&self) -> Vec<EndpointSlice> {
        self.settled().await;
        let slices = self.all(Kind::EndpointSlice).await.into_iter();
        let slice =
            |object| if let Object::EndpointSlice(slice) = object { slice } else { panic!() };
        slices.map(slice).collect()
    }

    /// Each endpoint of a service in a few words: `web-0 ready`.
    async fn endpoints(&self, service: &str) -> Vec<String> {
        let slices = self.slices().await.into_iter();
        let own = slices.filter(|slice| slice.service() == Some(service));
        let mut words: Vec<_> = own.flat_map(|slice| slice.endpoints).map(|e| word(&e)).collect();
        words.sort();
        words
    }

    async fn become_ready(&self, pod: &Pod, ready: bool) {
        let status = if ready { ConditionStatus::True } else { ConditionStatus::False };
        let mut conditions = node_status(ready).conditions;
        conditions[0].kind = READY.to_owned();
        conditions[0].status = status;
        let status = PodStatus { phase: PodPhase::Running, conditions, ..PodStatus::default() };
        let update = PodStatusUpdate { pod: PodIdentity::of(pod), status };
        let node = pod.spec.node_name.as_deref().unwrap();
        self.control.update_pod_statuses(node, vec![update]).await.unwrap();
    }
}

fn word(endpoint: &Endpoint) -> String {
    let name = endpoint.target_ref.as_ref().map_or("?", |pod| pod.name.as_str());
    let conditions = endpoint.conditions;
    let state = match (conditions.is_ready(), conditions.is_terminating()) {
        (true, _) => "ready",
        (false, true) => "terminating",
        (false, false) => "unready",
    };
    format!("{name} {state}")
}

async fn run_labelled(lab: &Lab, name: &str, app: &str) -> Pod {
    match lab.create(labelled(name, app)).await.unwrap() {
        Object::Pod(pod) => pod,
        other => panic!("a pod, not {other:?}"),
    }
}

#[test]
fn endpoints_follow_the_pods_of_a_service() {
    run(async {
        let lab = Lab::new().await;
        lab.create(service("web")).await.unwrap();
        assert!(lab.endpoints("web").await.is_empty());
        let (one, _) = (run_labelled(&lab, "a", "web").await, run_labelled(&lab, "b", "web").await);
        run_labelled(&lab, "c", "other").await;
        assert_eq!(lab.endpoints("web").await, ["a unready", "b unready"]);
        lab.become_ready(&one, true).await;
        assert_eq!(lab.endpoints("web").await, ["a ready", "b unready"]);
        lab.patch(&pod_key("c"), json!({ "metadata": { "labels": { "app": "web" } } }))
            .await
            .unwrap();
        lab.delete(&pod_key("a")).await.unwrap();
        assert_eq!(lab.endpoints("web").await, ["a terminating", "b unready", "c unready"]);
        lab.finalize(&[&one]).await;
        assert_eq!(lab.endpoints("web").await, ["b unready", "c unready"]);
        lab.delete(&namespaced(Kind::Service, "web")).await.unwrap();
        assert!(lab.slices().await.is_empty());
    });
}

#[test]
fn a_pod_of_a_lost_node_takes_no_connections() {
    run(async {
        let lab = Lab::with_grace(Duration::from_millis(50)).await;
        lab.create(service("web")).await.unwrap();
        let pod = run_labelled(&lab, "a", "web").await;
        lab.become_ready(&pod, true).await;
        assert_eq!(lab.endpoints("web").await, ["a ready"]);
        lab.control.watch_nodes("server");
        while lab.endpoints("web").await != ["a unready"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn slices_of_users_are_left_alone_and_ours_are_put_right() {
    run(async {
        let lab = Lab::new().await;
        let mine = object(json!({
            "kind": "EndpointSlice",
            "metadata": { "name": "mine", "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["192.0.2.1"] }],
        }));
        let mine = lab.create(mine).await.unwrap();
        lab.create(service("web")).await.unwrap();
        run_labelled(&lab, "a", "web").await;
        assert_eq!(lab.endpoints("web").await, ["? ready", "a unready"]);
        let slices = lab.slices().await;
        let ours = slices.iter().find(|slice| slice.is_managed()).unwrap();
        let key = namespaced(Kind::EndpointSlice, &ours.metadata.name);
        lab.patch(&key, json!({ "endpoints": [] })).await.unwrap();
        assert_eq!(lab.endpoints("web").await, ["? ready", "a unready"]);
        lab.delete(&key).await.unwrap();
        assert_eq!(lab.endpoints("web").await, ["? ready", "a unready"]);
        lab.delete(&namespaced(Kind::Service, "web")).await.unwrap();
        let left: Vec<Object> = lab.slices().await.into_iter().map(Object::from).collect();
        assert_eq!(left, [mine]);
    });
}

#[test]
fn a_service_without_a_selector_has_no_slices_of_ours() {
    run(async {
        let lab = Lab::new().await;
        lab.create(service("web")).await.unwrap();
        assert_eq!(lab.slices().await.len(), 1);
        let patch = json!({ "spec": { "selector": { "app": null } } });
        lab.patch(&namespaced(Kind::Service, "web"), patch).await.unwrap();
        assert!(lab.slices().await.is_empty());
    });
}

#[test]
fn what_was_written_before_the_start_is_taken_up() {
    run(async {
        let lab = Lab::new().await;
        lab.create(service("web")).await.unwrap();
        run_labelled(&lab, "a", "web").await;
        let before = lab.slices().await;
        let config = lab.control.config().clone();
        let again = Control::open(lab.store.clone(), config).await.unwrap();
        again.endpoints.settled(lab.control.revision().await.unwrap()).await;
        assert_eq!(lab.slices().await, before);
        assert_eq!(before[0].address_type, AddressType::IPv4);
    });
}

/// A pod becomes ready while its service is made, and another service goes: whoever is first, in
/// the end the slices say what is.
#[test]
fn races_end_right() {
    run(async {
        let lab = Lab::new().await;
        for round in 0..20 {
            let name = format!("web-{round}");
            let pod = run_labelled(&lab, &format!("pod-{round}"), &name).await;
            let other = format!("old-{round}");
            lab.create(service(&other)).await.unwrap();
            let old = namespaced(Kind::Service, &other);
            let (made, (), gone) = tokio::join!(
                lab.create(service(&name)),
                lab.become_ready(&pod, true),
                lab.delete(&old)
            );
            made.unwrap();
            gone.unwrap();
            assert_eq!(lab.endpoints(&name).await, [format!("pod-{round} ready")]);
            let slices = lab.slices().await;
            assert!(slices.iter().all(|slice| slice.service() != Some(&other)));
        }
    });
}

#[test]
fn many_changes_at_once_cost_few_writes() {
    run(async {
        let lab = Lab::new().await;
        lab.create(service("web")).await.unwrap();
        let pods = (0..60).map(|n| labelled(&format!("p{n}"), "web").into()).collect();
        let made = lab.apply(pods).await.unwrap();
        assert_eq!(lab.endpoints("web").await.len(), 60);
        let before = lab.settled().await;
        let updates = made.items.into_iter().map(|item| {
            let Object::Pod(pod) = item.object else { panic!("a pod") };
            let conditions = node_status(true).conditions;
            let status = PodStatus { phase: PodPhase::Running, conditions, ..PodStatus::default() };
            PodStatusUpdate { pod: PodIdentity::of(&pod), status }
        });
        lab.control.update_pod_statuses("n1", updates.collect()).await.unwrap();
        let after = lab.settled().await;
        assert!(lab.endpoints("web").await.iter().all(|word| word.ends_with(" ready")));
        // The statuses, and what follows from them.
        assert_eq!(after.0 - before.0, 2);
    });
}

#[test]
fn a_service_that_cannot_work_says_so_once() {
    run(async {
        let lab = Lab::new().await;
        let said = async || -> Vec<(String, String, u64)> {
            lab.settled().await;
            let events = lab.events().await.into_iter();
            let about = events.filter(|event| event.involved_object.kind == "Service");
            let mut said: Vec<_> = about.map(|e| (e.reason, e.message, e.count)).collect();
            said.sort();
            said
        };
        let mut web = service("web");
        let Object::Service(Service { spec, .. }) = &mut web else { panic!("a service") };
        spec.ports[0].target_port = Some(netlab_api::pod::PortRef::Name("http".to_owned()));
        lab.create(web).await.unwrap();
        let no_pods = ("NoPods".to_owned(), "no pod has the labels app=web".to_owned(), 1);
        assert_eq!(said().await, std::slice::from_ref(&no_pods));
        let pod = run_labelled(&lab, "a", "web").await;
        let message = "none of its pods has a port named http among its `ports`".to_owned();
        let no_port = ("NoSuchPort".to_owned(), message, 1);
        assert_eq!(said().await, [no_pods.clone(), no_port.clone()]);
        lab.become_ready(&pod, true).await;
        lab.delete(&pod_key("a")).await.unwrap();
        lab.finalize(&[&pod]).await;
        assert_eq!(said().await, [no_pods, no_port]);
    });
}
