// SPDX-License-Identifier: GPL-3.0-or-later
//! What a node is told that begins to follow, or that comes back: all there is for it, or what has
//! changed since. Changes nothing but what is remembered.

use std::collections::{BTreeSet, HashSet};

use netlab_api::view::{ViewChange, ViewNames, ViewSnapshot};

use super::State;
use crate::control::feed::facts::{Key, Parsed, parse_key};
use crate::control::feed::told::{Item, Snapshot, Told, told_service, told_slice};
use crate::store::Revision;

/// Changes that are remembered for nodes that come back. Each is a name or two.
pub(in crate::control::feed) const RECENT: usize = 4096;

impl State {
    pub(in crate::control::feed) fn remember(&mut self, at: Revision, key: Key) {
        self.recent.push_back((at, key));
        while self.recent.len() > RECENT {
            if let Some((gone, _)) = self.recent.pop_front() {
                self.oldest = self.oldest.max(gone);
            }
        }
    }

    /// What is different for a node since it saw everything up to `from`: for each thing that was
    /// changed since, how it is now.
    pub(in crate::control::feed) fn since(&self, node: &str, from: Revision) -> Vec<Told> {
        let keys: Vec<&Key> =
            self.recent.iter().filter(|(at, _)| *at > from).map(|(_, key)| key).collect();
        let mut seen = HashSet::new();
        let mut namespaces = BTreeSet::new();
        let mut told = Vec::new();
        // Pods that are gone first: a younger one may have taken the name.
        for key in &keys {
            let Key::Pod { key: path, uid, node: home } = key else { continue };
            let Some(Parsed::Pod { namespace, name }) = parse_key(path) else { continue };
            namespaces.insert(namespace);
            let now = self.pods.get(namespace).and_then(|pods| pods.get(name));
            let is_gone = now.is_none_or(|now| now.uid != *uid);
            if is_gone && home.as_deref() == Some(node) && seen.insert(*key) {
                told.push(Told::Plain(ViewChange::PodGone {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    uid: uid.to_string(),
                }));
            }
        }
        for key in keys {
            if !seen.insert(key) {
                continue;
            }
            match key {
                Key::Pod { key, uid, .. } => {
                    let Some(Parsed::Pod { namespace, name }) = parse_key(key) else { continue };
                    let now = self.pods.get(namespace).and_then(|pods| pods.get(name));
                    if let Some(now) = now.filter(|now| now.uid == *uid)
                        && now.node.as_deref() == Some(node)
                    {
                        told.push(Told::Pod(now.entry.clone()));
                    }
                }
                Key::Node(name) => told.push(Told::Plain(match self.nodes.get(name) {
                    Some(facts) => ViewChange::Node(facts.view.clone()),
                    None => ViewChange::NodeGone { name: name.clone() },
                })),
                Key::Routing | Key::ProxyMode | Key::Settings => {
                    told.extend(self.common_change(key).map(Told::Plain));
                }
                Key::Namespace(name) => told.push(Told::Plain(self.told_namespace(name))),
                Key::Dns => {
                    let now = self.common.dns.clone().map(|dns| ViewChange::Dns(Box::new(dns)));
                    told.extend(now.map(Told::Plain));
                    // It may say since then that the node knows all pods.
                    namespaces.extend(self.pods.keys().map(String::as_str));
                }
                Key::Service(path) | Key::Slice(path) => match parse_key(path) {
                    Some(Parsed::Service { namespace, name }) => {
                        told.push(told_service(self.services.get(path), namespace, name));
                    }
                    Some(Parsed::Slice { namespace, name }) => {
                        told.push(told_slice(self.slices.get(path), namespace, name));
                    }
                    _ => {}
                },
            }
        }
        for namespace in namespaces {
            if self.knows_all_pods() || self.pods_of(namespace, node) > 0 {
                told.push(Told::Plain(ViewChange::Names(self.names(namespace, node))));
            }
        }
        told
    }

    pub(in crate::control::feed) fn snapshot(&self, node: &str) -> Item {
        let pods = self.pods_of_node(node).map(|(_, _, facts)| facts.entry.clone());
        let all = self.knows_all_pods();
        let known = self.pods.keys().map(String::as_str);
        let known = known.filter(|namespace| all || self.pods_of(namespace, node) > 0);
        let view = ViewSnapshot {
            revision: self.revision.0,
            routing: self.common.routing,
            proxy_mode: self.common.proxy_mode,
            settings: self.common.settings.clone(),
            nodes: self.nodes.values().map(|facts| facts.view.clone()).collect(),
            names: known.map(|namespace| self.names(namespace, node)).collect(),
            dns: self.common.dns.clone(),
            namespaces: self.namespaces.iter().cloned().collect(),
            ..ViewSnapshot::default()
        };
        Item::Snapshot(Box::new(Snapshot {
            view,
            pods: pods.collect(),
            services: self.services.values().cloned().collect(),
            slices: self.slices.values().cloned().collect(),
        }))
    }

    /// Pods of a namespace that run on other nodes than `node`.
    pub(in crate::control::feed) fn names(&self, namespace: &str, node: &str) -> ViewNames {
        let pods = self.pods.get(namespace).into_iter().flatten();
        let others = pods.filter(|(_, facts)| {
            facts.node.as_deref().is_some_and(|home| home != node) && !facts.addresses.is_empty()
        });
        ViewNames {
            namespace: namespace.to_owned(),
            pods: others.map(|(name, facts)| facts.name(name)).collect(),
        }
    }
}
