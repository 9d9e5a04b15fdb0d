// SPDX-License-Identifier: GPL-3.0-or-later
//! Permanent neighbour entries: which link-layer address an IP address has.

use std::{fmt, net::IpAddr};

use netlink_packet_route::{
    AddressFamily,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::RouteType,
};

use crate::{IfIndex, LinkAddr};

/// A permanent neighbour entry. Such an entry is never asked for, never ages, and does not count
/// towards `gc_thresh3`, so thousands of pods cannot overflow the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    /// The interface behind which the neighbour is.
    pub dev: IfIndex,
    /// Its IP address.
    pub address: IpAddr,
    /// Its link-layer address.
    pub mac: LinkAddr,
}

impl Neighbour {
    pub(crate) fn to_message(self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = match self.address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.ifindex = self.dev.get();
        message.header.state = NeighbourState::Permanent;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::from(self.address)),
            NeighbourAttribute::LinkLayerAddress(self.mac.octets().to_vec()),
        ];
        message
    }

    /// The address and, when it has an Ethernet address, the whole entry.
    pub(crate) fn from_message(message: &NeighbourMessage) -> Option<(IpAddr, Option<Self>)> {
        let dev = IfIndex::new(message.header.ifindex);
        let mut address = None;
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    address = Some(IpAddr::V4(*v4));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    address = Some(IpAddr::V6(*v6));
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = LinkAddr::from_slice(bytes),
                _ => {}
            }
        }
        let address = address?;
        Some((address, mac.map(|mac| Self { dev, address, mac })))
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lladdr {} dev {} nud permanent", self.address, self.mac, self.dev)
    }
}
