// SPDX-License-Identifier: GPL-3.0-or-later
//! What the feed knows, and whom a change concerns. Pure but for the queues of the views.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use netlab_api::DnsSettings;
use netlab_api::view::ViewChange;
use netlab_api::wire::NodeRevision;
use tokio::sync::mpsc;

use super::facts::{Common, Key, NodeFacts, Parsed, PodFacts, common_of, parse_key};
use super::told::{Item, Told, told_service, told_slice};
use crate::memory::Alike;
use crate::store::{Change, Entry, Listing, Revision};

pub(super) mod history;
mod pods;

/// The index, the views and what nodes reported.
#[derive(Default)]
pub(super) struct State {
    /// All changes up to here are in the index and on their way.
    pub(super) revision: Revision,
    /// A node that saw everything up to here can be told the difference.
    pub(super) oldest: Revision,
    pub(super) common: Common,
    pub(super) namespaces: BTreeSet<String>,
    /// Services and slices: everybody's business, whole.
    pub(super) services: Entries,
    pub(super) slices: Entries,
    /// Pods by namespace and name.
    pub(super) pods: BTreeMap<String, BTreeMap<String, PodFacts>>,
    /// Namespaces and names of pods that no node has.
    pub(super) homeless: BTreeSet<(String, String)>,
    /// How many pods of a namespace a node has.
    pub(super) homes: HashMap<String, BTreeMap<String, usize>>,
    pub(super) nodes: BTreeMap<String, NodeFacts>,
    pub(super) recent: VecDeque<(Revision, Key)>,
    /// Names of nodes.
    pub(super) alike: Alike<str>,
    pub(super) views: HashMap<String, Handle>,
    pub(super) next_view: u64,
    pub(super) reports: BTreeMap<String, NodeRevision>,
}

/// Records by their key; they share it, and their bytes, with the store.
pub(super) type Entries = BTreeMap<Arc<str>, Entry>;

/// The feed's end of a view.
pub(super) struct Handle {
    pub(super) id: u64,
    pub(super) sender: mpsc::Sender<Item>,
    /// The newest revision that was sent.
    pub(super) sent: Revision,
}

impl State {
    pub(super) fn rebuild(&mut self, listing: Listing) {
        // Who follows starts anew; who waits goes on waiting.
        let (next_view, reports) = (self.next_view, std::mem::take(&mut self.reports));
        *self = State { next_view, reports, ..State::default() };
        let (mut services, mut slices) = (Vec::new(), Vec::new());
        for entry in listing.entries {
            match parse_key(&entry.key) {
                Some(Parsed::Pod { namespace, name }) => {
                    let (namespace, name) = (namespace.to_owned(), name.to_owned());
                    if let Some(facts) = PodFacts::of(entry, &mut self.alike) {
                        self.put_pod(&namespace, &name, facts);
                    }
                }
                Some(Parsed::Node(name)) => {
                    let name = name.to_owned();
                    if let Some(facts) = NodeFacts::of(&entry) {
                        self.nodes.insert(name, facts);
                    }
                }
                Some(Parsed::Namespace(name)) => drop(self.namespaces.insert(name.to_owned())),
                Some(Parsed::Service { .. }) => services.push((entry.key.clone(), entry)),
                Some(Parsed::Slice { .. }) => slices.push((entry.key.clone(), entry)),
                Some(Parsed::Network) => self.common = common_of(&entry),
                None => {}
            }
        }
        // Made at once, in order, the trees have no empty places.
        self.services = services.into_iter().collect();
        self.slices = slices.into_iter().collect();
        self.revision = listing.revision;
        self.oldest = listing.revision;
    }

    /// Takes in changes up to `revision`, and tells the nodes that they concern.
    pub(super) fn take(&mut self, revision: Revision, changes: &[Change]) {
        let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        for change in changes {
            let at = change.revision();
            let after = match change {
                Change::Put { entry, .. } => Some(entry),
                Change::Delete { .. } => None,
            };
            match parse_key(change.key()) {
                Some(Parsed::Pod { namespace, name }) => {
                    self.take_pod(at, namespace, name, after, &mut told);
                }
                Some(Parsed::Node(name)) => self.take_node(at, name, after, &mut told),
                Some(Parsed::Network) => {
                    let mut after = after.map(common_of).unwrap_or_default();
                    // Of names there is more to tell.
                    let dns = std::mem::replace(&mut after.dns, self.common.dns.clone());
                    let before = std::mem::replace(&mut self.common, after);
                    let now = &self.common;
                    let differs = [
                        (Key::Routing, before.routing != now.routing),
                        (Key::ProxyMode, before.proxy_mode != now.proxy_mode),
                        (Key::Settings, before.settings != now.settings),
                    ];
                    for (key, _) in differs.into_iter().filter(|(_, differs)| *differs) {
                        if let Some(change) = self.common_change(&key) {
                            self.tell_all(&mut told, &Told::Plain(change));
                        }
                        self.remember(at, key);
                    }
                    self.take_dns(at, dns, &mut told);
                }
                Some(Parsed::Namespace(name)) => {
                    let name = name.to_owned();
                    // Its labels are nothing to nodes.
                    let is_news = match after {
                        Some(_) => self.namespaces.insert(name.clone()),
                        None => self.namespaces.remove(&name),
                    };
                    if is_news {
                        self.tell_all(&mut told, &Told::Plain(self.told_namespace(&name)));
                        self.remember(at, Key::Namespace(name));
                    }
                }
                Some(Parsed::Service { namespace, name }) => {
                    set(&mut self.services, change.key(), after);
                    self.tell_all(&mut told, &told_service(after, namespace, name));
                    self.remember(at, Key::Service(Arc::clone(&change.entry().key)));
                }
                Some(Parsed::Slice { namespace, name }) => {
                    set(&mut self.slices, change.key(), after);
                    self.tell_all(&mut told, &told_slice(after, namespace, name));
                    self.remember(at, Key::Slice(Arc::clone(&change.entry().key)));
                }
                None => {}
            }
        }
        self.revision = revision;
        for (node, told) in told {
            let Some(view) = self.views.get_mut(&node) else { continue };
            view.sent = revision;
            if view.sender.try_send(Item::Changes(revision, told)).is_err() {
                // It does not keep up, or is gone: it hears that its view is over.
                self.views.remove(&node);
            }
        }
    }

    fn take_dns(
        &mut self,
        at: Revision,
        dns: Option<DnsSettings>,
        told: &mut BTreeMap<String, Vec<Told>>,
    ) {
        if self.common.dns == dns {
            return;
        }
        let Some(now) = dns else { return };
        let had_all = self.knows_all_pods();
        self.common.dns = Some(now.clone());
        self.remember(at, Key::Dns);
        self.tell_all(told, &Told::Plain(ViewChange::Dns(Box::new(now))));
        if self.knows_all_pods() && !had_all {
            for node in self.views.keys() {
                let names = self.pods.keys().map(|namespace| self.names(namespace, node));
                let names = names.map(|names| Told::Plain(ViewChange::Names(names)));
                told.entry(node.clone()).or_default().extend(names);
            }
        }
    }

    /// Whether nodes know the pods of all namespaces.
    fn knows_all_pods(&self) -> bool {
        self.common.dns.as_ref().is_some_and(|dns| dns.all_pods)
    }

    fn told_namespace(&self, name: &str) -> ViewChange {
        let is_there = self.namespaces.contains(name);
        let name = name.to_owned();
        if is_there { ViewChange::Namespace { name } } else { ViewChange::NamespaceGone { name } }
    }

    pub(super) fn take_pod(
        &mut self,
        at: Revision,
        namespace: &str,
        name: &str,
        after: Option<&Entry>,
        told: &mut BTreeMap<String, Vec<Told>>,
    ) {
        let before = self.pods.get(namespace).and_then(|pods| pods.get(name)).cloned();
        let after = after.and_then(|entry| PodFacts::of(entry.clone(), &mut self.alike));
        let is_same = match (&before, &after) {
            (Some(before), Some(after)) => before.concerns_nobody_after(after),
            _ => false,
        };
        if is_same {
            if let Some(after) = after {
                self.replace_entry(namespace, name, after.entry);
            }
            return;
        }
        let was_of_another = |after: &PodFacts| before.as_ref().is_none_or(|b| b.uid != after.uid);
        if let Some(before) = &before
            && after.as_ref().is_none_or(|after| after.uid != before.uid)
        {
            self.remember(at, Key::of(before));
            self.lose_pod(namespace, name, before, told);
        }
        let Some(after) = after else { return };
        self.remember(at, Key::of(&after));
        let Some(node) = after.node.clone() else {
            self.put_pod(namespace, name, after);
            return;
        };
        let is_new_here = was_of_another(&after)
            || before.as_ref().is_none_or(|before| before.node.as_ref() != Some(&node));
        let has_other_name = before.as_ref().is_none_or(|before| {
            before.addresses != after.addresses
                || before.hostname != after.hostname
                || before.subdomain != after.subdomain
                || before.node != after.node
                || before.uid != after.uid
        });
        self.put_pod(namespace, name, after.clone());
        let is_first = is_new_here && self.pods_of(namespace, &node) == 1;
        let own = told.entry(node.to_string()).or_default();
        own.push(Told::Pod(after.entry.clone()));
        if is_first {
            let names = self.names(namespace, &node);
            told.entry(node.to_string()).or_default().push(Told::Plain(ViewChange::Names(names)));
        }
        let had_name = before.is_some_and(|before| !before.addresses.is_empty());
        let within = namespace.to_owned();
        let change = match after.addresses.is_empty() {
            _ if !has_other_name => return,
            false => ViewChange::Name { namespace: within, pod: after.name(name) },
            true if had_name => ViewChange::NameGone { namespace: within, name: name.to_owned() },
            true => return,
        };
        self.tell_neighbours(namespace, &node, &change, told);
    }

    pub(super) fn lose_pod(
        &mut self,
        namespace: &str,
        name: &str,
        before: &PodFacts,
        told: &mut BTreeMap<String, Vec<Told>>,
    ) {
        self.remove_pod(namespace, name);
        let Some(node) = &before.node else { return };
        let change = ViewChange::PodGone {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: before.uid.to_string(),
        };
        told.entry(node.to_string()).or_default().push(Told::Plain(change));
        let change =
            ViewChange::NameGone { namespace: namespace.to_owned(), name: name.to_owned() };
        self.tell_neighbours(namespace, node, &change, told);
    }

    pub(super) fn take_node(
        &mut self,
        at: Revision,
        name: &str,
        after: Option<&Entry>,
        told: &mut BTreeMap<String, Vec<Told>>,
    ) {
        let after = after.and_then(NodeFacts::of);
        let before = match &after {
            Some(after) => self.nodes.insert(name.to_owned(), after.clone()),
            None => self.nodes.remove(name),
        };
        if before.as_ref().map(|facts| &facts.view) == after.as_ref().map(|facts| &facts.view) {
            return;
        }
        self.remember(at, Key::Node(name.to_owned()));
        let change = match after {
            Some(after) => ViewChange::Node(after.view),
            None => {
                self.views.remove(name);
                self.reports.remove(name);
                ViewChange::NodeGone { name: name.to_owned() }
            }
        };
        self.tell_all(told, &Told::Plain(change));
    }

    /// How something is now that holds for all nodes.
    fn common_change(&self, key: &Key) -> Option<ViewChange> {
        let Common { routing, proxy_mode, settings, dns } = &self.common;
        Some(match key {
            Key::Routing => ViewChange::Routing(*routing),
            Key::ProxyMode => ViewChange::ProxyMode(*proxy_mode),
            Key::Settings => ViewChange::Settings(Box::new(settings.clone())),
            Key::Dns => ViewChange::Dns(Box::new(dns.clone()?)),
            Key::Namespace(name) => self.told_namespace(name),
            Key::Pod { .. } | Key::Node(_) | Key::Service(_) | Key::Slice(_) => {
                return None;
            }
        })
    }

    pub(super) fn tell_all(&self, told: &mut BTreeMap<String, Vec<Told>>, change: &Told) {
        for node in self.views.keys() {
            told.entry(node.clone()).or_default().push(change.clone());
        }
    }

    /// Tells nodes other than `node` that have pods of the namespace, or know all pods.
    pub(super) fn tell_neighbours(
        &self,
        namespace: &str,
        node: &str,
        change: &ViewChange,
        told: &mut BTreeMap<String, Vec<Told>>,
    ) {
        let change = Told::Plain(change.clone());
        if self.knows_all_pods() {
            for other in self.views.keys().filter(|other| *other != node) {
                told.entry(other.clone()).or_default().push(change.clone());
            }
            return;
        }
        let homes = self.homes.get(namespace).into_iter().flat_map(BTreeMap::keys);
        for other in homes.filter(|other| *other != node) {
            told.entry(other.clone()).or_default().push(change.clone());
        }
    }
}

/// Notes a record as it is now, or that it is gone.
fn set(entries: &mut Entries, key: &str, after: Option<&Entry>) {
    match after {
        Some(entry) => drop(entries.insert(entry.key.clone(), entry.clone())),
        None => drop(entries.remove(key)),
    }
}
