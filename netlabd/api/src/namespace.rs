// SPDX-License-Identifier: GPL-3.0-or-later
//! `Namespace`: a set of names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::ObjectMeta;

/// A set of names. `default` always exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespace {
    /// Name and labels.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Empty; Kubernetes manifests may write it.
    #[serde(default)]
    pub spec: NamespaceSpec,
    /// What the server says of it.
    #[serde(default)]
    pub status: NamespaceStatus,
}

/// A namespace has nothing to specify.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSpec {}

/// What the server says of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceStatus {
    /// `Active`, or `Terminating` while its objects are being deleted.
    #[serde(default)]
    pub phase: NamespacePhase,
}

/// Life of a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacePhase {
    /// In use.
    #[default]
    Active,
    /// Its objects are being deleted; nothing can be made in it.
    Terminating,
}
