// SPDX-License-Identifier: GPL-3.0-or-later
//! What of a list is worth decoding. Of a thousand pods the kernel says megabytes, and to take all of
//! that apart costs more time and memory than whoever compares it.

use std::borrow::Cow;

use netlink_packet_core::NlasIterator;

use super::RouteFilter;

/// Length of `struct ifinfomsg` and of `struct rtmsg`, after which the attributes come.
const LINK_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;

/// Length of `struct nlattr`, to which attributes are aligned as well; and the part of its type that
/// is no flag.
const ATTRIBUTE_HEADER: usize = 4;
const KIND: u16 = 0x3fff;

/// The attributes by which a route has a next hop.
const NEXT_HOPS: [u16; 4] = [libc::RTA_GATEWAY, libc::RTA_MULTIPATH, libc::RTA_VIA, RTA_NH_ID];

/// A next hop that is an object of its own (since Linux 5.3); `linux/rtnetlink.h`.
const RTA_NH_ID: u16 = 30;

/// What a [`Link`](crate::Link) is made of. The kernel says far more of each, and most of that are
/// settings, in attributes of attributes.
const LINK_ATTRIBUTES: [u16; 8] = [
    libc::IFLA_ADDRESS,
    libc::IFLA_IFNAME,
    libc::IFLA_MTU,
    libc::IFLA_LINK,
    libc::IFLA_LINKINFO,
    libc::IFLA_IFALIAS,
    libc::IFLA_GROUP,
    libc::IFLA_LINK_NETNSID,
];

/// Which messages of a list are decoded, and what of them.
#[derive(Debug)]
pub(super) enum Pick {
    /// All of all.
    All,
    /// Of links what a [`Link`](crate::Link) is made of.
    Links,
    /// Routes that pass the filter.
    Routes(RouteFilter),
}

impl Pick {
    /// What is to be decoded of a message.
    pub(super) fn of<'a>(&self, message: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::All => Some(message.into()),
            Self::Links => Some(with_attributes(message, LINK_HEADER, &LINK_ATTRIBUTES).into()),
            Self::Routes(filter) => filter.passes(message).then_some(message.into()),
        }
    }
}

impl RouteFilter {
    /// What the kernel does not look at, seen in a message before it is taken apart, which takes
    /// most of the time of a list.
    fn passes(&self, message: &[u8]) -> bool {
        // One that is cut short is the decoder's to refuse.
        let Some(header) = message.first_chunk::<ROUTE_HEADER>() else { return true };
        let (prefix_length, kind) = (header[1], header[7]);
        let is_direct = || {
            let mut attributes = NlasIterator::new(&message[ROUTE_HEADER..]).flatten();
            kind == libc::RTN_UNICAST && !attributes.any(|it| NEXT_HOPS.contains(&it.kind()))
        };
        !(self.default && prefix_length != 0 || self.indirect && is_direct())
    }
}

/// A message without the attributes that are of other kinds than these. One that cannot be read ends
/// it, as it would end the decoding.
fn with_attributes(message: &[u8], header: usize, kinds: &[u16]) -> Vec<u8> {
    let (header, mut rest) = message.split_at(header.min(message.len()));
    let mut picked = header.to_vec();
    while let Some(attribute) = rest.first_chunk::<ATTRIBUTE_HEADER>() {
        let length = usize::from(u16::from_ne_bytes([attribute[0], attribute[1]]));
        let kind = u16::from_ne_bytes([attribute[2], attribute[3]]) & KIND;
        let length = length.max(ATTRIBUTE_HEADER).next_multiple_of(ATTRIBUTE_HEADER);
        let (whole, after) = rest.split_at(length.min(rest.len()));
        if kinds.contains(&kind) {
            picked.extend_from_slice(whole);
        }
        rest = after;
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn attributes_are_picked_whole_and_in_order_whatever_stands_between() {
        let nested = 5 | (!KIND & 0x8000);
        let parts = [attribute(3, b"odd"), attribute(7, &[1; 9]), attribute(nested, &[2; 8])];
        let message = [vec![9; 12], parts.concat()].concat();
        let picked = with_attributes(&message, 12, &[3, 5]);
        assert_eq!(picked, [vec![9; 12], parts[0].clone(), parts[2].clone()].concat());
        assert_eq!(with_attributes(&message, 12, &[]), [9; 12]);
        // Cut anywhere, it is no more than was there.
        for end in 0..message.len() {
            let picked = with_attributes(&message[..end], 12, &[3, 5, 7]);
            assert!(message.starts_with(&picked[..picked.len().min(end)]));
            assert!(picked.len() <= end);
        }
        // A length of nothing does not go on for ever.
        assert_eq!(with_attributes(&[vec![9; 12], vec![0; 8]].concat(), 12, &[3]), [9; 12]);
    }

    #[test]
    fn routes_to_pods_are_passed_over_and_those_over_a_next_hop_are_not() {
        let route = |prefix_length: u8, kind: u8, attributes: &[u16]| {
            let mut message = vec![0; ROUTE_HEADER];
            (message[1], message[7]) = (prefix_length, kind);
            message.extend(attributes.iter().flat_map(|kind| attribute(*kind, &[1; 4])));
            message
        };
        let indirect = RouteFilter { indirect: true, ..RouteFilter::default() };
        let default = RouteFilter { default: true, ..RouteFilter::default() };
        let to_pod = route(32, libc::RTN_UNICAST, &[libc::RTA_DST, libc::RTA_OIF]);
        let over_node = route(26, libc::RTN_UNICAST, &[libc::RTA_DST, libc::RTA_GATEWAY]);
        let blackhole = route(26, libc::RTN_BLACKHOLE, &[libc::RTA_DST]);
        let to_world = route(0, libc::RTN_UNICAST, &[libc::RTA_OIF]);
        let all = [&to_pod, &over_node, &blackhole, &to_world];
        assert_eq!(all.map(|it| indirect.passes(it)), [false, true, true, false]);
        assert_eq!(all.map(|it| default.passes(it)), [false, false, false, true]);
        assert_eq!(all.map(|it| RouteFilter::default().passes(it)), [true; 4]);
        assert!(indirect.passes(&to_pod[..5]), "the decoder says what is wrong");
    }
}
