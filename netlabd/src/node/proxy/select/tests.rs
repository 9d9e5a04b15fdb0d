// SPDX-License-Identifier: GPL-3.0-or-later
use netlab_api::endpoint_slice::{
    AddressType, Endpoint, EndpointConditions, EndpointHints, EndpointPort, Hint,
};

use super::*;

fn node(name: &str, zone: Option<&str>) -> NodeFacts {
    NodeFacts { name: name.to_owned(), zone: zone.map(str::to_owned) }
}

/// `10.42.0.5@n1 ready`, `terminating`, `gone`; `zone=a`, `node=n1` are hints.
fn endpoint(text: &str) -> Endpoint {
    let mut words = text.split(' ');
    let (address, home) = words.next().and_then(|word| word.split_once('@')).expect(text);
    let mut endpoint = Endpoint {
        addresses: vec![address.to_owned()],
        node_name: Some(home.to_owned()),
        ..Endpoint::default()
    };
    let conditions = |ready, serving, terminating| EndpointConditions {
        ready: Some(ready),
        serving: Some(serving),
        terminating: Some(terminating),
    };
    let mut hints = EndpointHints::default();
    for word in words {
        match word.split_once('=') {
            Some(("zone", zone)) => hints.for_zones.push(Hint { name: zone.to_owned() }),
            Some((_, node)) => hints.for_nodes.push(Hint { name: node.to_owned() }),
            None => {
                endpoint.conditions = match word {
                    "ready" => conditions(true, true, false),
                    "terminating" => conditions(false, true, true),
                    _ => conditions(false, false, false),
                }
            }
        }
    }
    endpoint.hints = Some(hints);
    endpoint
}

fn endpoints(texts: &[&str]) -> Endpoints {
    let slice = EndpointSlice {
        endpoints: texts.iter().map(|text| endpoint(text)).collect(),
        ports: vec![EndpointPort { port: Some(8080), ..EndpointPort::default() }],
        ..EndpointSlice::default()
    };
    Endpoints::of([&slice])
}

/// Last bytes of the addresses that `node` uses: for any traffic, and for local traffic.
fn used(texts: &[&str], node: &NodeFacts) -> (Vec<u8>, Vec<u8>) {
    let chosen = endpoints(texts).select("", pod::Protocol::Tcp, Family::Ip, node);
    let last = |all: Vec<SocketAddr>| {
        let ips = all.iter().map(|at| match at.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => unreachable!("the slice is IPv4"),
        });
        ips.collect()
    };
    (last(chosen.cluster), last(chosen.local))
}

#[test]
fn ready_endpoints_are_used_and_those_of_the_node_for_local_traffic() {
    let all = ["10.42.0.1@n1 ready", "10.42.0.2@n2 ready", "10.42.0.3@n1 gone"];
    assert_eq!(used(&all, &node("n1", None)), (vec![1, 2], vec![1]));
    assert_eq!(used(&all, &node("n3", None)), (vec![1, 2], vec![]));
}

#[test]
fn endpoints_that_end_serve_only_where_there_is_no_other() {
    let all = ["10.42.0.1@n1 terminating", "10.42.0.2@n2 ready"];
    // Anywhere there is a ready one; on this node there is none.
    assert_eq!(used(&all, &node("n1", None)), (vec![2], vec![1]));
    let all = ["10.42.0.1@n1 terminating", "10.42.0.2@n2 gone"];
    assert_eq!(used(&all, &node("n2", None)), (vec![1], vec![]));
}

#[test]
fn zone_hints_count_when_every_ready_endpoint_has_one() {
    let all = ["10.42.0.1@n1 ready zone=a", "10.42.0.2@n2 ready zone=b"];
    assert_eq!(used(&all, &node("n3", Some("a"))).0, [1]);
    assert_eq!(used(&all, &node("n3", Some("c"))).0, [1, 2], "no endpoint is meant for its zone");
    assert_eq!(used(&all, &node("n3", None)).0, [1, 2], "its zone is not known");
    let one_without = ["10.42.0.1@n1 ready zone=a", "10.42.0.2@n2 ready"];
    assert_eq!(used(&one_without, &node("n3", Some("a"))).0, [1, 2]);
    // One that is not ready need not have any.
    let one_down = ["10.42.0.1@n1 ready zone=a", "10.42.0.2@n2 gone"];
    assert_eq!(used(&one_down, &node("n3", Some("a"))).0, [1]);
}

#[test]
fn a_node_is_preferred_to_a_zone_and_local_traffic_knows_no_hints() {
    let all = [
        "10.42.0.1@n1 ready zone=a node=n1",
        "10.42.0.2@n2 ready zone=a node=n2",
        "10.42.0.3@n3 ready zone=b node=n3",
    ];
    assert_eq!(used(&all, &node("n1", Some("a"))), (vec![1], vec![1]));
    assert_eq!(used(&all, &node("n4", Some("a"))).0, [1, 2]);
    assert_eq!(used(&all, &node("n3", Some("a"))), (vec![3], vec![3]));
}

#[test]
fn an_endpoint_in_two_slices_is_there_once_and_as_the_better_of_them() {
    let slice = |text: &str| EndpointSlice {
        endpoints: vec![endpoint(text)],
        ports: vec![EndpointPort { port: Some(80), ..EndpointPort::default() }],
        ..EndpointSlice::default()
    };
    let (gone, ready) = (slice("10.42.0.1@n1 gone"), slice("10.42.0.1@n1 ready"));
    for slices in [[&gone, &ready], [&ready, &gone]] {
        let all = Endpoints::of(slices);
        let chosen = all.select("", pod::Protocol::Tcp, Family::Ip, &node("n1", None));
        assert_eq!(chosen.cluster, [SocketAddr::from(([10, 42, 0, 1], 80))]);
        assert_eq!(all.count_ready_on("n1"), 1);
    }
}

#[test]
fn a_pod_with_addresses_of_both_families_counts_once() {
    let slice = |address_type, text: &str| EndpointSlice {
        address_type,
        endpoints: vec![endpoint(text)],
        ports: vec![EndpointPort { port: Some(80), ..EndpointPort::default() }],
        ..EndpointSlice::default()
    };
    let slices = [
        slice(AddressType::IPv4, "10.42.0.1@n1 ready"),
        slice(AddressType::IPv6, "fd42::1@n1 ready"),
    ];
    let all = Endpoints::of(&slices);
    assert_eq!((all.count_ready_on("n1"), all.count_ready_on("n2")), (1, 0));
}
