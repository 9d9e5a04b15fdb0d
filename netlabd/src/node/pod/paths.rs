// SPDX-License-Identifier: GPL-3.0-or-later
//! Where things lie under the run directory. The layout outlives the daemon, so it is a contract
//! between one daemon and the next.
//!
//! ```text
//! pods/<uid>/init.json   what to run; written by the daemon once
//! pods/<uid>/lock        locked as long as PID 1 (or the intermediate before it) lives
//! pods/<uid>/pid         `<pid> <start time>` of PID 1 as the node sees it
//! pods/<uid>/root        mount point, used in the pod's mount namespace only
//! status/<uid>.json      what PID 1 says; one folder, so that one inotify watch is enough
//! ```

use std::path::{Path, PathBuf};

/// The folder of all pods' folders.
#[must_use]
pub fn pods_dir(run_dir: &Path) -> PathBuf {
    run_dir.join("pods")
}

/// The folder of one pod.
#[must_use]
pub fn pod_dir(run_dir: &Path, uid: &str) -> PathBuf {
    pods_dir(run_dir).join(uid)
}

/// The folder of all status files.
#[must_use]
pub fn status_dir(run_dir: &Path) -> PathBuf {
    run_dir.join("status")
}

/// The status file of one pod.
#[must_use]
pub fn status_file(run_dir: &Path, uid: &str) -> PathBuf {
    status_dir(run_dir).join(status_name(uid))
}

/// The name of a pod's status file in its folder.
#[must_use]
pub fn status_name(uid: &str) -> String {
    format!("{uid}.json")
}

/// A status file before it is put in place.
#[must_use]
pub fn half_status_file(run_dir: &Path, uid: &str) -> PathBuf {
    status_dir(run_dir).join(half_status_name(uid))
}

/// The name of a status file before it is put in place.
#[must_use]
pub fn half_status_name(uid: &str) -> String {
    format!(".{}", status_name(uid))
}

/// What to run, in a pod's folder.
pub const INIT_FILE: &str = "init.json";
/// The lock, in a pod's folder.
pub const LOCK_FILE: &str = "lock";
/// PID 1's pid and start time, in a pod's folder.
pub const PID_FILE: &str = "pid";
/// The mount point, in a pod's folder.
pub const ROOT_DIR: &str = "root";
