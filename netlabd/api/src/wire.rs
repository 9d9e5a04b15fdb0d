// SPDX-License-Identifier: GPL-3.0-or-later
//! Bodies of requests and answers that are not objects themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::resource::Object;

/// One line of a watch: `{"type":"ADDED","object":{…}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub enum WatchEvent<T = Object> {
    /// It was made, or came to match the selector.
    Added(T),
    /// It changed.
    Modified(T),
    /// It is gone, or no longer matches; as it last was.
    Deleted(T),
    /// Nothing of interest changed up to this revision.
    Bookmark(Bookmark),
    /// The watch ends; reason `Expired` says: list again.
    Error(ApiError),
}

/// A revision up to which a watch has seen everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bookmark {
    /// The revision.
    pub resource_version: String,
}

/// Objects to apply or create together: all of them, or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// The objects.
    pub items: Vec<Object>,
}

/// What an [`ApplyRequest`] did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyResponse {
    /// The revision at which all of it is true.
    pub revision: u64,
    /// One entry an object, in the order of the request.
    pub items: Vec<Applied>,
}

/// What became of one object of an [`ApplyRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// Whether anything changed.
    pub result: ApplyResult,
    /// The object as it is now.
    pub object: Object,
}

/// Whether an apply changed an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApplyResult {
    /// It was not there before.
    Created,
    /// It changed.
    Configured,
    /// It was so already.
    Unchanged,
}

impl ApplyResult {
    /// `created`, as kubectl prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            ApplyResult::Created => "created",
            ApplyResult::Configured => "configured",
            ApplyResult::Unchanged => "unchanged",
        }
    }
}

/// What the delete of several objects did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteResponse {
    /// The revision that holds the wish.
    pub revision: u64,
    /// The objects that are on their way out, as they were.
    pub items: Vec<Object>,
}

/// Answer of `/v1/programmed`: the kernels reflect the revision asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Programmed {
    /// The revision that every ready node has programmed.
    pub revision: u64,
    /// Each node with the revision its kernel reflects.
    pub nodes: Vec<NodeRevision>,
}

/// How far one node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRevision {
    /// The node.
    pub name: String,
    /// The revision that its kernel reflects.
    pub revision: u64,
    /// Objects that the node could not program, and why; as `pod/default/web: …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

/// Answer of `/v1/version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Version of netlabd.
    pub version: String,
    /// Name of the node that answers.
    pub node: String,
    /// The revision of the store.
    pub revision: u64,
}

/// Answer of `/v1/doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// The checks, in the order in which a person should read them.
    pub checks: Vec<DoctorCheck>,
}

/// One check of the doctor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorCheck {
    /// What was looked at, in a few words.
    pub name: String,
    /// What was found.
    pub outcome: DoctorOutcome,
    /// The finding in a sentence.
    pub message: String,
    /// A command or a step that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// Outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DoctorOutcome {
    /// As it should be.
    Ok,
    /// Works, but somebody should know.
    Warning,
    /// Does not work.
    Failed,
}

/// What `/readyz` names while the daemon is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether nothing is missing.
    pub ready: bool,
    /// What is missing, a sentence each.
    pub missing: Vec<String>,
}
