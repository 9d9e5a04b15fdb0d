// SPDX-License-Identifier: GPL-3.0-or-later
//! What `describe` prints of services and their endpoints: kubectl's sections, and for each pod
//! that takes no connections why.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use netlab_api::endpoint_slice::Endpoint;
use netlab_api::pod::PortRef;
use netlab_api::resource::Kind;
use netlab_api::service::{IpFamily, ServicePort, ServiceType};
use netlab_api::{EndpointSlice, Event, Object, Pod, Service, Time};

use super::text::{Page, event_table, labels};
use crate::output::columns::{or_none, pairs};
use crate::svc::{protocol, selected, target_port, warn};

/// Column at which values stand: after the longest name.
const VALUE_AT: usize = 28;
/// The same in a slice.
const SLICE_VALUE_AT: usize = 20;
/// Endpoints that a line of a port names, as kubectl.
const NAMED: usize = 3;
/// Endpoints that the table has; of more, those that are not ready come first.
const ROWS: usize = 100;

pub(super) fn service(
    service: &Service,
    slices: &[EndpointSlice],
    pods: &[Pod],
    events: &[Event],
    now: Time,
) -> String {
    let mut page = Page::with_values_at(VALUE_AT);
    let spec = &service.spec;
    page.field("Name", &service.metadata.name);
    page.field("Namespace", service.metadata.namespace.as_deref().unwrap_or_default());
    labels(&mut page, &Object::Service(service.clone()));
    page.field("Selector", pairs(&spec.selector));
    page.field("Type", spec.kind.as_str());
    addresses(&mut page, service);
    for port in &spec.ports {
        one_port(&mut page, port, slices);
    }
    page.field("Session Affinity", word(&spec.session_affinity));
    if let Some(seconds) = service.affinity_seconds() {
        page.field("Affinity Timeout", format!("{seconds}s"));
    }
    if spec.kind.has_node_ports() || !spec.external_ips.is_empty() {
        page.field("External Traffic Policy", word(&service.external_policy()));
    }
    if service.is_proxied() {
        page.field("Internal Traffic Policy", word(&service.internal_policy()));
    }
    if let Some(distribution) = &spec.traffic_distribution {
        page.field("Traffic Distribution", word(distribution));
    }
    if spec.publish_not_ready_addresses {
        page.field("Publish Not Ready", "true");
    }
    if let Some(port) = spec.health_check_node_port {
        page.field("HealthCheck NodePort", port.to_string());
    }
    if !spec.load_balancer_source_ranges.is_empty() {
        page.field("LoadBalancer Source Ranges", spec.load_balancer_source_ranges.join(","));
    }
    if spec.kind != ServiceType::ExternalName {
        targets(&mut page, slices, pods);
        left_out(&mut page, service, slices, pods);
    }
    event_table(&mut page, events, now);
    page.text
}

/// A value of an enumeration as the API writes it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn addresses(page: &mut Page, service: &Service) {
    let spec = &service.spec;
    if spec.kind == ServiceType::ExternalName {
        page.field("External Name", spec.external_name.as_deref().unwrap_or_default());
        return;
    }
    if let Some(policy) = &spec.ip_family_policy {
        page.field("IP Family Policy", word(policy));
    }
    let families: Vec<&str> = spec.ip_families.iter().copied().map(IpFamily::as_str).collect();
    page.field("IP Families", or_none(families.join(",")));
    page.field("IP", or_none(spec.cluster_ip.clone().unwrap_or_default()));
    page.field("IPs", or_none(spec.cluster_ips.join(",")));
    let list = |ips: &mut dyn Iterator<Item = IpAddr>| {
        ips.map(|ip| ip.to_string()).collect::<Vec<_>>().join(",")
    };
    if !spec.external_ips.is_empty() {
        page.field("External IPs", list(&mut spec.external_ips.iter().copied()));
    }
    if let Some(ip) = spec.load_balancer_ip {
        page.field("Desired LoadBalancer IP", ip.to_string());
    }
    if spec.kind == ServiceType::LoadBalancer {
        let ingress: Vec<String> = service
            .status
            .load_balancer
            .ingress
            .iter()
            .map(|ingress| format!("{} ({})", ingress.ip, word(&ingress.ip_mode)))
            .collect();
        let none = || "<pending>".to_owned();
        let ingress = if ingress.is_empty() { none() } else { ingress.join(", ") };
        page.field("LoadBalancer Ingress", ingress);
    }
}

fn one_port(page: &mut Page, port: &ServicePort, slices: &[EndpointSlice]) {
    let name = port.name.clone().unwrap_or_else(|| "<unset>".to_owned());
    let protocol = protocol(port.protocol);
    page.field("Port", format!("{name}  {}/{protocol}", port.port));
    let target = match &port.target_port {
        None => port.port.to_string(),
        Some(PortRef::Number(number)) => number.to_string(),
        Some(PortRef::Name(name)) => name.clone(),
    };
    page.field("TargetPort", format!("{target}/{protocol}"));
    if let Some(node_port) = port.node_port {
        page.field("NodePort", format!("{name}  {node_port}/{protocol}"));
    }
    let mut ready = Vec::new();
    for slice in slices {
        let own = slice.ports.iter().find(|own| own.name() == port.name());
        let Some(number) = own.and_then(|own| own.port) else { continue };
        let endpoints = slice.endpoints.iter().filter(|it| it.conditions.is_ready());
        ready.extend(endpoints.filter_map(Endpoint::address).map(|ip| SocketAddr::new(ip, number)));
    }
    let shown: Vec<String> = ready.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match ready.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" + {more} more..."),
    };
    page.field("Endpoints", or_none(format!("{}{more}", shown.join(","))));
}

/// Every endpoint, and why one takes no connections.
fn targets(page: &mut Page, slices: &[EndpointSlice], pods: &[Pod]) {
    let mut all: Vec<(&EndpointSlice, &Endpoint)> = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (slice, endpoint)))
        .collect();
    let count = all.len();
    if count > ROWS {
        all.sort_by_key(|(_, endpoint)| endpoint.conditions.is_ready());
        all.truncate(ROWS);
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|(slice, endpoint)| {
            let conditions = endpoint.conditions;
            let text = |value: &Option<String>| or_none(value.clone().unwrap_or_default());
            vec![
                place(slice, endpoint),
                or_none(pod_of(endpoint).unwrap_or_default().to_owned()),
                text(&endpoint.node_name),
                text(&endpoint.zone),
                conditions.is_ready().to_string(),
                conditions.is_serving().to_string(),
                conditions.is_terminating().to_string(),
                why_not(endpoint, pods),
            ]
        })
        .collect();
    page.table(
        "Targets",
        &["Endpoint", "Pod", "Node", "Zone", "Ready", "Serving", "Terminating", "Why Not"],
        &rows,
    );
    if count > ROWS {
        page.line(&format!("  and {} more, which `get endpointslices -o yaml` has", count - ROWS));
    }
}

/// `10.42.0.5:8080,5353`.
fn place(slice: &EndpointSlice, endpoint: &Endpoint) -> String {
    let address = match endpoint.address() {
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        Some(ip) => ip.to_string(),
        None => endpoint.addresses.first().cloned().unwrap_or_default(),
    };
    let ports: Vec<String> =
        slice.ports.iter().filter_map(|port| port.port).map(|port| port.to_string()).collect();
    match ports.is_empty() {
        true => address,
        false => format!("{address}:{}", ports.join(",")),
    }
}

/// The name of the pod that an endpoint is.
fn pod_of(endpoint: &Endpoint) -> Option<&str> {
    let target = endpoint.target_ref.as_ref()?;
    (target.kind == Kind::Pod.name()).then_some(target.name.as_str())
}

fn why_not(endpoint: &Endpoint, pods: &[Pod]) -> String {
    if endpoint.conditions.is_ready() {
        return String::new();
    }
    let Some(name) = pod_of(endpoint) else { return "its writer says so".to_owned() };
    match pods.iter().find(|pod| pod.metadata.name == name) {
        None => "its pod is gone".to_owned(),
        Some(pod) => warn::why_not(pod).unwrap_or_else(|| "it has just become ready".to_owned()),
    }
}

/// Pods that the selector finds and that are no endpoints.
fn left_out(page: &mut Page, service: &Service, slices: &[EndpointSlice], pods: &[Pod]) {
    let endpoints: BTreeSet<&str> =
        slices.iter().flat_map(|slice| &slice.endpoints).filter_map(pod_of).collect();
    let rows: Vec<Vec<String>> = selected(service, pods)
        .into_iter()
        .filter(|pod| !endpoints.contains(pod.metadata.name.as_str()))
        .map(|pod| vec![pod.metadata.name.clone(), why_no_endpoint(service, pod)])
        .collect();
    if !rows.is_empty() {
        page.table("Selected But No Endpoint", &["Pod", "Why"], &rows);
    }
}

fn why_no_endpoint(service: &Service, pod: &Pod) -> String {
    if pod.is_finished() {
        return "its command has ended for good".to_owned();
    }
    if pod.status.pod_ip.is_none() {
        let more = warn::why_not(pod).map(|why| format!(": {why}")).unwrap_or_default();
        return format!("it has no address{more}");
    }
    let ports = &service.spec.ports;
    if !ports.is_empty() && ports.iter().all(|port| target_port(port, pod).is_none()) {
        let names: Vec<&str> = ports
            .iter()
            .filter_map(|port| match &port.target_port {
                Some(PortRef::Name(name)) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        return format!("it has no port named {}", names.join(" or "));
    }
    "it has just come".to_owned()
}

pub(super) fn slice(slice: &EndpointSlice, events: &[Event], now: Time) -> String {
    let mut page = Page::with_values_at(SLICE_VALUE_AT);
    page.field("Name", &slice.metadata.name);
    page.field("Namespace", slice.metadata.namespace.as_deref().unwrap_or_default());
    labels(&mut page, &Object::EndpointSlice(slice.clone()));
    page.field("AddressType", slice.address_type.as_str());
    let unset = |text: Option<String>| {
        text.filter(|text| !text.is_empty()).unwrap_or_else(|| "<unset>".to_owned())
    };
    let rows: Vec<Vec<String>> = slice
        .ports
        .iter()
        .map(|port| {
            let number = port.port.map_or_else(|| "*".to_owned(), |port| port.to_string());
            vec![unset(port.name.clone()), number, protocol(port.protocol).to_owned()]
        })
        .collect();
    page.table("Ports", &["Name", "Port", "Protocol"], &rows);
    if slice.endpoints.is_empty() {
        page.field("Endpoints", "<none>");
    } else {
        page.line("Endpoints:");
    }
    for endpoint in &slice.endpoints {
        let conditions = endpoint.conditions;
        page.field("  - Addresses", endpoint.addresses.join(","));
        page.line("    Conditions:");
        page.field("      Ready", conditions.is_ready().to_string());
        page.field("      Serving", conditions.is_serving().to_string());
        page.field("      Terminating", conditions.is_terminating().to_string());
        page.field("    Hostname", unset(endpoint.hostname.clone()));
        let target = endpoint.target_ref.as_ref();
        page.field(
            "    TargetRef",
            or_none(target.map(|it| format!("{}/{}", it.kind, it.name)).unwrap_or_default()),
        );
        page.field("    NodeName", unset(endpoint.node_name.clone()));
        page.field("    Zone", unset(endpoint.zone.clone()));
        if let Some(hints) = &endpoint.hints {
            let all = hints.for_zones.iter().chain(&hints.for_nodes);
            let names: Vec<&str> = all.map(|hint| hint.name.as_str()).collect();
            page.field("    Meant For", or_none(names.join(",")));
        }
    }
    event_table(&mut page, events, now);
    page.text
}

#[cfg(test)]
mod tests;
