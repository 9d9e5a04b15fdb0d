// SPDX-License-Identifier: GPL-3.0-or-later
//! What can go wrong on the daemon's side.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::node::pod::cgroup::CgroupError;

/// What can go wrong with a pod's processes.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The run directory cannot be laid out.
    #[error("failed to lay out the run directory `{path}`: is it writable for root?")]
    Layout {
        /// The folder that cannot be made.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The uid is no file name.
    #[error("`{uid}` is no uid of a pod: it must be a file name")]
    Uid {
        /// The uid.
        uid: String,
    },
    /// A file of the pod cannot be read.
    #[error("failed to read `{path}` of pod `{uid}`")]
    Read {
        /// The pod.
        uid: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the pod cannot be written.
    #[error("failed to write `{path}` of pod `{uid}`: is the run directory full?")]
    Write {
        /// The pod.
        uid: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the pod holds something else.
    #[error("failed to parse `{path}` of pod `{uid}`: was it written by another version?")]
    Parse {
        /// The pod.
        uid: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The binary cannot be executed.
    #[error("failed to spawn `{program}` for pod `{uid}`")]
    Spawn {
        /// The pod.
        uid: String,
        /// The binary.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The sandbox could not be made; the message is that of `pod-init`.
    #[error("failed to start pod `{pod}`: {message}")]
    Init {
        /// Namespace and name.
        pod: String,
        /// What `pod-init` said.
        message: String,
    },
    /// A started pod was gone before it could be looked at.
    #[error("pod `{pod}` ended while it was started: was it killed?")]
    Vanished {
        /// Namespace and name.
        pod: String,
    },
    /// A signal could not be sent.
    #[error("failed to send {signal} to PID 1 of pod `{uid}`")]
    Signal {
        /// The pod.
        uid: String,
        /// The signal.
        signal: Signal,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The process cannot be looked at.
    #[error("failed to look at PID 1 of pod `{uid}`")]
    Look {
        /// The pod.
        uid: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// A pod's processes did not go away in time.
    #[error("pod `{uid}` still has processes after {timeout:?}: does one hang in the kernel?")]
    RemoveTimeout {
        /// The pod.
        uid: String,
        /// The deadline given.
        timeout: Duration,
    },
    /// A file of the pod cannot be removed.
    #[error("failed to remove `{path}` of pod `{uid}`")]
    Remove {
        /// The pod.
        uid: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no live pod to run a command in.
    #[error("pod `{uid}` is not running")]
    NotRunning {
        /// The pod.
        uid: String,
    },
    /// The socket between daemon and helper cannot be made.
    #[error("failed to make the control socket of a command in pod `{uid}`")]
    ControlSocket {
        /// The pod.
        uid: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A cgroup operation failed.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}
