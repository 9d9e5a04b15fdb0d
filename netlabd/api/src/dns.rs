// SPDX-License-Identifier: GPL-3.0-or-later
//! What a node's name server does, for people who want to see it: how a name is looked up, which
//! names there are, and who asked what.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::IpText;
use crate::time::Time;

pub mod config;
pub mod name;
pub mod rcode;

/// One record, as zone files and `dig` write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsRecord {
    /// Whose it is, with the dot at the end.
    pub name: String,
    /// Seconds for which it may be remembered.
    pub ttl: u32,
    /// The type: `A`, `SRV`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says.
    pub data: String,
}

/// Answer of `/v1/dns/query` and of `dns/query` of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsTrace {
    /// The node whose name server was asked.
    pub node: String,
    /// Namespace and name of the pod that asked; none when it was nobody's question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Servers in the asker's `resolv.conf`.
    #[schemars(with = "Vec<IpText>")]
    pub servers: Vec<IpAddr>,
    /// Domains in it that short names are tried in.
    pub search: Vec<String>,
    /// A name with fewer dots is tried in these first.
    pub ndots: u32,
    /// What was to be looked up.
    pub name: String,
    /// Whether the asker asks this cluster's name server at all.
    pub asks_here: bool,
    /// Each name that was tried, with each type, in order; the last is what the asker gets.
    pub attempts: Vec<DnsAttempt>,
}

/// One question and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsAttempt {
    /// The name that was asked.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code: `NOERROR`, `NXDOMAIN`.
    pub rcode: String,
    /// Who answered: `zone`, `hosts`, `cache`, or an upstream's address.
    pub by: String,
    /// Microseconds until the answer.
    pub micros: u64,
    /// Records that answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer: Vec<DnsRecord>,
    /// The SOA when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authority: Vec<DnsRecord>,
    /// Records that come along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional: Vec<DnsRecord>,
    /// Why there is no answer, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Answer of `/v1/dns/records`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsRecords {
    /// The node whose zone it is.
    pub node: String,
    /// The cluster's domain, with the dot at the end.
    pub domain: String,
    /// Serial number of the zone.
    pub serial: u32,
    /// Whether the node knows all of it yet.
    pub synced: bool,
    /// The records, by name.
    pub records: Vec<ListedRecord>,
}

/// A record and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedRecord {
    /// The record.
    #[serde(flatten)]
    pub record: DnsRecord,
    /// The object, as `kind/namespace/name`; none when it is the zone's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

/// One line of `/v1/dns/log` and of `dns/log` of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsLogEntry {
    /// When it was answered.
    pub time: Time,
    /// Who asked.
    #[schemars(with = "String")]
    pub client: SocketAddr,
    /// Namespace and name of the pod that this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// `udp` or `tcp`.
    pub protocol: String,
    /// The name, in the case in which it was asked.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code of the answer.
    pub rcode: String,
    /// Bytes of the answer.
    pub size: u32,
    /// Microseconds until it was sent.
    pub micros: u64,
    /// Who answered: `zone`, `hosts`, `cache`, or an upstream's address.
    pub by: String,
    /// Entries before this one that are missing, because the follower was too slow.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

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
