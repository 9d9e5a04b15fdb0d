// SPDX-License-Identifier: GPL-3.0-or-later
//! What is true, since which revision.
//!
//! A [`Store`] is an ordered map from key to bytes with one cluster-wide [`Revision`] that goes up
//! with every transaction. A reader lists a prefix, hears at which revision the list was true, and
//! watches from there: list and watch together miss nothing and repeat nothing.
//!
//! ```text
//!   list(prefix) ──► entries, true at revision R
//!   watch(prefix, R) ──► every change after R, in order ──► WatchError::Compacted ──► list again
//! ```
//!
//! The store knows no object: it does not parse a value, and a key is only a string to it. Keys are
//! ordered by their bytes.

use std::fmt;
use std::io;
use std::num::ParseIntError;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use embedded::{Exported, Finding, OpenError, Options, SledStore};
pub use state::HistoryLimits;
pub use watch::{Batch, ChangeSource, Watch};

mod embedded;
mod state;
mod watch;

/// An ordered, transactional, watchable map. Every implementation passes the same conformance suite.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The entry of `key`, if there is one.
    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError>;

    /// Every entry whose key starts with `prefix`, in key order, as they all were at one revision.
    /// The empty prefix lists everything.
    async fn list(&self, prefix: &str) -> Result<Listing, ReadError>;

    /// The same for each of the prefixes, in their order, all at one revision. For whoever needs a
    /// few kinds of objects whole: as many records again say who has which address and what was
    /// applied last.
    async fn list_each(&self, prefixes: &[&str]) -> Result<Listing, ReadError>;

    /// Writes all of `transaction` or nothing. When it returns, the writes survive a power cut and
    /// every reader sees them.
    ///
    /// Answers with the revision that the writes carry. A transaction that changes nothing (no
    /// writes, or only deletes of keys that are not there) answers with the present revision.
    ///
    /// Dropping the future does not take the transaction back.
    async fn commit(&self, transaction: Transaction) -> Result<Revision, CommitError>;

    /// Every change of a key that starts with `prefix`, with a revision greater than `from`.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, WatchError>;

    /// The revision of the newest transaction; [`Revision::ZERO`] when there was none yet.
    async fn revision(&self) -> Result<Revision, ReadError>;
}

/// A point in the history of the store. It never goes back, not even across a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of a store that was never written to.
    pub const ZERO: Self = Self(0);

    /// The revision of the transaction after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Revision {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// One key, its value, and since when: a [`Record`] that is shared by all who keep it.
///
/// The store, its history, the feed and others have each a map of entries, so it is one word.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry(Arc<Record>);

/// What an [`Entry`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Arc<str>,
    /// The value, opaque to the store. Nobody shares it but by the entry: there are many of them.
    pub value: Box<[u8]>,
    /// The transaction that made the key (again, after it was deleted).
    pub created: Revision,
    /// The transaction that last wrote the key.
    pub modified: Revision,
}

impl Entry {
    /// An entry that nobody shares yet.
    pub fn new(
        key: impl Into<Arc<str>>,
        value: impl Into<Box<[u8]>>,
        created: Revision,
        modified: Revision,
    ) -> Entry {
        Entry(Arc::new(Record { key: key.into(), value: value.into(), created, modified }))
    }
}

impl Deref for Entry {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.0
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What [`Store::list`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// When the entries were true; the revision to watch from.
    pub revision: Revision,
    /// The entries, in key order.
    pub entries: Vec<Entry>,
}

/// Writes that belong together, and what must be true for them to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// All must hold, or nothing is written.
    pub checks: Vec<Check>,
    /// What to write. No key may be written twice.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// A transaction without checks and writes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check.
    #[must_use]
    pub fn check(mut self, key: impl Into<String>, expected: Expected) -> Self {
        self.checks.push(Check { key: key.into(), expected });
        self
    }

    /// Adds a put.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write::Put { key: key.into(), value: value.into() });
        self
    }

    /// Adds a delete.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }
}

/// A condition on one key, tested against the state just before the writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The key, which need not be one that is written.
    pub key: String,
    /// What must be true of it.
    pub expected: Expected,
}

/// What a [`Check`] wants of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The key is not there.
    Absent,
    /// The key is there, whatever its revision.
    Exists,
    /// The key is there and was last written by this transaction.
    At(Revision),
}

impl Expected {
    /// Whether a key that was last written at `observed` (`None`: is not there) is as expected.
    #[must_use]
    pub fn holds(self, observed: Option<Revision>) -> bool {
        match self {
            Self::Absent => observed.is_none(),
            Self::Exists => observed.is_some(),
            Self::At(revision) => observed == Some(revision),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no such key"),
            Self::Exists => f.write_str("an existing key"),
            Self::At(revision) => write!(f, "revision {revision}"),
        }
    }
}

/// A change that a transaction makes to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Makes the key, or overwrites it. Writing the value that is there already is a change too.
    Put {
        /// The key; not empty.
        key: String,
        /// The value.
        value: Bytes,
    },
    /// Removes the key. Removing one that is not there is no change.
    Delete {
        /// The key; not empty.
        key: String,
    },
}

impl Write {
    /// The key that is written.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// What happened to one key, as a watcher hears it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was made or overwritten.
    Put {
        /// The entry as it is from then on.
        entry: Entry,
        /// The entry that was there; `None` when the key was made.
        before: Option<Entry>,
    },
    /// The key was removed.
    Delete {
        /// The transaction that removed it.
        revision: Revision,
        /// The entry as it last was.
        last: Entry,
    },
}

impl Change {
    /// The transaction that made the change. All changes of one transaction share it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put { entry, .. } => entry.modified,
            Self::Delete { revision, .. } => *revision,
        }
    }

    /// The entry that was written, or that was there before the delete.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        match self {
            Self::Put { entry, .. } => entry,
            Self::Delete { last, .. } => last,
        }
    }

    /// The entry that the change left behind it, if there was one.
    #[must_use]
    pub fn before(&self) -> Option<&Entry> {
        match self {
            Self::Put { before, .. } => before.as_ref(),
            Self::Delete { last, .. } => Some(last),
        }
    }

    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.entry().key
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store cannot be asked, which an embedded one always can.
    #[error("failed to read the store: is it reachable?")]
    Unavailable {
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A check did not hold: someone else was faster. Read again, decide again.
    #[error(
        "`{key}` is at {}, where {expected} was expected: read it again and retry",
        match observed { Some(revision) => format!("revision {revision}"), None => "no revision (it does not exist)".to_owned() }
    )]
    Conflict {
        /// The key of the first check that did not hold.
        key: String,
        /// What the check wanted.
        expected: Expected,
        /// When the key was last written; `None` when it is not there.
        observed: Option<Revision>,
    },
    /// A key is empty, or is written twice.
    #[error("BUG: transaction in which key `{key}` {reason}")]
    Malformed {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value is larger than the store takes.
    #[error(
        "failed to write `{key}`: it has {size} bytes, the store takes {limit}: make it smaller"
    )]
    TooLarge {
        /// The key.
        key: String,
        /// The value's length in bytes.
        size: usize,
        /// The longest value.
        limit: usize,
    },
    /// The storage did not take the writes. Readers do not see them, and a later commit tries anew.
    #[error("failed to write to the store{}", if is_disk_full(source) { ": free some disk space" } else { "" })]
    Storage {
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The storage did not answer, and may still take the writes later.
    #[error("no answer from the store after {} s: is its disk healthy?", after.as_secs())]
    Unanswered {
        /// How long it was waited for.
        after: Duration,
    },
    /// The store was closed.
    #[error("failed to write to the store: it is closed")]
    Closed,
}

impl CommitError {
    /// Whether a check did not hold.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Whether there was no space (or no quota) left.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Storage { source } if is_disk_full(source))
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a watch cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The changes after `from` are not all kept any more: list, and watch from there.
    ///
    /// A watcher that reads slower than others write meets this too.
    #[error("changes after revision {from} are no longer kept (oldest is {oldest}): list again")]
    Compacted {
        /// The revision after which the watcher wanted all changes.
        from: Revision,
        /// The lowest revision that can be watched from.
        oldest: Revision,
    },
    /// `from` has not happened, so it comes from another store.
    #[error("revision {from} is in the future (newest is {revision}): list again")]
    Future {
        /// The revision asked for.
        from: Revision,
        /// The newest revision.
        revision: Revision,
    },
    /// The store was closed, or cannot be reached.
    #[error("the watched store is closed")]
    Closed,
}

#[cfg(test)]
pub(crate) mod conformance;
