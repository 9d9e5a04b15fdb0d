// SPDX-License-Identifier: GPL-3.0-or-later
//! What the cluster is told: what became of each pod, and how far this node is.
//!
//! Only news is told. Events are told where they happen.

use netlab_api::view::ProgrammedReport;

use super::Reconciler;
use super::entry::Process;
use crate::node::pod::report::pod_status;
use crate::store::Revision;

impl Reconciler {
    /// Tells the cluster what became of a pod, when that is news.
    pub(super) fn report(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        // Before its process has started a pod says nothing but what failed: its link and its
        // process come in one write.
        let is_starting = matches!(entry.process, Process::None | Process::Starting);
        if is_starting && entry.facts.runtime.is_none() && entry.facts.failure.is_none() {
            return;
        }
        let status = pod_status(&entry.pod.name, entry.pod.spec(), &entry.facts);
        if entry.is_news(&status) {
            self.machine.reports.status(entry.pod.identity(), status);
        }
    }

    /// Tells the cluster up to which revision the kernel is as it must be.
    pub(super) fn report_programmed(&mut self) {
        let news = self.reported.is_some() && (self.retell || self.reported != Some(self.seen));
        if !news && self.synced.is_none() {
            return;
        }
        if self.reported.is_none() && self.seen == Revision::ZERO {
            // No snapshot yet.
            return;
        }
        if self.touched.iter().any(|uid| self.wants_link(uid)) {
            return;
        }
        let pods = self
            .entries
            .values()
            .filter(|entry| entry.link.is_none() && !entry.removing)
            .filter_map(|entry| {
                let (_, message) = entry.facts.failure.as_ref()?;
                Some(format!("pod/{}: {message}", entry.pod.full_name()))
            });
        let node = &self.machine.options.name;
        let fabric = self.fabric_failure.iter().map(|message| format!("node/{node}: {message}"));
        let services = self.services_failure.iter();
        let services = services.map(|message| format!("node/{node}: services: {message}"));
        let failures = fabric.chain(services).chain(pods).collect();
        self.reported = Some(self.seen);
        self.retell = false;
        self.machine.reports.programmed(ProgrammedReport { revision: self.seen.0, failures });
        if let Some(synced) = self.synced.take() {
            // Nobody waits when the daemon is about to stop.
            let _ = synced.send(());
        }
    }
}
