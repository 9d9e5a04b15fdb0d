// SPDX-License-Identifier: GPL-3.0-or-later
//! What a lab must not leave behind: the node's network before and after, and what names the lab.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::machine::Machine;
use crate::observe;

/// What a node was before netlab touched it.
#[derive(Debug)]
pub(crate) struct Baseline {
    network: Vec<String>,
    sysctls: BTreeMap<String, String>,
}

impl Baseline {
    #[track_caller]
    pub(crate) fn of(node: &Machine) -> Baseline {
        Baseline { network: observe::network(node), sysctls: observe::sysctls(node) }
    }

    /// How the node differs from what it was.
    pub(crate) fn differences(&self, node: &Machine) -> Vec<String> {
        let now = Baseline::of(node);
        let added = now.network.iter().filter(|line| !self.network.contains(line));
        let gone = self.network.iter().filter(|line| !now.network.contains(line));
        let mut found: Vec<String> = added.map(|line| format!("left: {line}")).collect();
        found.extend(gone.map(|line| format!("removed: {line}")));
        for (name, value) in &now.sysctls {
            match self.sysctls.get(name) {
                Some(before) if before == value => {}
                before => found.push(format!("sysctl {name} = {value}, was {before:?}")),
            }
        }
        let gone = self.sysctls.keys().filter(|name| !now.sysctls.contains_key(*name));
        found.extend(gone.map(|name| format!("sysctl {name} is gone")));
        found
    }
}

/// What outside the node's network names the lab: files, mounts, cgroups, processes.
pub(crate) fn elsewhere(run_dir: &Path, state_dir: &Path, lab: &str) -> Vec<String> {
    let mut found = Vec::new();
    for dir in [run_dir, state_dir] {
        if let Ok(entries) = fs::read_dir(dir) {
            found.extend(entries.flatten().map(|entry| format!("file {}", entry.path().display())));
        }
        let path = dir.display().to_string();
        found.extend(observe::mounts(&path).into_iter().map(|line| format!("mount {line}")));
        let pids = observe::pids_naming(&path);
        found.extend(pids.iter().map(|pid| format!("process {}", observe::describe(*pid))));
    }
    // The lab's name ends in a counter: with the dash, 1 is not taken for 11.
    let cgroups = observe::cgroups(&format!("netlab-{lab}-"));
    found.extend(cgroups.into_iter().map(|path| format!("cgroup {path}")));
    found
}

/// Processes in a machine's network namespace.
pub(crate) fn processes(machine: &Machine) -> Vec<String> {
    let pids = observe::pids_in(&machine.path());
    pids.iter().map(|pid| format!("process {}", observe::describe(*pid))).collect()
}
