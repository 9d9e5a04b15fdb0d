// SPDX-License-Identifier: GPL-3.0-or-later
//! What PID 1 says about the pod's command: `status/<uid>.json`. Shapes and reasons are those of
//! Kubernetes' `containerStatuses`. A reader always sees a whole file: it is renamed into place.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The command ended with exit code 0.
pub const REASON_COMPLETED: &str = "Completed";
/// The command ended with another exit code or by a signal.
pub const REASON_ERROR: &str = "Error";
/// The kernel killed the command because its memory limit was reached.
pub const REASON_OOM_KILLED: &str = "OOMKilled";
/// The command is neither a path that exists nor in a folder of the pod's `PATH`; exit code 127.
pub const REASON_COMMAND_NOT_FOUND: &str = "CommandNotFound";
/// The command exists but cannot be executed; exit code 126.
pub const REASON_COMMAND_NOT_EXECUTABLE: &str = "CommandNotExecutable";
/// The working directory cannot be entered; exit code 128.
pub const REASON_WORKING_DIR_NOT_FOUND: &str = "WorkingDirNotFound";
/// The pod's root is no folder of the node, so nothing can be started.
pub const REASON_ROOTFS_NOT_FOUND: &str = "RootfsNotFound";
/// The command was not started because a system call failed; exit code 128.
pub const REASON_START_ERROR: &str = "StartError";
/// The command keeps ending, and its next start waits.
pub const REASON_CRASH_LOOP: &str = "CrashLoopBackOff";
/// The command has not been started yet.
pub const REASON_CREATING: &str = "ContainerCreating";

/// The state of a pod's command, as PID 1 last wrote it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeStatus {
    /// What the command does now.
    pub state: ContainerState,
    /// How it ended the time before, if it was started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_state: Option<ContainerState>,
    /// How often it was started again; also the name of its log (`<restartCount>.log`).
    pub restart_count: u32,
    /// The command's pid in the pod's pid namespace, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Log records that were dropped because they could not be written (a full disk).
    #[serde(default)]
    pub log_records_dropped: u64,
    /// Set once PID 1 has been told to end the pod: nothing is started any more.
    #[serde(default)]
    pub terminating: bool,
}

impl RuntimeStatus {
    /// The status before the first start of the command.
    #[must_use]
    pub fn creating() -> Self {
        RuntimeStatus {
            state: ContainerState::Waiting {
                reason: REASON_CREATING.to_owned(),
                message: String::new(),
            },
            last_state: None,
            restart_count: 0,
            pid: None,
            log_records_dropped: 0,
            terminating: false,
        }
    }
}

/// What a command does; Kubernetes' `ContainerState`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ContainerState {
    /// It is going to be started.
    Waiting {
        /// One word, as `CrashLoopBackOff`.
        reason: String,
        /// The sentence to it; may be empty.
        message: String,
    },
    /// It was exec'd and has not ended. A pod without a command is running, too.
    Running {
        /// When it was exec'd.
        started_at: Timestamp,
    },
    /// It ended.
    Terminated {
        /// The exit code; 128 + n after signal n.
        exit_code: i32,
        /// The signal that ended it, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// One word: `Completed`, `Error`, `OOMKilled`, `CommandNotFound`…
        reason: String,
        /// The sentence to it; may be empty.
        message: String,
        /// When it was exec'd (or should have been).
        started_at: Timestamp,
        /// When it ended.
        finished_at: Timestamp,
    },
}
