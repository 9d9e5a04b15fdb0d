// SPDX-License-Identifier: GPL-3.0-or-later
//! Hearing from the cluster and being heard by it, for ever and whatever happens in between.
//!
//! ```text
//!   view ──► snapshot or what is different ──► changes … ──► lost: again from the last revision
//!   heartbeat ──► every quarter of the time after which the node would count as lost
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use netlab_api::view::{NodeReport, ViewEvent, ViewSnapshot};
use netlab_api::{ApiError, Reason, Time};
use tokio::sync::mpsc;

use super::machine::Machine;
use super::reconciler::Input;
use crate::store::Revision;

/// First and longest rest before the cluster is asked again.
const REST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Rest of a node that was deleted before it asks again: somebody may have made it a member anew.
const DELETED_REST: Duration = Duration::from_secs(10);

/// How often a node speaks until its cluster says how often it wants to hear of it.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Hands the node's view to the loop, for as long as the loop is there.
pub(super) async fn follow(machine: Arc<Machine>, input: mpsc::UnboundedSender<Input>) {
    let own = format!("node/{}", machine.options.name);
    let mut seen = None;
    let mut rest = REST.0;
    loop {
        let before = seen;
        let Err(error) = follow_once(&machine, &input, &mut seen).await else { return };
        if seen != before {
            rest = REST.0;
        }
        match error.reason {
            // It starts anew, at once.
            Reason::Expired => seen = None,
            // The server knows this node no more: what it runs has no place in the cluster. Nothing
            // else that may be forbidden is worth a pod.
            Reason::Forbidden if error.object.as_ref() == Some(&own) => {
                tracing::error!(%error, "letting go of all pods");
                let nothing = ViewSnapshot {
                    revision: seen.map_or(0, |seen: Revision| seen.0),
                    ..ViewSnapshot::default()
                };
                seen = None;
                if input.send(Input::View(ViewEvent::Snapshot(Box::new(nothing)))).is_err() {
                    return;
                }
                tokio::time::sleep(DELETED_REST).await;
            }
            _ => {
                tracing::warn!(%error, "lost sight of the cluster: trying again");
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(REST.1);
            }
        }
    }
}

async fn follow_once(
    machine: &Machine,
    input: &mpsc::UnboundedSender<Input>,
    seen: &mut Option<Revision>,
) -> Result<(), ApiError> {
    let mut view = machine.cluster.view(&machine.options.name, *seen).await?;
    if input.send(Input::Attached).is_err() {
        return Ok(());
    }
    loop {
        let event = view.next().await?;
        let revision = match &event {
            ViewEvent::Snapshot(snapshot) => snapshot.revision,
            ViewEvent::Changes(changes) => changes.revision,
            ViewEvent::Ping | ViewEvent::Dial { .. } => continue,
        };
        machine.proxy.received(&event, Instant::now(), Time::now());
        if input.send(Input::View(event)).is_err() {
            return Ok(());
        }
        *seen = Some(Revision(revision));
    }
}

/// Says that the node is alive, for ever.
pub(super) async fn beat(machine: Arc<Machine>) {
    let mut pause = HEARTBEAT;
    loop {
        let report = machine.cluster.report(&machine.options.name, NodeReport::default());
        // A server that does not answer must not keep the next from being tried.
        match tokio::time::timeout(pause.max(Duration::from_millis(500)), report).await {
            Ok(Ok(answer)) if answer.heartbeat_millis > 0 => {
                pause = Duration::from_millis(answer.heartbeat_millis);
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the cluster does not hear this node"),
            Err(_) => tracing::debug!("the cluster does not answer this node"),
        }
        tokio::time::sleep(pause).await;
    }
}
