// SPDX-License-Identifier: GPL-3.0-or-later
//! Cgroups of a node's pods, which outlive their processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netlab_link::mark;
use nix::errno::Errno;

use crate::failure::Failure;

/// How long the kernel may take to let go of processes that are gone.
const TIMEOUT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(1);

/// Removes the cgroups of the daemon of a run directory, in every hierarchy. Its processes must be
/// gone.
pub(crate) fn remove(run_dir: &Path) -> Result<(), Failure> {
    let name = mark::cgroup_name(run_dir);
    let deadline = Instant::now() + TIMEOUT;
    for mount in mounts() {
        remove_folder(&mount.join(&name), deadline)?;
    }
    Ok(())
}

/// Mount points of cgroup hierarchies, see `proc_pid_mountinfo(5)`.
fn mounts() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(" - "));
    let cgroups = lines.filter(|(_, source)| source.starts_with("cgroup"));
    cgroups.filter_map(|(mount, _)| mount.split(' ').nth(4)).map(PathBuf::from).collect()
}

fn remove_folder(path: &Path, deadline: Instant) -> Result<(), Failure> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folder(&entry.path(), deadline)?;
        }
    }
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(Errno::EBUSY as i32)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(LOOK);
            }
            Err(error) => {
                let text = format!("failed to remove cgroup `{}`: {error}", path.display());
                return Err(Failure::failed(text));
            }
        }
    }
}
