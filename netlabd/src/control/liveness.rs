// SPDX-License-Identifier: GPL-3.0-or-later
//! Which nodes are alive: heard of, lost, and back.
//!
//! ```text
//!   any report ──► heard now          nothing for the grace ──► NotReady, and its pods with it
//!                     └── it was lost ──► Ready, and its pods as their commands are
//! ```
//!
//! When a node was heard is not stored: after a start of the server every node has the whole grace
//! to be heard again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use netlab_api::event::EventKind;
use netlab_api::pod::{Condition, ConditionStatus, READY};
use netlab_api::{ApiError, Node, Pod, Time};

use super::draft::Draft;
use super::event::event_about;
use super::{Control, MAX_ROUNDS, too_busy};
use crate::tick;

/// `Ready` condition of a pod whose node was lost, and of no other.
const NODE_NOT_READY: &str = "NodeNotReady";
/// `Ready` condition of a lost node.
const NODE_STATUS_UNKNOWN: &str = "NodeStatusUnknown";

/// A node speaks so many times in the time after which it counts as lost.
const HEARTBEATS_A_GRACE: u32 = 4;

/// How often is looked for lost nodes, as a part of the grace.
const LOOKS_A_GRACE: u32 = 10;

/// How often the node of this process speaks, which is never lost: as at the start, it may have
/// been marked so by a server before this one.
const HOME_HEARTBEAT: Duration = Duration::from_secs(60);

/// Whether a node counts as lost.
pub(super) fn is_lost(node: &Node) -> bool {
    let ready = node.status.conditions.iter().find(|c| c.kind == READY);
    ready.is_some_and(|ready| ready.reason.as_deref() == Some(NODE_STATUS_UNKNOWN))
}

/// When each node was last heard.
#[derive(Debug)]
pub(super) struct Liveness {
    heard: Mutex<HashMap<String, Instant>>,
    grace: Duration,
    /// The node of this process: while somebody asks, it is alive.
    home: OnceLock<String>,
}

impl Liveness {
    pub(super) fn new(grace: Duration) -> Liveness {
        Liveness { heard: Mutex::default(), grace, home: OnceLock::new() }
    }

    pub(super) fn set_home(&self, node: &str) {
        // Said twice, it is the same name.
        let _ = self.home.set(node.to_owned());
    }

    /// Whether this is the node of this process.
    pub(super) fn is_home(&self, node: &str) -> bool {
        self.home.get().is_some_and(|home| home == node)
    }

    /// After which time a node of another process should be heard again.
    fn heartbeat(&self) -> Duration {
        self.grace / HEARTBEATS_A_GRACE
    }

    /// After which time this node should be heard again.
    pub(super) fn heartbeat_of(&self, node: &str) -> Duration {
        if self.is_home(node) { HOME_HEARTBEAT } else { self.heartbeat() }
    }

    pub(super) fn hear(&self, node: &str, now: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(node.to_owned(), now);
    }

    /// Those of `nodes` that were not heard for the grace. One that was never heard is given it.
    fn lost<'a>(&self, nodes: impl IntoIterator<Item = &'a String>, now: Instant) -> Vec<String> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_lost = |node: &&String| {
            let last = *heard.entry((*node).clone()).or_insert(now);
            !self.is_home(node) && now.duration_since(last) >= self.grace
        };
        let nodes: BTreeSet<&String> = nodes.into_iter().collect();
        let lost = nodes.iter().copied().filter(|node| is_lost(node)).cloned().collect();
        // Of nodes that are gone, or lost already, nothing has to be remembered.
        heard.retain(|node, _| nodes.contains(node));
        lost
    }

    /// Whether a node is still not heard: it may have been, since it was found lost.
    fn is_silent(&self, node: &str, now: Instant) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(node).is_none_or(|last| now.duration_since(*last) >= self.grace)
    }

    /// This process did not run for so long: it could hear nobody, and nobody is to blame.
    fn forgive(&self, absence: Duration, now: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        for last in heard.values_mut() {
            *last = (*last + absence).min(now);
        }
    }
}

impl Control {
    /// Looks for lost nodes for as long as the cluster is open. `home` is the node of this process.
    pub fn watch_nodes(self: &Arc<Self>, home: &str) {
        self.liveness.set_home(home);
        let control = Arc::downgrade(self);
        let home = home.to_owned();
        let grace = self.liveness.grace;
        let pause = grace / LOOKS_A_GRACE;
        let heartbeat = self.liveness.heartbeat();
        tokio::spawn(async move {
            loop {
                // With nobody to lose there is no hurry. Who joins meanwhile has the whole grace.
                let is_alone = match control.upgrade() {
                    Some(control) => !control.feed.has_others(&home),
                    None => return,
                };
                if is_alone {
                    tick::next(tick::SHORTEST.min(grace / 2)).await;
                    continue;
                }
                let began = Instant::now();
                tokio::time::sleep(pause).await;
                let absence = began.elapsed().saturating_sub(pause);
                let Some(control) = control.upgrade() else { return };
                // A machine that was overloaded or stopped has heartbeats yet to read.
                if absence >= heartbeat {
                    tracing::warn!(
                        ?absence,
                        "this server was held up: nodes get longer to be heard"
                    );
                    control.liveness.forgive(absence, Instant::now());
                }
                control.look_for_lost_nodes().await;
            }
        });
    }

    async fn look_for_lost_nodes(&self) {
        let ready = self.feed.ready_nodes();
        for node in self.liveness.lost(&ready, Instant::now()) {
            // Marking the ones before it may have taken a while.
            if self.liveness.is_silent(&node, Instant::now())
                && let Err(error) = self.mark_lost(&node).await
            {
                tracing::warn!(node, %error, "a lost node still counts as ready");
            }
        }
        // Deleted while they were alive, and lost before they had let go of their pods.
        for node in self.feed.deserted_nodes() {
            if let Err(error) = self.remove_deserted(&node).await {
                tracing::warn!(node, %error, "a lost node is not deleted yet");
            }
        }
    }

    /// A node was not heard: neither it nor its pods are ready.
    async fn mark_lost(&self, name: &str) -> Result<(), ApiError> {
        let message = format!(
            "netlabd on it was not heard for {} s: is it running, and is the network whole?",
            self.liveness.grace.as_secs_f32()
        );
        tracing::warn!(node = name, "a node is not heard any more: NotReady");
        let about = Node::named(name).into();
        let event = event_about(
            &about,
            EventKind::Warning,
            NODE_NOT_READY,
            format!("Node {name} is NotReady: {message}"),
            "node-controller",
            "",
        );
        self.change_node_and_pods(
            name,
            |node, now| {
                let ready = node.status.conditions.iter_mut().find(|c| c.kind == READY)?;
                if ready.status != ConditionStatus::True {
                    return None;
                }
                *ready = Condition {
                    kind: READY.to_owned(),
                    status: ConditionStatus::Unknown,
                    last_transition_time: Some(now),
                    reason: Some(NODE_STATUS_UNKNOWN.to_owned()),
                    message: Some(message.clone()),
                };
                Some(())
            },
            |pod, now| {
                let ready = pod.status.conditions.iter_mut().find(|c| c.kind == READY)?;
                if ready.status != ConditionStatus::True {
                    return None;
                }
                ready.status = ConditionStatus::False;
                ready.last_transition_time = Some(now);
                ready.reason = Some(NODE_NOT_READY.to_owned());
                ready.message = Some(format!("node {name} is not heard"));
                Some(())
            },
        )
        .await?;
        self.record_events(vec![event]).await;
        Ok(())
    }

    /// A lost node was heard again: its pods are as ready as their commands were.
    pub(super) async fn mark_back(&self, name: &str) -> Result<(), ApiError> {
        self.bring_back(name).await?;
        self.place_waiting().await;
        Ok(())
    }

    /// As [`Control::mark_back`], without a look for pods that may be placed on it now.
    pub(super) async fn bring_back(&self, name: &str) -> Result<(), ApiError> {
        tracing::info!(node = name, "a lost node is back: Ready");
        self.change_node_and_pods(
            name,
            |node, now| {
                if !is_lost(node) {
                    return None;
                }
                let ready = node.status.conditions.iter_mut().find(|c| c.kind == READY)?;
                *ready = Condition {
                    kind: READY.to_owned(),
                    status: ConditionStatus::True,
                    last_transition_time: Some(now),
                    reason: Some("NetlabdReady".to_owned()),
                    message: Some("netlabd is running and its kernel is programmed".to_owned()),
                };
                Some(())
            },
            |pod, now| {
                let is_ready = pod.status.container_statuses.first().is_some_and(|c| c.ready);
                let ready = pod.status.conditions.iter_mut().find(|c| c.kind == READY)?;
                if ready.reason.as_deref() != Some(NODE_NOT_READY) || !is_ready {
                    return None;
                }
                ready.status = ConditionStatus::True;
                ready.last_transition_time = Some(now);
                ready.reason = None;
                ready.message = None;
                Some(())
            },
        )
        .await
    }

    /// Changes a node and its pods in one write; nothing is written when the node is left as it is.
    async fn change_node_and_pods(
        &self,
        name: &str,
        change_node: impl Fn(&mut Node, Time) -> Option<()>,
        change_pod: impl Fn(&mut Pod, Time) -> Option<()>,
    ) -> Result<(), ApiError> {
        let now = Time::now();
        for round in 0..MAX_ROUNDS {
            let _turn = self.turns.next(round).await;
            let mut draft = Draft::new(&*self.store);
            let Some(mut node) = draft.get_as::<Node>(None, name).await? else { return Ok(()) };
            if change_node(&mut node, now).is_none() {
                return Ok(());
            }
            draft.put(&node.into());
            for (namespace, pod) in self.feed.pods_on(name) {
                let found = draft.get_as::<Pod>(Some(&namespace), &pod).await?;
                if let Some(mut pod) = found
                    && change_pod(&mut pod, now).is_some()
                {
                    draft.put(&pod.into());
                }
            }
            if draft.commit_unless_overtaken().await?.is_some() {
                return Ok(());
            }
        }
        Err(too_busy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_lost_after_the_grace_and_not_before() {
        let liveness = Liveness::new(Duration::from_secs(10));
        let (n1, n2) = ("n1".to_owned(), "n2".to_owned());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // Never heard since the start of the server: it has the whole grace.
        assert!(liveness.lost([&n1, &n2], at(0)).is_empty());
        liveness.hear("n2", at(5));
        assert!(liveness.lost([&n1, &n2], at(9)).is_empty());
        assert_eq!(liveness.lost([&n1, &n2], at(10)), ["n1"]);
        assert_eq!(liveness.lost([&n1, &n2], at(15)), ["n1", "n2"]);
        liveness.hear("n1", at(15));
        assert_eq!(liveness.lost([&n1, &n2], at(16)), ["n2"]);
    }

    #[test]
    fn nodes_are_not_blamed_for_the_time_in_which_nobody_listened() {
        let liveness = Liveness::new(Duration::from_secs(10));
        let (n1, n2) = ("n1".to_owned(), "n2".to_owned());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        liveness.hear("n1", at(0));
        liveness.hear("n2", at(8));
        // Stopped from 1 to 31, and meanwhile n2's heartbeat came in.
        liveness.forgive(Duration::from_secs(30), at(31));
        assert!(liveness.lost([&n1, &n2], at(31)).is_empty());
        assert_eq!(liveness.lost([&n1, &n2], at(40)), ["n1"]);
        assert_eq!(liveness.lost([&n1, &n2], at(41)), ["n1", "n2"]);
    }

    #[test]
    fn only_nodes_that_count_as_ready_are_remembered() {
        let liveness = Liveness::new(Duration::from_secs(10));
        let start = Instant::now();
        liveness.hear("n1", start);
        liveness.hear("deleted", start);
        assert!(liveness.lost([&"n1".to_owned()], start).is_empty());
        assert_eq!(liveness.heard.lock().unwrap().keys().collect::<Vec<_>>(), ["n1"]);
    }

    #[test]
    fn the_node_of_this_process_is_never_lost() {
        let liveness = Liveness::new(Duration::from_secs(1));
        liveness.home.set("n1".to_owned()).unwrap();
        let n1 = "n1".to_owned();
        let start = Instant::now();
        liveness.hear("n1", start);
        assert!(liveness.lost([&n1], start + Duration::from_secs(60)).is_empty());
    }
}
