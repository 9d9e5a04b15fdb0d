// SPDX-License-Identifier: GPL-3.0-or-later
//! Decisions: defaults, validation, addresses, placement, and what a status means.
//!
//! Reads the store, writes the store, touches no kernel. Data comes in from `server` (what users
//! want) and from `node` (what became of it), and leaves as transactions.
//!
//! Every decision has the same form: read into a draft, decide, commit on the condition that
//! what was read is unchanged; when it is not, decide again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use netlab_api::resource::{Kind, Object};
use netlab_api::wire::Applied;
use netlab_api::{ApiError, Event, IpamBlock, Namespace, Node, ObjectMeta, Pod, Reason, Time};

use admission::{Admission, Wish};
use cluster::{Cluster, DeleteOptions, ObjectKey, WriteOptions};
use config::ClusterConfig;
use decoded::Decoded;
use draft::{Draft, decode_entry, read_failed, store_key};
use endpoints::Endpoints;
use feed::Feed;
use ipam::Blocks;
use liveness::Liveness;
use refusal::{check_deletable, not_found};
use turn::Turns;

use crate::store::{Listing, Revision, Store};

pub mod access;
mod admission;
pub mod cluster;
pub mod config;
mod decoded;
mod draft;
mod endpoints;
pub mod event;
mod eviction;
mod feed;
pub mod ipam;
mod liveness;
mod local;
pub mod membership;
mod namespace;
mod network;
mod node;
pub mod plane;
mod pod;
mod refusal;
mod service;
mod turn;
mod watch;
mod wish;

/// How often a decision is made anew when others were faster, before the caller hears of it.
/// Writers of one daemon queue up, so more than one round is rare.
const MAX_ROUNDS: usize = 16;

/// The cluster over the store of this process.
pub struct Control {
    store: Arc<dyn Store>,
    config: ClusterConfig,
    /// Held from reading the address blocks to their commit: everybody who makes a pod wants the
    /// same blocks, and queueing costs less than deciding again.
    placing: tokio::sync::Mutex<()>,
    /// Keeps those who were overtaken again and again from being so for ever.
    turns: Turns,
    /// Placement looks at all nodes and all blocks.
    decoded_nodes: Decoded<Node>,
    decoded_blocks: Decoded<IpamBlock>,
    /// Which nodes have to hear of a change, and how far they are.
    feed: Arc<Feed>,
    /// Which pods stand behind which service.
    endpoints: Arc<Endpoints>,
    /// Which nodes are alive.
    liveness: Liveness,
    /// Whether there may be pods without a node, or evicted ones that are to be made anew.
    pods_wait: AtomicBool,
    /// At which revision events were counted last.
    counted_events: AtomicU64,
}

/// How long a node may be silent before it counts as lost.
pub const NODE_GRACE: Duration = Duration::from_secs(10);

/// What placement looks at and changes.
struct Placement {
    nodes: Vec<Arc<Node>>,
    blocks: Blocks,
    config: ClusterConfig,
}

impl Control {
    /// Decides over `store`, which gets a namespace `default` if it has none.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn open(store: Arc<dyn Store>, config: ClusterConfig) -> Result<Control, ApiError> {
        let feed = Feed::start(store.clone()).await?;
        let endpoints = Endpoints::start(store.clone()).await?;
        let control = Control {
            store,
            config,
            placing: tokio::sync::Mutex::new(()),
            turns: Turns::default(),
            decoded_nodes: Decoded::default(),
            decoded_blocks: Decoded::default(),
            feed,
            endpoints,
            liveness: Liveness::new(NODE_GRACE),
            pods_wait: AtomicBool::new(true),
            counted_events: AtomicU64::new(0),
        };
        let default =
            ObjectKey { kind: Kind::Namespace, namespace: None, name: "default".to_owned() };
        if control.get(&default).await.is_err_and(|error| error.is_not_found()) {
            let metadata = ObjectMeta { name: default.name, ..ObjectMeta::default() };
            let namespace = Namespace { metadata, ..Namespace::default() };
            control.apply(vec![namespace.into()], WriteOptions::default()).await?;
        }
        // The daemon before may have ended between a pod's end and its new beginning.
        control.place_waiting().await;
        // Networks, pools and modes may be others than before.
        control.take_configuration().await?;
        control.balance_waiting().await;
        Ok(control)
    }

    /// The same cluster, in which a node may be silent for so long before it counts as lost.
    pub fn with_node_grace(mut self, grace: Duration) -> Control {
        self.liveness = Liveness::new(grace);
        self
    }

    /// The same cluster, in which `node` is the node of this process: it is alive while anybody
    /// asks, and nobody but itself makes it a node.
    pub fn with_home(self, node: &str) -> Control {
        self.liveness.set_home(node);
        self
    }

    /// The cluster's networks and names.
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// Forgets events that are too many, and with `thorough` also those that are old, for which
    /// all of them must be read. To be called now and then.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn prune_events(&self, now: Time, thorough: bool) -> Result<usize, ApiError> {
        let revision = self.revision().await?;
        // Where nothing was written there are no more events than before, and counting them means
        // to list thousands.
        if self.counted_events.load(Ordering::Relaxed) == revision.0 && !thorough {
            return Ok(0);
        }
        let entries = self.entries(Kind::Event, None).await?;
        if !thorough && entries.entries.len() <= event::MAX_EVENTS {
            self.counted_events.store(entries.revision.0, Ordering::Relaxed);
            return Ok(0);
        }
        let events: Vec<Event> =
            entries.entries.iter().map(decode_entry).collect::<Result<_, _>>()?;
        let outlived = event::outlived(events, now);
        if outlived.is_empty() {
            return Ok(0);
        }
        let mut draft = Draft::new(&*self.store);
        for key in &outlived {
            draft.delete(key);
        }
        draft.commit().await?;
        Ok(outlived.len())
    }

    async fn entries(&self, kind: Kind, namespace: Option<&str>) -> Result<Listing, ApiError> {
        let prefix = match namespace {
            Some(namespace) => format!("{}/{namespace}/", kind.plural()),
            None => format!("{}/", kind.plural()),
        };
        self.store.list(&prefix).await.map_err(read_failed)
    }

    async fn nodes(&self) -> Result<Vec<Arc<Node>>, ApiError> {
        self.decoded_nodes.all(&self.entries(Kind::Node, None).await?.entries)
    }

    async fn blocks(&self) -> Result<Vec<Arc<IpamBlock>>, ApiError> {
        self.decoded_blocks.all(&self.entries(Kind::IpamBlock, None).await?.entries)
    }

    async fn placement(&self) -> Result<Placement, ApiError> {
        Ok(Placement {
            nodes: self.nodes().await?,
            blocks: Blocks::new(self.blocks().await?),
            config: self.config.clone(),
        })
    }

    /// Writes the blocks that a decision changed, on the condition that nobody else did. A node
    /// that claimed one has it in its status in the same moment.
    fn put_blocks(draft: &mut Draft<'_>, blocks: &Blocks, nodes: &[Arc<Node>]) {
        let mut claimed: BTreeMap<&str, Vec<IpNet>> = BTreeMap::new();
        for block in blocks.changed() {
            let object = Object::IpamBlock(block.clone());
            let read_at = block.metadata.resource_version.parse().ok();
            if read_at.is_none() {
                claimed.entry(&block.spec.node).or_default().push(block.spec.cidr);
            }
            draft.depend_on(&ObjectKey::of(&object), read_at);
            draft.put(&object);
        }
        for node in nodes {
            let Some(cidrs) = claimed.remove(node.metadata.name.as_str()) else { continue };
            let mut node = Node::clone(node);
            node.status.pod_blocks.extend(cidrs);
            node.status.pod_blocks.sort();
            let read_at = node.metadata.resource_version.parse().ok();
            let object = Object::Node(node);
            draft.depend_on(&ObjectKey::of(&object), read_at);
            draft.put(&object);
        }
    }

    /// Makes a wish come true, all of it or nothing. Objects come back in the wish's order, with
    /// the revision of the write.
    async fn admit(
        &self,
        wish: &Wish,
        dry_run: bool,
    ) -> Result<(Revision, Vec<Applied>), ApiError> {
        self.admit_alone(wish, dry_run, &self.placing.lock().await).await
    }

    async fn admit_alone(
        &self,
        wish: &Wish,
        dry_run: bool,
        _placing: &tokio::sync::MutexGuard<'_, ()>,
    ) -> Result<(Revision, Vec<Applied>), ApiError> {
        for round in 0..MAX_ROUNDS {
            let _turn = self.turns.next(round).await;
            let mut draft = Draft::new(&*self.store);
            let mut placement = self.placement().await?;
            let mut admission = Admission {
                draft: &mut draft,
                placement: &mut placement,
                now: Time::now(),
                leaves_waiting: false,
            };
            let mut outcome = admission.grant(wish).await?;
            let leaves_waiting = admission.leaves_waiting;
            if dry_run || draft.is_empty() {
                return Ok((self.revision().await?, outcome));
            }
            Control::put_blocks(&mut draft, &placement.blocks, &placement.nodes);
            let written: Vec<bool> =
                outcome.iter().map(|a| draft.changes(&ObjectKey::of(&a.object))).collect();
            if leaves_waiting {
                self.pods_wait.store(true, Ordering::SeqCst);
            }
            if let Some(revision) = draft.commit_unless_overtaken().await? {
                for (applied, _) in outcome.iter_mut().zip(written).filter(|(_, w)| *w) {
                    let version = &mut applied.object.metadata_mut().resource_version;
                    *version = revision.to_string();
                }
                return Ok((revision, outcome));
            }
        }
        Err(too_busy())
    }

    /// Marks objects as deleted, or removes those that nothing has to let go of. Those that are
    /// not there are an error, or with `skip_missing` none.
    async fn delete_keys(
        &self,
        keys: &[ObjectKey],
        options: &DeleteOptions,
        skip_missing: bool,
    ) -> Result<(Revision, Vec<Object>), ApiError> {
        for key in keys {
            check_deletable(key)?;
        }
        // A pod made between the look for a namespace's or node's pods and the commit would outlive
        // it.
        let holds_pods = |key: &ObjectKey| matches!(key.kind, Kind::Namespace | Kind::Node);
        let _placing = match keys.iter().any(holds_pods) {
            true => Some(self.placing.lock().await),
            false => None,
        };
        for round in 0..MAX_ROUNDS {
            let _turn = self.turns.next(round).await;
            let mut draft = Draft::new(&*self.store);
            let mut gone = Vec::with_capacity(keys.len());
            for key in keys {
                match self.delete_one(&mut draft, key, options).await {
                    Err(error) if skip_missing && error.is_not_found() => {}
                    object => gone.push(object?),
                }
            }
            if options.dry_run || draft.is_empty() {
                return Ok((self.revision().await?, gone));
            }
            let written: Vec<bool> =
                gone.iter().map(|object| draft.changes(&ObjectKey::of(object))).collect();
            if let Some(revision) = draft.commit_unless_overtaken().await? {
                for (object, _) in gone.iter_mut().zip(written).filter(|(_, w)| *w) {
                    object.metadata_mut().resource_version = revision.to_string();
                }
                return Ok((revision, gone));
            }
        }
        Err(too_busy())
    }

    async fn delete_one(
        &self,
        draft: &mut Draft<'_>,
        key: &ObjectKey,
        options: &DeleteOptions,
    ) -> Result<Object, ApiError> {
        let mut object = draft.get(key).await?.ok_or_else(|| not_found(key))?;
        if options.evict && key.kind != Kind::Pod {
            let message = format!("{} cannot be evicted: only pods can", key.kind.plural());
            return Err(ApiError::new(Reason::BadRequest, message).with_object(object.slash_name()));
        }
        if let Some(expected) = options.resource_version
            && object.metadata().resource_version != expected.to_string()
        {
            return Err(ApiError::new(
                Reason::Conflict,
                format!(
                    "{} \"{}\" is at revision {}, not {expected}",
                    key.kind.plural(),
                    key.name,
                    object.metadata().resource_version
                ),
            )
            .with_object(object.slash_name())
            .with_hint("look at it again before you delete it"));
        }
        let now = Time::now();
        match &mut object {
            Object::Pod(pod) if options.evict => {
                eviction::evict(draft, pod, options, &self.placement().await?, now)?;
            }
            Object::Pod(pod) => {
                let before = pod.clone();
                eviction::cancel(pod);
                delete_pod(draft, &before, pod, options, now);
            }
            Object::Namespace(namespace) => {
                self.delete_namespace(draft, namespace, options, now).await?;
            }
            Object::Node(node) => self.delete_node(draft, node, options, now).await?,
            Object::Service(gone) => {
                service::release(draft, gone).await?;
                remove(draft, key);
            }
            _ => remove(draft, key),
        }
        Ok(object)
    }

    /// Makes evicted pods anew, and places pods that no node would have when they were made. To be
    /// called whenever a node may have become able to, or a pod is gone. A failure is logged:
    /// whoever caused the change is not to blame.
    async fn place_waiting(&self) {
        if let Err(error) = self.try_place_waiting().await {
            tracing::warn!(%error, "failed to place pods that wait for a node");
        }
    }

    async fn try_place_waiting(&self) -> Result<(), ApiError> {
        if !self.pods_wait.load(Ordering::SeqCst) {
            return Ok(());
        }
        // Who makes a pod meanwhile either is done, and the pod is found here, or sees the node.
        let placing = self.placing.lock().await;
        let moved = self.moves().await?;
        if !moved.is_empty() {
            self.admit_alone(&Wish::Move(moved), false, &placing).await?;
        }
        // Only who holds `placing` makes pods, so the index has all of them once it has caught up.
        self.feed.caught_up(self.revision().await?).await;
        let key =
            |(namespace, name)| ObjectKey { kind: Kind::Pod, namespace: Some(namespace), name };
        let waiting: Vec<ObjectKey> = self.feed.homeless_pods().into_iter().map(key).collect();
        if waiting.is_empty() {
            self.pods_wait.store(false, Ordering::SeqCst);
            return Ok(());
        }
        self.admit_alone(&Wish::Place(waiting), false, &placing).await.map(|_| ())
    }
}

/// Marks a pod as on its way out, or removes it if no node has taken it up. `before` is as it is
/// stored.
fn delete_pod(
    draft: &mut Draft<'_>,
    before: &Pod,
    pod: &mut Pod,
    options: &DeleteOptions,
    now: Time,
) {
    if pod.spec.node_name.is_none() {
        return remove(draft, &ObjectKey::of(&pod.clone().into()));
    }
    pod::mark_deleted(pod, options.grace_period_seconds, now);
    if pod != before {
        draft.put(&pod.clone().into());
    }
}

/// Removes an object and the memory of its last apply.
fn remove(draft: &mut Draft<'_>, key: &ObjectKey) {
    draft.delete(key);
    draft.put_raw(format!("applied/{}", store_key(key)), None);
    // A node that is deleted is no member any more: its certificate opens nothing.
    if key.kind == Kind::Node {
        draft.put_raw(membership::member_path(&key.name), None);
    }
}

fn too_busy() -> ApiError {
    ApiError::new(Reason::Conflict, "others kept changing the same objects").with_hint("try again")
}

#[cfg(test)]
mod tests;
