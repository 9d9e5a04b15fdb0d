// SPDX-License-Identifier: GPL-3.0-or-later
//! Who has to hear of a change: the store's changes, sorted by the nodes that they concern.
//!
//! ```text
//!   store watch ──► Feed: index of pods and nodes ──┬─► view of n1    its pods, names around them
//!                     │                             ├─► view of n2
//!                     └─ recent keys, for those who  └─► …            nodes and mode: everybody
//!                        come back with a revision
//! ```
//!
//! One task reads the store and looks at each change once. What a change costs from there on is a
//! look-up and a message for each node that it concerns; a status that a node reported concerns
//! nobody. How far each node is stands here too, so that a command can wait for exactly those
//! nodes that have something to do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netlab_api::resource::{Kind, Resource};
use netlab_api::view::{
    PodName, Routing, ViewChange, ViewChanges, ViewEvent, ViewNames, ViewNode, ViewSnapshot,
};
use netlab_api::wire::NodeRevision;
use netlab_api::{ApiError, Node, Pod, Reason};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use super::draft::decode_entry;
use super::network::{NETWORK_KEY, StoredNetwork};
use super::plane::NodeView;
use crate::error::chain;
use crate::store::{Change, Entry, Listing, Revision, Store, Watch, WatchError};

/// Changes that are remembered for nodes that come back. Each is a name or two.
const RECENT: usize = 4096;

/// Messages that wait for a node; one that is further behind starts anew with a snapshot.
const QUEUE: usize = 512;

/// How long the feed rests before it reads a store again that could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// The store's changes on their way to nodes, and how far these are.
pub(super) struct Feed {
    state: Mutex<State>,
    /// Goes up whenever somebody who waits should look again.
    progress: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// All changes up to here are in the index and on their way.
    revision: Revision,
    /// A node that saw everything up to here can be told the difference.
    oldest: Revision,
    routing: Routing,
    /// Pods by namespace and name.
    pods: BTreeMap<String, BTreeMap<String, PodFacts>>,
    /// Namespaces and names of pods that no node has.
    homeless: BTreeSet<(String, String)>,
    /// How many pods of a namespace a node has.
    homes: HashMap<String, BTreeMap<String, usize>>,
    nodes: BTreeMap<String, NodeFacts>,
    recent: VecDeque<(Revision, Key)>,
    views: HashMap<String, Handle>,
    next_view: u64,
    reports: BTreeMap<String, NodeRevision>,
}

/// What the feed knows of a pod.
#[derive(Debug, Clone)]
struct PodFacts {
    uid: String,
    node: Option<String>,
    addresses: Vec<IpAddr>,
    hostname: Option<String>,
    /// Fingerprint of all that a node acts on: everything but the status.
    wish: u64,
    /// Shares its bytes with the store.
    entry: Entry,
}

#[derive(Debug, Clone, PartialEq)]
struct NodeFacts {
    view: ViewNode,
    ready: bool,
    lost: bool,
    /// It is being deleted.
    going: bool,
}

/// What a change was about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Pod { namespace: String, name: String, uid: String, node: Option<String> },
    Node(String),
    Routing,
}

/// The feed's end of a view.
struct Handle {
    id: u64,
    sender: mpsc::Sender<Item>,
    /// The newest revision that was sent.
    sent: Revision,
}

/// A message to a view; pods are decoded by whoever takes it.
#[derive(Debug)]
enum Item {
    Event(ViewEvent),
    Snapshot(Box<ViewSnapshot>, Vec<Entry>),
    Changes(Revision, Vec<Told>),
}

#[derive(Debug, Clone)]
enum Told {
    Plain(ViewChange),
    Pod(Entry),
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
        let feed = Arc::new(Feed { state: Mutex::default(), progress: watch::Sender::new(0) });
        let watch = feed.read_all(&*store).await?;
        tokio::spawn(Feed::follow(Arc::downgrade(&feed), store, watch));
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
        let listing = store.list("").await.map_err(super::draft::read_failed)?;
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
        self.lock().routing
    }

    /// Whether a node counts as lost.
    pub(super) fn is_lost(&self, node: &str) -> bool {
        self.lock().nodes.get(node).is_some_and(|facts| facts.lost)
    }

    /// Whether there is such a node.
    pub(super) fn has_node(&self, node: &str) -> bool {
        self.lock().nodes.contains_key(node)
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
            Item::Snapshot(mut snapshot, pods) => {
                snapshot.pods = pods.iter().map(decode_entry).collect::<Result<_, _>>()?;
                ViewEvent::Snapshot(snapshot)
            }
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

impl Told {
    fn decode(self) -> Result<ViewChange, ApiError> {
        match self {
            Told::Plain(change) => Ok(change),
            Told::Pod(entry) => Ok(ViewChange::Pod(Box::new(decode_entry::<Pod>(&entry)?))),
        }
    }
}

impl State {
    fn rebuild(&mut self, listing: Listing) {
        // Who follows starts anew; who waits goes on waiting.
        let (next_view, reports) = (self.next_view, std::mem::take(&mut self.reports));
        *self = State { next_view, reports, ..State::default() };
        for entry in listing.entries {
            match parse_key(&entry.key) {
                Some(Parsed::Pod { namespace, name }) => {
                    let (namespace, name) = (namespace.to_owned(), name.to_owned());
                    if let Some(facts) = PodFacts::of(entry) {
                        self.put_pod(&namespace, &name, facts);
                    }
                }
                Some(Parsed::Node(name)) => {
                    let name = name.to_owned();
                    if let Some(facts) = NodeFacts::of(&entry) {
                        self.nodes.insert(name, facts);
                    }
                }
                Some(Parsed::Network) => self.routing = routing_of(&entry),
                None => {}
            }
        }
        self.revision = listing.revision;
        self.oldest = listing.revision;
    }

    /// Takes in changes up to `revision`, and tells the nodes that they concern.
    fn take(&mut self, revision: Revision, changes: &[Change]) {
        let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
        for change in changes {
            let at = change.revision();
            let after = match change {
                Change::Put(entry) => Some(entry),
                Change::Delete { .. } => None,
            };
            match parse_key(change.key()) {
                Some(Parsed::Pod { namespace, name }) => {
                    self.take_pod(at, namespace, name, after, &mut told);
                }
                Some(Parsed::Node(name)) => self.take_node(at, name, after, &mut told),
                Some(Parsed::Network) => {
                    let routing = after.map(routing_of).unwrap_or_default();
                    if std::mem::replace(&mut self.routing, routing) != routing {
                        self.remember(at, Key::Routing);
                        self.tell_all(&mut told, &ViewChange::Routing(routing));
                    }
                }
                None => {}
            }
        }
        self.revision = revision;
        for (node, told) in told {
            let Some(view) = self.views.get_mut(&node) else { continue };
            view.sent = revision;
            if view.sender.try_send(Item::Changes(revision, told)).is_err() {
                // It does not keep up, or is gone: it hears that its view is over.
                self.views.remove(&node);
            }
        }
    }

    fn take_pod(
        &mut self,
        at: Revision,
        namespace: &str,
        name: &str,
        after: Option<&Entry>,
        told: &mut BTreeMap<String, Vec<Told>>,
    ) {
        let before = self.pods.get(namespace).and_then(|pods| pods.get(name)).cloned();
        let after = after.and_then(|entry| PodFacts::of(entry.clone()));
        let is_same = match (&before, &after) {
            (Some(before), Some(after)) => before.concerns_nobody_after(after),
            _ => false,
        };
        if is_same {
            if let Some(after) = after {
                self.replace_entry(namespace, name, after.entry);
            }
            return;
        }
        let was_of_another = |after: &PodFacts| before.as_ref().is_none_or(|b| b.uid != after.uid);
        if let Some(before) = &before
            && after.as_ref().is_none_or(|after| after.uid != before.uid)
        {
            self.remember(at, Key::of(namespace, name, before));
            self.lose_pod(namespace, name, before, told);
        }
        let Some(after) = after else { return };
        self.remember(at, Key::of(namespace, name, &after));
        let Some(node) = after.node.clone() else {
            self.put_pod(namespace, name, after);
            return;
        };
        let is_new_here = was_of_another(&after)
            || before.as_ref().is_none_or(|before| before.node.as_ref() != Some(&node));
        let has_other_name = before.as_ref().is_none_or(|before| {
            before.addresses != after.addresses
                || before.hostname != after.hostname
                || before.node != after.node
                || before.uid != after.uid
        });
        self.put_pod(namespace, name, after.clone());
        let is_first = is_new_here && self.pods_of(namespace, &node) == 1;
        let own = told.entry(node.clone()).or_default();
        own.push(Told::Pod(after.entry.clone()));
        if is_first {
            let names = self.names(namespace, &node);
            told.entry(node.clone()).or_default().push(Told::Plain(ViewChange::Names(names)));
        }
        if has_other_name && !after.addresses.is_empty() {
            let change =
                ViewChange::Name { namespace: namespace.to_owned(), pod: after.name(name) };
            self.tell_neighbours(namespace, &node, &change, told);
        }
    }

    fn lose_pod(
        &mut self,
        namespace: &str,
        name: &str,
        before: &PodFacts,
        told: &mut BTreeMap<String, Vec<Told>>,
    ) {
        self.remove_pod(namespace, name);
        let Some(node) = &before.node else { return };
        let change = ViewChange::PodGone {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: before.uid.clone(),
        };
        told.entry(node.clone()).or_default().push(Told::Plain(change));
        let change =
            ViewChange::NameGone { namespace: namespace.to_owned(), name: name.to_owned() };
        self.tell_neighbours(namespace, node, &change, told);
    }

    fn take_node(
        &mut self,
        at: Revision,
        name: &str,
        after: Option<&Entry>,
        told: &mut BTreeMap<String, Vec<Told>>,
    ) {
        let after = after.and_then(NodeFacts::of);
        let before = match &after {
            Some(after) => self.nodes.insert(name.to_owned(), after.clone()),
            None => self.nodes.remove(name),
        };
        if before.as_ref().map(|facts| &facts.view) == after.as_ref().map(|facts| &facts.view) {
            return;
        }
        self.remember(at, Key::Node(name.to_owned()));
        let change = match after {
            Some(after) => ViewChange::Node(after.view),
            None => {
                self.views.remove(name);
                self.reports.remove(name);
                ViewChange::NodeGone { name: name.to_owned() }
            }
        };
        self.tell_all(told, &change);
    }

    fn tell_all(&self, told: &mut BTreeMap<String, Vec<Told>>, change: &ViewChange) {
        for node in self.views.keys() {
            told.entry(node.clone()).or_default().push(Told::Plain(change.clone()));
        }
    }

    /// Tells nodes other than `node` that have pods of the namespace.
    fn tell_neighbours(
        &self,
        namespace: &str,
        node: &str,
        change: &ViewChange,
        told: &mut BTreeMap<String, Vec<Told>>,
    ) {
        let homes = self.homes.get(namespace).into_iter().flat_map(BTreeMap::keys);
        for other in homes.filter(|other| *other != node) {
            told.entry(other.clone()).or_default().push(Told::Plain(change.clone()));
        }
    }

    fn remember(&mut self, at: Revision, key: Key) {
        self.recent.push_back((at, key));
        while self.recent.len() > RECENT {
            if let Some((gone, _)) = self.recent.pop_front() {
                self.oldest = self.oldest.max(gone);
            }
        }
    }

    /// What is different for a node since it saw everything up to `from`: for each thing that was
    /// changed since, how it is now.
    fn since(&self, node: &str, from: Revision) -> Vec<Told> {
        let keys: Vec<&Key> =
            self.recent.iter().filter(|(at, _)| *at > from).map(|(_, key)| key).collect();
        let mut seen = HashSet::new();
        let mut namespaces = BTreeSet::new();
        let mut told = Vec::new();
        // Pods that are gone first: a younger one may have taken the name.
        for key in &keys {
            let Key::Pod { namespace, name, uid, node: home } = key else { continue };
            namespaces.insert(namespace);
            let now = self.pods.get(namespace).and_then(|pods| pods.get(name));
            let is_gone = now.is_none_or(|now| now.uid != *uid);
            if is_gone && home.as_deref() == Some(node) && seen.insert(*key) {
                told.push(Told::Plain(ViewChange::PodGone {
                    namespace: namespace.clone(),
                    name: name.clone(),
                    uid: uid.clone(),
                }));
            }
        }
        for key in keys {
            if !seen.insert(key) {
                continue;
            }
            match key {
                Key::Pod { namespace, name, uid, .. } => {
                    let now = self.pods.get(namespace).and_then(|pods| pods.get(name));
                    if let Some(now) = now.filter(|now| now.uid == *uid)
                        && now.node.as_deref() == Some(node)
                    {
                        told.push(Told::Pod(now.entry.clone()));
                    }
                }
                Key::Node(name) => told.push(Told::Plain(match self.nodes.get(name) {
                    Some(facts) => ViewChange::Node(facts.view.clone()),
                    None => ViewChange::NodeGone { name: name.clone() },
                })),
                Key::Routing => told.push(Told::Plain(ViewChange::Routing(self.routing))),
            }
        }
        for namespace in namespaces {
            if self.pods_of(namespace, node) > 0 {
                told.push(Told::Plain(ViewChange::Names(self.names(namespace, node))));
            }
        }
        told
    }

    fn snapshot(&self, node: &str) -> Item {
        let pods = self.pods_of_node(node).map(|(_, _, facts)| facts.entry.clone());
        let local = self.namespaces_of(node);
        let snapshot = ViewSnapshot {
            revision: self.revision.0,
            routing: self.routing,
            nodes: self.nodes.values().map(|facts| facts.view.clone()).collect(),
            pods: Vec::new(),
            names: local.map(|namespace| self.names(namespace, node)).collect(),
        };
        Item::Snapshot(Box::new(snapshot), pods.collect())
    }

    /// Pods of a namespace that run on other nodes than `node`.
    fn names(&self, namespace: &str, node: &str) -> ViewNames {
        let pods = self.pods.get(namespace).into_iter().flatten();
        let others = pods.filter(|(_, facts)| {
            facts.node.as_deref().is_some_and(|home| home != node) && !facts.addresses.is_empty()
        });
        ViewNames {
            namespace: namespace.to_owned(),
            pods: others.map(|(name, facts)| facts.name(name)).collect(),
        }
    }

    /// Namespaces of which a node has pods.
    fn namespaces_of(&self, node: &str) -> impl Iterator<Item = &str> {
        let namespaces = self.pods.keys().map(String::as_str);
        namespaces.filter(move |namespace| self.pods_of(namespace, node) > 0)
    }

    /// Namespace, name and facts of the pods of a node.
    fn pods_of_node(&self, node: &str) -> impl Iterator<Item = (&str, &str, &PodFacts)> {
        self.namespaces_of(node).flat_map(move |namespace| {
            let pods = self.pods.get(namespace).into_iter().flatten();
            let here = pods.filter(move |(_, facts)| facts.node.as_deref() == Some(node));
            here.map(move |(name, facts)| (namespace, name.as_str(), facts))
        })
    }

    fn pods_of(&self, namespace: &str, node: &str) -> usize {
        self.homes.get(namespace).and_then(|homes| homes.get(node)).copied().unwrap_or(0)
    }

    fn put_pod(&mut self, namespace: &str, name: &str, facts: PodFacts) {
        self.remove_pod(namespace, name);
        match &facts.node {
            Some(node) => {
                let homes = self.homes.entry(namespace.to_owned()).or_default();
                *homes.entry(node.clone()).or_default() += 1;
            }
            None => drop(self.homeless.insert((namespace.to_owned(), name.to_owned()))),
        }
        self.pods.entry(namespace.to_owned()).or_default().insert(name.to_owned(), facts);
    }

    fn remove_pod(&mut self, namespace: &str, name: &str) {
        let Some(pods) = self.pods.get_mut(namespace) else { return };
        let Some(facts) = pods.remove(name) else { return };
        if pods.is_empty() {
            self.pods.remove(namespace);
        }
        let Some(node) = &facts.node else {
            self.homeless.remove(&(namespace.to_owned(), name.to_owned()));
            return;
        };
        let Some(homes) = self.homes.get_mut(namespace) else { return };
        if let Some(count) = homes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                homes.remove(node);
            }
        }
        if homes.is_empty() {
            self.homes.remove(namespace);
        }
    }

    fn replace_entry(&mut self, namespace: &str, name: &str, entry: Entry) {
        let facts = self.pods.get_mut(namespace).and_then(|pods| pods.get_mut(name));
        if let Some(facts) = facts {
            facts.entry = entry;
        }
    }
}

impl Key {
    fn of(namespace: &str, name: &str, facts: &PodFacts) -> Key {
        Key::Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: facts.uid.clone(),
            node: facts.node.clone(),
        }
    }
}

impl PodFacts {
    /// `None` when the record does not have the form of a pod, which whoever reads it says.
    fn of(entry: Entry) -> Option<PodFacts> {
        #[derive(Deserialize)]
        struct Record<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
            #[serde(borrow)]
            spec: &'a RawValue,
            #[serde(default)]
            status: Status,
        }
        #[derive(Deserialize, Default)]
        struct Status {
            #[serde(default, rename = "podIPs")]
            pod_ips: Vec<PodIp>,
        }
        #[derive(Deserialize)]
        struct PodIp {
            ip: IpAddr,
        }
        #[derive(Deserialize)]
        struct Metadata {
            #[serde(default)]
            uid: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            node_name: Option<String>,
            hostname: Option<String>,
        }
        let record: Record<'_> = serde_json::from_slice(&entry.value).ok()?;
        let metadata: Metadata = serde_json::from_str(record.metadata.get()).ok()?;
        let spec: Spec = serde_json::from_str(record.spec.get()).ok()?;
        let mut hasher = DefaultHasher::new();
        (record.metadata.get(), record.spec.get()).hash(&mut hasher);
        let addresses = record.status.pod_ips.iter().map(|pod_ip| pod_ip.ip).collect();
        Some(PodFacts {
            uid: metadata.uid,
            node: spec.node_name,
            addresses,
            hostname: spec.hostname,
            wish: hasher.finish(),
            entry,
        })
    }

    /// Whether only the status is another, which the pod's own node said itself.
    fn concerns_nobody_after(&self, after: &PodFacts) -> bool {
        self.wish == after.wish && self.uid == after.uid && self.addresses == after.addresses
    }

    fn name(&self, name: &str) -> PodName {
        PodName {
            name: name.to_owned(),
            addresses: self.addresses.clone(),
            hostname: self.hostname.clone().filter(|hostname| hostname != name),
        }
    }
}

impl NodeFacts {
    fn of(entry: &Entry) -> Option<NodeFacts> {
        let node: Node = decode_entry(entry).ok()?;
        Some(NodeFacts {
            view: ViewNode::of(&node),
            ready: node.is_ready(),
            lost: super::liveness::is_lost(&node),
            going: node.metadata.deletion_timestamp.is_some(),
        })
    }
}

enum Parsed<'a> {
    Pod { namespace: &'a str, name: &'a str },
    Node(&'a str),
    Network,
}

/// What a key of the store is about, if nodes are concerned.
fn parse_key(key: &str) -> Option<Parsed<'_>> {
    if key == NETWORK_KEY {
        return Some(Parsed::Network);
    }
    let (plural, rest) = key.split_once('/')?;
    if plural == Pod::KIND.plural() {
        let (namespace, name) = rest.split_once('/')?;
        return Some(Parsed::Pod { namespace, name });
    }
    (plural == Kind::Node.plural()).then_some(Parsed::Node(rest))
}

fn routing_of(entry: &Entry) -> Routing {
    let stored: Option<StoredNetwork> = serde_json::from_slice(&entry.value).ok();
    stored.unwrap_or_default().routing
}

#[cfg(test)]
mod tests;
