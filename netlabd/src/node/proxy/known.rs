// SPDX-License-Identifier: GPL-3.0-or-later
//! What a node keeps of services and slices: what its rules need, and no more. Pure.
//!
//! There may be tens of thousands, and all that most of them say is a name, an address and a port.
//! The objects, as users write them, have room for everything that might be said: kept whole, a
//! service with three endpoints takes 3 KB, as it is here 600 bytes.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use netlab_api::endpoint_slice::{AddressType, Endpoint};
use netlab_api::service::{IpMode, ServiceType, TrafficPolicy};
use netlab_api::{EndpointSlice, Service, pod};
use netlab_nft::Family;

/// Annotation with the file and line that an object came from.
const SOURCE_ANNOTATION: &str = "netlab.io/source";

/// What of a service decides about its packets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownService {
    /// None when its packets are not the nodes' business.
    pub(super) ports: Box<[KnownPort]>,
    pub(super) cluster_ips: Box<[IpAddr]>,
    /// Clients inside the cluster get endpoints of this node only.
    pub(super) internal_local: bool,
    /// Clients outside get endpoints of this node only.
    pub(super) external_local: bool,
    /// What most services do not say.
    rare: Option<Box<Rare>>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownPort {
    /// Empty for the only one.
    pub(super) name: Box<str>,
    pub(super) protocol: pod::Protocol,
    pub(super) number: u16,
    pub(super) node_port: Option<u16>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rare {
    external_ips: Box<[IpAddr]>,
    /// Of a load balancer: its addresses that nodes answer for, none when it is elsewhere.
    vips: Option<Box<[IpAddr]>>,
    source_ranges: Option<Box<[IpNet]>>,
    health_check: Option<u16>,
    affinity: Option<Duration>,
    source: Option<Box<str>>,
}

impl KnownService {
    /// What is kept of a service.
    pub fn of(service: &Service) -> KnownService {
        let spec = &service.spec;
        let vips = (spec.kind == ServiceType::LoadBalancer).then(|| {
            let ingress = service.status.load_balancer.ingress.iter();
            ingress.filter(|it| it.ip_mode == IpMode::Vip).map(|it| it.ip).collect()
        });
        let ranges = spec.load_balancer_source_ranges.iter();
        let ranges = ranges.filter_map(|range| range.trim().parse::<IpNet>().ok());
        let rare = Rare {
            external_ips: spec.external_ips.iter().copied().collect(),
            vips,
            source_ranges: (!spec.load_balancer_source_ranges.is_empty())
                .then(|| ranges.map(|range| range.trunc()).collect()),
            health_check: spec.health_check_node_port,
            affinity: service.affinity_seconds().map(|it| Duration::from_secs(it.into())),
            source: service.metadata.annotations.get(SOURCE_ANNOTATION).map(|it| (**it).into()),
        };
        let ports = spec.ports.iter().filter(|_| service.is_proxied()).map(|port| KnownPort {
            name: port.name().into(),
            protocol: port.protocol,
            number: port.port,
            node_port: port.node_port.filter(|_| spec.kind.has_node_ports()),
        });
        KnownService {
            ports: ports.collect(),
            cluster_ips: service.cluster_ips().collect(),
            internal_local: service.internal_policy() == TrafficPolicy::Local,
            external_local: service.external_policy() == TrafficPolicy::Local,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
        }
    }

    fn rare<T>(&self, of: impl FnOnce(&Rare) -> Option<T>) -> Option<T> {
        self.rare.as_deref().and_then(of)
    }

    /// Addresses of others that lead here.
    pub(super) fn external_ips(&self) -> &[IpAddr] {
        self.rare.as_deref().map_or(&[], |rare| &rare.external_ips)
    }

    /// Of a service of type `LoadBalancer`: its addresses that somebody must announce.
    pub(super) fn vips(&self) -> Option<&[IpAddr]> {
        self.rare.as_deref()?.vips.as_deref()
    }

    /// Networks whose clients may use the load balancer, of both families; `None` when all may.
    pub(super) fn source_ranges(&self) -> Option<&[IpNet]> {
        self.rare.as_deref()?.source_ranges.as_deref()
    }

    /// The port at which every node tells whether it has endpoints, if it is to.
    pub(super) fn health_check(&self) -> Option<u16> {
        self.rare(|rare| rare.health_check)
    }

    /// For how long a client stays with its endpoint, if it does.
    pub(super) fn affinity(&self) -> Option<Duration> {
        self.rare(|rare| rare.affinity)
    }

    /// The file and line that it came from.
    pub(super) fn source(&self) -> Option<String> {
        self.rare(|rare| rare.source.as_deref().map(str::to_owned))
    }
}

/// What of a slice decides where packets go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSlice {
    pub(super) family: Family,
    /// Protocol, name and number of each port that has one.
    pub(super) ports: Box<[(pod::Protocol, Box<str>, u16)]>,
    /// Those with an address of the family.
    pub(super) endpoints: Box<[KnownEndpoint]>,
}

/// An endpoint, and what decides whether it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownEndpoint {
    pub(super) address: IpAddr,
    pub(super) ready: bool,
    pub(super) serving: bool,
    /// Serves while it ends.
    pub(super) lingers: bool,
    pub(super) node: Option<Arc<str>>,
    /// For which clients it is meant, if that is said.
    pub(super) hints: Option<Arc<Hints>>,
}

/// Zones and nodes that an endpoint is meant for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    pub(super) zones: Vec<String>,
    pub(super) nodes: Vec<String>,
}

/// Names of nodes, each kept once however many endpoints are there. Those of nodes that are gone
/// stay, which is nothing beside what the node was.
#[derive(Debug, Default)]
pub struct NodeNames(HashSet<Arc<str>>);

impl NodeNames {
    fn get(&mut self, name: &str) -> Arc<str> {
        match self.0.get(name) {
            Some(known) => known.clone(),
            None => {
                let name: Arc<str> = name.into();
                self.0.insert(name.clone());
                name
            }
        }
    }
}

impl KnownSlice {
    /// What is kept of a slice.
    pub fn of(slice: &EndpointSlice, nodes: &mut NodeNames) -> KnownSlice {
        let family = match slice.address_type {
            AddressType::IPv4 => Family::Ip,
            AddressType::IPv6 => Family::Ip6,
        };
        let ports = slice.ports.iter().filter_map(|port| {
            let number = port.port?;
            Some((port.protocol, port.name().into(), number))
        });
        let endpoints = slice.endpoints.iter();
        let endpoints = endpoints.filter_map(|endpoint| KnownEndpoint::of(endpoint, family, nodes));
        KnownSlice { family, ports: ports.collect(), endpoints: endpoints.collect() }
    }
}

impl KnownEndpoint {
    fn of(endpoint: &Endpoint, family: Family, nodes: &mut NodeNames) -> Option<KnownEndpoint> {
        let address = endpoint.address()?;
        if address.is_ipv6() != (family == Family::Ip6) {
            return None;
        }
        let conditions = endpoint.conditions;
        let hints = endpoint.hints.as_ref().map(|hints| Hints {
            zones: hints.for_zones.iter().map(|hint| hint.name.clone()).collect(),
            nodes: hints.for_nodes.iter().map(|hint| hint.name.clone()).collect(),
        });
        Some(KnownEndpoint {
            address,
            ready: conditions.is_ready(),
            serving: conditions.is_serving(),
            lingers: conditions.is_serving() && conditions.is_terminating(),
            node: endpoint.node_name.as_deref().map(|name| nodes.get(name)),
            hints: hints.filter(|hints| *hints != Hints::default()).map(Arc::new),
        })
    }
}
