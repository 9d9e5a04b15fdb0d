// SPDX-License-Identifier: GPL-3.0-or-later
//! What became of a pod, as its node and the cluster say it. Nothing here is for users to write.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// What became of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodStatus {
    /// Where it stands in its life.
    pub phase: PodPhase,
    /// `PodScheduled`, `NetworkReady`, `Ready`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The first of `podIPs`.
    #[serde(rename = "podIP", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub pod_ip: Option<IpAddr>,
    /// One address of each family the cluster has.
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
    /// The node's address.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub host_ip: Option<IpAddr>,
    /// When the node took it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// One word on why it is not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence on the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// One entry: the command. Its name is the pod's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    /// What the node made in the kernel for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<PodNetworkStatus>,
}

/// One address of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodIp {
    /// The address.
    #[schemars(with = "String")]
    pub ip: IpAddr,
}

/// What a node made in the kernel for a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodNetworkStatus {
    /// Path of the network namespace's pin: `nsenter --net=PATH` enters it.
    pub netns: String,
    /// The node's end of the veth pair.
    pub host_link: String,
    /// MTU of both ends.
    pub mtu: u32,
}

/// Where a pod stands in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PodPhase {
    /// Stored; its command has not started yet.
    #[default]
    Pending,
    /// Its command runs, or is about to be started again.
    Running,
    /// Its command ended with 0 and is not started again.
    Succeeded,
    /// Its command ended otherwise and is not started again.
    Failed,
    /// Its node is not heard of.
    Unknown,
}

impl PodPhase {
    /// Whether its command has ended for good.
    pub fn is_finished(self) -> bool {
        matches!(self, PodPhase::Succeeded | PodPhase::Failed)
    }
}

/// One statement about an object, with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// What is stated: `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// One word on why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence on the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Condition {
    /// Whether this is the condition `kind`, and true.
    pub fn is(&self, kind: &str) -> bool {
        self.kind == kind && self.status == ConditionStatus::True
    }
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows at present.
    Unknown,
}

/// Condition: a node was chosen and addresses were allocated.
pub const POD_SCHEDULED: &str = "PodScheduled";

/// Condition: link, addresses and routes are in the kernel.
pub const NETWORK_READY: &str = "NetworkReady";

/// Condition: the command runs and its readiness probe succeeds.
pub const READY: &str = "Ready";

/// Condition: the pod is deleted in order to be made anew on another node, as in Kubernetes.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// What a pod's command is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContainerStatus {
    /// The pod's name.
    pub name: String,
    /// Whether the readiness probe succeeds; without one, whether the command runs.
    pub ready: bool,
    /// Times the command was started again.
    pub restart_count: u32,
    /// What it is doing now.
    pub state: ContainerState,
    /// What it did before the last start.
    #[serde(skip_serializing_if = "ContainerState::is_empty")]
    pub last_state: ContainerState,
}

/// One of three; all absent where there is nothing to say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ContainerState {
    /// Not running yet, or not running again yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<StateWaiting>,
    /// Running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<StateRunning>,
    /// Ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<StateTerminated>,
}

impl ContainerState {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == ContainerState::default()
    }
}

/// Why a command is not running.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StateWaiting {
    /// One word: `ContainerCreating`, `CrashLoopBackOff`.
    pub reason: String,
    /// A sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Since when a command runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StateRunning {
    /// When it was started.
    pub started_at: Time,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StateTerminated {
    /// Its exit code; 128 and the signal's number when a signal ended it; 127 when there is no such
    /// command, 126 when it cannot be executed.
    pub exit_code: i32,
    /// The signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// One word: `Completed`, `Error`, `OOMKilled`, `CommandNotFound`.
    pub reason: String,
    /// A sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}
