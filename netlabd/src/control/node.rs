// SPDX-License-Identifier: GPL-3.0-or-later
//! [`ControlPlane`] over the store of this process: what nodes say, and how they come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use netlab_api::namespace::NamespacePhase;
use netlab_api::node::{NodeSpec, NodeStatus, SERVER_ROLE_LABEL};
use netlab_api::resource::{Kind, Object};
use netlab_api::validate::validate;
use netlab_api::view::{
    NetworkSettings, NodeReport, PodIdentity, PodReport, ReportAnswer, ViewEvent,
};
use netlab_api::wire::NodeRevision;
use netlab_api::{ApiError, Event, Namespace, Node, ObjectMeta, Pod, Reason, Time};
use uuid::Uuid;

use super::cluster::{Cluster, DeleteOptions, Filter, ObjectKey, Objects, Scope};
use super::draft::{Draft, decode_entry};
use super::event::{name_event, put_event, vouch};
use super::ipam::Blocks;
use super::membership::member_path;
use super::plane::{ControlPlane, NodeView};
use super::refusal::check;
use super::{Control, MAX_ROUNDS, delete_pod, pod, remove, too_busy};
use crate::store::Revision;

#[async_trait]
impl ControlPlane for Control {
    async fn view(
        &self,
        node: &str,
        from: Option<Revision>,
    ) -> Result<Box<dyn NodeView>, ApiError> {
        Ok(Box::new(self.feed.view(node, from)))
    }

    async fn report(&self, node: &str, report: NodeReport) -> Result<ReportAnswer, ApiError> {
        let NodeReport { status, programmed, pods, finalized, events } = report;
        self.check_node(node).await?;
        self.liveness.hear(node, Instant::now());
        // Before what follows, which is news of later than the loss.
        if self.feed.is_lost(node) {
            self.mark_back(node).await?;
        }
        if let Some(programmed) = programmed {
            self.feed.report(NodeRevision {
                name: node.to_owned(),
                revision: programmed.revision,
                failures: programmed.failures,
            });
            self.endpoints.begin();
        }
        if let Some(status) = status {
            self.register_node(node, status).await?;
        }
        if !pods.is_empty() {
            self.update_pod_statuses(node, pods).await?;
        }
        if !finalized.is_empty() {
            self.finalize_pods(node, finalized).await?;
        }
        if !events.is_empty() {
            let now = Time::now();
            let events = events.into_iter();
            self.record_events(events.filter_map(|event| vouch(event, node, now)).collect()).await;
        }
        let heartbeat = self.liveness.heartbeat_of(node);
        Ok(ReportAnswer { heartbeat_millis: heartbeat.as_millis().try_into().unwrap_or(u64::MAX) })
    }

    async fn list(&self, scope: &Scope, filter: &Filter) -> Result<Objects, ApiError> {
        Cluster::list(self, scope, filter).await
    }

    async fn network_settings(&self) -> Result<NetworkSettings, ApiError> {
        Cluster::network(self).await
    }

    async fn await_programmed(
        &self,
        revision: Revision,
        timeout: Duration,
    ) -> Result<(), ApiError> {
        Cluster::programmed(self, revision, timeout).await.map(|_| ())
    }
}

impl Control {
    /// Refuses a node that is none, or none any more: what it still says must not make it one
    /// again. The node of this process makes itself.
    async fn check_node(&self, name: &str) -> Result<(), ApiError> {
        if self.feed.has_node(name) || self.liveness.is_home(name) {
            return Ok(());
        }
        // One that has just joined may not be in the index yet.
        let key = ObjectKey::of(&Node::named(name).into());
        Cluster::get(self, &key).await.map(|_| ())
    }

    /// Says something in a node's view that has nothing to do with objects; whether anybody
    /// follows it.
    pub fn tell_node(&self, node: &str, event: ViewEvent) -> bool {
        self.feed.tell(node, event)
    }

    /// A node is there, and this is what it says of itself.
    pub async fn register_node(&self, name: &str, mut status: NodeStatus) -> Result<(), ApiError> {
        let now = Time::now();
        let claims = self.feed.routing().may_encapsulate();
        // Many nodes may come at once, and all of them want the next block.
        let placing = if claims { Some(self.placing.lock().await) } else { None };
        for _ in 0..MAX_ROUNDS {
            let mut draft = Draft::new(&*self.store);
            let found: Option<Node> = draft.get_as(None, name).await?;
            if found.as_ref().is_some_and(super::liveness::is_lost) {
                // With its pods; what it says of itself alone would not bring them back.
                drop(draft);
                self.bring_back(name).await?;
                continue;
            }
            let is_new = found.is_none();
            let mut node = found.unwrap_or_else(|| new_node(name, NodeStatus::default(), now));
            for condition in &mut status.conditions {
                let before = node.status.conditions.iter().find(|c| c.kind == condition.kind);
                condition.last_transition_time = match before {
                    Some(before) if before.status == condition.status => {
                        before.last_transition_time
                    }
                    _ => Some(now),
                };
            }
            let mut blocks = Blocks::new(self.blocks().await?);
            if claims {
                // Its own packets need an address that answers are encapsulated to.
                for network in &self.config.pod_networks {
                    blocks.ensure_block(name, *network, now);
                }
            }
            Control::put_blocks(&mut draft, &blocks, &[]);
            status.pod_blocks = blocks.of_node(name).map(|block| block.spec.cidr).collect();
            let labels = &mut node.metadata.labels;
            let has_new_role = self.liveness.is_home(name)
                && labels.insert(SERVER_ROLE_LABEL.to_owned(), "true".to_owned()).is_none();
            if !is_new && !has_new_role && node.status == status {
                return Ok(());
            }
            node.status = status.clone();
            let node = node.into();
            check(&node, validate(&node))?;
            draft.put(&node);
            if draft.commit_unless_overtaken().await?.is_some() {
                drop(placing);
                self.place_waiting().await;
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// What became of pods, in one write. `uid` guards against a later pod of the same name; a pod
    /// that is gone, or runs on another node than the one that speaks, is left alone.
    pub(super) async fn update_pod_statuses(
        &self,
        speaker: &str,
        updates: Vec<PodReport>,
    ) -> Result<(), ApiError> {
        let now = Time::now();
        for round in 0..MAX_ROUNDS {
            let _turn = self.turns.next(round).await;
            let mut draft = Draft::new(&*self.store);
            for update in &updates {
                let PodIdentity { namespace, name, uid } = &update.pod;
                let Some(mut stored) = draft.get_as::<Pod>(Some(namespace), name).await? else {
                    continue;
                };
                if stored.metadata.uid != *uid || stored.spec.node_name.as_deref() != Some(speaker)
                {
                    continue;
                }
                let status = pod::merge_status(&stored.status, update.status.clone(), now);
                if status != stored.status {
                    stored.status = status;
                    draft.put(&stored.into());
                }
            }
            if draft.is_empty() {
                return Ok(());
            }
            if draft.commit_unless_overtaken().await?.is_some() {
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// These pods' processes and networks are gone; they and their addresses may go.
    pub(super) async fn finalize_pods(
        &self,
        speaker: &str,
        pods: Vec<PodIdentity>,
    ) -> Result<(), ApiError> {
        self.remove_pods(speaker, &pods).await?;
        // Their addresses may be what others wait for, and those that move are made anew.
        self.place_waiting().await;
        Ok(())
    }

    /// Notes that something happened. Equal events are counted. Never fails the caller: an event
    /// that cannot be stored is logged.
    pub(super) async fn record_events(&self, events: Vec<Event>) {
        if let Err(error) = self.try_record_events(&events).await {
            tracing::warn!(%error, "failed to record events");
        }
    }

    async fn try_record_events(&self, events: &[Event]) -> Result<(), ApiError> {
        let now = Time::now();
        for _ in 0..MAX_ROUNDS {
            let mut draft = Draft::new(&*self.store);
            for event in events {
                let mut event = event.clone();
                name_event(&mut event, now);
                let namespace = event.metadata.namespace.clone().unwrap_or_default();
                // The last events of a namespace's pods may come after it is gone with its events.
                if draft.get_as::<Namespace>(None, &namespace).await?.is_some() {
                    put_event(&mut draft, event).await?;
                }
            }
            if draft.is_empty() {
                return Ok(());
            }
            if draft.commit_unless_overtaken().await?.is_some() {
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// Removes pods that their node has let go of, and gives their addresses back.
    pub(super) async fn remove_pods(
        &self,
        speaker: &str,
        pods: &[PodIdentity],
    ) -> Result<(), ApiError> {
        let _placing = self.placing.lock().await;
        for round in 0..MAX_ROUNDS {
            let _turn = self.turns.next(round).await;
            let mut draft = Draft::new(&*self.store);
            let mut blocks = Blocks::new(self.blocks().await?);
            let mut emptied: BTreeMap<String, usize> = BTreeMap::new();
            let mut going = BTreeSet::new();
            for PodIdentity { namespace, name, uid } in pods {
                let Some(stored) = draft.get_as::<Pod>(Some(namespace), name).await? else {
                    continue;
                };
                if stored.metadata.uid != *uid || stored.spec.node_name.as_deref() != Some(speaker)
                {
                    continue;
                }
                blocks.release(uid, stored.ips());
                going.insert((namespace.clone(), name.clone()));
                self.remove_pod(&mut draft, stored);
                *emptied.entry(namespace.clone()).or_default() += 1;
            }
            if draft.is_empty() {
                return Ok(());
            }
            // Addresses only come back here: no node claims a block.
            Control::put_blocks(&mut draft, &blocks, &[]);
            self.remove_emptied_namespaces(&mut draft, emptied).await?;
            self.remove_emptied_nodes(&mut draft, &going, speaker).await?;
            if draft.commit_unless_overtaken().await?.is_some() {
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// Removes namespaces that are being deleted and lose their last pods in this draft.
    async fn remove_emptied_namespaces(
        &self,
        draft: &mut Draft<'_>,
        emptied: BTreeMap<String, usize>,
    ) -> Result<(), ApiError> {
        for (name, going) in emptied {
            let found: Option<Namespace> = draft.get_as(None, &name).await?;
            let Some(namespace) = found else { continue };
            if namespace.status.phase != NamespacePhase::Terminating {
                continue;
            }
            let pods = self.entries(Kind::Pod, Some(&name)).await?;
            if pods.entries.len() == going {
                remove(draft, &ObjectKey::of(&namespace.into()));
                self.remove_events(draft, &name).await?;
            }
        }
        Ok(())
    }

    /// Removes nodes that are being deleted and lose their last pods in this draft.
    async fn remove_emptied_nodes(
        &self,
        draft: &mut Draft<'_>,
        going: &BTreeSet<(String, String)>,
        node: &str,
    ) -> Result<(), ApiError> {
        let found: Option<Node> = draft.get_as(None, node).await?;
        if found.is_none_or(|node| node.metadata.deletion_timestamp.is_none()) {
            return Ok(());
        }
        let pods = self.pods_of_node(node).await?;
        let is_left = |pod: &Pod| {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            !going.contains(&(namespace, pod.metadata.name.clone()))
        };
        match pods.iter().any(is_left) {
            true => Ok(()),
            false => self.remove_node(draft, node).await,
        }
    }

    async fn pods_of_node(&self, node: &str) -> Result<Vec<Pod>, ApiError> {
        let mut pods = Vec::new();
        for entry in self.entries(Kind::Pod, None).await?.entries {
            let pod: Pod = decode_entry(&entry)?;
            if pod.spec.node_name.as_deref() == Some(node) {
                pods.push(pod);
            }
        }
        Ok(pods)
    }

    /// Deletes a node. One that is heard lets go of its pods first; it goes with the last of them.
    /// One that is lost goes at once, with its pods and their addresses: to be had back, its
    /// machine must join again, and what still runs there is removed then.
    pub(super) async fn delete_node(
        &self,
        draft: &mut Draft<'_>,
        node: &mut Node,
        options: &DeleteOptions,
        now: Time,
    ) -> Result<(), ApiError> {
        let name = node.metadata.name.clone();
        if self.liveness.is_home(&name) {
            return Err(ApiError::new(
                Reason::Forbidden,
                format!("nodes \"{name}\" cannot be deleted: it holds the cluster's store"),
            )
            .with_object(format!("node/{name}"))
            .with_hint("`netlabd teardown` on it ends the whole cluster"));
        }
        let pods = self.pods_of_node(&name).await?;
        if node.is_ready() && !pods.is_empty() {
            for mut pod in pods {
                let key = ObjectKey::of(&pod.clone().into());
                // As it is now: it may have changed since it was listed.
                let Some(Object::Pod(read)) = draft.get(&key).await? else { continue };
                pod = read;
                let before = pod.clone();
                delete_pod(draft, &before, &mut pod, options, now);
            }
            node.metadata.deletion_timestamp.get_or_insert(now);
            node.spec.unschedulable = true;
            draft.put(&node.clone().into());
            return Ok(());
        }
        for pod in pods {
            self.remove_pod(draft, pod);
        }
        self.remove_node(draft, &name).await
    }

    /// Removes a node and its address blocks.
    async fn remove_node(&self, draft: &mut Draft<'_>, name: &str) -> Result<(), ApiError> {
        for block in self.blocks().await? {
            if block.spec.node == name {
                let key = ObjectKey::of(&Object::IpamBlock((*block).clone()));
                draft.depend_on(&key, block.metadata.resource_version.parse().ok());
                draft.delete(&key);
            }
        }
        // Its certificate is good no more.
        draft.put_raw(member_path(name), None);
        remove(draft, &ObjectKey::of(&Node::named(name).into()));
        Ok(())
    }

    /// A node that was being deleted is lost: nobody will let go of its pods.
    pub(super) async fn remove_deserted(&self, name: &str) -> Result<(), ApiError> {
        let key = ObjectKey::of(&Node::named(name).into());
        match Cluster::get(self, &key).await {
            Ok(node) if node.metadata().deletion_timestamp.is_some() => {
                Cluster::delete(self, &key, &DeleteOptions::default()).await.map(|_| ())
            }
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A node that was not there before.
pub(super) fn new_node(name: &str, status: NodeStatus, now: Time) -> Node {
    let hostname = ("kubernetes.io/hostname".to_owned(), name.to_owned());
    Node {
        metadata: ObjectMeta {
            name: name.to_owned(),
            uid: Uuid::new_v4().to_string(),
            generation: 1,
            creation_timestamp: Some(now),
            labels: BTreeMap::from([hostname]),
            ..ObjectMeta::default()
        },
        spec: NodeSpec::default(),
        status,
    }
}
