// SPDX-License-Identifier: GPL-3.0-or-later
//! [`Cluster`] over the store of this process.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use netlab_api::namespace::NamespacePhase;
use netlab_api::node::{NodeSpec, NodeStatus};
use netlab_api::resource::{Kind, Object};
use netlab_api::wire::{Applied, ApplyResponse, DeleteResponse, NodeRevision, Programmed};
use netlab_api::{ApiError, Event, Namespace, Node, ObjectMeta, Pod, Reason, Time};
use serde_json::Value;
use uuid::Uuid;

use super::admission::{Wish, not_found};
use super::cluster::{
    Cluster, DeleteOptions, Filter, ObjectKey, ObjectWatch, Objects, PodIdentity, PodStatusUpdate,
    Scope, WriteOptions,
};
use super::draft::{Draft, commit_failed, decode, read_failed, store_key};
use super::event::{count_event, name_event};
use super::ipam::Blocks;
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
        let (revision, items) = self.admit(&wish, options.dry_run).await?;
        let is_waiting = |applied: &Applied| match &applied.object {
            Object::Pod(pod) => pod.spec.node_name.is_none(),
            _ => false,
        };
        // A node that came between the decision and its commit has not seen these pods, and the
        // decision has not seen the node.
        if !options.dry_run
            && items.iter().any(is_waiting)
            && let Err(error) = self.place_pending().await
        {
            tracing::warn!(%error, "failed to place pods that wait for a node");
        }
        Ok(ApplyResponse { revision: revision.0, items })
    }

    async fn replace(&self, object: Object, dry_run: bool) -> Result<Object, ApiError> {
        let wish = Wish::Replace(Box::new(object));
        let (_, mut applied) = self.admit(&wish, dry_run).await?;
        self.after_node_change(&applied[0].object).await;
        Ok(applied.remove(0).object)
    }

    async fn patch(
        &self,
        key: &ObjectKey,
        patch: Value,
        dry_run: bool,
    ) -> Result<Object, ApiError> {
        let wish = Wish::Patch(key.clone(), patch);
        let (_, mut applied) = self.admit(&wish, dry_run).await?;
        self.after_node_change(&applied[0].object).await;
        Ok(applied.remove(0).object)
    }

    async fn delete(&self, key: &ObjectKey, options: &DeleteOptions) -> Result<Object, ApiError> {
        let (revision, mut gone) = self.delete_keys(std::slice::from_ref(key), options).await?;
        let mut object = gone.pop().ok_or_else(|| not_found(key))?;
        object.metadata_mut().resource_version = revision.to_string();
        Ok(object)
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
            names.iter().map(key).collect()
        };
        let (revision, items) = self.delete_keys(&keys, options).await?;
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
        let reached = async {
            loop {
                let ready = self.ready_nodes().await?;
                let nodes: Vec<NodeRevision> =
                    progress.borrow_and_update().values().cloned().collect();
                let lags = |name: &String| {
                    nodes.iter().find(|n| n.name == *name).is_none_or(|n| n.revision < target)
                };
                if !ready.iter().any(lags) {
                    return Ok(Programmed { revision: revision.0, nodes });
                }
                if progress.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        if let Ok(reached) = tokio::time::timeout(timeout, reached).await {
            return reached;
        }
        let nodes = self.progress.borrow().clone();
        let lagging: Vec<String> = self
            .ready_nodes()
            .await?
            .into_iter()
            .filter_map(|name| {
                let at = nodes.get(&name).map_or(0, |node| node.revision);
                (at < target).then(|| format!("{name} (at revision {at})"))
            })
            .collect();
        Err(ApiError::new(
            Reason::Timeout,
            format!(
                "revision {revision} is stored but not in every node's kernel after {:?}: lagging: {}",
                timeout,
                lagging.join(", ")
            ),
        )
        .with_hint("look at `netlabctl status` and at the log of netlabd on these nodes"))
    }

    async fn register_node(&self, name: &str, mut status: NodeStatus) -> Result<(), ApiError> {
        let now = Time::now();
        for _ in 0..MAX_ROUNDS {
            let mut draft = Draft::new(&*self.store);
            let found: Option<Node> = draft.get_as(None, name).await?;
            let is_new = found.is_none();
            let mut node = found.unwrap_or_else(|| Node {
                metadata: ObjectMeta {
                    name: name.to_owned(),
                    uid: Uuid::new_v4().to_string(),
                    generation: 1,
                    creation_timestamp: Some(now),
                    labels: BTreeMap::from([(
                        "kubernetes.io/hostname".to_owned(),
                        name.to_owned(),
                    )]),
                    ..ObjectMeta::default()
                },
                spec: NodeSpec::default(),
                status: NodeStatus::default(),
            });
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
            draft.put(&node.into());
            match draft.commit().await {
                Ok(_) => return self.place_pending().await,
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
        for _ in 0..MAX_ROUNDS {
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
        let _placing = self.placing.lock().await;
        for _ in 0..MAX_ROUNDS {
            let mut draft = Draft::new(&*self.store);
            let mut blocks = Blocks::new(self.blocks().await?);
            let mut emptied: BTreeMap<String, usize> = BTreeMap::new();
            for PodIdentity { namespace, name, uid } in &pods {
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
            Control::put_blocks(&mut draft, &blocks);
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

    async fn record_events(&self, events: Vec<Event>) {
        let now = Time::now();
        for _ in 0..MAX_ROUNDS {
            let mut draft = Draft::new(&*self.store);
            let recorded: Result<(), ApiError> = async {
                for mut event in events.iter().cloned() {
                    name_event(&mut event, now);
                    let namespace = event.metadata.namespace.clone();
                    let before: Option<Event> =
                        draft.get_as(namespace.as_deref(), &event.metadata.name).await?;
                    let event = match before {
                        Some(before) => count_event(&before, event),
                        None => event,
                    };
                    draft.put(&event.into());
                }
                Ok(())
            }
            .await;
            if let Err(error) = recorded {
                tracing::warn!(%error, "failed to record events");
                return;
            }
            if draft.is_empty() {
                return;
            }
            match draft.commit().await {
                Ok(_) => return,
                Err(CommitError::Conflict { .. }) => continue,
                Err(error) => {
                    let error = commit_failed(error);
                    tracing::warn!(%error, "failed to record events");
                    return;
                }
            }
        }
    }
}

impl Control {
    async fn ready_nodes(&self) -> Result<Vec<String>, ApiError> {
        let nodes = self.nodes().await?;
        Ok(nodes.iter().filter(|n| n.is_ready()).map(|n| n.metadata.name.clone()).collect())
    }

    /// A node that takes pods again may take those that wait.
    async fn after_node_change(&self, object: &Object) {
        if object.kind() == Kind::Node
            && let Err(error) = self.place_pending().await
        {
            tracing::warn!(%error, "failed to place pods that wait for a node");
        }
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
