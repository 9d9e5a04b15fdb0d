// SPDX-License-Identifier: GPL-3.0-or-later
use std::net::IpAddr;

use serde_json::Value;

use super::*;
use crate::{
    Batch, FdbEntry, LinkChange, Neighbour, Request, Route, ethtool, mark,
    testing::{Node, run_in},
};

fn ipv4() -> Vxlan {
    Vxlan {
        name: IfName::new(mark::VXLAN_NAME).unwrap(),
        index: mark::VXLAN_INDEX,
        vni: mark::VXLAN_VNI,
        port: mark::VXLAN_PORT,
        local: Some([192, 0, 2, 1].into()),
        mac: "06:00:00:00:00:01".parse().unwrap(),
        mtu: 1450,
        group: mark::FABRIC_LINK_GROUP,
        learning: false,
    }
}

fn ipv6() -> Vxlan {
    Vxlan {
        name: IfName::new(mark::VXLAN_NAME_V6).unwrap(),
        index: mark::VXLAN_INDEX_V6,
        local: Some("2001:db8::1".parse().unwrap()),
        mtu: 1430,
        ..ipv4()
    }
}

/// A node with an uplink that has an address of each family.
fn node() -> Node {
    let node = Node::new();
    node.ip("link add va type veth peer name vb");
    node.ip("link set va up");
    node.ip("link set vb up");
    node.ip("address add 192.0.2.1/24 dev va");
    node.ip("address add 2001:db8::1/64 dev va nodad");
    node
}

fn up(vxlan: &Vxlan) -> Request {
    Request::SetLink(LinkChange { up: Some(true), ..LinkChange::of(vxlan.index) })
}

fn fdb(node: &Node, dev: &str) -> Vec<Value> {
    let output = run_in(&node.netns, &format!("bridge -j fdb show dev {dev}"));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_device_is_made_as_it_is_described_and_found_as_it_was_made() {
    let mut node = node();
    for wanted in [ipv4(), ipv6()] {
        node.socket.send_all(&Batch::from_iter([Request::AddVxlan(wanted.clone())])).unwrap();
        let shown = node.ip(&format!("link show {}", wanted.name));
        let (link, data) = (&shown[0], &shown[0]["linkinfo"]["info_data"]);
        assert_eq!(link["ifindex"], wanted.index.get());
        assert_eq!(link["mtu"], wanted.mtu);
        assert_eq!(link["address"], wanted.mac.to_string());
        assert_eq!(link["group"], wanted.group.to_string());
        assert_eq!(data["id"], wanted.vni);
        assert_eq!(data["port"], wanted.port);
        assert_eq!(data["learning"], false);
        let local = if wanted.local.unwrap().is_ipv4() { "local" } else { "local6" };
        assert_eq!(data[local], wanted.local.unwrap().to_string());
        assert!(data.get("group").is_none() && data.get("group6").is_none(), "{data}");
    }
    let found = node.socket.list_vxlans().unwrap();
    let found: Vec<_> = found.into_iter().map(|(_, vxlan)| vxlan).collect();
    assert_eq!(found, [ipv4(), ipv6()]);
}

#[test]
fn the_local_address_changes_on_a_device_that_is_in_use() {
    let mut node = node();
    node.ip("address add 192.0.2.9/24 dev va");
    node.socket.send_all(&Batch::from_iter([Request::AddVxlan(ipv4()), up(&ipv4())])).unwrap();
    let moved = Vxlan { local: Some([192, 0, 2, 9].into()), ..ipv4() };
    node.socket.request(Request::SetVxlanLocal(moved.clone())).unwrap();
    let shown = node.ip("link show nlvx");
    assert_eq!(shown[0]["linkinfo"]["info_data"]["local"], "192.0.2.9");
    assert_eq!(node.socket.list_vxlans().unwrap()[0].1, moved);
}

#[test]
fn forwarding_entries_are_static_replaced_in_place_and_found() {
    let mut node = node();
    let entry = |dev, mac: &str, remote: &str| FdbEntry {
        dev,
        mac: mac.parse().unwrap(),
        remote: remote.parse().unwrap(),
    };
    let one = entry(mark::VXLAN_INDEX, "06:00:00:00:00:02", "192.0.2.2");
    let moved = FdbEntry { remote: "192.0.2.3".parse().unwrap(), ..one };
    let six = entry(mark::VXLAN_INDEX_V6, "06:00:00:00:00:02", "2001:db8::2");
    let batch = Batch::from_iter([
        Request::AddVxlan(ipv4()),
        Request::AddVxlan(ipv6()),
        up(&ipv4()),
        up(&ipv6()),
        Request::SetFdb(one),
        Request::SetFdb(one),
        Request::SetFdb(moved),
        Request::SetFdb(six),
    ]);
    node.socket.send_all(&batch).unwrap();
    let shown = fdb(&node, "nlvx");
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!(shown[0]["mac"], "06:00:00:00:00:02");
    assert_eq!(shown[0]["dst"], "192.0.2.3");
    assert_eq!(shown[0]["state"], "static");
    assert_eq!(shown[0]["flags"][0], "self");
    assert_eq!(fdb(&node, "nlvx6")[0]["dst"], "2001:db8::2");
    assert_eq!(node.socket.list_fdb(mark::VXLAN_INDEX).unwrap(), [moved]);
    assert_eq!(node.socket.list_fdb(mark::VXLAN_INDEX_V6).unwrap(), [six]);

    node.socket.request(Request::DelFdb(moved)).unwrap();
    assert_eq!(fdb(&node, "nlvx"), [] as [Value; 0]);
    let gone = node.socket.request(Request::DelFdb(moved)).unwrap_err();
    assert!(gone.kernel_error().unwrap().is_not_found(), "{gone}");
}

#[test]
fn routes_lead_over_next_hops_of_either_family() {
    let mut node = node();
    let gateway: IpAddr = "fe80::2".parse().unwrap();
    let route = |text: &str| Route::new(text.parse().unwrap(), mark::VXLAN_INDEX);
    let routes = [
        route("10.42.1.0/26").via([192, 0, 2, 2].into()).onlink(),
        route("10.42.2.0/26").via(gateway),
        route("fd42::40/122").via(gateway),
        Route::blackhole("10.42.0.0/26".parse().unwrap()),
        Route::blackhole("fd42::/122".parse().unwrap()),
    ];
    let mac = "06:00:00:00:00:02".parse().unwrap();
    let mut batch = Batch::from_iter([Request::AddVxlan(ipv4()), up(&ipv4())]);
    batch.set_neighbour(Neighbour { dev: mark::VXLAN_INDEX, address: gateway, mac });
    batch.extend(routes.iter().cloned().map(Request::AddRoute));
    node.socket.send_all(&batch).unwrap();

    let shown = node.ip("-4 route show proto 110");
    let find = |shown: &Value, to: &str| {
        shown.as_array().unwrap().iter().find(|it| it["dst"] == to).unwrap().clone()
    };
    assert_eq!(find(&shown, "10.42.1.0/26")["gateway"], "192.0.2.2");
    assert_eq!(find(&shown, "10.42.1.0/26")["flags"][0], "onlink");
    assert_eq!(find(&shown, "10.42.2.0/26")["via"]["host"], "fe80::2");
    assert_eq!(find(&shown, "10.42.2.0/26")["via"]["family"], "inet6");
    assert_eq!(find(&shown, "10.42.0.0/26")["type"], "blackhole");
    let shown = node.ip("-6 route show proto 110");
    assert_eq!(find(&shown, "fd42::40/122")["gateway"], "fe80::2");
    assert_eq!(find(&shown, "fd42::/122")["type"], "blackhole");

    let filter = crate::RouteFilter {
        protocol: Some(mark::ROUTE_PROTOCOL),
        ..crate::RouteFilter::default()
    };
    let mut sorted = routes.to_vec();
    sorted.sort();
    assert_eq!(node.socket.list_routes(filter).unwrap(), sorted);
}

#[test]
fn a_blackhole_becomes_a_route_and_a_route_a_blackhole_in_one_step() {
    let mut node = node();
    node.socket.send_all(&Batch::from_iter([Request::AddVxlan(ipv4()), up(&ipv4())])).unwrap();
    for block in ["10.42.0.0/26", "fd42::/122"] {
        let block = block.parse().unwrap();
        let via = Route::new(block, mark::VXLAN_INDEX).via("fe80::2".parse().unwrap());
        for wanted in [Route::blackhole(block), via.clone(), Route::blackhole(block), via] {
            node.socket.request(Request::SetRoute(wanted.clone())).unwrap();
            let found = node.socket.list_routes(crate::RouteFilter::default()).unwrap();
            let found: Vec<_> = found.into_iter().filter(|it| it.destination == block).collect();
            assert_eq!(found, [wanted]);
        }
    }
}

#[test]
fn checksums_are_left_to_the_device_until_told_otherwise() {
    let mut node = node();
    node.socket.request(Request::AddVxlan(ipv4())).unwrap();
    let name = ipv4().name;
    let shown = |node: &Node| {
        let output = run_in(&node.netns, "ethtool -k nlvx");
        let text = String::from_utf8(output.stdout).unwrap();
        text.contains("tx-checksumming: on")
    };
    assert!(shown(&node) && ethtool::tx_checksum_offload(&node.netns, &name).unwrap());
    for on in [false, false, true, false] {
        ethtool::set_tx_checksum_offload(&node.netns, &name, on).unwrap();
        assert_eq!(shown(&node), on);
        assert_eq!(ethtool::tx_checksum_offload(&node.netns, &name).unwrap(), on);
    }
    let gone = ethtool::tx_checksum_offload(&node.netns, &IfName::new("gone").unwrap());
    assert!(gone.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_forwarding_entry_that_goes_is_told() {
    let mut node = node();
    let entry = FdbEntry {
        dev: mark::VXLAN_INDEX,
        mac: "06:00:00:00:00:02".parse().unwrap(),
        remote: "192.0.2.2".parse().unwrap(),
    };
    let batch = Batch::from_iter([Request::AddVxlan(ipv4()), up(&ipv4()), Request::SetFdb(entry)]);
    node.socket.send_all(&batch).unwrap();
    let mut monitor = crate::Monitor::open(&node.netns).unwrap();
    run_in(&node.netns, "bridge fdb del 06:00:00:00:00:02 dev nlvx dst 192.0.2.2 self");
    let told = tokio::time::timeout(std::time::Duration::from_secs(10), monitor.next());
    let crate::Event::Change(change) = told.await.unwrap().unwrap() else { panic!("overflow") };
    assert_eq!(change.what, crate::What::FdbDeleted(entry));
}
