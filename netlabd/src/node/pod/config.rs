// SPDX-License-Identifier: GPL-3.0-or-later
//! What PID 1 of a pod is told to do: `init.json`, written once by the daemon and then never
//! changed. It decides nothing; defaults of the API are already filled in.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that PID 1 of a pod needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitConfig {
    /// The pod's uid; also the name of its folder, so without `/`.
    pub uid: String,
    /// The pod's namespace, for messages.
    pub namespace: String,
    /// The pod's name, for messages.
    pub name: String,
    /// The host name in the pod's uts namespace, `/etc/hostname` and `$HOSTNAME`.
    pub hostname: String,
    /// The NIS domain name of the uts namespace, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The pin (bind mount) of the network namespace to join.
    pub netns: PathBuf,
    /// The files to write `0` into to join the pod's cgroups, as
    /// [`Cgroups::ensure`](super::cgroup::Cgroups::ensure) returns them.
    #[serde(default)]
    pub cgroups: Vec<PathBuf>,
    /// Where `/` of the pod comes from.
    pub root: Root,
    /// The private files in `/etc`.
    pub etc: Etc,
    /// The command; empty together with `args` means: hold the namespaces and sleep.
    #[serde(default)]
    pub command: Vec<String>,
    /// What follows the command.
    #[serde(default)]
    pub args: Vec<String>,
    /// The command's environment, over `PATH`, `HOME` and `HOSTNAME`. A later entry wins.
    #[serde(default)]
    pub env: Vec<EnvVar>,
    /// The command's working directory; `/` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// What happens when the command ends.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// How long the command has between SIGTERM and SIGKILL.
    #[serde(default = "default_grace")]
    pub termination_grace_period_seconds: u64,
    /// Where the command's output goes.
    pub log: LogConfig,
    /// How fast a command that keeps ending is started again.
    #[serde(default)]
    pub back_off: BackOff,
}

impl InitConfig {
    /// The whole argument vector; empty for a pod that only holds its namespaces.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        self.command.iter().chain(&self.args).cloned().collect()
    }
}

/// Where `/` of a pod comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Root {
    /// The node's own root, read-only.
    Host {
        /// Mount points of the node to carry over besides `/`, in the order of
        /// `/proc/self/mountinfo`. Those below `/proc`, `/sys`, `/dev`, `/run` and `/tmp` are
        /// passed over, for the pod has its own. One that does not exist is passed over too.
        mounts: Vec<PathBuf>,
    },
    /// A folder, below an overlay that takes the pod's writes. The folder is never changed.
    Dir(PathBuf),
}

/// The private files in the pod's `/etc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Etc {
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// A folder of the node. It is bound into the pod, so a file that is renamed into place in
    /// it is seen at once.
    pub hosts_dir: PathBuf,
    /// The name of the hosts file in `hosts_dir`; `/etc/hosts` is a symbolic link to it.
    pub hosts_file: String,
}

/// One variable of the command's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// The variable's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What happens when the command ends; Kubernetes' `restartPolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// It is started again.
    #[default]
    Always,
    /// It is started again after an exit code other than 0, or a signal.
    OnFailure,
    /// It stays ended. The namespaces stay.
    Never,
}

/// Where the command's output goes, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfig {
    /// The folder of this pod's log files; made when it is missing.
    pub dir: PathBuf,
    /// A file that would grow beyond this many bytes is rotated.
    #[serde(default = "default_log_bytes")]
    pub max_bytes: u64,
    /// How many files are kept for one run of the command, the one written to included.
    #[serde(default = "default_log_files")]
    pub max_files: u32,
}

impl LogConfig {
    /// A log with the default limits.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        LogConfig { dir, max_bytes: default_log_bytes(), max_files: default_log_files() }
    }
}

/// The delays between the end of a command and its next start, in milliseconds.
///
/// As kubelet does: the first restart is immediate, the second waits `initial`, each further one
/// twice as long up to `max`. A command that ran for `reset_after` starts from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackOff {
    /// The first delay, 10 s by default.
    pub initial_millis: u64,
    /// The longest delay, 300 s by default.
    pub max_millis: u64,
    /// After running this long (600 s by default) the command counts as sound again.
    pub reset_after_millis: u64,
}

impl Default for BackOff {
    fn default() -> Self {
        BackOff { initial_millis: 10_000, max_millis: 300_000, reset_after_millis: 600_000 }
    }
}

/// Kubernetes' default for `terminationGracePeriodSeconds`.
fn default_grace() -> u64 {
    30
}

/// Kubelet's default for `containerLogMaxSize`.
fn default_log_bytes() -> u64 {
    10 << 20
}

/// Kubelet's default for `containerLogMaxFiles`.
fn default_log_files() -> u32 {
    5
}
