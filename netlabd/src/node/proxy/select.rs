// SPDX-License-Identifier: GPL-3.0-or-later
//! Which endpoints of a service this node uses. Pure.
//!
//! The rules are kube-proxy's (`pkg/proxy/topology.go`, `CategorizeEndpoints`): ready endpoints,
//! as far as their hints allow; where there is none, those that still serve while they end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use netlab_api::{EndpointSlice, pod};
use netlab_nft::Family;

use super::known::{KnownEndpoint, KnownSlice, NodeNames};
use super::port::NodeFacts;

/// The endpoints of one service, as its slices name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    ports: BTreeMap<PortKey, BTreeMap<SocketAddr, KnownEndpoint>>,
}

/// Family, protocol and name of a port.
type PortKey = (Family, pod::Protocol, String);

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
        let mut nodes = NodeNames::default();
        let known: Vec<_> = slices.into_iter().map(|it| KnownSlice::of(it, &mut nodes)).collect();
        Endpoints::of_known(&known)
    }

    /// The same of what is kept of slices.
    pub fn of_known<'a>(slices: impl IntoIterator<Item = &'a KnownSlice>) -> Endpoints {
        let mut endpoints = Endpoints::default();
        for slice in slices {
            for (protocol, port, number) in &slice.ports {
                let key = (slice.family, *protocol, port.to_string());
                let known = endpoints.ports.entry(key).or_default();
                for endpoint in &slice.endpoints {
                    let at = SocketAddr::new(endpoint.address, *number);
                    let is_worse = known.get(&at).is_some_and(|here| {
                        (endpoint.ready, endpoint.lingers) < (here.ready, here.lingers)
                    });
                    if !is_worse {
                        known.insert(at, endpoint.clone());
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
        let or_lingering = |chosen: Vec<SocketAddr>, wanted: &dyn Fn(&KnownEndpoint) -> bool| {
            if !chosen.is_empty() {
                return chosen;
            }
            let lingering = all.iter().filter(|(_, facts)| facts.lingers && wanted(facts));
            lingering.map(|(address, _)| *address).collect()
        };
        let near = ready.iter().filter(|(_, facts)| preferred(facts)).map(|(at, _)| **at).collect();
        let cluster = or_lingering(near, &|_| true);
        let is_here = |facts: &KnownEndpoint| facts.node.as_deref() == Some(&node.name);
        let here = ready.iter().filter(|(_, facts)| is_here(facts)).map(|(at, _)| **at).collect();
        let local = or_lingering(here, &is_here);
        let mut own: Vec<SocketAddr> =
            cluster.iter().filter(|at| is_here(&all[*at])).chain(&local).copied().collect();
        own.sort();
        own.dedup();
        let has_endpoints = all.values().any(|facts| facts.ready || facts.lingers);
        let serving = all.iter().filter(|(_, facts)| facts.serving || facts.ready);
        let serving = serving.map(|(address, _)| *address).collect();
        let mut chosen = PortEndpoints { cluster, local, own, serving, has_endpoints };
        // They are kept, and a list that was filtered has room for four.
        chosen.cluster.shrink_to_fit();
        chosen.serving.shrink_to_fit();
        chosen
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

/// Which ready endpoints `node` prefers. A hint counts only when every ready endpoint has one of
/// its kind and one is meant for this node: otherwise the part of the cluster that the hints leave
/// out would have none.
fn preference(
    ready: &[(&SocketAddr, &KnownEndpoint)],
    node: &NodeFacts,
) -> Box<dyn Fn(&KnownEndpoint) -> bool> {
    let all_have = |hints: fn(&KnownEndpoint) -> &[String]| {
        !ready.is_empty() && ready.iter().all(|(_, facts)| !hints(facts).is_empty())
    };
    let one_is_for = |hints: fn(&KnownEndpoint) -> &[String], here: &str| {
        ready.iter().any(|(_, facts)| hints(facts).iter().any(|hint| hint == here))
    };
    if all_have(KnownEndpoint::node_hints) && one_is_for(KnownEndpoint::node_hints, &node.name) {
        let name = node.name.clone();
        return Box::new(move |facts| facts.node_hints().contains(&name));
    }
    if let Some(zone) = node.zone.clone()
        && all_have(KnownEndpoint::zone_hints)
        && one_is_for(KnownEndpoint::zone_hints, &zone)
    {
        return Box::new(move |facts| facts.zone_hints().contains(&zone));
    }
    Box::new(|_| true)
}

impl KnownEndpoint {
    fn node_hints(&self) -> &[String] {
        self.hints.as_ref().map_or(&[], |hints| &hints.nodes)
    }

    fn zone_hints(&self) -> &[String] {
        self.hints.as_ref().map_or(&[], |hints| &hints.zones)
    }
}

#[cfg(test)]
mod tests;
