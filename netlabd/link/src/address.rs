// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses of interfaces.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{
        AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
    },
};

use crate::IfIndex;

/// An address of an interface, with the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The interface.
    pub dev: IfIndex,
    /// The address and the length of its prefix; the host bits are kept.
    pub address: IpNet,
}

impl Address {
    /// The address alone, as a /32 or /128.
    pub fn host(dev: IfIndex, address: IpAddr) -> Self {
        Self { dev, address: IpNet::from(address) }
    }

    pub(crate) fn to_message(self) -> AddressMessage {
        let mut message = AddressMessage::default();
        let address = self.address.addr();
        message.header.index = self.dev.get();
        message.header.prefix_len = self.address.prefix_len();
        message.attributes = vec![AddressAttribute::Local(address)];
        if address.is_ipv6() {
            message.header.family = AddressFamily::Inet6;
            // Duplicate address detection would hold back the address for a second, and it is
            // unique by allocation.
            message.header.flags = AddressHeaderFlags::Nodad;
            if self.address.prefix_len() == 128 {
                // The kernel would add a route to the address over the interface that has it.
                message.attributes.push(AddressAttribute::Flags(
                    AddressFlags::Nodad | AddressFlags::Noprefixroute,
                ));
            }
        } else {
            message.header.family = AddressFamily::Inet;
            // For IPv4 IFA_LOCAL is the address and IFA_ADDRESS the peer's, which is the same
            // one unless the link is point to point (linux/if_addr.h).
            message.attributes.push(AddressAttribute::Address(address));
        }
        message
    }

    /// As [`Address::to_message`], for an address that the kernel never chooses as a source.
    pub(crate) fn to_served_message(self) -> AddressMessage {
        let mut message = self.to_message();
        if self.address.addr().is_ipv4() {
            // Below the scope of any destination (`inet_select_addr`).
            message.header.scope = AddressScope::Host;
        } else {
            // Deprecated from the start: others are preferred (RFC 6724 section 5, rule 3).
            let mut times = CacheInfo::default();
            (times.ifa_preferred, times.ifa_valid) = (0, u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(times));
        }
        message
    }

    pub(crate) fn from_message(message: &AddressMessage) -> Option<Self> {
        let find = |local: bool| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) if local => Some(*address),
                AddressAttribute::Address(address) if !local => Some(*address),
                _ => None,
            })
        };
        let address = find(true).or_else(|| find(false))?;
        let address = IpNet::new(address, message.header.prefix_len).ok()?;
        Some(Self { dev: IfIndex::new(message.header.index), address })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.address, self.dev)
    }
}
