// SPDX-License-Identifier: GPL-3.0-or-later
//! Removes everything that netlab made on this machine: nothing is left, nothing foreign is
//! touched. Goes on after an error and tells all of them.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use netlab_link::netns::list_pins;
use netlab_link::pod_link::list_pod_links;
use netlab_link::{Netns, PodLinkId, RouteSocket, observe_node, remove_pod_links};
use nix::mount::{MntFlags, umount2};

use super::config::Config;
use super::lock::{NetworkInUse, NetworkLock, StateInUse, StateLock};
use super::{SOCKET, STORE_DIR, require_root};
use crate::node::forwarding;
use crate::node::network::apply::host_links;
use crate::node::network::fabric;
use crate::node::pod::Runtime;
use crate::node::proxy::{anchor, announce};
use crate::node::reconciler::drift::FORWARDING_JOURNAL;
use crate::node::rules::Rules;
use crate::server::{SocketError, SocketLock, lock_socket};
use crate::store::{OpenError, Options, SledStore};

/// How long a killed process may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Removes pods, links, routes, rules, sysctl changes, cgroups, mounts and files.
///
/// # Errors
/// When a daemon is running, and everything that could not be removed.
pub fn run(config: &Config) -> anyhow::Result<()> {
    require_root()?;
    let _locks = lock(config)?;
    let mut errors: Vec<String> = Vec::new();
    let mut note = |what: &str, done: anyhow::Result<()>| {
        if let Err(error) = done {
            errors.push(format!("{what}: {error:#}"));
        }
    };
    note("processes", remove_processes(&config.run_dir));
    note("links", remove_links(&config.run_dir));
    note("routes between nodes", remove_fabric(config));
    note("announced addresses", remove_announced());
    note("routes to services", remove_anchor());
    note("rules", remove_rules(config));
    note("sysctls", restore_sysctls(config));
    note("mounts", unmount(&config.run_dir.join("pins")));
    if !errors.is_empty() {
        // The folders say what is left; the next teardown needs them.
        anyhow::bail!("not everything could be removed:\n  {}", errors.join("\n  "));
    }
    for dir in [&config.run_dir, &config.state_dir] {
        remove_dir(dir).with_context(|| format!("failed to remove `{}`", dir.display()))?;
    }
    Ok(())
}

/// What keeps daemons from starting meanwhile: a server by its store, a joined node by its state
/// directory, and either by its socket and its network.
struct Locks {
    _store: Option<SledStore>,
    _state: Option<StateLock>,
    _socket: Option<SocketLock>,
    _network: NetworkLock,
}

/// Keeps daemons from starting meanwhile, and finds out whether one is there.
fn lock(config: &Config) -> anyhow::Result<Locks> {
    let running = "a running netlabd would only put everything back: stop it first";
    let store = lock_store(&config.state_dir.join(STORE_DIR)).context(running)?;
    let state = match config.state_dir.exists() {
        true => match StateLock::take(&config.state_dir) {
            Err(error) if error.is::<StateInUse>() => return Err(error.context(running)),
            lock => Some(lock?),
        },
        false => None,
    };
    let socket = match config.run_dir.exists() {
        true => match lock_socket(&config.run_dir.join(SOCKET)) {
            Err(error @ SocketError::InUse { .. }) => {
                return Err(anyhow::Error::from(error).context(running));
            }
            lock => Some(lock?),
        },
        false => None,
    };
    // One with other folders has its links, routes and rules here too.
    let network = match NetworkLock::take() {
        Err(error) if error.is::<NetworkInUse>() => return Err(error.context(running)),
        lock => lock?,
    };
    Ok(Locks { _store: store, _state: state, _socket: socket, _network: network })
}

/// A store that cannot be opened for another reason than that it is in use is going to be removed
/// anyway.
fn lock_store(dir: &Path) -> Result<Option<SledStore>, OpenError> {
    if !dir.exists() {
        return Ok(None);
    }
    match SledStore::open(dir, Options::default()) {
        Err(error @ OpenError::InUse { .. }) => Err(error),
        opened => Ok(opened.ok()),
    }
}

fn remove_processes(run_dir: &Path) -> anyhow::Result<()> {
    if !run_dir.exists() {
        return Ok(());
    }
    let runtime = Runtime::new(run_dir, Path::new("/proc/self/exe"))?;
    let uids = runtime.list()?;
    for uid in &uids {
        runtime.kill(uid)?;
    }
    for uid in &uids {
        runtime.remove(uid, KILL_TIMEOUT)?;
    }
    runtime.cgroups().remove_all(Instant::now() + KILL_TIMEOUT)?;
    Ok(())
}

fn remove_links(run_dir: &Path) -> anyhow::Result<()> {
    let pin_dir = run_dir.join("pins");
    let node = Netns::current()?;
    let mut socket = RouteSocket::open_in(&node)?;
    let mut ids: Vec<PodLinkId> = Vec::new();
    if pin_dir.exists() {
        ids.extend(list_pod_links(&pin_dir)?);
    }
    // Links of another daemon's pods are pinned in its folder; those of no folder are nobody's.
    ids.extend(host_links(&observe_node(&mut socket)?).into_keys());
    ids.sort();
    ids.dedup();
    let all = |errors: Vec<netlab_link::PodLinkError>| {
        let texts: Vec<_> = errors.iter().map(|error| crate::error::chain(error)).collect();
        anyhow::anyhow!(texts.join("; "))
    };
    remove_pod_links(&mut socket, &pin_dir, &ids).map_err(all)
}

fn remove_fabric(config: &Config) -> anyhow::Result<()> {
    Ok(fabric::teardown(&Netns::current()?, &config.pod_networks)?)
}

fn remove_announced() -> anyhow::Result<()> {
    Ok(announce::teardown(&Netns::current()?)?)
}

fn remove_anchor() -> anyhow::Result<()> {
    Ok(anchor::teardown(&Netns::current()?)?)
}

fn remove_rules(config: &Config) -> anyhow::Result<()> {
    Ok(Rules::open(&config.cluster()?)?.teardown()?)
}

fn restore_sysctls(config: &Config) -> anyhow::Result<()> {
    let journal = config.state_dir.join(FORWARDING_JOURNAL);
    forwarding::restore(&Netns::current()?, &journal).map_err(|errors| {
        let texts: Vec<_> = errors.iter().map(|error| crate::error::chain(error)).collect();
        anyhow::anyhow!(texts.join("; "))
    })
}

/// Unmounts the folder of pins, as often as it was mounted.
fn unmount(pin_dir: &Path) -> anyhow::Result<()> {
    if !pin_dir.exists() {
        return Ok(());
    }
    for pin in list_pins(pin_dir)? {
        netlab_link::netns::unpin(&pin_dir.join(pin))?;
    }
    while umount2(pin_dir, MntFlags::MNT_DETACH).is_ok() {}
    Ok(())
}

/// Removes a folder with all in it. One on which something is mounted is somebody else's: it is
/// only emptied.
fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error)
            if error.kind() == io::ErrorKind::ResourceBusy
                && fs::read_dir(dir)?.next().is_none() =>
        {
            Ok(())
        }
        other => other,
    }
}
