// SPDX-License-Identifier: GPL-3.0-or-later
//! Which pods there are, and on which node: kept so that the pods of a node, and the nodes of a
//! namespace, are found without looking at all.

use super::State;
use crate::control::feed::facts::PodFacts;
use crate::store::Entry;

impl State {
    /// Namespaces of which a node has pods.
    pub(in crate::control::feed) fn namespaces_of(&self, node: &str) -> impl Iterator<Item = &str> {
        let namespaces = self.pods.keys().map(String::as_str);
        namespaces.filter(move |namespace| self.pods_of(namespace, node) > 0)
    }

    /// Namespace, name and facts of the pods of a node.
    pub(in crate::control::feed) fn pods_of_node(
        &self,
        node: &str,
    ) -> impl Iterator<Item = (&str, &str, &PodFacts)> {
        self.namespaces_of(node).flat_map(move |namespace| {
            let pods = self.pods.get(namespace).into_iter().flatten();
            let here = pods.filter(move |(_, facts)| facts.node.as_deref() == Some(node));
            here.map(move |(name, facts)| (namespace, name.as_str(), facts))
        })
    }

    pub(in crate::control::feed) fn pods_of(&self, namespace: &str, node: &str) -> usize {
        self.homes.get(namespace).and_then(|homes| homes.get(node)).copied().unwrap_or(0)
    }

    pub(in crate::control::feed) fn put_pod(
        &mut self,
        namespace: &str,
        name: &str,
        facts: PodFacts,
    ) {
        self.remove_pod(namespace, name);
        match &facts.node {
            Some(node) => {
                let homes = self.homes.entry(namespace.to_owned()).or_default();
                *homes.entry(node.to_string()).or_default() += 1;
            }
            None => drop(self.homeless.insert((namespace.to_owned(), name.to_owned()))),
        }
        self.pods.entry(namespace.to_owned()).or_default().insert(name.to_owned(), facts);
    }

    pub(in crate::control::feed) fn remove_pod(&mut self, namespace: &str, name: &str) {
        let Some(pods) = self.pods.get_mut(namespace) else { return };
        let Some(facts) = pods.remove(name) else { return };
        if pods.is_empty() {
            self.pods.remove(namespace);
        }
        let Some(node) = &facts.node else {
            self.homeless.remove(&(namespace.to_owned(), name.to_owned()));
            return;
        };
        let Some(homes) = self.homes.get_mut(namespace) else { return };
        if let Some(count) = homes.get_mut(&**node) {
            *count -= 1;
            if *count == 0 {
                homes.remove(&**node);
            }
        }
        if homes.is_empty() {
            self.homes.remove(namespace);
        }
    }

    pub(in crate::control::feed) fn replace_entry(
        &mut self,
        namespace: &str,
        name: &str,
        entry: Entry,
    ) {
        let facts = self.pods.get_mut(namespace).and_then(|pods| pods.get_mut(name));
        if let Some(facts) = facts {
            facts.entry = entry;
        }
    }
}
