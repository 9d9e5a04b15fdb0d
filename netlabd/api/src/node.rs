// SPDX-License-Identifier: GPL-3.0-or-later
//! `Node`: a machine, or a network namespace that plays one.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::ObjectMeta;
use crate::pod::Condition;

/// A machine that runs pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// Name and labels. The name is the machine's host name unless configured.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What the cluster's owner wants of it.
    #[serde(default)]
    pub spec: NodeSpec,
    /// What the node says of itself.
    #[serde(default)]
    pub status: NodeStatus,
}

/// What the cluster's owner wants of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// True: no new pod is placed here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unschedulable: bool,
}

/// What a node says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeStatus {
    /// `Ready` is the one that placement looks at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Addresses of the node's uplink, and its host name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    /// Address blocks that the node owns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub pod_blocks: Vec<IpNet>,
    /// Kernel, system and netlab version.
    #[serde(default)]
    pub node_info: NodeInfo,
}

/// An address under which a node is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeAddress {
    /// What kind of address.
    #[serde(rename = "type")]
    pub kind: NodeAddressKind,
    /// The address or the host name.
    pub address: String,
}

/// Kinds of a node's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodeAddressKind {
    /// An address that other nodes reach.
    #[serde(rename = "InternalIP")]
    InternalIp,
    /// The machine's host name.
    Hostname,
}

/// What runs on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeInfo {
    /// `uname -r`.
    pub kernel_version: String,
    /// `PRETTY_NAME` of os-release.
    pub os_image: String,
    /// `amd64`, `arm64`, as Kubernetes writes them.
    pub architecture: String,
    /// Version of netlabd.
    pub netlab_version: String,
}

impl Node {
    /// A node of which nothing but the name is known.
    pub fn named(name: &str) -> Node {
        let metadata = ObjectMeta { name: name.to_owned(), ..ObjectMeta::default() };
        Node { metadata, ..Node::default() }
    }

    /// Whether its `Ready` condition is true.
    pub fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|c| c.is("Ready"))
    }

    /// The node's own addresses of either family.
    pub fn internal_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.status
            .addresses
            .iter()
            .filter(|a| a.kind == NodeAddressKind::InternalIp)
            .filter_map(|a| a.address.parse().ok())
    }
}
