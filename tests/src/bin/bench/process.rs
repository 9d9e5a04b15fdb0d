// SPDX-License-Identifier: GPL-3.0-or-later
//! What the kernel knows of a process: its memory and its CPU time.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Resident memory in bytes: `VmRSS` of `proc_pid_status(5)`.
pub(crate) fn resident(pid: Pid) -> anyhow::Result<u64> {
    field(pid, "status", "VmRSS:")
}

/// Proportional share of memory in bytes: a page of many processes counts for each in part.
pub(crate) fn proportional(pid: Pid) -> anyhow::Result<u64> {
    field(pid, "smaps_rollup", "Pss:")
}

/// CPU time of all threads, those that have ended too. The process' clock counts nanoseconds,
/// `proc_pid_stat(5)` ticks of 10 ms, which is too coarse for an idle process.
pub(crate) fn cpu(pid: Pid) -> anyhow::Result<Duration> {
    let time = clock_getcpuclockid(pid).and_then(clock_gettime);
    Ok(time.with_context(|| format!("failed to read the CPU clock of process {pid}"))?.into())
}

/// The processes with this name, as in `proc_pid_comm(5)`.
pub(crate) fn named(name: &str) -> Vec<Pid> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that has just ended is none of these.
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.trim_end() == name {
            pids.push(Pid::from_raw(pid));
        }
    }
    pids
}

/// A field of a file in the process' folder, given in kB.
fn field(pid: Pid, file: &str, name: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: u64 =
        value.with_context(|| format!("`{path}` has no `{name}`"))?.parse().context(path)?;
    Ok(kilobytes * 1024)
}
