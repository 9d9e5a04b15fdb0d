// SPDX-License-Identifier: GPL-3.0-or-later
//! Makes answers of what names stand for.

use std::collections::HashSet;
use std::net::IpAddr;

use super::lookup::{Item, Looked};
use super::{Zone, objects};
use crate::dns::name::Name;
use crate::dns::record::{Answer, Found, Owner, Question, Rcode, Record, RecordData, RecordType};

/// Version of the specification that names follow.
const SCHEMA: &[u8] = b"1.1.0";

/// Seconds for which that may be remembered.
const SCHEMA_TTL: u32 = 28_800;

/// Aliases that are followed; CoreDNS gives up after as many.
const ALIASES: usize = 8;

/// Seconds for which a SOA may be remembered at most.
const SOA_TTL: u32 = 300;

/// The end of a name, as long as `zone`, in the case in which it was asked.
pub(super) fn asked_zone(asked: &Name, zone: &Name) -> Name {
    let at = asked.wire().len() - zone.wire().len();
    Name::from_wire(&asked.wire()[at..]).expect("the zone was found at a label")
}

/// Labels in wire form before a zone. `None` when that is too long.
pub(super) fn below(before: &[u8], zone: &Name) -> Option<Name> {
    Name::from_wire(&[before, zone.wire()].concat()).ok()
}

impl Zone {
    /// Answers a question.
    pub fn answer(&self, question: &Question) -> Found {
        match question.name.strip_suffix(&self.settings.domain) {
            Some(before) => self.answer_below(before, question),
            None => self.answer_reverse(question),
        }
    }

    fn answer_below(&self, before: &[u8], question: &Question) -> Found {
        let zone = asked_zone(&question.name, &self.settings.domain);
        if before.is_empty() {
            return Found::Answer(self.answer_apex(&zone, question.kind));
        }
        let looked = self.look(before, question.kind == RecordType::SRV);
        match (question.kind, looked) {
            (RecordType::TXT, _) if before.eq_ignore_ascii_case(b"\x0bdns-version") => {
                let data = RecordData::Txt(vec![SCHEMA.to_vec()]);
                let record = Record { owner: Owner::Asked, ttl: SCHEMA_TTL, data };
                Found::Answer(positive(vec![record], Vec::new()))
            }
            (_, Looked::Missing) => self.missing(&question.name, &zone),
            (RecordType::A | RecordType::AAAA, Looked::Items(items)) => {
                let wants_v4 = question.kind == RecordType::A;
                Found::Answer(self.addresses(&zone, &items, wants_v4, &Owner::Asked))
            }
            (RecordType::SRV, Looked::Items(items)) => {
                let (records, additional) = self.services(&zone, &items);
                Found::Answer(self.or_empty(&zone, records, additional))
            }
            (RecordType::CNAME, Looked::Alias(target)) => {
                let record = self.record(Owner::Asked, RecordData::Cname(target));
                Found::Answer(positive(vec![record], Vec::new()))
            }
            (RecordType::A | RecordType::AAAA | RecordType::TXT, Looked::Alias(target)) => {
                self.follow(&zone, question, target)
            }
            (_, Looked::Empty | Looked::Items(_) | Looked::Alias(_)) => {
                Found::Answer(self.negative(Rcode::NOERROR, &zone))
            }
        }
    }

    /// The zone's own name: whose it is.
    pub(super) fn answer_apex(&self, zone: &Name, kind: RecordType) -> Answer {
        match kind {
            RecordType::SOA => {
                let soa = Record { owner: Owner::Asked, ..self.soa(zone) };
                positive(vec![soa], Vec::new())
            }
            RecordType::NS => {
                let Some(server) = below(b"\x02ns\x03dns", zone) else {
                    return self.negative(Rcode::NOERROR, zone);
                };
                let glue = self.settings.dns_addresses.iter();
                let glue: Vec<Record> = glue
                    .map(|&ip| self.record(Owner::Name(server.clone()), address_data(ip)))
                    .collect();
                if glue.is_empty() {
                    return self.negative(Rcode::NOERROR, zone);
                }
                positive(vec![self.record(Owner::Asked, RecordData::Ns(server))], glue)
            }
            _ => self.negative(Rcode::NOERROR, zone),
        }
    }

    /// Follows an alias as long as it stays here.
    fn follow(&self, zone: &Name, question: &Question, target: Name) -> Found {
        let (mut owner, mut name, mut target) = (Owner::Asked, question.name.clone(), target);
        let mut chain: Vec<Record> = Vec::new();
        let nothing = || Found::Answer(self.negative(Rcode::NOERROR, zone));
        loop {
            let is_loop =
                chain.iter().any(|record| record.data == RecordData::Cname(target.clone()));
            if target.is_within(&name) || is_loop || chain.len() == ALIASES {
                return nothing();
            }
            chain.push(self.record(owner, RecordData::Cname(target.clone())));
            let Some(before) = target.strip_suffix(&self.settings.domain) else {
                return Found::Alias { chain, target };
            };
            owner = Owner::Name(target.clone());
            match self.look(before, false) {
                Looked::Alias(next) => {
                    name = std::mem::replace(&mut target, next);
                }
                Looked::Items(items) if question.kind != RecordType::TXT => {
                    let wants_v4 = question.kind == RecordType::A;
                    let last = self.addresses(zone, &items, wants_v4, &owner);
                    if last.answer.is_empty() {
                        return nothing();
                    }
                    chain.extend(last.answer);
                    return Found::Answer(positive(chain, Vec::new()));
                }
                Looked::Missing | Looked::Empty | Looked::Items(_) => return nothing(),
            }
        }
    }

    /// A or AAAA, each address once.
    fn addresses(&self, zone: &Name, items: &[Item], wants_v4: bool, owner: &Owner) -> Answer {
        let mut seen = HashSet::new();
        let of_family = items.iter().filter(|item| item.address.is_ipv4() == wants_v4);
        let records = of_family
            .filter(|item| seen.insert(item.address))
            .map(|item| self.record(owner.clone(), address_data(item.address)))
            .collect();
        self.or_empty(zone, records, Vec::new())
    }

    /// SRV, and the addresses of those whom they name.
    fn services(&self, zone: &Name, items: &[Item]) -> (Vec<Record>, Vec<Record>) {
        // All have their part, also those that turn out to be the same.
        let weight = (100 / items.len().max(1)).max(1) as u16;
        let (mut ports, mut hosts) = (HashSet::new(), HashSet::new());
        let (mut records, mut additional) = (Vec::new(), Vec::new());
        for item in items {
            let Some(port) = item.port else { continue };
            let Some(target) = below(&item.target, zone) else { continue };
            if ports.insert((target.clone(), port)) {
                let target = target.clone();
                let data = RecordData::Srv { priority: 0, weight, port, target };
                records.push(self.record(Owner::Asked, data));
            }
            if hosts.insert((target.clone(), item.address)) {
                additional.push(self.record(Owner::Name(target), address_data(item.address)));
            }
        }
        (records, additional)
    }

    pub(super) fn record(&self, owner: Owner, data: RecordData) -> Record {
        Record { owner, ttl: self.settings.ttl, data }
    }

    fn or_empty(&self, zone: &Name, records: Vec<Record>, additional: Vec<Record>) -> Answer {
        if records.is_empty() {
            return self.negative(Rcode::NOERROR, zone);
        }
        positive(records, additional)
    }

    /// There is no such name, as far as is known.
    pub(super) fn missing(&self, name: &Name, zone: &Name) -> Found {
        if self.settings.fallthrough.iter().any(|through| name.is_within(through)) {
            return Found::Elsewhere;
        }
        let rcode = if self.synced { Rcode::NXDOMAIN } else { Rcode::SERVFAIL };
        Found::Answer(self.negative(rcode, zone))
    }

    pub(super) fn negative(&self, rcode: Rcode, zone: &Name) -> Answer {
        Answer { authority: vec![self.soa(zone)], ..Answer::of(rcode) }
    }

    /// The start of a zone.
    pub(super) fn soa(&self, zone: &Name) -> Record {
        let within = |labels: &[u8]| below(labels, zone).unwrap_or_else(|| zone.clone());
        let data = RecordData::Soa {
            primary: within(b"\x02ns\x03dns"),
            mailbox: within(b"\x0ahostmaster"),
            serial: self.serial,
            refresh: 7200,
            retry: 1800,
            expire: 86_400,
            minimum: self.settings.ttl,
        };
        Record { owner: Owner::Name(zone.clone()), ttl: self.settings.ttl.min(SOA_TTL), data }
    }

    /// `dns-version`, for lists of all records.
    pub(super) fn schema(&self) -> Option<Record> {
        let owner = Owner::Name(below(b"\x0bdns-version", &self.settings.domain)?);
        Some(Record { owner, ttl: SCHEMA_TTL, data: RecordData::Txt(vec![SCHEMA.to_vec()]) })
    }

    /// The name of an endpoint, for answers about its address.
    pub(super) fn endpoint_name(
        &self,
        endpoint: &objects::Endpoint,
        address: IpAddr,
        service: &[u8],
    ) -> Option<Name> {
        let label = endpoint.label(address, self.settings.endpoint_pod_names);
        let mut wire = super::lookup::wire_of(&[label.as_bytes()]);
        wire.extend_from_slice(service);
        wire.extend_from_slice(b"\x03svc");
        below(&wire, &self.settings.domain)
    }
}

pub(super) fn positive(answer: Vec<Record>, additional: Vec<Record>) -> Answer {
    Answer { answer, additional, ..Answer::of(Rcode::NOERROR) }
}

pub(super) fn address_data(address: IpAddr) -> RecordData {
    match address {
        IpAddr::V4(address) => RecordData::A(address),
        IpAddr::V6(address) => RecordData::Aaaa(address),
    }
}
