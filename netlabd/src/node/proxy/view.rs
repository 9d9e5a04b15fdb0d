// SPDX-License-Identifier: GPL-3.0-or-later
//! The services and endpoints that this node knows of, and which of them have to be planned anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use netlab_api::service::{IpMode, ServiceType, TrafficPolicy};
use netlab_api::{EndpointSlice, ObjectMeta, Service};

use super::announce::announcer;
use super::desired::ServiceName;
use super::port::{NodeFacts, PortPlan, plan_service};
use super::select::Endpoints;

/// What the cluster told of services.
#[derive(Debug, Default)]
pub struct Services {
    node: NodeFacts,
    services: BTreeMap<ServiceName, Arc<Service>>,
    /// Slices by namespace and name.
    slices: BTreeMap<ServiceName, Arc<EndpointSlice>>,
    /// Names of a service's slices, sorted. Mostly one or two, for which a tree would take ten times
    /// the memory.
    by_service: BTreeMap<ServiceName, Vec<String>>,
    dirty: BTreeSet<ServiceName>,
    /// Services of type `LoadBalancer`, and their addresses that somebody must announce. One whose
    /// load balancer is elsewhere has none.
    balancers: BTreeMap<ServiceName, Vec<IpAddr>>,
}

fn name_of(metadata: &ObjectMeta) -> ServiceName {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone())
}

/// The service of a slice, by namespace and name.
fn service_of(slice: &EndpointSlice) -> Option<ServiceName> {
    let namespace = slice.metadata.namespace.clone().unwrap_or_default();
    Some((namespace, slice.service()?.to_owned()))
}

/// The addresses of a load balancer that somebody must announce.
fn vips(service: &Service) -> Option<Vec<IpAddr>> {
    let ingress = service.status.load_balancer.ingress.iter();
    let vips = ingress.filter(|it| it.ip_mode == IpMode::Vip).map(|it| it.ip);
    (service.spec.kind == ServiceType::LoadBalancer).then(|| vips.collect())
}

impl Services {
    /// Forgets everything and takes in what there is; all of it is to be planned.
    pub fn reset(
        &mut self,
        services: impl IntoIterator<Item: Into<Arc<Service>>>,
        slices: impl IntoIterator<Item: Into<Arc<EndpointSlice>>>,
    ) {
        *self = Services { node: std::mem::take(&mut self.node), ..Services::default() };
        // Made at once, the trees have no empty places and take less time.
        let services = services.into_iter().map(Into::into);
        let named = |service: Arc<Service>| (name_of(&service.metadata), service);
        self.services = services.map(named).collect();
        let balancers =
            self.services.iter().filter_map(|(name, it)| Some((name.clone(), vips(it)?)));
        self.balancers = balancers.collect();
        let slices = slices.into_iter().map(Into::into);
        let named = |slice: Arc<EndpointSlice>| (name_of(&slice.metadata), slice);
        self.slices = slices.map(named).collect();
        for ((_, name), slice) in &self.slices {
            if let Some(service) = service_of(slice) {
                // In order.
                let names = self.by_service.entry(service);
                names.or_insert_with(|| Vec::with_capacity(1)).push(name.clone());
            }
        }
        self.dirty = self.services.keys().cloned().collect();
    }

    /// Notes what of this node decides which endpoints it uses.
    pub fn set_node(&mut self, node: NodeFacts) {
        if self.node != node {
            self.node = node;
            self.dirty.extend(self.services.keys().cloned());
        }
    }

    /// A service is new, or otherwise.
    pub fn put(&mut self, service: impl Into<Arc<Service>>) {
        let service = service.into();
        let name = name_of(&service.metadata);
        self.dirty.insert(name.clone());
        match vips(&service) {
            Some(vips) => drop(self.balancers.insert(name.clone(), vips)),
            None => drop(self.balancers.remove(&name)),
        }
        self.services.insert(name, service);
    }

    /// A service is gone.
    pub fn remove(&mut self, name: ServiceName) {
        self.services.remove(&name);
        self.balancers.remove(&name);
        self.dirty.insert(name);
    }

    /// A slice is new, or otherwise.
    pub fn put_slice(&mut self, slice: impl Into<Arc<EndpointSlice>>) {
        let slice = slice.into();
        let name = name_of(&slice.metadata);
        // It may have been another service's.
        self.remove_slice(name.clone());
        if let Some(service) = service_of(&slice) {
            let names = self.by_service.entry(service.clone());
            let names = names.or_insert_with(|| Vec::with_capacity(1));
            if let Err(place) = names.binary_search(&name.1) {
                names.insert(place, name.1.clone());
            }
            self.dirty.insert(service);
        }
        self.slices.insert(name, slice);
    }

    /// A slice is gone.
    pub fn remove_slice(&mut self, name: ServiceName) {
        let Some(service) = self.slices.remove(&name).as_deref().and_then(service_of) else {
            return;
        };
        if let Some(slices) = self.by_service.get_mut(&service) {
            slices.retain(|slice| *slice != name.1);
            if slices.is_empty() {
                self.by_service.remove(&service);
            }
        }
        self.dirty.insert(service);
    }

    /// Whether something has to be planned.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The endpoints of a service.
    pub fn endpoints(&self, name: &ServiceName) -> Endpoints {
        let slices = self.by_service.get(name).into_iter().flatten();
        let slices = slices.filter_map(|slice| self.slices.get(&(name.0.clone(), slice.clone())));
        Endpoints::of(slices.map(Arc::as_ref))
    }

    /// Addresses of load balancers that this node announces. Every node comes to the same answer:
    /// one of those that are ready, and of those only that have an endpoint where others would drop
    /// the packets.
    pub fn announced(&self, ready_nodes: &[&str]) -> BTreeSet<IpAddr> {
        let mut announced = BTreeSet::new();
        for (name, addresses) in &self.balancers {
            let local = self
                .services
                .get(name)
                .is_some_and(|service| service.external_policy() == TrafficPolicy::Local);
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
            let service = self.services.get(name)?;
            let port = service.spec.health_check_node_port?;
            (service.external_policy() == TrafficPolicy::Local)
                .then(|| (port, name, self.endpoints(name).count_ready_on(&self.node.name)))
        })
    }

    /// Plans what changed since the last time; without plans are services that are gone.
    pub fn plan(&mut self) -> BTreeMap<ServiceName, Vec<PortPlan>> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty
            .into_iter()
            .map(|name| {
                let plans = match self.services.get(&name) {
                    Some(service) => plan_service(service, &self.endpoints(&name), &self.node),
                    None => Vec::new(),
                };
                (name, plans)
            })
            .collect()
    }
}
