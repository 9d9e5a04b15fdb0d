// SPDX-License-Identifier: GPL-3.0-or-later
//! What names there are, and what they say: from services, endpoints, pods and the configuration.
//! Pure.
//!
//! Records are not kept: a name is taken apart and answered from the objects, so a change costs
//! what changed. The facts are the specification's (Kubernetes DNS-Based Service Discovery 1.1.0)
//! and, where that leaves room, what CoreDNS's plugin `kubernetes` answers; where CoreDNS differs
//! from RFC 1034 and RFC 8020 about names that exist without records of a type, the RFCs win.
//!
//! ```text
//!   _http._tcp.web.default.svc.cluster.local.      place::Place ─► answer ─► Sink: values, or bytes
//!   └port┘└pr┘ └s┘ └─ns──┘     └─ domain ──┘
//! ```

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlab_api::{EndpointSlice, Service};
use tokio::sync::watch;

use super::config::{DnsConfig, PodNames};
use super::message::{Query, Writer};
use super::name::Name;
use super::record::{Answer, Found, Question, Rcode};
use entry::{Entry, ServiceFacts, SliceFacts};
use holders::Holders;
use key::{Key, Near, key, lower, parts};

mod answer;
mod entry;
mod holders;
mod key;
mod list;
mod place;
mod records;
mod reverse;

pub use list::Listed;

/// What holds for the zone, besides objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSettings {
    /// The cluster's domain.
    pub domain: Name,
    /// Networks of pods and services: of their addresses it is known that they have no other name.
    pub reverse: Vec<IpNet>,
    /// Addresses of the name server.
    pub dns_addresses: Vec<IpAddr>,
    /// Seconds for which records may be remembered.
    pub ttl: u32,
    /// Which names of pods there are.
    pub pods: PodNames,
    /// Endpoints without a host name are named after their pods.
    pub endpoint_pod_names: bool,
    /// There are no names of services without endpoints.
    pub ignore_empty_service: bool,
    /// Zones whose unknown names others are asked for.
    pub fallthrough: Vec<Name>,
    /// There are names of endpoints in one zone of nodes.
    pub zonal: bool,
}

impl ZoneSettings {
    /// What the configuration says, for a domain with these networks and servers.
    pub fn of(
        config: &DnsConfig,
        domain: Name,
        networks: Vec<IpNet>,
        servers: Vec<IpAddr>,
    ) -> ZoneSettings {
        // Names were checked when the configuration was read; others say nothing.
        let names = config.fallthrough.iter().filter_map(|name| name.parse().ok());
        ZoneSettings {
            domain,
            reverse: networks,
            dns_addresses: servers,
            ttl: config.ttl,
            pods: config.pods,
            endpoint_pod_names: config.endpoint_pod_names,
            ignore_empty_service: config.ignore_empty_service,
            fallthrough: names.collect(),
            zonal: config.zonal,
        }
    }
}

/// The names of a cluster.
#[derive(Debug)]
pub struct Zone {
    settings: ZoneSettings,
    serial: u32,
    /// Is there until all that there is has been told. It says nothing: those who wait for that are
    /// told by its end.
    unsynced: Option<watch::Sender<()>>,
    /// Namespaces that exist.
    namespaces: HashSet<Box<[u8]>>,
    /// How many services each namespace has: where there is one, there is a namespace.
    used: HashMap<Box<[u8]>, usize>,
    /// Services, and slices of services, by service.
    entries: HashMap<Near, Entry>,
    /// Which service a slice is of, by the slice's own key.
    slices: HashMap<Key, Key>,
    /// Services that have an address, as a cluster IP or as an endpoint's.
    holders: Holders,
    /// Pods by namespace, and their addresses; and how many pods of a namespace have an address.
    pods: HashMap<Key, Box<[IpAddr]>>,
    pod_addresses: HashMap<(Box<[u8]>, IpAddr), usize>,
}

/// What came of a question that was to be answered at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direct {
    /// The response is written.
    Answered,
    /// The same, and it is SERVFAIL: there may be such a name that has not been told yet.
    Unsynced,
    /// The name is an alias of one outside: ask for values, and then somebody else. Nothing is
    /// written.
    Alias,
    /// Not a name of this zone, or not known and others are to be asked. Nothing is written.
    Elsewhere,
}

/// How a question was led through the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Done,
    Unsynced,
    Alias(Name),
    Elsewhere,
}

impl Zone {
    /// A zone without objects.
    pub fn new(settings: ZoneSettings) -> Zone {
        Zone {
            settings,
            serial: 1,
            unsynced: Some(watch::Sender::new(())),
            namespaces: HashSet::new(),
            used: HashMap::new(),
            entries: HashMap::new(),
            slices: HashMap::new(),
            holders: Holders::default(),
            pods: HashMap::new(),
            pod_addresses: HashMap::new(),
        }
    }

    /// Other settings, the same objects.
    pub fn configure(&mut self, settings: ZoneSettings) {
        if self.settings != settings {
            self.settings = settings;
            self.changed();
        }
    }

    /// What holds besides objects.
    pub fn settings(&self) -> &ZoneSettings {
        &self.settings
    }

    /// Versions go up from here: the time in seconds, as in CoreDNS, is above those of earlier lives.
    pub fn continue_from(&mut self, serial: u32) {
        self.serial = serial;
    }

    /// Version of the zone.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// All that there is has been told.
    pub fn set_synced(&mut self) {
        self.unsynced = None;
    }

    /// Whether all that there is has been told: until then nothing is known to be missing.
    pub fn is_synced(&self) -> bool {
        self.unsynced.is_none()
    }

    /// What ends as soon as all that there is has been told; `None` when it has.
    pub(super) fn until_synced(&self) -> Option<watch::Receiver<()>> {
        self.unsynced.as_ref().map(watch::Sender::subscribe)
    }

    /// A namespace exists.
    pub fn put_namespace(&mut self, name: &str) {
        if self.namespaces.insert(lower(name)) {
            self.changed();
        }
    }

    /// A namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) {
        if self.namespaces.remove(&lower(name)) {
            self.changed();
        }
    }

    /// A service is new, or otherwise.
    pub fn put_service(&mut self, service: &Service) {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let key = key(namespace, &service.metadata.name);
        let facts = ServiceFacts::of(service);
        if self.entries.get(&*key).and_then(|entry| entry.service.as_ref()) == Some(&facts) {
            return;
        }
        let before = self.take_service(&key);
        if before.is_none() {
            *self.used.entry(lower(namespace)).or_default() += 1;
        }
        let key = self.known(key);
        for address in facts.cluster_ips.iter() {
            self.holders.add(address, &key);
        }
        self.entry_or_new(key).service = Some(facts);
        self.changed();
    }

    /// A service is gone.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        let key = key(namespace, name);
        if self.take_service(&key).is_some() {
            count_down(&mut self.used, lower(namespace));
            self.drop_if_empty(&key);
            self.changed();
        }
    }

    /// Services are gone, but for those of which `kept` says so by namespace and name.
    pub fn keep_services(&mut self, kept: &dyn Fn(&str, &str) -> bool) {
        let services = self.entries.values().filter(|entry| entry.service.is_some());
        let names = services.map(|entry| parts(&entry.key));
        let gone: Vec<_> = names.filter(|(namespace, name)| !kept(namespace, name)).collect();
        gone.iter().for_each(|(namespace, name)| self.remove_service(namespace, name));
    }

    /// A slice of endpoints is new, or otherwise.
    pub fn put_slice(&mut self, slice: &EndpointSlice) {
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        let own = key(namespace, &slice.metadata.name);
        let Some(service) = slice.service() else {
            self.take_slice(&own);
            return;
        };
        let service = key(namespace, service);
        let facts = SliceFacts::of(slice, own.clone());
        let known = self.slices.get(&own) == Some(&service)
            && self.entries.get(&*service).is_some_and(|entry| entry.slices.contains(&facts));
        if known {
            return;
        }
        self.take_slice(&own);
        let service = self.known(service);
        for endpoint in &facts.endpoints {
            self.holders.add(endpoint.address, &service);
        }
        self.slices.insert(own, service.clone());
        let slices = &mut self.entry_or_new(service).slices;
        // Most services have one or two.
        slices.reserve_exact(1);
        slices.push(facts);
        self.changed();
    }

    /// A slice of endpoints is gone.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) {
        self.take_slice(&key(namespace, name));
    }

    /// Slices are gone, but for those of which `kept` says so.
    pub fn keep_slices(&mut self, kept: &dyn Fn(&str, &str) -> bool) {
        let names = self.slices.keys().map(|key| parts(key));
        let gone: Vec<_> = names.filter(|(namespace, name)| !kept(namespace, name)).collect();
        gone.iter().for_each(|(namespace, name)| self.remove_slice(namespace, name));
    }

    /// A pod has these addresses.
    pub fn put_pod(&mut self, namespace: &str, name: &str, addresses: &[IpAddr]) {
        let key = key(namespace, name);
        if self.pods.get(&key).is_some_and(|known| **known == *addresses) {
            return;
        }
        self.take_pod(namespace, &key);
        for address in addresses {
            *self.pod_addresses.entry((lower(namespace), *address)).or_default() += 1;
        }
        self.pods.insert(key, addresses.into());
        self.changed();
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        self.take_pod(namespace, &key(namespace, name));
    }

    /// Answers a question of class IN.
    pub fn answer(&self, question: &Question) -> Found {
        let mut answer = Answer::of(Rcode::NOERROR);
        match self.lead(question, &mut answer) {
            Outcome::Done | Outcome::Unsynced => Found::Answer(answer),
            Outcome::Alias(target) => Found::Alias { chain: answer.answer, target },
            Outcome::Elsewhere => Found::Elsewhere,
        }
    }

    /// The same as [`Zone::answer`], as a response after what `out` has; `out` is left as it was
    /// unless it is written.
    pub fn answer_into(&self, query: &Query, limit: usize, out: &mut Vec<u8>) -> Direct {
        let start = out.len();
        let mut writer = Writer::new(query, limit, out);
        writer.set_authoritative(true);
        let outcome = self.lead(&query.question, &mut writer);
        match outcome {
            Outcome::Done => {
                writer.finish();
                Direct::Answered
            }
            Outcome::Unsynced => {
                writer.finish();
                Direct::Unsynced
            }
            Outcome::Alias(_) => {
                out.truncate(start);
                Direct::Alias
            }
            Outcome::Elsewhere => {
                out.truncate(start);
                Direct::Elsewhere
            }
        }
    }

    fn changed(&mut self) {
        self.serial = self.serial.wrapping_add(1);
    }

    /// The same key, as the one that is there already if there is one: kept once.
    fn known(&self, key: Key) -> Key {
        self.entries.get(&*key).map_or(key, |entry| entry.key.clone())
    }

    fn entry_or_new(&mut self, key: Key) -> &mut Entry {
        self.entries.entry(Near::from_slice(&key)).or_insert_with(|| Entry::new(key))
    }

    /// Forgets that a service has an address, unless it has it in another way too.
    fn let_go(&mut self, address: IpAddr, service: &Key) {
        if self.entries.get(&**service).is_some_and(|entry| entry.has(address)) {
            return;
        }
        self.holders.remove(address, service);
    }

    fn take_service(&mut self, key: &Key) -> Option<ServiceFacts> {
        let facts = self.entries.get_mut(&**key)?.service.take()?;
        for address in facts.cluster_ips.iter() {
            self.let_go(address, key);
        }
        Some(facts)
    }

    fn take_slice(&mut self, own: &Key) {
        let Some(service) = self.slices.remove(own) else { return };
        let Some(entry) = self.entries.get_mut(&*service) else { return };
        let Some(place) = entry.slices.iter().position(|slice| slice.name == *own) else { return };
        let facts = entry.slices.remove(place);
        for endpoint in &facts.endpoints {
            self.let_go(endpoint.address, &service);
        }
        self.drop_if_empty(&service);
        self.changed();
    }

    fn take_pod(&mut self, namespace: &str, key: &Key) {
        let Some(addresses) = self.pods.remove(key) else { return };
        for address in addresses {
            count_down(&mut self.pod_addresses, (lower(namespace), address));
        }
        self.changed();
    }

    fn drop_if_empty(&mut self, key: &Key) {
        let is_empty = |entry: &Entry| entry.service.is_none() && entry.slices.is_empty();
        if self.entries.get(&**key).is_some_and(is_empty) {
            self.entries.remove(&**key);
        }
    }

    /// The entry of a service by labels as they were asked.
    fn entry(&self, namespace: &[u8], service: &[u8]) -> Option<&Entry> {
        let mut wanted = [0; 127];
        let length = namespace.len() + 1 + service.len();
        let place = wanted.get_mut(..length)?;
        place[..namespace.len()].copy_from_slice(namespace);
        place[namespace.len()] = b'.';
        place[namespace.len() + 1..].copy_from_slice(service);
        place.make_ascii_lowercase();
        self.entries.get(&wanted[..length])
    }

    fn has_namespace(&self, namespace: &[u8]) -> bool {
        let mut wanted = [0; 63];
        let Some(place) = wanted.get_mut(..namespace.len()) else { return false };
        place.copy_from_slice(namespace);
        place.make_ascii_lowercase();
        let wanted = &wanted[..namespace.len()];
        self.namespaces.contains(wanted) || self.used.contains_key(wanted)
    }
}

fn count_down<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
