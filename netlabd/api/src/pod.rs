// SPDX-License-Identifier: GPL-3.0-or-later
//! `Pod`: a process with a network of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::ObjectMeta;
use crate::quantity::Quantity;
use crate::schema::IpText;
use crate::time::Time;

/// A process, and what it needs, in network, mount, pid, uts and ipc namespaces of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pod {
    /// Name and labels.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What to run.
    #[serde(default)]
    pub spec: PodSpec,
    /// What became of it.
    #[serde(default)]
    pub status: PodStatus,
}

/// What a pod runs. A netlab pod has one container; its fields stand here, not in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodSpec {
    /// The program and its first arguments. Without one the pod holds its namespaces and sleeps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// More arguments, after `command`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment of the command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Folder in which the command starts; `/` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Ports the command listens on. Only names for probes and services; nothing is opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
    /// Until it succeeds, the pod is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<Probe>,
    /// When it fails, the command is restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<Probe>,
    /// When the command ends: start it again, always, after a failure, or never.
    pub restart_policy: RestartPolicy,
    /// Upper bounds of cpu, memory and processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// A folder of the node that is the pod's `/`, through an overlay, so that the folder itself
    /// never changes. Without it the pod sees the node's own `/`, read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<String>,
    /// The node that runs it. Chosen by the server when absent; never changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Host name inside; the pod's name unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Names the headless service that gives the pod a DNS name of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
    /// Where `/etc/resolv.conf` comes from.
    pub dns_policy: DnsPolicy,
    /// Added to what `dnsPolicy` gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<DnsConfig>,
    /// Seconds between SIGTERM and SIGKILL when the pod is deleted; 30 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<u64>,
}

/// Kubernetes' default for [`PodSpec::termination_grace_period_seconds`].
pub const DEFAULT_GRACE_PERIOD_SECONDS: u64 = 30;

/// One variable of a command's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// Name; letters, digits, `_`, `.` and `-`, not starting with a digit.
    pub name: String,
    /// Value; empty unless given.
    #[serde(default)]
    pub value: String,
}

/// A port that a pod's command listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerPort {
    /// Name that probes and services may use. At most 15 of a-z, 0-9 and `-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The port's number.
    #[schemars(range(min = 1))]
    pub container_port: u16,
    /// Transport protocol; TCP unless given.
    #[serde(default)]
    pub protocol: Protocol,
}

/// Transport protocols.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// Transmission Control Protocol.
    #[default]
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

impl Protocol {
    /// `TCP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }
}

/// A port by number or by the name that [`PodSpec::ports`] gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a port number or the name of a port")]
pub enum PortRef {
    /// 1 to 65535.
    Number(#[schemars(range(min = 1))] u16),
    /// A name of the pod's `ports`.
    Name(String),
}

/// When the command is started again after it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartPolicy {
    /// Whatever its exit code.
    #[default]
    Always,
    /// When its exit code is not 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// A question put to a pod again and again. Exactly one of `exec`, `httpGet` and `tcpSocket`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Probe {
    /// Runs a command in the pod; exit code 0 is success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecAction>,
    /// Asks over HTTP; status 200 to 399 is success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetAction>,
    /// Opens a TCP connection; an established one is success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketAction>,
    /// Seconds after the command's start before the first question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_delay_seconds: Option<u32>,
    /// Seconds from question to question; 10 unless given. Until a readiness probe has succeeded
    /// once, netlab asks more often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u32>,
    /// Seconds after which no answer is a failure; 1 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Successes in a row that make the pod ready again; 1 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_threshold: Option<u32>,
    /// Failures in a row that count; 3 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
}

/// Runs a command in the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecAction {
    /// The program and its arguments; no shell.
    pub command: Vec<String>,
}

/// Asks over HTTP from inside the pod's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGetAction {
    /// Path and query; `/` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The port.
    pub port: PortRef,
    /// Address to connect to; the pod's own unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Headers to send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_headers: Vec<HttpHeader>,
}

/// One header of a probe's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpHeader {
    /// Field name.
    pub name: String,
    /// Field value.
    pub value: String,
}

/// Opens a TCP connection inside the pod's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpSocketAction {
    /// The port.
    pub port: PortRef,
    /// Address to connect to; the pod's own unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// Bounds of what a pod may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// Upper bounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// Upper bounds, held by the pod's cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Cores: `500m` is half of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Bytes: `64Mi`. Above it the kernel kills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// Where a pod's `/etc/resolv.conf` comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DnsPolicy {
    /// The cluster's DNS, with its search domains.
    #[default]
    ClusterFirst,
    /// As `ClusterFirst`; netlab has no host-network pods to tell apart.
    ClusterFirstWithHostNet,
    /// The node's own.
    Default,
    /// Only what `dnsConfig` says.
    None,
}

/// Lines of `/etc/resolv.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DnsConfig {
    /// At most three addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<IpText>")]
    pub nameservers: Vec<IpAddr>,
    /// Search domains, at most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<String>,
    /// Options such as `ndots:2`; one of the same name replaces the default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<DnsOption>,
}

/// One option of `/etc/resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsOption {
    /// Name, as `ndots`.
    pub name: String,
    /// Value, for options that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

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

impl Pod {
    /// The whole command line: `command` and then `args`.
    pub fn command_line(&self) -> impl Iterator<Item = &str> {
        self.spec.command.iter().chain(&self.spec.args).map(String::as_str)
    }

    /// Whether the condition `kind` is true.
    pub fn has_condition(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|c| c.is(kind))
    }

    /// Whether its command has ended for good.
    pub fn is_finished(&self) -> bool {
        self.status.phase.is_finished()
    }

    /// Whether it is being deleted in order to be made anew on another node.
    pub fn is_moving(&self) -> bool {
        self.has_condition(DISRUPTION_TARGET)
    }

    /// The addresses it holds.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.status.pod_ips.iter().map(|p| p.ip)
    }

    /// Labels that netlab's own shorthand gives a pod that has none: `app` = its name.
    pub fn default_labels(name: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("app".to_owned(), name.to_owned())])
    }
}
