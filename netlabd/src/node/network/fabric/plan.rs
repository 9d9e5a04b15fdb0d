// SPDX-License-Identifier: GPL-3.0-or-later
//! How the pods of other nodes are reached. Pure: no kernel, no clock, no files.
//!
//! ```text
//!   host-gw   10.42.1.0/26 via 10.0.2.3 dev eth0
//!   vxlan     10.42.1.0/26 via 10.0.2.3 dev nlvx onlink
//!             10.0.2.3 ─► the MAC of n3's nlvx          neighbour on nlvx, permanent
//!             the MAC of n3's nlvx ─► 10.0.2.3          forwarding entry, static
//!   own       blackhole 10.42.0.0/26                    pods have more specific routes
//! ```
//!
//! The next hop over `nlvx` is a name only: it leads to a MAC address, and that to the machine. For
//! IPv4 it is the machine's address, as people expect to read it; for IPv6 it is the link-local
//! address that belongs to the MAC address, and it may serve IPv4 where the machine has none.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use netlab_api::RouteMode;
use netlab_link::{
    Address, FdbEntry, IfIndex, IfName, LinkAddr, LinkChange, MIN_MTU_V6, Neighbour, Request,
    ReversePath, Route, Vxlan, mark,
};

use super::problem::Problem;
use super::wish::{FabricWish, Peer};

/// The MTU where nothing says another: Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// How packets get to the pods of other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What the kernel must have.
    pub state: State,
    /// The MTU of pod links.
    pub pod_mtu: u32,
    /// What cannot be reached, and why.
    pub problems: Vec<Problem>,
}

/// What the kernel has, or must have, for traffic between nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Devices that encapsulate.
    pub devices: BTreeMap<IfName, Device>,
    /// Addresses of these devices.
    pub addresses: BTreeMap<IpNet, Address>,
    /// Neighbours on these devices.
    pub neighbours: BTreeMap<(IfIndex, IpAddr), Neighbour>,
    /// Forwarding entries of these devices.
    pub fdb: BTreeMap<(IfIndex, LinkAddr), FdbEntry>,
    /// Routes to blocks.
    pub routes: BTreeMap<IpNet, Route>,
}

/// A device that encapsulates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub vxlan: Vxlan,
    /// It is set up.
    pub up: bool,
    /// Checksums of packets that go through it are left to the uplink. They must not be: where
    /// the encapsulated packet is masqueraded as well, kernels and network cards get them wrong,
    /// the packet is lost, and the connection waits for a retransmission (1, 3 or 63 s).
    pub checksum_offload: bool,
}

impl Device {
    /// What makes the device take part: it forwards, has no address that it was not given, and is
    /// up. In two steps, since the kernel sets a link up before it looks at the rest.
    pub fn plan_up(&self) -> [Request; 2] {
        let index = self.vxlan.index;
        [
            Request::SetLink(LinkChange {
                ipv4_router: Some(ReversePath::Loose),
                no_link_local: self.vxlan.mtu >= MIN_MTU_V6,
                ..LinkChange::of(index)
            }),
            Request::SetLink(LinkChange { up: Some(true), ..LinkChange::of(index) }),
        ]
    }
}

/// The MAC address of a node's VXLAN device: derived from its name, so that every other node knows
/// it without being told. Locally administered, for one machine.
pub fn node_mac(name: &str) -> LinkAddr {
    // FNV-1a, 64 bits, with its result mixed once more (the finalizer of MurmurHash3): names that
    // differ in the last letter only differ in all bits. Every release must compute the same.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    let [_, _, a, b, c, d, e, f] = (hash ^ (hash >> 33)).to_be_bytes();
    LinkAddr::new([a & 0xfc | 0x02, b, c, d, e, f])
}

/// The link-local address that belongs to a MAC address (RFC 4291 appendix A).
fn link_local(mac: LinkAddr) -> IpAddr {
    let [a, b, c, d, e, f] = mac.octets();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]).into()
}

/// Plans how packets get from this node to the pods of all others.
pub fn plan(wish: &FabricWish) -> Plan {
    let mut planner = Planner { wish, plan: Plan::default(), smallest: None };
    planner.own_blocks();
    let mut peers: Vec<&Peer> = wish.peers.iter().filter(|peer| peer.name != wish.this).collect();
    // Equal input in another order is the same plan.
    peers.sort();
    for peer in peers {
        planner.peer(peer);
    }
    planner.finish()
}

/// A plan in the making.
struct Planner<'a> {
    wish: &'a FabricWish,
    plan: Plan,
    /// The smallest MTU of the uplinks that lead straight to peers.
    smallest: Option<u32>,
}

impl Planner<'_> {
    fn own_blocks(&mut self) {
        for block in &self.wish.own_blocks {
            let block = block.trunc();
            if self.is_pods(block) {
                // Else an address that no pod has would go the default route, to a machine that
                // sends it back, round and round.
                self.plan.state.routes.insert(block, Route::blackhole(block));
            }
        }
    }

    fn is_pods(&self, block: IpNet) -> bool {
        self.wish.pod_networks.iter().any(|network| network.contains(&block))
    }

    fn peer(&mut self, peer: &Peer) {
        let mode = self.wish.mode;
        let tunnel = self.tunnel_to(peer);
        if (mode.may_encapsulate() || self.wish.accept_encapsulated)
            && let Some((device, _)) = tunnel
        {
            self.device(device);
        }
        for v6 in [false, true] {
            let blocks: Vec<IpNet> = self.blocks(peer, v6).collect();
            if blocks.is_empty() {
                continue;
            }
            let direct = if mode == RouteMode::Vxlan { None } else { self.next_hop(peer, v6) };
            match (direct, tunnel) {
                (Some((via, dev, mtu)), _) => {
                    self.smallest = Some(self.smallest.map_or(mtu, |smallest| smallest.min(mtu)));
                    self.routes(blocks, |block| Route::new(block, dev).via(via));
                }
                (None, Some((device, remote))) if mode.may_encapsulate() => {
                    self.through(device, remote, peer, blocks, v6);
                }
                (None, tunnel) => {
                    let problem = self.unreachable(peer, v6, tunnel.is_some());
                    self.plan.problems.push(problem);
                }
            }
        }
    }

    /// A peer's blocks of one family, without what cannot be its.
    fn blocks(&mut self, peer: &Peer, v6: bool) -> impl Iterator<Item = IpNet> + use<> {
        let mut blocks = Vec::new();
        for block in peer.blocks.iter().map(IpNet::trunc) {
            if block.addr().is_ipv6() != v6 {
                continue;
            }
            if self.is_pods(block) && !self.plan.state.routes.contains_key(&block) {
                blocks.push(block);
            } else {
                self.plan.problems.push(Problem::NotItsBlock { peer: peer.name.clone(), block });
            }
        }
        blocks.into_iter()
    }

    /// An address of the peer in a subnet of this node, of the family if there is one. An IPv4 block
    /// may have an IPv6 next hop; the kernel knows no way round.
    fn next_hop(&self, peer: &Peer, v6: bool) -> Option<(IpAddr, IfIndex, u32)> {
        let near = |family: bool| {
            peer.addresses
                .iter()
                .filter(|address| address.is_ipv6() == family)
                .find_map(|it| self.wish.underlay.link_to(*it).map(|up| (*it, up.index, up.mtu)))
        };
        if v6 { near(true) } else { near(false).or_else(|| near(true)) }
    }

    /// The family of the outer packets to a peer, and where they go. IPv4 if both have it: each of
    /// two nodes comes to the same answer by itself.
    fn tunnel_to(&self, peer: &Peer) -> Option<(bool, IpAddr)> {
        [false, true].into_iter().find_map(|v6| {
            self.wish.underlay.address(v6)?;
            let own = |it: &IpAddr| {
                let uplinks = self.wish.underlay.uplinks.iter();
                uplinks.flat_map(|up| &up.addresses).any(|net| net.addr() == *it)
            };
            let mut addresses = peer.addresses.iter().copied();
            Some((v6, addresses.find(|it| it.is_ipv6() == v6 && !own(it))?))
        })
    }

    /// Makes sure of the device for outer packets of a family.
    fn device(&mut self, v6: bool) {
        let name = device_name(v6);
        let vxlan = Vxlan {
            index: device_index(v6),
            vni: mark::VXLAN_VNI,
            port: mark::VXLAN_PORT,
            local: self.wish.underlay.address(v6),
            mac: node_mac(&self.wish.this),
            mtu: self.carried(self.uplink_mtu().saturating_sub(overhead(v6))),
            group: mark::FABRIC_LINK_GROUP,
            learning: false,
            name: name.clone(),
        };
        let device = Device { vxlan, up: true, checksum_offload: false };
        self.plan.state.devices.entry(name).or_insert(device);
    }

    fn uplink_mtu(&self) -> u32 {
        self.wish.underlay.uplinks.first().map_or(DEFAULT_MTU, |uplink| uplink.mtu)
    }

    /// What links of pods' packets have where `fits` is what fits the uplinks: IPv6 needs its
    /// smallest MTU even if larger packets must then be cut on their way.
    fn carried(&self, fits: u32) -> u32 {
        let has_v6 = self.wish.pod_networks.iter().any(|network| network.addr().is_ipv6());
        if has_v6 { fits.max(MIN_MTU_V6) } else { fits }
    }

    /// Leads blocks through a device.
    fn through(&mut self, device: bool, remote: IpAddr, peer: &Peer, blocks: Vec<IpNet>, v6: bool) {
        let dev = device_index(device);
        let mac = node_mac(&peer.name);
        let via = if v6 || remote.is_ipv6() { link_local(mac) } else { remote };
        let state = &mut self.plan.state;
        state.neighbours.insert((dev, via), Neighbour { dev, address: via, mac });
        state.fdb.insert((dev, mac), FdbEntry { dev, mac, remote });
        let tunnel = self.wish.tunnel.iter().copied().find(|it| it.is_ipv6() == v6);
        let source = tunnel.or_else(|| self.wish.underlay.address(v6));
        self.routes(blocks, |block| {
            let route = Route { source, ..Route::new(block, dev).via(via) };
            if via.is_ipv4() { route.onlink() } else { route }
        });
    }

    fn routes(&mut self, blocks: Vec<IpNet>, route: impl Fn(IpNet) -> Route) {
        for block in blocks {
            self.plan.state.routes.insert(block, route(block));
        }
    }

    fn unreachable(&self, peer: &Peer, v6: bool, has_tunnel: bool) -> Problem {
        let name = peer.name.clone();
        if peer.addresses.is_empty() {
            return Problem::NoAddress { peer: name };
        }
        if self.wish.mode.may_encapsulate() {
            debug_assert!(!has_tunnel, "a peer with a tunnel is reached");
            return Problem::NoCommonFamily { peer: name };
        }
        let address = peer.addresses.iter().copied().find(|it| it.is_ipv6() == v6);
        match address {
            Some(address) => Problem::NotAdjacent { peer: name, address },
            None => Problem::NoNextHop { peer: name, v6 },
        }
    }

    fn finish(mut self) -> Plan {
        let state = &mut self.plan.state;
        // To the device for IPv4 if there are two: an address can be of one only.
        if let Some(index) = [false, true]
            .into_iter()
            .map(device_index)
            .find(|index| state.devices.values().any(|device| device.vxlan.index == *index))
        {
            for address in &self.wish.tunnel {
                let address = Address::host(index, *address);
                state.addresses.insert(address.address, address);
            }
        }
        let uplink = self.uplink_mtu();
        let overhead = if self.plan.state.devices.contains_key(&device_name(true)) {
            mark::VXLAN_OVERHEAD_V6
        } else if self.wish.mode.may_encapsulate() || self.wish.accept_encapsulated {
            // Also before there is a peer, lest the first one change the MTU of all pods.
            let v6 = self.wish.underlay.address(false).is_none()
                && self.wish.underlay.address(true).is_some();
            overhead(v6)
        } else {
            0
        };
        let fits = uplink.saturating_sub(overhead).min(self.smallest.unwrap_or(u32::MAX));
        self.plan.pod_mtu = self.wish.mtu.unwrap_or(self.carried(fits));
        self.plan.problems.dedup();
        self.plan
    }
}

fn device_index(v6: bool) -> IfIndex {
    if v6 { mark::VXLAN_INDEX_V6 } else { mark::VXLAN_INDEX }
}

/// The name of the device for outer packets of a family.
pub fn device_name(v6: bool) -> IfName {
    let name = if v6 { mark::VXLAN_NAME_V6 } else { mark::VXLAN_NAME };
    IfName::new(name).expect("a constant that is a valid name")
}

fn overhead(v6: bool) -> u32 {
    if v6 { mark::VXLAN_OVERHEAD_V6 } else { mark::VXLAN_OVERHEAD_V4 }
}

impl fmt::Display for Plan {
    /// The commands that lead here from nothing, and below what they do not achieve.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", super::diff::diff(&State::default(), &self.state))?;
        writeln!(f, "# MTU of pods: {}", self.pod_mtu)?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "# {problem}"))
    }
}

#[cfg(test)]
mod tests;
