// SPDX-License-Identifier: GPL-3.0-or-later
//! What a node says of itself and its pods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::node::NodeStatus;
use crate::pod::PodStatus;
use crate::{Event, Pod};

/// What a node says of itself and its pods. Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeReport {
    /// What the node is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<NodeStatus>,
    /// How far its kernel is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programmed: Option<ProgrammedReport>,
    /// What became of pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodReport>,
    /// Pods whose processes and network are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalized: Vec<PodIdentity>,
    /// What happened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

/// How far a node's kernel is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProgrammedReport {
    /// The revision that it reflects.
    pub revision: u64,
    /// What it could not program, and why; as `pod/default/web: …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

/// What became of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodReport {
    /// Which pod.
    pub pod: PodIdentity,
    /// Its status; addresses in it are ignored, they are the cluster's to say.
    pub status: PodStatus,
}

/// Names one pod at one point of its life.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl PodIdentity {
    /// Names `pod` at this point of its life.
    pub fn of(pod: &Pod) -> PodIdentity {
        PodIdentity {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
        }
    }
}

/// What the server answers to a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportAnswer {
    /// Milliseconds after which the server wants to hear of the node again, at the latest.
    pub heartbeat_millis: u64,
}
