// SPDX-License-Identifier: GPL-3.0-or-later
//! All records at once: for transfers, and for people.

use std::net::IpAddr;

use super::answer::{address_data, below};
use super::objects::{Entry, Port, Service};
use super::{Listed, Zone};
use crate::dns::name::Name;
use crate::dns::record::{Owner, Record, RecordData};

impl Zone {
    /// The whole zone: the SOA, all records, and the SOA again.
    pub fn transfer(&self) -> Vec<Record> {
        let soa = self.soa(&self.settings.domain);
        let mut records = vec![soa.clone()];
        records.extend(self.records(None).into_iter().skip(1).map(|listed| listed.record));
        records.push(soa);
        records
    }

    /// All records below the domain, the SOA first, or those of one namespace; in order of names.
    pub fn records(&self, namespace: Option<&str>) -> Vec<Listed> {
        let mut list = Vec::new();
        if namespace.is_none() {
            self.list_own(&mut list);
        }
        let mut entries: Vec<(&[u8], &Entry)> =
            self.entries.iter().map(|(key, entry)| (&**key, &**entry)).collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        for (key, entry) in entries {
            let (name, of) = split(key);
            if namespace.is_none_or(|wanted| wanted.eq_ignore_ascii_case(&of)) {
                self.list_entry(key, entry, &name, &of, &mut list);
            }
        }
        list
    }

    fn list_own(&self, list: &mut Vec<Listed>) {
        let zone = &self.settings.domain;
        let mut push = |record: Record| {
            let (namespace, name) = (String::new(), String::new());
            list.push(Listed { record, kind: "", namespace, name });
        };
        push(self.soa(zone));
        for record in self.answer_apex(zone, crate::dns::record::RecordType::NS).answer {
            push(Record { owner: Owner::Name(zone.clone()), ..record });
        }
        if let Some(server) = below(b"\x02ns\x03dns", zone) {
            for &address in &self.settings.dns_addresses {
                push(self.record(Owner::Name(server.clone()), address_data(address)));
            }
        }
        if let Some(schema) = self.schema() {
            push(schema);
        }
    }

    fn list_entry(&self, key: &[u8], entry: &Entry, name: &str, of: &str, list: &mut Vec<Listed>) {
        let Some(service) = &entry.service else { return };
        let Some(owner) = below(&[key, b"\x03svc"].concat(), &self.settings.domain) else { return };
        let mut push = |at: &Name, data: RecordData, kind: &'static str| {
            let record = self.record(Owner::Name(at.clone()), data);
            if !list
                .iter()
                .rev()
                .take_while(|l| l.name == name && l.namespace == of)
                .any(|l| l.record == record)
            {
                let (namespace, name) = (of.to_owned(), name.to_owned());
                list.push(Listed { record, kind, namespace, name });
            }
        };
        match service {
            Service::External(target) => {
                if let Some(target) = target {
                    push(&owner, RecordData::Cname(target.clone()), "Service");
                }
                return;
            }
            Service::Cluster { addresses, ports } => {
                if self.settings.ignore_empty_service && !entry.has_endpoints() {
                    return;
                }
                for &address in addresses {
                    push(&owner, address_data(address), "Service");
                }
                for port in ports {
                    if let Some((at, number)) = port_name(port, &owner) {
                        let takes = |other: &&Port| {
                            other.name == port.name && other.protocol == port.protocol
                        };
                        let same = ports.iter().filter(takes).count() * addresses.len();
                        push(&at, srv(same, number, owner.clone()), "Service");
                    }
                }
            }
            Service::Headless => {}
        }
        let headless = *service == Service::Headless;
        let counted = |port: &Port| {
            let slices = entry.slices();
            let per = slices.map(|slice| {
                let ports = slice.ports.iter();
                let same = ports.filter(|p| p.name == port.name && p.protocol == port.protocol);
                same.count() * slice.addresses().count()
            });
            per.sum::<usize>()
        };
        for slice in entry.slices() {
            for endpoint in &slice.endpoints {
                for &address in &endpoint.addresses {
                    let address: IpAddr = address;
                    let Some(target) = self.endpoint_name(endpoint, address, key) else { continue };
                    push(&target, address_data(address), "EndpointSlice");
                    if !headless {
                        continue;
                    }
                    push(&owner, address_data(address), "EndpointSlice");
                    for port in &slice.ports {
                        if let Some((at, number)) = port_name(port, &owner) {
                            let data = srv(counted(port), number, target.clone());
                            push(&at, data, "EndpointSlice");
                        }
                    }
                }
            }
        }
    }
}

fn srv(count: usize, port: u16, target: Name) -> RecordData {
    RecordData::Srv { priority: 0, weight: (100 / count.max(1)).max(1) as u16, port, target }
}

/// `_port._protocol.<service>` of a named port, and its number.
fn port_name(port: &Port, service: &Name) -> Option<(Name, u16)> {
    let number = port.number.filter(|_| !port.name.is_empty())?;
    let protocol = format!("_{}", port.protocol.as_str().to_ascii_lowercase());
    let name = service.prefixed(protocol.as_bytes()).ok()?;
    let name = name.prefixed(format!("_{}", port.name).as_bytes()).ok()?;
    Some((name, number))
}

/// A service's name and namespace.
fn split(key: &[u8]) -> (String, String) {
    let at = 1 + usize::from(key[0]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if at >= key.len() {
        return (text(&key[1..]), String::new());
    }
    (text(&key[1..at]), text(&key[at + 1..]))
}
