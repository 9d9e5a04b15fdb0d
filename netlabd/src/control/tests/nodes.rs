// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_api::node::NodeAddress;
use netlab_api::pod::{ContainerStatus, PodPhase, PodStatus, READY};
use netlab_api::view::{NetworkSettings, NodeReport, PodReport, ViewChange, ViewEvent};
use netlab_api::{ProxyMode, RouteMode};

use super::*;
use crate::control::plane::ControlPlane;

fn ready_of(conditions: &[Condition]) -> (ConditionStatus, Option<String>) {
    let ready = conditions.iter().find(|c| c.kind == READY).expect("a Ready condition");
    (ready.status, ready.reason.clone())
}

impl Lab {
    async fn node(&self, name: &str) -> Node {
        match self.control.get(&key(Kind::Node, name)).await.unwrap() {
            Object::Node(node) => node,
            other => panic!("a node, not {other:?}"),
        }
    }

    /// A pod on `node` whose command runs and is ready.
    async fn run_on(&self, name: &str, node: &str) -> Pod {
        let mut wanted = pod(name);
        wanted.spec.node_name = Some(node.to_owned());
        let Object::Pod(made) = self.create(wanted).await.unwrap() else { panic!() };
        let container = ContainerStatus { ready: true, ..ContainerStatus::default() };
        let ready = node_status(true).conditions.remove(0);
        let status = PodStatus {
            phase: PodPhase::Running,
            conditions: vec![ready],
            container_statuses: vec![container],
            ..PodStatus::default()
        };
        let pods = vec![PodReport { pod: PodIdentity::of(&made), status }];
        let report = NodeReport { pods, ..NodeReport::default() };
        self.control.report(node, report).await.unwrap();
        made
    }

    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !is_so().await {
            assert!(tokio::time::Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[test]
fn a_silent_node_is_lost_with_its_pods_and_comes_back_with_them() {
    run(async {
        let lab = Lab::with_grace(Duration::from_millis(200)).await;
        lab.control.watch_nodes("n1");
        lab.register("n2", true).await;
        lab.run_on("here", "n1").await;
        lab.run_on("there", "n2").await;
        lab.until("n2 is lost", async || !lab.node("n2").await.is_ready()).await;
        let (status, reason) = ready_of(&lab.node("n2").await.status.conditions);
        assert_eq!(
            (status, reason.as_deref()),
            (ConditionStatus::Unknown, Some("NodeStatusUnknown"))
        );
        let (status, reason) = ready_of(&lab.pod("there").await.status.conditions);
        assert_eq!((status, reason.as_deref()), (ConditionStatus::False, Some("NodeNotReady")));
        assert_eq!(ready_of(&lab.pod("here").await.status.conditions).0, ConditionStatus::True);
        assert!(lab.node("n1").await.is_ready(), "the server's own node is alive");
        lab.until("an event tells", async || {
            lab.events().await.iter().any(|event| event.reason == "NodeNotReady")
        })
        .await;
        // An empty report says that the node lives.
        lab.control.report("n2", NodeReport::default()).await.unwrap();
        assert!(lab.node("n2").await.is_ready());
        assert_eq!(ready_of(&lab.pod("there").await.status.conditions).0, ConditionStatus::True);
    });
}

#[test]
fn a_node_that_is_deleted_lets_go_of_its_pods_and_then_of_its_blocks() {
    run(async {
        let lab = Lab::new().await;
        lab.control.watch_nodes("n1");
        lab.register("n2", true).await;
        let made = lab.run_on("web", "n2").await;
        let blocks = async || {
            let blocks = lab.blocks().await;
            blocks.iter().filter(|block| block.spec.node == "n2").count()
        };
        assert_eq!(blocks().await, 1);
        lab.delete(&key(Kind::Node, "n2")).await.unwrap();
        let node = lab.node("n2").await;
        assert!(node.metadata.deletion_timestamp.is_some() && node.spec.unschedulable);
        assert!(lab.pod("web").await.metadata.deletion_timestamp.is_some());
        let mut wanted = pod("late");
        wanted.spec.node_name = Some("n2".to_owned());
        let error = lab.create(wanted).await.unwrap_err();
        assert!(error.message.contains("being deleted"), "{error}");
        lab.finalize(&[&made]).await;
        assert!(lab.is_gone(&key(Kind::Node, "n2")).await);
        assert_eq!(blocks().await, 0);
    });
}

#[test]
fn a_lost_node_is_deleted_at_once_with_its_pods() {
    run(async {
        let lab = Lab::new().await;
        lab.control.watch_nodes("n1");
        lab.register("n2", true).await;
        lab.run_on("web", "n2").await;
        lab.register("n2", false).await;
        lab.delete(&key(Kind::Node, "n2")).await.unwrap();
        assert!(lab.is_gone(&key(Kind::Node, "n2")).await);
        assert!(lab.is_gone(&pod_key("web")).await);
        assert!(lab.blocks().await.iter().all(|block| block.spec.node != "n2"));
    });
}

#[test]
fn a_node_speaks_for_its_own_pods_only() {
    run(async {
        let lab = Lab::new().await;
        lab.register("n2", true).await;
        let made = lab.run_on("web", "n1").await;
        let failed = PodStatus { phase: PodPhase::Failed, ..PodStatus::default() };
        let report = NodeReport {
            pods: vec![PodReport { pod: PodIdentity::of(&made), status: failed }],
            finalized: vec![PodIdentity::of(&made)],
            ..NodeReport::default()
        };
        lab.control.report("n2", report).await.unwrap();
        assert_eq!(lab.pod("web").await.status.phase, PodPhase::Running);
    });
}

#[test]
fn replicas_are_spread_before_nodes_are_filled_evenly() {
    run(async {
        let lab = Lab::new().await;
        for other in ["a", "b", "c", "d"] {
            lab.run_on(other, "n1").await;
        }
        lab.register("n2", true).await;
        let replicas = (0..4).map(|number| pod(&format!("web-{number}")).into()).collect();
        lab.apply(replicas).await.unwrap();
        let mut nodes = Vec::new();
        for number in 0..4 {
            nodes.push(lab.pod(&format!("web-{number}")).await.spec.node_name.unwrap());
        }
        assert_eq!(nodes, ["n2", "n1", "n2", "n1"]);
    });
}

#[test]
fn the_route_mode_of_the_file_counts_when_it_is_new() {
    run(async {
        let lab = Lab::new().await;
        let mode = async || lab.control.network().await.unwrap().route_mode;
        lab.control.configure_route_mode(RouteMode::Auto).await.unwrap();
        assert_eq!(mode().await, RouteMode::Auto);
        let settings = NetworkSettings {
            route_mode: RouteMode::Vxlan,
            proxy_mode: None,
            pod_networks: Vec::new(),
        };
        lab.control.set_network(settings).await.unwrap();
        // The daemon starts again, with the file as it was.
        lab.control.configure_route_mode(RouteMode::Auto).await.unwrap();
        assert_eq!(mode().await, RouteMode::Vxlan);
        lab.control.configure_route_mode(RouteMode::HostGw).await.unwrap();
        assert_eq!(mode().await, RouteMode::HostGw);
        let networks = vec!["10.99.0.0/16".parse().unwrap()];
        let settings = NetworkSettings {
            route_mode: RouteMode::Vxlan,
            proxy_mode: None,
            pod_networks: networks,
        };
        lab.control.set_network(settings).await.unwrap_err();
    });
}

#[test]
fn the_proxy_mode_is_left_alone_by_those_who_do_not_name_it() {
    run(async {
        let lab = Lab::new().await;
        let mode = async || lab.control.network().await.unwrap().proxy_mode;
        assert_eq!(mode().await, Some(ProxyMode::Nftables));
        let set = async |proxy_mode| {
            let settings = NetworkSettings {
                route_mode: RouteMode::Auto,
                proxy_mode,
                pod_networks: Vec::new(),
            };
            lab.control.set_network(settings).await.unwrap().1.proxy_mode
        };
        assert_eq!(set(Some(ProxyMode::Iptables)).await, Some(ProxyMode::Iptables));
        assert_eq!(set(None).await, Some(ProxyMode::Iptables));
        lab.control.configure_proxy_mode(ProxyMode::Nftables).await.unwrap();
        assert_eq!(mode().await, Some(ProxyMode::Nftables));
        set(Some(ProxyMode::Iptables)).await;
        // The daemon starts again, with the file as it was.
        lab.control.configure_proxy_mode(ProxyMode::Nftables).await.unwrap();
        assert_eq!(mode().await, Some(ProxyMode::Iptables));
    });
}

/// Two nodes want the only block that is left: one gets it, the other hears that there is none.
#[test]
fn two_nodes_race_for_the_last_block_and_one_gets_it() {
    run(async {
        for _ in 0..20 {
            // Two blocks: one is n1's own already.
            let lab = Lab::with_networks(&["10.42.0.0/25"]).await;
            lab.register("n1", true).await;
            lab.run_on("first", "n1").await;
            lab.register("n2", true).await;
            lab.register("n3", true).await;
            let race = ["n2", "n3"].map(|node| {
                let control = lab.control.clone();
                tokio::spawn(async move {
                    let mut wanted = pod(&format!("on-{node}"));
                    wanted.spec.node_name = Some(node.to_owned());
                    control.apply(vec![wanted.into()], WriteOptions::default()).await
                })
            });
            let mut won = 0;
            for racer in race {
                match racer.await.unwrap() {
                    Ok(_) => won += 1,
                    Err(error) => assert!(error.message.contains("no address is left"), "{error}"),
                }
            }
            assert_eq!(won, 1);
            assert_eq!(lab.blocks().await.len(), 2);
        }
    });
}

#[test]
fn where_a_node_is_told_to_the_others() {
    run(async {
        let lab = Lab::new().await;
        // Before that, n1 itself may be news.
        lab.control.feed.caught_up(lab.control.revision().await.unwrap()).await;
        let mut view = lab.control.view("n1", None).await.unwrap();
        view.next().await.unwrap();
        let mut status = node_status(true);
        status.addresses = vec![NodeAddress {
            kind: netlab_api::node::NodeAddressKind::InternalIp,
            address: "172.30.1.2".to_owned(),
        }];
        lab.control.register_node("n2", status).await.unwrap();
        let ViewEvent::Changes(changes) = view.next().await.unwrap() else { panic!() };
        let ViewChange::Node(node) = &changes.changes[0] else { panic!("{changes:?}") };
        assert_eq!((node.name.as_str(), node.addresses.len()), ("n2", 1));
        lab.run_on("web", "n2").await;
        let ViewEvent::Changes(changes) = view.next().await.unwrap() else { panic!() };
        let block = "10.42.0.0/26".parse().unwrap();
        let has_block = |change: &ViewChange| matches!(change, ViewChange::Node(node) if node.blocks.contains(&block));
        assert!(changes.changes.iter().any(has_block), "{changes:?}");
    });
}

#[test]
fn a_node_that_was_deleted_does_not_make_itself_one_again() {
    run(async {
        let lab = Lab::new().await;
        lab.control.watch_nodes("n1");
        lab.register("n2", false).await;
        lab.delete(&key(Kind::Node, "n2")).await.unwrap();
        lab.control.feed.caught_up(lab.control.revision().await.unwrap()).await;
        // It was on its way when the node was deleted.
        let report = NodeReport { status: Some(node_status(true)), ..NodeReport::default() };
        let error = lab.control.report("n2", report).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert!(lab.is_gone(&key(Kind::Node, "n2")).await);
    });
}

#[test]
fn a_node_that_is_lost_while_it_is_being_deleted_goes_with_its_pods() {
    run(async {
        let lab = Lab::with_grace(Duration::from_millis(200)).await;
        lab.register("n2", true).await;
        lab.run_on("web", "n2").await;
        lab.delete(&key(Kind::Node, "n2")).await.unwrap();
        // As a server left it that ended between the loss and the deletion.
        let lost = Condition {
            kind: READY.to_owned(),
            status: ConditionStatus::Unknown,
            last_transition_time: None,
            reason: Some("NodeStatusUnknown".to_owned()),
            message: None,
        };
        let status = NodeStatus { conditions: vec![lost], ..node_status(true) };
        lab.control.register_node("n2", status).await.unwrap();
        lab.control.watch_nodes("n1");
        lab.until("n2 is gone", async || lab.is_gone(&key(Kind::Node, "n2")).await).await;
        assert!(lab.is_gone(&pod_key("web")).await);
    });
}

#[test]
fn what_a_request_makes_of_a_node_holds_for_the_pods_of_the_same_request() {
    run(async {
        let lab = Lab::new().await;
        lab.register("n2", true).await;
        let mut n1 = lab.node("n1").await;
        n1.metadata.labels.insert("rack".to_owned(), "a".to_owned());
        let mut n2 = lab.node("n2").await;
        n2.spec.unschedulable = true;
        // Both would be n2's turn, and the first claims a block of n1.
        let wanted = vec![n1.into(), n2.into(), pod("a").into(), pod("b").into()];
        lab.apply(wanted).await.unwrap();
        for name in ["a", "b"] {
            assert_eq!(lab.pod(name).await.spec.node_name.as_deref(), Some("n1"));
        }
        let n1 = lab.node("n1").await;
        assert_eq!(n1.metadata.labels.get("rack").map(String::as_str), Some("a"));
        assert_eq!(n1.status.pod_blocks.len(), 1);
        assert!(lab.node("n2").await.spec.unschedulable);
    });
}
