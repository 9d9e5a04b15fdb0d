// SPDX-License-Identifier: GPL-3.0-or-later
//! One port of one service in one family, as this node must treat it. A plan: no kernel, and no
//! layout of rules yet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use netlab_api::{Service, pod};
use netlab_nft::{Family, Protocol};

use super::desired::ServiceName;
use super::known::{KnownPort, KnownService};
use super::select::{Endpoints, PortEndpoints};

/// Which port of which service, in which family.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    /// The service's namespace.
    pub namespace: String,
    /// The service's name.
    pub service: String,
    /// The port's name; empty for the only one.
    pub port: String,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The family of its addresses.
    pub family: Family,
}

/// `default/web:http`, as kube-proxy writes it in comments and metrics.
impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service)?;
        if !self.port.is_empty() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// What this node does with packets to one port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPlan {
    /// Which port; shared by all that speak of it.
    pub id: Arc<PortId>,
    /// Its number at the service's addresses.
    pub port: u16,
    /// The cluster IP of the family, if there is one.
    pub cluster_ip: Option<IpAddr>,
    /// Addresses for clients outside: external IPs, and load balancers' that nodes answer for.
    pub external_ips: Vec<IpAddr>,
    /// Those of them that are the load balancer's.
    pub balancer_ips: Vec<IpAddr>,
    /// Those of them to which [`PortPlan::source_ranges`] applies.
    pub guarded_ips: Vec<IpAddr>,
    /// Networks whose clients may use the guarded addresses; none when all may.
    pub source_ranges: Option<Vec<IpNet>>,
    /// Its number at every node.
    pub node_port: Option<u16>,
    /// Where connections end that may end anywhere.
    pub cluster: Vec<SocketAddr>,
    /// Where connections end that must end on this node.
    pub local: Vec<SocketAddr>,
    /// Endpoints of this node among all that are used; a pod of which may reach itself.
    pub own: Vec<SocketAddr>,
    /// All endpoints that serve: flows that lead to others are stale.
    pub serving: Vec<SocketAddr>,
    /// Whether there is an endpoint anywhere.
    pub has_endpoints: bool,
    /// Clients inside the cluster get endpoints of this node only.
    pub internal_local: bool,
    /// Clients outside get endpoints of this node only, and keep their address.
    pub external_local: bool,
    /// For how long a client stays with its endpoint.
    pub affinity: Option<Duration>,
    /// The file and line that it came from.
    pub source: Option<String>,
}

/// What of the node a plan depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// The zone that it is in.
    pub zone: Option<String>,
}

/// Plans all ports of a service in each family that it has addresses of.
pub fn plan_service(service: &Service, endpoints: &Endpoints, node: &NodeFacts) -> Vec<PortPlan> {
    let metadata = &service.metadata;
    let name = (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone());
    plan_known(&name, &KnownService::of(service), endpoints, node)
}

/// The same of what is kept of a service.
pub fn plan_known(
    name: &ServiceName,
    service: &KnownService,
    endpoints: &Endpoints,
    node: &NodeFacts,
) -> Vec<PortPlan> {
    let mut plans = Vec::new();
    for family in Family::ALL {
        for port in &service.ports {
            let plan = plan_port(name, service, port, family, endpoints, node);
            if plan.cluster_ip.is_some()
                || !plan.external_ips.is_empty()
                || plan.node_port.is_some()
            {
                plans.push(plan);
            }
        }
    }
    plans
}

fn plan_port(
    (namespace, name): &ServiceName,
    service: &KnownService,
    port: &KnownPort,
    family: Family,
    endpoints: &Endpoints,
    node: &NodeFacts,
) -> PortPlan {
    let in_family = |address: &IpAddr| address.is_ipv6() == (family == Family::Ip6);
    let cluster_ip = service.cluster_ips.iter().copied().find(in_family);
    let all_of = |addresses: &[IpAddr]| -> Vec<IpAddr> {
        addresses.iter().copied().filter(in_family).collect()
    };
    let mut external_ips = all_of(service.external_ips());
    let guarded_ips = all_of(service.vips().unwrap_or_default());
    external_ips.extend(&guarded_ips);
    external_ips.sort();
    external_ips.dedup();
    // Ranges of the other family only leave nobody of this one.
    let source_ranges: Option<Vec<IpNet>> = service
        .source_ranges()
        .map(|ranges| ranges.iter().copied().filter(|range| Family::of(range) == family).collect());
    let id = PortId {
        namespace: namespace.clone(),
        service: name.clone(),
        port: port.name.to_string(),
        protocol: protocol(port.protocol),
        family,
    };
    // A node port needs addresses of the family, which the service says by its cluster IPs.
    let node_port = port.node_port.filter(|_| cluster_ip.is_some());
    let PortEndpoints { cluster, local, own, serving, has_endpoints } =
        endpoints.select(&port.name, port.protocol, family, node);
    PortPlan {
        id: Arc::new(id),
        port: port.number,
        cluster_ip,
        balancer_ips: guarded_ips.clone(),
        guarded_ips: if source_ranges.is_some() { guarded_ips } else { Vec::new() },
        external_ips,
        source_ranges,
        node_port,
        cluster,
        local,
        own,
        serving,
        has_endpoints,
        internal_local: service.internal_local,
        external_local: service.external_local,
        affinity: service.affinity(),
        source: service.source(),
    }
}

/// The protocol as rules name it.
pub fn protocol(protocol: pod::Protocol) -> Protocol {
    match protocol {
        pod::Protocol::Tcp => Protocol::Tcp,
        pod::Protocol::Udp => Protocol::Udp,
        pod::Protocol::Sctp => Protocol::Sctp,
    }
}

impl PortPlan {
    /// Endpoints for clients inside the cluster.
    pub fn internal(&self) -> &[SocketAddr] {
        if self.internal_local { &self.local } else { &self.cluster }
    }

    /// Whether clients outside may reach it at all.
    pub fn is_external(&self) -> bool {
        !self.external_ips.is_empty() || self.node_port.is_some()
    }

    /// What comments say of it: its name, and where it was written.
    pub fn about(&self) -> String {
        match &self.source {
            Some(source) => format!("{} ({source})", self.id),
            None => self.id.to_string(),
        }
    }
}
