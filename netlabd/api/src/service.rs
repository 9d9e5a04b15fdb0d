// SPDX-License-Identifier: GPL-3.0-or-later
//! `Service`: one name and one address for many pods.
//!
//! Fields, defaults and meaning are Kubernetes' (`core/v1` `Service`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::ObjectMeta;
use crate::pod::{Condition, PortRef, Protocol};
use crate::schema::IpText;

/// `sessionAffinityConfig.clientIP.timeoutSeconds` unless given: three hours.
pub const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

/// What `clusterIP` says of a service that wants none.
pub const NO_CLUSTER_IP: &str = "None";

/// One name and one address for the pods that a selector finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// Name and labels.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Which pods, and under which addresses and ports.
    #[serde(default)]
    pub spec: ServiceSpec,
    /// What the cluster gave it.
    #[serde(default)]
    pub status: ServiceStatus,
}

/// Which pods a service stands for, and under which addresses and ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServiceSpec {
    /// Who reaches it.
    #[serde(rename = "type")]
    pub kind: ServiceType,
    /// Labels that its pods carry. Without them its endpoints are the user's to write.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// Its ports; several need names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// Its address: given, allocated when absent, or `None` for a headless service.
    #[serde(rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<String>,
    /// Its addresses of both families, `clusterIP` first.
    #[serde(rename = "clusterIPs", skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<String>,
    /// The families of its addresses, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_families: Vec<IpFamily>,
    /// Whether it has addresses of one family or of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_family_policy: Option<IpFamilyPolicy>,
    /// Addresses outside of the cluster's networks whose packets arrive at nodes.
    #[serde(rename = "externalIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<IpText>")]
    pub external_ips: Vec<IpAddr>,
    /// The name that a service of type `ExternalName` is an alias of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_name: Option<String>,
    /// Whether a client stays with the endpoint that it got.
    pub session_affinity: SessionAffinity,
    /// For how long it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// Which endpoints clients inside the cluster get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<TrafficPolicy>,
    /// Which endpoints clients outside of the cluster get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<TrafficPolicy>,
    /// Port of each node that tells load balancers whether it has endpoints. Allocated for type
    /// `LoadBalancer` with `externalTrafficPolicy` `Local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub health_check_node_port: Option<u16>,
    /// Pods that are not ready count as ready.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub publish_not_ready_addresses: bool,
    /// The load balancer's address, if the pool has it.
    #[serde(rename = "loadBalancerIP", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpText>")]
    pub load_balancer_ip: Option<IpAddr>,
    /// Networks whose clients the load balancer's address serves; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_source_ranges: Vec<String>,
    /// Whether a service of type `LoadBalancer` has node ports too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocate_load_balancer_node_ports: Option<bool>,
    /// Which endpoints are preferred: those near the client, or all alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_distribution: Option<TrafficDistribution>,
}

/// Who reaches a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Clients inside the cluster.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// Besides, clients that reach a node, at a port of every node.
    NodePort,
    /// Besides, clients that reach an address of its own.
    LoadBalancer,
    /// Nobody: it is an alias in DNS.
    ExternalName,
}

impl ServiceType {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceType::ClusterIp => "ClusterIP",
            ServiceType::NodePort => "NodePort",
            ServiceType::LoadBalancer => "LoadBalancer",
            ServiceType::ExternalName => "ExternalName",
        }
    }

    /// Whether it has a port of every node.
    pub fn has_node_ports(self) -> bool {
        matches!(self, ServiceType::NodePort | ServiceType::LoadBalancer)
    }
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePort {
    /// Its name; needed when there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Transport protocol; TCP unless given.
    #[serde(default)]
    pub protocol: Protocol,
    /// What it carries, for those who read it: `http`, `kubernetes.io/h2c`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    /// The number at the service's addresses.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The number at the pods, or the name of one of their ports; `port` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<PortRef>,
    /// The number at every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub node_port: Option<u16>,
}

impl ServicePort {
    /// The name as endpoints write it: empty for the only port of a service.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

/// Families of addresses.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum IpFamily {
    /// 32 bits.
    IPv4,
    /// 128 bits.
    IPv6,
}

impl IpFamily {
    /// The family of an address.
    pub fn of(address: IpAddr) -> IpFamily {
        if address.is_ipv4() { IpFamily::IPv4 } else { IpFamily::IPv6 }
    }

    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            IpFamily::IPv4 => "IPv4",
            IpFamily::IPv6 => "IPv6",
        }
    }
}

/// Whether a service has addresses of one family or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpFamilyPolicy {
    /// One.
    SingleStack,
    /// Both where the cluster has both.
    PreferDualStack,
    /// Both.
    RequireDualStack,
}

/// Whether a client stays with the endpoint that it got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionAffinity {
    /// Each connection gets any endpoint.
    #[default]
    None,
    /// Connections from one address get the same endpoint.
    #[serde(rename = "ClientIP")]
    ClientIp,
}

/// Details of [`ServiceSpec::session_affinity`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SessionAffinityConfig {
    /// For affinity by the client's address.
    #[serde(rename = "clientIP", skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<ClientIpConfig>,
}

/// Details of affinity by the client's address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientIpConfig {
    /// Seconds after a client's last new connection; 10800 unless given, at most a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: Option<u32>,
}

/// Which endpoints clients get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// Any.
    #[default]
    Cluster,
    /// Those of the node where the packet arrives, and no others.
    Local,
}

/// Which endpoints are preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficDistribution {
    /// The older name of `PreferSameZone`.
    PreferClose,
    /// Those of the client's zone (label `topology.kubernetes.io/zone` of the node).
    PreferSameZone,
    /// Those of the client's node.
    PreferSameNode,
}

/// What the cluster gave a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServiceStatus {
    /// Addresses of the load balancer.
    pub load_balancer: LoadBalancerStatus,
    /// What holds of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Addresses of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadBalancerStatus {
    /// The addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// An address of a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancerIngress {
    /// The address.
    #[schemars(with = "IpText")]
    pub ip: IpAddr,
    /// Whether nodes answer for it themselves.
    #[serde(default)]
    pub ip_mode: IpMode,
}

/// Whether nodes answer for a load balancer's address themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IpMode {
    /// Packets come with the address as their destination, and nodes take a short cut to it.
    #[default]
    #[serde(rename = "VIP")]
    Vip,
    /// Packets come with a node's address: the address itself is nothing to nodes.
    Proxy,
}

impl Service {
    /// Whether it has no cluster IP by wish.
    pub fn is_headless(&self) -> bool {
        self.spec.kind != ServiceType::ExternalName
            && self.spec.cluster_ip.as_deref() == Some(NO_CLUSTER_IP)
    }

    /// Its cluster IPs of either family; none of a headless service.
    pub fn cluster_ips(&self) -> impl Iterator<Item = IpAddr> {
        let first = self.spec.cluster_ip.iter().filter(|_| self.spec.cluster_ips.is_empty());
        self.spec.cluster_ips.iter().chain(first).filter_map(|ip| ip.parse().ok())
    }

    /// Whether its packets are the nodes' business: it has a cluster IP and ports.
    pub fn is_proxied(&self) -> bool {
        self.spec.kind != ServiceType::ExternalName && !self.is_headless()
    }

    /// How long a client stays with an endpoint, in seconds, if it does.
    pub fn affinity_seconds(&self) -> Option<u32> {
        if self.spec.session_affinity == SessionAffinity::None {
            return None;
        }
        let config = self.spec.session_affinity_config.as_ref();
        let client_ip = config.and_then(|config| config.client_ip.as_ref());
        let given = client_ip.and_then(|client_ip| client_ip.timeout_seconds);
        Some(given.unwrap_or(DEFAULT_AFFINITY_SECONDS))
    }

    /// [`ServiceSpec::internal_traffic_policy`] with its default.
    pub fn internal_policy(&self) -> TrafficPolicy {
        self.spec.internal_traffic_policy.unwrap_or_default()
    }

    /// [`ServiceSpec::external_traffic_policy`] with its default.
    pub fn external_policy(&self) -> TrafficPolicy {
        self.spec.external_traffic_policy.unwrap_or_default()
    }
}
