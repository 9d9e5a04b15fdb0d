// SPDX-License-Identifier: GPL-3.0-or-later
//! Which pod gets which address: blocks of the pod network, owned by nodes. Pure.
//!
//! The caller reads the blocks from the store, asks here, and writes the changed blocks back in
//! the transaction that makes or removes the pod, so that an address is never held twice.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlab_api::ipam::{AddressHolder, IpamBlock, IpamBlockSpec};
use netlab_api::{ObjectMeta, Time};

/// Length of an IPv4 block's prefix, as Calico's default: 64 addresses.
pub const BLOCK_PREFIX_V4: u8 = 26;
/// Length of an IPv6 block's prefix: 64 addresses too, so that both families fill alike.
pub const BLOCK_PREFIX_V6: u8 = 122;
/// Addresses of a block.
pub const BLOCK_SIZE: u8 = 64;

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// Every block is owned, and those of this node are full.
    #[error("no address is left in the pod network `{network}` for node `{node}`")]
    Exhausted {
        /// The pod network.
        network: IpNet,
        /// The node.
        node: String,
    },
}

/// Blocks as they are being changed by one transaction.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    /// Shared with whoever keeps decoded blocks; a block is copied when it changes.
    blocks: BTreeMap<IpNet, Arc<IpamBlock>>,
    /// Prefixes of blocks that differ from what was read.
    changed: Vec<IpNet>,
}

impl Blocks {
    /// The blocks as they stand in the store.
    pub fn new(blocks: impl IntoIterator<Item = Arc<IpamBlock>>) -> Blocks {
        let blocks = blocks.into_iter().map(|block| (block.spec.cidr, block)).collect();
        Blocks { blocks, changed: Vec::new() }
    }

    /// The blocks that differ from what was read.
    pub fn changed(&self) -> impl Iterator<Item = &IpamBlock> {
        self.changed.iter().map(|cidr| &*self.blocks[cidr])
    }

    /// Blocks that `node` owns, lowest first.
    pub fn of_node(&self, node: &str) -> impl Iterator<Item = &IpamBlock> {
        self.blocks.values().map(|block| &**block).filter(move |block| block.spec.node == node)
    }

    /// How many addresses of `network` pods of `node` hold: with one address a pod and family, the
    /// number of its pods.
    pub fn allocated_count(&self, node: &str, network: IpNet) -> usize {
        self.of_node(node)
            .filter(|block| network.contains(&block.spec.cidr))
            .map(|block| block.spec.allocated.len())
            .sum()
    }

    /// How many of these are held by pods whose `namespace/name` is `stem` and a number.
    pub fn count_replicas(&self, node: &str, network: IpNet, stem: &str) -> usize {
        let is_replica = |holder: &&AddressHolder| {
            let number = holder.pod.strip_prefix(stem);
            number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        self.of_node(node)
            .filter(|block| network.contains(&block.spec.cidr))
            .map(|block| block.spec.allocated.values().filter(is_replica).count())
            .sum()
    }

    /// Whether [`Blocks::allocate`] would find an address of `network` for `node`.
    ///
    /// # Errors
    /// What it would say instead.
    pub fn check_room(&self, node: &str, network: IpNet) -> Result<(), IpamError> {
        if self.with_room(node, network).is_some() || self.unowned(network).is_some() {
            return Ok(());
        }
        Err(IpamError::Exhausted { network, node: node.to_owned() })
    }

    /// Takes an address of `network` for a pod on `node`: from the node's blocks in order, else
    /// from a block that nobody owns, which the node then owns.
    ///
    /// # Errors
    /// [`IpamError::Exhausted`] when neither has one.
    pub fn allocate(
        &mut self,
        node: &str,
        network: IpNet,
        holder: &AddressHolder,
        now: Time,
    ) -> Result<IpAddr, IpamError> {
        let owned = self.with_room(node, network);
        let cidr = match owned.or_else(|| self.claim(node, network, now)) {
            Some(cidr) => cidr,
            None => return Err(IpamError::Exhausted { network, node: node.to_owned() }),
        };
        let block = self.blocks.get_mut(&cidr).expect("found or claimed just above");
        let block = Arc::make_mut(block);
        let offset = block.spec.free.remove(0);
        let address = address_at(cidr, offset);
        block.spec.allocated.insert(address, holder.clone());
        self.mark(cidr);
        Ok(address)
    }

    /// Gives back whatever the pod `uid` holds among `addresses`. An address that another holds,
    /// or nobody, is left alone.
    pub fn release(&mut self, uid: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            let Some(block) = self.blocks.values_mut().find(|b| b.spec.cidr.contains(&address))
            else {
                continue;
            };
            if block.spec.allocated.get(&address).is_none_or(|holder| holder.uid != uid) {
                continue;
            }
            let block = Arc::make_mut(block);
            block.spec.allocated.remove(&address);
            block.spec.free.push(offset_of(block.spec.cidr, address));
            let cidr = block.spec.cidr;
            self.mark(cidr);
        }
    }

    /// Claims a block of `network` for `node` if it owns none, as far as there is one left.
    pub fn ensure_block(&mut self, node: &str, network: IpNet, now: Time) {
        let has_one = self.of_node(node).any(|block| network.contains(&block.spec.cidr));
        if !has_one && let Some(cidr) = self.claim(node, network, now) {
            self.mark(cidr);
        }
    }

    /// Makes `node` the owner of the lowest block of `network` that nobody owns.
    fn claim(&mut self, node: &str, network: IpNet, now: Time) -> Option<IpNet> {
        let cidr = self.unowned(network)?;
        // A block's first address is its node's, see [`node_address`]. The network's last is IPv4's
        // broadcast: no pod gets it, lest an old resolver or firewall object.
        let free = (1..BLOCK_SIZE)
            .filter(|&offset| address_at(cidr, offset) != network.broadcast())
            .collect();
        let block = IpamBlock {
            metadata: ObjectMeta {
                name: block_name(cidr),
                creation_timestamp: Some(now),
                ..ObjectMeta::default()
            },
            spec: IpamBlockSpec { cidr, node: node.to_owned(), allocated: BTreeMap::new(), free },
        };
        self.blocks.insert(cidr, Arc::new(block));
        Some(cidr)
    }

    /// The lowest block of `network` that `node` owns and that has an address left.
    fn with_room(&self, node: &str, network: IpNet) -> Option<IpNet> {
        let block = self
            .of_node(node)
            .find(|block| network.contains(&block.spec.cidr) && !block.spec.free.is_empty());
        block.map(|block| block.spec.cidr)
    }

    /// The lowest block of `network` that nobody owns.
    fn unowned(&self, network: IpNet) -> Option<IpNet> {
        block_prefixes(network).find(|cidr| !self.blocks.contains_key(cidr))
    }

    fn mark(&mut self, cidr: IpNet) {
        if !self.changed.contains(&cidr) {
            self.changed.push(cidr);
        }
    }
}

/// The address of a block that is its node's own and no pod's: packets of the node itself that are
/// encapsulated come from it, so that answers are encapsulated as well.
pub fn node_address(block: IpNet) -> IpAddr {
    block.network()
}

/// Name of the block object of a prefix: `10-42-0-0-26`.
pub fn block_name(cidr: IpNet) -> String {
    let text = match cidr {
        IpNet::V4(net) => net.to_string(),
        // The short form may start or end with a colon; a name may not.
        IpNet::V6(net) => {
            let segments = net.network().segments().map(|s| format!("{s:x}")).join("-");
            format!("{segments}-{}", net.prefix_len())
        }
    };
    text.replace(['.', '/'], "-")
}

fn block_prefixes(network: IpNet) -> Box<dyn Iterator<Item = IpNet>> {
    match network {
        IpNet::V4(net) => match net.subnets(BLOCK_PREFIX_V4.max(net.prefix_len())) {
            Ok(subnets) => Box::new(subnets.map(IpNet::V4)),
            Err(_) => Box::new(std::iter::empty()),
        },
        IpNet::V6(net) => match net.subnets(BLOCK_PREFIX_V6.max(net.prefix_len())) {
            Ok(subnets) => Box::new(subnets.map(IpNet::V6)),
            Err(_) => Box::new(std::iter::empty()),
        },
    }
}

fn address_at(cidr: IpNet, offset: u8) -> IpAddr {
    match cidr {
        IpNet::V4(net) => {
            IpAddr::V4(Ipv4Addr::from_bits(net.network().to_bits() + u32::from(offset)))
        }
        IpNet::V6(net) => {
            IpAddr::V6(Ipv6Addr::from_bits(net.network().to_bits() + u128::from(offset)))
        }
    }
}

fn offset_of(cidr: IpNet, address: IpAddr) -> u8 {
    let last_byte = match (cidr, address) {
        (IpNet::V4(_), IpAddr::V4(address)) => address.octets()[3],
        (IpNet::V6(_), IpAddr::V6(address)) => address.octets()[15],
        _ => unreachable!("BUG: a block holds addresses of its own family"),
    };
    last_byte % BLOCK_SIZE
}

/// The smallest pod networks that make sense: one block each.
pub fn is_large_enough(network: IpNet) -> bool {
    match network {
        IpNet::V4(net) => net.prefix_len() <= BLOCK_PREFIX_V4,
        IpNet::V6(net) => net.prefix_len() <= BLOCK_PREFIX_V6,
    }
}

/// Defaults of the cluster that the project's examples come from (RKE2).
pub fn default_pod_networks() -> [IpNet; 2] {
    [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 42, 0, 0), 16)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd42, 0, 0, 0, 0, 0, 0, 0), 48)),
    ]
}

#[cfg(test)]
mod tests;
