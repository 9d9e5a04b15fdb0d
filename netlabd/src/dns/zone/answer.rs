// SPDX-License-Identifier: GPL-3.0-or-later
//! From a question to records.

use std::net::IpAddr;

use super::entry::{EndpointFacts, Entry, Kind, Label, PortFacts, ServiceFacts, undashed};
use super::place::{Part, Place};
use super::records::{Records, Seen};
use super::reverse::{Apex, Reverse};
use super::{Key, Outcome, Zone};
use crate::dns::config::PodNames;
use crate::dns::message::{Section, Sink};
use crate::dns::name::{Labels, Name};
use crate::dns::record::{Owner, Question, Rcode, Record, RecordData, RecordType};

/// Version of the specification that names follow.
pub(super) const VERSION: &str = "1.1.0";

/// Seconds for which the version may be remembered.
pub(super) const VERSION_TTL: u32 = 28_800;

/// The longest life of an SOA in an answer, as in CoreDNS.
const MOST_SOA_TTL: u32 = 300;

/// Timers of the SOA, as in CoreDNS.
const REFRESH: u32 = 7200;
const RETRY: u32 = 1800;
const EXPIRE: u32 = 86_400;

/// Aliases that are followed inside the zone, as in CoreDNS.
const MOST_ALIASES: usize = 8;

/// Whether there is such a name, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exists {
    Yes,
    No,
}

impl Zone {
    /// Leads a question through the zone, and on along aliases.
    pub(super) fn lead(&self, question: &Question, sink: &mut impl Sink) -> Outcome {
        let Question { name, kind } = question;
        let Some(before) = name.strip_suffix(&self.settings.domain) else {
            return self.lead_back(name, *kind, sink);
        };
        let place = Place::of(before, self.settings.zonal);
        let service = self.service_at(place);
        if let Some(target) = alias_at(place, service) {
            // CoreDNS says nothing of other types, although those of the target would do (RFC 1034
            // section 3.6.2).
            let follows = [RecordType::A, RecordType::AAAA, RecordType::CNAME, RecordType::TXT];
            return match follows.contains(kind) {
                true => self.follow(question, target, sink),
                false => self.conclude(name, Exists::Yes, 0, sink),
            };
        }
        let records = &mut Records { sink, owner: Owner::Asked, count: 0 };
        let exists = self.records_at(place, service, name, *kind, records);
        let count = records.count;
        self.conclude(name, exists, count, sink)
    }

    /// What an answer ends with.
    fn conclude(&self, name: &Name, exists: Exists, count: usize, sink: &mut impl Sink) -> Outcome {
        let mut outcome = Outcome::Done;
        if exists == Exists::No {
            if self.settings.fallthrough.iter().any(|zone| name.is_within(zone)) {
                return Outcome::Elsewhere;
            }
            // What is not known yet is not known to be missing.
            if self.is_synced() {
                sink.code(Rcode::NXDOMAIN);
            } else {
                sink.code(Rcode::SERVFAIL);
                outcome = Outcome::Unsynced;
            }
        }
        if count == 0 {
            self.add_soa(Section::Authority, self.zone_of(name), sink);
        }
        outcome
    }

    /// The service that a place is of.
    fn service_at(&self, place: Place<'_>) -> Option<Found<'_>> {
        let Place::Service { namespace, service, .. } = place else { return None };
        let entry = self.entry(namespace, service)?;
        Some(Found { key: &entry.key, entry, facts: entry.service.as_ref()? })
    }

    /// An alias, and what the name says that it leads to. As in CoreDNS, one that leads to nothing in
    /// the zone is itself left out: a service whose target has no such record has none either.
    fn follow(&self, question: &Question, first: &Name, sink: &mut impl Sink) -> Outcome {
        let Question { name, kind } = question;
        if *kind == RecordType::CNAME {
            let data = RecordData::Cname(first.clone());
            let record = Record { owner: Owner::Asked, ttl: self.settings.ttl, data };
            sink.add(Section::Answer, record);
            return Outcome::Done;
        }
        let mut targets = vec![first.clone()];
        let end = loop {
            let target = targets.last().unwrap_or(first);
            let Some(before) = target.strip_suffix(&self.settings.domain) else { break None };
            let place = Place::of(before, self.settings.zonal);
            let service = self.service_at(place);
            let Some(next) = alias_at(place, service) else { break Some((place, service)) };
            let is_ring = *next == *name || targets.contains(next);
            if is_ring || targets.len() == MOST_ALIASES {
                return self.conclude(name, Exists::Yes, 0, sink);
            }
            targets.push(next.clone());
        };
        let last = targets.last().unwrap_or(first);
        if let Some((place, service)) = end {
            let mut nothing = Nothing;
            let counted = &mut Records { sink: &mut nothing, owner: Owner::Asked, count: 0 };
            let exists = self.records_at(place, service, last, *kind, counted);
            if counted.count == 0 {
                let is_there = exists == Exists::Yes || self.is_synced();
                let exists = if is_there { Exists::Yes } else { Exists::No };
                return self.conclude(name, exists, 0, sink);
            }
        }
        let mut owner = Owner::Asked;
        for target in &targets {
            let data = RecordData::Cname(target.clone());
            sink.add(Section::Answer, Record { owner, ttl: self.settings.ttl, data });
            owner = Owner::Name(target.clone());
        }
        match end {
            Some((place, service)) => {
                let records = &mut Records { sink, owner, count: 0 };
                self.records_at(place, service, last, *kind, records);
                Outcome::Done
            }
            None => Outcome::Alias(last.clone()),
        }
    }

    /// The records of a type at a place, and whether there is such a name.
    fn records_at<S: Sink>(
        &self,
        place: Place<'_>,
        service: Option<Found<'_>>,
        name: &Name,
        kind: RecordType,
        records: &mut Records<'_, S>,
    ) -> Exists {
        let ttl = self.settings.ttl;
        match place {
            Place::Apex => {
                let apex = name.clone();
                match kind {
                    RecordType::SOA => {
                        records.count += 1;
                        self.add_soa(Section::Answer, Some(apex), records.sink);
                    }
                    RecordType::NS => self.name_servers(&apex, records),
                    _ => {}
                }
                Exists::Yes
            }
            Place::Version => {
                if kind == RecordType::TXT {
                    records.add(VERSION_TTL, RecordData::Txt(vec![VERSION.into()]));
                }
                Exists::Yes
            }
            Place::Server => {
                for address in &self.settings.dns_addresses {
                    records.address(kind, ttl, *address);
                }
                Exists::Yes
            }
            Place::Branch => Exists::Yes,
            Place::ServicesOf(namespace) => {
                if self.has_namespace(namespace) {
                    Exists::Yes
                } else {
                    Exists::No
                }
            }
            Place::PodsOf(namespace) => {
                let pods = self.settings.pods != PodNames::Disabled;
                if pods && self.has_namespace(namespace) { Exists::Yes } else { Exists::No }
            }
            Place::Pod { namespace, pod } => match self.pod(namespace, pod) {
                Some(address) => {
                    records.address(kind, ttl, address);
                    Exists::Yes
                }
                None => Exists::No,
            },
            Place::Service { part, .. } => match service {
                Some(found) => self.of_service(found, part, name, kind, records),
                None => Exists::No,
            },
            Place::Nothing => Exists::No,
        }
    }

    /// The address that the name of a pod means, if there is such a name.
    fn pod(&self, namespace: &[u8], pod: &[u8]) -> Option<IpAddr> {
        let address = undashed(pod)?;
        let exists = match self.settings.pods {
            PodNames::Disabled => false,
            PodNames::Insecure => self.has_namespace(namespace),
            PodNames::Verified => {
                let namespace = namespace.to_ascii_lowercase().into();
                self.pod_addresses.contains_key(&(namespace, address))
            }
        };
        exists.then_some(address)
    }

    fn of_service<S: Sink>(
        &self,
        found: Found<'_>,
        part: Part<'_>,
        name: &Name,
        kind: RecordType,
        records: &mut Records<'_, S>,
    ) -> Exists {
        let Found { entry, facts, .. } = found;
        let is_empty = || entry.endpoints().next().is_none();
        match (facts.kind, part) {
            // The name of an alias that is none.
            (Kind::External, _) => return Exists::No,
            (Kind::Cluster, _) if self.settings.ignore_empty_service && is_empty() => {
                return Exists::No;
            }
            (Kind::Headless, Part::Whole | Part::ZoneBranch | Part::InZone { .. })
                if is_empty() =>
            {
                return Exists::No;
            }
            (Kind::Headless, Part::ZoneBranch) => return Exists::Yes,
            (Kind::Cluster, Part::InZone { .. } | Part::ZoneBranch) => return Exists::No,
            _ => {}
        }
        let ports = |port: &PortFacts| match part {
            Part::Port { port: name, protocol } => port.is(name, protocol),
            _ => true,
        };
        // Names of protocols have those of ports below.
        if let Part::Endpoint(label) = part
            && let Some(protocol) = label.strip_prefix(b"_")
        {
            let is_branch = |port: &PortFacts| {
                !port.name.is_empty() && port.protocol.eq_ignore_ascii_case(protocol)
            };
            let has = match facts.kind {
                Kind::Headless => {
                    entry.endpoints().any(|(slice, _)| slice.ports.iter().any(is_branch))
                }
                _ => facts.ports.iter().any(is_branch),
            };
            return if has { Exists::Yes } else { Exists::No };
        }
        if facts.kind == Kind::Cluster && !matches!(part, Part::Endpoint(_)) {
            return self.of_cluster_ips(
                found,
                ports,
                matches!(part, Part::Port { .. }),
                name,
                kind,
                records,
            );
        }
        let label = match part {
            Part::Endpoint(label) => Some(Label::of(label)),
            _ => None,
        };
        let pod_names = self.settings.endpoint_pod_names;
        let in_zone = |endpoint: &EndpointFacts, zone: &[u8]| {
            endpoint.zone().is_some_and(|own| is_spelt(own, zone))
        };
        let zone = match part {
            // Without endpoints there, those of all zones are preferred.
            Part::InZone { zone, only } => {
                let any = entry.endpoints().any(|(_, endpoint)| in_zone(endpoint, zone));
                (only || any).then_some(zone)
            }
            _ => None,
        };
        let wanted = |endpoint: &EndpointFacts| match label {
            Some(label) => endpoint.is_called(label, pod_names),
            None => zone.is_none_or(|zone| in_zone(endpoint, zone)),
        };
        let by_port = matches!(part, Part::Port { .. });
        let exists = self.of_endpoints(found, wanted, ports, by_port, name, kind, records);
        // As in CoreDNS, any zone may be asked for: one without endpoints has no data.
        if matches!(part, Part::InZone { .. }) { Exists::Yes } else { exists }
    }

    /// Records of a service with addresses of its own.
    fn of_cluster_ips<S: Sink>(
        &self,
        found: Found<'_>,
        wanted: impl Fn(&PortFacts) -> bool,
        by_port: bool,
        name: &Name,
        kind: RecordType,
        records: &mut Records<'_, S>,
    ) -> Exists {
        let Found { facts, .. } = found;
        let ports = || facts.ports.iter().filter(|port| wanted(port));
        if by_port && ports().next().is_none() {
            return Exists::No;
        }
        let ttl = self.settings.ttl;
        match kind {
            RecordType::A | RecordType::AAAA => {
                facts.cluster_ips.iter().for_each(|ip| records.address(kind, ttl, ip));
            }
            RecordType::SRV => {
                let target = self.name_below(name, found.key, None);
                let count = ports().count();
                let weight = weight(count * facts.cluster_ips.iter().count());
                for (place, port) in ports().enumerate() {
                    // One record says it for all protocols of a port.
                    if ports().take(place).all(|before| before.port != port.port) {
                        records.srv(ttl, weight, port.port, target.clone());
                    }
                }
                if count > 0 {
                    for address in facts.cluster_ips.iter() {
                        records.additional(ttl, target.clone(), address);
                    }
                }
            }
            _ => {}
        }
        Exists::Yes
    }

    /// Records of endpoints: of those that are wanted, with the ports that are.
    #[expect(clippy::too_many_arguments, reason = "two filters, and where the records go")]
    fn of_endpoints<S: Sink>(
        &self,
        found: Found<'_>,
        wanted: impl Fn(&EndpointFacts) -> bool,
        ports: impl Fn(&PortFacts) -> bool,
        by_port: bool,
        name: &Name,
        kind: RecordType,
        records: &mut Records<'_, S>,
    ) -> Exists {
        let Found { key, entry, .. } = found;
        let ttl = self.settings.ttl;
        let all = || {
            entry.endpoints().filter(|(slice, endpoint)| {
                wanted(endpoint) && (!by_port || slice.ports.iter().any(&ports))
            })
        };
        if all().next().is_none() {
            return Exists::No;
        }
        match kind {
            RecordType::A | RecordType::AAAA => {
                let mut seen = Seen::default();
                for (_, endpoint) in all() {
                    if seen.is_new(endpoint.address) {
                        records.address(kind, ttl, endpoint.address);
                    }
                }
            }
            RecordType::SRV => {
                // As in CoreDNS: each address counts with each of its ports, an endpoint without
                // ports once.
                let of_slice = |count: usize, wanted: usize| count + wanted.max(1);
                let count = all()
                    .map(|(slice, _)| slice.ports.iter().filter(|port| ports(port)).count())
                    .fold(0, of_slice);
                let weight = weight(count);
                let mut served = Vec::new();
                let mut told = std::collections::HashSet::new();
                for (slice, endpoint) in all() {
                    let label = endpoint.label(self.settings.endpoint_pod_names);
                    let target = self.name_below(name, key, Some(&label));
                    let mut has_port = false;
                    for port in slice.ports.iter().filter(|port| ports(port)) {
                        has_port = true;
                        if told.insert((label.clone(), port.port)) {
                            records.srv(ttl, weight, port.port, target.clone());
                        }
                    }
                    if has_port {
                        served.push((target, endpoint.address));
                    }
                }
                let mut seen = std::collections::HashSet::new();
                for (target, address) in served {
                    if seen.insert((target.clone(), address)) {
                        records.additional(ttl, target, address);
                    }
                }
            }
            _ => {}
        }
        Exists::Yes
    }

    fn name_servers<S: Sink>(&self, apex: &Name, records: &mut Records<'_, S>) {
        let Some(server) = below(apex, &[b"ns", b"dns"]) else { return };
        records.add(self.settings.ttl, RecordData::Ns(server.clone()));
        for address in &self.settings.dns_addresses {
            records.additional(self.settings.ttl, server.clone(), *address);
        }
    }

    /// Leads a question for the name of an address.
    fn lead_back(&self, name: &Name, kind: RecordType, sink: &mut impl Sink) -> Outcome {
        let Some(reverse) = Reverse::of(name) else { return Outcome::Elsewhere };
        let holders = reverse.address.and_then(|address| self.names_of(address));
        let apex = reverse.apex(&self.settings.reverse);
        let records = &mut Records { sink, owner: Owner::Asked, count: 0 };
        let exists = match (holders, &apex) {
            (None, None) => return Outcome::Elsewhere,
            (Some(names), _) => {
                if kind == RecordType::PTR {
                    for name in names {
                        records.add(self.settings.ttl, RecordData::Ptr(name));
                    }
                }
                Exists::Yes
            }
            (None, Some(Apex { name: apex, is_asked: true })) => {
                match kind {
                    RecordType::SOA => {
                        records.count += 1;
                        self.add_soa(Section::Answer, Some(apex.clone()), records.sink);
                    }
                    RecordType::NS => {
                        // The name server is in the cluster's domain, not below an address.
                        let domain = &self.settings.domain;
                        if let Some(server) = below(domain, &[b"ns", b"dns"]) {
                            records.add(self.settings.ttl, RecordData::Ns(server.clone()));
                            for address in &self.settings.dns_addresses {
                                records.additional(self.settings.ttl, server.clone(), *address);
                            }
                        }
                    }
                    _ => {}
                }
                Exists::Yes
            }
            // Below it there may be names.
            (None, Some(_)) if reverse.is_branch() => Exists::Yes,
            (None, Some(_)) => Exists::No,
        };
        let count = records.count;
        self.conclude(name, exists, count, sink)
    }

    /// The names of an address: of the service whose own it is, or else of each endpoint that has
    /// it.
    fn names_of(&self, address: IpAddr) -> Option<Vec<Name>> {
        let domain = &self.settings.domain;
        let holders = || self.holders.of(address);
        let entries = || holders().filter_map(|key| Some((key, self.entries.get(&**key)?)));
        let own = entries().find(|(_, entry)| {
            entry.service.as_ref().is_some_and(|facts| facts.cluster_ips.contains(address))
        });
        if let Some((key, _)) = own {
            return Some(vec![service_name(domain, key, None)]);
        }
        let mut names = Vec::new();
        for (key, entry) in entries().filter(|(_, entry)| entry.service.is_some()) {
            for (_, endpoint) in entry.endpoints().filter(|(_, it)| it.address == address) {
                let label = endpoint.label(self.settings.endpoint_pod_names);
                let name = service_name(domain, key, Some(&label));
                // While a slice is replaced, two have the same.
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        (!names.is_empty()).then_some(names)
    }

    /// A service's name, or a name below it, with the domain in the case in which it was asked.
    fn name_below(&self, asked: &Name, key: &Key, label: Option<&[u8]>) -> Name {
        let domain = self.zone_of(asked);
        service_name(domain.as_ref().unwrap_or(&self.settings.domain), key, label)
    }

    /// The zone that a name is in, in the case in which it was asked.
    fn zone_of(&self, name: &Name) -> Option<Name> {
        match name.strip_suffix(&self.settings.domain) {
            Some(before) => Name::from_wire(&name.wire()[before.len()..]).ok(),
            None => {
                let apex = Reverse::of(name)?.apex(&self.settings.reverse);
                Some(apex.map_or_else(|| name.clone(), |apex| apex.name))
            }
        }
    }

    fn add_soa(&self, section: Section, zone: Option<Name>, sink: &mut impl Sink) {
        let zone = zone.unwrap_or_else(|| self.settings.domain.clone());
        let record = self.soa(zone);
        sink.add(section, record);
    }

    /// The SOA of a zone.
    pub(super) fn soa(&self, zone: Name) -> Record {
        // A reverse zone whose name is nearly as long as a name can be has no names below.
        let primary = below(&zone, &[b"ns", b"dns"]).unwrap_or_else(|| zone.clone());
        let mailbox = below(&zone, &[b"hostmaster"]).unwrap_or_else(|| zone.clone());
        let data = RecordData::Soa {
            primary,
            mailbox,
            serial: self.serial,
            refresh: REFRESH,
            retry: RETRY,
            expire: EXPIRE,
            minimum: self.settings.ttl,
        };
        let ttl = self.settings.ttl.min(MOST_SOA_TTL);
        Record { owner: Owner::Name(zone), ttl, data }
    }
}

/// Where the alias leads that is at a place of a service.
fn alias_at<'a>(place: Place<'_>, service: Option<Found<'a>>) -> Option<&'a Name> {
    match place {
        Place::Service { part: Part::Whole, .. } => service?.facts.alias.as_ref(),
        _ => None,
    }
}

/// A service that was found.
#[derive(Clone, Copy)]
struct Found<'a> {
    key: &'a Key,
    entry: &'a Entry,
    facts: &'a ServiceFacts,
}

/// Where records go of which only the number matters.
struct Nothing;

impl Sink for Nothing {
    fn code(&mut self, _: Rcode) {}

    fn add(&mut self, _: Section, _: Record) {}
}

/// Whether labels in wire form are what a text has between its dots.
fn is_spelt(text: &[u8], wire: &[u8]) -> bool {
    let mut labels = Labels::of(wire);
    text.split(|byte| *byte == b'.')
        .all(|part| labels.next().is_some_and(|label| label.eq_ignore_ascii_case(part)))
        && labels.next().is_none()
}

/// The share of each of so many, of 100 and at least 1, as in CoreDNS.
fn weight(count: usize) -> u16 {
    u16::try_from(100 / count.max(1)).unwrap_or(1).max(1)
}

/// Labels before a zone's name.
fn below(zone: &Name, labels: &[&[u8]]) -> Option<Name> {
    Name::from_labels(labels.iter().copied().chain(zone.labels())).ok()
}

/// The name of a service, or of a label below it.
pub(super) fn service_name(domain: &Name, key: &[u8], label: Option<&[u8]>) -> Name {
    let dot = key.iter().position(|byte| *byte == b'.').unwrap_or_default();
    let (namespace, service) = (&key[..dot], &key[dot + 1..]);
    let own = [service, namespace, b"svc"];
    let labels = label.into_iter().chain(own).chain(domain.labels());
    // Names of objects are labels; a domain that leaves no room for them is the user's.
    Name::from_labels(labels).unwrap_or_else(|_| domain.clone())
}
