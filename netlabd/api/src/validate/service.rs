// SPDX-License-Identifier: GPL-3.0-or-later
//! What a service's spec must keep to. Addresses and ports that others hold are the cluster's to
//! look for.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::FieldError;
use crate::Service;
use crate::names;
use crate::pod::PortRef;
use crate::service::{
    IpFamily, IpFamilyPolicy, NO_CLUSTER_IP, ServicePort, ServiceSpec, ServiceType,
    SessionAffinity, TrafficPolicy,
};

/// Longest time that a client may stay with an endpoint, as in Kubernetes: a day.
const MOST_AFFINITY_SECONDS: u32 = 86_400;

pub(super) fn validate(service: &Service) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &service.spec;
    name(&mut errors, &service.metadata.name);
    for (key, value) in &spec.selector {
        let field = format!("spec.selector[\"{key}\"]");
        if let Err(error) = names::label_key(key) {
            errors.push(FieldError { in_key: true, ..FieldError::name(&field, key, error) });
        }
        if let Err(error) = names::label_value(value) {
            errors.push(FieldError::name(&field, value, error));
        }
    }
    kind(&mut errors, spec);
    ports(&mut errors, spec);
    cluster_ips(&mut errors, spec);
    external_ips(&mut errors, &spec.external_ips);
    affinity(&mut errors, spec);
    policies(&mut errors, spec);
    load_balancer(&mut errors, spec);
    errors
}

/// Names of services are names of DNS, which are older than labels that begin with a digit.
fn name(errors: &mut Vec<FieldError>, name: &str) {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        let message = format!("is `{name}`: the name of a service must begin with a letter");
        let mut error = FieldError::new("metadata.name", message)
            .hint(format!("call it `svc-{name}`, for example"));
        error.invalid_value = Some(format!(
            "Invalid value: {name:?}: a DNS-1035 label must consist of lower case alphanumeric \
             characters or '-', start with an alphabetic character, and end with an alphanumeric \
             character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
             '[a-z]([-a-z0-9]*[a-z0-9])?')"
        ));
        errors.push(error);
    }
}

fn kind(errors: &mut Vec<FieldError>, spec: &ServiceSpec) {
    if spec.kind == ServiceType::ExternalName {
        match &spec.external_name {
            None => errors.push(
                FieldError::new("spec.externalName", "is missing")
                    .hint("a service of type `ExternalName` is an alias: say of which name"),
            ),
            Some(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                if let Err(error) = names::dns_subdomain(name) {
                    errors.push(FieldError::name("spec.externalName", name, error));
                }
            }
        }
        if spec.cluster_ip.as_ref().is_some_and(|ip| !ip.is_empty()) {
            let message = "is not allowed: a service of type `ExternalName` is a name only";
            errors.push(FieldError::new("spec.clusterIP", message).hint("remove it"));
        }
    } else if spec.ports.is_empty() && spec.cluster_ip.as_deref() != Some(NO_CLUSTER_IP) {
        let hint = "add one, such as { port = 80, targetPort = 8080 }";
        errors.push(FieldError::new("spec.ports", "needs at least one port").hint(hint));
    }
}

fn ports(errors: &mut Vec<FieldError>, spec: &ServiceSpec) {
    let several = spec.ports.len() > 1;
    let (mut by_name, mut by_number, mut by_node_port) =
        (HashMap::new(), HashMap::new(), HashMap::new());
    for (index, port) in spec.ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        one_port(errors, &field, port, several);
        let protocol = protocol_name(port);
        if let Some(name) = &port.name
            && let Some(first) = by_name.insert(name.as_str(), index)
        {
            let message = format!("is `{name}`, which is the name of `ports[{first}]` already");
            let error = FieldError::new(format!("{field}.name"), message);
            errors.push(error.hint("give each port its own name"));
        }
        if let Some(first) = by_number.insert((port.port, port.protocol), index) {
            let message =
                format!("is {} for {protocol}, which `ports[{first}]` has already", port.port);
            errors.push(FieldError::new(format!("{field}.port"), message));
        }
        let Some(node_port) = port.node_port else { continue };
        if !spec.kind.has_node_ports() {
            let message = format!("may not be used when `type` is `{}`", spec.kind.as_str());
            let error = FieldError::new(format!("{field}.nodePort"), message);
            errors.push(error.hint("remove it, or set `type` to `NodePort`"));
        }
        if let Some(first) = by_node_port.insert((node_port, port.protocol), index) {
            let message =
                format!("is {node_port} for {protocol}, which `ports[{first}]` has already");
            errors.push(FieldError::new(format!("{field}.nodePort"), message));
        }
    }
}

fn protocol_name(port: &ServicePort) -> String {
    format!("{:?}", port.protocol).to_uppercase()
}

fn one_port(errors: &mut Vec<FieldError>, field: &str, port: &ServicePort, several: bool) {
    if port.port == 0 {
        errors.push(FieldError::new(format!("{field}.port"), "must be from 1 to 65535, not 0"));
    }
    match &port.name {
        Some(name) => {
            if let Err(error) = names::dns_label(name) {
                errors.push(FieldError::name(format!("{field}.name"), name, error));
            }
        }
        None if several => {
            let error = FieldError::new(format!("{field}.name"), "is missing");
            errors.push(error.hint("a service with several ports names each of them"));
        }
        None => {}
    }
    match &port.target_port {
        Some(PortRef::Number(0)) => {
            let field = format!("{field}.targetPort");
            errors.push(FieldError::new(field, "must be from 1 to 65535, not 0"));
        }
        Some(PortRef::Name(name)) => {
            if let Err(error) = names::port_name(name) {
                errors.push(FieldError::name(format!("{field}.targetPort"), name, error));
            }
        }
        _ => {}
    }
    if port.node_port == Some(0) {
        let field = format!("{field}.nodePort");
        errors.push(FieldError::new(field, "must be from 1 to 65535, not 0"));
    }
}

fn cluster_ips(errors: &mut Vec<FieldError>, spec: &ServiceSpec) {
    let first = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty());
    if let (Some(first), Some(listed)) = (first, spec.cluster_ips.first())
        && first != listed
    {
        let message = format!("must be `clusterIP`, which is `{first}`, not `{listed}`");
        errors.push(FieldError::new("spec.clusterIPs[0]", message));
    }
    if spec.cluster_ips.len() > 2 {
        let message = "must be at most two: one of each family";
        errors.push(FieldError::new("spec.clusterIPs", message));
    }
    let mut families = Vec::new();
    let named = [("spec.clusterIP".to_owned(), first)].into_iter();
    let listed = spec.cluster_ips.iter().enumerate();
    let listed = listed.map(|(at, ip)| (format!("spec.clusterIPs[{at}]"), Some(ip.as_str())));
    for (field, text) in named.chain(listed) {
        let Some(text) = text.filter(|text| *text != NO_CLUSTER_IP) else { continue };
        match text.parse::<IpAddr>() {
            Ok(address) if field != "spec.clusterIP" => {
                let family = IpFamily::of(address);
                if families.contains(&family) {
                    let message = format!("is a second {} address", family.as_str());
                    errors.push(FieldError::new(field, message).hint("one of each family"));
                } else if let Some(wanted) = spec.ip_families.get(families.len())
                    && *wanted != family
                {
                    let message = format!(
                        "is an {} address, but `ipFamilies[{}]` is {}",
                        family.as_str(),
                        families.len(),
                        wanted.as_str()
                    );
                    errors.push(FieldError::new(field, message));
                }
                families.push(family);
            }
            Ok(_) => {}
            Err(_) => {
                let message = format!("is `{text}`: it must be an IP address, or `None`");
                errors.push(FieldError::new(field, message));
            }
        }
    }
    ip_families(errors, spec);
}

fn ip_families(errors: &mut Vec<FieldError>, spec: &ServiceSpec) {
    if spec.ip_families.len() > 2
        || spec.ip_families.len() == 2 && spec.ip_families[0] == spec.ip_families[1]
    {
        let message = "must name each family at most once";
        errors.push(FieldError::new("spec.ipFamilies", message));
    }
    let single = spec.ip_family_policy == Some(IpFamilyPolicy::SingleStack);
    if single && spec.ip_families.len() > 1 {
        let message = "must be one family when `ipFamilyPolicy` is `SingleStack`";
        errors.push(FieldError::new("spec.ipFamilies", message));
    }
    if single && spec.cluster_ips.len() > 1 {
        let message = "must be one address when `ipFamilyPolicy` is `SingleStack`";
        errors.push(FieldError::new("spec.clusterIPs", message));
    }
}

fn external_ips(errors: &mut Vec<FieldError>, addresses: &[IpAddr]) {
    for (index, address) in addresses.iter().enumerate() {
        let field = format!("spec.externalIPs[{index}]");
        let what = match address {
            address if address.is_unspecified() => "the address of nobody",
            address if address.is_loopback() => "a loopback address, which no packet travels to",
            address if address.is_multicast() => "a multicast address",
            IpAddr::V4(address) if address.is_link_local() => "a link-local address",
            IpAddr::V6(address) if address.is_unicast_link_local() => "a link-local address",
            _ => continue,
        };
        errors.push(FieldError::new(field, format!("is {address}, {what}")));
    }
}

fn affinity(errors: &mut Vec<FieldError>, spec: &ServiceSpec) {
    let client_ip = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    let field = "spec.sessionAffinityConfig";
    match (spec.session_affinity, client_ip) {
        (SessionAffinity::None, Some(_)) => {
            let message = "may not be used when `sessionAffinity` is `None`";
            errors.push(FieldError::new(field, message).hint("set it to `ClientIP`"));
        }
        (SessionAffinity::ClientIp, Some(config)) => {
            if let Some(seconds) = config.timeout_seconds
                && !(1..=MOST_AFFINITY_SECONDS).contains(&seconds)
            {
                let message = format!("must be from 1 to {MOST_AFFINITY_SECONDS}, not {seconds}");
                let field = format!("{field}.clientIP.timeoutSeconds");
                errors.push(FieldError::new(field, message));
            }
        }
        _ => {}
    }
}

fn policies(errors: &mut Vec<FieldError>, spec: &ServiceSpec) {
    // External addresses make a policy for clients outside meaningful, too.
    let external = spec.kind.has_node_ports() || !spec.external_ips.is_empty();
    if spec.external_traffic_policy == Some(TrafficPolicy::Local) && !external {
        let message = "may only be set for services that clients outside reach";
        errors.push(
            FieldError::new("spec.externalTrafficPolicy", message)
                .hint("set `type` to `NodePort` or `LoadBalancer`, or remove it"),
        );
    }
    let local = spec.external_traffic_policy == Some(TrafficPolicy::Local);
    if spec.health_check_node_port.is_some() && !(spec.kind == ServiceType::LoadBalancer && local) {
        let message = "may only be set when `type` is `LoadBalancer` and `externalTrafficPolicy` \
                       is `Local`";
        errors.push(FieldError::new("spec.healthCheckNodePort", message).hint("remove it"));
    }
}

fn load_balancer(errors: &mut Vec<FieldError>, spec: &ServiceSpec) {
    if spec.kind != ServiceType::LoadBalancer {
        let fields = [
            ("spec.loadBalancerIP", spec.load_balancer_ip.is_some()),
            ("spec.loadBalancerSourceRanges", !spec.load_balancer_source_ranges.is_empty()),
            (
                "spec.allocateLoadBalancerNodePorts",
                spec.allocate_load_balancer_node_ports.is_some(),
            ),
        ];
        for (field, _) in fields.into_iter().filter(|(_, set)| *set) {
            let message = "may only be used when `type` is `LoadBalancer`";
            errors.push(FieldError::new(field, message).hint("remove it"));
        }
    }
    for (index, range) in spec.load_balancer_source_ranges.iter().enumerate() {
        if range.trim().parse::<IpNet>().is_err() {
            let message = format!("is `{range}`: it must be a network such as `192.0.2.0/24`");
            let field = format!("spec.loadBalancerSourceRanges[{index}]");
            errors.push(FieldError::new(field, message));
        }
    }
}

/// What of a service may not change.
pub(super) fn validate_update(old: &Service, new: &Service) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let named = |service: &Service| service.spec.kind != ServiceType::ExternalName;
    // What became an alias gives its addresses back; what was one gets some.
    if named(old) && named(new) {
        let first = |service: &Service| service.spec.cluster_ip.clone().unwrap_or_default();
        if !first(new).is_empty() && first(old) != first(new) {
            let name = &new.metadata.name;
            errors.push(
                FieldError::new("spec.clusterIP", "cannot change: field is immutable").hint(
                    format!(
                        "delete the service and make it anew: `netlabctl delete svc {name}`, then \
                         apply again"
                    ),
                ),
            );
        }
    }
    let port = |service: &Service| service.spec.health_check_node_port;
    if let (Some(was), Some(is)) = (port(old), port(new))
        && was != is
    {
        let message = "cannot change: field is immutable";
        errors.push(FieldError::new("spec.healthCheckNodePort", message));
    }
    errors
}
