// SPDX-License-Identifier: GPL-3.0-or-later
//! Pods that are deleted while connections are led to them: their commands are told to end only
//! once no node leads new ones there, so that nobody is refused.
//!
//! ```text
//!   deleted ──► backs a service? ──► wait: the deletion is programmed everywhere ──► SIGTERM
//!                     └─ no ─────────────────────────────────────────────────────────►
//! ```

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use netlab_api::EndpointSlice;

use super::{Input, Reconciler};
use crate::store::Revision;

/// How long a command is not told that it is to end. The other nodes take milliseconds; one that
/// does not answer must not keep pods alive.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which pods are endpoints, and what is waited for.
#[derive(Debug, Default)]
pub(super) struct Drains {
    /// Uids of pods in each slice that has some, by the slice's namespace and name.
    slices: HashMap<(String, String), Vec<String>>,
    /// In how many slices a pod is.
    backing: HashMap<String, usize>,
    /// Uids of pods that wait, by the revision of their deletion.
    waiting: BTreeMap<Revision, Vec<String>>,
}

impl Drains {
    /// Takes in all slices; what is not among them is gone.
    pub(super) fn see_all<'a>(&mut self, slices: impl IntoIterator<Item = &'a EndpointSlice>) {
        self.slices.clear();
        self.backing.clear();
        slices.into_iter().for_each(|slice| self.see(slice));
    }

    /// Takes in a slice as it is now.
    pub(super) fn see(&mut self, slice: &EndpointSlice) {
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        self.lose(namespace, &slice.metadata.name);
        let pods = slice.endpoints.iter().filter_map(|endpoint| endpoint.target_ref.as_ref());
        let uids: Vec<String> = pods.map(|pod| pod.uid.clone()).collect();
        if uids.is_empty() {
            return;
        }
        for uid in &uids {
            *self.backing.entry(uid.clone()).or_default() += 1;
        }
        self.slices.insert((namespace.to_owned(), slice.metadata.name.clone()), uids);
    }

    /// A slice is gone.
    pub(super) fn lose(&mut self, namespace: &str, name: &str) {
        if self.slices.is_empty() {
            return;
        }
        let uids = self.slices.remove(&(namespace.to_owned(), name.to_owned()));
        for uid in uids.into_iter().flatten() {
            if let Some(count) = self.backing.get_mut(&uid) {
                *count -= 1;
                if *count == 0 {
                    self.backing.remove(&uid);
                }
            }
        }
    }

    /// Whether connections may be led to a pod.
    pub(super) fn backs(&self, uid: &str) -> bool {
        self.backing.contains_key(uid)
    }

    /// Notes that a pod waits; whether it is the first for this revision.
    fn wait(&mut self, revision: Revision, uid: &str) -> bool {
        let uids = self.waiting.entry(revision).or_default();
        uids.push(uid.to_owned());
        uids.len() == 1
    }
}

impl Reconciler {
    /// Begins to wait until all nodes know of a pod's deletion, for at most `left` of its grace
    /// period. Pods that were deleted together are waited for together.
    pub(super) fn drain(&mut self, uid: &str, left: Duration) {
        let Some(entry) = self.entries.get(uid) else { return };
        let deleted_at = entry.pod.revision.unwrap_or(self.seen);
        if !self.drains.wait(deleted_at, uid) {
            return;
        }
        let (input, machine) = (self.input.clone(), self.machine.clone());
        let patience = PATIENCE.min(left);
        tokio::spawn(async move {
            let programmed = machine.cluster.await_programmed(deleted_at, patience);
            match tokio::time::timeout(patience, programmed).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "pods end before all nodes know"),
                Err(_) => tracing::debug!("pods end before all nodes know"),
            }
            // The loop ends only with the daemon.
            let _ = input.send(Input::Drained { deleted_at });
        });
    }

    /// No new connections come to these pods.
    pub(super) fn take_drained(&mut self, deleted_at: Revision) {
        for uid in self.drains.waiting.remove(&deleted_at).unwrap_or_default() {
            if let Some(entry) = self.entries.get_mut(&*uid) {
                entry.is_drained = true;
                self.touched.insert(uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use netlab_api::endpoint_slice::Endpoint;
    use netlab_api::event::ObjectReference;

    use super::*;

    fn slice(name: &str, uids: &[&str]) -> EndpointSlice {
        let mut slice = EndpointSlice::default();
        slice.metadata.name = name.to_owned();
        slice.metadata.namespace = Some("shop".to_owned());
        slice.endpoints = uids.iter().map(|uid| endpoint(uid)).collect();
        slice
    }

    fn endpoint(uid: &str) -> Endpoint {
        let pod = ObjectReference { uid: uid.to_owned(), ..ObjectReference::default() };
        Endpoint { target_ref: Some(pod), ..Endpoint::default() }
    }

    #[test]
    fn a_pod_backs_a_service_as_long_as_it_is_in_any_slice() {
        let mut drains = Drains::default();
        drains.see_all(&[slice("web-ipv4", &["a", "b"]), slice("web-ipv6", &["a"])]);
        assert!(drains.backs("a") && drains.backs("b") && !drains.backs("c"));
        drains.see(&slice("web-ipv4", &["c"]));
        assert!(drains.backs("a") && !drains.backs("b") && drains.backs("c"));
        drains.lose("shop", "web-ipv6");
        assert!(!drains.backs("a"));
        drains.see_all(&[]);
        assert!(!drains.backs("c") && drains.backing.is_empty());
    }

    #[test]
    fn pods_that_were_deleted_together_are_waited_for_once() {
        let mut drains = Drains::default();
        assert!(drains.wait(Revision(7), "a"));
        assert!(!drains.wait(Revision(7), "b"));
        assert!(drains.wait(Revision(8), "c"));
        assert_eq!(drains.waiting[&Revision(7)], ["a", "b"]);
    }
}
