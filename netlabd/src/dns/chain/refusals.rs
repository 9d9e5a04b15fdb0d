// SPDX-License-Identifier: GPL-3.0-or-later
//! Bounds what strangers are told: refusals must not become a flood towards a forged sender.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Strangers who are told that they are refused, per second; the others hear nothing.
pub(super) const REFUSALS: u32 = 1000;

/// How many refusals may still be told in this second.
#[derive(Debug)]
pub(super) struct Refusals {
    start: Instant,
    /// The second, and how many were told in it.
    state: AtomicU64,
}

impl Refusals {
    pub(super) fn new() -> Refusals {
        Refusals { start: Instant::now(), state: AtomicU64::new(0) }
    }

    /// Whether one more may be told.
    pub(super) fn may_tell(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.start).as_secs() << 32;
        let before = self.state.load(Ordering::Relaxed);
        if before & !u64::from(u32::MAX) != second {
            // Two threads may do so at once, and then some more are told.
            self.state.store(second | 1, Ordering::Relaxed);
            return true;
        }
        // Counts on only below the bound, so that it never runs into the second.
        before & u64::from(u32::MAX) < u64::from(REFUSALS) && {
            self.state.fetch_add(1, Ordering::Relaxed);
            true
        }
    }
}
