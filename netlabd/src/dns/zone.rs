// SPDX-License-Identifier: GPL-3.0-or-later
//! What names there are, and what they say: from services, endpoints, pods and the configuration. Pure.
//!
//! Records are not kept: a name is taken apart and answered from the objects, so a change costs what changed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use netlab_api::endpoint_slice::EndpointSlice;
use netlab_api::service::Service;

use super::config::PodNames;
use super::name::Name;
use super::record::Record;

mod answer;
mod direct;
mod list;
mod lookup;
mod objects;
mod reverse;

#[cfg(test)]
mod tests;

use objects::{Entry, key, label};

/// What the zone is told of the cluster and of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneSettings {
    /// The cluster's domain.
    pub domain: Name,
    /// Networks of pods and services: names of their addresses are known here or nowhere.
    pub reverse: Vec<IpNet>,
    /// Where the zone's server answers.
    pub dns_addresses: Vec<IpAddr>,
    /// Seconds for which records may be remembered.
    pub ttl: u32,
    /// Names of pods.
    pub pods: PodNames,
    /// Names endpoints without a host name after their pods.
    pub endpoint_pod_names: bool,
    /// Does without names of services that have no ready endpoint.
    pub ignore_empty_service: bool,
    /// Zones whose unknown names others are asked for.
    pub fallthrough: Vec<Name>,
    /// Names of endpoints in one zone.
    pub zonal: bool,
}

/// What came of answering directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direct {
    /// The response is written.
    Answered,
    /// As [`Found::Alias`](super::record::Found::Alias); nothing is written.
    Alias {
        /// CNAMEs so far.
        chain: Vec<Record>,
        /// Who is to be asked for.
        target: Name,
    },
    /// As [`Found::Elsewhere`](super::record::Found::Elsewhere); nothing is written.
    Elsewhere,
}

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

/// A namespace: whether it was told of, and how many services it has.
#[derive(Debug, Clone, Copy, Default)]
struct Namespace {
    told: bool,
    services: usize,
}

/// Whose an address is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    /// Cluster IPs go before endpoints.
    is_endpoint: bool,
    service: Arc<[u8]>,
}

/// The cluster's names.
#[derive(Debug)]
pub struct Zone {
    settings: ZoneSettings,
    serial: u32,
    synced: bool,
    /// Services with their slices, by their two labels in lower case and wire form.
    entries: HashMap<Arc<[u8]>, Box<Entry>>,
    /// The service of each slice, by namespace and name of the slice.
    slices: HashMap<Box<[u8]>, Arc<[u8]>>,
    namespaces: HashMap<Box<[u8]>, Namespace>,
    addresses: HashMap<IpAddr, Vec<Holder>>,
    pods: HashMap<Box<[u8]>, Box<[IpAddr]>>,
    /// Namespaces of the pods that have an address.
    pod_addresses: HashMap<IpAddr, Vec<Box<[u8]>>>,
}

impl Zone {
    /// A zone without objects.
    pub fn new(settings: ZoneSettings) -> Zone {
        Zone {
            settings,
            serial: 1,
            synced: false,
            entries: HashMap::new(),
            slices: HashMap::new(),
            namespaces: HashMap::new(),
            addresses: HashMap::new(),
            pods: HashMap::new(),
            pod_addresses: HashMap::new(),
        }
    }

    /// Takes other settings, and keeps the objects.
    pub fn configure(&mut self, settings: ZoneSettings) {
        if self.settings != settings {
            self.settings = settings;
            self.change();
        }
    }

    /// Lets the serial number go on from `serial`, so that it grows over restarts.
    pub fn continue_from(&mut self, serial: u32) {
        self.serial = serial;
    }

    /// What the zone was told.
    pub fn settings(&self) -> &ZoneSettings {
        &self.settings
    }

    /// Grows with each change.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Everything that there is has been told.
    pub fn set_synced(&mut self) {
        self.synced = true;
    }

    /// Whether everything that there is has been told.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    fn change(&mut self) {
        self.serial = self.serial.wrapping_add(1);
    }

    /// A service is there, or has changed.
    pub fn put_service(&mut self, service: &Service) {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let compact = objects::Service::of(service);
        let key = self.entry_key(&key(&service.metadata.name, namespace));
        let entry = self.entries.entry(Arc::clone(&key)).or_default();
        if entry.service.as_ref() == Some(&compact) {
            return;
        }
        let new = compact.addresses().to_vec();
        let old = entry.service.replace(compact);
        match &old {
            Some(old) => {
                for &address in old.addresses() {
                    self.forget(address, false, &key);
                }
            }
            None => self.namespaces.entry(label(namespace)).or_default().services += 1,
        }
        for address in new {
            self.hold(address, false, &key);
        }
        self.change();
    }

    /// A service is gone. Its slices may stay.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        let key = self.entry_key(&key(name, namespace));
        let Some(old) = self.entries.get_mut(&key).and_then(|entry| entry.service.take()) else {
            return;
        };
        for &address in old.addresses() {
            self.forget(address, false, &key);
        }
        let namespace = label(namespace);
        if let Some(known) = self.namespaces.get_mut(&namespace) {
            known.services -= 1;
            if known.services == 0 && !known.told {
                self.namespaces.remove(&namespace);
            }
        }
        self.drop_if_empty(&key);
        self.change();
    }

    /// A slice is there, or has changed.
    pub fn put_slice(&mut self, slice: &EndpointSlice) {
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        let name = slice.metadata.name.as_str();
        let Some(service) = slice.service() else {
            self.remove_slice(namespace, name);
            return;
        };
        let compact = objects::Slice::of(slice);
        let owner = self.entry_key(&key(service, namespace));
        let own = key(name, namespace).into_boxed_slice();
        if self.slices.get(&own) == Some(&owner) {
            let entry = self.entries.get(&owner);
            if entry.and_then(|entry| entry.slice(name)) == Some(&compact) {
                return;
            }
        }
        self.take_slice(&own, name);
        for address in compact.addresses() {
            self.hold(address, true, &owner);
        }
        self.entries.entry(Arc::clone(&owner)).or_default().insert(name, compact);
        self.slices.insert(own, owner);
        self.change();
    }

    /// A slice is gone.
    pub fn remove_slice(&mut self, namespace: &str, name: &str) {
        if self.take_slice(&key(name, namespace), name) {
            self.change();
        }
    }

    fn take_slice(&mut self, own: &[u8], name: &str) -> bool {
        let Some(owner) = self.slices.remove(own) else { return false };
        let old = self.entries.get_mut(&owner).and_then(|entry| entry.remove(name));
        for address in old.iter().flat_map(objects::Slice::addresses) {
            self.forget(address, true, &owner);
        }
        self.drop_if_empty(&owner);
        true
    }

    /// A namespace is there.
    pub fn put_namespace(&mut self, name: &str) {
        let known = self.namespaces.entry(label(name)).or_default();
        if !std::mem::replace(&mut known.told, true) {
            self.change();
        }
    }

    /// A namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) {
        let name = label(name);
        let Some(known) = self.namespaces.get_mut(&name).filter(|known| known.told) else { return };
        known.told = false;
        if known.services == 0 {
            self.namespaces.remove(&name);
        }
        self.change();
    }

    /// A pod has these addresses.
    pub fn put_pod(&mut self, namespace: &str, name: &str, addresses: &[IpAddr]) {
        let own = key(name, namespace).into_boxed_slice();
        if self.pods.get(&own).is_some_and(|known| **known == *addresses) {
            return;
        }
        self.remove_pod(namespace, name);
        for &address in addresses {
            self.pod_addresses.entry(address).or_default().push(label(namespace));
        }
        self.pods.insert(own, addresses.into());
        self.change();
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) {
        let Some(old) = self.pods.remove(key(name, namespace).as_slice()) else { return };
        let namespace = label(namespace);
        for address in &old {
            let Some(of) = self.pod_addresses.get_mut(address) else { continue };
            if let Some(at) = of.iter().position(|known| *known == namespace) {
                of.swap_remove(at);
            }
            if of.is_empty() {
                self.pod_addresses.remove(address);
            }
        }
        self.change();
    }

    /// The key that is shared, if there is an entry.
    fn entry_key(&self, key: &[u8]) -> Arc<[u8]> {
        self.entries.get_key_value(key).map_or_else(|| key.into(), |(key, _)| Arc::clone(key))
    }

    fn drop_if_empty(&mut self, key: &Arc<[u8]>) {
        if self.entries.get(key).is_some_and(|entry| entry.is_empty()) {
            self.entries.remove(key);
        }
    }

    fn hold(&mut self, address: IpAddr, is_endpoint: bool, service: &Arc<[u8]>) {
        let holders = self.addresses.entry(address).or_insert_with(|| Vec::with_capacity(1));
        let holder = Holder { is_endpoint, service: Arc::clone(service) };
        let at = holders.partition_point(|known| *known < holder);
        holders.insert(at, holder);
    }

    fn forget(&mut self, address: IpAddr, is_endpoint: bool, service: &Arc<[u8]>) {
        let Some(holders) = self.addresses.get_mut(&address) else { return };
        let holder = Holder { is_endpoint, service: Arc::clone(service) };
        if let Ok(at) = holders.binary_search(&holder) {
            holders.remove(at);
        }
        if holders.is_empty() {
            self.addresses.remove(&address);
        }
    }
}
