// SPDX-License-Identifier: GPL-3.0-or-later
//! What a lab file says besides objects: machines, the networks between them, what is wrong with
//! their links, and what must be true.
//!
//! These are the sections `[lab]`, `[[node]]`, `[[host]]`, `[[network]]`, `[[link]]` and
//! `[[test]]` as values; [`crate::manifest`] reads them, and `netlabctl lab` builds them.

mod probe;
mod quantity;
mod validate;

use std::collections::BTreeMap;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use probe::{Expectation, ProbeTarget, TestSource};
pub use quantity::{Percent, Rate, Span};
pub(crate) use validate::validate;

use crate::dns::config::DnsConfig;
use crate::{ProxyMode, RouteMode};

/// Network of machines that name none, in a file that describes none.
pub const DEFAULT_NETWORK: &str = "lan";

/// Node of a lab that describes none.
pub const DEFAULT_NODE: &str = "n1";

/// Everything of a lab file that is no object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lab {
    /// `[lab]`.
    pub settings: LabSettings,
    /// `[[network]]`.
    pub networks: Vec<LabNetwork>,
    /// `[[node]]`; the first one is the server.
    pub nodes: Vec<LabNode>,
    /// `[[host]]`.
    pub hosts: Vec<LabHost>,
    /// `[[link]]`.
    pub links: Vec<LabLink>,
    /// `[[test]]`.
    pub tests: Vec<LabTest>,
}

/// The lab as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabSettings {
    /// Name of the lab; the file's name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How packets go from node to node; `auto` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<RouteMode>,
    /// Whether pods and hosts reach what this machine reaches, over IPv4; false unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<bool>,
    /// Address families of networks and pods; both unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<Family>,
    /// Networks of pods: one of each family at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub pod_networks: Vec<IpNet>,
    /// Networks that services of type `LoadBalancer` get addresses from; none unless given. A
    /// machine in a network of the lab reaches those within its subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub load_balancer_pools: Vec<IpNet>,
    /// Which layout of rules carries services; `nftables` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_mode: Option<ProxyMode>,
    /// How names are answered: what stands in the section `[dns]` of netlabd's configuration, with
    /// the same keys.
    #[serde(
        default,
        skip_serializing_if = "serde_json::Map::is_empty",
        deserialize_with = "without_nulls"
    )]
    #[schemars(with = "DnsConfig")]
    pub dns: serde_json::Map<String, serde_json::Value>,
}

/// Reads a table; what is null was not said.
fn without_nulls<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<serde_json::Map<String, serde_json::Value>, D::Error> {
    fn clean(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(table) => {
                table.retain(|_, value| !value.is_null());
                table.values_mut().for_each(clean);
            }
            serde_json::Value::Array(list) => {
                list.retain(|value| !value.is_null());
                list.iter_mut().for_each(clean);
            }
            _ => {}
        }
    }
    let mut table = serde_json::Map::deserialize(deserializer)?;
    table.retain(|_, value| !value.is_null());
    table.values_mut().for_each(clean);
    Ok(table)
}

/// An address family.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// A segment that machines are plugged into.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabNetwork {
    /// Its name.
    pub name: String,
    /// Its prefixes, one of each family at most; chosen unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub subnets: Vec<IpNet>,
    /// The largest packet, in bytes; 1500 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1280, max = 9216))]
    pub mtu: Option<u32>,
}

/// A machine with a daemon.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabNode {
    /// Its name.
    pub name: String,
    /// The network that it is plugged into; the first one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Several networks that it is plugged into; the first one has its address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Labels of its Node object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A machine outside the cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabHost {
    /// Its name.
    pub name: String,
    /// The network that it is plugged into; the first one unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Several networks that it is plugged into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
}

/// What is wrong with a machine's link, or between two machines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabLink {
    /// The machine whose link it is: a node or a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Which of its links, by its network; the first unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Two machines that do not hear of each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub between: Vec<String>,
    /// The cable is pulled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub down: bool,
    /// The most that passes in each direction: `10mbit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How late each packet is, in each direction: `50ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// How much the delay varies: `5ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// Share of the packets that are lost: `1%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Percent>,
    /// Share of the packets that come twice: `1%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Percent>,
    /// Share of the packets that overtake others; needs a delay: `5%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Percent>,
}

/// What can be wrong with a link.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Faults {
    /// The cable is pulled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub down: bool,
    /// The most that passes in each direction: `10mbit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How late each packet is, in each direction: `50ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// How much the delay varies: `5ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// Share of the packets that are lost: `1%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Percent>,
    /// Share of the packets that come twice: `1%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Percent>,
    /// Share of the packets that overtake others; needs a delay: `5%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder: Option<Percent>,
}

impl LabLink {
    /// What is wrong. The fields stand in the link itself because an error in a flattened one
    /// would not know its place.
    pub fn faults(&self) -> Faults {
        let LabLink { down, rate, delay, jitter, loss, duplicate, reorder, .. } = *self;
        Faults { down, rate, delay, jitter, loss, duplicate, reorder }
    }
}

impl Faults {
    /// Whether nothing is wrong.
    pub fn is_none(&self) -> bool {
        *self == Faults::default()
    }

    /// Whether the kernel needs `sch_netem` for it.
    pub fn needs_netem(&self) -> bool {
        self.delay.is_some()
            || self.jitter.is_some()
            || self.loss.is_some()
            || self.duplicate.is_some()
            || self.reorder.is_some()
    }
}

/// Something that must be true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabTest {
    /// What it is about, for people; `from` and `to` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who asks: `pod/client`, `pod/shop/client`, `host/laptop` or `node/n1`.
    pub from: TestSource,
    /// Who is asked: `http://web-0:8080/`, `tcp://web-0:8080`, `udp://web-0:53`, `icmp://web-0`.
    pub to: ProbeTarget,
    /// `ok`, an HTTP status, `timeout`, `refused`, `unreachable` or `unknown-name`.
    #[serde(default)]
    pub expect: Expectation,
    /// Which of the addresses that a name has; each unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// How long it may take until it is true: `5s` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}

impl Lab {
    /// The lab with what it does not say: a network, and a node.
    pub fn completed(mut self) -> Lab {
        if self.networks.is_empty() {
            self.networks
                .push(LabNetwork { name: DEFAULT_NETWORK.to_owned(), ..LabNetwork::default() });
        }
        if self.nodes.is_empty() {
            self.nodes.push(LabNode { name: DEFAULT_NODE.to_owned(), ..LabNode::default() });
        }
        self
    }

    /// Networks of a machine that names `one` or `many`.
    pub fn networks_of<'a>(&'a self, one: &'a Option<String>, many: &'a [String]) -> Vec<&'a str> {
        let named: Vec<&str> = one.iter().chain(many).map(String::as_str).collect();
        match named.is_empty() {
            true => self.networks.iter().take(1).map(|network| network.name.as_str()).collect(),
            false => named,
        }
    }

    /// Names of all machines, nodes first.
    pub fn machines(&self) -> impl Iterator<Item = &str> {
        let nodes = self.nodes.iter().map(|node| node.name.as_str());
        nodes.chain(self.hosts.iter().map(|host| host.name.as_str()))
    }
}

#[cfg(test)]
mod tests;
