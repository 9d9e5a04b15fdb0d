// SPDX-License-Identifier: GPL-3.0-or-later
//! What can go wrong with cgroups, and what to do about it.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

/// What can go wrong with cgroups.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The mounts cannot be listed.
    #[error("failed to read `{path}`: is /proc mounted?")]
    Detect {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A limit needs a controller that this machine does not have.
    #[error(
        "no cgroup controller `{controller}` for the limit of pod `{uid}`: mount it (cgroup v2: \
         enable it in cgroup.subtree_control of the root) or remove the limit"
    )]
    NoController {
        /// The pod.
        uid: String,
        /// `cpu`, `memory` or `pids`.
        controller: &'static str,
    },
    /// A controller cannot be handed down (version 2).
    #[error(
        "failed to enable the cgroup controller `{controller}` in `{path}`: a folder with \
         processes in it cannot hand controllers down"
    )]
    Enable {
        /// The controller.
        controller: String,
        /// The `cgroup.subtree_control` file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be made.
    #[error("failed to make the cgroup `{path}`: is the cgroup file system read-only?")]
    Create {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A limit cannot be set.
    #[error(
        "failed to set the `{controller}` limit `{value}` in `{path}`: is it within the limits of \
         the folders above?"
    )]
    Limit {
        /// The controller.
        controller: &'static str,
        /// What was written.
        value: String,
        /// The file it was written to.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be listed.
    #[error("failed to list the cgroup `{path}`")]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be removed.
    #[error("failed to remove the cgroup `{path}`: does it still hold processes?")]
    Remove {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A process cannot be killed.
    #[error("failed to kill process {pid} of pod `{uid}`")]
    Kill {
        /// The pod.
        uid: String,
        /// The process.
        pid: i32,
        /// Why.
        #[source]
        source: Errno,
    },
}
