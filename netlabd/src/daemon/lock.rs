// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeps daemons apart: two that joined a cluster and have one state directory would be one node
//! twice (a server has its store's lock for that), and two in one network namespace would take away
//! each other's links, routes and rules.

use std::fs::File;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

/// Abstract name that whoever changes the network of this namespace has. The kernel keeps these names
/// for each network namespace, and forgets them with their process: unix(7).
const NETWORK: &[u8] = b"netlab/network";

/// Name of the lock in the state directory.
const LOCK: &str = "lock";

/// Held for as long as the daemon runs, or somebody takes away what it had.
#[derive(Debug)]
pub(super) struct StateLock(#[expect(dead_code, reason = "held, and dropped")] Flock<File>);

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "another netlabd uses `{state_dir}`: stop it (`systemctl stop netlabd`), or give another \
     --state-dir, in a network namespace of its own"
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

/// Held by whoever changes the network of this namespace.
#[derive(Debug)]
pub(super) struct NetworkLock(
    #[expect(dead_code, reason = "held, and dropped")] Option<UnixListener>,
);

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "another netlabd (pid {pid}) works in this network namespace: stop it \
     (`systemctl stop netlabd`), or start this one in a namespace of its own (`ip netns exec`; \
     `netlabctl lab` makes whole clusters)"
)]
pub(super) struct NetworkInUse {
    pid: i32,
}

impl NetworkLock {
    /// Takes the lock of this thread's network namespace.
    ///
    /// # Errors
    /// [`NetworkInUse`] when another has it.
    pub(super) fn take() -> anyhow::Result<NetworkLock> {
        Self::take_named(NETWORK)
    }

    fn take_named(name: &[u8]) -> anyhow::Result<NetworkLock> {
        let address = SocketAddr::from_abstract_name(name).context("BUG: a name is too long")?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(NetworkLock(Some(listener))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                match holder(&address) {
                    Some(pid) => Err(NetworkInUse { pid }.into()),
                    None => {
                        // Anybody may take a name: that must not keep netlabd from starting.
                        tracing::warn!(
                            "a process that is not root's has the name of netlabd's lock"
                        );
                        Ok(NetworkLock(None))
                    }
                }
            }
            Err(error) => Err(error).context("failed to lock the network namespace"),
        }
    }
}

/// The process that listens under a name, if it is root's.
fn holder(address: &SocketAddr) -> Option<i32> {
    let stream = UnixStream::connect_addr(address).ok()?;
    let credentials = getsockopt(&stream, PeerCredentials).ok()?;
    (credentials.uid() == 0).then(|| credentials.pid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_namespace_is_one_daemons() {
        let name = format!("netlab/test-{}", std::process::id());
        let held = NetworkLock::take_named(name.as_bytes()).unwrap();
        let refused = NetworkLock::take_named(name.as_bytes()).unwrap_err();
        let pid = std::process::id();
        assert!(refused.to_string().contains(&format!("(pid {pid})")), "{refused}");
        drop(held);
        NetworkLock::take_named(name.as_bytes()).unwrap();
    }

    #[test]
    fn a_name_that_nobody_listens_to_keeps_nobody_out() {
        let name = format!("netlab/squat-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let _bound = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
        NetworkLock::take_named(name.as_bytes()).unwrap();
    }

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
