// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;
use crate::{
    Batch, Families, LinkChange, PodLink, PreparedLink, Request,
    testing::{MTU, Node, addresses, ip},
};

#[test]
fn a_new_pod_is_as_planned() {
    let mut node = Node::new();
    let pool = node.pool(0, Families::DUAL_STACK);
    let mut pod = node.pod(&pool, 1);
    let plan = pod.link();
    let found = observe_node(&mut node.socket).unwrap();
    assert_eq!(found.links.len(), 1);
    assert_eq!(found.links[0].name, plan.id.host_name());
    assert_eq!(found.links[0].index, plan.host_index);
    assert_eq!(found.links[0].alias.as_deref(), Some("default/pod-1"));
    assert_eq!(found.routes, sorted(plan.plan_node_routes(addresses(1))));
    assert_eq!(found.neighbours, sorted(plan.plan_node_neighbours(addresses(1))));

    let found = observe_pod(pod.socket()).unwrap();
    assert_eq!(found.addresses, plan.plan_pod_addresses(addresses(1)));
    assert_eq!(found.routes, sorted(plan.plan_pod_routes()));
    assert_eq!(found.neighbours, sorted(plan.plan_pod_neighbours()));
    assert_eq!(found.links[1].peer, Some(plan.host_index));
}

#[test]
fn what_others_made_is_not_shown_as_ours() {
    let mut node = Node::new();
    node.ip("link add nlforeign type veth peer name eth7");
    node.ip("link set nlforeign up");
    node.ip("link add nl0123456789a type bridge");
    node.ip("route add 192.0.2.0/24 dev nlforeign");
    node.ip("neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev nlforeign nud permanent");
    assert_eq!(observe_node(&mut node.socket).unwrap(), NodeLinks::default());
}

#[test]
fn a_route_to_services_is_no_route_to_a_pod() {
    let mut node = Node::new();
    let index = mark::SERVICE_INDEX.get();
    node.ip(&format!("link add nlsvc index {index} type bridge"));
    node.ip("link set nlsvc up");
    node.ip("route add 10.43.0.0/16 dev nlsvc proto 110");
    assert_eq!(observe_node(&mut node.socket).unwrap(), NodeLinks::default());
}

#[test]
fn each_single_thing_that_is_missing_is_seen_and_can_be_put_back() {
    let mut node = Node::new();
    let pool = node.pool(0, Families::DUAL_STACK);
    let mut pod = node.pod(&pool, 1);
    let whole = look(&mut node, &mut pod);
    let name = pod.id().host_name();

    let mut harm = |inside: bool, command: &str| {
        if inside {
            ip(pod.netns(), command);
        } else {
            node.ip(command);
        }
        assert_ne!(look(&mut node, &mut pod), whole, "`ip {command}` was not seen");
        mend(&mut node, &mut pod);
        assert_eq!(look(&mut node, &mut pod), whole, "`ip {command}` was not mended");
    };
    harm(false, &format!("route del 10.42.0.1 dev {name}"));
    harm(false, &format!("-6 route del fd42::1 dev {name}"));
    harm(false, &format!("neigh del 10.42.0.1 dev {name}"));
    harm(false, &format!("link set {name} mtu 1300"));
    harm(false, &format!("link set {name} down"));
    harm(false, &format!("link set {name} alias other"));
    harm(true, "route del default");
    harm(true, "-6 route del default");
    harm(true, "neigh flush dev eth0 nud permanent");
    harm(true, "address del 10.42.0.1/32 dev eth0");
    harm(true, "address flush dev eth0");
    harm(true, "link set eth0 mtu 1300");
    harm(true, "link set eth0 down");
    harm(true, "link set lo down");
}

fn look(node: &mut Node, pod: &mut PreparedLink) -> (NodeLinks, PodNetwork) {
    (observe_node(&mut node.socket).unwrap(), observe_pod(pod.socket()).unwrap())
}

/// Puts everything back, as a caller would that does not know what is missing.
fn mend(node: &mut Node, pod: &mut PreparedLink) {
    let plan: PodLink = pod.link();
    let mut inside = Batch::new();
    inside.set_link(LinkChange { up: Some(true), ..LinkChange::of(mark::LOOPBACK_INDEX) });
    inside.set_link(LinkChange {
        up: Some(true),
        mtu: Some(MTU),
        ..LinkChange::of(mark::POD_IF_INDEX)
    });
    inside.extend(plan.plan_pod_addresses(addresses(1)).into_iter().map(Request::SetAddress));
    inside.extend(plan.plan_pod_neighbours().into_iter().map(Request::SetNeighbour));
    inside.extend(plan.plan_pod_routes().into_iter().map(Request::SetRoute));
    let mut outside = Batch::new();
    outside.set_link(LinkChange {
        up: Some(true),
        mtu: Some(MTU),
        ..LinkChange::of(plan.host_index)
    });
    plan.plan_node_claim(addresses(1), Some("default/pod-1"), &mut outside);
    node.socket.send_all(&outside).unwrap();
    pod.socket().send_all(&inside).unwrap();
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values
}
