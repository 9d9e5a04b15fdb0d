// SPDX-License-Identifier: GPL-3.0-or-later
//! The store inside the daemon: a database on disk, its mirror in memory, one writer between them.
//!
//! ```text
//!   commit ──► queue ──► writer ──► disk (one flush for all that queued) ──► mirror ──► watchers
//!                                                                              │
//!   get, list ◄────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Reads never touch the disk, so they go on when it is full or broken. The mirror holds every
//! entry, so the database can always be made again from it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};

use super::state::{HistoryLimits, State};
use super::{
    CommitError, Entry, Listing, ReadError, Revision, Store, Transaction, Watch, WatchError,
    is_disk_full,
};
use folder::Folder;
use writer::{Request, Writer};

pub use inspect::{Exported, Finding};

mod disk;
mod folder;
mod inspect;
mod load;
mod record;
mod witness;
mod writer;

/// How many transactions may wait for the writer; more wait outside of the queue.
const QUEUE_LENGTH: usize = 1024;

/// A disk that has not answered after so long will not: a slow one takes milliseconds, one that
/// repairs a bad sector some seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long closing waits for the writer. With a disk that does not answer, the process must end
/// all the same.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The embedded store. Dropping it closes it: the queue is written, the folder is free again.
pub struct SledStore {
    state: Arc<State>,
    queue: Option<mpsc::Sender<Request>>,
    announced: watch::Receiver<Revision>,
    refusal: watch::Receiver<Option<String>>,
    /// Ends when the writer has; in a mutex only to be `Sync`.
    closed: Mutex<std_mpsc::Receiver<()>>,
    path: PathBuf,
}

/// How to open a [`SledStore`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many changes are kept for watchers.
    pub history: HistoryLimits,
    /// When the database takes so many bytes, and a multiple of what is in it, it is made anew:
    /// sled does not give all space back that overwritten values took.
    pub rebuild_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { history: HistoryLimits::default(), rebuild_bytes: 32 << 20 }
    }
}

impl SledStore {
    /// Opens the store in the folder `path`, and makes it if it is not there.
    ///
    /// Blocks while the records are read. Nothing is deleted or repaired when something is wrong.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let folder = Folder::take(path, true)?;
        let (loaded, entries) = load::load(&folder)?;
        let state = Arc::new(State::new(loaded.head.revision, entries, options.history));
        let (queue, requests) = mpsc::channel(QUEUE_LENGTH);
        let (announce, announced) = watch::channel(loaded.head.revision);
        let (refuse, refusal) = watch::channel(None);
        let (closing, closed) = std_mpsc::channel();
        let rebuild_bytes = options.rebuild_bytes;
        let writer =
            Writer::new(folder, loaded, Arc::clone(&state), announce, refuse, rebuild_bytes);
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                writer.run(requests);
                // Dropped last of all: it says that the folder is free.
                drop(closing);
            })
            .map_err(|source| OpenError::Thread { source })?;
        let closed = Mutex::new(closed);
        let queue = Some(queue);
        Ok(Self { state, queue, announced, refusal, closed, path: path.to_owned() })
    }

    /// Why the disk refused the last write; none as long as it takes writes. Ends with the store.
    pub fn refusal(&self) -> watch::Receiver<Option<String>> {
        self.refusal.clone()
    }

    /// Looks at every record of the store in `path`, which no daemon may be using, and tells what
    /// is wrong. Repairs nothing.
    pub fn check(path: &Path) -> Result<Vec<Finding>, OpenError> {
        inspect::check(path)
    }

    /// Writes every record of the store in `path`, which no daemon may be using, as one line of
    /// JSON each: those that can be read with their value, the others with what is wrong.
    pub fn export(path: &Path, out: &mut dyn io::Write) -> Result<Exported, OpenError> {
        inspect::export(path, out)
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = self.state.revision();
        f.debug_struct("SledStore").field("path", &self.path).field("revision", &revision).finish()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.queue = None;
        let closed = self.closed.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Err(std_mpsc::RecvTimeoutError::Timeout) = closed.recv_timeout(CLOSE_TIMEOUT) {
            let path = self.path.display();
            tracing::error!(%path, "the store is left open: its disk does not answer");
        }
    }
}

#[async_trait]
impl Store for SledStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        Ok(self.state.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, ReadError> {
        Ok(self.state.list(prefix))
    }

    async fn list_each(&self, prefixes: &[&str]) -> Result<Listing, ReadError> {
        Ok(self.state.list_each(prefixes))
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError> {
        let queue = self.queue.as_ref().ok_or(CommitError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let wait = async {
            queue.send(Request { transaction, answer }).await.map_err(|_| CommitError::Closed)?;
            answered.await.map_err(|_| CommitError::Closed)?
        };
        tokio::time::timeout(ANSWER_TIMEOUT, wait)
            .await
            .unwrap_or(Err(CommitError::Unanswered { after: ANSWER_TIMEOUT }))
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, WatchError> {
        self.state.watch(prefix, from, self.announced.clone())
    }

    async fn revision(&self) -> Result<Revision, ReadError> {
        Ok(self.state.revision())
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "state folder `{}` is in use by another netlabd{}: stop it, or give this one another --state-dir and a network namespace of its own",
        path.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The state folder.
        path: PathBuf,
        /// The other process, as far as it said.
        pid: Option<u32>,
    },
    /// The folder's format is newer than this program.
    #[error(
        "state folder `{}` was written by a newer netlabd (format {found}, this one reads {known}): upgrade netlabd",
        path.display()
    )]
    NewerFormat {
        /// The state folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },
    /// The format file holds no format.
    #[error("failed to read the format in `{}`: found \"{text}\", not a version number: is it the state folder of a netlabd?", path.display())]
    UnreadableFormat {
        /// The format file.
        path: PathBuf,
        /// How it begins.
        text: String,
    },
    /// There is no store.
    #[error("there is no store in `{}`: name the state folder of a netlabd by --state-dir", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is data but nothing says in which format.
    #[error("`{}` is missing, though there is data in `{}`: restore it from a backup", path.display(), data.display())]
    MissingFormat {
        /// The format file.
        path: PathBuf,
        /// The data.
        data: PathBuf,
    },
    /// The folder cannot be made, read or written.
    #[error("failed to use `{}` in the state folder: may this user write there?", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The database cannot be opened or read.
    #[error(
        "failed to open the database `{}`: {}",
        path.display(),
        if is_disk_full(source) {
            "free some disk space"
        } else {
            "is the disk healthy? (nothing was changed; a backup of the state folder can be put back)"
        }
    )]
    Database {
        /// The database's folder.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A record is damaged.
    #[error(
        "record `{key}` in `{}` {problem}: nothing was changed; `netlabd store check` lists all damage, `netlabd store export` saves the rest",
        path.display()
    )]
    Corrupt {
        /// The database's folder.
        path: PathBuf,
        /// The record's key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The database is older than what was acknowledged.
    #[error(
        "the database `{}` is at revision {observed}, though revision {acknowledged} was written: \
         restore the folder from a backup, or remove `{}` to go on with what is left",
        path.display(), witness.display()
    )]
    RolledBack {
        /// The database's folder.
        path: PathBuf,
        /// Its newest revision.
        observed: Revision,
        /// The newest revision that a caller heard of.
        acknowledged: Revision,
        /// The file that says so.
        witness: PathBuf,
    },
    /// The export cannot be written.
    #[error("failed to write the export")]
    Export {
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The writer cannot be started.
    #[error("failed to start the store's writer: are there too many threads?")]
    Thread {
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
