// SPDX-License-Identifier: GPL-3.0-or-later
//! What the planner is told: who the nodes are, and where this one is.

use std::net::IpAddr;

use ipnet::IpNet;
use netlab_api::RouteMode;
use netlab_api::view::{Routing, ViewNode};
use netlab_link::{IfIndex, IfName};

use crate::control::ipam::node_address;

/// What a node must know to reach the pods of all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FabricWish {
    /// The name of this node.
    pub this: String,
    /// How packets travel between nodes.
    pub mode: RouteMode,
    /// Networks that all blocks are of. What is outside of them is nobody's block, whoever says so.
    pub pod_networks: Vec<IpNet>,
    /// Blocks of this node.
    pub own_blocks: Vec<IpNet>,
    /// The other nodes.
    pub peers: Vec<Peer>,
    /// Where this node is, as [`super::Fabric::underlay`] saw it.
    pub underlay: Underlay,
    /// Addresses of own blocks, at most one of each family, that no pod has: encapsulated packets
    /// of the node itself come from these, so that answers are encapsulated as well. Without one
    /// they come from the underlay's address, and answers go straight to it.
    pub tunnel: Vec<IpAddr>,
    /// Takes encapsulated packets also where the mode sends none. While a cluster goes from one
    /// mode to another, some nodes already send what the others do not yet or no longer send.
    pub accept_encapsulated: bool,
    /// The MTU of pod links, when somebody wants another than what fits the uplinks.
    pub mtu: Option<u32>,
}

impl FabricWish {
    /// What node `this` must know of a cluster of `nodes`, itself among them.
    pub fn of<'a>(
        this: &str,
        nodes: impl IntoIterator<Item = &'a ViewNode>,
        routing: Routing,
        pod_networks: &[IpNet],
        underlay: Underlay,
        mtu: Option<u32>,
    ) -> FabricWish {
        let mut own_blocks = Vec::new();
        let mut peers = Vec::new();
        for node in nodes {
            let ViewNode { name, addresses, blocks, .. } = node.clone();
            if name == this {
                own_blocks = blocks;
            } else {
                peers.push(Peer { name, addresses, blocks });
            }
        }
        FabricWish {
            this: this.to_owned(),
            mode: routing.route_mode,
            pod_networks: pod_networks.to_vec(),
            tunnel: tunnel_addresses(&own_blocks),
            own_blocks,
            peers,
            underlay,
            accept_encapsulated: routing.accept_encapsulated,
            mtu,
        }
    }
}

/// The node's own address in its first block of each family.
fn tunnel_addresses(blocks: &[IpNet]) -> Vec<IpAddr> {
    let first = |v6: bool| {
        let blocks = blocks.iter().filter(|block| block.addr().is_ipv6() == v6);
        blocks.min().map(|block| node_address(*block))
    };
    [first(false), first(true)].into_iter().flatten().collect()
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Addresses it is reached at, the best first.
    pub addresses: Vec<IpAddr>,
    /// Its blocks.
    pub blocks: Vec<IpNet>,
}

/// The links of this node that lead to other machines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Underlay {
    /// The links; first that of the default route.
    pub uplinks: Vec<Uplink>,
}

/// A link that leads to other machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Its number.
    pub index: IfIndex,
    /// Its name.
    pub name: IfName,
    /// The largest packet it takes.
    pub mtu: u32,
    /// Its addresses with the lengths of their prefixes; no link-local ones.
    pub addresses: Vec<IpNet>,
}

impl Underlay {
    /// The address that this node has in a family; of several, that of the first link.
    pub fn address(&self, v6: bool) -> Option<IpAddr> {
        let mut addresses = self.addresses();
        addresses.find(|(_, net)| net.addr().is_ipv6() == v6).map(|(_, net)| net.addr())
    }

    /// The link whose subnet an address is in. None for this node's own addresses, such as the one
    /// that each node's bridge of containers has.
    pub fn link_to(&self, address: IpAddr) -> Option<&Uplink> {
        if self.addresses().any(|(_, net)| net.addr() == address) {
            return None;
        }
        let near = self.addresses().filter(|(_, net)| net.contains(&address));
        near.max_by_key(|(_, net)| net.prefix_len()).map(|(uplink, _)| uplink)
    }

    fn addresses(&self) -> impl Iterator<Item = (&Uplink, IpNet)> {
        self.uplinks
            .iter()
            .flat_map(|uplink| uplink.addresses.iter().map(move |net| (uplink, *net)))
    }
}
