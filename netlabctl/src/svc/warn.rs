// SPDX-License-Identifier: GPL-3.0-or-later
//! What speaks against a service that was just exposed: why nobody would answer.

use std::collections::BTreeSet;

use netlab_api::pod::PortRef;
use netlab_api::service::{IpFamily, ServiceType, TrafficPolicy};
use netlab_api::{Node, Pod, Service};

use super::{selected, target_port};
use crate::output::columns::pairs;
use crate::output::pod_status::{self, Verdict};

/// Pods that a warning names; more are counted.
const NAMED: usize = 3;

/// What speaks against `service`, given all pods of its namespace and all nodes.
pub(crate) fn warnings(service: &Service, pods: &[Pod], nodes: &[Node]) -> Vec<String> {
    let spec = &service.spec;
    let name = &service.metadata.name;
    if spec.kind == ServiceType::ExternalName {
        return Vec::new();
    }
    if spec.selector.is_empty() {
        return vec![format!(
            "service/{name} has no selector: its endpoints are yours to write, as an EndpointSlice with the label kubernetes.io/service-name={name}"
        )];
    }
    let chosen = selected(service, pods);
    if chosen.is_empty() {
        return vec![no_pods(service, pods)];
    }
    let mut warnings = Vec::new();
    for port in &spec.ports {
        let Some(PortRef::Name(wanted)) = &port.target_port else { continue };
        if chosen.iter().all(|pod| target_port(port, pod).is_none()) {
            warnings.push(format!(
                "no pod has a {} port named \"{wanted}\": {}",
                super::protocol(port.protocol),
                port_names(&chosen)
            ));
        }
    }
    if !chosen.iter().any(|pod| has_family(service, pod)) {
        let families: Vec<&str> = spec.ip_families.iter().map(|family| family.as_str()).collect();
        warnings.push(format!("none of its pods has an {} address", families.join(" or ")));
    }
    let ready: Vec<&Pod> = chosen
        .iter()
        .copied()
        .filter(|pod| spec.publish_not_ready_addresses || takes_connections(pod))
        .collect();
    if ready.is_empty() {
        warnings.push(none_ready(&chosen));
    } else if spec.external_traffic_policy == Some(TrafficPolicy::Local) {
        warnings.extend(nodes_without(&ready, nodes));
    }
    warnings
}

/// Whether a pod can be an endpoint of a service of these families. One without an address yet may
/// get any.
pub(crate) fn has_family(service: &Service, pod: &Pod) -> bool {
    let families = &service.spec.ip_families;
    let mut ips = pod.ips().peekable();
    families.is_empty()
        || ips.peek().is_none()
        || ips.any(|ip| families.contains(&IpFamily::of(ip)))
}

/// Whether new connections are led to a pod.
pub(crate) fn takes_connections(pod: &Pod) -> bool {
    pod.status.pod_ip.is_some() && pod_status::verdict(pod) == Verdict::Ready
}

/// Why new connections are not led to a pod.
pub(crate) fn why_not(pod: &Pod) -> Option<String> {
    match pod_status::verdict(pod) {
        Verdict::Ready if pod.status.pod_ip.is_none() => Some("it has no address yet".to_owned()),
        Verdict::Ready => None,
        Verdict::Finished => Some("it is finished".to_owned()),
        Verdict::Waiting(why) | Verdict::Broken(why) => Some(why),
    }
}

fn no_pods(service: &Service, pods: &[Pod]) -> String {
    let name = &service.metadata.name;
    let text = format!("no pod has the labels {}", pairs(&service.spec.selector));
    let is_alike = |pod: &&Pod| {
        let rest = pod.metadata.name.strip_prefix(name.as_str());
        rest.is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix('-').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    match pods.iter().find(is_alike) {
        Some(pod) => format!(
            "{text}; pod/{} has {}: did you mean these?",
            pod.metadata.name,
            pairs(&pod.metadata.labels)
        ),
        None => format!("{text}: nobody answers until one has"),
    }
}

fn port_names(pods: &[&Pod]) -> String {
    let names: BTreeSet<&str> =
        pods.iter().flat_map(|pod| &pod.spec.ports).filter_map(|p| p.name.as_deref()).collect();
    match names.is_empty() {
        true => "none of them names a port".to_owned(),
        false => format!("they have {}", names.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

fn none_ready(chosen: &[&Pod]) -> String {
    let mut reasons: Vec<String> = chosen
        .iter()
        .take(NAMED)
        .map(|pod| {
            let why = why_not(pod).unwrap_or_else(|| "it is not ready".to_owned());
            format!("pod/{}: {why}", pod.metadata.name)
        })
        .collect();
    if chosen.len() > NAMED {
        reasons.push(format!("{} more", chosen.len() - NAMED));
    }
    let whose = match chosen.len() {
        1 => "its only pod is not ready".to_owned(),
        count => format!("none of its {count} pods is ready"),
    };
    format!("{whose}: {}", reasons.join("; "))
}

/// Nodes that drop what arrives from outside, since none of their own pods takes it.
fn nodes_without(ready: &[&Pod], nodes: &[Node]) -> Option<String> {
    let with: BTreeSet<&str> =
        ready.iter().filter_map(|pod| pod.spec.node_name.as_deref()).collect();
    let without: Vec<&str> = nodes
        .iter()
        .map(|node| node.metadata.name.as_str())
        .filter(|name| !with.contains(name))
        .collect();
    match without[..] {
        [] => None,
        [one] => Some(format!(
            "node {one} has none of its pods, and with externalTrafficPolicy Local drops what arrives there"
        )),
        _ => Some(format!(
            "nodes {} have none of its pods, and with externalTrafficPolicy Local drop what arrives there",
            without.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests;
