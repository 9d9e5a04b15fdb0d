// SPDX-License-Identifier: GPL-3.0-or-later
//! A store in memory that shares no code with the embedded one. That it passes the suite shows that
//! the suite asks for the trait's promises and not for one implementation's habits.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::Subject;
use crate::store::{
    Batch, Change, ChangeSource, Check, CommitError, Entry, Listing, ReadError, Revision, Store,
    Transaction, Watch, WatchError, Write,
};

/// How many changes it keeps, roughly.
const KEPT: usize = 4096;

#[derive(Default)]
pub(crate) struct MemoryStore(Arc<Shared>);

#[derive(Default)]
struct Shared {
    data: Mutex<Data>,
    changed: Notify,
}

#[derive(Default)]
struct Data {
    revision: u64,
    /// Sorted when listed.
    entries: Vec<Entry>,
    changes: Vec<Change>,
    oldest: u64,
}

impl Data {
    fn find(&self, key: &str) -> Option<usize> {
        self.entries.iter().position(|entry| &*entry.key == key)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        let data = self.0.data.lock().unwrap();
        Ok(data.find(key).map(|at| data.entries[at].clone()))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, ReadError> {
        let data = self.0.data.lock().unwrap();
        let mut entries = data.entries.clone();
        entries.retain(|entry| entry.key.starts_with(prefix));
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Listing { revision: Revision(data.revision), entries })
    }

    async fn list_each(&self, prefixes: &[&str]) -> Result<Listing, ReadError> {
        let data = self.0.data.lock().unwrap();
        let mut all = data.entries.clone();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        let mut entries = Vec::new();
        for prefix in prefixes {
            entries.extend(all.iter().filter(|entry| entry.key.starts_with(prefix)).cloned());
        }
        Ok(Listing { revision: Revision(data.revision), entries })
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        let mut data = self.0.data.lock().unwrap();
        for (at, write) in transaction.writes.iter().enumerate() {
            let key = write.key().to_owned();
            if key.is_empty() || transaction.writes[..at].iter().any(|other| other.key() == key) {
                return Err(CommitError::Malformed { key, reason: "is empty or comes twice" });
            }
        }
        for Check { key, expected } in transaction.checks {
            let observed = data.find(&key).map(|at| data.entries[at].modified);
            if !expected.holds(observed) {
                return Err(CommitError::Conflict { key, expected, observed });
            }
        }
        let revision = Revision(data.revision + 1);
        let before = data.changes.len();
        for write in transaction.writes {
            let found = data.find(write.key());
            let last = found.map(|at| data.entries.swap_remove(at));
            match (write, last) {
                (Write::Put { key, value }, before) => {
                    let created = before.as_ref().map_or(revision, |before| before.created);
                    let entry = Entry::new(key, &*value, created, revision);
                    data.entries.push(entry.clone());
                    data.changes.push(Change::Put { entry, before });
                }
                (Write::Delete { .. }, Some(last)) => {
                    data.changes.push(Change::Delete { revision, last });
                }
                (Write::Delete { .. }, None) => {}
            }
        }
        if data.changes.len() > before {
            data.revision = revision.0;
        }
        if data.changes.len() > 2 * KEPT {
            let forgotten = data.changes[KEPT].revision();
            data.changes.retain(|change| change.revision() > forgotten);
            data.oldest = forgotten.0;
        }
        self.0.changed.notify_waiters();
        Ok(Revision(data.revision))
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, WatchError> {
        let data = self.0.data.lock().unwrap();
        let (revision, oldest) = (Revision(data.revision), Revision(data.oldest));
        if from > revision {
            return Err(WatchError::Future { from, revision });
        }
        if from < oldest {
            return Err(WatchError::Compacted { from, oldest });
        }
        let (shared, prefix) = (Arc::clone(&self.0), prefix.to_owned());
        Ok(Watch::new(Box::new(Source { shared, prefix, from })))
    }

    async fn revision(&self) -> Result<Revision, ReadError> {
        Ok(Revision(self.0.data.lock().unwrap().revision))
    }
}

struct Source {
    shared: Arc<Shared>,
    prefix: String,
    from: Revision,
}

#[async_trait]
impl ChangeSource for Source {
    async fn next_batch(&mut self) -> Result<Batch, WatchError> {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut changed = std::pin::pin!(shared.changed.notified());
            changed.as_mut().enable();
            let batch = self.try_batch()?;
            if !batch.changes.is_empty() {
                return Ok(batch);
            }
            changed.await;
        }
    }

    fn try_batch(&mut self) -> Result<Batch, WatchError> {
        let data = self.shared.data.lock().unwrap();
        let (from, oldest) = (self.from, Revision(data.oldest));
        if from < oldest {
            return Err(WatchError::Compacted { from, oldest });
        }
        let mine =
            |change: &&Change| change.revision() > from && change.key().starts_with(&self.prefix);
        let changes = data.changes.iter().filter(mine).cloned().collect();
        self.from = Revision(data.revision);
        Ok(Batch { revision: self.from, changes })
    }
}

fn empty() -> Subject {
    Subject { store: Arc::new(MemoryStore::default()), _keep: Box::new(()) }
}

super::conformance!(empty);
