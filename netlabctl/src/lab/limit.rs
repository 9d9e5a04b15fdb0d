// SPDX-License-Identifier: GPL-3.0-or-later
//! A limit of the kernel that a large lab meets: each daemon has instances of inotify, of which
//! one user may have 128 unless somebody raised that (`inotify(7)`). It is raised for as long as
//! the lab is up; what it was is written down first.

use std::fs;

use super::folder::{self, Folder};
use super::state::State;
use crate::failure::Failure;
use crate::output;

const PATH: &str = "/proc/sys/fs/inotify/max_user_instances";
/// Instances that a daemon has at most.
const OF_A_DAEMON: u64 = 2;
/// What everybody else on the machine may need.
const OF_OTHERS: u64 = 128;
/// Labs of fewer nodes fit beside everybody else.
const FEW_NODES: usize = 24;

/// Raises the limit where the lab's daemons would not fit.
pub(crate) fn raise(folder: &Folder, state: &mut State) -> Result<(), Failure> {
    let nodes = state.plan.nodes().count();
    let needed = OF_OTHERS + OF_A_DAEMON * nodes as u64;
    let now = fs::read_to_string(PATH).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let Some(now) = now.filter(|now| nodes >= FEW_NODES && *now < needed) else { return Ok(()) };
    if state.inotify_before.is_none() {
        state.inotify_before = Some(now);
        folder.save(state)?;
    }
    write(needed)?;
    output::note(&format!(
        "fs.inotify.max_user_instances is {needed} while the lab is up, and was {now}"
    ));
    Ok(())
}

/// Puts the limit back, or leaves that to another lab that is up.
pub(crate) fn restore(folder: &Folder, state: &mut State) -> Result<(), Failure> {
    let Some(before) = state.inotify_before.take() else { return Ok(()) };
    let others = folder::list().into_iter().filter(|other| other.name != folder.name);
    let heir = others.into_iter().find_map(|other| Some((other.state().ok()??, other)));
    match heir {
        Some((mut theirs, other)) => {
            theirs.inotify_before.get_or_insert(before);
            other.save(&theirs)
        }
        None => write(before),
    }
}

fn write(value: u64) -> Result<(), Failure> {
    fs::write(PATH, value.to_string())
        .map_err(|error| Failure::failed(format!("failed to write `{PATH}`: {error}")))
}
