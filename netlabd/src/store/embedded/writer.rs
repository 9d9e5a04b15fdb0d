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

use nix::sys::statvfs::statvfs;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::disk::{Disk, Group};
use super::folder::Folder;
use super::load::{self, Loaded};
use super::record::{self, Head};
use super::witness::Witness;
use crate::store::state::State;
use crate::store::{CommitError, Entry, Revision, Transaction, Write, is_disk_full};
use staged::Staged;

mod staged;

/// A group ends at so many bytes of values, so that one flush stays short.
const GROUP_BYTES: usize = 4 << 20;

/// A database is large when it takes so many times the bytes of what is in it.
const REBUILD_FACTOR: u64 = 4;

/// After so many records that were read or written, the database holds so much of them in memory that
/// it is worth to open it again: its cache counts what was used only once in a while.
const CACHED_RECORDS: usize = 1000;

/// How long nothing must have been written before that is done. It takes some milliseconds.
const REST: Duration = Duration::from_secs(2);

/// How long after a refused write is looked whether the next one would be taken.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// With fewer bytes free it would not: those of a common group, and what sled adds.
const ROOM: u64 = 1 << 20;

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
    /// Why the last write was refused; none when it was taken.
    refusal: watch::Sender<Option<String>>,
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
        refusal: watch::Sender<Option<String>>,
        rebuild_bytes: u64,
    ) -> Self {
        let Loaded { disk, generation, head } = loaded;
        let witness = Witness::open(&folder.newest());
        // All of them were read to load them.
        let cached = usize::try_from(head.count).unwrap_or(usize::MAX);
        let disk = Some(disk);
        Self {
            folder,
            disk,
            generation,
            head,
            witness,
            state,
            announce,
            refusal,
            rebuild_bytes,
            cached,
        }
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

    /// The next request. When there is none for a while: tidies up, or looks whether the disk takes
    /// writes again.
    fn next(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
        clock: Option<&Runtime>,
    ) -> Option<Request> {
        loop {
            let refuses = self.refusal.borrow().is_some();
            let Some(clock) = clock.filter(|_| refuses || self.cached >= CACHED_RECORDS) else {
                return requests.blocking_recv();
            };
            let pause = if refuses { LOOK_AGAIN } else { REST };
            match clock.block_on(async { timeout(pause, requests.recv()).await }) {
                Ok(request) => return request,
                Err(_) if refuses => self.look_again(),
                Err(_) => {
                    self.tidy();
                    crate::memory::give_back();
                }
            }
        }
    }

    /// Finds out whether writes are taken again: else a refusal would be told until somebody happens
    /// to write.
    fn look_again(&mut self) {
        // A record of a few bytes would fit into what is free inside of the database's file.
        let room = statvfs(&self.folder.data(self.generation))
            .is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() >= ROOM);
        if !room {
            return;
        }
        let disk = match self.disk.take() {
            Some(disk) => Ok(disk),
            None => self.reopen(),
        };
        let mut group = Group::default();
        group.put(record::HEAD_KEY, self.head.encode());
        match disk.and_then(|disk| disk.write(group).map(|()| disk)) {
            Ok(disk) => {
                self.disk = Some(disk);
                self.refusal.send_replace(None);
                tracing::info!("the store takes writes again");
            }
            Err(error) => tracing::debug!(%error, "the store still refuses writes"),
        }
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
            let cure = if is_disk_full(&error) { ": free some disk space" } else { "" };
            self.refusal.send_replace(Some(format!("{error}{cure}")));
            for (answer, _) in answers {
                let source = io::Error::new(error.kind(), error.to_string());
                let _ = answer.send(Err(CommitError::Storage { source }));
            }
            return;
        }
        self.head = staged.head;
        if !staged.committed.is_empty() {
            self.refusal.send_if_modified(|refusal| refusal.take().is_some());
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

#[cfg(test)]
mod tests;
