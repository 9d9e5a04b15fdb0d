// SPDX-License-Identifier: GPL-3.0-or-later
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use netlab_api::pod::{POD_SCHEDULED, PodPhase};

use super::*;

/// The smallest network: 62 addresses for pods.
const SMALL: &str = "10.42.0.0/26";

fn many(count: usize) -> Vec<Object> {
    (0..count).map(|number| pod(&format!("p{number}")).into()).collect()
}

fn scheduled(pod: &Pod) -> (ConditionStatus, String) {
    let condition = pod.status.conditions.iter().find(|c| c.kind == POD_SCHEDULED).unwrap();
    (condition.status, condition.message.clone().unwrap_or_default())
}

#[test]
fn a_pod_waits_for_a_node_and_says_why_until_one_is_ready() {
    run(async {
        let lab = Lab::with_networks(&["10.42.0.0/16"]).await;
        let made = lab.run("web").await;
        assert_eq!(made.status.phase, PodPhase::Pending);
        let why = "0/0 nodes are available: 0 cordoned, 0 not ready".to_owned();
        assert_eq!(scheduled(&made), (ConditionStatus::False, why));
        assert!(made.status.pod_ips.is_empty());
        lab.register("n1", false).await;
        let why = "0/1 nodes are available: 0 cordoned, 1 not ready".to_owned();
        assert_eq!(scheduled(&lab.pod("web").await), (ConditionStatus::False, why));
        lab.register("n1", true).await;
        let placed = lab.pod("web").await;
        assert_eq!(placed.spec.node_name.as_deref(), Some("n1"));
        assert_eq!(scheduled(&placed).0, ConditionStatus::True);
        assert_eq!(placed.ips().count(), 1);
        let events = lab.events().await;
        assert_eq!(events.iter().filter(|e| e.reason == "FailedScheduling").count(), 2);
        assert_eq!(events.iter().filter(|e| e.reason == "Scheduled").count(), 1);
    });
}

#[test]
fn a_pod_that_waits_for_the_same_reason_is_not_written_again() {
    run(async {
        let lab = Lab::with_networks(&["10.42.0.0/16"]).await;
        lab.register("n1", false).await;
        let before = lab.run("web").await;
        let mut status = node_status(false);
        status.node_info.kernel_version = "7.0".to_owned();
        lab.control.register_node("n1", status).await.unwrap();
        assert_eq!(lab.pod("web").await, before);
    });
}

#[test]
fn a_cordoned_node_takes_no_pods_and_gets_those_that_wait_when_it_is_uncordoned() {
    run(async {
        for uncordon_by_apply in [false, true] {
            let lab = Lab::new().await;
            let node = key(Kind::Node, "n1");
            lab.patch(&node, json!({ "spec": { "unschedulable": true } })).await.unwrap();
            let why = "0/1 nodes are available: 1 cordoned, 0 not ready".to_owned();
            assert_eq!(scheduled(&lab.run("web").await), (ConditionStatus::False, why));
            if uncordon_by_apply {
                let open = json!({ "kind": "Node", "metadata": { "name": "n1" }, "spec": { "unschedulable": false } });
                lab.apply_one(object(open.clone())).await;
                let read = lab.control.get(&node).await.unwrap();
                let Object::Node(mut read) = read else { panic!() };
                read.spec.unschedulable = false;
                lab.apply_one(Object::Node(read.clone())).await;
                lab.control.replace(read.into(), false).await.unwrap();
            } else {
                lab.patch(&node, json!({ "spec": { "unschedulable": null } })).await.unwrap();
            }
            assert_eq!(lab.pod("web").await.spec.node_name.as_deref(), Some("n1"));
        }
    });
}

#[test]
fn a_pod_may_name_its_node_but_not_one_that_there_is_not() {
    run(async {
        let lab = Lab::new().await;
        lab.register("n2", true).await;
        let mut wishful = pod("web");
        wishful.spec.node_name = Some("n9".to_owned());
        let error = lab.create(wishful.clone()).await.unwrap_err();
        assert_eq!(error.message, "pod \"web\" wants node \"n9\", which does not exist");
        assert_eq!(error.field.as_deref(), Some("spec.nodeName"));
        assert_eq!(error.hint.as_deref(), Some("nodes are: n1, n2"));
        wishful.spec.node_name = Some("n2".to_owned());
        lab.create(wishful).await.unwrap();
        assert_eq!(lab.blocks().await[0].spec.node, "n2");
    });
}

#[test]
fn pods_spread_to_the_node_with_the_fewest_and_no_block_has_two_owners() {
    run(async {
        let lab = Lab::new().await;
        for _ in 0..4 {
            let mut first = pod(&format!("first{}", lab.held().await));
            first.spec.node_name = Some("n1".to_owned());
            lab.create(first).await.unwrap();
        }
        lab.register("n2", true).await;
        lab.register("n3", true).await;
        lab.apply(many(206)).await.unwrap();
        let mut pods: BTreeMap<String, usize> = BTreeMap::new();
        let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
        for block in lab.blocks().await {
            for address in block.spec.allocated.keys() {
                owners.insert(*address, block.spec.node.clone());
            }
        }
        for object in lab.all(Kind::Pod).await {
            let Object::Pod(pod) = object else { panic!() };
            let node = pod.spec.node_name.clone().unwrap();
            assert_eq!(owners[&pod.ips().next().unwrap()], node);
            *pods.entry(node).or_default() += 1;
        }
        assert_eq!(pods.values().copied().collect::<Vec<_>>(), [70, 70, 70]);
    });
}

#[test]
fn rival_writers_of_one_daemon_never_share_an_address() {
    run(async {
        let lab = Lab::with_networks(&["10.42.0.0/16", "fd42::/48"]).await;
        lab.register("n1", true).await;
        lab.register("n2", true).await;
        let rivals = (0..8).map(|rival| {
            let control = lab.control.clone();
            tokio::spawn(async move {
                for number in 0..10 {
                    let name = format!("r{rival}-{number}");
                    let wanted = vec![pod(&name).into()];
                    control.apply(wanted, WriteOptions::default()).await.unwrap();
                    if number % 3 == 0 {
                        let key = pod_key(&name);
                        let gone = control.delete(&key, &DeleteOptions::default()).await.unwrap();
                        let Object::Pod(gone) = gone else { panic!() };
                        let node = gone.spec.node_name.clone().unwrap();
                        control.finalize_pods(&node, vec![PodIdentity::of(&gone)]).await.unwrap();
                    }
                }
            })
        });
        for rival in rivals.collect::<Vec<_>>() {
            rival.await.unwrap();
        }
        assert_consistent(&lab, 48).await;
    });
}

/// Two daemons over one store hold no lock in common: only the store's checks keep them apart.
#[test]
fn rival_daemons_over_one_store_never_share_an_address() {
    run(async {
        let lab = Lab::with_networks(&["10.42.0.0/16", "fd42::/48"]).await;
        lab.register("n1", true).await;
        let config = lab.control.config().clone();
        let other = Arc::new(Control::open(lab.store.clone(), config).await.unwrap());
        let rivals =
            [lab.control.clone(), other].into_iter().enumerate().map(|(rival, control)| {
                tokio::spawn(async move {
                    for number in 0..30 {
                        let wanted: Vec<Object> = vec![pod(&format!("d{rival}-{number}")).into()];
                        // Who loses too often is told so, and nothing is stored.
                        while let Err(error) =
                            control.apply(wanted.clone(), WriteOptions::default()).await
                        {
                            assert_eq!(error.reason, Reason::Conflict, "{error}");
                        }
                    }
                })
            });
        for rival in rivals.collect::<Vec<_>>() {
            rival.await.unwrap();
        }
        assert_consistent(&lab, 60).await;
    });
}

/// Each of `count` pods has addresses of both families, nobody else has them, and blocks say so.
async fn assert_consistent(lab: &Lab, count: usize) {
    let mut addresses = BTreeSet::new();
    for object in lab.all(Kind::Pod).await {
        let Object::Pod(pod) = object else { panic!() };
        assert_eq!(pod.ips().map(|ip| ip.is_ipv4()).collect::<Vec<_>>(), [true, false]);
        for address in pod.ips() {
            assert!(addresses.insert(address), "{address} is held twice");
        }
    }
    let blocks = lab.blocks().await;
    let held: BTreeSet<_> = blocks.iter().flat_map(|b| b.spec.allocated.keys().copied()).collect();
    assert_eq!(addresses, held);
    assert_eq!(addresses.len(), 2 * count);
}

#[test]
fn a_full_network_refuses_new_pods_and_takes_one_for_each_that_goes() {
    run(async {
        let lab = Lab::with_networks(&[SMALL]).await;
        lab.register("n1", true).await;
        lab.apply(many(62)).await.unwrap();
        let error = lab.create(pod("one-too-many")).await.unwrap_err();
        assert_eq!(error.reason, Reason::ServiceUnavailable);
        let message = "no address is left in the pod network `10.42.0.0/26` for node `n1`";
        assert_eq!(error.message, message);
        assert!(error.hint.is_some());
        let mut bound = pod("bound");
        bound.spec.node_name = Some("n1".to_owned());
        assert_eq!(lab.create(bound).await.unwrap_err().message, message);
        let gone = lab.pod("p7").await;
        lab.delete(&pod_key("p7")).await.unwrap();
        lab.finalize(&[&gone]).await;
        assert_eq!(lab.run("next").await.status.pod_ip, gone.status.pod_ip);
    });
}

#[test]
fn a_node_without_addresses_is_passed_over_for_one_that_has_some() {
    run(async {
        // Two blocks: each node owns one.
        let lab = Lab::with_networks(&["10.42.0.0/25"]).await;
        lab.register("n1", true).await;
        lab.register("n2", true).await;
        lab.apply(many(125)).await.unwrap();
        // n1 has fewer pods of its own, and no address: all that is left is in n2's block.
        let on = |node: &'static str| {
            let lab = &lab;
            async move {
                let pods = lab.all(Kind::Pod).await.into_iter();
                let of = |object| if let Object::Pod(pod) = object { pod } else { panic!() };
                pods.map(of).find(|pod| pod.spec.node_name.as_deref() == Some(node)).unwrap()
            }
        };
        let gone = on("n2").await;
        lab.delete(&pod_key(&gone.metadata.name)).await.unwrap();
        lab.finalize(&[&gone]).await;
        lab.patch(&key(Kind::Node, "n2"), json!({ "spec": { "unschedulable": true } }))
            .await
            .unwrap();
        let error = lab.create(pod("new")).await.unwrap_err();
        assert_eq!(
            error.message,
            "no address is left in the pod network `10.42.0.0/25` for node `n1`"
        );
        lab.patch(&key(Kind::Node, "n2"), json!({ "spec": { "unschedulable": null } }))
            .await
            .unwrap();
        assert_eq!(lab.run("new").await.spec.node_name.as_deref(), Some("n2"));
    });
}

#[test]
fn waiting_pods_take_the_addresses_there_are_and_the_rest_waits_on() {
    run(async {
        let lab = Lab::with_networks(&[SMALL]).await;
        lab.apply(many(64)).await.unwrap();
        lab.register("n1", true).await;
        let pods = || async {
            let pods = lab.all(Kind::Pod).await.into_iter();
            let of = |object| if let Object::Pod(pod) = object { pod } else { panic!() };
            pods.map(of).partition::<Vec<Pod>, _>(|pod| pod.spec.node_name.is_some())
        };
        let (placed, waiting) = pods().await;
        assert_eq!((placed.len(), waiting.len()), (62, 2));
        let why = "no address is left in the pod network `10.42.0.0/26` for node `n1`".to_owned();
        assert_eq!(scheduled(&waiting[0]), (ConditionStatus::False, why));
        lab.delete(&pod_key(&placed[0].metadata.name)).await.unwrap();
        lab.finalize(&[&placed[0]]).await;
        let (placed, waiting) = pods().await;
        assert_eq!((placed.len(), waiting.len()), (62, 1));
    });
}

#[test]
fn pods_have_one_address_of_each_family_that_the_cluster_has() {
    run(async {
        for (networks, addresses) in [
            (&["10.42.0.0/16", "fd42::/48"][..], &["10.42.0.1", "fd42::1"][..]),
            (&["10.42.0.0/16"], &["10.42.0.1"]),
            (&["fd42::/48"], &["fd42::1"]),
        ] {
            let lab = Lab::with_networks(networks).await;
            lab.register("n1", true).await;
            lab.register("n2", true).await;
            let made = lab.run("web").await;
            let found: Vec<_> = made.ips().map(|ip| ip.to_string()).collect();
            assert_eq!(found, addresses);
            assert_eq!(made.status.pod_ip.unwrap().to_string(), addresses[0]);
            // Whatever the family, pods are counted by it.
            assert_eq!(lab.run("second").await.spec.node_name.as_deref(), Some("n2"));
        }
    });
}

#[test]
fn a_node_is_registered_once_under_a_name_that_may_be_one() {
    run(async {
        let lab = Lab::new().await;
        let Object::Node(first) = lab.control.get(&key(Kind::Node, "n1")).await.unwrap() else {
            panic!()
        };
        assert_eq!(first.metadata.labels["kubernetes.io/hostname"], "n1");
        lab.register("n1", true).await;
        assert_eq!(lab.control.get(&key(Kind::Node, "n1")).await.unwrap(), first.clone().into());
        lab.register("n1", false).await;
        let Object::Node(second) = lab.control.get(&key(Kind::Node, "n1")).await.unwrap() else {
            panic!()
        };
        assert_eq!(second.metadata.uid, first.metadata.uid);
        assert!(!second.is_ready());
        let error = lab.control.register_node("My Node", node_status(true)).await.unwrap_err();
        assert_eq!(error.field.as_deref(), Some("metadata.name"), "{error}");
    });
}
