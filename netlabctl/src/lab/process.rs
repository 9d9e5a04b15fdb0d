// SPDX-License-Identifier: GPL-3.0-or-later
//! Processes of a lab: those that are in one of its network namespaces. That is asked of the
//! kernel and not of a file with process ids, so it is true whoever was killed and when.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::folder::Folder;
use crate::failure::Failure;

/// How long killed processes may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at processes that were killed; their end tells nobody but their parents.
const LOOK: Duration = Duration::from_millis(1);

/// A network namespace, as device and inode of its file.
type Identity = (u64, u64);

/// Namespaces of machines by name, and those of pods.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    machines: BTreeMap<Identity, String>,
    pods: BTreeMap<Identity, String>,
}

impl Namespaces {
    /// All namespaces of a lab, or those of one machine with its pods.
    pub(crate) fn of(folder: &Folder, machine: Option<&str>) -> Namespaces {
        let mut found = Namespaces::default();
        let is_meant = |name: &str| machine.is_none_or(|machine| machine == name);
        for (name, identity) in pins(&folder.pins()) {
            if is_meant(&name) {
                found.machines.insert(identity, name);
            }
        }
        let nodes = fs::read_dir(folder.run()).into_iter().flatten().flatten();
        for node in nodes.filter_map(|entry| entry.file_name().into_string().ok()) {
            if is_meant(&node) {
                let pods = pins(&folder.run_dir(&node).join("pins"));
                found.pods.extend(pods.map(|(_, identity)| (identity, node.clone())));
            }
        }
        found
    }

    fn contains(&self, identity: &Identity) -> bool {
        self.machines.contains_key(identity) || self.pods.contains_key(identity)
    }

    /// Processes in these namespaces, daemons before pods.
    fn processes(&self) -> Vec<Pid> {
        let mut found: Vec<(bool, Pid)> = all()
            .filter(|(_, identity)| self.contains(identity))
            .map(|(pid, identity)| (self.pods.contains_key(&identity), pid))
            .collect();
        // A daemon that is alive would start its pods again.
        found.sort();
        found.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Kills all processes in these namespaces and waits until they are gone.
    pub(crate) fn kill(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + KILL_TIMEOUT;
        loop {
            let left = self.processes();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let pids: Vec<String> = left.iter().map(Pid::to_string).collect();
                return Err(Failure::failed(format!(
                    "processes {} do not end although they were killed",
                    pids.join(", ")
                )));
            }
            for pid in &left {
                kill(*pid, Signal::SIGKILL).ok();
            }
            // A zombie has left its namespaces, so this also ends where nobody waits for it.
            while left
                .iter()
                .any(|pid| identity_of(pid.as_raw()).is_some_and(|i| self.contains(&i)))
                && Instant::now() < deadline
            {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Nodes whose daemon runs, with its process.
    pub(crate) fn daemons(&self) -> BTreeMap<String, Pid> {
        let in_machine = all().filter_map(|(pid, identity)| {
            let name = self.machines.get(&identity)?;
            is_daemon(pid).then(|| (name.clone(), pid))
        });
        in_machine.collect()
    }
}

/// Kills one process and waits until it is gone.
pub(crate) fn end(pid: Pid) -> Result<(), Failure> {
    let deadline = Instant::now() + KILL_TIMEOUT;
    kill(pid, Signal::SIGKILL).ok();
    while identity_of(pid.as_raw()).is_some() {
        if Instant::now() > deadline {
            return Err(Failure::failed(format!(
                "process {pid} does not end although it was killed"
            )));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Pins in a folder, by name.
fn pins(dir: &Path) -> impl Iterator<Item = (String, Identity)> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let found = fs::metadata(entry.path()).ok()?;
        Some((entry.file_name().into_string().ok()?, (found.dev(), found.ino())))
    })
}

/// All processes with their network namespaces.
fn all() -> impl Iterator<Item = (Pid, Identity)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        Some((Pid::from_raw(pid), identity_of(pid)?))
    })
}

fn identity_of(pid: i32) -> Option<Identity> {
    let found = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
    Some((found.dev(), found.ino()))
}

/// Whether a process is a daemon rather than one of the helpers that it starts in its own
/// namespace.
fn is_daemon(pid: Pid) -> bool {
    let Ok(words) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut words = words.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let is_netlabd = program.ends_with(b"/netlabd") || program == b"netlabd";
    is_netlabd && words.next().is_some_and(|word| word.starts_with(b"--"))
}
