// SPDX-License-Identifier: GPL-3.0-or-later
//! The state in memory: what is true, and the last changes that made it so.
//!
//! Readers are served from here alone. A writer applies a transaction only once it is durable, so
//! that nobody acts on what a power cut can undo. The history is bounded by count and by bytes; a
//! watcher that needs more is told so, and its slowness costs nobody memory.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use tokio::sync::watch;

use super::watch::{Batch, ChangeSource, Watch};
use super::{Change, Entry, Listing, Revision, WatchError};

/// How many changes a watcher takes at once, so that no lock is held for long. A transaction that
/// is larger is handed out whole.
const BATCH_CHANGES: usize = 512;

/// What a change costs beyond the bytes of its key and value: the entry, the counts of its shared
/// parts, the slot in the history.
const CHANGE_OVERHEAD: usize = 160;

/// How many changes are kept for watchers.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// At most so many changes.
    pub changes: usize,
    /// At most so many bytes, counting keys, values and overhead.
    pub bytes: usize,
}

impl Default for HistoryLimits {
    /// A watcher may miss a rollout of 1,000 pods (3 changes of 2 KB each) before it must list.
    fn default() -> Self {
        Self { changes: 8192, bytes: 6 << 20 }
    }
}

/// The changes of one transaction.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) revision: Revision,
    pub(super) changes: Vec<Change>,
}

impl Committed {
    /// What it costs to keep these changes after all those since `oldest`. An entry that one of them
    /// replaced is kept by the change that made it, if that is kept.
    fn bytes(&self, oldest: Revision) -> usize {
        let cost = |entry: &Entry| entry.key.len() + entry.value.len();
        let cost_of_change = |change: &Change| {
            let before = match change {
                Change::Put { before, .. } => before.as_ref(),
                Change::Delete { .. } => None,
            };
            let before = before.filter(|before| before.modified <= oldest);
            cost(change.entry()) + before.map_or(0, cost) + CHANGE_OVERHEAD
        };
        self.changes.iter().map(cost_of_change).sum()
    }
}

/// Entries and history, shared by readers, watchers and the one writer.
#[derive(Debug)]
pub(super) struct State {
    inner: RwLock<Inner>,
}

#[derive(Debug)]
struct Inner {
    revision: Revision,
    entries: BTreeMap<Arc<str>, Entry>,
    /// Of all keys and values.
    bytes: u64,
    history: History,
}

impl Inner {
    fn entries_of<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry)
    }
}

impl State {
    /// The state at `revision`, with no history before it.
    pub(super) fn new(
        revision: Revision,
        entries: BTreeMap<Arc<str>, Entry>,
        limits: HistoryLimits,
    ) -> Self {
        let history = History::new(revision, limits);
        let bytes = entries.values().map(bytes).sum();
        Self { inner: RwLock::new(Inner { revision, entries, bytes, history }) }
    }

    pub(super) fn revision(&self) -> Revision {
        self.read().revision
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.read().entries.get(key).cloned()
    }

    pub(super) fn list(&self, prefix: &str) -> Listing {
        let inner = self.read();
        Listing { revision: inner.revision, entries: inner.entries_of(prefix).cloned().collect() }
    }

    /// What [`State::list`] says of each of the prefixes, in their order, all at one revision.
    pub(super) fn list_each(&self, prefixes: &[&str]) -> Listing {
        let inner = self.read();
        let entries = prefixes.iter().flat_map(|prefix| inner.entries_of(prefix)).cloned();
        Listing { revision: inner.revision, entries: entries.collect() }
    }

    /// The bytes of all keys and values.
    pub(super) fn bytes(&self) -> u64 {
        self.read().bytes
    }

    /// Lets readers see `group`, all at once.
    pub(super) fn apply(&self, group: Vec<Committed>) -> Revision {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for committed in group {
            for change in &committed.changes {
                let before = match change {
                    Change::Put { entry, .. } => {
                        inner.bytes += bytes(entry);
                        inner.entries.insert(Arc::clone(&entry.key), entry.clone())
                    }
                    Change::Delete { last, .. } => inner.entries.remove(&last.key),
                };
                inner.bytes -= before.as_ref().map_or(0, bytes);
            }
            inner.revision = committed.revision;
            inner.history.push(committed);
        }
        inner.revision
    }

    /// A watch of `prefix` after `from`; `announced` tells it when there is more.
    pub(super) fn watch(
        self: &Arc<Self>,
        prefix: &str,
        from: Revision,
        announced: watch::Receiver<Revision>,
    ) -> Result<Watch, WatchError> {
        let revision = {
            let inner = self.read();
            inner.history.reaches(from)?;
            inner.revision
        };
        if from > revision {
            return Err(WatchError::Future { from, revision });
        }
        let state = Arc::clone(self);
        Ok(Watch::new(Box::new(Cursor { state, announced, prefix: prefix.to_owned(), at: from })))
    }

    // A panic under the lock cannot leave a torn state: `apply` only moves finished values.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes(entry: &Entry) -> u64 {
    (entry.key.len() + entry.value.len()) as u64
}

/// The newest transactions, without gap, up to the limits.
#[derive(Debug)]
struct History {
    /// Each with what it was counted to cost.
    kept: VecDeque<(Committed, usize)>,
    /// Every change after this revision is kept.
    oldest: Revision,
    changes: usize,
    bytes: usize,
    limits: HistoryLimits,
}

impl History {
    fn new(revision: Revision, limits: HistoryLimits) -> Self {
        Self { kept: VecDeque::new(), oldest: revision, changes: 0, bytes: 0, limits }
    }

    /// The newest transaction always stays: else a large one would send all watchers to list.
    fn push(&mut self, committed: Committed) {
        self.changes += committed.changes.len();
        let bytes = committed.bytes(self.oldest);
        self.bytes += bytes;
        self.kept.push_back((committed, bytes));
        while self.kept.len() > 1
            && (self.changes > self.limits.changes || self.bytes > self.limits.bytes)
        {
            if let Some((dropped, bytes)) = self.kept.pop_front() {
                self.changes -= dropped.changes.len();
                self.bytes -= bytes;
                self.oldest = dropped.revision;
            }
        }
    }

    fn reaches(&self, from: Revision) -> Result<(), WatchError> {
        if from < self.oldest {
            return Err(WatchError::Compacted { from, oldest: self.oldest });
        }
        Ok(())
    }

    fn after(&self, from: Revision) -> impl Iterator<Item = &Committed> {
        let start = self.kept.partition_point(|(committed, _)| committed.revision <= from);
        self.kept.range(start..).map(|(committed, _)| committed)
    }
}

/// A watcher is a place in the history, so that it owns no queue that could grow.
struct Cursor {
    state: Arc<State>,
    announced: watch::Receiver<Revision>,
    prefix: String,
    at: Revision,
}

#[async_trait]
impl ChangeSource for Cursor {
    async fn next_batch(&mut self) -> Result<Batch, WatchError> {
        loop {
            // Before the look, so that what is announced during the look wakes us again.
            self.announced.borrow_and_update();
            let batch = self.try_batch()?;
            if !batch.changes.is_empty() {
                return Ok(batch);
            }
            self.announced.changed().await.map_err(|_| WatchError::Closed)?;
        }
    }

    fn try_batch(&mut self) -> Result<Batch, WatchError> {
        let inner = self.state.read();
        inner.history.reaches(self.at)?;
        let mut changes = Vec::new();
        let mut revision = inner.revision;
        for committed in inner.history.after(self.at) {
            let mine = committed.changes.iter().filter(|c| c.key().starts_with(&*self.prefix));
            changes.extend(mine.cloned());
            if changes.len() >= BATCH_CHANGES {
                revision = committed.revision;
                break;
            }
        }
        drop(inner);
        self.at = revision;
        Ok(Batch { revision, changes })
    }
}
