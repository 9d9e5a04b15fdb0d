// SPDX-License-Identifier: GPL-3.0-or-later

use super::*;
use crate::{
    Batch, LinkChange, Request,
    testing::{Node, run_in},
};

#[test]
fn what_is_plugged_in_is_on_the_bridge() {
    let mut node = Node::new();
    node.ip("link add va type veth peer name vb");
    let bridge = Bridge { name: IfName::new("br-a").unwrap(), index: IfIndex::new(100) };
    assert_eq!(
        Request::AddBridge(bridge.clone()).to_string(),
        "ip link add name br-a index 100 type bridge"
    );
    let mut batch = Batch::new();
    batch.push(Request::AddBridge(bridge));
    batch.set_link(LinkChange { mtu: Some(1400), ..LinkChange::of(IfIndex::new(100)) });
    let port = LinkChange::of(IfName::new("va").unwrap());
    batch.set_link(LinkChange { bridge: Some(IfIndex::new(100)), up: Some(true), ..port });
    node.socket.send_all(&batch).unwrap();
    let output = run_in(&node.netns, "ip -j -d link show");
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let named = |name: &str| {
        links.as_array().unwrap().iter().find(|link| link["ifname"] == name).unwrap().clone()
    };
    let bridge = named("br-a");
    assert_eq!((&bridge["ifindex"], &bridge["mtu"]), (&100.into(), &1400.into()));
    assert_eq!(bridge["linkinfo"]["info_kind"], "bridge");
    assert_eq!(named("va")["master"], "br-a");
}
