// SPDX-License-Identifier: GPL-3.0-or-later
//! What a group of transactions makes of the state, before any of it is written. Decides, and touches
//! no disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::disk::Group;
use super::super::record::{self, Head};
use crate::store::state::{Committed, State};
use crate::store::{Change, CommitError, Entry, Revision, Transaction, Write};

/// The largest value. What is larger than sled's segment costs it a file and us a sync for each.
const MAX_VALUE: usize = 1 << 20;

/// A group of transactions, decided but not written.
pub(super) struct Staged<'a> {
    state: &'a State,
    pub(super) head: Head,
    /// What the group makes of the keys it touches; `None` is deleted.
    pub(super) touched: BTreeMap<Arc<str>, Option<Entry>>,
    pub(super) committed: Vec<Committed>,
}

impl<'a> Staged<'a> {
    pub(super) fn new(state: &'a State, head: Head) -> Self {
        Self { state, head, touched: BTreeMap::new(), committed: Vec::new() }
    }

    /// Decides on one transaction, given those before it.
    pub(super) fn stage(&mut self, transaction: Transaction) -> Result<Revision, CommitError> {
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
                let (key, created) = match &last {
                    Some(last) => (Arc::clone(&last.key), last.created),
                    None => (Arc::from(key), revision),
                };
                let entry = Entry::new(key, &*value, created, revision);
                self.head.add(&entry);
                self.touched.insert(Arc::clone(&entry.key), Some(entry.clone()));
                Some(Change::Put { entry, before: last })
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

    pub(super) fn group(&self) -> Group {
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
