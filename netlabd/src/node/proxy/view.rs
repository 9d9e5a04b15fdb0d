// SPDX-License-Identifier: GPL-3.0-or-later
//! The services and endpoints that this node knows of, and which of them have to be planned anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use netlab_api::{EndpointSlice, ObjectMeta, Service};

use super::announce::announcer;
use super::desired::ServiceName;
use super::known::{KnownService, KnownSlice, NodeNames};
use super::port::{NodeFacts, PortPlan, plan_known};
use super::select::Endpoints;

/// What the cluster told of services.
#[derive(Debug, Default)]
pub struct Services {
    node: NodeFacts,
    known: BTreeMap<ServiceName, Known>,
    /// The service that a slice is of, by the slice's namespace and name.
    owners: HashMap<ServiceName, Box<str>>,
    nodes: NodeNames,
    dirty: BTreeSet<ServiceName>,
    /// Services of type `LoadBalancer`, and their addresses that somebody must announce. One whose
    /// load balancer is elsewhere has none.
    balancers: BTreeMap<ServiceName, Vec<IpAddr>>,
}

/// A service, its slices, or both; either may come first.
#[derive(Debug, Default)]
struct Known {
    service: Option<KnownService>,
    /// Sorted by name. Mostly one or two, for which a tree would take ten times the memory.
    slices: Vec<(Box<str>, KnownSlice)>,
}

fn name_of(metadata: &ObjectMeta) -> ServiceName {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone())
}

impl Services {
    /// Forgets everything and takes in what there is; all of it is to be planned.
    pub fn reset<'a>(
        &mut self,
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
    ) {
        *self = Services { node: std::mem::take(&mut self.node), ..Services::default() };
        // Made at once, the tree has no empty places and takes less time.
        let named = |service: &Service| {
            let known = Known { service: Some(KnownService::of(service)), slices: Vec::new() };
            (name_of(&service.metadata), known)
        };
        self.known = services.into_iter().map(named).collect();
        for (name, known) in &self.known {
            if let Some(vips) = known.service.as_ref().and_then(KnownService::vips) {
                self.balancers.insert(name.clone(), vips.to_vec());
            }
        }
        for slice in slices {
            let name = name_of(&slice.metadata);
            self.keep_slice(name, slice);
        }
        self.mark_all();
    }

    /// Notes what of this node decides which endpoints it uses.
    pub fn set_node(&mut self, node: NodeFacts) {
        if self.node != node {
            self.node = node;
            self.mark_all();
        }
    }

    /// All services are to be planned.
    fn mark_all(&mut self) {
        let services = self.known.iter().filter(|(_, known)| known.service.is_some());
        self.dirty.extend(services.map(|(name, _)| name.clone()));
    }

    /// A service is new, or otherwise.
    pub fn put(&mut self, service: &Service) {
        let name = name_of(&service.metadata);
        let service = KnownService::of(service);
        self.dirty.insert(name.clone());
        match service.vips() {
            Some(vips) => drop(self.balancers.insert(name.clone(), vips.to_vec())),
            None => drop(self.balancers.remove(&name)),
        }
        self.known.entry(name).or_default().service = Some(service);
    }

    /// A service is gone.
    pub fn remove(&mut self, name: ServiceName) {
        if let Some(known) = self.known.get_mut(&name) {
            known.service = None;
        }
        self.drop_if_empty(&name);
        self.balancers.remove(&name);
        self.dirty.insert(name);
    }

    /// A slice is new, or otherwise.
    pub fn put_slice(&mut self, slice: &EndpointSlice) {
        let name = name_of(&slice.metadata);
        // It may have been another service's.
        if self.owners.get(&name).map(Box::as_ref) != slice.service() {
            self.remove_slice(name.clone());
        }
        let service = self.keep_slice(name, slice);
        self.dirty.extend(service);
    }

    /// Notes what a slice says of its service; which that is.
    fn keep_slice(&mut self, name: ServiceName, slice: &EndpointSlice) -> Option<ServiceName> {
        let service = (name.0.clone(), slice.service()?.to_owned());
        let facts = KnownSlice::of(slice, &mut self.nodes);
        let slices = &mut self.known.entry(service.clone()).or_default().slices;
        match slices.binary_search_by(|(known, _)| (**known).cmp(&name.1)) {
            Ok(place) => slices[place].1 = facts,
            Err(place) => {
                slices.reserve_exact(1);
                slices.insert(place, (name.1.as_str().into(), facts));
                self.owners.insert(name, service.1.as_str().into());
            }
        }
        Some(service)
    }

    /// A slice is gone.
    pub fn remove_slice(&mut self, name: ServiceName) {
        let Some(service) = self.owners.remove(&name) else { return };
        let (namespace, slice) = name;
        let service = (namespace, service.into());
        if let Some(known) = self.known.get_mut(&service) {
            known.slices.retain(|(name, _)| **name != *slice);
        }
        self.drop_if_empty(&service);
        self.dirty.insert(service);
    }

    fn drop_if_empty(&mut self, name: &ServiceName) {
        let is_empty = |known: &Known| known.service.is_none() && known.slices.is_empty();
        if self.known.get(name).is_some_and(is_empty) {
            self.known.remove(name);
        }
    }

    fn service(&self, name: &ServiceName) -> Option<&KnownService> {
        self.known.get(name)?.service.as_ref()
    }

    /// Whether something has to be planned.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The endpoints of a service.
    pub fn endpoints(&self, name: &ServiceName) -> Endpoints {
        let slices = self.known.get(name).into_iter().flat_map(|known| &known.slices);
        Endpoints::of_known(slices.map(|(_, slice)| slice))
    }

    /// Addresses of load balancers that this node announces. Every node comes to the same answer:
    /// one of those that are ready, and of those only that have an endpoint where others would drop
    /// the packets.
    pub fn announced(&self, ready_nodes: &[&str]) -> BTreeSet<IpAddr> {
        let mut announced = BTreeSet::new();
        for (name, addresses) in &self.balancers {
            let local = self.service(name).is_some_and(|service| service.external_local);
            let endpoints = local.then(|| self.endpoints(name));
            let with_endpoints = endpoints.as_ref().map(Endpoints::ready_nodes);
            let mut nodes: Vec<&str> = ready_nodes.to_vec();
            if let Some(with_endpoints) = &with_endpoints
                && nodes.iter().any(|node| with_endpoints.contains(node))
            {
                nodes.retain(|node| with_endpoints.contains(node));
            }
            for address in addresses {
                if announcer(*address, &nodes) == Some(&self.node.name) {
                    announced.insert(*address);
                }
            }
        }
        announced
    }

    /// Addresses of load balancers whose packets come to nodes.
    pub fn balancer_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.balancers.values().flatten().copied()
    }

    /// Services of type `LoadBalancer` that tell at a port of every node whether it has endpoints.
    pub fn health_checks(&self) -> impl Iterator<Item = (u16, &ServiceName, usize)> {
        self.balancers.keys().filter_map(|name| {
            let service = self.service(name)?;
            let port = service.health_check()?;
            service
                .external_local
                .then(|| (port, name, self.endpoints(name).count_ready_on(&self.node.name)))
        })
    }

    /// Plans what changed since the last time; without plans are services that are gone.
    pub fn plan(&mut self) -> BTreeMap<ServiceName, Vec<PortPlan>> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty
            .into_iter()
            .map(|name| {
                let plans = self
                    .service(&name)
                    .map(|service| plan_known(&name, service, &self.endpoints(&name), &self.node));
                let plans = plans.unwrap_or_default();
                (name, plans)
            })
            .collect()
    }
}
