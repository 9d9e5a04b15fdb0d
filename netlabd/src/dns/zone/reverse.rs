// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of addresses: `7.0.43.10.in-addr.arpa.` and its like of IPv6 (RFC 1035 section 3.5,
//! RFC 3596 section 2.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::dns::name::{Labels, Name};

/// A name below `in-addr.arpa.` or `ip6.arpa.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reverse<'a> {
    /// The address, when all of it is there.
    pub(super) address: Option<IpAddr>,
    /// The addresses below the name: the first, and how many bits they share.
    first: IpAddr,
    bits: u8,
    /// Labels that are part of an address, from the right, and after those the suffix.
    labels: Vec<&'a [u8]>,
    suffix: [&'a [u8]; 2],
}

impl<'a> Reverse<'a> {
    /// Takes a name apart. `None` when it is not below one of the two.
    pub(super) fn of(name: &'a Name) -> Option<Reverse<'a>> {
        let mut labels: Vec<&[u8]> = Labels::of(name.wire()).collect();
        labels.reverse();
        let [arpa, kind, rest @ ..] = &labels[..] else { return None };
        if !arpa.eq_ignore_ascii_case(b"arpa") {
            return None;
        }
        let suffix = [*kind, *arpa];
        let (first, bits, used) = if kind.eq_ignore_ascii_case(b"in-addr") {
            let mut octets = [0; 4];
            let mut used = 0;
            for (octet, label) in octets.iter_mut().zip(rest) {
                *octet = decimal(label)?;
                used += 1;
            }
            (IpAddr::V4(Ipv4Addr::from(octets)), used * 8, used)
        } else if kind.eq_ignore_ascii_case(b"ip6") {
            let mut octets = [0; 16];
            let mut used = 0;
            for (place, label) in rest.iter().take(32).enumerate() {
                let [digit] = label else { return None };
                let digit = u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
                octets[place / 2] |= if place % 2 == 0 { digit << 4 } else { digit };
                used += 1;
            }
            (IpAddr::V6(Ipv6Addr::from(octets)), used * 4, used)
        } else {
            return None;
        };
        let whole = if first.is_ipv4() { 32 } else { 128 };
        // Below the name of a whole address there is nothing.
        let address = (bits == whole && used == rest.len()).then_some(first);
        let bits = u8::try_from(bits).expect("at most 128");
        Some(Reverse { address, first, bits, labels: rest.to_vec(), suffix })
    }

    /// The zone of a network in which this name is, if it is in one of these: the labels that all
    /// addresses of the network share, rounded up to whole ones.
    pub(super) fn apex(&self, networks: &[IpNet]) -> Option<Apex> {
        networks.iter().find_map(|network| {
            let step = if self.first.is_ipv4() { 8 } else { 4 };
            let count = usize::from(network.prefix_len().div_ceil(step));
            let is_inside = network.contains(&self.first)
                && self.labels.len() >= count
                && usize::from(self.bits / step) >= count;
            is_inside.then(|| {
                let own = self.labels[..count].iter().rev().chain(&self.suffix);
                let name = Name::from_labels(own.copied()).expect("part of a name is one");
                Apex { name, is_asked: self.labels.len() == count }
            })
        })
    }

    /// Whether there may be names below: not all of an address is there.
    pub(super) fn is_branch(&self) -> bool {
        let whole = if self.first.is_ipv4() { 4 } else { 32 };
        self.labels.len() < whole
    }
}

/// Where a zone of addresses starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Apex {
    /// In the case in which it was asked.
    pub(super) name: Name,
    /// Whether this very name was asked.
    pub(super) is_asked: bool,
}

/// An octet as it is written: no zeros before it.
fn decimal(label: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(label).ok()?;
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_plain)
}

/// The name of an address.
pub(super) fn name_of(address: IpAddr) -> Name {
    let text = match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        IpAddr::V6(address) => {
            let digits =
                address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            let labels: String = digits.map(|digit| format!("{digit:x}.")).collect();
            format!("{labels}ip6.arpa.")
        }
    };
    text.parse().expect("digits and dots make a name")
}
