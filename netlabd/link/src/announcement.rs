// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(unsafe_code, reason = "nix cannot make the address of a packet socket")]
//! Telling the neighbours, unasked, where an IP address is from now on: gratuitous ARP (RFC 5227)
//! and unsolicited neighbour advertisements (RFC 4861 §7.2.6).
//!
//! Who has the address in its cache takes the new place at once, and nobody else cares.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use crate::{IfIndex, LinkAddr, Netns, NetnsError};

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const BROADCAST: LinkAddr = LinkAddr::new([0xff; 6]);
/// `ff02::1`, all nodes of a link, and the link-layer address that belongs to it (RFC 2464 §7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: LinkAddr = LinkAddr::new([0x33, 0x33, 0, 0, 0, 1]);
/// Proves that no router was on the way.
const HOP_LIMIT: u8 = 255;
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// The flag "override": what was known before is wrong.
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;

/// That an address is at a link-layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// The link to tell it on.
    pub dev: IfIndex,
    /// The address.
    pub address: IpAddr,
    /// Where it is: the link's own link-layer address.
    pub mac: LinkAddr,
    /// The link's own link-local address, from which IPv6 is told; without one, `address` itself.
    pub link_local: Option<Ipv6Addr>,
}

impl Announcement {
    /// The frames that tell it. For IPv4 two, since some machines believe only questions and some
    /// only answers.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        match self.address {
            IpAddr::V4(address) => {
                vec![self.arp(address, 1, LinkAddr::new([0; 6])), self.arp(address, 2, BROADCAST)]
            }
            IpAddr::V6(address) => vec![self.advertisement(address)],
        }
    }

    fn arp(&self, address: Ipv4Addr, operation: u8, target: LinkAddr) -> Vec<u8> {
        let mut frame = ethernet(BROADCAST, self.mac, ETHERTYPE_ARP);
        // Ethernet, IPv4, and the lengths of their addresses.
        frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend(self.mac.octets());
        frame.extend(address.octets());
        frame.extend(target.octets());
        frame.extend(address.octets());
        frame
    }

    fn advertisement(&self, address: Ipv6Addr) -> Vec<u8> {
        let source = self.link_local.unwrap_or(address);
        let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
        message.extend(address.octets());
        message.extend([TARGET_LINK_LAYER_ADDRESS, 1]);
        message.extend(self.mac.octets());
        let length = u8::try_from(message.len()).expect("an advertisement has 32 bytes");
        let checksum = checksum(source, ALL_NODES, &message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());

        let mut frame = ethernet(ALL_NODES_MAC, self.mac, ETHERTYPE_IPV6);
        frame.extend([0x60, 0, 0, 0, 0, length, ICMPV6, HOP_LIMIT]);
        frame.extend(source.octets());
        frame.extend(ALL_NODES.octets());
        frame.extend(message);
        frame
    }
}

fn ethernet(to: LinkAddr, from: LinkAddr, kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(to.octets());
    frame.extend(from.octets());
    frame.extend(kind.to_be_bytes());
    frame
}

/// The checksum of an ICMPv6 message over its pseudo-header (RFC 4443 §2.3).
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let mut words: Vec<u8> = Vec::with_capacity(40 + message.len());
    words.extend(source.octets());
    words.extend(destination.octets());
    words.extend((message.len() as u32).to_be_bytes());
    words.extend([0, 0, 0, ICMPV6]);
    words.extend(message);
    let mut sum: u32 = words.chunks(2).fold(0, |sum, word| {
        sum + u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or_default()]))
    });
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Why neighbours could not be told.
#[derive(Debug, thiserror::Error)]
pub enum AnnouncementError {
    /// The namespace of the socket could not be entered.
    #[error("failed to enter a network namespace for announcing addresses")]
    Enter {
        /// Why.
        #[source]
        source: NetnsError,
    },
    /// The socket could not be opened.
    #[error("failed to open a packet socket for announcing addresses: is CAP_NET_RAW missing?")]
    Open {
        /// Why.
        #[source]
        source: Errno,
    },
    /// A frame could not be sent.
    #[error("failed to announce `{address}` on link {dev}: is it down?")]
    Send {
        /// What was to be announced.
        address: IpAddr,
        /// On which link.
        dev: IfIndex,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Sends announcements on the links of one network namespace. It receives nothing.
#[derive(Debug)]
pub struct AnnouncementSocket(OwnedFd);

impl AnnouncementSocket {
    /// Opens a socket in a namespace.
    ///
    /// # Errors
    /// [`AnnouncementError::Enter`] and [`AnnouncementError::Open`].
    pub fn open_in(netns: &Netns) -> Result<Self, AnnouncementError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // No protocol: no packet is ever handed to it.
        let open = || socket(AddressFamily::Packet, SockType::Raw, flags, None);
        let opened = netns.run(open).map_err(|source| AnnouncementError::Enter { source })?;
        opened.map(Self).map_err(|source| AnnouncementError::Open { source })
    }

    /// Tells the neighbours.
    ///
    /// # Errors
    /// [`AnnouncementError::Send`], also when the link's queue is full.
    pub fn send(&self, announcement: &Announcement) -> Result<(), AnnouncementError> {
        let Announcement { dev, address, .. } = *announcement;
        announcement.frames().iter().try_for_each(|frame| {
            self.send_frame(dev, frame).map_err(|source| AnnouncementError::Send {
                address,
                dev,
                source,
            })
        })
    }

    fn send_frame(&self, dev: IfIndex, frame: &[u8]) -> io::Result<()> {
        // SAFETY: `sockaddr_ll` is plain data, for which zeroes are valid.
        let mut to: libc::sockaddr_ll = unsafe { mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = u16::from_ne_bytes([frame[12], frame[13]]);
        to.sll_ifindex = dev.get().cast_signed();
        let length = mem::size_of_val(&to) as libc::socklen_t;
        // SAFETY: the kernel only reads, `frame` and `to`, within the lengths that are given; both
        // live until the call is over.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                length,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_message_with_its_checksum_is_zero() {
        let announcement = Announcement {
            dev: IfIndex::new(1),
            address: "2001:db8::f1".parse().unwrap(),
            mac: LinkAddr::new([2, 0, 0, 0, 0, 1]),
            link_local: Some("fe80::1".parse().unwrap()),
        };
        let [frame] = &announcement.frames()[..] else { panic!("IPv6 is told once") };
        assert_eq!(frame.len(), 86);
        let source = announcement.link_local.unwrap();
        assert_eq!(checksum(source, ALL_NODES, &frame[54..]), 0);
    }
}
