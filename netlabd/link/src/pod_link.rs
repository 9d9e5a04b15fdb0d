// SPDX-License-Identifier: GPL-3.0-or-later
//! The link of a pod: a veth pair, layer 3, no bridge, as Calico makes it.
//!
//! ```text
//!   pod's namespace                          node's namespace
//!   eth0  10.42.0.5/32, fd42::5/128 ───────  nl<11 hex>  ee:ee:ee:ee:ee:ee
//!   default via 169.254.1.1 onlink           10.42.0.5 dev nl…   proto 110
//!   default via fe80::1                      fd42::5   dev nl…   proto 110
//!   169.254.1.1, fe80::1 ─► ee:ee:…          10.42.0.5, fd42::5 ─► the pod's MAC
//! ```
//!
//! Both ends know each other's MAC address from permanent neighbour entries, so there is neither
//! ARP nor neighbour discovery, no proxy_arp, and nothing to wait for.
//!
//! [`PodLink`] plans, purely. [`PodLinkPool`] keeps links ready, since a namespace takes over a
//! millisecond to make and a claimed one 0.1 ms to address. [`remove_pod_links`] removes many at
//! once.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    Address, Batch, IfIndex, IfName, LinkAddr, LinkChange, MIN_MTU_V6, Neighbour, Netns,
    NetnsError, Request, ReversePath, Route, SocketError, Veth, link::VethEnd, mark, sysctl,
    sysctl::SysctlError,
};

mod pool;
mod remove;
mod script;

pub use pool::{PodLinkPool, PodLinkPoolOptions, PreparedLink};
pub use remove::{list_pod_links, remove_pod_links};

/// What names a pod link: the hexadecimal digits in `nl<11 hex>`, in the name of its pin and in
/// the pod's MAC address. Chosen at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodLinkId(u64);

impl PodLinkId {
    /// The digits that fit beside the prefix: 15 bytes of a name, less `nl`, less two kept free
    /// for a suffix.
    const DIGITS: usize = 11;
    const MASK: u64 = (1 << (4 * Self::DIGITS)) - 1;

    /// A new one. Two of 1,000 are the same once in 35 million times, and then the kernel
    /// refuses the second.
    pub fn random() -> Self {
        Self::from_bits(uuid::Uuid::new_v4().as_u64_pair().1)
    }

    /// The one with the low 44 of these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::MASK)
    }

    /// The one that a node-side link is named after; none for other names.
    pub fn from_host_name(name: &IfName) -> Option<Self> {
        name.as_str().strip_prefix(mark::LINK_PREFIX)?.parse().ok()
    }

    /// The name of the node's end.
    pub fn host_name(self) -> IfName {
        IfName::new(format!("{}{self}", mark::LINK_PREFIX))
            .expect("a prefix of 2 and 11 digits are a valid name")
    }

    /// The MAC address of the pod's end: locally administered, and different for each link.
    pub const fn pod_mac(self) -> LinkAddr {
        let [_, _, _, a, b, c, d, e] = self.0.to_be_bytes();
        LinkAddr::new([0x02, a, b, c, d, e])
    }

    /// Where the namespace is pinned.
    pub fn pin(self, pin_dir: &Path) -> PathBuf {
        pin_dir.join(self.to_string())
    }
}

impl fmt::Display for PodLinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.0, width = Self::DIGITS)
    }
}

/// The text is not 11 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a pod link: 11 lower-case hexadecimal digits are")]
pub struct ParsePodLinkIdError(String);

impl FromStr for PodLinkId {
    type Err = ParsePodLinkIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != Self::DIGITS || !text.bytes().all(digit) {
            return Err(ParsePodLinkIdError(text.to_owned()));
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| ParsePodLinkIdError(text.to_owned()))
    }
}

/// The address families that pods have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Both families.
    pub const DUAL_STACK: Self = Self { v4: true, v6: true };
}

/// The addresses of one pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodAddresses {
    /// IPv4, if it has one.
    pub v4: Option<Ipv4Addr>,
    /// IPv6, if it has one.
    pub v6: Option<Ipv6Addr>,
}

impl PodAddresses {
    /// All of them, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// What must be known of a pod link to say all that belongs to it. Everything here is pure: the
/// same answers serve to make it, to find drift and to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodLink {
    /// Its name.
    pub id: PodLinkId,
    /// The number of the node's end.
    pub host_index: IfIndex,
    /// The MTU of both ends. With IPv6 at least [`MIN_MTU_V6`].
    pub mtu: u32,
    /// The families whose gateways the pod has.
    pub families: Families,
}

impl PodLink {
    /// What to send inside a new namespace to make the link and all of the pod's side but its
    /// addresses.
    pub fn plan_pod_setup(&self, node: Arc<Netns>) -> Batch {
        let mut batch = Batch::new();
        batch.add_veth(self.plan_pair(Some(node)));
        batch.extend(self.plan_pod_end());
        batch
    }

    /// What follows in the pod's namespace once the pair is made.
    fn plan_pod_end(&self) -> Vec<Request> {
        let link = |change| Request::SetLink(change);
        let up = |index| link(LinkChange { up: Some(true), ..LinkChange::of(index) });
        let mut requests = vec![up(mark::LOOPBACK_INDEX)];
        // Before it is up: afterwards the kernel has already made the address.
        let quiet = LinkChange { no_link_local: true, ..LinkChange::of(mark::POD_IF_INDEX) };
        requests.extend(self.knows_v6().then_some(link(quiet)));
        requests.push(up(mark::POD_IF_INDEX));
        // Before the routes, so that no packet can ever ask for the gateway.
        requests.extend(self.plan_pod_neighbours().into_iter().map(Request::SetNeighbour));
        requests.extend(self.plan_pod_routes().into_iter().map(Request::SetRoute));
        requests
    }

    /// The veth pair, made inside the pod's namespace.
    fn plan_pair(&self, node: Option<Arc<Netns>>) -> Veth {
        Veth {
            near: VethEnd {
                name: IfName::new(mark::POD_IF_NAME).expect("`eth0` is a valid name"),
                index: Some(mark::POD_IF_INDEX),
                mac: self.id.pod_mac(),
                group: 0,
            },
            far: VethEnd {
                name: self.id.host_name(),
                index: Some(self.host_index),
                mac: mark::HOST_MAC,
                group: mark::LINK_GROUP,
            },
            far_netns: node,
            mtu: self.mtu,
        }
    }

    /// Whether the kernel has IPv6 on this link, be it for addresses of its own making.
    fn knows_v6(&self) -> bool {
        self.mtu >= MIN_MTU_V6
    }

    /// What to send in the node's namespace once the pair is made.
    pub fn plan_node_setup(&self) -> Batch {
        let mut batch = Batch::new();
        batch.set_link(LinkChange {
            ipv4_router: self.families.v4.then_some(ReversePath::Strict),
            no_link_local: self.knows_v6(),
            ..LinkChange::of(self.host_index)
        });
        batch.set_link(LinkChange { up: Some(true), ..LinkChange::of(self.host_index) });
        batch
    }

    /// Sets what no netlink message can, on both sides, once the pair is made. Repeating it is
    /// success.
    ///
    /// # Errors
    /// [`PodLinkError::Sysctl`] when `/proc/sys` is read-only or the link is gone.
    pub fn set_sysctls(&self, node: &Netns, pod: &Netns) -> Result<(), PodLinkError> {
        let id = self.id;
        let enter = |source| PodLinkError::Netns { id, source };
        pod.run(|| self.set_pod_sysctls_here()).map_err(enter)??;
        node.run(|| self.set_node_sysctls_here()).map_err(enter)?
    }

    /// The pod's half of [`PodLink::set_sysctls`], on a thread in the pod's namespace.
    pub(crate) fn set_pod_sysctls_here(&self) -> Result<(), PodLinkError> {
        for (name, value) in self.pod_sysctls() {
            sysctl::ensure_here(&name, value)
                .map_err(|source| PodLinkError::Sysctl { id: self.id, source })?;
        }
        Ok(())
    }

    /// The node's half of [`PodLink::set_sysctls`], on a thread in the node's namespace. Where the
    /// kernel can forward for one link alone (6.17 and later), it is told so for this one; see
    /// [`sysctl::ensure_forwarding`].
    pub(crate) fn set_node_sysctls_here(&self) -> Result<(), PodLinkError> {
        for (name, value) in self.node_sysctls() {
            match sysctl::ensure_here(&name, value) {
                Err(source) if !source.is_not_found() => {
                    return Err(PodLinkError::Sysctl { id: self.id, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Settings of the pod's end. No router is on this link, so what claims to be one is a forgery.
    fn pod_sysctls(&self) -> Vec<(String, &'static str)> {
        let names = ["accept_ra", "accept_dad"].iter().filter(|_| self.families.v6);
        names.map(|name| (format!("net/ipv6/conf/{}/{name}", mark::POD_IF_NAME), "0")).collect()
    }

    /// Settings of the node's end, which older kernels do not have.
    fn node_sysctls(&self) -> Vec<(String, &'static str)> {
        let name = || format!("net/ipv6/conf/{}/force_forwarding", self.id.host_name());
        self.families.v6.then(|| (name(), "1")).into_iter().collect()
    }

    /// What gives the node's end the MTU of this link. The pod's end is [`PodLink::plan_pod_mtu`];
    /// a pair may differ for a moment, when the larger end's packets are lost.
    pub fn plan_node_mtu(&self) -> Request {
        Request::SetLink(LinkChange { mtu: Some(self.mtu), ..LinkChange::of(self.host_index) })
    }

    /// What gives the pod's end the MTU of this link, to be sent inside of the pod.
    pub fn plan_pod_mtu(&self) -> Request {
        Request::SetLink(LinkChange { mtu: Some(self.mtu), ..LinkChange::of(mark::POD_IF_INDEX) })
    }

    /// The default routes inside the pod.
    pub fn plan_pod_routes(&self) -> Vec<Route> {
        let mut routes = Vec::new();
        if self.families.v4 {
            let default = IpNet::new(Ipv4Addr::UNSPECIFIED.into(), 0).expect("0 is a length");
            routes.push(
                Route::new(default, mark::POD_IF_INDEX).via(mark::GATEWAY_V4.into()).onlink(),
            );
        }
        if self.families.v6 {
            let default = IpNet::new(Ipv6Addr::UNSPECIFIED.into(), 0).expect("0 is a length");
            routes.push(Route::new(default, mark::POD_IF_INDEX).via(mark::GATEWAY_V6.into()));
        }
        routes
    }

    /// The gateways' neighbour entries inside the pod.
    pub fn plan_pod_neighbours(&self) -> Vec<Neighbour> {
        let mut gateways = Vec::<IpAddr>::new();
        if self.families.v4 {
            gateways.push(mark::GATEWAY_V4.into());
        }
        if self.families.v6 {
            gateways.push(mark::GATEWAY_V6.into());
        }
        gateways
            .into_iter()
            .map(|address| Neighbour { dev: mark::POD_IF_INDEX, address, mac: mark::HOST_MAC })
            .collect()
    }

    /// The pod's addresses on its `eth0`.
    pub fn plan_pod_addresses(&self, addresses: PodAddresses) -> Vec<Address> {
        addresses.iter().map(|address| Address::host(mark::POD_IF_INDEX, address)).collect()
    }

    /// The node's routes to the pod.
    pub fn plan_node_routes(&self, addresses: PodAddresses) -> Vec<Route> {
        addresses.iter().map(|address| Route::host(address, self.host_index)).collect()
    }

    /// The node's neighbour entries for the pod.
    pub fn plan_node_neighbours(&self, addresses: PodAddresses) -> Vec<Neighbour> {
        let mac = self.id.pod_mac();
        addresses.iter().map(|address| Neighbour { dev: self.host_index, address, mac }).collect()
    }

    /// Appends what the node's namespace needs for a pod with these addresses. The batches of
    /// many pods can be one. It may be sent again.
    ///
    /// The alias is for people, costs most, and can be left for later: the kernel's notification
    /// of it walks all numbered namespaces (25 us with 20 of them, 230 us with 1,500).
    pub fn plan_node_claim(&self, addresses: PodAddresses, alias: Option<&str>, batch: &mut Batch) {
        // Before the routes, so that no packet can ever ask for the pod.
        let neighbours = self.plan_node_neighbours(addresses);
        neighbours.into_iter().for_each(|it| batch.set_neighbour(it));
        self.plan_node_routes(addresses).into_iter().for_each(|it| batch.set_route(it));
        if let Some(alias) = alias {
            let alias = Some(alias.to_owned());
            batch.set_link(LinkChange { alias, ..LinkChange::of(self.host_index) });
        }
    }

    /// What the pod's namespace needs for these addresses. It may be sent again.
    pub fn plan_pod_claim(&self, addresses: PodAddresses) -> Batch {
        let mut batch = Batch::new();
        self.plan_pod_addresses(addresses).into_iter().for_each(|it| batch.set_address(it));
        batch
    }
}

/// What can go wrong with pod links.
#[derive(Debug, thiserror::Error)]
pub enum PodLinkError {
    /// The namespace of a pod could not be made, pinned or removed.
    #[error("failed to handle the network namespace of pod link `{id}`")]
    Netns {
        /// The link.
        id: PodLinkId,
        /// Why.
        #[source]
        source: NetnsError,
    },
    /// The pod's side of the link could not be made.
    #[error("failed to set up `eth0` of pod link `{id}`")]
    SetUpPod {
        /// The link.
        id: PodLinkId,
        /// Why.
        #[source]
        source: SocketError,
    },
    /// The node's side of the link could not be made.
    #[error("failed to set up `nl{id}`")]
    SetUpNode {
        /// The link.
        id: PodLinkId,
        /// Why.
        #[source]
        source: SocketError,
    },
    /// The sysctls of a pod or of its link could not be set.
    #[error("failed to set the sysctls of pod link `{id}`")]
    Sysctl {
        /// The link.
        id: PodLinkId,
        /// Why.
        #[source]
        source: SysctlError,
    },
    /// A pod could not be given its addresses.
    #[error("failed to give pod link `{id}` its addresses")]
    Assign {
        /// The link.
        id: PodLinkId,
        /// Why.
        #[source]
        source: SocketError,
    },
    /// A link could not be given another MTU.
    #[error("failed to give pod link `{id}` an MTU of {mtu}")]
    SetMtu {
        /// The link.
        id: PodLinkId,
        /// The MTU.
        mtu: u32,
        /// Why.
        #[source]
        source: SocketError,
    },
    /// The links could not be removed.
    #[error("failed to remove {count} pod links")]
    RemoveLinks {
        /// How many.
        count: usize,
        /// Why.
        #[source]
        source: SocketError,
    },
    /// The pins could not be listed.
    #[error("failed to list the pod links")]
    List {
        /// Why.
        #[source]
        source: NetnsError,
    },
    /// The pool could not be started.
    #[error("failed to start the pool of pod links")]
    StartPool {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The pool was closed while a link was asked for.
    #[error("failed to claim a pod link: the pool is closed")]
    PoolClosed,
}

#[cfg(test)]
mod tests;
