// SPDX-License-Identifier: GPL-3.0-or-later
//! Which pods need a link, and who has which.
//!
//! Links are claimed many at once; what a link is made of is the business of `node::network`, and
//! what happens when somebody takes part of one away that of `drift`.

use std::sync::Arc;
use std::time::Instant;

use netlab_link::PodLink;

use super::Reconciler;
use crate::error::chain;
use crate::node::network::apply::Wanted;
use crate::node::network::record::record_path;
use crate::node::network::{NetworkError, netns_dir};

impl Reconciler {
    /// Whether a pod has no link and may have one now.
    pub(super) fn wants_link(&self, uid: &str) -> bool {
        let Some(entry) = self.entries.get(uid) else { return false };
        entry.link.is_none()
            && !entry.removing
            && !entry.pod.is_deleted()
            && entry.may_try(Instant::now())
    }

    /// Gives links to pods, all in one batch.
    pub(super) async fn claim_links(&mut self, uids: &[String]) {
        if uids.is_empty() {
            return;
        }
        let wanted: Vec<Wanted> =
            uids.iter().filter_map(|uid| Some(self.entries.get(&**uid)?.wanted())).collect();
        let claimed = self.machine.with_network(move |network| network.claim(&wanted)).await;
        for (uid, claimed) in uids.iter().zip(claimed) {
            match claimed {
                Ok(link) => self.set_link(uid, link),
                Err(error) => self.link_failed(uid, &error),
            }
        }
    }

    /// A pod has this link from now on.
    pub(super) fn set_link(&mut self, uid: &str, link: PodLink) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if let Some(before) = entry.link {
            self.by_index.remove(&before.host_index);
        }
        let dir = netns_dir(&self.machine.options.run_dir);
        let netns = record_path(&dir, &entry.pod.full_name());
        entry.set_link(link, netns.display().to_string());
        self.by_index.insert(link.host_index, Arc::clone(&entry.pod.uid));
        self.nameless.push((link.host_index, entry.pod.full_name()));
    }

    /// A pod got no link.
    pub(super) fn link_failed(&mut self, uid: &str, error: &NetworkError) {
        let message = chain(error);
        tracing::error!(uid, error = %message, "a pod has no network");
        self.fail(uid, "FailedCreatePodSandBox", message);
    }
}
