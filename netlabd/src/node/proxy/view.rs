// SPDX-License-Identifier: GPL-3.0-or-later
//! The services and endpoints that this node knows of, and which of them have to be planned anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

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
    services: BTreeMap<ServiceName, Service>,
    /// Slices by namespace and name.
    slices: BTreeMap<ServiceName, EndpointSlice>,
    /// Names of a service's slices.
    by_service: BTreeMap<ServiceName, BTreeSet<String>>,
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

impl Services {
    /// Forgets everything and takes in what there is; all of it is to be planned.
    pub fn reset(&mut self, services: Vec<Service>, slices: Vec<EndpointSlice>) {
        *self = Services { node: std::mem::take(&mut self.node), ..Services::default() };
        services.into_iter().for_each(|service| self.put(service));
        slices.into_iter().for_each(|slice| self.put_slice(slice));
    }

    /// Notes what of this node decides which endpoints it uses.
    pub fn set_node(&mut self, node: NodeFacts) {
        if self.node != node {
            self.node = node;
            self.dirty.extend(self.services.keys().cloned());
        }
    }

    /// A service is new, or otherwise.
    pub fn put(&mut self, service: Service) {
        let name = name_of(&service.metadata);
        self.dirty.insert(name.clone());
        if service.spec.kind == ServiceType::LoadBalancer {
            let ingress = service.status.load_balancer.ingress.iter();
            let vips = ingress.filter(|it| it.ip_mode == IpMode::Vip).map(|it| it.ip).collect();
            self.balancers.insert(name.clone(), vips);
        } else {
            self.balancers.remove(&name);
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
    pub fn put_slice(&mut self, slice: EndpointSlice) {
        let name = name_of(&slice.metadata);
        // It may have been another service's.
        self.remove_slice(name.clone());
        if let Some(service) = service_of(&slice) {
            self.by_service.entry(service.clone()).or_default().insert(name.1.clone());
            self.dirty.insert(service);
        }
        self.slices.insert(name, slice);
    }

    /// A slice is gone.
    pub fn remove_slice(&mut self, name: ServiceName) {
        let Some(service) = self.slices.remove(&name).as_ref().and_then(service_of) else { return };
        if let Some(slices) = self.by_service.get_mut(&service) {
            slices.remove(&name.1);
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
        Endpoints::of(slices)
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
