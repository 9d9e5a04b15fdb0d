// SPDX-License-Identifier: GPL-3.0-or-later
//! [`Cluster`] over the store of this process.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use netlab_api::namespace::NamespacePhase;
use netlab_api::node::{NodeSpec, NodeStatus};
use netlab_api::resource::{Kind, Object};
use netlab_api::validate::validate;
use netlab_api::wire::{Applied, ApplyResponse, DeleteResponse, NodeRevision, Programmed};
use netlab_api::{ApiError, Event, Namespace, Node, ObjectMeta, Pod, Reason, Time};
use serde_json::Value;
use uuid::Uuid;

use super::admission::Wish;
use super::cluster::{
    Cluster, DeleteOptions, Filter, ObjectKey, ObjectWatch, Objects, PodIdentity, PodStatusUpdate,
    Scope, WriteOptions,
};
use super::draft::{Draft, commit_failed, decode, read_failed, store_key};
use super::event::{name_event, put_event};
use super::ipam::Blocks;
use super::refusal::{check, not_found};
use super::watch::{FilteredWatch, watch_failed};
use super::{Control, MAX_ROUNDS, pod, remove, too_busy};
use crate::store::{CommitError, Revision};

#[async_trait]
impl Cluster for Control {
    async fn get(&self, key: &ObjectKey) -> Result<Object, ApiError> {
        let entry = self.store.get(&store_key(key)).await.map_err(read_failed)?;
        decode(key.kind, &entry.ok_or_else(|| not_found(key))?)
    }

    async fn list(&self, scope: &Scope, filter: &Filter) -> Result<Objects, ApiError> {
        let listing = self.entries(scope.kind, scope.namespace.as_deref()).await?;
        let mut items = Vec::with_capacity(listing.entries.len());
        for entry in &listing.entries {
            let object = decode(scope.kind, entry)?;
            if filter.matches(&object) {
                items.push(object);
            }
        }
        Ok(Objects { revision: listing.revision, items })
    }

    async fn watch(
        &self,
        scope: &Scope,
        filter: Filter,
        from: Revision,
    ) -> Result<Box<dyn ObjectWatch>, ApiError> {
        let prefix = match &scope.namespace {
            Some(namespace) => format!("{}/{namespace}/", scope.kind.plural()),
            None => format!("{}/", scope.kind.plural()),
        };
        // Subscribe first: what the list below misses, the watch has.
        let watch = self.store.watch(&prefix, from).await.map_err(watch_failed)?;
        let mut matching = HashSet::new();
        let mut matching_since = from;
        if !filter.is_everything() {
            let listing = self.entries(scope.kind, scope.namespace.as_deref()).await?;
            matching_since = listing.revision;
            for entry in listing.entries {
                if entry.modified <= from && filter.matches(&decode(scope.kind, &entry)?) {
                    matching.insert(entry.key);
                }
            }
        }
        Ok(Box::new(FilteredWatch { kind: scope.kind, filter, watch, matching, matching_since }))
    }

    async fn apply(
        &self,
        objects: Vec<Object>,
        options: WriteOptions,
    ) -> Result<ApplyResponse, ApiError> {
        let wish = Wish::Apply(objects, options);
        let (revision, items) = self.admit_for_users(&wish, options.dry_run).await?;
        Ok(ApplyResponse { revision: revision.0, items })
    }

    async fn replace(&self, object: Object, dry_run: bool) -> Result<Object, ApiError> {
        let wish = Wish::Replace(Box::new(object));
        let (_, mut applied) = self.admit_for_users(&wish, dry_run).await?;
        Ok(applied.remove(0).object)
    }

    async fn patch(
        &self,
        key: &ObjectKey,
        patch: Value,
        dry_run: bool,
    ) -> Result<Object, ApiError> {
        let wish = Wish::Patch(key.clone(), patch);
        let (_, mut applied) = self.admit_for_users(&wish, dry_run).await?;
        Ok(applied.remove(0).object)
    }

    async fn delete(&self, key: &ObjectKey, options: &DeleteOptions) -> Result<Object, ApiError> {
        let keys = std::slice::from_ref(key);
        let (_, mut gone) = self.delete_keys(keys, options, false).await?;
        gone.pop().ok_or_else(|| not_found(key))
    }

    async fn delete_many(
        &self,
        scope: &Scope,
        names: &[String],
        filter: &Filter,
        options: &DeleteOptions,
    ) -> Result<DeleteResponse, ApiError> {
        let keys: Vec<ObjectKey> = if names.is_empty() {
            self.list(scope, filter).await?.items.iter().map(ObjectKey::of).collect()
        } else {
            let key = |name: &String| ObjectKey {
                kind: scope.kind,
                namespace: scope.namespace.clone(),
                name: name.clone(),
            };
            let mut seen = HashSet::new();
            names.iter().filter(|name| seen.insert(*name)).map(key).collect()
        };
        // Of those that were not named, one may have gone since they were listed.
        let (revision, items) = self.delete_keys(&keys, options, names.is_empty()).await?;
        Ok(DeleteResponse { revision: revision.0, items })
    }

    async fn revision(&self) -> Result<Revision, ApiError> {
        self.store.revision().await.map_err(read_failed)
    }

    async fn programmed(
        &self,
        revision: Revision,
        timeout: Duration,
    ) -> Result<Programmed, ApiError> {
        let newest = self.revision().await?;
        if revision > newest {
            return Err(ApiError::new(
                Reason::BadRequest,
                format!("revision {revision} has not happened yet: the newest is {newest}"),
            ));
        }
        // Most writes are no node's business (events, statuses): wait for the newest one that is.
        let target = revision.0.min(self.wanted.load(Ordering::SeqCst));
        let mut progress = self.progress.subscribe();
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let nodes = progress.borrow_and_update().clone();
            let at = |name: &String| nodes.get(name).map_or(0, |node| node.revision);
            let mut lagging = self.ready_nodes().await?;
            lagging.retain(|name| at(name) < target);
            if lagging.is_empty() {
                let nodes = nodes.into_values().collect();
                return Ok(Programmed { revision: revision.0, nodes });
            }
            match tokio::time::timeout_at(deadline, progress.changed()).await {
                Ok(changed) => changed.expect("the sender lives as long as `self`"),
                Err(_) => {
                    let lagging: Vec<_> = lagging
                        .iter()
                        .map(|name| format!("{name} (at revision {})", at(name)))
                        .collect();
                    return Err(ApiError::new(
                        Reason::Timeout,
                        format!(
                            "revision {revision} is stored but not in every node's kernel after \
                             {timeout:?}: lagging: {}",
                            lagging.join(", ")
                        ),
                    )
                    .with_hint(
                        "look at `netlabctl status` and at the log of netlabd on these nodes",
                    ));
                }
            }
        }
    }

    async fn register_node(&self, name: &str, mut status: NodeStatus) -> Result<(), ApiError> {
        let now = Time::now();
        for _ in 0..MAX_ROUNDS {
            let mut draft = Draft::new(&*self.store);
            let found: Option<Node> = draft.get_as(None, name).await?;
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
            status.pod_blocks = pod::blocks_of(name, &self.blocks().await?);
            if !is_new && node.status == status {
                return Ok(());
            }
            node.status = status.clone();
            let node = node.into();
            check(&node, validate(&node))?;
            draft.put(&node);
            match draft.commit().await {
                Ok(_) => {
                    // Who waits for nodes that are ready looks again which these are.
                    self.progress.send_modify(|_| {});
                    self.place_waiting().await;
                    return Ok(());
                }
                Err(CommitError::Conflict { .. }) => continue,
                Err(error) => return Err(commit_failed(error)),
            }
        }
        Err(too_busy())
    }

    async fn report_programmed(&self, node: &str, revision: Revision, failures: Vec<String>) {
        self.progress.send_if_modified(|nodes| {
            let report = NodeRevision { name: node.to_owned(), revision: revision.0, failures };
            nodes.insert(node.to_owned(), report.clone()) != Some(report)
        });
    }

    async fn update_pod_statuses(&self, updates: Vec<PodStatusUpdate>) -> Result<(), ApiError> {
        let now = Time::now();
        for round in 0..MAX_ROUNDS {
            let _turn = self.turns.next(round).await;
            let mut draft = Draft::new(&*self.store);
            for update in &updates {
                let PodIdentity { namespace, name, uid } = &update.pod;
                let Some(mut stored) = draft.get_as::<Pod>(Some(namespace), name).await? else {
                    continue;
                };
                if stored.metadata.uid != *uid {
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
            match draft.commit().await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict { .. }) => continue,
                Err(error) => return Err(commit_failed(error)),
            }
        }
        Err(too_busy())
    }

    async fn finalize_pods(&self, pods: Vec<PodIdentity>) -> Result<(), ApiError> {
        self.remove_pods(&pods).await?;
        // Their addresses may be what others wait for.
        self.place_waiting().await;
        Ok(())
    }

    async fn record_events(&self, events: Vec<Event>) {
        if let Err(error) = self.try_record_events(&events).await {
            tracing::warn!(%error, "failed to record events");
        }
    }
}

impl Control {
    async fn ready_nodes(&self) -> Result<Vec<String>, ApiError> {
        let nodes = self.nodes().await?;
        Ok(nodes.iter().filter(|n| n.is_ready()).map(|n| n.metadata.name.clone()).collect())
    }

    /// Grants a wish; a node that it changed may take pods that wait.
    async fn admit_for_users(
        &self,
        wish: &Wish,
        dry_run: bool,
    ) -> Result<(Revision, Vec<Applied>), ApiError> {
        let (revision, applied) = self.admit(wish, dry_run).await?;
        if !dry_run && applied.iter().any(|a| a.object.kind() == Kind::Node) {
            self.place_waiting().await;
        }
        Ok((revision, applied))
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
            match draft.commit().await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict { .. }) => continue,
                Err(error) => return Err(commit_failed(error)),
            }
        }
        Err(too_busy())
    }

    /// Removes pods that their node has let go of, and gives their addresses back.
    async fn remove_pods(&self, pods: &[PodIdentity]) -> Result<(), ApiError> {
        let _placing = self.placing.lock().await;
        for round in 0..MAX_ROUNDS {
            let _turn = self.turns.next(round).await;
            let mut draft = Draft::new(&*self.store);
            let mut blocks = Blocks::new(self.blocks().await?);
            let mut emptied: BTreeMap<String, usize> = BTreeMap::new();
            for PodIdentity { namespace, name, uid } in pods {
                let Some(stored) = draft.get_as::<Pod>(Some(namespace), name).await? else {
                    continue;
                };
                if stored.metadata.uid != *uid {
                    continue;
                }
                blocks.release(uid, stored.ips());
                remove(&mut draft, &ObjectKey::of(&stored.into()));
                *emptied.entry(namespace.clone()).or_default() += 1;
            }
            if draft.is_empty() {
                return Ok(());
            }
            // Addresses only come back here: no node claims a block.
            Control::put_blocks(&mut draft, &blocks, &[]);
            self.remove_emptied_namespaces(&mut draft, emptied).await?;
            let concerns_nodes = draft.concerns_nodes();
            match draft.commit().await {
                Ok(revision) => {
                    self.want(concerns_nodes, revision);
                    return Ok(());
                }
                Err(CommitError::Conflict { .. }) => continue,
                Err(error) => return Err(commit_failed(error)),
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
