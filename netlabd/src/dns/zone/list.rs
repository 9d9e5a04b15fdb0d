// SPDX-License-Identifier: GPL-3.0-or-later
//! All records of the zone: for people, with the object of each; and for those who take it over
//! (AXFR, RFC 5936).

use std::collections::BTreeMap;

use super::answer::{VERSION, VERSION_TTL, service_name};
use super::entry::{Entry, Kind, dashed};
use super::reverse::name_of;
use super::{Key, Zone, parts};
use crate::dns::config::PodNames;
use crate::dns::name::Name;
use crate::dns::record::{Answer, Found, Owner, Question, Record, RecordData, RecordType};

/// A record, and the object that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The record; its owner is a name.
    pub record: Record,
    /// The object's kind; empty for what the zone has of itself.
    pub kind: &'static str,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

/// What a record comes from: kind, namespace and name of the object.
type Source<'a> = (&'static str, &'a str, &'a str);

/// The zone itself.
const ZONE: Source<'static> = ("", "", "");

impl Listed {
    fn new(name: Name, ttl: u32, data: RecordData, (kind, namespace, of): Source<'_>) -> Listed {
        let record = Record { owner: Owner::Name(name), ttl, data };
        Listed { record, kind, namespace: namespace.to_owned(), name: of.to_owned() }
    }

    /// Whose the record is.
    fn owner(&self) -> Option<&Name> {
        match &self.record.owner {
            Owner::Name(name) => Some(name),
            Owner::Asked => None,
        }
    }
}

impl Zone {
    /// All records, or those of one namespace; by name. Names of addresses come last.
    pub fn records(&self, namespace: Option<&str>) -> Vec<Listed> {
        let mut listed = Vec::new();
        let mut back = Vec::new();
        if namespace.is_none() {
            listed.extend(self.of_itself());
        }
        let is_wanted = |key: &Key| namespace.is_none_or(|wanted| parts(key).0 == wanted);
        let entries = self.entries.values().filter(|entry| is_wanted(&entry.key));
        let entries: BTreeMap<&Key, &Entry> = entries.map(|entry| (&entry.key, entry)).collect();
        for (key, entry) in entries {
            self.of_entry(key, entry, &mut listed, &mut back);
        }
        if self.settings.pods != PodNames::Disabled {
            let pods: BTreeMap<_, _> = self.pods.iter().filter(|(key, _)| is_wanted(key)).collect();
            for (key, addresses) in pods {
                let (namespace, pod) = parts(key);
                for address in addresses {
                    let name = format!("{}.{namespace}.pod", dashed(*address));
                    if let Some(name) = self.named(&name) {
                        let source = ("pod", &*namespace, &*pod);
                        self.ask(&name, &[RecordType::A, RecordType::AAAA], source, &mut listed);
                    }
                }
            }
        }
        listed.extend(back);
        listed
    }

    /// The records of the cluster's domain as a transfer has them: the SOA, all others, the SOA.
    pub fn transfer(&self) -> Vec<Record> {
        let domain = &self.settings.domain;
        let soa = self.soa(domain.clone());
        let listed = self.records(None).into_iter();
        let own = listed.filter(|it| {
            it.owner().is_some_and(|name| name.is_within(domain))
                && it.record.data.kind() != RecordType::SOA
        });
        let rest = own.map(|it| it.record);
        std::iter::once(soa.clone()).chain(rest).chain([soa]).collect()
    }

    fn of_itself(&self) -> Vec<Listed> {
        let domain = self.settings.domain.clone();
        let mut listed = Vec::new();
        self.ask(&domain, &[RecordType::SOA, RecordType::NS], ZONE, &mut listed);
        if let Some(name) = self.named("ns.dns") {
            self.ask(&name, &[RecordType::A, RecordType::AAAA], ZONE, &mut listed);
        }
        if let Some(name) = self.named("dns-version") {
            let data = RecordData::Txt(vec![VERSION.into()]);
            listed.push(Listed::new(name, VERSION_TTL, data, ZONE));
        }
        listed
    }

    fn of_entry(&self, key: &Key, entry: &Entry, listed: &mut Vec<Listed>, back: &mut Vec<Listed>) {
        let Some(facts) = &entry.service else { return };
        let domain = &self.settings.domain;
        let (namespace, service) = parts(key);
        let source = ("service", &*namespace, &*service);
        let name = service_name(domain, key, None);
        if facts.kind == Kind::External {
            self.ask(&name, &[RecordType::CNAME], source, listed);
            return;
        }
        let of_slices = entry.slices.iter().flat_map(|slice| slice.ports.iter());
        let mut ports: Vec<_> = match facts.kind {
            Kind::Headless => of_slices.collect(),
            _ => facts.ports.iter().collect(),
        };
        ports.retain(|port| !port.name.is_empty());
        ports.sort_by_key(|port| (port.name.clone(), port.protocol));
        ports.dedup_by_key(|port| (port.name.clone(), port.protocol));
        self.ask(&name, &[RecordType::A, RecordType::AAAA], source, listed);
        // As in CoreDNS's transfers: all ports of a service with an address of its own, which its
        // name alone is asked for by those who look for peers.
        if facts.kind == Kind::Cluster {
            self.ask(&name, &[RecordType::SRV], source, listed);
        }
        for port in ports {
            let labels =
                [[b"_".as_slice(), &port.name].concat(), [b"_".as_slice(), port.protocol].concat()];
            let labels = labels.iter().map(Vec::as_slice).chain(name.labels());
            if let Ok(name) = Name::from_labels(labels) {
                self.ask(&name, &[RecordType::SRV], source, listed);
            }
        }
        for address in facts.cluster_ips.iter() {
            self.ask(&name_of(address), &[RecordType::PTR], source, back);
        }
        if facts.kind != Kind::Headless {
            return;
        }
        // Two slices of a service may have the same endpoint: told once.
        let mut told = std::collections::HashSet::new();
        for (slice, endpoint) in entry.endpoints() {
            let (_, slice) = parts(&slice.name);
            let source = ("endpointslice", &*namespace, &*slice);
            let label = endpoint.label(self.settings.endpoint_pod_names);
            let name = service_name(domain, key, Some(&label));
            let data = match endpoint.address {
                std::net::IpAddr::V4(address) => RecordData::A(address),
                std::net::IpAddr::V6(address) => RecordData::Aaaa(address),
            };
            if told.insert((label, endpoint.address)) {
                let ttl = self.settings.ttl;
                listed.push(Listed::new(name.clone(), ttl, data, source));
                let data = RecordData::Ptr(name);
                back.push(Listed::new(name_of(endpoint.address), ttl, data, source));
            }
        }
    }

    /// A name below the domain.
    fn named(&self, before: &str) -> Option<Name> {
        format!("{before}.{}", self.settings.domain).parse().ok()
    }

    /// What the zone itself answers about a name is what is listed.
    fn ask(&self, name: &Name, kinds: &[RecordType], source: Source<'_>, listed: &mut Vec<Listed>) {
        for kind in kinds {
            let question = Question { name: name.clone(), kind: *kind };
            let records = match self.answer(&question) {
                Found::Answer(Answer { answer, .. }) => answer,
                Found::Alias { chain, .. } => chain,
                Found::Elsewhere => Vec::new(),
            };
            for Record { owner, ttl, data } in records {
                let owner = match owner {
                    Owner::Asked => name.clone(),
                    Owner::Name(name) => name,
                };
                if owner == *name {
                    listed.push(Listed::new(owner, ttl, data, source));
                }
            }
        }
    }
}
