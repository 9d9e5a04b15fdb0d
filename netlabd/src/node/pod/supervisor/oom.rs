// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the kernel's OOM killer was in the pod.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The kernel's count of processes that the OOM killer ended in the pod's cgroup.
pub(super) struct OomCounter(File);

impl OomCounter {
    pub(super) fn open(procs: &Path) -> Option<Self> {
        ["memory.events", "memory.oom_control"]
            .iter()
            .find_map(|name| File::open(procs.with_file_name(name)).ok())
            .map(OomCounter)
    }

    pub(super) fn read(&mut self) -> u64 {
        let mut text = String::new();
        if self.0.seek(SeekFrom::Start(0)).is_err() || self.0.read_to_string(&mut text).is_err() {
            return 0;
        }
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
            .unwrap_or(0)
    }
}
