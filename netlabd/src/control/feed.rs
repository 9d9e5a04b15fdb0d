// SPDX-License-Identifier: GPL-3.0-or-later
//! Who has to hear of a change: the store's changes, sorted by the nodes that they concern.
//!
//! ```text
//!   store watch ──► Feed: index of pods and nodes ──┬─► view of n1    its pods, names around them
//!                     │                             ├─► view of n2
//!                     └─ recent keys, for those who  └─► …            nodes, services, slices and
//!                        come back with a revision                    modes: everybody
//! ```
//!
//! One task reads the store and looks at each change once. What a change costs from there on is a
//! look-up and a message for each node that it concerns; a status that a node reported concerns
//! nobody. How far each node is stands here too, so that a command can wait for exactly those
//! nodes that have something to do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use netlab_api::view::{Routing, ViewChanges, ViewEvent};
use netlab_api::wire::NodeRevision;
use netlab_api::{ApiError, Reason};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

mod facts;
mod index;
mod told;

use super::plane::NodeView;
use crate::error::chain;
use crate::store::{Revision, Store, Watch, WatchError};
use facts::PREFIXES;
use index::{Handle, State};
use told::{Item, Told};

/// Messages that wait for a node; one that is further behind starts anew with a snapshot.
const QUEUE: usize = 512;

/// How long the feed rests before it reads a store again that could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// The store's changes on their way to nodes, and how far these are.
pub(super) struct Feed {
    state: Mutex<State>,
    /// Goes up whenever somebody who waits should look again.
    progress: watch::Sender<u64>,
    /// The task that reads the store, which must not keep it open when nobody asks the feed.
    follower: OnceLock<AbortHandle>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.get() {
            follower.abort();
        }
    }
}

/// How the nodes stand to a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Every ready node has programmed it.
    Done(Vec<NodeRevision>),
    /// These have not: name and the revision that each has.
    Lagging(Vec<(String, u64)>),
}

/// What each node must have reported for a revision to be programmed; found out once.
#[derive(Debug, Default)]
pub(super) struct Goals(Option<BTreeMap<String, Revision>>);

impl Feed {
    /// Reads what there is and follows the store from there, for as long as it is open.
    pub(super) async fn start(store: Arc<dyn Store>) -> Result<Arc<Feed>, ApiError> {
        let feed = Arc::new(Feed {
            state: Mutex::default(),
            progress: watch::Sender::new(0),
            follower: OnceLock::new(),
        });
        let watch = feed.read_all(&*store).await?;
        let follower = tokio::spawn(Feed::follow(Arc::downgrade(&feed), store, watch));
        feed.follower.set(follower.abort_handle()).expect("set once, here");
        Ok(feed)
    }

    /// Told whenever [`Feed::standing`] may have another answer.
    pub(super) fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.progress.receiver_count()
    }

    /// Waits until all changes up to `revision` are taken in, which takes as long as it takes the
    /// task to be woken.
    pub(super) async fn caught_up(&self, revision: Revision) {
        let mut progress = self.progress();
        loop {
            progress.borrow_and_update();
            if self.lock().revision >= revision || progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells those who wait to look again.
    fn nudge(&self) {
        self.progress.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic half way through a change leaves an index that the next list replaces.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_all(&self, store: &dyn Store) -> Result<Watch, ApiError> {
        // Nothing is watched below, so what comes between list and watch is in the watch.
        let listing = store.list_each(&PREFIXES).await.map_err(super::draft::read_failed)?;
        let revision = listing.revision;
        self.lock().rebuild(listing);
        self.nudge();
        store.watch("", revision).await.map_err(super::watch::watch_failed)
    }

    async fn follow(feed: std::sync::Weak<Feed>, store: Arc<dyn Store>, mut watch: Watch) {
        loop {
            let batch = watch.next_batch().await;
            let Some(feed) = feed.upgrade() else { return };
            match batch {
                Ok(batch) => {
                    feed.lock().take(batch.revision, &batch.changes);
                    feed.nudge();
                }
                Err(WatchError::Closed) => return,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the nodes' views begin anew");
                    loop {
                        match feed.read_all(&*store).await {
                            Ok(again) => break watch = again,
                            Err(error) => {
                                tracing::error!(%error, "no node hears of changes: trying again");
                            }
                        }
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
    }

    /// Begins a node's view; see [`super::plane::ControlPlane::view`].
    pub(super) fn view(self: &Arc<Self>, node: &str, from: Option<Revision>) -> FeedView {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut state = self.lock();
        let item = match from.filter(|from| *from >= state.oldest && *from <= state.revision) {
            Some(from) => Item::Changes(state.revision, state.since(node, from)),
            None => {
                // It starts from nothing, perhaps after its machine did: what it said before is no
                // longer what its kernel has.
                state.reports.remove(node);
                state.snapshot(node)
            }
        };
        // The channel is new and holds more than one.
        let _ = sender.try_send(item);
        let id = state.next_view;
        state.next_view += 1;
        let sent = state.revision;
        state.views.insert(node.to_owned(), Handle { id, sender, sent });
        drop(state);
        self.nudge();
        FeedView { feed: self.clone(), node: node.to_owned(), id, receiver }
    }

    /// Sends something to a node that has nothing to do with objects; whether it is followed.
    pub(super) fn tell(&self, node: &str, event: ViewEvent) -> bool {
        let state = self.lock();
        state.views.get(node).is_some_and(|view| view.sender.try_send(Item::Event(event)).is_ok())
    }

    /// Nodes that are ready, as of the newest change that was taken in.
    pub(super) fn ready_nodes(&self) -> Vec<String> {
        let state = self.lock();
        let ready = state.nodes.iter().filter(|(_, facts)| facts.ready);
        ready.map(|(name, _)| name.clone()).collect()
    }

    /// How blocks of other nodes are reached.
    pub(super) fn routing(&self) -> Routing {
        self.lock().common.routing
    }

    /// Whether a node counts as lost.
    pub(super) fn is_lost(&self, node: &str) -> bool {
        self.lock().nodes.get(node).is_some_and(|facts| facts.lost)
    }

    /// Whether there is such a node.
    pub(super) fn has_node(&self, node: &str) -> bool {
        self.lock().nodes.contains_key(node)
    }

    /// Whether there is any node but this one.
    pub(super) fn has_others(&self, node: &str) -> bool {
        self.lock().nodes.keys().any(|name| name != node)
    }

    /// Lost nodes that are being deleted: they will not let go of their pods.
    pub(super) fn deserted_nodes(&self) -> Vec<String> {
        let state = self.lock();
        let deserted = state.nodes.iter().filter(|(_, facts)| facts.lost && facts.going);
        deserted.map(|(name, _)| name.clone()).collect()
    }

    /// Namespaces and names of the pods of a node.
    pub(super) fn pods_on(&self, node: &str) -> Vec<(String, String)> {
        let state = self.lock();
        let pods = state.pods_of_node(node);
        pods.map(|(namespace, name, _)| (namespace.to_owned(), name.to_owned())).collect()
    }

    /// Namespaces and names of pods that no node has.
    pub(super) fn homeless_pods(&self) -> Vec<(String, String)> {
        self.lock().homeless.iter().cloned().collect()
    }

    /// Notes how far a node's kernel is.
    pub(super) fn report(&self, report: NodeRevision) {
        let mut state = self.lock();
        // A node that comes back may say again what it said before it went.
        if state.reports.get(&report.name) != Some(&report) {
            state.reports.insert(report.name.clone(), report);
            drop(state);
            self.nudge();
        }
    }

    /// Whether all ready nodes have programmed `revision`; `goals` is kept by the caller from one
    /// look to the next.
    pub(super) fn standing(&self, revision: Revision, goals: &mut Goals) -> Standing {
        let state = self.lock();
        let ready: Vec<&String> =
            state.nodes.iter().filter(|(_, facts)| facts.ready).map(|(name, _)| name).collect();
        let reported = |name: &String| state.reports.get(name).map_or(0, |report| report.revision);
        if goals.0.is_none() && state.revision >= revision {
            // Later changes are others' to wait for, so this is asked only once.
            let sent = state.views.iter().map(|(name, view)| (name.clone(), view.sent));
            goals.0 = Some(sent.collect());
        }
        let Some(goals) = &goals.0 else {
            return Standing::Lagging(ready.iter().map(|n| ((*n).clone(), reported(n))).collect());
        };
        let has_arrived = |name: &String| {
            let goal = goals.get(name).copied().unwrap_or(revision);
            reported(name) >= goal.0
        };
        let lagging: Vec<(String, u64)> = ready
            .iter()
            .filter(|name| !has_arrived(name))
            .map(|name| ((*name).clone(), reported(name)))
            .collect();
        match lagging.is_empty() {
            // What others could not program when they were last heard is no news.
            true => Standing::Done(
                ready.iter().filter_map(|name| state.reports.get(*name)).cloned().collect(),
            ),
            false => Standing::Lagging(lagging),
        }
    }
}

/// A node's view of the store of this process.
pub(super) struct FeedView {
    feed: Arc<Feed>,
    node: String,
    id: u64,
    receiver: mpsc::Receiver<Item>,
}

#[async_trait::async_trait]
impl NodeView for FeedView {
    async fn next(&mut self) -> Result<ViewEvent, ApiError> {
        let Some(item) = self.receiver.recv().await else {
            return Err(ApiError::new(
                Reason::Expired,
                format!("node `{}` fell behind, or is followed by another", self.node),
            ));
        };
        Ok(match item {
            Item::Event(event) => event,
            Item::Snapshot(snapshot) => ViewEvent::Snapshot(Box::new(snapshot.decode()?)),
            Item::Changes(revision, told) => {
                let changes = told.into_iter().map(Told::decode).collect::<Result<_, _>>()?;
                ViewEvent::Changes(ViewChanges { revision: revision.0, changes })
            }
        })
    }
}

impl Drop for FeedView {
    fn drop(&mut self) {
        let mut state = self.feed.lock();
        if state.views.get(&self.node).is_some_and(|view| view.id == self.id) {
            state.views.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests;
