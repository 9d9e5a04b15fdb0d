// SPDX-License-Identifier: GPL-3.0-or-later
//! What of the server's configuration every node has to know of the cluster's names.
//!
//! It travels in a node's view, so that nodes follow when the server is given another configuration.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What nodes go by when they answer for the cluster's names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsSettings {
    /// Addresses of the cluster's DNS, IPv4 first. Every node has them.
    pub addresses: Vec<IpAddr>,
    /// Nodes have to know the pods of all namespaces.
    pub all_pods: bool,
    /// The section `[dns]`, for nodes that have none of their own.
    pub config: serde_json::Value,
}
