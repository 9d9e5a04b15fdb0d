// SPDX-License-Identifier: GPL-3.0-or-later
//! The end of pods: processes, then links, then files, then the object. Many at once.
//!
//! ```text
//!   kill ──► pid namespace gone ──► link, routes, pin, record ──► log ──► object and addresses
//! ```
//!
//! In this order an address is only free once nothing in the kernel answers to it. Each step is
//! fine with having been done before, so a removal that was cut short is simply done again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlab_api::view::NodeReport;
use netlab_link::PodLinkId;
use tokio::sync::mpsc;

use super::machine::Machine;
use crate::control::cluster::PodIdentity;
use crate::error::chain;

/// A killed process is gone within milliseconds; one that hangs in the kernel (a dead NFS mount)
/// may take for ever.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Threads that wait for processes to end. They sleep, mostly.
const REMOVERS: usize = 4;

/// Most pods of one round: enough to share the kernel's grace periods, few enough to report.
const ROUND: usize = 512;

/// A pod to remove.
#[derive(Debug, Clone)]
pub(super) struct Removal {
    pub(super) pod: PodIdentity,
    pub(super) link: Option<PodLinkId>,
    /// The cluster knows it no more, and is not to be told.
    pub(super) is_object_gone: bool,
}

/// How a removal ended.
#[derive(Debug, Clone)]
pub(super) struct Removed {
    pub(super) pod: PodIdentity,
    /// Why something is left; `None` when all is gone.
    pub(super) failure: Option<String>,
}

impl Removal {
    fn full_name(&self) -> String {
        format!("{}/{}", self.pod.namespace, self.pod.name)
    }
}

/// Removes pods as they come, for ever.
pub(super) async fn work(
    machine: Arc<Machine>,
    mut wanted: mpsc::UnboundedReceiver<Removal>,
    done: impl Fn(Removed),
) {
    let mut round = Vec::new();
    while wanted.recv_many(&mut round, ROUND).await > 0 {
        let removals = std::mem::take(&mut round);
        let forgotten: BTreeSet<PodIdentity> =
            removals.iter().filter(|r| r.is_object_gone).map(|r| r.pod.clone()).collect();
        let worker = machine.clone();
        let removed = tokio::task::spawn_blocking(move || remove(&worker, &removals)).await;
        let mut removed = match removed {
            Ok(removed) => removed,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let gone: Vec<_> =
            removed.iter().filter(|r| r.failure.is_none()).map(|r| r.pod.clone()).collect();
        for pod in &gone {
            machine.reports.forget(pod);
        }
        let finalized: Vec<_> = gone.into_iter().filter(|pod| !forgotten.contains(pod)).collect();
        let report = NodeReport { finalized, ..NodeReport::default() };
        if !report.finalized.is_empty()
            && let Err(error) = machine.cluster.report(&machine.options.name, report).await
        {
            let untold = |r: &&mut Removed| r.failure.is_none() && !forgotten.contains(&r.pod);
            for removed in removed.iter_mut().filter(untold) {
                removed.failure = Some(error.to_string());
            }
        }
        removed.into_iter().for_each(&done);
    }
}

fn remove(machine: &Machine, removals: &[Removal]) -> Vec<Removed> {
    let began = Instant::now();
    let mut failures: BTreeMap<PodIdentity, String> = BTreeMap::new();
    let share = removals.len().div_ceil(REMOVERS).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = removals
            .chunks(share)
            .map(|part| scope.spawn(|| remove_processes(machine, part)))
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(failed) => failures.extend(failed),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let killed = began.elapsed();
    let alive = |removal: &&Removal| !failures.contains_key(&removal.pod);
    let gone: Vec<&Removal> = removals.iter().filter(alive).collect();
    let links: Vec<_> = gone.iter().filter_map(|r| Some((r.full_name(), r.link?))).collect();
    if !links.is_empty()
        && let Err(errors) = machine.network().remove(&links)
    {
        let text = errors.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; ");
        for removal in &gone {
            failures.insert(removal.pod.clone(), text.clone());
        }
    }
    for removal in &gone {
        if let Err(error) = fs::remove_dir_all(machine.log_dir(&removal.pod))
            && error.kind() != io::ErrorKind::NotFound
        {
            failures
                .entry(removal.pod.clone())
                .or_insert_with(|| format!("failed to remove the log: {error}"));
        }
    }
    let unlinked = began.elapsed() - killed;
    tracing::debug!(pods = removals.len(), ?killed, ?unlinked, "removed pods");
    removals
        .iter()
        .map(|removal| Removed {
            pod: removal.pod.clone(),
            failure: failures.get(&removal.pod).cloned(),
        })
        .collect()
}

fn remove_processes(machine: &Machine, removals: &[Removal]) -> Vec<(PodIdentity, String)> {
    // All at once, then one by one: they end while the first is waited for.
    for removal in removals {
        if let Err(error) = machine.runtime.kill(&removal.pod.uid) {
            tracing::warn!(error = %chain(&error), "a pod was not killed at once");
        }
    }
    removals
        .iter()
        .filter_map(|removal| {
            let error = machine.runtime.remove(&removal.pod.uid, KILL_TIMEOUT).err()?;
            Some((removal.pod.clone(), chain(&error)))
        })
        .collect()
}
