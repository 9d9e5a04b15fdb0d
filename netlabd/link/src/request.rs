// SPDX-License-Identifier: GPL-3.0-or-later
//! What is asked of the kernel, as values.
//!
//! A [`Request`] can be compared and printed as the `ip` or `bridge` command that would do the same, so that
//! plans, logs and errors share one text. A [`Batch`] is a list of them for one system call.

mod by_hand;

use std::fmt;

use netlink_packet_core::{
    Emitable, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};

use crate::{
    Address, Bridge, FdbEntry, IfIndex, LinkChange, Neighbour, ProxyNeighbour, Qdisc, Route, Veth,
    Vxlan, link::LinkRef, qdisc,
};

/// One change of a network namespace. `Add…` fails when the object is there, `Set…` does not,
/// `Del…` fails when it is not there.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Makes a veth pair.
    AddVeth(Veth),
    /// Makes a bridge.
    AddBridge(Bridge),
    /// Makes a VXLAN device.
    AddVxlan(Vxlan),
    /// Gives a VXLAN device its local address. Its identifier and its port are for ever.
    SetVxlanLocal(Vxlan),
    /// Changes a link.
    SetLink(LinkChange),
    /// Deletes a link, and with a veth its other end. Costs an RCU grace period, about 20 ms.
    DelLink(LinkRef),
    /// Deletes all links of a group within one grace period. Fails when there is none.
    DelLinkGroup(u32),
    /// Adds an address.
    AddAddress(Address),
    /// Adds an address unless it is there.
    SetAddress(Address),
    /// Adds an address unless it is there, at which the node is asked and from which it never asks:
    /// the kernel chooses it as the source of nothing.
    SetServedAddress(Address),
    /// Removes an address.
    DelAddress(Address),
    /// Adds a route.
    AddRoute(Route),
    /// Adds a route in place of that with the same destination, table and metric.
    SetRoute(Route),
    /// Adds an IPv4 route before all others with the same destination, table and metric: it wins,
    /// and they stay.
    PrependRoute(Route),
    /// Removes a route.
    DelRoute(Route),
    /// Adds a permanent neighbour in place of that with the same address.
    SetNeighbour(Neighbour),
    /// Removes a neighbour.
    DelNeighbour(Neighbour),
    /// Adds a proxy neighbour unless it is there.
    SetProxyNeighbour(ProxyNeighbour),
    /// Removes a proxy neighbour.
    DelProxyNeighbour(ProxyNeighbour),
    /// Does something to the packets that leave by a link, in place of what was done before.
    SetQdisc(Qdisc),
    /// Leaves the packets of a link alone again.
    DelQdisc(IfIndex),
    /// Adds a forwarding entry in place of that with the same link-layer address.
    SetFdb(FdbEntry),
    /// Removes a forwarding entry.
    DelFdb(FdbEntry),
}

impl Request {
    /// Appends the netlink message.
    pub(crate) fn encode(&self, sequence_number: u32, extra_flags: u16, into: &mut Vec<u8>) {
        let (message, flags) = self.to_message();
        let mut header = NetlinkHeader::default();
        header.message_type = message.message_type();
        header.flags = NLM_F_REQUEST | flags | extra_flags;
        header.sequence_number = sequence_number;
        encode(header, &message, into);
    }

    fn to_message(&self) -> (RouteNetlinkMessage, u16) {
        const ADD: u16 = NLM_F_CREATE | NLM_F_EXCL;
        const SET: u16 = NLM_F_CREATE | NLM_F_REPLACE;
        match self {
            Self::AddVeth(veth) => (RouteNetlinkMessage::NewLink(veth.to_message()), ADD),
            Self::AddBridge(bridge) => (RouteNetlinkMessage::NewLink(bridge.to_message()), ADD),
            Self::AddVxlan(vxlan) => (RouteNetlinkMessage::NewLink(vxlan.to_message()), ADD),
            Self::SetVxlanLocal(vxlan) => {
                (RouteNetlinkMessage::NewLink(vxlan.to_local_message()), 0)
            }
            Self::SetLink(change) => (RouteNetlinkMessage::SetLink(change.to_message()), 0),
            Self::DelLink(link) => (RouteNetlinkMessage::DelLink(link.to_message()), 0),
            Self::DelLinkGroup(group) => {
                let mut message = LinkMessage::default();
                message.attributes.push(LinkAttribute::Group(*group));
                (RouteNetlinkMessage::DelLink(message), 0)
            }
            Self::AddAddress(address) => {
                (RouteNetlinkMessage::NewAddress(address.to_message()), ADD)
            }
            Self::SetAddress(address) => {
                (RouteNetlinkMessage::NewAddress(address.to_message()), SET)
            }
            Self::SetServedAddress(address) => {
                (RouteNetlinkMessage::NewAddress(address.to_served_message()), SET)
            }
            Self::DelAddress(address) => (RouteNetlinkMessage::DelAddress(address.to_message()), 0),
            Self::AddRoute(route) => (RouteNetlinkMessage::NewRoute(route.to_message(false)), ADD),
            Self::SetRoute(route) => (RouteNetlinkMessage::NewRoute(route.to_message(false)), SET),
            Self::PrependRoute(route) => {
                (RouteNetlinkMessage::NewRoute(route.to_message(false)), NLM_F_CREATE)
            }
            Self::DelRoute(route) => (RouteNetlinkMessage::DelRoute(route.to_message(true)), 0),
            Self::SetNeighbour(neighbour) => {
                (RouteNetlinkMessage::NewNeighbour(neighbour.to_message()), SET)
            }
            Self::DelNeighbour(neighbour) => {
                (RouteNetlinkMessage::DelNeighbour(neighbour.to_message()), 0)
            }
            Self::SetProxyNeighbour(neighbour) => {
                (RouteNetlinkMessage::NewNeighbour(neighbour.to_message()), SET)
            }
            Self::DelProxyNeighbour(neighbour) => {
                (RouteNetlinkMessage::DelNeighbour(neighbour.to_message()), 0)
            }
            Self::SetQdisc(qdisc) => {
                (RouteNetlinkMessage::NewQueueDiscipline(qdisc.to_message()), SET)
            }
            Self::DelQdisc(dev) => (RouteNetlinkMessage::DelQueueDiscipline(qdisc::root(*dev)), 0),
            Self::SetFdb(entry) => (RouteNetlinkMessage::NewNeighbour(entry.to_message()), SET),
            Self::DelFdb(entry) => (RouteNetlinkMessage::DelNeighbour(entry.to_message()), 0),
        }
    }
}

/// Appends a message with its length filled in, padded to the next.
pub(crate) fn encode(mut header: NetlinkHeader, message: &RouteNetlinkMessage, into: &mut Vec<u8>) {
    let start = into.len();
    let length = header.buffer_len() + message.buffer_len();
    header.length = u32::try_from(length).expect("a request is far smaller than 4 GiB");
    into.resize(start + length.next_multiple_of(4), 0);
    header.emit(&mut into[start..]);
    message.emit(&mut into[start + header.buffer_len()..start + length]);
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self {
            Self::AddAddress(Address { address, .. })
            | Self::SetAddress(Address { address, .. })
            | Self::SetServedAddress(Address { address, .. })
            | Self::DelAddress(Address { address, .. })
            | Self::AddRoute(Route { destination: address, .. })
            | Self::SetRoute(Route { destination: address, .. })
            | Self::PrependRoute(Route { destination: address, .. })
            | Self::DelRoute(Route { destination: address, .. }) => address.addr().is_ipv6(),
            Self::SetNeighbour(Neighbour { address, .. })
            | Self::DelNeighbour(Neighbour { address, .. })
            | Self::SetProxyNeighbour(ProxyNeighbour { address, .. })
            | Self::DelProxyNeighbour(ProxyNeighbour { address, .. }) => address.is_ipv6(),
            _ => false,
        };
        let ip = if family { "ip -6" } else { "ip" };
        match self {
            Self::AddVeth(veth) => write!(f, "{ip} link add {veth}"),
            Self::AddVxlan(vxlan) => write!(f, "{ip} link add {vxlan}"),
            Self::SetVxlanLocal(Vxlan { name, vni, local, .. }) => {
                write!(f, "{ip} link set dev {name} type vxlan id {vni}")?;
                local.map_or(Ok(()), |local| write!(f, " local {local}"))
            }
            Self::SetLink(change) => write!(f, "{ip} link set {change}"),
            Self::DelLink(link) => write!(f, "{ip} link del dev {link}"),
            Self::DelLinkGroup(group) => write!(f, "{ip} link del group {group}"),
            Self::AddAddress(address) => write!(f, "{ip} address add {address}"),
            Self::SetAddress(address) => write!(f, "{ip} address replace {address}"),
            Self::SetServedAddress(address) => {
                let how = if family { "preferred_lft 0" } else { "scope host" };
                write!(f, "{ip} address replace {address} {how}")
            }
            Self::DelAddress(address) => write!(f, "{ip} address del {address}"),
            Self::AddRoute(route) => write!(f, "{ip} route add {route}"),
            Self::SetRoute(route) => write!(f, "{ip} route replace {route}"),
            Self::PrependRoute(route) => write!(f, "{ip} route prepend {route}"),
            Self::DelRoute(route) => write!(f, "{ip} route del {route}"),
            Self::SetNeighbour(neighbour) => write!(f, "{ip} neigh replace {neighbour}"),
            Self::DelNeighbour(Neighbour { dev, address, .. }) => {
                write!(f, "{ip} neigh del {address} dev {dev}")
            }
            Self::SetProxyNeighbour(neighbour) => {
                write!(f, "{ip} neigh replace {neighbour} proto {}", neighbour.protocol)
            }
            Self::DelProxyNeighbour(neighbour) => write!(f, "{ip} neigh del {neighbour}"),
            Self::AddBridge(bridge) => write!(f, "{ip} link add {bridge}"),
            Self::SetQdisc(qdisc) => write!(f, "tc qdisc replace {qdisc}"),
            Self::DelQdisc(dev) => write!(f, "tc qdisc del dev {dev} root"),
            Self::SetFdb(entry) => write!(f, "bridge fdb replace {entry}"),
            Self::DelFdb(FdbEntry { dev, mac, remote }) => {
                write!(f, "bridge fdb del {mac} dev {dev} dst {remote} self")
            }
        }
    }
}

/// Requests that go to the kernel in one system call, in this order.
///
/// Not a transaction: a request that fails does not keep later ones from being carried out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    requests: Vec<Request>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a request.
    pub fn push(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// What it asks for, in order.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Appends [`Request::AddVeth`].
    pub fn add_veth(&mut self, veth: Veth) {
        self.push(Request::AddVeth(veth));
    }

    /// Appends [`Request::SetLink`].
    pub fn set_link(&mut self, change: LinkChange) {
        self.push(Request::SetLink(change));
    }

    /// Appends [`Request::DelLink`].
    pub fn del_link(&mut self, link: impl Into<LinkRef>) {
        self.push(Request::DelLink(link.into()));
    }

    /// Appends [`Request::DelLinkGroup`].
    pub fn del_link_group(&mut self, group: u32) {
        self.push(Request::DelLinkGroup(group));
    }

    /// Appends [`Request::AddAddress`].
    pub fn add_address(&mut self, address: Address) {
        self.push(Request::AddAddress(address));
    }

    /// Appends [`Request::SetAddress`].
    pub fn set_address(&mut self, address: Address) {
        self.push(Request::SetAddress(address));
    }

    /// Appends [`Request::DelAddress`].
    pub fn del_address(&mut self, address: Address) {
        self.push(Request::DelAddress(address));
    }

    /// Appends [`Request::AddRoute`].
    pub fn add_route(&mut self, route: Route) {
        self.push(Request::AddRoute(route));
    }

    /// Appends [`Request::SetRoute`].
    pub fn set_route(&mut self, route: Route) {
        self.push(Request::SetRoute(route));
    }

    /// Appends [`Request::DelRoute`].
    pub fn del_route(&mut self, route: Route) {
        self.push(Request::DelRoute(route));
    }

    /// Appends [`Request::SetNeighbour`].
    pub fn set_neighbour(&mut self, neighbour: Neighbour) {
        self.push(Request::SetNeighbour(neighbour));
    }

    /// Appends [`Request::SetFdb`].
    pub fn set_fdb(&mut self, entry: FdbEntry) {
        self.push(Request::SetFdb(entry));
    }

    /// Appends [`Request::DelFdb`].
    pub fn del_fdb(&mut self, entry: FdbEntry) {
        self.push(Request::DelFdb(entry));
    }

    /// Appends [`Request::DelNeighbour`].
    pub fn del_neighbour(&mut self, neighbour: Neighbour) {
        self.push(Request::DelNeighbour(neighbour));
    }
}

impl FromIterator<Request> for Batch {
    fn from_iter<I: IntoIterator<Item = Request>>(requests: I) -> Self {
        Self { requests: requests.into_iter().collect() }
    }
}

impl Extend<Request> for Batch {
    fn extend<I: IntoIterator<Item = Request>>(&mut self, requests: I) {
        self.requests.extend(requests);
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.requests.iter().try_for_each(|request| writeln!(f, "{request}"))
    }
}
