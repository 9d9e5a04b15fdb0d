// SPDX-License-Identifier: GPL-3.0-or-later
//! Who may decide and commit at the same time.
//!
//! Decisions normally run side by side, so that one flush of the store serves many, and the few
//! that meet are made again. One that has lost several times gets a turn alone: a person's patch
//! must not lose to a busy node for ever.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Rounds that a decision may lose before it is made alone.
const PATIENCE: usize = 3;

/// Gives turns.
#[derive(Debug, Default)]
pub(super) struct Turns(RwLock<()>);

/// To be held from the first read of a round to the end of its commit, and not beyond: who waits
/// for another turn while it holds one may wait for ever.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    /// With others.
    Shared { _guard: RwLockReadGuard<'a, ()> },
    /// Without others.
    Alone { _guard: RwLockWriteGuard<'a, ()> },
}

impl Turns {
    /// A turn for the `round`-th attempt, counted from 0.
    pub(super) async fn next(&self, round: usize) -> Turn<'_> {
        if round < PATIENCE {
            Turn::Shared { _guard: self.0.read().await }
        } else {
            Turn::Alone { _guard: self.0.write().await }
        }
    }
}
