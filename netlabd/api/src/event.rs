// SPDX-License-Identifier: GPL-3.0-or-later
//! `Event`: something that happened to an object.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::ObjectMeta;
use crate::time::Time;

/// Something that happened to an object. Equal events are counted, not repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// Name: the object's name, a dot, and a hexadecimal number.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What it happened to.
    pub involved_object: ObjectReference,
    /// One word in CamelCase, for programs: `Scheduled`, `Started`, `BackOff`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Whether somebody should look at it.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// How often it happened.
    #[serde(default = "one")]
    pub count: u64,
    /// When it happened first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_timestamp: Option<Time>,
    /// When it happened last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_timestamp: Option<Time>,
    /// Who saw it.
    #[serde(default)]
    pub source: EventSource,
}

fn one() -> u64 {
    1
}

/// Weight of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventKind {
    /// As it should be.
    Normal,
    /// Somebody should look at it.
    Warning,
}

/// Who saw an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EventSource {
    /// The part of netlabd: `scheduler`, `node`.
    pub component: String,
    /// The node it ran on, if one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
}

/// Names one object, at one point of its life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObjectReference {
    /// `Pod`, `Node`, …
    pub kind: String,
    /// Empty for kinds without namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's uid, so that a later object of the same name does not inherit its events.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
}
