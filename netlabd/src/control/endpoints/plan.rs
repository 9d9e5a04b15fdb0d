// SPDX-License-Identifier: GPL-3.0-or-later
//! Which slices a service is to have, and how these differ from those it has. Pure.
//!
//! ```text
//!   service, pods, zones ──► Groups: endpoints by family and ports ──┐
//!                                              slices as they are ──┴──► Difference
//! ```
//!
//! An endpoint stays in the slice in which it is, so that a change of one pod writes one slice of
//! each family.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use netlab_api::endpoint_slice::{
    AddressType, Endpoint, EndpointConditions, EndpointHints, EndpointPort, HEADLESS_LABEL, Hint,
    MANAGED_BY, MANAGED_BY_LABEL, SERVICE_NAME_LABEL,
};
use netlab_api::event::ObjectReference;
use netlab_api::pod::{ContainerPort, PortRef, READY};
use netlab_api::service::{IpFamily, ServicePort, TrafficDistribution};
use netlab_api::{EndpointSlice, Pod, Service};
use smallvec::SmallVec;

use crate::memory::Alike;

/// Most endpoints of a slice, as in Kubernetes.
pub(super) const MOST_ENDPOINTS: usize = 100;

/// What endpoints say of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backing {
    pub(super) name: Arc<str>,
    pub(super) uid: Box<str>,
    pub(super) addresses: SmallVec<[IpAddr; 2]>,
    pub(super) is_ready: bool,
    pub(super) is_terminating: bool,
    pub(super) common: Arc<Common>,
}

/// What pods that were made together have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Common {
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) node: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) subdomain: Option<String>,
    pub(super) ports: Vec<ContainerPort>,
}

impl Backing {
    /// `None` for a pod that backs nothing: it has ended, or has no address yet.
    pub(super) fn of(pod: Pod, alike: &mut Alike<Common>) -> Option<Backing> {
        if pod.is_finished() || pod.status.pod_ips.is_empty() {
            return None;
        }
        Some(Backing {
            addresses: pod.ips().collect(),
            is_ready: pod.has_condition(READY),
            is_terminating: pod.metadata.deletion_timestamp.is_some(),
            name: pod.metadata.name.into(),
            uid: pod.metadata.uid.into(),
            common: alike.share(Common {
                namespace: pod.metadata.namespace.unwrap_or_default(),
                labels: pod.metadata.labels,
                node: pod.spec.node_name,
                hostname: pod.spec.hostname,
                subdomain: pod.spec.subdomain,
                ports: pod.spec.ports,
            }),
        })
    }
}

/// Endpoints by family and ports. A family without endpoints has an empty group, so that somebody
/// who looks sees that they were looked for.
pub(super) type Groups = BTreeMap<(AddressType, Vec<EndpointPort>), Vec<Endpoint>>;

/// The endpoints of a service: `pods` are those that its selector finds, `zones` are those of the
/// nodes.
pub(super) fn groups_of<'a>(
    service: &Service,
    pods: impl Iterator<Item = &'a Backing> + Clone,
    zones: &HashMap<String, String>,
) -> Groups {
    let mut groups = Groups::new();
    for family in &service.spec.ip_families {
        let family = match family {
            IpFamily::IPv4 => AddressType::IPv4,
            IpFamily::IPv6 => AddressType::IPv6,
        };
        let mut of_family = Groups::new();
        for pod in pods.clone() {
            let address = pod.addresses.iter().find(|ip| AddressType::of(**ip) == family);
            let Some(address) = address else { continue };
            let ports = ports_of(service, pod);
            let endpoint = endpoint(service, pod, *address, zones);
            of_family.entry((family, ports)).or_default().push(endpoint);
        }
        give_hints(service, &mut of_family);
        if of_family.is_empty() {
            of_family.insert((family, Vec::new()), Vec::new());
        }
        groups.extend(of_family);
    }
    groups
}

/// The number that a port of a service has at a pod; `None` when the pod has none of that name.
pub(super) fn target_of(port: &ServicePort, pod: &Backing) -> Option<u16> {
    match &port.target_port {
        None => Some(port.port),
        Some(PortRef::Number(number)) => Some(*number),
        Some(PortRef::Name(name)) => {
            let named =
                |p: &&ContainerPort| p.name.as_ref() == Some(name) && p.protocol == port.protocol;
            pod.common.ports.iter().find(named).map(|p| p.container_port)
        }
    }
}

fn ports_of(service: &Service, pod: &Backing) -> Vec<EndpointPort> {
    let port = |port: &ServicePort| {
        Some(EndpointPort {
            name: port.name.clone(),
            protocol: port.protocol,
            port: Some(target_of(port, pod)?),
            app_protocol: port.app_protocol.clone(),
        })
    };
    let mut ports: Vec<EndpointPort> = service.spec.ports.iter().filter_map(port).collect();
    // The order in which a service names its ports is no difference.
    ports.sort();
    ports
}

fn endpoint(
    service: &Service,
    pod: &Backing,
    address: IpAddr,
    zones: &HashMap<String, String>,
) -> Endpoint {
    let publishes = service.spec.publish_not_ready_addresses;
    let is_of_service = pod.common.subdomain.as_ref() == Some(&service.metadata.name);
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: EndpointConditions {
            ready: Some(publishes || pod.is_ready && !pod.is_terminating),
            serving: Some(pod.is_ready),
            terminating: Some(pod.is_terminating),
        },
        hostname: pod.common.hostname.clone().filter(|_| is_of_service),
        node_name: pod.common.node.clone(),
        zone: pod.common.node.as_ref().and_then(|node| zones.get(node)).cloned(),
        hints: None,
        target_ref: Some(ObjectReference {
            kind: "Pod".to_owned(),
            namespace: pod.common.namespace.clone(),
            name: pod.name.to_string(),
            uid: pod.uid.to_string(),
        }),
    }
}

/// Says for which clients the endpoints of one family are meant, if the service wants that. Those
/// that are not ready have no hints, as in Kubernetes.
fn give_hints(service: &Service, groups: &mut Groups) {
    let Some(wanted) = service.spec.traffic_distribution else { return };
    let for_nodes = wanted == TrafficDistribution::PreferSameNode;
    let mut ready: Vec<&mut Endpoint> =
        groups.values_mut().flatten().filter(|e| e.conditions.is_ready()).collect();
    // With an endpoint of which nobody knows where it is, clients near it would be left without.
    let for_zones = ready.iter().all(|endpoint| endpoint.zone.is_some());
    let hint = |name: &Option<String>| name.iter().map(|n| Hint { name: n.clone() }).collect();
    for endpoint in &mut ready {
        let hints = EndpointHints {
            for_zones: if for_zones { hint(&endpoint.zone) } else { Vec::new() },
            for_nodes: if for_nodes { hint(&endpoint.node_name) } else { Vec::new() },
        };
        endpoint.hints = Some(hints).filter(|hints| *hints != EndpointHints::default());
    }
}

/// What leads from the slices that there are to those that are to be.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Difference {
    /// New, or to be otherwise.
    pub(super) puts: Vec<EndpointSlice>,
    /// Names of those without use.
    pub(super) deletes: Vec<String>,
}

/// How a service's slices `observed`, all written by us, differ from what they are to hold.
/// `make` makes a slice that is not there yet: it gives it a name and all that a new object has.
pub(super) fn diff_slices(
    service: &Service,
    groups: Groups,
    observed: &BTreeMap<String, EndpointSlice>,
    mut make: impl FnMut(AddressType) -> EndpointSlice,
) -> Difference {
    let labels = labels_of(service);
    let mut idle: BTreeMap<&String, &EndpointSlice> = observed.iter().collect();
    let mut after: Vec<EndpointSlice> = Vec::new();
    let mut missing: Vec<(AddressType, Vec<EndpointPort>, Vec<Endpoint>)> = Vec::new();
    for ((family, ports), endpoints) in groups {
        let is_empty = endpoints.is_empty();
        let place = |endpoint: &Endpoint| {
            let uid = endpoint.target_ref.as_ref().map(|pod| pod.uid.clone());
            (uid, endpoint.addresses.clone())
        };
        let order: Vec<_> = endpoints.iter().map(place).collect();
        let mut wanted: HashMap<_, Endpoint> = order.iter().cloned().zip(endpoints).collect();
        let is_own = |s: &&EndpointSlice| s.address_type == family && s.ports == ports;
        let own: Vec<&EndpointSlice> = observed.values().filter(is_own).collect();
        let mut slices: Vec<EndpointSlice> = own.iter().map(|slice| (*slice).clone()).collect();
        for slice in &mut slices {
            let kept = slice.endpoints.iter().filter_map(|e| wanted.remove(&place(e)));
            slice.endpoints = kept.collect();
        }
        let mut rest: Vec<Endpoint> =
            order.iter().filter_map(|place| wanted.remove(place)).rev().collect();
        // Those that are written anyway come first, then those with the least room.
        let mut order: Vec<usize> = (0..slices.len()).collect();
        order.sort_by_key(|at| {
            (slices[*at].endpoints == own[*at].endpoints, Reverse(slices[*at].endpoints.len()))
        });
        for at in order {
            let room = MOST_ENDPOINTS.saturating_sub(slices[at].endpoints.len()).min(rest.len());
            slices[at].endpoints.extend(rest.drain(rest.len() - room..).rev());
        }
        let mut keeps_empty = is_empty;
        slices.retain(|slice| {
            !slice.endpoints.is_empty() || std::mem::replace(&mut keeps_empty, false)
        });
        for slice in &slices {
            idle.remove(&slice.metadata.name);
        }
        let has_none = slices.is_empty();
        after.append(&mut slices);
        rest.reverse();
        for endpoints in rest.chunks(MOST_ENDPOINTS) {
            missing.push((family, ports.clone(), endpoints.to_vec()));
        }
        if is_empty && has_none {
            missing.push((family, ports, Vec::new()));
        }
    }
    for (family, ports, endpoints) in missing {
        // One that is written anew costs less than one that goes and another that comes.
        let free = idle.iter().find(|(_, slice)| slice.address_type == family);
        let mut slice = match free.map(|(name, _)| (*name).clone()) {
            Some(name) => idle.remove(&name).expect("was just found").clone(),
            None => make(family),
        };
        slice.ports = ports;
        slice.endpoints = endpoints;
        after.push(slice);
    }
    let mut puts = Vec::new();
    for mut slice in after {
        slice.metadata.labels.clone_from(&labels);
        match observed.get(&slice.metadata.name) {
            Some(before) if *before == slice => continue,
            Some(_) => slice.metadata.generation += 1,
            None => {}
        }
        puts.push(slice);
    }
    Difference { puts, deletes: idle.into_keys().cloned().collect() }
}

/// The labels of a service's slices: its own, and ours.
fn labels_of(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone();
    labels.remove(HEADLESS_LABEL);
    labels.insert(SERVICE_NAME_LABEL.to_owned(), service.metadata.name.clone());
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    if service.is_headless() {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    labels
}

#[cfg(test)]
mod tests;
