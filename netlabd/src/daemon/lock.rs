// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeps two daemons that joined a cluster apart that have one state directory: they would be one
//! node twice. A server has its store's lock for that.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Name of the lock in the state directory.
const LOCK: &str = "lock";

/// Held for as long as the daemon runs, or somebody takes away what it had.
#[derive(Debug)]
pub(super) struct StateLock(#[expect(dead_code, reason = "held, and dropped")] Flock<File>);

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "another netlabd uses `{state_dir}`: stop it (`systemctl stop netlabd`), or give another \
     --state-dir"
)]
pub(super) struct StateInUse {
    state_dir: PathBuf,
}

impl StateLock {
    /// Takes the lock of a state directory, which must be there.
    ///
    /// # Errors
    /// [`StateInUse`] when another has it.
    pub(super) fn take(state_dir: &Path) -> anyhow::Result<StateLock> {
        let path = state_dir.join(LOCK);
        let opening = File::options().create(true).truncate(false).write(true).open(&path);
        let file = opening.with_context(|| format!("failed to open `{}`", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(StateLock(file)),
            Err((_, Errno::EWOULDBLOCK)) => {
                Err(StateInUse { state_dir: state_dir.to_owned() }.into())
            }
            Err((_, errno)) => {
                Err(errno).with_context(|| format!("failed to lock `{}`", path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_is_one_daemons() {
        let dir = tempfile::tempdir().unwrap();
        let held = StateLock::take(dir.path()).unwrap();
        let refused = StateLock::take(dir.path()).unwrap_err();
        assert!(refused.is::<StateInUse>(), "{refused:#}");
        drop(held);
        StateLock::take(dir.path()).unwrap();
    }
}
