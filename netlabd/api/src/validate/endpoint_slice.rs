// SPDX-License-Identifier: GPL-3.0-or-later
//! What an endpoint slice must keep to.

use std::collections::HashMap;
use std::net::IpAddr;

use super::FieldError;
use crate::EndpointSlice;
use crate::endpoint_slice::AddressType;
use crate::names;

/// As in Kubernetes.
const MOST_ENDPOINTS: usize = 1000;
/// As in Kubernetes.
const MOST_PORTS: usize = 100;

pub(super) fn validate(slice: &EndpointSlice) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if slice.endpoints.len() > MOST_ENDPOINTS {
        let count = slice.endpoints.len();
        let message = format!("must be at most {MOST_ENDPOINTS}, not {count}");
        errors.push(FieldError::new("endpoints", message).hint("write a second slice"));
    }
    if slice.ports.len() > MOST_PORTS {
        let message = format!("must be at most {MOST_PORTS}, not {}", slice.ports.len());
        errors.push(FieldError::new("ports", message));
    }
    for (index, endpoint) in slice.endpoints.iter().enumerate() {
        let field = format!("endpoints[{index}]");
        if endpoint.addresses.is_empty() {
            let error = FieldError::new(format!("{field}.addresses"), "is missing");
            errors.push(error.hint("name the endpoint's address"));
        }
        for (at, text) in endpoint.addresses.iter().enumerate() {
            address(&mut errors, format!("{field}.addresses[{at}]"), text, slice.address_type);
        }
        if let Some(hostname) = &endpoint.hostname
            && let Err(error) = names::dns_label(hostname)
        {
            errors.push(FieldError::name(format!("{field}.hostname"), hostname, error));
        }
        if let Some(node) = &endpoint.node_name
            && let Err(error) = names::dns_subdomain(node)
        {
            errors.push(FieldError::name(format!("{field}.nodeName"), node, error));
        }
    }
    let mut by_name = HashMap::new();
    for (index, port) in slice.ports.iter().enumerate() {
        let name = port.name();
        if !name.is_empty()
            && let Err(error) = names::dns_label(name)
        {
            errors.push(FieldError::name(format!("ports[{index}].name"), name, error));
        }
        if let Some(first) = by_name.insert(name, index) {
            let message = format!("is `{name}`, which is the name of `ports[{first}]` already");
            errors.push(FieldError::new(format!("ports[{index}].name"), message));
        }
        if port.port == Some(0) {
            let field = format!("ports[{index}].port");
            errors.push(FieldError::new(field, "must be from 1 to 65535, not 0"));
        }
    }
    errors
}

fn address(errors: &mut Vec<FieldError>, field: String, text: &str, family: AddressType) {
    let Ok(address) = text.parse::<IpAddr>() else {
        errors.push(FieldError::new(field, format!("is `{text}`: it must be an IP address")));
        return;
    };
    if AddressType::of(address) != family {
        let message = format!("is {text}, but `addressType` is {}", family.as_str());
        errors.push(FieldError::new(field, message));
        return;
    }
    let what = match address {
        address if address.is_unspecified() => "the address of nobody",
        address if address.is_loopback() => "a loopback address, which leads nowhere from a node",
        address if address.is_multicast() => "a multicast address",
        IpAddr::V4(address) if address.is_link_local() => "a link-local address",
        IpAddr::V6(address) if address.is_unicast_link_local() => "a link-local address",
        _ => return,
    };
    errors.push(FieldError::new(field, format!("is {address}, {what}")));
}

/// What of a slice may not change.
pub(super) fn validate_update(old: &EndpointSlice, new: &EndpointSlice) -> Vec<FieldError> {
    if old.address_type == new.address_type {
        return Vec::new();
    }
    vec![FieldError::new("addressType", "cannot change: field is immutable")]
}
