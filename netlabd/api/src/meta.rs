// SPDX-License-Identifier: GPL-3.0-or-later
//! What every object carries besides its own fields.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// Name, labels and history of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObjectMeta {
    /// Unique among the objects of one kind and namespace. An RFC 1123 label.
    pub name: String,
    /// Where the object lives; absent on kinds that have no namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What selectors look at.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Notes for people and tools; no selector sees them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Unique over all time, made by the server. A UUID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The revision at which this object last changed. Decimal; opaque to clients.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Counts changes of the spec, from 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// When the server first stored the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Time>,
    /// When deletion was asked for; the object goes once its node has let go of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Time>,
    /// Seconds that its processes get between SIGTERM and SIGKILL, once deletion was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
