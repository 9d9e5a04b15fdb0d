// SPDX-License-Identifier: GPL-3.0-or-later
//! `Pod`: a process with a network of its own. This file has what a pod runs; its probes, its ways to
//! names and its status are below.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::ObjectMeta;
use crate::quantity::Quantity;

pub use self::dns::{DnsConfig, DnsOption, DnsPolicy};
pub use self::probe::{ExecAction, HttpGetAction, HttpHeader, Probe, TcpSocketAction};
pub use self::status::{
    Condition, ConditionStatus, ContainerState, ContainerStatus, DISRUPTION_TARGET, NETWORK_READY,
    POD_SCHEDULED, PodIp, PodNetworkStatus, PodPhase, PodStatus, READY, StateRunning,
    StateTerminated, StateWaiting,
};

mod dns;
mod probe;
mod status;

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

impl PodSpec {
    /// The program and all its arguments.
    pub fn command_line(&self) -> impl Iterator<Item = &str> {
        self.command.iter().chain(&self.args).map(String::as_str)
    }
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

impl Pod {
    /// The whole command line: `command` and then `args`.
    pub fn command_line(&self) -> impl Iterator<Item = &str> {
        self.spec.command_line()
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
