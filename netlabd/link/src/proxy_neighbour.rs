// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses that the kernel answers ARP and neighbour solicitations for, although it has them not.

use std::{fmt, net::IpAddr};

use netlink_packet_route::{
    AddressFamily,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    route::{RouteProtocol, RouteType},
};

use crate::{IfIndex, mark};

/// A proxy entry of the neighbour table (`NTF_PROXY`): who asks on a link for the address is told
/// the link's own link-layer address. For IPv4 the interface must forward, and the route to the
/// address must lead elsewhere (`arp_process`); for IPv6 the interface must forward, and `proxy_ndp`
/// must be set (`ndisc_recv_ns`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyNeighbour {
    /// The interface on which questions are answered.
    pub dev: IfIndex,
    /// The address.
    pub address: IpAddr,
    /// Who made it; ours are [`mark::ROUTE_PROTOCOL`], as routes are. 0 when nobody said.
    pub protocol: u8,
}

impl ProxyNeighbour {
    /// An entry of ours.
    pub fn new(dev: IfIndex, address: IpAddr) -> Self {
        Self { dev, address, protocol: mark::ROUTE_PROTOCOL }
    }

    pub(crate) fn to_message(self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = match self.address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.ifindex = self.dev.get();
        message.header.state = NeighbourState::Permanent;
        message.header.flags = NeighbourFlags::Proxy;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::from(self.address)),
            NeighbourAttribute::Protocol(RouteProtocol::from(self.protocol)),
        ];
        message
    }

    /// None of what is no proxy entry.
    pub(crate) fn from_message(message: &NeighbourMessage) -> Option<Self> {
        if !message.header.flags.contains(NeighbourFlags::Proxy) {
            return None;
        }
        let mut address = None;
        let mut protocol = 0;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    address = Some(IpAddr::V4(*v4));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    address = Some(IpAddr::V6(*v6));
                }
                NeighbourAttribute::Protocol(number) => protocol = (*number).into(),
                _ => {}
            }
        }
        Some(Self { dev: IfIndex::new(message.header.ifindex), address: address?, protocol })
    }
}

impl fmt::Display for ProxyNeighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy {} dev {}", self.address, self.dev)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Request, testing::Node};

    #[test]
    fn proxy_entries_are_made_listed_and_removed_and_others_told_from_ours() {
        let mut node = Node::new();
        node.ip("link add eth7 type veth peer name eth8");
        node.ip("link set eth7 up");
        node.ip("neigh add proxy 192.0.2.7 dev eth7");
        let index = IfIndex::new(node.ip("link show eth7")[0]["ifindex"].as_u64().unwrap() as u32);
        let ours = ["192.0.2.8", "2001:db8::8"]
            .map(|address| ProxyNeighbour::new(index, address.parse().unwrap()));
        for entry in ours.into_iter().chain(ours) {
            // Twice, since one that is there is no error.
            node.socket.request(Request::SetProxyNeighbour(entry)).unwrap();
        }
        let shown = |node: &Node| {
            let v4 = node.ip("-4 neigh show proxy").to_string();
            v4 + &node.ip("-6 neigh show proxy").to_string()
        };
        let text = shown(&node);
        assert!(text.contains("192.0.2.8") && text.contains("2001:db8::8"), "{text}");
        assert_eq!(text.matches("110").count(), 2, "both with our mark: {text}");
        let foreign = ProxyNeighbour {
            protocol: 0,
            ..ProxyNeighbour::new(index, "192.0.2.7".parse().unwrap())
        };
        let mut listed = vec![foreign];
        listed.extend(ours);
        assert_eq!(node.socket.list_proxy_neighbours().unwrap(), listed);
        for entry in ours {
            node.socket.request(Request::DelProxyNeighbour(entry)).unwrap();
        }
        let text = shown(&node);
        assert!(text.contains("192.0.2.7") && !text.contains("::8"), "{text}");
        let error = node.socket.request(Request::DelProxyNeighbour(ours[0])).unwrap_err();
        assert!(error.kernel_error().unwrap().is_not_found());
    }
}
