// SPDX-License-Identifier: GPL-3.0-or-later
//! The time until all names of the cluster are known, `startup-timeout`. CoreDNS does not listen
//! before; here, only questions for names that may yet be told wait.

use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use tokio::time::timeout_at;

use crate::dns::zone::Zone;

/// How long is waited for what the zone may yet be told.
#[derive(Debug)]
pub(super) struct Startup {
    /// From then on nobody waits.
    pub(super) end: Instant,
}

impl Startup {
    /// Whether nobody waits any more.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Waits until the zone has been told all that there is, or this is over.
    pub(super) async fn wait(&self, zone: &RwLock<Zone>) {
        let unsynced = zone.read().unwrap_or_else(PoisonError::into_inner).until_synced();
        let Some(mut unsynced) = unsynced else { return };
        let synced = async { while unsynced.changed().await.is_ok() {} };
        // Which of the two it was, the zone says next.
        let _ = timeout_at(self.end.into(), synced).await;
    }
}
