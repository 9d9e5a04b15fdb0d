// SPDX-License-Identifier: GPL-3.0-or-later
//! What is kept of objects: only what names are made of.

use std::net::IpAddr;

use netlab_api::endpoint_slice::EndpointSlice;
use netlab_api::pod::Protocol;
use netlab_api::service::{Service as ApiService, ServiceType};

use crate::dns::name::{MAX_LABEL, Name};

/// Two labels in lower case and wire form, as they stand in a query.
pub(super) fn key(first: &str, second: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(first.len() + second.len() + 2);
    for label in [first, second] {
        // Longer ones are no labels, and no query finds them.
        key.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        key.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    key
}

/// A label in lower case.
pub(super) fn label(text: &str) -> Box<[u8]> {
    text.bytes().map(|byte| byte.to_ascii_lowercase()).collect()
}

/// A port that names are made of; without a number it stands for none at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) name: Box<str>,
    pub(super) protocol: Protocol,
    pub(super) number: Option<u16>,
}

impl Port {
    /// What stands in for ports where there are none.
    fn none() -> Port {
        Port { name: Box::default(), protocol: Protocol::Tcp, number: None }
    }
}

/// A service.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// It has addresses.
    Cluster { addresses: Box<[IpAddr]>, ports: Box<[Port]> },
    /// Its endpoints have names.
    Headless,
    /// An alias of this name, if it is one.
    External(Option<Name>),
}

impl Service {
    pub(super) fn of(service: &ApiService) -> Service {
        if service.spec.kind == ServiceType::ExternalName {
            let name = service.spec.external_name.as_deref().unwrap_or_default();
            // An address is no name: nothing can be an alias of it.
            let is_address = name.trim_end_matches('.').parse::<IpAddr>().is_ok();
            let name = if is_address { None } else { name.parse::<Name>().ok() };
            return Service::External(name.filter(|name| !name.is_root()));
        }
        if service.is_headless() {
            return Service::Headless;
        }
        let ports = service.spec.ports.iter().map(|port| Port {
            name: port.name().into(),
            protocol: port.protocol,
            number: Some(port.port),
        });
        let mut ports: Vec<Port> = ports.collect();
        if ports.is_empty() {
            ports.push(Port::none());
        }
        Service::Cluster { addresses: service.cluster_ips().collect(), ports: ports.into() }
    }

    /// Its cluster IPs.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        match self {
            Service::Cluster { addresses, .. } => addresses,
            Service::Headless | Service::External(_) => &[],
        }
    }
}

/// A ready endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) addresses: Box<[IpAddr]>,
    pub(super) hostname: Box<str>,
    pub(super) pod: Box<str>,
    pub(super) zone: Box<str>,
}

impl Endpoint {
    /// Its label in the service's domain.
    pub(super) fn label(&self, address: IpAddr, pod_names: bool) -> String {
        if !self.hostname.is_empty() {
            return self.hostname.to_string();
        }
        if pod_names && !self.pod.is_empty() {
            return self.pod.to_string();
        }
        dashed(address)
    }
}

/// An address as a label.
pub(super) fn dashed(address: IpAddr) -> String {
    let mut label = address.to_string().replace(['.', ':'], "-");
    if label.ends_with('-') {
        label.push('0');
    }
    label
}

/// Ready endpoints with their ports.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) endpoints: Box<[Endpoint]>,
    pub(super) ports: Box<[Port]>,
}

impl Slice {
    pub(super) fn of(slice: &EndpointSlice) -> Slice {
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.is_ready());
        let endpoints = ready.map(|endpoint| {
            let pod = endpoint.target_ref.as_ref().map(|target| target.name.as_str());
            Endpoint {
                addresses: endpoint.addresses.iter().filter_map(|ip| ip.parse().ok()).collect(),
                hostname: endpoint.hostname.as_deref().unwrap_or_default().into(),
                // Longer names are no labels.
                pod: pod.filter(|name| name.len() <= MAX_LABEL).unwrap_or_default().into(),
                zone: endpoint.zone.as_deref().unwrap_or_default().into(),
            }
        });
        let mut ports: Vec<Port> = Vec::with_capacity(slice.ports.len().max(1));
        ports.extend(slice.ports.iter().map(|port| Port {
            name: port.name().into(),
            protocol: port.protocol,
            number: port.port,
        }));
        if ports.is_empty() {
            ports.push(Port::none());
        }
        Slice { endpoints: endpoints.collect(), ports: ports.into() }
    }

    /// The addresses of its endpoints.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter().copied())
    }
}

/// A service and the slices that name it, each of which may come first.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) service: Option<Service>,
    /// By their names, in order.
    slices: Vec<(Box<str>, Slice)>,
}

impl Entry {
    pub(super) fn slices(&self) -> impl Iterator<Item = &Slice> {
        self.slices.iter().map(|(_, slice)| slice)
    }

    pub(super) fn slice(&self, name: &str) -> Option<&Slice> {
        self.place(name).ok().map(|at| &self.slices[at].1)
    }

    pub(super) fn insert(&mut self, name: &str, slice: Slice) {
        match self.place(name) {
            Ok(at) => self.slices[at].1 = slice,
            Err(at) => {
                self.slices.reserve_exact(1);
                self.slices.insert(at, (name.into(), slice));
            }
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Slice> {
        self.place(name).ok().map(|at| self.slices.remove(at).1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty()
    }

    /// Whether it has a ready endpoint.
    pub(super) fn has_endpoints(&self) -> bool {
        self.slices().any(|slice| slice.addresses().next().is_some())
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.slices.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}
