// SPDX-License-Identifier: GPL-3.0-or-later
//! What the planner is told: who the nodes are, and where this one is.

use std::net::IpAddr;

use ipnet::IpNet;
use netlab_api::RouteMode;
use netlab_link::{IfIndex, IfName};

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
