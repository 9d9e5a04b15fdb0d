// SPDX-License-Identifier: GPL-3.0-or-later
//! The life of a pod on this node, from its object's first sight to the last of it.
//!
//! Each step is taken once what it needs is there; what takes long (its processes, see `start`, and
//! its removal) is handed to others and comes back as an input. A step that failed rests and is
//! tried again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlab_api::event::EventKind;
use netlab_api::view::PodName;
use netlab_api::{Pod, Time};
use netlab_link::PodLinkId;

use super::entry::{Entry, Process};
use super::seen::SeenPod;
use super::{Input, Reconciler};
use crate::control::cluster::PodIdentity;
use crate::node::network::netns_dir;
use crate::node::network::record::recorded_link;
use crate::node::removal::{Removal, Removed};

impl Reconciler {
    /// Takes in a pod of this node as it is now.
    pub(super) fn take_pod(&mut self, pod: Pod) {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let hostname = pod.spec.hostname.clone();
        let name = pod.metadata.name.clone();
        let addresses: Vec<IpAddr> = pod.ips().collect();
        self.machine.names.place(&namespace, &name, &addresses);
        if pod.is_finished() {
            self.forget_name(&namespace, &name);
        } else {
            self.note_hosts(
                &namespace,
                PodName {
                    addresses,
                    hostname: hostname.filter(|hostname| *hostname != name),
                    subdomain: pod.spec.subdomain.clone(),
                    name,
                },
            );
        }
        let start_time = pod.status.start_time;
        // Only the first look needs what an earlier daemon said.
        let mut said = self.reported.is_none().then(|| Box::new(pod.status.clone()));
        let mut pod = SeenPod::of(pod, &mut self.alike);
        self.touched.insert(pod.uid.to_string());
        match self.entries.get_mut(&pod.uid) {
            Some(entry) => entry.pod = pod,
            None => {
                let uid = Arc::clone(&pod.uid);
                pod.said = said.take();
                self.entries.insert(uid, Box::new(Entry::new(pod, start_time)));
            }
        }
    }

    /// A pod's object is gone. Normally that is the end of a removal of ours.
    pub(super) fn lose_pod(&mut self, pod: &PodIdentity) {
        self.forget_name(&pod.namespace, &pod.name);
        let uid = &pod.uid;
        let Some(entry) = self.entries.get_mut(&**uid) else { return };
        self.machine.names.displace(&pod.namespace, &pod.name, &entry.pod.addresses);
        entry.is_object_gone = true;
        if entry.is_removed {
            self.entries.remove(&**uid);
            self.stale_hosts.insert(pod.namespace.clone());
        } else if !entry.removing {
            entry.pod.deletion_timestamp.get_or_insert_with(Time::now);
            entry.pod.grace_seconds = Some(0);
            self.touched.insert(uid.clone());
        }
    }

    /// Takes a pod one step on, if it can go.
    pub(super) fn advance(&mut self, uid: &str) {
        let Some(entry) = self.entries.get(uid) else { return };
        if entry.removing {
            return;
        }
        if entry.pod.is_deleted() {
            self.advance_to_removal(uid);
        } else if entry.link.is_some()
            && entry.process == Process::None
            && entry.may_try(Instant::now())
        {
            self.start_process(uid);
        }
    }

    /// Ends a pod that is to go: its command, its processes, then its link.
    fn advance_to_removal(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        match entry.process {
            // Its end, or its start, comes as an input.
            Process::Starting => {}
            Process::Alive => self.terminate(uid),
            Process::None | Process::Ended => {
                // A removal that failed rests like everything else.
                if !entry.may_try(Instant::now()) {
                    return;
                }
                entry.removing = true;
                entry.stop_probes();
                // A link that was never finished, or given up, still has its record.
                let dir = netns_dir(&self.machine.options.run_dir);
                let link = entry.link.map(|link| link.id);
                let link = link.or_else(|| recorded_link(&dir, &entry.pod.full_name()));
                let pod = entry.pod.identity();
                let is_object_gone = entry.is_object_gone;
                if let Some(link) = entry.link {
                    self.by_index.remove(&link.host_index);
                }
                // The record is the name's: it may be that of a younger pod by now.
                let is_of_another = |id: &PodLinkId| {
                    self.entries.iter().any(|(other, entry)| {
                        **other != *uid && entry.link.is_some_and(|link| link.id == *id)
                    })
                };
                let removal =
                    Removal { pod, link: link.filter(|id| !is_of_another(id)), is_object_gone };
                // The worker ends only with the daemon.
                let _ = self.removals.send(removal);
            }
        }
    }

    /// The removal worker is done with a pod, or could not be.
    pub(super) fn take_removed(&mut self, removed: Removed) {
        let uid = removed.pod.uid.clone();
        match removed.failure {
            None => {
                // Until its object is seen to go, news of the pod may still be on their way, and
                // must not look like those of a new one.
                match self.entries.get_mut(&*uid) {
                    Some(entry) if !entry.is_object_gone => entry.is_removed = true,
                    _ => drop(self.entries.remove(&*uid)),
                }
                self.stale_hosts.insert(removed.pod.namespace);
            }
            Some(message) => {
                tracing::warn!(%uid, error = %message, "a pod is not quite gone");
                if let Some(entry) = self.entries.get_mut(&*uid) {
                    entry.removing = false;
                }
                self.fail(&uid, "FailedKillPod", message);
            }
        }
    }

    /// Notes why a pod is not as it should be, and looks again later.
    pub(super) fn fail(&mut self, uid: &str, reason: &str, message: String) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        self.machine.pod_event(&entry.pod.identity(), EventKind::Warning, reason, message.clone());
        let rest = entry.fail(reason, message, Instant::now());
        self.look_after(uid, rest);
        self.report(uid);
    }

    /// Looks at a pod again after a while.
    pub(super) fn look_after(&mut self, uid: &str, rest: Duration) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let (input, uid) = (self.input.clone(), uid.to_owned());
        let alarm = tokio::spawn(async move {
            tokio::time::sleep(rest).await;
            // The loop ends only with the daemon.
            let _ = input.send(Input::Look { uid });
        });
        entry.add_alarm(alarm.abort_handle());
    }
}
