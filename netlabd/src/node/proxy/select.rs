// SPDX-License-Identifier: GPL-3.0-or-later
//! Which endpoints of a service this node uses. Pure.
//!
//! The rules are kube-proxy's (`pkg/proxy/topology.go`, `CategorizeEndpoints`): ready endpoints,
//! as far as their hints allow; where there is none, those that still serve while they end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use netlab_api::endpoint_slice::{AddressType, Endpoint};
use netlab_api::{EndpointSlice, pod};
use netlab_nft::Family;

use super::port::NodeFacts;

/// The endpoints of one service, as its slices name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    ports: BTreeMap<PortKey, BTreeMap<SocketAddr, Facts>>,
}

/// Family, protocol and name of a port.
type PortKey = (Family, pod::Protocol, String);

/// What of an endpoint decides whether it is used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Facts {
    ready: bool,
    serving: bool,
    /// Serves while it ends.
    lingers: bool,
    node: Option<String>,
    zones: Vec<String>,
    nodes: Vec<String>,
}

/// The endpoints of a port that this node uses, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortEndpoints {
    /// For connections that may end anywhere.
    pub cluster: Vec<SocketAddr>,
    /// For connections that must end on this node.
    pub local: Vec<SocketAddr>,
    /// Those of either that are on this node.
    pub own: Vec<SocketAddr>,
    /// All that serve, used or not: a flow that once was led to one of them may stay there.
    pub serving: Vec<SocketAddr>,
    /// Whether any endpoint takes connections, wherever it is.
    pub has_endpoints: bool,
}

impl Endpoints {
    /// The endpoints in slices of one service. An endpoint that two slices name is the better of
    /// the two: while it moves from one to the other it is in both.
    pub fn of<'a>(slices: impl IntoIterator<Item = &'a EndpointSlice>) -> Endpoints {
        let mut endpoints = Endpoints::default();
        for slice in slices {
            let family = match slice.address_type {
                AddressType::IPv4 => Family::Ip,
                AddressType::IPv6 => Family::Ip6,
            };
            for port in &slice.ports {
                let Some(number) = port.port else { continue };
                let key = (family, port.protocol, port.name().to_owned());
                let known = endpoints.ports.entry(key).or_default();
                for endpoint in &slice.endpoints {
                    let Some(address) = usable_address(endpoint, family) else { continue };
                    let facts = Facts::of(endpoint);
                    let here = known.entry(SocketAddr::new(address, number)).or_default();
                    if (facts.ready, facts.lingers) >= (here.ready, here.lingers) {
                        *here = facts;
                    }
                }
            }
        }
        endpoints
    }

    /// Those that `node` uses for a port.
    pub fn select(
        &self,
        port: &str,
        protocol: pod::Protocol,
        family: Family,
        node: &NodeFacts,
    ) -> PortEndpoints {
        let Some(all) = self.ports.get(&(family, protocol, port.to_owned())) else {
            return PortEndpoints::default();
        };
        let ready: Vec<_> = all.iter().filter(|(_, facts)| facts.ready).collect();
        let preferred = preference(&ready, node);
        let or_lingering = |chosen: Vec<SocketAddr>, wanted: &dyn Fn(&Facts) -> bool| {
            if !chosen.is_empty() {
                return chosen;
            }
            let lingering = all.iter().filter(|(_, facts)| facts.lingers && wanted(facts));
            lingering.map(|(address, _)| *address).collect()
        };
        let near = ready.iter().filter(|(_, facts)| preferred(facts)).map(|(at, _)| **at).collect();
        let cluster = or_lingering(near, &|_| true);
        let is_here = |facts: &Facts| facts.node.as_deref() == Some(&node.name);
        let here = ready.iter().filter(|(_, facts)| is_here(facts)).map(|(at, _)| **at).collect();
        let local = or_lingering(here, &is_here);
        let mut own: Vec<SocketAddr> =
            cluster.iter().filter(|at| is_here(&all[*at])).chain(&local).copied().collect();
        own.sort();
        own.dedup();
        let has_endpoints = all.values().any(|facts| facts.ready || facts.lingers);
        let serving = all.iter().filter(|(_, facts)| facts.serving || facts.ready);
        let serving = serving.map(|(address, _)| *address).collect();
        PortEndpoints { cluster, local, own, serving, has_endpoints }
    }

    /// Nodes with a ready endpoint.
    pub fn ready_nodes(&self) -> BTreeSet<&str> {
        let ready = self.ports.values().flat_map(BTreeMap::values).filter(|facts| facts.ready);
        ready.filter_map(|facts| facts.node.as_deref()).collect()
    }

    /// How many ready endpoints are on `node`, over all ports: each address once. A pod has one of
    /// each family and counts once, so it is the family that has more.
    pub fn count_ready_on(&self, node: &str) -> usize {
        let here = self
            .ports
            .values()
            .flatten()
            .filter(|(_, facts)| facts.ready && facts.node.as_deref() == Some(node));
        let addresses: BTreeSet<IpAddr> = here.map(|(at, _)| at.ip()).collect();
        let of_ipv4 = addresses.iter().filter(|address| address.is_ipv4()).count();
        of_ipv4.max(addresses.len() - of_ipv4)
    }
}

fn usable_address(endpoint: &Endpoint, family: Family) -> Option<IpAddr> {
    endpoint.address().filter(|address| address.is_ipv6() == (family == Family::Ip6))
}

/// Which ready endpoints `node` prefers. A hint counts only when every ready endpoint has one of
/// its kind and one is meant for this node: otherwise the part of the cluster that the hints leave
/// out would have none.
fn preference(ready: &[(&SocketAddr, &Facts)], node: &NodeFacts) -> Box<dyn Fn(&Facts) -> bool> {
    let all_have = |hints: fn(&Facts) -> &[String]| {
        !ready.is_empty() && ready.iter().all(|(_, facts)| !hints(facts).is_empty())
    };
    let one_is_for = |hints: fn(&Facts) -> &[String], here: &str| {
        ready.iter().any(|(_, facts)| hints(facts).iter().any(|hint| hint == here))
    };
    if all_have(Facts::node_hints) && one_is_for(Facts::node_hints, &node.name) {
        let name = node.name.clone();
        return Box::new(move |facts| facts.nodes.contains(&name));
    }
    if let Some(zone) = node.zone.clone()
        && all_have(Facts::zone_hints)
        && one_is_for(Facts::zone_hints, &zone)
    {
        return Box::new(move |facts| facts.zones.contains(&zone));
    }
    Box::new(|_| true)
}

impl Facts {
    fn of(endpoint: &Endpoint) -> Facts {
        let conditions = endpoint.conditions;
        let hints = endpoint.hints.clone().unwrap_or_default();
        Facts {
            ready: conditions.is_ready(),
            serving: conditions.is_serving(),
            lingers: conditions.is_serving() && conditions.is_terminating(),
            node: endpoint.node_name.clone(),
            zones: hints.for_zones.into_iter().map(|hint| hint.name).collect(),
            nodes: hints.for_nodes.into_iter().map(|hint| hint.name).collect(),
        }
    }

    fn node_hints(&self) -> &[String] {
        &self.nodes
    }

    fn zone_hints(&self) -> &[String] {
        &self.zones
    }
}

#[cfg(test)]
mod tests;
