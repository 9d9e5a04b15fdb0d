// SPDX-License-Identifier: GPL-3.0-or-later
//! What a node does with packets to services, for people who want to see it: its rules, in the
//! order in which a packet meets them, and the flows that it tracks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ProxyMode;
use crate::pod::Protocol;
use crate::schema::IpText;

/// Answer of `/v1/proxy` and `/v1/proxy/services/{namespace}/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyRules {
    /// The node whose rules these are.
    pub node: String,
    /// The layout that is shown.
    pub mode: ProxyMode,
    /// The layout that is in use.
    pub mode_in_use: ProxyMode,
    /// Namespace and name of the service; none when the rules are those of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What there is to know of the whole, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What becomes of packets to each address of the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fronts: Vec<FrontRules>,
    /// The rules that are there whatever services there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base: Vec<HookRules>,
    /// The services that there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ProxyService>,
}

/// Answer of `/v1/proxy/ruleset`: all that a node does with packets to services and of its pods, to
/// be done by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyRuleset {
    /// The node.
    pub node: String,
    /// The layout.
    pub mode: ProxyMode,
    /// Networks whose packets must come to the rules: their routes lead to a device that leads
    /// nowhere.
    #[schemars(with = "Vec<String>")]
    pub networks: Vec<IpNet>,
    /// The rules, for `nft -f`.
    pub rules: String,
}

/// All but the services, as a text to read.
impl fmt::Display for ProxyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.mode == self.mode_in_use {
            true => format!("mode {}, in use on node {}", self.mode, self.node),
            false => format!(
                "mode {}, as it would be on node {}, which uses {}",
                self.mode, self.node, self.mode_in_use
            ),
        };
        match &self.service {
            Some(service) => writeln!(f, "Service {service}, {whose}")?,
            None => writeln!(f, "Rules whatever services there are, {whose}")?,
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "\n{note}"))?;
        self.fronts.iter().try_for_each(|front| write!(f, "\n{front}"))?;
        if !self.base.is_empty() {
            writeln!(f)?;
            write_hooks(f, &self.base)?;
        }
        Ok(())
    }
}

impl fmt::Display for FrontRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol.as_str();
        write!(f, "{} ", self.kind.as_str())?;
        match self.address {
            Some(address) => write!(f, "{}", SocketAddr::new(address, self.port))?,
            None => write!(f, "{} of every node ({})", self.port, self.family)?,
        }
        writeln!(f, "/{protocol}")?;
        write_hooks(f, &self.hooks)?;
        writeln!(f, "  What comes of it")?;
        let widest = self.outcomes.iter().map(|outcome| outcome.client.len()).max().unwrap_or(0);
        self.outcomes.iter().try_for_each(|outcome| {
            let ClientOutcome { client, result } = outcome;
            writeln!(f, "     {client:widest$}  {result}")
        })
    }
}

fn write_hooks(f: &mut fmt::Formatter<'_>, hooks: &[HookRules]) -> fmt::Result {
    for (number, HookRules { hooks, rules }) in (1..).zip(hooks) {
        writeln!(f, "  {number}. {}", hooks.join(", "))?;
        let mut last = "";
        for rule in rules {
            if rule.chain != last {
                writeln!(f, "     {}:", rule.chain)?;
                last = &rule.chain;
            }
            writeln!(f, "       {}", rule.rule)?;
            let says = if rule.effect.is_empty() { &rule.comment } else { &rule.effect };
            writeln!(f, "         # {says}")?;
        }
    }
    Ok(())
}

/// What becomes of packets to one port of a service at one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FrontRules {
    /// What the address is.
    pub kind: FrontKind,
    /// The address; none for a node port, which is at every address of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpText>")]
    pub address: Option<IpAddr>,
    /// The port there.
    pub port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The family: `ip` or `ip6`.
    pub family: String,
    /// The rules that such a packet meets, by hook, in its order.
    pub hooks: Vec<HookRules>,
    /// What it comes to, for each kind of client.
    pub outcomes: Vec<ClientOutcome>,
}

/// What an address of a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FrontKind {
    /// Its cluster IP.
    #[serde(rename = "clusterIP")]
    ClusterIp,
    /// One of its external IPs.
    #[serde(rename = "externalIP")]
    ExternalIp,
    /// The address of its load balancer.
    LoadBalancer,
    /// A port of every node.
    NodePort,
}

impl FrontKind {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            FrontKind::ClusterIp => "cluster IP",
            FrontKind::ExternalIp => "external IP",
            FrontKind::LoadBalancer => "load balancer",
            FrontKind::NodePort => "node port",
        }
    }
}

/// Rules that packets meet at a place on their way, or alike at several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookRules {
    /// `PREROUTING`, and which packets come by there.
    pub hooks: Vec<String>,
    /// The rules, in order.
    pub rules: Vec<ShownRule>,
}

/// A rule, and what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShownRule {
    /// The chain that it is in; several when each has the same rule.
    pub chain: String,
    /// The rule, as `nft` writes it.
    pub rule: String,
    /// Its comment.
    pub comment: String,
    /// What it does with this packet, in a sentence; empty where no packet is meant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub effect: String,
}

/// What becomes of the packets of one kind of client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientOutcome {
    /// Who sends them.
    pub client: String,
    /// What becomes of source and destination.
    pub result: String,
}

/// A service among those that a node has rules for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses with their ports, as `10.43.0.7:80/TCP` and `*:30080/TCP`.
    pub fronts: Vec<String>,
    /// Endpoints that this node uses.
    #[schemars(with = "Vec<String>")]
    pub endpoints: Vec<SocketAddr>,
}

/// Answer of `/v1/flows`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flows {
    /// The node that tracks them.
    pub node: String,
    /// The flows, by service and source.
    pub flows: Vec<ServiceFlow>,
    /// How many more there are than are listed.
    #[serde(default)]
    pub left_out: u64,
}

/// A flow that connection tracking knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceFlow {
    /// `tcp`, `udp`, or whatever else it is.
    pub protocol: String,
    /// Who sent the first packet.
    #[schemars(with = "String")]
    pub source: SocketAddr,
    /// The pod that this is, as `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_pod: Option<String>,
    /// Where the first packet went to.
    #[schemars(with = "String")]
    pub destination: SocketAddr,
    /// The service that has this address, as `namespace/name`, with its port's name if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Who answers.
    #[schemars(with = "String")]
    pub endpoint: SocketAddr,
    /// The pod that this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_pod: Option<String>,
    /// The address that the endpoint sees as the client's.
    #[schemars(with = "String")]
    pub seen_as: SocketAddr,
    /// The protocol's state, or `UNREPLIED`, `REPLIED`, `ASSURED`.
    pub state: String,
    /// Seconds until it is forgotten unless a packet comes.
    pub timeout_seconds: u32,
    /// Bytes of both directions, where the kernel counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The mark that rules have put on it.
    #[serde(default)]
    pub mark: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_is_named_as_objects_name_their_fields() {
        let kinds = [
            (FrontKind::ClusterIp, "\"clusterIP\""),
            (FrontKind::ExternalIp, "\"externalIP\""),
            (FrontKind::LoadBalancer, "\"loadBalancer\""),
            (FrontKind::NodePort, "\"nodePort\""),
        ];
        for (kind, word) in kinds {
            assert_eq!(serde_json::to_string(&kind).unwrap(), word);
        }
    }
}
