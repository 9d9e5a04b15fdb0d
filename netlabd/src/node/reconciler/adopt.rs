// SPDX-License-Identifier: GPL-3.0-or-later
//! Taking over what is there: after a start, or after the watch was lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use netlab_api::Pod;
use netlab_api::event::EventKind;
use netlab_api::view::ViewSnapshot;
use netlab_link::{IfIndex, NodeLinks, PodLink, PodLinkId};

use super::drift::LISTEN_AFTER;
use super::entry::Process;
use super::names::Untold;
use super::start::is_finished;
use super::{MachineError, Reconciler};
use crate::control::cluster::PodIdentity;
use crate::error::chain;
use crate::node::network::apply::{HostLinks, Wanted, host_links};
use crate::node::network::{Network, NetworkError, addresses_of};
use crate::node::pod::Observed;
use crate::node::removal::Removal;
use crate::store::Revision;

/// The links that records name, by the full names of their pods.
type Records = BTreeMap<String, PodLinkId>;

/// A link, and what of it was missing.
type Mended = Result<(PodLink, Vec<String>), NetworkError>;

/// What there is of one pod before anything is done.
struct Found {
    link: Option<(PodLinkId, Mended)>,
    process: Option<Observed>,
}

impl Reconciler {
    /// Brings all entries in line with what the cluster and the kernel have.
    ///
    /// # Errors
    /// At the first look, when the kernel cannot be asked.
    pub(super) async fn take_snapshot(
        &mut self,
        snapshot: ViewSnapshot,
    ) -> Result<(), MachineError> {
        let is_first = self.reported.is_none();
        let ViewSnapshot {
            revision,
            routing,
            nodes,
            pods,
            names,
            proxy_mode,
            dns,
            namespaces,
            settings,
            services,
            slices,
        } = snapshot;
        self.machine.follow(&settings);
        // Also when it is older than what was seen: a server that was put back to an older state
        // counts on from there, and what it asks for next is not there yet.
        self.seen = Revision(revision);
        self.routing = routing;
        self.drains.see_all(slices.iter().map(|slice| &**slice));
        self.nodes = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
        self.see_nodes();
        if let Some(dns) = &dns {
            self.take_dns(dns);
        }
        self.take_services(proxy_mode, &services, &slices);
        // What is kept of them is much smaller, and the zone's thread is the last to need them.
        self.program_all(Untold { services, slices, namespaces }).await;
        self.listen_to_rules_after(LISTEN_AFTER);
        // Before the links are looked at: it says which MTU they must have.
        self.ensure_fabric().await;
        self.forget_hosts(&pods);
        let present: BTreeSet<&str> = pods.iter().map(|pod| pod.metadata.uid.as_str()).collect();
        let lost: Vec<PodIdentity> = self
            .entries
            .iter()
            .filter(|(uid, _)| !present.contains(&***uid))
            .map(|(_, entry)| entry.pod.identity())
            .collect();
        lost.iter().for_each(|pod| self.lose_pod(pod));
        if is_first {
            self.adopt(pods).await?;
        } else {
            pods.into_iter().for_each(|pod| self.take_pod(pod));
        }
        let told: BTreeSet<String> = names.iter().map(|names| names.namespace.clone()).collect();
        names.into_iter().for_each(|names| self.take_names(names));
        self.keep_pod_namespaces(|namespace| told.contains(namespace));
        self.machine.names.tell(|zone| zone.set_synced());
        Ok(())
    }

    async fn adopt(&mut self, pods: Vec<Pod>) -> Result<(), MachineError> {
        let machine = self.machine.clone();
        let listed = pods.clone();
        let (found, orphans) = tokio::task::spawn_blocking(move || {
            let mut network = machine.network();
            // Whoever cannot see what there is must not take it for missing.
            let records = network.records()?;
            let node = network.observe()?;
            let seen = (&node, &host_links(&node));
            let look = |pod: &Pod, network: &mut Network| {
                let process = machine.runtime.observe(&pod.metadata.uid).ok();
                let link = find_link(network, seen, &records, pod, process.as_ref());
                (pod.metadata.uid.clone(), Found { link, process })
            };
            let found: HashMap<String, Found> =
                listed.iter().map(|pod| look(pod, &mut network)).collect();
            let uids = machine.runtime.list().unwrap_or_default();
            remove_lost_logs(&machine, &listed);
            Ok((found, orphans(&machine, &listed, &records, uids)))
        })
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        .map_err(|source| MachineError::Network { source })?;
        for orphan in orphans {
            tracing::warn!(pod = %orphan.pod.name, "removing what is left of a pod that is gone");
            // The worker ends only with the daemon.
            let _ = self.removals.send(orphan);
        }
        let mut found = found;
        for pod in pods {
            let uid = pod.metadata.uid.clone();
            let found = found.remove(&uid);
            self.take_pod(pod);
            if let Some(found) = found {
                self.adopt_one(&uid, found);
            }
            if let Some(entry) = self.entries.get_mut(&*uid) {
                entry.pod.said = None;
            }
        }
        Ok(())
    }

    fn adopt_one(&mut self, uid: &str, found: Found) {
        let is_alive = found.process.as_ref().is_some_and(|process| process.alive.is_some());
        match found.link {
            Some((_, Ok((link, missing)))) => {
                self.set_link(uid, link);
                self.tell_mended(uid, &missing);
            }
            // Another link would be no use to a process that lives in this one's namespace.
            Some((id, Err(error))) if is_alive => {
                self.tell_broken(uid, chain(&error));
                let link = self.machine.network().link(id, IfIndex::new(0));
                self.set_link(uid, link);
                self.drifted.insert(uid.to_owned());
            }
            Some((_, Err(error))) => self.link_failed(uid, &error),
            // Its namespace is nobody's any more; it starts again in one that is known.
            None if is_alive => {
                if let Err(error) = self.machine.runtime.kill(uid) {
                    tracing::warn!(uid, error = %chain(&error), "a pod without a link lives on");
                }
            }
            None => {}
        }
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let Some(Observed { alive, status }) = found.process else { return };
        match alive {
            Some(process) => {
                entry.process = Process::Alive;
                if let Err(error) = self.watcher.add(Arc::clone(&entry.pod.uid), process.pidfd) {
                    tracing::error!(uid, %error, "the end of a pod will go unnoticed");
                }
                self.take_status(uid);
            }
            None if is_finished(&entry.pod, status.as_ref()) => {
                entry.process = Process::Ended;
                entry.facts.runtime = status;
            }
            None => {
                // Nothing is left of it since the machine was started: PID 1 counts from zero.
                let said = entry.pod.said.as_ref();
                let ran = said.and_then(|said| said.container_statuses.first());
                if status.is_none()
                    && let Some(ran) = ran.filter(|c| c.state.waiting.is_none())
                {
                    entry.facts.restarts_before = ran.restart_count + 1;
                }
            }
        }
    }

    /// Tells of what was missing and is there again.
    pub(super) fn tell_mended(&self, uid: &str, missing: &[String]) {
        let Some(entry) = self.entries.get(uid) else { return };
        if !missing.is_empty() {
            let message = format!("Put back what was missing: {}", missing.join(", "));
            tracing::warn!(pod = %entry.pod.full_name(), "{message}");
            self.machine.pod_event(
                &entry.pod.identity(),
                EventKind::Warning,
                "NetworkRepaired",
                message,
            );
        }
    }
}

/// The link that a record gives to a pod, mended; `None` when there is none to keep.
fn find_link(
    network: &mut Network,
    (node, hosts): (&NodeLinks, &HostLinks<'_>),
    records: &Records,
    pod: &Pod,
    process: Option<&Observed>,
) -> Option<(PodLinkId, Mended)> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = format!("{namespace}/{}", pod.metadata.name);
    let id = *records.get(&name)?;
    let alive = process.and_then(|p| p.alive.as_ref());
    if alive.is_none() && pod.metadata.deletion_timestamp.is_some() {
        // It is about to be removed, by its record.
        return None;
    }
    if !network.is_pinned(id) {
        // The namespace lives on in the processes, if there are any.
        if let Err(error) = network.pin_again(&name, id, alive?.pid) {
            return Some((id, Err(error)));
        }
    }
    let wanted = Wanted { pod: name, addresses: addresses_of(pod.ips()) };
    Some((id, network.mend(&wanted, id, node, hosts, true)))
}

/// Removes logs of pods that are gone: their removal was cut short when nothing else was left.
fn remove_lost_logs(machine: &crate::node::Machine, pods: &[Pod]) {
    let known: BTreeSet<_> =
        pods.iter().map(|pod| machine.log_dir(&PodIdentity::of(pod))).collect();
    let Ok(entries) = std::fs::read_dir(machine.options.state_dir.join("logs")) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if !known.contains(&path)
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            tracing::warn!(path = %path.display(), %error, "the log of a pod that is gone stays");
        }
    }
}

/// Processes and links that belong to no pod of the cluster any more.
fn orphans(
    machine: &crate::node::Machine,
    pods: &[Pod],
    records: &Records,
    uids: Vec<String>,
) -> Vec<Removal> {
    let mut records = records.clone();
    let known: BTreeSet<&str> = pods.iter().map(|pod| pod.metadata.uid.as_str()).collect();
    for pod in pods {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        records.remove(&format!("{namespace}/{}", pod.metadata.name));
    }
    let mut orphans = Vec::new();
    for uid in uids.into_iter().filter(|uid| !known.contains(uid.as_str())) {
        let (namespace, name) = match machine.runtime.config(&uid) {
            Ok(Some(config)) => (config.namespace, config.name),
            _ => (String::new(), String::new()),
        };
        let link = records.remove(&format!("{namespace}/{name}"));
        let pod = PodIdentity { namespace, name, uid };
        orphans.push(Removal { pod, link, is_object_gone: true });
    }
    for (pod, id) in records {
        let (namespace, name) = pod.split_once('/').unwrap_or_default();
        let pod = PodIdentity {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            // No process was ever started for it, so no uid is on disk.
            uid: format!("unknown-{id}"),
        };
        orphans.push(Removal { pod, link: Some(id), is_object_gone: true });
    }
    orphans
}
