// SPDX-License-Identifier: GPL-3.0-or-later
//! The columns of each kind, those of kubectl where kubectl has the kind.

use std::collections::BTreeMap;

use netlab_api::event::{Event, ObjectReference};
use netlab_api::namespace::NamespacePhase;
use netlab_api::resource::Kind;
use netlab_api::service::ServiceType;
use netlab_api::{EndpointSlice, IpamBlock, Node, Object, Service, Time};

use crate::output::table::Table;
use crate::output::{age, pod_status};
use crate::svc;

/// Which columns to show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    /// More columns (`-o wide`).
    pub(crate) wide: bool,
    /// The namespace in front (`-A`).
    pub(crate) namespaces: bool,
    /// The labels at the end (`--show-labels`).
    pub(crate) labels: bool,
    /// A column for each of these labels, before that (`-L`).
    pub(crate) label_columns: &'a [String],
    /// `pod/web` rather than `web`, where several kinds are shown.
    pub(crate) slash_names: bool,
    /// What ages count from.
    pub(crate) now: Time,
}

/// Objects of one kind as a table.
pub(crate) fn table<'a>(
    kind: Kind,
    objects: impl IntoIterator<Item = &'a Object>,
    view: View<'_>,
) -> Table {
    let mut headers = Vec::new();
    if view.namespaces && kind.is_namespaced() {
        headers.push("NAMESPACE");
    }
    headers.extend(own_headers(kind));
    if view.wide {
        headers.extend(wide_headers(kind));
    }
    let label_headers: Vec<_> = view.label_columns.iter().map(|key| label_header(key)).collect();
    headers.extend(label_headers.iter().map(String::as_str));
    if view.labels {
        headers.push("LABELS");
    }
    let mut table = Table::new(&headers);
    table.rows = objects.into_iter().map(|object| row(object, view)).collect();
    table
}

/// `NAME` of `app.kubernetes.io/name`.
fn label_header(key: &str) -> String {
    key.rsplit_once('/').map_or(key, |(_, name)| name).to_uppercase()
}

fn own_headers(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Namespace => &["NAME", "STATUS", "AGE"],
        Kind::Node => &["NAME", "STATUS", "ROLES", "AGE", "VERSION"],
        Kind::Pod => &["NAME", "READY", "STATUS", "RESTARTS", "AGE"],
        Kind::Service => &["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"],
        Kind::EndpointSlice => &["NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"],
        Kind::Event => &["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"],
        Kind::IpamBlock => &["NAME", "CIDR", "NODE", "USED", "FREE"],
    }
}

fn wide_headers(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Namespace => &[],
        Kind::Node => &["INTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "BLOCKS"],
        Kind::Pod => &["IP", "NODE"],
        Kind::Service => &["SELECTOR"],
        Kind::EndpointSlice => &[],
        Kind::Event => &["SOURCE", "COUNT", "NAME"],
        Kind::IpamBlock => &["AGE"],
    }
}

fn row(object: &Object, view: View<'_>) -> Vec<String> {
    let metadata = object.metadata();
    let name = match view.slash_names {
        true => object.slash_name(),
        false => metadata.name.clone(),
    };
    let old = age::since(metadata.creation_timestamp, view.now);
    let mut row = Vec::new();
    if view.namespaces && object.kind().is_namespaced() {
        row.push(metadata.namespace.clone().unwrap_or_default());
    }
    match object {
        Object::Namespace(namespace) => {
            let status = match namespace.status.phase {
                NamespacePhase::Active => "Active",
                NamespacePhase::Terminating => "Terminating",
            };
            row.extend([name, status.to_owned(), old]);
        }
        Object::Node(node) => {
            let version = node.status.node_info.netlab_version.clone();
            row.extend([name, node_status(node), roles(node), old, or_none(version)]);
            if view.wide {
                row.extend(node_wide(node));
            }
        }
        Object::Pod(pod) => {
            let ready = pod_status::ready(pod);
            row.extend([
                name,
                ready,
                pod_status::word(pod),
                pod_status::restarts(pod, view.now),
                old,
            ]);
            if view.wide {
                let ip = pod.status.pod_ip.map(|ip| ip.to_string());
                row.push(or_none(ip.unwrap_or_default()));
                row.push(or_none(pod.spec.node_name.clone().unwrap_or_default()));
            }
        }
        Object::Service(service) => {
            row.extend(service_cells(service, name, old));
            if view.wide {
                row.push(or_none(pairs(&service.spec.selector)));
            }
        }
        Object::EndpointSlice(slice) => row.extend(slice_cells(slice, name, old)),
        Object::Event(event) => {
            row.extend(event_cells(event, age::since(last_seen(event), view.now)));
            if view.wide {
                row.extend([event_source(event), event.count.to_string(), metadata.name.clone()]);
            }
        }
        Object::IpamBlock(block) => {
            row.extend([name, block.spec.cidr.to_string(), block.spec.node.clone()]);
            row.extend(usage(block));
            if view.wide {
                row.push(old);
            }
        }
    }
    let labels = &metadata.labels;
    row.extend(
        view.label_columns.iter().map(|key| or_none(labels.get(key).cloned().unwrap_or_default())),
    );
    if view.labels {
        row.push(pairs(&metadata.labels));
    }
    row
}

/// A service as `kubectl get` shows it.
fn service_cells(service: &Service, name: String, old: String) -> [String; 6] {
    let spec = &service.spec;
    let cluster_ip = match spec.kind {
        ServiceType::ExternalName => None,
        _ => spec.cluster_ip.clone(),
    };
    let ports = spec.ports.iter().map(|port| {
        let protocol = svc::protocol(port.protocol);
        match port.node_port {
            Some(node_port) => format!("{}:{node_port}/{protocol}", port.port),
            None => format!("{}/{protocol}", port.port),
        }
    });
    [
        name,
        spec.kind.as_str().to_owned(),
        or_none(cluster_ip.unwrap_or_default()),
        external_addresses(service),
        or_none(ports.collect::<Vec<_>>().join(",")),
        old,
    ]
}

/// What is reached from outside: `<pending>` for a load balancer that has no address yet.
fn external_addresses(service: &Service) -> String {
    let spec = &service.spec;
    if spec.kind == ServiceType::ExternalName {
        return or_none(spec.external_name.clone().unwrap_or_default());
    }
    let ingress = service.status.load_balancer.ingress.iter().map(|ingress| ingress.ip);
    let all: Vec<_> = ingress.chain(spec.external_ips.iter().copied()).collect();
    if all.is_empty() && spec.kind == ServiceType::LoadBalancer {
        return "<pending>".to_owned();
    }
    or_none(all.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

/// Addresses that a table shows of a slice, as kubectl does.
const SHOWN_ENDPOINTS: usize = 3;

/// A slice as `kubectl get` shows it.
fn slice_cells(slice: &EndpointSlice, name: String, old: String) -> [String; 5] {
    let ports: Vec<_> = slice
        .ports
        .iter()
        .map(|port| port.port.map_or_else(|| "*".to_owned(), |port| port.to_string()))
        .collect();
    let addresses: Vec<&str> =
        slice.endpoints.iter().flat_map(|it| &it.addresses).map(String::as_str).collect();
    let mut shown = addresses[..addresses.len().min(SHOWN_ENDPOINTS)].join(",");
    if addresses.len() > SHOWN_ENDPOINTS {
        shown += &format!(" + {} more...", addresses.len() - SHOWN_ENDPOINTS);
    }
    let unset = |text: String| if text.is_empty() { "<unset>".to_owned() } else { text };
    [name, slice.address_type.as_str().to_owned(), unset(ports.join(",")), unset(shown), old]
}

/// `Ready`, `NotReady`, `Ready,SchedulingDisabled`.
pub(crate) fn node_status(node: &Node) -> String {
    let ready = match node.is_ready() {
        true => "Ready",
        false => "NotReady",
    };
    match node.spec.unschedulable {
        true => format!("{ready},SchedulingDisabled"),
        false => ready.to_owned(),
    }
}

/// Roles stand in labels, as in Kubernetes: `node-role.kubernetes.io/ROLE`.
pub(crate) fn roles(node: &Node) -> String {
    let roles = node.metadata.labels.keys();
    let roles: Vec<_> =
        roles.filter_map(|key| key.strip_prefix("node-role.kubernetes.io/")).collect();
    or_none(roles.join(","))
}

fn node_wide(node: &Node) -> [String; 4] {
    let ip = node.internal_ips().next().map(|ip| ip.to_string());
    let blocks: Vec<_> = node.status.pod_blocks.iter().map(|b| b.to_string()).collect();
    [
        or_none(ip.unwrap_or_default()),
        node.status.node_info.os_image.clone(),
        node.status.node_info.kernel_version.clone(),
        or_none(blocks.join(",")),
    ]
}

fn usage(block: &IpamBlock) -> [String; 2] {
    [block.spec.allocated.len().to_string(), block.spec.free.len().to_string()]
}

/// When an event was seen last.
pub(crate) fn last_seen(event: &Event) -> Option<Time> {
    event.last_timestamp.or(event.first_timestamp).or(event.metadata.creation_timestamp)
}

/// `3m (x5 over 10m)`, as `describe` and `events` say it.
pub(crate) fn seen(event: &Event, now: Time) -> String {
    let last = age::since(last_seen(event), now);
    match event.count {
        0..=1 => last,
        count => format!("{last} (x{count} over {})", age::since(event.first_timestamp, now)),
    }
}

/// The columns of an event after its namespace.
pub(crate) fn event_cells(event: &Event, seen: String) -> [String; 5] {
    [
        seen,
        format!("{:?}", event.kind),
        event.reason.clone(),
        involved(&event.involved_object),
        event.message.trim().replace('\n', " "),
    ]
}

/// `pod/web`.
pub(crate) fn involved(object: &ObjectReference) -> String {
    format!("{}/{}", object.kind.to_ascii_lowercase(), object.name)
}

/// `node, n1`.
pub(crate) fn event_source(event: &Event) -> String {
    match event.source.host.as_str() {
        "" => event.source.component.clone(),
        host => format!("{}, {host}", event.source.component),
    }
}

/// `app=web,tier=front`, or `<none>`.
pub(crate) fn pairs(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    or_none(pairs.join(","))
}

/// What kubectl writes for nothing.
pub(crate) fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

#[cfg(test)]
mod tests;
