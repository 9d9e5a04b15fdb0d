// SPDX-License-Identifier: GPL-3.0-or-later
//! `[dns.hosts]`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::OneOrMany;

/// Names with addresses of their own, and how they are told.
// How it is read stands in `address`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
#[schemars(rename = "LabDnsHosts")]
pub struct HostsTable {
    /// Seconds for which they may be remembered, 1 to 65535.
    #[serde(skip_serializing_if = "is_usual_ttl")]
    pub ttl: u32,
    /// Leaves the way back from the addresses to others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_reverse: bool,
    /// The names of each address.
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, OneOrMany>")]
    pub entries: BTreeMap<IpAddr, OneOrMany>,
}

impl HostsTable {
    /// What may stand there besides addresses.
    pub const OPTIONS: [&str; 2] = ["ttl", "no-reverse"];
}

impl Default for HostsTable {
    fn default() -> HostsTable {
        HostsTable { ttl: HOSTS_TTL, no_reverse: false, entries: BTreeMap::new() }
    }
}

/// Seconds for which entries of hosts may be remembered unless said, as in CoreDNS.
const HOSTS_TTL: u32 = 3600;

/// What need not be said: a node that does not know the option reads the rest.
fn is_usual_ttl(ttl: &u32) -> bool {
    *ttl == HOSTS_TTL
}
