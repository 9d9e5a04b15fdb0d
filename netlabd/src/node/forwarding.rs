// SPDX-License-Identifier: GPL-3.0-or-later
//! Lets the node forward packets, and remembers what it was before.
//!
//! The journal is a JSON file of setting to former value. A setting's value goes to the journal,
//! on disk, *before* the setting is changed, and the first value noted is the one that stays, so
//! that a teardown after any number of crashes finds what was there before netlab.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use netlab_link::sysctl::{self, SysctlError, Wanted};
use netlab_link::{IfIndex, IfName, Netns, RouteSocket, SocketError, mark};

/// Whose turn it is to add to a journal.
static TURN: Mutex<()> = Mutex::new(());

/// Why the node does not forward.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// The links could not be listed.
    #[error("failed to list the links to forward between")]
    List {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// A setting could not be read or written.
    #[error("failed to let the node forward")]
    Sysctl {
        /// Why.
        #[source]
        source: SysctlError,
    },
    /// The journal could not be read or written.
    #[error("failed to keep the former settings in `{path}`")]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Lets packets pass between pods and every other link of the node that has an address. What is
/// right already is not written.
///
/// # Errors
/// When a setting cannot be read or written.
pub fn ensure(netns: &Netns, journal: &Path) -> Result<(), ForwardingError> {
    let uplinks = uplinks(netns).map_err(|source| ForwardingError::List { source })?;
    let wanted = sysctl::plan_forwarding(netns, &uplinks)
        .map_err(|source| ForwardingError::Sysctl { source })?;
    note_and_set(netns, journal, &wanted)
}

/// Has settings as they must be, in this order, and put back by [`restore`]. What is right already
/// is not written; what the kernel does not have is left out.
///
/// # Errors
/// When a setting cannot be read or written.
pub fn ensure_settings(
    netns: &Netns,
    journal: &Path,
    settings: &[(String, &'static str)],
) -> Result<(), ForwardingError> {
    let mut plan = Vec::new();
    for (name, wanted) in settings {
        match sysctl::read(netns, name) {
            Ok(previous) if previous == *wanted => {}
            Ok(previous) => plan.push(Wanted { name: name.clone(), previous, wanted }),
            Err(error) if error.is_not_found() => {}
            Err(source) => return Err(ForwardingError::Sysctl { source }),
        }
    }
    note_and_set(netns, journal, &plan)
}

fn note_and_set(netns: &Netns, journal: &Path, wanted: &[Wanted]) -> Result<(), ForwardingError> {
    let failed = |source| ForwardingError::Sysctl { source };
    if wanted.is_empty() {
        return Ok(());
    }
    // A thread that panicked has left no half-written journal.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut noted = read_journal(journal)?;
    for setting in wanted {
        noted.entry(setting.name.clone()).or_insert_with(|| setting.previous.clone());
    }
    write_journal(journal, &noted)?;
    for setting in wanted {
        match sysctl::ensure(netns, &setting.name, setting.wanted) {
            // The link went meanwhile.
            Err(error) if error.is_not_found() => {}
            done => drop(done.map_err(failed)?),
        }
    }
    Ok(())
}

/// Puts every setting back to what it was, and removes the journal.
///
/// # Errors
/// All settings that could not be put back; the journal stays then.
pub fn restore(netns: &Netns, journal: &Path) -> Result<(), Vec<ForwardingError>> {
    let noted = read_journal(journal).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    // In the order of their names: `all.forwarding` before the `accept_ra` of interfaces, which
    // must not be at 1 while it is set.
    for (name, value) in &noted {
        match sysctl::ensure(netns, name, value) {
            Err(error) if error.is_not_found() => {}
            Err(source) => errors.push(ForwardingError::Sysctl { source }),
            Ok(_) => {}
        }
    }
    if errors.is_empty()
        && let Err(source) = fs::remove_file(journal)
        && source.kind() != io::ErrorKind::NotFound
    {
        errors.push(ForwardingError::Journal { path: journal.to_owned(), source });
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Links, other than pods', those to other nodes' pods and loopback, that have an address.
fn uplinks(netns: &Netns) -> Result<Vec<IfName>, SocketError> {
    let mut socket = RouteSocket::open_in(netns)?;
    // Pods' links have no address, so however many there are, only a few are asked for.
    let indexes: BTreeSet<IfIndex> =
        socket.list_addresses()?.into_iter().map(|address| address.dev).collect();
    let mut names = Vec::new();
    for index in indexes.into_iter().filter(|index| *index != mark::LOOPBACK_INDEX) {
        let link = socket.get_link(index)?;
        let groups = [mark::LINK_GROUP, mark::FABRIC_LINK_GROUP];
        names.extend(link.filter(|link| !groups.contains(&link.group)).map(|link| link.name));
    }
    Ok(names)
}

fn read_journal(path: &Path) -> Result<BTreeMap<String, String>, ForwardingError> {
    let failed = |source| ForwardingError::Journal { path: path.to_owned(), source };
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(failed(error)),
    }
}

fn write_journal(path: &Path, noted: &BTreeMap<String, String>) -> Result<(), ForwardingError> {
    let write = || {
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(noted)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| ForwardingError::Journal { path: path.to_owned(), source })
}
