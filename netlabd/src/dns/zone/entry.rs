// SPDX-License-Identifier: GPL-3.0-or-later
//! What is kept of services and endpoints: what names need, and no more.

use std::net::IpAddr;

use netlab_api::pod::Protocol;
use netlab_api::service::ServiceType;
use netlab_api::{EndpointSlice, Service};

use super::Key;
use crate::dns::name::{MAX_LABEL, Name};

/// A service, its slices, or both; either may come first.
#[derive(Debug)]
pub(super) struct Entry {
    /// The service's key.
    pub(super) key: Key,
    pub(super) service: Option<ServiceFacts>,
    pub(super) slices: Vec<SliceFacts>,
}

impl Entry {
    /// One without a service.
    pub(super) fn new(key: Key) -> Entry {
        Entry { key, service: None, slices: Vec::new() }
    }

    /// Whether an address is this service's own or an endpoint's.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let of_slice = |slice: &SliceFacts| slice.endpoints.iter().any(|it| it.address == address);
        self.service.iter().any(|service| service.cluster_ips.contains(address))
            || self.slices.iter().any(of_slice)
    }

    /// All endpoints that have names, with their slices: those that are ready, or all if the service
    /// wants it so.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = (&SliceFacts, &EndpointFacts)> {
        let all = self.service.as_ref().is_some_and(|service| service.tolerates_unready);
        let of_slices =
            self.slices.iter().flat_map(|slice| slice.endpoints.iter().map(move |it| (slice, it)));
        of_slices.filter(move |(_, endpoint)| all || endpoint.is_ready)
    }
}

/// Where a service leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To its own addresses.
    Cluster,
    /// To its endpoints.
    Headless,
    /// To another name.
    External,
}

/// What names need of a service.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceFacts {
    pub(super) kind: Kind,
    pub(super) cluster_ips: ClusterIps,
    pub(super) ports: Box<[PortFacts]>,
    /// Of kind [`Kind::External`]; none when it is no name, but an address perhaps.
    pub(super) alias: Option<Name>,
    /// Its endpoints have names before they are ready.
    pub(super) tolerates_unready: bool,
}

/// The addresses of a service itself: at most one of each family, in its own order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ClusterIps([Option<IpAddr>; 2]);

impl ClusterIps {
    fn of(addresses: impl Iterator<Item = IpAddr>) -> ClusterIps {
        let mut ips = ClusterIps::default();
        ips.0.iter_mut().zip(addresses).for_each(|(place, address)| *place = Some(address));
        ips
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = IpAddr> + Clone {
        self.0.into_iter().flatten()
    }

    /// Whether an address is one of them.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&Some(address))
    }
}

/// A port of a service, or of the endpoints of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortFacts {
    /// In lower case; empty without one.
    pub(super) name: Box<[u8]>,
    pub(super) protocol: &'static [u8],
    pub(super) port: u16,
}

impl PortFacts {
    /// Whether the labels of a question mean this port.
    pub(super) fn is(&self, port: &[u8], protocol: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(port) && self.protocol.eq_ignore_ascii_case(protocol)
    }
}

/// What names need of a slice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SliceFacts {
    pub(super) name: Key,
    pub(super) ports: Box<[PortFacts]>,
    pub(super) endpoints: Box<[EndpointFacts]>,
}

/// One address of an endpoint. There are many, so what each is called lies in one piece, and most
/// of those that are not asked for are told by their marks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EndpointFacts {
    pub(super) address: IpAddr,
    pub(super) is_ready: bool,
    /// How long each part of the text is.
    lengths: [u8; 3],
    /// Of the host name.
    mark: u32,
    /// The host name, the pod that it is, and the zone of nodes that it is in, as written.
    text: Box<[u8]>,
}

impl ServiceFacts {
    pub(super) fn of(service: &Service) -> ServiceFacts {
        let spec = &service.spec;
        let (kind, alias) = if spec.kind == ServiceType::ExternalName {
            let target = spec.external_name.as_deref().unwrap_or_default();
            let is_address = target.trim_end_matches('.').parse::<IpAddr>().is_ok();
            let alias = target.parse().ok().filter(|name: &Name| !name.is_root());
            (Kind::External, alias.filter(|_| !is_address))
        } else if service.is_headless() {
            (Kind::Headless, None)
        } else {
            (Kind::Cluster, None)
        };
        let port = |port: &netlab_api::service::ServicePort| PortFacts {
            name: port.name().as_bytes().to_ascii_lowercase().into(),
            protocol: protocol(port.protocol),
            port: port.port,
        };
        ServiceFacts {
            kind,
            cluster_ips: ClusterIps::of(service.cluster_ips()),
            ports: spec.ports.iter().map(port).collect(),
            alias,
            tolerates_unready: spec.publish_not_ready_addresses,
        }
    }
}

impl SliceFacts {
    pub(super) fn of(slice: &EndpointSlice, name: Key) -> SliceFacts {
        let endpoints = slice.endpoints.iter().flat_map(|endpoint| {
            let is_ready = endpoint.conditions.ready != Some(false);
            let hostname = endpoint.hostname.as_deref().unwrap_or_default();
            let pod = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod");
            // Too long for a label, it names nothing.
            let pod = pod.filter(|target| target.name.len() <= MAX_LABEL);
            let pod = pod.map_or("", |pod| &pod.name);
            let zone = endpoint.zone.as_deref().unwrap_or_default();
            endpoint.addresses.iter().filter_map(move |address| {
                let address = address.parse().ok()?;
                Some(EndpointFacts::new(address, is_ready, [hostname, pod, zone]))
            })
        });
        let ports = slice.ports.iter().filter_map(|port| {
            Some(PortFacts {
                name: port.name.as_deref().unwrap_or_default().as_bytes().into(),
                protocol: protocol(port.protocol),
                port: port.port?,
            })
        });
        SliceFacts { name, ports: ports.collect(), endpoints: endpoints.collect() }
    }
}

fn protocol(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Tcp => b"tcp",
        Protocol::Udp => b"udp",
        Protocol::Sctp => b"sctp",
    }
}

/// What endpoints without a host name are called: their address, with dashes.
pub(super) fn dashed(address: IpAddr) -> String {
    let mut text = address.to_string().replace(['.', ':'], "-");
    if text.ends_with('-') {
        // A label that ends so is none.
        text.push('0');
    }
    text
}

/// The address that a label with dashes means, as CoreDNS reads it.
pub(super) fn undashed(label: &[u8]) -> Option<IpAddr> {
    // The longest is an IPv6 address that ends with one of IPv4.
    let label = std::str::from_utf8(label).ok().filter(|label| label.len() <= 45)?;
    let dashes = label.bytes().filter(|byte| *byte == b'-').count();
    let separator = if dashes == 3 && !label.contains("--") { "." } else { ":" };
    label.replace('-', separator).parse().ok()
}

/// A label that may be an endpoint's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label<'a> {
    text: &'a [u8],
    mark: u32,
    /// What it means as an address, if it does.
    address: Option<IpAddr>,
}

impl<'a> Label<'a> {
    pub(super) fn of(text: &'a [u8]) -> Label<'a> {
        Label { text, mark: mark(text), address: undashed(text) }
    }
}

/// The same for labels that are the same but for case, and rarely for others: FNV-1a.
fn mark(label: &[u8]) -> u32 {
    label.iter().fold(0x811c_9dc5, |mark, byte| {
        (mark ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}

impl EndpointFacts {
    /// An address with its host name, pod and zone; each may be empty.
    fn new(address: IpAddr, is_ready: bool, parts: [&str; 3]) -> EndpointFacts {
        // What is longer is no label, and no name of an object either.
        let parts = parts.map(|part| if part.len() > usize::from(u8::MAX) { "" } else { part });
        let lengths = parts.map(|part| u8::try_from(part.len()).expect("compared above"));
        let text = parts.concat().into_bytes().into();
        EndpointFacts { address, is_ready, lengths, mark: mark(parts[0].as_bytes()), text }
    }

    /// A part of the text, if it is there.
    fn part(&self, part: usize) -> Option<&[u8]> {
        let length = |part: usize| usize::from(self.lengths[part]);
        let start: usize = (0..part).map(length).sum();
        Some(&self.text[start..start + length(part)]).filter(|text| !text.is_empty())
    }

    /// Its host name, in the case in which it was written.
    fn hostname(&self) -> Option<&[u8]> {
        self.part(0)
    }

    /// The pod that it is.
    fn pod(&self) -> Option<&[u8]> {
        self.part(1)
    }

    /// The zone of nodes that it is in.
    pub(super) fn zone(&self) -> Option<&[u8]> {
        self.part(2)
    }

    /// Its label in the service's domain.
    pub(super) fn label(&self, pod_names: bool) -> Vec<u8> {
        match (self.hostname(), self.pod()) {
            (Some(hostname), _) => hostname.to_vec(),
            (None, Some(pod)) if pod_names => pod.to_vec(),
            _ => dashed(self.address).into_bytes(),
        }
    }

    /// Whether a label is its.
    pub(super) fn is_called(&self, label: Label<'_>, pod_names: bool) -> bool {
        if self.lengths[0] > 0 {
            return self.mark == label.mark
                && self.hostname().is_some_and(|name| name.eq_ignore_ascii_case(label.text));
        }
        match self.pod() {
            Some(pod) if pod_names => pod.eq_ignore_ascii_case(label.text),
            // One address can be written in several ways, and has one name.
            _ => {
                label.address == Some(self.address)
                    && dashed(self.address).as_bytes().eq_ignore_ascii_case(label.text)
            }
        }
    }
}
