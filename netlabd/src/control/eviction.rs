// SPDX-License-Identifier: GPL-3.0-or-later
//! Eviction: a pod that its node lets go of is made anew on another one.
//!
//! ```text
//!   evict ──► deletionTimestamp and DisruptionTarget ──► its node lets go of it
//!                                                          │ one transaction:
//!   pod anew, record gone ◄── the next transaction ◄── pod gone, record `moves/<ns>/<name>`
//! ```
//!
//! So the pod is in the store at every moment, whoever asked for the eviction may go, and a daemon
//! that is killed in between goes on when it is back. Two transactions rather than one, because a
//! watcher must hear of one pod that is gone and another that is new, not of one whose uid changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use netlab_api::event::EventKind;
use netlab_api::namespace::NamespacePhase;
use netlab_api::pod::{ConditionStatus, DISRUPTION_TARGET};
use netlab_api::{ApiError, Namespace, Node, Pod, Reason, Time};

use super::admission::Admission;
use super::cluster::{DeleteOptions, ObjectKey};
use super::draft::{Draft, decode_entry, read_failed, store_key};
use super::{Control, Placement, delete_pod, pod, remove};

/// Where pods wait that are to be made anew.
const MOVES: &str = "moves/";

/// Deletes a pod so that it is made anew elsewhere, if there is a node that can have it. One whose
/// command has ended is deleted alone: it is not to run twice. So is one that was being deleted.
pub(super) fn evict(
    draft: &mut Draft<'_>,
    evicted: &mut Pod,
    options: &DeleteOptions,
    placement: &Placement,
    now: Time,
) -> Result<(), ApiError> {
    let before = evicted.clone();
    if !evicted.is_finished() && evicted.metadata.deletion_timestamp.is_none() {
        check_elsewhere(evicted, placement)?;
        let mut target = pod::condition(DISRUPTION_TARGET, ConditionStatus::True, now);
        target.reason = Some("EvictionByEvictionAPI".to_owned());
        target.message = Some("it is made anew on another node once it is gone here".to_owned());
        evicted.status.conditions.push(target);
    }
    delete_pod(draft, &before, evicted, options, now);
    Ok(())
}

/// Lets a pod that was evicted be gone for good: it was deleted as well.
pub(super) fn cancel(pod: &mut Pod) {
    pod.status.conditions.retain(|condition| condition.kind != DISRUPTION_TARGET);
}

/// Whether another node than the pod's own would have it now.
fn check_elsewhere(evicted: &Pod, placement: &Placement) -> Result<(), ApiError> {
    let name = &evicted.metadata.name;
    let refuse = |why: String| {
        let message = format!("pod \"{name}\" cannot be evicted: {why}");
        ApiError::new(Reason::Conflict, message).with_object(format!("pod/{name}"))
    };
    let Some(home) = &evicted.spec.node_name else {
        return Err(refuse("it runs on no node".to_owned()));
    };
    let Placement { nodes, blocks, config } = placement;
    let others = others(nodes, home);
    match pod::choose_node(evicted, &others, blocks, config) {
        Ok(_) => Ok(()),
        Err(_) if others.is_empty() => Err(refuse("there is no other node".to_owned())),
        Err(why) => Err(refuse(format!("no other node takes it: {why}"))),
    }
}

/// All nodes but this one.
fn others(nodes: &[Arc<Node>], name: &str) -> Vec<Arc<Node>> {
    nodes.iter().filter(|node| node.metadata.name != name).cloned().collect()
}

impl Control {
    /// Removes a pod that nothing holds any more. One that moves leaves a record, and what was
    /// applied stays said of the one to come.
    pub(super) fn remove_pod(&self, draft: &mut Draft<'_>, gone: Pod) {
        let moves = gone.is_moving();
        let object = gone.into();
        let key = ObjectKey::of(&object);
        if !moves {
            return remove(draft, &key);
        }
        let record = super::wish::fields_of(&object);
        draft.delete(&key);
        draft.put_raw(move_key(&key), Some(&record));
        self.pods_wait.store(true, Ordering::SeqCst);
    }

    /// Pods that are to be made anew, as they were when they went.
    pub(super) async fn moves(&self) -> Result<Vec<Pod>, ApiError> {
        let mut pods = Vec::new();
        for entry in self.store.list(MOVES).await.map_err(read_failed)?.entries {
            match decode_entry(&entry) {
                Ok(pod) => pods.push(pod),
                // Others must not wait for it.
                Err(error) => tracing::error!(key = &*entry.key, %error, "a pod is not made anew"),
            }
        }
        Ok(pods)
    }
}

impl Admission<'_, '_> {
    /// Makes a pod anew that was evicted, on another node if there is one, else to wait for one.
    pub(super) async fn make_anew(&mut self, mut moved: Pod) -> Result<(), ApiError> {
        let key = ObjectKey::of(&moved.clone().into());
        let record = move_key(&key);
        if self.draft.get_raw(&record).await?.is_none() {
            return Ok(());
        }
        self.draft.put_raw(record, None);
        let name = pod::namespaced_name(&moved);
        let namespace = moved.metadata.namespace.clone().unwrap_or_default();
        let home = self.draft.get_as::<Namespace>(None, &namespace).await?;
        if home.is_none_or(|home| home.status.phase == NamespacePhase::Terminating) {
            tracing::info!(pod = name, "an evicted pod went with its namespace");
            self.draft.put_raw(format!("applied/{}", store_key(&key)), None);
            return Ok(());
        }
        if self.draft.get(&key).await?.is_some() {
            let message = format!("{name} is not made anew: another pod has its name by now");
            let event = self.event(&moved, (EventKind::Warning, "FailedMove", message));
            self.draft.put(&event.into());
            return Ok(());
        }
        let from = moved.spec.node_name.take().unwrap_or_default();
        self.begin_life(&mut moved.metadata);
        moved.status = pod::initial_status(&moved);
        let Placement { nodes, blocks, config } = &*self.placement;
        let others = others(nodes, &from);
        let chosen = pod::choose_node(&moved, &others, blocks, config)
            .or_else(|_| pod::choose_node(&moved, nodes, blocks, config));
        let event = match chosen.cloned() {
            Ok(node) => self.bind(&mut moved, &node)?,
            Err(why) => self.leave_waiting(&mut moved, &why),
        };
        self.draft.put(&event.into());
        let message = format!("Made {name} anew, which was evicted from {from}");
        let event = self.event(&moved, (EventKind::Normal, "Moved", message));
        self.draft.put(&event.into());
        self.draft.put(&moved.into());
        Ok(())
    }
}

/// Where the record of a move stands in the store.
fn move_key(key: &ObjectKey) -> String {
    let namespace = key.namespace.as_deref().unwrap_or_default();
    format!("{MOVES}{namespace}/{}", key.name)
}
