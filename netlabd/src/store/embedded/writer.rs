// SPDX-License-Identifier: GPL-3.0-or-later
//! The one thread that writes: takes all transactions that wait, makes them durable with one flush,
//! shows them to readers, and answers.
//!
//! ```text
//!            ┌────────────── ok ──────────────┐
//!            ▼                                │
//!   open: stage ──► write and flush ──► publish, answer
//!                        │ error: nothing published, every caller of the group hears it
//!                        ▼
//!   closed: with the next group, open again and make the disk equal to memory ──► open
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::disk::{Disk, Group};
use super::folder::Folder;
use super::load::{self, Loaded};
use super::record::{self, Head};
use super::witness::Witness;
use crate::store::state::{Committed, State};
use crate::store::{Change, CommitError, Entry, Revision, Transaction, Write, is_disk_full};

/// The largest value. What is larger than sled's segment costs it a file and us a sync for each.
const MAX_VALUE: usize = 1 << 20;

/// A group ends at so many bytes of values, so that one flush stays short.
const GROUP_BYTES: usize = 4 << 20;

/// A database is large when it takes so many times the bytes of what is in it.
const REBUILD_FACTOR: u64 = 4;

/// After so many records that were read or written, the database holds so much of them in memory that
/// it is worth to open it again: its cache counts what was used only once in a while.
const CACHED_RECORDS: usize = 1000;

/// How long nothing must have been written before that is done. It takes some milliseconds.
const REST: Duration = Duration::from_secs(2);

/// A transaction and who waits for it.
pub(super) struct Request {
    pub(super) transaction: Transaction,
    pub(super) answer: oneshot::Sender<Result<Revision, CommitError>>,
}

impl Request {
    fn bytes(&self) -> usize {
        let cost = |write: &Write| match write {
            Write::Put { value, .. } => value.len(),
            Write::Delete { .. } => 0,
        };
        self.transaction.writes.iter().map(cost).sum()
    }
}

/// The writer's own: nobody else touches the disk.
pub(super) struct Writer {
    folder: Folder,
    /// `None` after an error, until it could be opened again.
    disk: Option<Disk>,
    generation: u64,
    head: Head,
    witness: Witness,
    state: Arc<State>,
    announce: watch::Sender<Revision>,
    /// The size at which a rebuild is thought of.
    rebuild_bytes: u64,
    /// Records that were read or written since the database was opened.
    cached: usize,
}

impl Writer {
    pub(super) fn new(
        folder: Folder,
        loaded: Loaded,
        state: Arc<State>,
        announce: watch::Sender<Revision>,
        rebuild_bytes: u64,
    ) -> Self {
        let Loaded { disk, generation, head } = loaded;
        let witness = Witness::open(&folder.newest());
        // All of them were read to load them.
        let cached = usize::try_from(head.count).unwrap_or(usize::MAX);
        let disk = Some(disk);
        Self { folder, disk, generation, head, witness, state, announce, rebuild_bytes, cached }
    }

    /// Writes until the store is dropped and the queue is empty.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        // Here and not while it is loaded, which the daemon's start waits for: what comes into memory
        // from now on goes where the pages were.
        if self.cached >= CACHED_RECORDS {
            self.tidy();
        }
        // Only to wait for a time.
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().build().ok();
        while let Some(first) = self.next(&mut requests, clock.as_ref()) {
            let mut bytes = first.bytes();
            let mut group = vec![first];
            while bytes < GROUP_BYTES
                && let Ok(request) = requests.try_recv()
            {
                bytes += request.bytes();
                group.push(request);
            }
            self.write_group(group);
            self.rebuild_if_large();
        }
    }

    /// The next request; tidies up when there is none for a while.
    fn next(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        clock: Option<&Runtime>,
    ) -> Option<Request> {
        if self.cached >= CACHED_RECORDS
            && let Some(clock) = clock
        {
            match clock.block_on(async { timeout(REST, requests.recv()).await }) {
                Ok(request) => return request,
                Err(_) => {
                    self.tidy();
                    crate::memory::give_back();
                }
            }
        }
        requests.blocking_recv()
    }

    /// Opens the database again, whose pages in memory go with it: the mirror has all of it, so they
    /// serve writes alone.
    fn tidy(&mut self) {
        self.cached = 0;
        let Some(disk) = self.disk.take() else { return };
        drop(disk);
        match Disk::open(&self.folder.data(self.generation)) {
            Ok(disk) => self.disk = Some(disk),
            // The next write tries again, and looks at all of it.
            Err(error) => tracing::warn!(%error, "the database stays closed for now"),
        }
    }

    fn write_group(&mut self, group: Vec<Request>) {
        let state = Arc::clone(&self.state);
        let mut staged = Staged::new(&state, self.head);
        let answers: Vec<_> = group
            .into_iter()
            .map(|request| (request.answer, staged.stage(request.transaction)))
            .collect();
        // Conflicts too wait for the disk: what they met may be in this very group.
        if let Err(error) = self.make_durable(&staged) {
            tracing::error!(%error, transactions = answers.len(), "failed to write to the store");
            for (answer, _) in answers {
                let source = io::Error::new(error.kind(), error.to_string());
                let _ = answer.send(Err(CommitError::Storage { source }));
            }
            return;
        }
        self.head = staged.head;
        if !staged.committed.is_empty() {
            self.witness.note(self.head.revision);
            let revision = state.apply(staged.committed);
            self.announce.send_replace(revision);
        }
        for (answer, outcome) in answers {
            // Whoever no longer waits does not want to know.
            let _ = answer.send(outcome);
        }
    }

    fn make_durable(&mut self, staged: &Staged<'_>) -> io::Result<()> {
        if staged.committed.is_empty() {
            return Ok(());
        }
        let disk = match self.disk.take() {
            Some(disk) => disk,
            None => self.reopen()?,
        };
        self.cached += staged.touched.len();
        match disk.write(staged.group()) {
            Ok(()) => {
                self.disk = Some(disk);
                Ok(())
            }
            Err(error) => {
                drop(disk);
                // At once, so that as little as possible of the refused writes survives a crash.
                match self.reopen() {
                    Ok(disk) => self.disk = Some(disk),
                    Err(error) => tracing::debug!(%error, "the database stays closed for now"),
                }
                Err(error)
            }
        }
    }

    /// Opens the database after an error and makes it say what memory says: what was refused may
    /// have reached it all the same.
    fn reopen(&mut self) -> io::Result<Disk> {
        match self.repair() {
            Err(error) if !is_disk_full(&error) => {
                tracing::warn!(%error, "failed to open the database again: making a new one");
                self.rebuild()
            }
            outcome => outcome,
        }
    }

    fn repair(&self) -> io::Result<Disk> {
        // A rebuild may have failed just before its name was durable.
        self.folder.sync()?;
        let disk = Disk::open(&self.folder.data(self.generation))?;
        let truth = self.state.list("").entries;
        let mut missing: BTreeMap<Vec<u8>, &Entry> =
            truth.iter().map(|entry| (record::entry_key(&entry.key), entry)).collect();
        let mut group = Group::default();
        let mut equal = true;
        let mut head_is_right = false;
        disk.scan(|key, value| {
            if key == record::HEAD_KEY {
                head_is_right = value == self.head.encode();
            } else if let btree_map::Entry::Occupied(found) = missing.entry(key.to_owned())
                && record::encode(found.get()) == value
            {
                found.remove();
            } else if !missing.contains_key(key) {
                group.delete(key);
                equal = false;
            }
        })?;
        if equal && head_is_right && missing.is_empty() {
            return Ok(disk);
        }
        for (key, entry) in missing {
            group.put(&key, record::encode(entry));
        }
        group.put(record::HEAD_KEY, self.head.encode());
        disk.write(group)?;
        Ok(disk)
    }

    /// Makes the database anew from memory, and forgets the old one.
    fn rebuild(&mut self) -> io::Result<Disk> {
        let entries = self.state.list("").entries;
        load::build(&self.folder, self.generation + 1, self.head, &entries)?;
        // From here on the new one is what a restart would find: whatever else fails, no write
        // may go to the old one.
        let old = self.folder.data(self.generation);
        self.generation += 1;
        self.disk = None;
        self.folder.sync()?;
        let disk = Disk::open(&self.folder.data(self.generation))?;
        load::remove(&old);
        Ok(disk)
    }

    fn rebuild_if_large(&mut self) {
        let Some(size) = self.disk.as_ref().and_then(|disk| disk.size().ok()) else { return };
        let content = self.state.bytes().saturating_mul(REBUILD_FACTOR);
        if size < self.rebuild_bytes.max(content) {
            return;
        }
        match self.rebuild() {
            Ok(disk) => {
                tracing::info!(
                    before = size,
                    after = disk.size().unwrap_or(0),
                    "made the database anew"
                );
                self.disk = Some(disk);
            }
            Err(error) => {
                tracing::warn!(%error, size, "failed to make the database anew");
                // Not again with each write.
                self.rebuild_bytes = size.saturating_mul(2);
            }
        }
    }
}

/// A group of transactions, decided but not written.
struct Staged<'a> {
    state: &'a State,
    head: Head,
    /// What the group makes of the keys it touches; `None` is deleted.
    touched: BTreeMap<Arc<str>, Option<Entry>>,
    committed: Vec<Committed>,
}

impl<'a> Staged<'a> {
    fn new(state: &'a State, head: Head) -> Self {
        Self { state, head, touched: BTreeMap::new(), committed: Vec::new() }
    }

    /// Decides on one transaction, given those before it.
    fn stage(&mut self, transaction: Transaction) -> Result<Revision, CommitError> {
        check_form(&transaction)?;
        for check in transaction.checks {
            let observed = self.get(&check.key).map(|entry| entry.modified);
            if !check.expected.holds(observed) {
                let (key, expected) = (check.key, check.expected);
                return Err(CommitError::Conflict { key, expected, observed });
            }
        }
        let revision = self.head.revision.next();
        let changes: Vec<_> =
            transaction.writes.into_iter().filter_map(|w| self.stage_write(w, revision)).collect();
        if !changes.is_empty() {
            self.head.revision = revision;
            self.committed.push(Committed { revision, changes });
        }
        Ok(self.head.revision)
    }

    fn stage_write(&mut self, write: Write, revision: Revision) -> Option<Change> {
        let last = self.get(write.key());
        if let Some(last) = &last {
            self.head.remove(last);
        }
        match write {
            Write::Put { key, value } => {
                let (key, created) = match last {
                    Some(last) => (Arc::clone(&last.key), last.created),
                    None => (Arc::from(key), revision),
                };
                // A copy, because `value` may be a small slice that keeps a large buffer alive.
                let value = Bytes::copy_from_slice(&value);
                let entry = Entry::new(key, value, created, revision);
                self.head.add(&entry);
                self.touched.insert(Arc::clone(&entry.key), Some(entry.clone()));
                Some(Change::Put(entry))
            }
            Write::Delete { .. } => {
                let last = last?;
                self.touched.insert(Arc::clone(&last.key), None);
                Some(Change::Delete { revision, last })
            }
        }
    }

    fn get(&self, key: &str) -> Option<Entry> {
        match self.touched.get(key) {
            Some(entry) => entry.clone(),
            None => self.state.get(key),
        }
    }

    fn group(&self) -> Group {
        let mut group = Group::default();
        for (key, entry) in &self.touched {
            let key = record::entry_key(key);
            match entry {
                Some(entry) => group.put(&key, record::encode(entry)),
                None => group.delete(&key),
            }
        }
        group.put(record::HEAD_KEY, self.head.encode());
        group
    }
}

fn check_form(transaction: &Transaction) -> Result<(), CommitError> {
    let malformed = |key: &str, reason| CommitError::Malformed { key: key.to_owned(), reason };
    let mut keys: Vec<_> = transaction.writes.iter().map(Write::key).collect();
    keys.sort_unstable();
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(malformed(pair[0], "is written twice"));
    }
    for write in &transaction.writes {
        match write {
            write if write.key().is_empty() => return Err(malformed("", "has no name")),
            Write::Put { key, value } if value.len() > MAX_VALUE => {
                let (key, size) = (key.clone(), value.len());
                return Err(CommitError::TooLarge { key, size, limit: MAX_VALUE });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::store::HistoryLimits;

    /// A writer whose store has the keys `a`, `b` and `c`.
    fn writer(path: &Path) -> Writer {
        let folder = Folder::take(path, true).unwrap();
        let (loaded, entries) = load::load(&folder).unwrap();
        let limits = HistoryLimits::default();
        let state = Arc::new(State::new(loaded.head.revision, entries, limits));
        let announce = watch::channel(loaded.head.revision).0;
        let mut writer = Writer::new(folder, loaded, state, announce, u64::MAX);
        let transaction = Transaction::new().put("a", "1").put("b", "1").put("c", "1");
        let (answer, mut answered) = oneshot::channel();
        writer.write_group(vec![Request { transaction, answer }]);
        assert_eq!(answered.try_recv().unwrap().unwrap(), Revision(1));
        writer
    }

    fn assert_says_what_memory_says(disk: &Disk, writer: &Writer) {
        let scan = load::scan(disk).unwrap();
        assert_eq!(scan.findings, []);
        assert_eq!(scan.head, Some(writer.head));
        let entries: Vec<_> = scan.entries.into_values().collect();
        assert_eq!(entries, writer.state.list("").entries);
        assert_eq!(entries.len(), 3);
    }

    #[test]
    fn what_was_refused_but_reached_the_disk_is_undone() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let mut refused = Group::default();
        refused.put(&record::entry_key("new"), b"x".to_vec());
        refused.put(&record::entry_key("a"), b"x".to_vec());
        refused.delete(&record::entry_key("b"));
        refused.put(record::HEAD_KEY, Head { revision: Revision(2), ..writer.head }.encode());
        writer.disk.take().unwrap().write(refused).unwrap();
        let disk = writer.reopen().unwrap();
        assert_eq!(writer.generation, 1);
        assert_says_what_memory_says(&disk, &writer);
    }

    #[test]
    fn what_is_written_after_the_database_was_opened_again_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        writer.tidy();
        assert_says_what_memory_says(writer.disk.as_ref().unwrap(), &writer);
        let (answer, mut answered) = oneshot::channel();
        let transaction = Transaction::new().put("a", "2");
        writer.write_group(vec![Request { transaction, answer }]);
        assert_eq!(answered.try_recv().unwrap().unwrap(), Revision(2));
        assert_says_what_memory_says(writer.disk.as_ref().unwrap(), &writer);
    }

    #[test]
    fn a_database_that_does_not_open_any_more_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        drop(writer.disk.take());
        fs::write(folder.path().join("data.1/snap.FFFFFFFFFFFFFFFF"), "garbage").unwrap();
        let disk = writer.reopen().unwrap();
        assert_eq!(writer.generation, 2);
        assert!(!folder.path().join("data.1").exists());
        assert_says_what_memory_says(&disk, &writer);
    }
}
