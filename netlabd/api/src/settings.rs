// SPDX-License-Identifier: GPL-3.0-or-later
//! What of the server's configuration every node of the cluster goes by.
//!
//! It travels in a node's view, so that nodes follow when the server is started with another
//! configuration. What only the server needs, to decide, is not in it.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::service::IpMode;

/// What nodes go by. A part that is absent is as it was when the node joined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSettings {
    /// For services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceSettings>,
}

/// What nodes have to know of services beside the services themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSettings {
    /// Where cluster IPs are from: at most one network a family, IPv4 first.
    #[schemars(with = "Vec<String>")]
    pub networks: Vec<IpNet>,
    /// Networks of whose addresses node ports are served; of all when empty.
    #[schemars(with = "Vec<String>")]
    pub node_port_addresses: Vec<IpNet>,
    /// Where addresses of load balancers are from.
    #[schemars(with = "Vec<String>")]
    pub load_balancer_pools: Vec<IpNet>,
    /// Whether nodes take the short cut to these addresses.
    pub load_balancer_ip_mode: IpMode,
    /// Gives every connection to a cluster IP the node's address.
    pub masquerade_all: bool,
}
