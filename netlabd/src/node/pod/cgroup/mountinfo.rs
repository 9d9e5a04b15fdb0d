// SPDX-License-Identifier: GPL-3.0-or-later
//! Which hierarchies of cgroups are mounted where. Pure: reads text that the kernel wrote.

use std::collections::BTreeSet;
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) mount: PathBuf,
    pub(super) version: Version,
    pub(super) controllers: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

impl Version {
    /// The file a single-threaded process writes `0` into to join. Moving a thread group takes a
    /// lock that waits for an RCU grace period, 10 to 20 ms on each start of a pod; a thread that
    /// moves itself does not (`cgroup_procs_write_start` of the kernel). Version 2 moves single
    /// threads in threaded cgroups only.
    pub(super) fn entrance(self) -> &'static str {
        match self {
            Version::One => "tasks",
            Version::Two => "cgroup.procs",
        }
    }
}

/// The cgroup mounts in a `/proc/<pid>/mountinfo`, see `proc_pid_mountinfo(5)`. The controllers
/// of version 1 stand in the super block's options.
pub(super) fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    /// What the kernel may put beside the controllers.
    const NO_CONTROLLERS: [&str; 4] = ["rw", "ro", "xattr", "clone_children"];
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let Some(path) = mount.split(' ').nth(4) else { continue };
        let mut source = source.split(' ');
        let version = match source.next() {
            Some("cgroup") => Version::One,
            Some("cgroup2") => Version::Two,
            _ => continue,
        };
        let controllers = match version {
            Version::One => source
                .nth(1)
                .unwrap_or_default()
                .split(',')
                .filter(|option| !NO_CONTROLLERS.contains(option) && !option.contains('='))
                .map(str::to_owned)
                .collect(),
            Version::Two => BTreeSet::new(),
        };
        let mount = PathBuf::from(unescape(path));
        if hierarchies.iter().any(|known| known.mount == mount) {
            continue;
        }
        hierarchies.push(Hierarchy { mount, version, controllers });
    }
    hierarchies
}

/// Undoes the octal escapes of mountinfo.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
