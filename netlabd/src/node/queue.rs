// SPDX-License-Identifier: GPL-3.0-or-later
//! Reports on their way to the cluster: newest status wins, many go in one write.
//!
//! How far the kernel is goes its own way: commands wait for it, and it needs no write.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netlab_api::Event;
use netlab_api::pod::PodStatus;
use netlab_api::view::{NodeReport, PodIdentity, PodReport, ProgrammedReport};
use tokio::sync::Notify;

use crate::control::plane::ControlPlane;

/// How long a failed report rests before it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Most events that wait while the cluster cannot be told; the newest are dropped beyond it.
const MAX_WAITING_EVENTS: usize = 2000;

/// Most statuses, and most events, of one report: the server takes only so many bytes, and after an
/// outage all that a large node has to say waits at once.
const REPORT: usize = 512;

/// What waits to be told.
#[derive(Debug, Default)]
pub struct ReportQueue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    programmed: Mutex<Option<ProgrammedReport>>,
    advanced: Notify,
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

    /// Tells the cluster how far the kernel is.
    pub fn programmed(&self, report: ProgrammedReport) {
        *self.lock_programmed() = Some(report);
        self.advanced.notify_one();
    }

    /// Forgets the status of a pod that is gone.
    pub fn forget(&self, pod: &PodIdentity) {
        self.lock().statuses.remove(pod);
    }

    /// Tells what waits, for ever; `node` is who speaks.
    pub async fn drain(self: Arc<Self>, node: String, cluster: Arc<dyn ControlPlane>) {
        tokio::join!(self.drain_programmed(&node, &*cluster), self.drain_rest(&node, &*cluster));
    }

    async fn drain_programmed(&self, node: &str, cluster: &dyn ControlPlane) {
        loop {
            self.advanced.notified().await;
            let Some(programmed) = self.lock_programmed().take() else { continue };
            let report = NodeReport { programmed: Some(programmed.clone()), ..Default::default() };
            if let Err(error) = cluster.report(node, report).await {
                tracing::debug!(%error, "failed to report how far the kernel is: trying again");
                tokio::time::sleep(RETRY_AFTER).await;
                self.lock_programmed().get_or_insert(programmed);
                self.advanced.notify_one();
            }
        }
    }

    async fn drain_rest(&self, node: &str, cluster: &dyn ControlPlane) {
        loop {
            self.filled.notified().await;
            let Waiting { statuses, events } = self.take_some();
            if !statuses.is_empty() {
                let pods = statuses
                    .iter()
                    .map(|(pod, status)| PodReport { pod: pod.clone(), status: status.clone() })
                    .collect();
                let report = NodeReport { pods, ..NodeReport::default() };
                if let Err(error) = cluster.report(node, report).await {
                    tracing::warn!(%error, "failed to report the status of pods: trying again");
                    self.put_back(statuses, events);
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
            }
            if !events.is_empty() {
                let report = NodeReport { events: events.clone(), ..NodeReport::default() };
                if let Err(error) = cluster.report(node, report).await {
                    tracing::warn!(%error, "failed to report events: trying again");
                    self.put_back(BTreeMap::new(), events);
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// As much as fits into one report of each; the rest is for the next round.
    fn take_some(&self) -> Waiting {
        let mut waiting = self.lock();
        let later = match waiting.statuses.keys().nth(REPORT).cloned() {
            Some(first) => waiting.statuses.split_off(&first),
            None => BTreeMap::new(),
        };
        let statuses = mem::replace(&mut waiting.statuses, later);
        let count = waiting.events.len().min(REPORT);
        let events = waiting.events.drain(..count).collect();
        if waiting.events.is_empty() {
            // A burst's room is not kept.
            waiting.events = Vec::new();
        }
        if !waiting.statuses.is_empty() || !waiting.events.is_empty() {
            self.filled.notify_one();
        }
        Waiting { statuses, events }
    }

    /// Statuses wait again, unless newer ones do, and events in front of newer ones.
    fn put_back(&self, statuses: BTreeMap<PodIdentity, PodStatus>, mut events: Vec<Event>) {
        let mut waiting = self.lock();
        for (pod, status) in statuses {
            waiting.statuses.entry(pod).or_insert(status);
        }
        events.append(&mut waiting.events);
        events.truncate(MAX_WAITING_EVENTS);
        waiting.events = events;
        drop(waiting);
        self.filled.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // Every statement under it leaves both collections whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_programmed(&self) -> std::sync::MutexGuard<'_, Option<ProgrammedReport>> {
        self.programmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use netlab_api::event::EventKind;

    use super::*;
    use crate::control::event::event_about;

    #[tokio::test]
    async fn what_waits_is_told_in_reports_that_the_server_takes() {
        let queue = ReportQueue::default();
        let pods = REPORT * 2 + 1;
        let about = netlab_api::Pod::default().into();
        let event = event_about(&about, EventKind::Normal, "Started", String::new(), "node", "n1");
        for number in 0..pods {
            let pod = PodIdentity {
                namespace: "default".to_owned(),
                name: format!("web-{number}"),
                uid: number.to_string(),
            };
            queue.status(pod, PodStatus::default());
            queue.event(event.clone());
        }
        let mut told = Vec::new();
        loop {
            // As long as something waits, whoever drains the queue is woken.
            queue.filled.notified().await;
            let Waiting { statuses, events } = queue.take_some();
            assert_eq!(statuses.len(), events.len());
            told.push(statuses.len());
            if told.iter().sum::<usize>() == pods {
                break;
            }
        }
        assert_eq!(told, [REPORT, REPORT, 1]);
    }
}
