// SPDX-License-Identifier: GPL-3.0-or-later
//! Names of addresses: `in-addr.arpa` and `ip6.arpa`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Zone;
use super::answer::{asked_zone, below, positive};
use crate::dns::name::{Labels, Name};
use crate::dns::record::{Found, Owner, Question, Rcode, RecordData, RecordType};

/// The beginning of an address, as a reverse name has it.
struct Part {
    address: IpAddr,
    /// Bits that the name gives.
    bits: u8,
    /// Whether the name goes on below a whole address, or with what is no digit.
    beyond: bool,
}

impl Zone {
    pub(super) fn answer_reverse(&self, question: &Question) -> Found {
        let Some(part) = read(&question.name) else { return Found::Elsewhere };
        let whole = if part.address.is_ipv4() { 32 } else { 128 };
        let is_whole = part.bits == whole && !part.beyond;
        let names = if is_whole { self.names_of(part.address) } else { Vec::new() };
        if question.kind == RecordType::PTR && !names.is_empty() {
            let records = names
                .into_iter()
                .map(|name| self.record(Owner::Asked, RecordData::Ptr(name)))
                .collect();
            return Found::Answer(positive(records, Vec::new()));
        }
        let Some(bits) = self.reverse_zone(&part) else { return Found::Elsewhere };
        let mut at = question.name.wire();
        let step: u8 = if whole == 32 { 8 } else { 4 };
        let labels = usize::from(bits / step) + 2;
        while Labels::of(at).count() > labels {
            at = &at[1 + usize::from(at[0])..];
        }
        let Ok(zone) = Name::from_wire(at) else { return Found::Elsewhere };
        let zone = asked_zone(&question.name, &zone);
        if part.bits == bits && !part.beyond && question.name == zone {
            return Found::Answer(self.answer_apex(&zone, question.kind));
        }
        if !names.is_empty() || part.bits < whole && !part.beyond {
            return Found::Answer(self.negative(Rcode::NOERROR, &zone));
        }
        self.missing(&question.name, &zone)
    }

    /// Bits of the zone that the name is in: one of our networks, cut where labels are.
    fn reverse_zone(&self, part: &Part) -> Option<u8> {
        let step = if part.address.is_ipv4() { 8 } else { 4 };
        let zones = self.settings.reverse.iter().filter_map(|network: &IpNet| {
            let bits = network.prefix_len().div_ceil(step) * step;
            (bits <= part.bits && network.contains(&part.address)).then_some(bits)
        });
        zones.max()
    }

    /// The names of an address: the service's whose it is, or those of endpoints that have it.
    fn names_of(&self, address: IpAddr) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        let Some(holders) = self.addresses.get(&address) else { return names };
        let mut last: Option<&[u8]> = None;
        for holder in holders {
            let service = &*holder.service;
            if !holder.is_endpoint {
                let wire = [service, b"\x03svc"].concat();
                return below(&wire, &self.settings.domain).into_iter().collect();
            }
            if last.replace(service) == Some(service) {
                continue;
            }
            let Some(entry) = self.entries.get(service) else { continue };
            for endpoint in entry.slices().flat_map(|slice| slice.endpoints.iter()) {
                if endpoint.addresses.contains(&address)
                    && let Some(name) = self.endpoint_name(endpoint, address, service)
                    && !names.contains(&name)
                {
                    names.push(name);
                }
            }
        }
        names
    }
}

/// Reads a reverse name; `None` when it is none, or only `in-addr.arpa` itself.
fn read(name: &Name) -> Option<Part> {
    // A name has at most 127 labels.
    let mut labels: [&[u8]; 128] = [&[]; 128];
    let mut count = 0;
    for label in name.labels() {
        labels[count] = label;
        count += 1;
    }
    let [rest @ .., family, arpa] = &labels[..count] else { return None };
    if !arpa.eq_ignore_ascii_case(b"arpa") || rest.is_empty() {
        return None;
    }
    if family.eq_ignore_ascii_case(b"in-addr") {
        let (mut octets, mut at) = ([0u8; 4], 0);
        for label in rest.iter().rev().take(4) {
            let Some(octet) = decimal(label) else { break };
            octets[at] = octet;
            at += 1;
        }
        let address = IpAddr::V4(Ipv4Addr::from(octets));
        return Some(Part { address, bits: 8 * at as u8, beyond: at < rest.len() });
    }
    if !family.eq_ignore_ascii_case(b"ip6") {
        return None;
    }
    let (mut value, mut at) = (0u128, 0u8);
    for label in rest.iter().rev().take(32) {
        let [digit] = label else { break };
        let Some(digit) = char::from(*digit).to_digit(16) else { break };
        value |= u128::from(digit) << (124 - 4 * u32::from(at));
        at += 1;
    }
    let address = IpAddr::V6(Ipv6Addr::from(value));
    Some(Part { address, bits: 4 * at, beyond: usize::from(at) < rest.len() })
}

/// An octet without zeros before it.
fn decimal(label: &[u8]) -> Option<u8> {
    if label.len() > 3
        || !label.iter().all(u8::is_ascii_digit)
        || label.len() > 1 && label[0] == b'0'
    {
        return None;
    }
    std::str::from_utf8(label).ok()?.parse().ok()
}
