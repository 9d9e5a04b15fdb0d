// SPDX-License-Identifier: GPL-3.0-or-later
//! Which of the node's mounts a pod sees below its `/`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Folders that a pod has of its own, or that are no files of the machine.
const OWN: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"];

/// How long a list of mounts is good for. With the pins of 1,000 pods the kernel takes some
/// milliseconds to list the mounts, and a burst of pods would ask for each.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The mounts of the node, as they were a moment ago.
#[derive(Debug, Default)]
pub struct NodeMounts {
    listed: Mutex<Option<(Instant, Vec<PathBuf>)>>,
}

impl NodeMounts {
    /// Mount points of this process' mount namespace to carry over into pods, parents first.
    pub fn carried_over(&self) -> Vec<PathBuf> {
        // A list is put in whole.
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*listed {
            Some((at, mounts)) if at.elapsed() < GOOD_FOR => mounts.clone(),
            _ => {
                let mountinfo = std::fs::read_to_string("/proc/self/mountinfo");
                let mounts = parse(&mountinfo.unwrap_or_default());
                *listed = Some((Instant::now(), mounts.clone()));
                mounts
            }
        }
    }
}

/// As proc(5) describes `mountinfo`: the fifth field, with blanks written in octal.
fn parse(mountinfo: &str) -> Vec<PathBuf> {
    let is_own = |path: &Path| OWN.iter().any(|own| path.starts_with(own));
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(unescape(path)))
        .filter(|path| path != Path::new("/") && !is_own(path))
        .collect()
}

fn unescape(text: &str) -> String {
    ["\\040 ", "\\011\t", "\\012\n", "\\134\\"].iter().fold(text.to_owned(), |text, escape| {
        let (code, character) = escape.split_at(4);
        text.replace(code, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_machine_are_carried_over_and_the_kernels_are_not() {
        let mountinfo = "\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw - proc proc rw
24 22 0:6 / /run/netlab/pins/00000000001 rw - nsfs nsfs rw
25 22 8:2 / /home rw - ext4 /dev/sda2 rw
26 25 8:3 / /home/a\\040b rw - ext4 /dev/sda3 rw
27 22 0:7 / /runs rw - tmpfs tmpfs rw
";
        let expected: Vec<PathBuf> = ["/home", "/home/a b", "/runs"].map(PathBuf::from).into();
        assert_eq!(parse(mountinfo), expected);
    }
}
