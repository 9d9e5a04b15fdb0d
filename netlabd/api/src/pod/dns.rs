// SPDX-License-Identifier: GPL-3.0-or-later
//! What a pod asks for names: what becomes of its `/etc/resolv.conf`.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::IpText;

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
