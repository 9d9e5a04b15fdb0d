// SPDX-License-Identifier: GPL-3.0-or-later
//! What holds for the whole cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlab_api::ClusterSettings;
use netlab_api::service::IpMode;
use netlab_api::settings::ServiceSettings;
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
    /// What holds for services.
    #[serde(default)]
    pub services: ServiceConfig,
}

/// Networks and ports of services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceConfig {
    /// Where services get their cluster IPs from: at most one network a family, IPv4 first.
    pub networks: Vec<IpNet>,
    /// Ports of nodes that services may have.
    pub node_ports: RangeInclusive<u16>,
    /// Networks of whose addresses node ports are served; of all when empty.
    pub node_port_addresses: Vec<IpNet>,
    /// Where services of type `LoadBalancer` get addresses from. Without any, they stay pending.
    pub load_balancer_pools: Vec<IpNet>,
    /// What is written into services about addresses of the pools: whether nodes take a short cut.
    pub load_balancer_ip_mode: IpMode,
    /// Gives every connection to a cluster IP the node's address.
    pub masquerade_all: bool,
}

impl Default for ServiceConfig {
    fn default() -> ServiceConfig {
        ServiceConfig {
            networks: default_service_networks().to_vec(),
            node_ports: 30_000..=32_767,
            node_port_addresses: Vec::new(),
            load_balancer_pools: Vec::new(),
            load_balancer_ip_mode: IpMode::Vip,
            masquerade_all: false,
        }
    }
}

impl ServiceConfig {
    fn settings(&self) -> ServiceSettings {
        ServiceSettings {
            networks: self.networks.clone(),
            node_port_addresses: self.node_port_addresses.clone(),
            load_balancer_pools: self.load_balancer_pools.clone(),
            load_balancer_ip_mode: self.load_balancer_ip_mode,
            masquerade_all: self.masquerade_all,
        }
    }

    fn follow(&mut self, settings: &ServiceSettings) {
        // Which ports there may be is the server's to decide.
        *self = ServiceConfig {
            networks: settings.networks.clone(),
            node_ports: self.node_ports.clone(),
            node_port_addresses: settings.node_port_addresses.clone(),
            load_balancer_pools: settings.load_balancer_pools.clone(),
            load_balancer_ip_mode: settings.load_balancer_ip_mode,
            masquerade_all: settings.masquerade_all,
        };
    }
}

/// Defaults of the cluster that the project's examples come from (RKE2).
pub fn default_service_networks() -> [IpNet; 2] {
    [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 43, 0, 0), 16)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd43, 0, 0, 0, 0, 0, 0, 0), 112)),
    ]
}

impl ClusterConfig {
    /// What of it nodes go by.
    pub fn settings(&self) -> ClusterSettings {
        ClusterSettings { services: Some(self.services.settings()) }
    }

    /// Takes over what a server says that nodes go by now.
    pub fn follow(&mut self, settings: &ClusterSettings) {
        if let Some(services) = &settings.services {
            self.services.follow(services);
        }
    }

    /// The pod network in which `address` lies.
    pub fn pod_network_of(&self, address: IpAddr) -> Option<IpNet> {
        self.pod_networks.iter().copied().find(|network| network.contains(&address))
    }
}
