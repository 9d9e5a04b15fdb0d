// SPDX-License-Identifier: GPL-3.0-or-later
use std::time::Duration;

use super::*;
use crate::{
    Families,
    testing::{Node, addresses, ip},
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Reads until a wanted event comes.
async fn until(monitor: &mut Monitor, what: &str, wanted: impl Fn(&Event) -> bool) {
    let search = async { while !wanted(&monitor.next().await.unwrap()) {} };
    let found = tokio::time::timeout(Duration::from_secs(10), search).await;
    assert!(found.is_ok(), "not reported: {what}");
}

fn change(nsid: Option<i32>, what: What) -> Event {
    Event::Change(Change { nsid, what })
}

#[test]
fn what_goes_inside_a_pod_is_reported_with_its_namespace() {
    let mut node = Node::new();
    let pool = node.pool(0, Families::DUAL_STACK);
    let pod = node.pod(&pool, 1);
    let nsid = node.socket.netns_id(pod.netns()).unwrap();
    assert!(nsid.is_some());
    let [v4_route, v6_route] = pod.link().plan_pod_routes().try_into().unwrap();
    let [address, _] = pod.link().plan_pod_addresses(addresses(1)).try_into().unwrap();
    runtime().block_on(async {
        let mut monitor = Monitor::open(&node.netns).unwrap();
        ip(pod.netns(), "route del default");
        until(&mut monitor, "IPv4 route", |event| {
            *event == change(nsid, What::RouteDeleted(v4_route.clone()))
        })
        .await;
        ip(pod.netns(), "-6 route del default");
        until(&mut monitor, "IPv6 route", |event| {
            *event == change(nsid, What::RouteDeleted(v6_route.clone()))
        })
        .await;
        ip(pod.netns(), "neigh del 169.254.1.1 dev eth0");
        let gone = What::NeighbourDeleted {
            dev: crate::mark::POD_IF_INDEX,
            address: crate::mark::GATEWAY_V4.into(),
        };
        until(&mut monitor, "neighbour", |event| *event == change(nsid, gone.clone())).await;
        ip(pod.netns(), "address del 10.42.0.1/32 dev eth0");
        until(&mut monitor, "address", |event| {
            *event == change(nsid, What::AddressDeleted(address))
        })
        .await;
        ip(pod.netns(), "link set eth0 mtu 1300");
        until(&mut monitor, "MTU", |event| {
            matches!(event, Event::Change(Change { nsid: of, what: What::LinkChanged { mtu: 1300, .. } })
                if *of == nsid)
        })
        .await;
        ip(pod.netns(), "link set eth0 down");
        until(&mut monitor, "down", |event| {
            matches!(event, Event::Change(Change { nsid: of, what: What::LinkChanged { up: false, .. } })
                if *of == nsid)
        })
        .await;
    });
}

#[test]
fn what_goes_on_the_node_is_reported() {
    let mut node = Node::new();
    let pool = node.pool(0, Families::DUAL_STACK);
    let pod = node.pod(&pool, 1);
    let name = pod.id().host_name();
    let index = pod.link().host_index;
    let route = pod.link().plan_node_routes(addresses(1)).remove(0);
    runtime().block_on(async {
        let mut monitor = Monitor::open(&node.netns).unwrap();
        node.ip(&format!("route del 10.42.0.1 dev {name}"));
        until(&mut monitor, "route", |event| {
            *event == change(None, What::RouteDeleted(route.clone()))
        })
        .await;
        node.ip(&format!("link del {name}"));
        until(&mut monitor, "link", |event| {
            *event == change(None, What::LinkDeleted { index, name: name.clone() })
        })
        .await;
    });
}

#[test]
fn additions_are_not_reported() {
    let node = Node::new();
    runtime().block_on(async {
        let mut monitor = Monitor::open(&node.netns).unwrap();
        node.ip("link add va index 50 type veth peer name vb index 51");
        node.ip("address add 192.0.2.1/32 dev lo");
        node.ip("route add 198.51.100.0/24 dev lo");
        // The first thing to come is this, so that nothing came before it.
        node.ip("route del 198.51.100.0/24 dev lo");
        let event = tokio::time::timeout(Duration::from_secs(10), monitor.next()).await;
        let event = event.unwrap().unwrap();
        assert!(
            matches!(&event, Event::Change(Change { nsid: None, what: What::RouteDeleted(route) })
                if route.destination.to_string() == "198.51.100.0/24"),
            "{event:?}"
        );
    });
}

#[test]
fn lost_messages_are_an_overflow_and_later_ones_are_heard_again() {
    let node = Node::new();
    runtime().block_on(async {
        let mut monitor = Monitor::open_with_buffer(&node.netns, 4096).unwrap();
        for n in 0..100 {
            node.ip(&format!("route add 198.51.100.{n}/32 dev lo"));
        }
        until(&mut monitor, "overflow", |event| *event == Event::Overflow).await;
        node.ip("route del 198.51.100.9/32 dev lo");
        until(&mut monitor, "route", |event| {
            matches!(event, Event::Change(Change { what: What::RouteDeleted(_), .. }))
        })
        .await;
    });
}
