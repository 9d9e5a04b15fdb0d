// SPDX-License-Identifier: GPL-3.0-or-later
//! Takes a name below the cluster's domain apart, and finds what it stands for.

use std::net::{IpAddr, Ipv4Addr};

use super::Zone;
use super::objects::{Endpoint, Entry, Port, Service};
use crate::dns::config::PodNames;
use crate::dns::name::{Labels, Name};

/// An address that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) address: IpAddr,
    /// `None`: there is none to name.
    pub(super) port: Option<u16>,
    /// Labels before the cluster's domain in wire form; empty unless they were wanted.
    pub(super) target: Vec<u8>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Looked {
    /// No such name.
    Missing,
    /// The name is there, and says nothing.
    Empty,
    /// Addresses.
    Items(Vec<Item>),
    /// An alias.
    Alias(Name),
}

/// Labels that the longest name with a meaning has before the domain.
const MOST: usize = 6;

/// Which endpoints or ports of a service are asked for.
struct Wanted<'a> {
    endpoint: Option<&'a [u8]>,
    port: &'a [u8],
    protocol: &'a [u8],
}

impl Wanted<'_> {
    fn takes(&self, port: &Port) -> bool {
        let fits =
            |asked: &[u8], is: &str| asked.is_empty() || asked.eq_ignore_ascii_case(is.as_bytes());
        fits(self.port, &port.name) && fits(self.protocol, port.protocol.as_str())
    }
}

impl Zone {
    /// Looks up what stands before the domain. `targets`: whether their names are wanted.
    pub(super) fn look(&self, before: &[u8], targets: bool) -> Looked {
        let mut labels: [&[u8]; MOST] = [&[]; MOST];
        let mut count = 0;
        for label in Labels::of(before) {
            if count == MOST {
                return Looked::Missing;
            }
            labels[count] = label;
            count += 1;
        }
        let labels = &labels[..count];
        let Some((root, rest)) = labels.split_last() else { return Looked::Empty };
        let is_pod = root.eq_ignore_ascii_case(b"pod");
        if !is_pod && !root.eq_ignore_ascii_case(b"svc") {
            if let [b, a] = labels
                && b.eq_ignore_ascii_case(b"ns")
                && a.eq_ignore_ascii_case(b"dns")
            {
                return self.own_items(before, targets);
            }
            return Looked::Missing;
        }
        let Some((namespace, rest)) = rest.split_last() else { return Looked::Empty };
        if is_pod && self.settings.pods == PodNames::Disabled || !self.has_namespace(namespace) {
            return Looked::Missing;
        }
        let Some((name, rest)) = rest.split_last() else { return Looked::Empty };
        if is_pod {
            return if rest.len() > 2 {
                Looked::Missing
            } else {
                self.look_pod(name, namespace, targets)
            };
        }
        let nothing: &[u8] = &[];
        let mut wanted = Wanted { endpoint: None, port: nothing, protocol: nothing };
        let zonal;
        match rest {
            [] => zonal = None,
            [endpoint] => {
                wanted.endpoint = Some(endpoint);
                zonal = None;
            }
            [port, protocol] => {
                wanted.port = port.strip_prefix(b"_").unwrap_or(port);
                wanted.protocol = protocol.strip_prefix(b"_").unwrap_or(protocol);
                zonal = None;
            }
            [zone, how, mark] if self.settings.zonal && mark.eq_ignore_ascii_case(b"_zone") => {
                let pinned = how.eq_ignore_ascii_case(b"pin");
                if !pinned && !how.eq_ignore_ascii_case(b"prefer") {
                    return Looked::Missing;
                }
                zonal = Some((*zone, pinned));
            }
            _ => return Looked::Missing,
        }
        let Some(entry) = self.entry(name, namespace) else { return Looked::Missing };
        let Some(service) = &entry.service else { return Looked::Missing };
        let head = if targets { wire_of(&[name, namespace, b"svc"]) } else { Vec::new() };
        match service {
            Service::External(Some(target)) if wanted.endpoint.is_none() && zonal.is_none() => {
                // CoreDNS gives the alias for `_port._protocol` too, but sub-labels say nothing.
                if rest.is_empty() { Looked::Alias(target.clone()) } else { Looked::Missing }
            }
            Service::External(_) => Looked::Missing,
            Service::Cluster { .. }
                if self.settings.ignore_empty_service && !entry.has_endpoints() =>
            {
                Looked::Missing
            }
            Service::Cluster { addresses, ports } if wanted.endpoint.is_none() => {
                if zonal.is_some() {
                    return Looked::Missing;
                }
                let ports = ports.iter().filter(|port| wanted.takes(port));
                let items = ports.flat_map(|port| {
                    let target = &head;
                    addresses.iter().map(move |&address| Item {
                        address,
                        port: port.number,
                        target: target.clone(),
                    })
                });
                found(items.collect())
            }
            Service::Cluster { .. } | Service::Headless => {
                let all = |_: &Endpoint| true;
                let Some((zone, pinned)) = zonal else {
                    return found(self.endpoint_items(entry, &wanted, &head, all));
                };
                let near =
                    |endpoint: &Endpoint| zone.eq_ignore_ascii_case(endpoint.zone.as_bytes());
                let items = self.endpoint_items(entry, &wanted, &head, near);
                if items.is_empty() && !pinned {
                    return found(self.endpoint_items(entry, &wanted, &head, all));
                }
                found(items)
            }
        }
    }

    fn endpoint_items(
        &self,
        entry: &Entry,
        wanted: &Wanted<'_>,
        head: &[u8],
        takes: impl Fn(&Endpoint) -> bool,
    ) -> Vec<Item> {
        let pod_names = self.settings.endpoint_pod_names;
        let mut items = Vec::new();
        for slice in entry.slices() {
            for endpoint in slice.endpoints.iter().filter(|endpoint| takes(endpoint)) {
                for &address in &endpoint.addresses {
                    let mut target = Vec::new();
                    if wanted.endpoint.is_some() || !head.is_empty() {
                        let label = endpoint.label(address, pod_names);
                        let is = |asked: &[u8]| asked.eq_ignore_ascii_case(label.as_bytes());
                        if wanted.endpoint.is_some_and(|asked| !is(asked)) {
                            continue;
                        }
                        if !head.is_empty() {
                            target = wire_of(&[label.as_bytes()]);
                            target.extend_from_slice(head);
                        }
                    }
                    for port in slice.ports.iter().filter(|port| wanted.takes(port)) {
                        let item = Item { address, port: port.number, target: target.clone() };
                        items.push(item);
                    }
                }
            }
        }
        items
    }

    fn look_pod(&self, label: &[u8], namespace: &[u8], targets: bool) -> Looked {
        let Some(address) = address_of(label) else { return Looked::Missing };
        if self.settings.pods == PodNames::Verified {
            let namespaces = self.pod_addresses.get(&address).map_or(&[][..], Vec::as_slice);
            if !namespaces.iter().any(|known| namespace.eq_ignore_ascii_case(known)) {
                return Looked::Missing;
            }
        }
        let target = if targets { wire_of(&[label, namespace, b"pod"]) } else { Vec::new() };
        Looked::Items(vec![Item { address, port: Some(0), target }])
    }

    /// `ns.dns`.
    fn own_items(&self, before: &[u8], targets: bool) -> Looked {
        let items = self.settings.dns_addresses.iter().map(|&address| Item {
            address,
            port: Some(0),
            target: if targets { before.to_vec() } else { Vec::new() },
        });
        let items: Vec<Item> = items.collect();
        if items.is_empty() { Looked::Empty } else { Looked::Items(items) }
    }

    pub(super) fn has_namespace(&self, name: &[u8]) -> bool {
        let (mut buffer, length) = ([0u8; 64], name.len());
        buffer[..length].copy_from_slice(name);
        buffer[..length].make_ascii_lowercase();
        self.namespaces.contains_key(&buffer[..length])
    }

    /// The entry of a service, without allocating.
    pub(super) fn entry(&self, name: &[u8], namespace: &[u8]) -> Option<&Entry> {
        let mut buffer = [0u8; 128];
        let mut at = 0;
        for label in [name, namespace] {
            // Labels of names have at most 63 bytes.
            buffer[at] = label.len() as u8;
            buffer[at + 1..=at + label.len()].copy_from_slice(label);
            at += 1 + label.len();
        }
        buffer[..at].make_ascii_lowercase();
        self.entries.get(&buffer[..at]).map(|entry| &**entry)
    }
}

fn found(items: Vec<Item>) -> Looked {
    if items.is_empty() { Looked::Missing } else { Looked::Items(items) }
}

/// Labels in lower case and wire form, without the root.
pub(super) fn wire_of(labels: &[&[u8]]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(64);
    for label in labels {
        wire.push(label.len() as u8);
        wire.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    wire
}

/// The address that a pod's label is.
fn address_of(label: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(label).ok()?;
    if text.matches('-').count() == 3 && !text.contains("--") {
        return text.replace('-', ".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let address: IpAddr = text.replace('-', ":").parse().ok()?;
    Some(address.to_canonical())
}
