// SPDX-License-Identifier: GPL-3.0-or-later
//! Routes.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
        RouteProtocol, RouteScope, RouteType, RouteVia,
    },
};

use crate::{IfIndex, mark};

/// The metric that the kernel gives an IPv6 route without one (`IP6_RT_PRIO_USER`). Written out,
/// so that a route that was wished for equals the one that is found.
const DEFAULT_METRIC_V6: u32 = 1024;

/// The table of this machine's own addresses (`RT_TABLE_LOCAL` of `linux/rtnetlink.h`).
const LOCAL_TABLE: u32 = 255;

/// A route of one of the tables of a network namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Where to; `0.0.0.0/0` and `::/0` are the default routes. Its host bits are zero.
    pub destination: IpNet,
    /// What becomes of the packets.
    pub kind: RouteKind,
    /// The next hop; none when the destination is on the link itself. To an IPv4 destination it
    /// may be an IPv6 one (since Linux 5.2), not the other way round.
    pub via: Option<IpAddr>,
    /// The interface; none for routes that drop.
    pub dev: Option<IfIndex>,
    /// The next hop is reachable over `dev` although no route says so.
    pub onlink: bool,
    /// The address that this machine uses for its own packets on this route.
    pub source: Option<IpAddr>,
    /// The priority; the lowest wins. Zero for IPv4 and 1024 for IPv6 unless set.
    pub metric: u32,
    /// The largest packet on this route, where it is less than the interface's MTU.
    pub mtu: Option<u32>,
    /// The routing table; 254 is `main`.
    pub table: u32,
    /// Who made it; ours are [`mark::ROUTE_PROTOCOL`].
    pub protocol: u8,
}

/// What becomes of a packet that matches a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// It is forwarded.
    Unicast,
    /// It is for this machine.
    Local,
    /// It is dropped silently.
    Blackhole,
    /// It is dropped and the sender told that the host is unreachable.
    Unreachable,
    /// Another `RTN_` type of `linux/rtnetlink.h`.
    Other(u8),
}

impl Route {
    /// A route of ours over an interface, to what is on the link itself.
    pub fn new(destination: IpNet, dev: IfIndex) -> Self {
        let destination = destination.trunc();
        Self {
            metric: if destination.addr().is_ipv6() { DEFAULT_METRIC_V6 } else { 0 },
            destination,
            kind: RouteKind::Unicast,
            via: None,
            dev: Some(dev),
            onlink: false,
            source: None,
            mtu: None,
            table: RouteHeader::RT_TABLE_MAIN.into(),
            protocol: mark::ROUTE_PROTOCOL,
        }
    }

    /// The route to one address over an interface.
    pub fn host(address: IpAddr, dev: IfIndex) -> Self {
        Self::new(IpNet::from(address), dev)
    }

    /// The same route over a next hop.
    #[must_use]
    pub fn via(self, next_hop: IpAddr) -> Self {
        Self { via: Some(next_hop), ..self }
    }

    /// The same route, with a next hop that is on the link by decree.
    #[must_use]
    pub fn onlink(self) -> Self {
        Self { onlink: true, ..self }
    }

    /// A route of ours that drops what no longer prefix takes, such as the rest of an address
    /// block of which only some addresses are pods.
    pub fn blackhole(destination: IpNet) -> Self {
        Self {
            kind: RouteKind::Blackhole,
            dev: None,
            ..Self::new(destination, mark::LOOPBACK_INDEX)
        }
    }

    /// A route of ours by which packets to an address of this machine reach it over `lo`.
    ///
    /// The kernel makes such a route for each address. Where that names another device than `lo`,
    /// it is no use to packets of the machine's own: for each of them it makes a route anew
    /// (`__mkroute_output`), which costs more than the answer to a question.
    pub fn own_address(address: Ipv4Addr) -> Self {
        Self {
            kind: RouteKind::Local,
            table: LOCAL_TABLE,
            ..Self::host(address.into(), mark::LOOPBACK_INDEX)
        }
    }

    /// Whether this is a default route.
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }

    pub(crate) fn to_message(&self, deleting: bool) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = match self.destination {
            IpNet::V4(_) => AddressFamily::Inet,
            IpNet::V6(_) => AddressFamily::Inet6,
        };
        header.destination_prefix_length = self.destination.prefix_len();
        header.protocol = RouteProtocol::from(self.protocol);
        header.kind = self.kind.to_netlink();
        header.scope = if deleting {
            // Matches every scope (`fib_table_delete`); zero would match only "universe".
            RouteScope::NoWhere
        } else if self.destination.addr().is_ipv6() {
            RouteScope::Universe
        } else {
            match (self.kind, self.via) {
                (RouteKind::Unicast, None) => RouteScope::Link,
                (RouteKind::Local, _) => RouteScope::Host,
                _ => RouteScope::Universe,
            }
        };
        if self.onlink {
            header.flags = RouteFlags::Onlink;
        }
        let attributes = &mut message.attributes;
        match u8::try_from(self.table) {
            Ok(table) => message.header.table = table,
            Err(_) => attributes.push(RouteAttribute::Table(self.table)),
        }
        if !self.is_default() {
            attributes.push(RouteAttribute::Destination(self.destination.addr().into()));
        }
        match self.via {
            // The next hop of the other family has an attribute that says which.
            Some(next_hop) if next_hop.is_ipv6() != self.destination.addr().is_ipv6() => {
                attributes.push(RouteAttribute::Via(next_hop.into()));
            }
            Some(next_hop) => attributes.push(RouteAttribute::Gateway(next_hop.into())),
            None => {}
        }
        if let Some(dev) = self.dev {
            attributes.push(RouteAttribute::Oif(dev.get()));
        }
        if let Some(source) = self.source {
            attributes.push(RouteAttribute::PrefSource(source.into()));
        }
        if self.metric != 0 {
            attributes.push(RouteAttribute::Priority(self.metric));
        }
        if let Some(mtu) = self.mtu
            && !deleting
        {
            attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        }
        message
    }

    /// None for other families, for routes that the kernel cached, and for what has no prefix.
    pub(crate) fn from_message(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        if header.flags.contains(RouteFlags::Cloned) {
            return None;
        }
        let unspecified: IpAddr = match header.address_family {
            AddressFamily::Inet => IpAddr::from([0; 4]),
            AddressFamily::Inet6 => IpAddr::from([0; 16]),
            _ => return None,
        };
        let mut destination = unspecified;
        let mut route = Self {
            kind: RouteKind::from_netlink(header.kind),
            metric: 0,
            dev: None,
            table: header.table.into(),
            protocol: header.protocol.into(),
            onlink: header.flags.contains(RouteFlags::Onlink),
            ..Self::new(IpNet::from(unspecified), mark::LOOPBACK_INDEX)
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = ip(address)?,
                RouteAttribute::Gateway(address) => route.via = ip(address),
                RouteAttribute::Via(RouteVia::Inet(v4)) => route.via = Some(IpAddr::V4(*v4)),
                RouteAttribute::Via(RouteVia::Inet6(v6)) => route.via = Some(IpAddr::V6(*v6)),
                RouteAttribute::PrefSource(address) => route.source = ip(address),
                RouteAttribute::Oif(index) => route.dev = Some(IfIndex::new(*index)),
                RouteAttribute::Priority(metric) => route.metric = *metric,
                RouteAttribute::Table(table) => route.table = *table,
                RouteAttribute::Metrics(metrics) => {
                    route.mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                // Several next hops: the first stands for them. netlab makes no such route, and
                // of a foreign one only where it leads first is of interest.
                RouteAttribute::MultiPath(next_hops) => {
                    let Some(first) = next_hops.first() else { continue };
                    route.dev = Some(IfIndex::new(first.interface_index));
                    route.via = first.attributes.iter().find_map(|attribute| match attribute {
                        RouteAttribute::Gateway(address) => ip(address),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        // The kernel reports routes that drop as leading to `lo` for IPv6 and nowhere for IPv4.
        if matches!(route.kind, RouteKind::Blackhole | RouteKind::Unreachable) {
            route.dev = None;
        }
        route.destination = IpNet::new(destination, header.destination_prefix_length).ok()?.trunc();
        Some(route)
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

impl RouteKind {
    pub(crate) fn to_netlink(self) -> RouteType {
        match self {
            Self::Unicast => RouteType::Unicast,
            Self::Local => RouteType::Local,
            Self::Blackhole => RouteType::BlackHole,
            Self::Unreachable => RouteType::Unreachable,
            Self::Other(number) => RouteType::from(number),
        }
    }

    fn from_netlink(kind: RouteType) -> Self {
        match kind {
            RouteType::Unicast => Self::Unicast,
            RouteType::Local => Self::Local,
            RouteType::BlackHole => Self::Blackhole,
            RouteType::Unreachable => Self::Unreachable,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RouteKind::Unicast => {}
            RouteKind::Local => f.write_str("local ")?,
            RouteKind::Blackhole => f.write_str("blackhole ")?,
            RouteKind::Unreachable => f.write_str("unreachable ")?,
            RouteKind::Other(number) => write!(f, "type {number} ")?,
        }
        if self.is_default() {
            f.write_str("default")?;
        } else {
            write!(f, "{}", self.destination)?;
        }
        if let Some(next_hop) = self.via {
            let foreign = next_hop.is_ipv6() && self.destination.addr().is_ipv4();
            write!(f, " via {}{next_hop}", if foreign { "inet6 " } else { "" })?;
        }
        if let Some(dev) = self.dev {
            write!(f, " dev {dev}")?;
        }
        if self.table != u32::from(RouteHeader::RT_TABLE_MAIN) {
            write!(f, " table {}", self.table)?;
        }
        write!(f, " proto {}", self.protocol)?;
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if self.onlink {
            f.write_str(" onlink")?;
        }
        Ok(())
    }
}
