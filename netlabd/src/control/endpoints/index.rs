// SPDX-License-Identifier: GPL-3.0-or-later
//! What the task of endpoints knows: which services select which pods, so that a change is a look
//! at those whom it concerns. Pure.

use std::borrow::{Borrow, Cow};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use netlab_api::endpoint_slice::{MANAGED_BY, ZONE_LABEL};
use netlab_api::resource::Kind;
use netlab_api::{EndpointSlice, Node, Pod, Service};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::plan::{Backing, Common};
use crate::control::draft::decode_entry;
use crate::memory::Alike;
use crate::store::{Change, Entry, Listing, Revision};

/// Prefixes of the keys that the index knows.
pub(super) const PREFIXES: [&str; 4] = ["endpointslices/", "nodes/", "pods/", "services/"];

/// Namespace and name of a service.
pub(super) type ServiceName = (String, String);

/// A label with its value.
type Pair = (String, String);

/// Services, pods and slices, and what has to be looked at.
#[derive(Debug, Default)]
pub(super) struct Index {
    spaces: HashMap<String, Space>,
    /// What pods have alike.
    alike: Alike<Common>,
    /// Zones of nodes that are in one.
    pub(super) zones: HashMap<String, String>,
    /// Services whose slices may not be what they are to be.
    pub(super) stale: BTreeSet<ServiceName>,
}

/// What is known of a namespace.
#[derive(Debug, Default)]
struct Space {
    pods: BTreeMap<Arc<str>, Backing>,
    /// Names of the pods that carry a label.
    carriers: HashMap<Pair, BTreeSet<Arc<str>>>,
    services: HashMap<String, Selecting>,
    /// Names of services, each under one pair of its selector.
    selectors: HashMap<Pair, BTreeSet<String>>,
    /// Slices that we write, by service and name; they share their bytes with the store.
    slices: HashMap<String, BTreeMap<String, Entry>>,
    /// The service of each of them.
    owners: HashMap<String, String>,
}

/// A service as it is looked for.
#[derive(Debug)]
struct Selecting {
    selector: BTreeMap<String, String>,
    /// The pair of the selector under which it stands; `None` without a selector.
    pair: Option<Pair>,
    /// Shares its bytes with the store.
    entry: Entry,
}

/// What of a service decides about its slices. There are many services: no more of a record is
/// decoded than must be.
#[derive(Debug, PartialEq)]
struct Wish<'a> {
    uid: String,
    labels: BTreeMap<String, String>,
    selector: BTreeMap<String, String>,
    /// All of it, as it is written: one that is written otherwise is looked at once too often.
    spec: &'a str,
}

impl Wish<'_> {
    fn of(entry: &Entry) -> Option<Wish<'_>> {
        #[derive(Deserialize)]
        struct Record<'a> {
            #[serde(default)]
            metadata: Metadata,
            #[serde(borrow)]
            spec: &'a RawValue,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Metadata {
            uid: String,
            labels: BTreeMap<String, String>,
        }
        #[derive(Deserialize)]
        struct Spec {
            #[serde(default)]
            selector: BTreeMap<String, String>,
        }
        let Record { metadata, spec } = serde_json::from_slice(&entry.value).ok()?;
        let spec = spec.get();
        let Spec { selector } = serde_json::from_str(spec).ok()?;
        Some(Wish { uid: metadata.uid, labels: metadata.labels, selector, spec })
    }
}

/// The service of a slice that the cluster writes; `None` of other slices. Of all slices only this
/// is read, without a copy of anything.
fn service_that_we_write_for(entry: &Entry) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Record<'a> {
        #[serde(borrow, default)]
        metadata: Metadata<'a>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Metadata<'a> {
        #[serde(borrow)]
        labels: Labels<'a>,
    }
    // The names of the fields are `MANAGED_BY_LABEL` and `SERVICE_NAME_LABEL`.
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Labels<'a> {
        #[serde(borrow, rename = "endpointslice.kubernetes.io/managed-by")]
        managed_by: Option<Cow<'a, str>>,
        #[serde(borrow, rename = "kubernetes.io/service-name")]
        service: Option<Cow<'a, str>>,
    }
    let Record { metadata } = serde_json::from_slice(&entry.value).ok()?;
    let Labels { managed_by, service } = metadata.labels;
    managed_by.filter(|by| by == MANAGED_BY).and(service)
}

impl Index {
    /// All there is, all of it to be looked at.
    pub(super) fn of(listing: &Listing) -> Index {
        let mut index = Index::default();
        for entry in &listing.entries {
            index.take_entry(&entry.key, Some(entry));
        }
        index
    }

    /// Takes in what happened.
    pub(super) fn take(&mut self, change: &Change) {
        match change {
            Change::Put { entry, .. } => self.take_entry(&entry.key, Some(entry)),
            Change::Delete { last, .. } => self.take_entry(&last.key, None),
        }
    }

    fn take_entry(&mut self, key: &str, now: Option<&Entry>) {
        let Some((plural, rest)) = key.split_once('/') else { return };
        if plural == Kind::Node.plural() {
            return self.take_node(rest, now);
        }
        let Some((namespace, name)) = rest.split_once('/') else { return };
        if plural == Kind::Pod.plural() {
            let pod = now.and_then(|entry| decode_entry::<Pod>(entry).ok());
            let now = pod.and_then(|pod| Backing::of(pod, &mut self.alike));
            self.take_pod(namespace, name, now);
        } else if plural == Kind::Service.plural() {
            self.take_service(namespace, name, now);
        } else if plural == Kind::EndpointSlice.plural() {
            self.take_slice(namespace, name, now);
        } else {
            return;
        }
        if self.spaces.get(namespace).is_some_and(Space::is_empty) {
            self.spaces.remove(namespace);
        }
    }

    fn take_node(&mut self, name: &str, now: Option<&Entry>) {
        let node = now.and_then(|entry| decode_entry::<Node>(entry).ok());
        let zone = node.and_then(|mut node| node.metadata.labels.remove(ZONE_LABEL));
        let before = match &zone {
            Some(zone) => self.zones.insert(name.to_owned(), zone.clone()),
            None => self.zones.remove(name),
        };
        if before == zone {
            return;
        }
        for (namespace, space) in &self.spaces {
            let here = space.pods.values().filter(|pod| pod.common.node.as_deref() == Some(name));
            for service in here.flat_map(|pod| space.selecting(&pod.common.labels)) {
                self.stale.insert((namespace.clone(), service.clone()));
            }
        }
    }

    fn take_pod(&mut self, namespace: &str, name: &str, now: Option<Backing>) {
        let space = self.spaces.entry(namespace.to_owned()).or_default();
        if space.pods.get(name) == now.as_ref() {
            return;
        }
        let before = space.pods.remove(name);
        for pod in before.iter().chain(&now) {
            for service in space.selecting(&pod.common.labels) {
                self.stale.insert((namespace.to_owned(), service.clone()));
            }
        }
        if let Some(before) = before {
            for (key, value) in &before.common.labels {
                take_out(&mut space.carriers, &(key.clone(), value.clone()), name);
            }
        }
        let Some(now) = now else { return };
        for (key, value) in &now.common.labels {
            let pair = (key.clone(), value.clone());
            space.carriers.entry(pair).or_default().insert(Arc::clone(&now.name));
        }
        space.pods.insert(Arc::clone(&now.name), now);
    }

    fn take_service(&mut self, namespace: &str, name: &str, now: Option<&Entry>) {
        let space = self.spaces.entry(namespace.to_owned()).or_default();
        let after = now.and_then(Wish::of);
        let before = space.services.remove(name);
        if let Some(pair) = before.as_ref().and_then(|before| before.pair.as_ref()) {
            take_out(&mut space.selectors, pair, name);
        }
        // One that selects nobody has no slices of ours, unless it had some before.
        let is_new_to_us = before.is_none() && !space.slices.contains_key(name);
        let has_none = after.as_ref().is_none_or(|after| after.selector.is_empty());
        let was = before.as_ref().and_then(|before| Wish::of(&before.entry));
        if was != after && !(is_new_to_us && has_none) {
            self.stale.insert((namespace.to_owned(), name.to_owned()));
        }
        let (Some(after), Some(entry)) = (after, now) else { return };
        let selector = after.selector;
        // The pair that the fewest others stand under.
        let pairs = selector.iter().map(|(key, value)| (key.clone(), value.clone()));
        let pair = pairs.min_by_key(|pair| space.selectors.get(pair).map_or(0, BTreeSet::len));
        if let Some(pair) = &pair {
            space.selectors.entry(pair.clone()).or_default().insert(name.to_owned());
        }
        space.services.insert(name.to_owned(), Selecting { selector, pair, entry: entry.clone() });
    }

    fn take_slice(&mut self, namespace: &str, name: &str, now: Option<&Entry>) {
        let space = self.spaces.entry(namespace.to_owned()).or_default();
        let owner = space.owners.get(name).cloned();
        let known = owner.as_ref().and_then(|owner| space.slices.get(owner)?.get(name));
        match (known, now) {
            // What we wrote ourselves, perhaps anew since.
            (Some(known), Some(now)) if now.modified <= known.modified => {
                if let Some(owner) = owner.filter(|_| now.modified == known.modified) {
                    // The same, whose bytes are the store's.
                    space.keep_slice(&owner, name, now.clone());
                }
                return;
            }
            (None, None) => return,
            _ => {}
        }
        // Somebody else wrote it: it may have to be put right.
        if let Some(owner) = owner {
            space.forget_slice(name);
            self.stale.insert((namespace.to_owned(), owner));
        }
        if let Some(entry) = now
            && let Some(service) = service_that_we_write_for(entry)
        {
            space.keep_slice(&service, name, entry.clone());
            self.stale.insert((namespace.to_owned(), service.into_owned()));
        }
    }

    /// A service as it is stored, and the revision that made it.
    pub(super) fn service(&self, (namespace, name): &ServiceName) -> Option<(Service, Revision)> {
        let selecting = self.spaces.get(namespace)?.services.get(name)?;
        let created = selecting.entry.created;
        decode_entry(&selecting.entry).ok().map(|service| (service, created))
    }

    /// The pods that a service selects, by name.
    pub(super) fn pods(&self, (namespace, name): &ServiceName) -> Vec<&Backing> {
        let Some(space) = self.spaces.get(namespace) else { return Vec::new() };
        let Some(Selecting { selector, .. }) = space.services.get(name) else { return Vec::new() };
        let carriers =
            |(key, value): (&String, &String)| space.carriers.get(&(key.clone(), value.clone()));
        let Some(sets) = selector.iter().map(carriers).collect::<Option<Vec<_>>>() else {
            return Vec::new();
        };
        let Some(fewest) = sets.into_iter().min_by_key(|names| names.len()) else {
            return Vec::new();
        };
        let pods = fewest.iter().filter_map(|name| space.pods.get(name));
        pods.filter(|pod| selects(selector, &pod.common.labels)).collect()
    }

    /// The slices of a service that we write, by name, and since when each is as it is.
    pub(super) fn slices(
        &self,
        (namespace, name): &ServiceName,
    ) -> BTreeMap<String, (EndpointSlice, Revision)> {
        let space = self.spaces.get(namespace);
        let slices = space.and_then(|space| space.slices.get(name)).into_iter().flatten();
        let decoded = slices.filter_map(|(name, entry)| {
            Some((name.clone(), (decode_entry(entry).ok()?, entry.modified)))
        });
        decoded.collect()
    }

    /// Notes what was written of a service, before the store tells it.
    pub(super) fn wrote(
        &mut self,
        (namespace, service): &ServiceName,
        name: &str,
        now: Option<Entry>,
    ) {
        let space = self.spaces.entry(namespace.clone()).or_default();
        space.forget_slice(name);
        if let Some(entry) = now {
            space.keep_slice(service, name, entry);
        }
    }
}

impl Space {
    fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.services.is_empty() && self.slices.is_empty()
    }

    /// Names of the services that select pods with these labels.
    fn selecting<'a>(
        &'a self,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a String> {
        let pairs = labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        let names = pairs.filter_map(|pair| self.selectors.get(&pair)).flatten();
        names.filter(|name| {
            let service = self.services.get(*name);
            service.is_some_and(|service| selects(&service.selector, labels))
        })
    }

    fn keep_slice(&mut self, service: &str, name: &str, entry: Entry) {
        self.owners.insert(name.to_owned(), service.to_owned());
        self.slices.entry(service.to_owned()).or_default().insert(name.to_owned(), entry);
    }

    fn forget_slice(&mut self, name: &str) {
        let Some(service) = self.owners.remove(name) else { return };
        let Some(slices) = self.slices.get_mut(&service) else { return };
        slices.remove(name);
        if slices.is_empty() {
            self.slices.remove(&service);
        }
    }
}

fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn take_out<N: Ord + Borrow<str>>(sets: &mut HashMap<Pair, BTreeSet<N>>, pair: &Pair, name: &str) {
    if let Some(names) = sets.get_mut(pair) {
        names.remove(name);
        if names.is_empty() {
            sets.remove(pair);
        }
    }
}

#[cfg(test)]
mod tests;
