// SPDX-License-Identifier: GPL-3.0-or-later
//! Statuses and events on their way to the cluster: newest status wins, many go in one write.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netlab_api::Event;
use netlab_api::pod::PodStatus;
use tokio::sync::Notify;

use crate::control::cluster::{Cluster, PodIdentity, PodStatusUpdate};

/// How long a failed write rests before it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Most events that wait while the store cannot be written; the newest are dropped beyond it.
const MAX_WAITING_EVENTS: usize = 2000;

/// What waits to be written.
#[derive(Debug, Default)]
pub struct ReportQueue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    statuses: BTreeMap<PodIdentity, PodStatus>,
    events: Vec<Event>,
}

impl ReportQueue {
    /// Tells the cluster a pod's status, unless a newer one comes first.
    pub fn status(&self, pod: PodIdentity, status: PodStatus) {
        self.lock().statuses.insert(pod, status);
        self.filled.notify_one();
    }

    /// Tells the cluster that something happened.
    pub fn event(&self, event: Event) {
        let mut waiting = self.lock();
        if waiting.events.len() < MAX_WAITING_EVENTS {
            waiting.events.push(event);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Forgets the status of a pod that is gone.
    pub fn forget(&self, pod: &PodIdentity) {
        self.lock().statuses.remove(pod);
    }

    /// Writes what waits, for ever.
    pub async fn drain(self: Arc<Self>, cluster: Arc<dyn Cluster>) {
        loop {
            self.filled.notified().await;
            let Waiting { statuses, events } = mem::take(&mut *self.lock());
            if !statuses.is_empty() {
                let updates = statuses
                    .iter()
                    .map(|(pod, status)| PodStatusUpdate {
                        pod: pod.clone(),
                        status: status.clone(),
                    })
                    .collect();
                if let Err(error) = cluster.update_pod_statuses(updates).await {
                    tracing::warn!(%error, "failed to report the status of pods: trying again");
                    self.put_back(statuses);
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
            if !events.is_empty() {
                cluster.record_events(events).await;
            }
        }
    }

    /// Statuses wait again, unless newer ones do.
    fn put_back(&self, statuses: BTreeMap<PodIdentity, PodStatus>) {
        let mut waiting = self.lock();
        for (pod, status) in statuses {
            waiting.statuses.entry(pod).or_insert(status);
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // Every statement under it leaves both collections whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
