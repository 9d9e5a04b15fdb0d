// SPDX-License-Identifier: GPL-3.0-or-later
//! The reader's end of a watch, the same for every implementation of a store.

use std::collections::VecDeque;

use async_trait::async_trait;

use super::{Change, Revision, WatchError};

/// Changes in order, without gap and without repetition.
///
/// All waits are cancel-safe: a dropped future loses no change. After an error the watch is over;
/// asking again gives the same error.
pub struct Watch {
    source: Box<dyn ChangeSource>,
    buffer: VecDeque<Change>,
}

impl Watch {
    /// A watch that takes its changes from `source`.
    #[must_use]
    pub fn new(source: Box<dyn ChangeSource>) -> Self {
        Self { source, buffer: VecDeque::new() }
    }

    /// Waits for the next change.
    pub async fn next(&mut self) -> Result<Change, WatchError> {
        loop {
            if let Some(change) = self.buffer.pop_front() {
                return Ok(change);
            }
            self.buffer = self.source.next_batch().await?.changes.into();
        }
    }

    /// Waits until there is a change, and takes all there are, up to a bound that the
    /// implementation sets. A transaction is never split over two batches.
    pub async fn next_batch(&mut self) -> Result<Batch, WatchError> {
        match self.take_buffer() {
            Some(batch) => Ok(batch),
            None => self.source.next_batch().await,
        }
    }

    /// Takes the changes that are there now, perhaps none; does not wait.
    ///
    /// The batch's revision goes up also when others write outside of the prefix.
    pub fn try_batch(&mut self) -> Result<Batch, WatchError> {
        match self.take_buffer() {
            Some(batch) => Ok(batch),
            None => self.source.try_batch(),
        }
    }

    /// What [`Watch::next`] fetched and did not hand out yet.
    fn take_buffer(&mut self) -> Option<Batch> {
        let revision = self.buffer.back()?.revision();
        Some(Batch { revision, changes: std::mem::take(&mut self.buffer).into() })
    }
}

/// Whole transactions, as far as they touch the watched prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Every change of the prefix up to this revision has been handed out, with this batch.
    pub revision: Revision,
    /// The changes, in the order in which they were made.
    pub changes: Vec<Change>,
}

/// Where a [`Watch`] takes its changes from: one implementation for each kind of store.
#[async_trait]
pub trait ChangeSource: Send {
    /// Waits until there is a change, and takes a batch of whole transactions. Cancel-safe.
    async fn next_batch(&mut self) -> Result<Batch, WatchError>;

    /// Takes what is there now, perhaps no change.
    fn try_batch(&mut self) -> Result<Batch, WatchError>;
}
