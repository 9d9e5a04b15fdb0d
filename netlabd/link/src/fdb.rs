// SPDX-License-Identifier: GPL-3.0-or-later
//! Forwarding entries of a VXLAN device: behind which machine a link-layer address is.

use std::{fmt, net::IpAddr};

use netlink_packet_route::{
    AddressFamily,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};

use crate::{IfIndex, LinkAddr};

/// A static forwarding entry of a VXLAN device. It is never learned and never ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FdbEntry {
    /// The VXLAN device.
    pub dev: IfIndex,
    /// The address that frames are sent to.
    pub mac: LinkAddr,
    /// The machine that they go to, encapsulated.
    pub remote: IpAddr,
}

/// `NUD_REACHABLE | NUD_NOARP`, what `bridge` calls static: the device wants one of the states that
/// can be used at once (`vxlan_fdb_add`), and does not age what has the second.
const STATIC: u16 = 0x02 | 0x40;

impl FdbEntry {
    pub(crate) fn to_message(self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = self.dev.get();
        message.header.state = NeighbourState::from(STATIC);
        // Of the device itself, and not of a bridge that it is a port of.
        message.header.flags = NeighbourFlags::Own;
        let remote = match self.remote {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        message.attributes = vec![
            NeighbourAttribute::LinkLayerAddress(self.mac.octets().to_vec()),
            NeighbourAttribute::Destination(NeighbourAddress::Other(remote)),
        ];
        message
    }

    /// None for other tables, and for entries without a remote machine.
    pub(crate) fn from_message(message: &NeighbourMessage) -> Option<Self> {
        if message.header.family != AddressFamily::Bridge {
            return None;
        }
        let mut mac = None;
        let mut remote = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = LinkAddr::from_slice(bytes),
                NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                    remote = ip(bytes);
                }
                _ => {}
            }
        }
        Some(Self { dev: IfIndex::new(message.header.ifindex), mac: mac?, remote: remote? })
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

impl fmt::Display for FdbEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {} dst {} self static", self.mac, self.dev, self.remote)
    }
}
