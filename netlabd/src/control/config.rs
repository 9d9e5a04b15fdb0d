// SPDX-License-Identifier: GPL-3.0-or-later
//! What holds for the whole cluster.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Networks and names of a cluster. Nodes that join take it from their server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterConfig {
    /// Where pods get addresses from: at most one network a family, IPv4 first.
    pub pod_networks: Vec<IpNet>,
    /// Addresses of the cluster's DNS, as pods' `/etc/resolv.conf` names them.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain: `cluster.local`.
    pub domain: String,
}

impl ClusterConfig {
    /// The pod network in which `address` lies.
    pub fn pod_network_of(&self, address: IpAddr) -> Option<IpNet> {
        self.pod_networks.iter().copied().find(|network| network.contains(&address))
    }
}
