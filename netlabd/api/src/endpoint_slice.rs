// SPDX-License-Identifier: GPL-3.0-or-later
//! `EndpointSlice`: where the connections of a service end.
//!
//! Made by the cluster for services with a selector, by users for those without. Fields and
//! meaning are Kubernetes' (`discovery.k8s.io/v1` `EndpointSlice`).

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::ObjectReference;
use crate::meta::ObjectMeta;
use crate::pod::Protocol;

/// Label that names the service of a slice.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Label that names who writes a slice.
pub const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`] for slices that the cluster writes.
pub const MANAGED_BY: &str = "netlabd";
/// Label of slices of headless services, as Kubernetes sets it.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// Label of a node that names the zone in which it is.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Endpoints of one service with the same ports and family.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointSlice {
    /// Name and labels. The label `kubernetes.io/service-name` names the service.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Family of the addresses. Cannot change.
    #[serde(default)]
    pub address_type: AddressType,
    /// The endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Ports that each of them has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
}

/// Family of the addresses of a slice.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum AddressType {
    /// 32 bits.
    #[default]
    IPv4,
    /// 128 bits.
    IPv6,
}

impl AddressType {
    /// The family of an address.
    pub fn of(address: IpAddr) -> AddressType {
        if address.is_ipv4() { AddressType::IPv4 } else { AddressType::IPv6 }
    }

    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            AddressType::IPv4 => "IPv4",
            AddressType::IPv6 => "IPv6",
        }
    }
}

/// One place where connections end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Endpoint {
    /// Its address. Kubernetes allows several and uses the first.
    pub addresses: Vec<String>,
    /// Whether it takes connections.
    pub conditions: EndpointConditions,
    /// Its host name in the service's domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The node that it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The zone that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// For which clients it is meant, if not for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<EndpointHints>,
    /// The pod that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<ObjectReference>,
}

impl Endpoint {
    /// The address that is used.
    pub fn address(&self) -> Option<IpAddr> {
        self.addresses.first()?.parse().ok()
    }
}

/// Whether an endpoint takes connections. What is absent counts as Kubernetes counts it: `ready`
/// and `serving` as true, `terminating` as false.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EndpointConditions {
    /// It takes new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// It would, even if it is being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// It is being deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

impl EndpointConditions {
    /// `ready`, with its default.
    pub fn is_ready(self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// `serving`, with its default, which is what `ready` says.
    pub fn is_serving(self) -> bool {
        self.serving.unwrap_or_else(|| self.is_ready())
    }

    /// `terminating`, with its default.
    pub fn is_terminating(self) -> bool {
        self.terminating.unwrap_or(false)
    }
}

/// For which clients an endpoint is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EndpointHints {
    /// Clients of these zones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub for_zones: Vec<Hint>,
    /// Clients of these nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub for_nodes: Vec<Hint>,
}

/// A zone or a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hint {
    /// Its name.
    pub name: String,
}

/// A port that the endpoints of a slice have.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EndpointPort {
    /// The name of the service's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Transport protocol; TCP unless given.
    pub protocol: Protocol,
    /// The number at the endpoint. Absent: every port, which no service uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// What it carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

impl EndpointPort {
    /// The name, empty for the only port of a service.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}

impl EndpointSlice {
    /// The service that it belongs to, in its namespace.
    pub fn service(&self) -> Option<&str> {
        self.metadata.labels.get(SERVICE_NAME_LABEL).map(String::as_str)
    }

    /// Whether the cluster writes it.
    pub fn is_managed(&self) -> bool {
        self.metadata.labels.get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGED_BY)
    }
}
