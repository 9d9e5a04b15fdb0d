// SPDX-License-Identifier: GPL-3.0-or-later
//! The services that all ways are measured with: one port and three endpoints each. Nobody is at
//! most of the endpoints; nothing is ever sent there.

use std::net::Ipv4Addr;

use netlab_api::endpoint_slice::{Endpoint, EndpointPort, SERVICE_NAME_LABEL};
use netlab_api::service::ServicePort;
use netlab_api::{EndpointSlice, ObjectMeta, Service, pod};

/// Port of every service.
pub(super) const PORT: u16 = 80;

/// Port of every endpoint.
pub(super) const TARGET_PORT: u16 = 8080;

/// Endpoints of a service.
pub(super) const ENDPOINTS: u32 = 3;

/// Pods of the node, as the rules of all ways know them.
pub(super) const POD_NETWORK: &str = "10.42.0.0/16";

/// The server's addresses: endpoints of the one service that is connected to.
pub(super) const SERVER: [Ipv4Addr; ENDPOINTS as usize] =
    [Ipv4Addr::new(10, 42, 200, 1), Ipv4Addr::new(10, 42, 200, 2), Ipv4Addr::new(10, 42, 200, 3)];

/// So many services, the last of which leads to [`SERVER`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Fleet {
    pub(super) count: u32,
}

impl Fleet {
    /// Name of a service.
    pub(super) fn name(number: u32) -> String {
        format!("s{number}")
    }

    /// Address of a service.
    pub(super) fn cluster_ip(number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 43, 1, 0)) + number)
    }

    /// The last one, which is connected to.
    pub(super) fn last(self) -> u32 {
        self.count - 1
    }

    /// Endpoints of a service as they are at first.
    pub(super) fn endpoints(self, number: u32) -> Vec<Ipv4Addr> {
        if number == self.last() {
            return SERVER.to_vec();
        }
        self.others(number, 0)
    }

    /// The same with other addresses in place of the first one, for each `turn` another.
    pub(super) fn changed(self, number: u32, turn: u32) -> Vec<Ipv4Addr> {
        let mut endpoints = self.others(number, 0);
        endpoints[0] = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 200, 0, 1)) + turn);
        endpoints
    }

    fn others(self, number: u32, turn: u32) -> Vec<Ipv4Addr> {
        let first = u32::from(Ipv4Addr::new(10, 128, 0, 1)) + (number + turn) * ENDPOINTS;
        (first..first + ENDPOINTS).map(Ipv4Addr::from).collect()
    }

    /// A service to be changed in a turn: never the last, and never one beside the one before.
    pub(super) fn pick(self, turn: u32) -> u32 {
        // A step that has no divisor in common with the usual sizes.
        (turn.wrapping_mul(7919)) % (self.count - 1)
    }
}

/// The object of a service; without a selector its endpoints are ours to write.
pub(super) fn service(number: u32) -> Service {
    let mut service = Service { metadata: meta(Fleet::name(number)), ..Service::default() };
    service.spec.cluster_ip = Some(Fleet::cluster_ip(number).to_string());
    service.spec.ports = vec![ServicePort {
        name: None,
        protocol: pod::Protocol::Tcp,
        app_protocol: None,
        port: PORT,
        target_port: Some(pod::PortRef::Number(TARGET_PORT)),
        node_port: None,
    }];
    service
}

/// The slice of a service with these endpoints.
pub(super) fn slice(number: u32, endpoints: &[Ipv4Addr]) -> EndpointSlice {
    let mut metadata = meta(Fleet::name(number));
    metadata.labels.insert(SERVICE_NAME_LABEL.to_owned(), Fleet::name(number));
    let endpoint = |address: &Ipv4Addr| Endpoint {
        addresses: vec![address.to_string()],
        ..Endpoint::default()
    };
    EndpointSlice {
        metadata,
        endpoints: endpoints.iter().map(endpoint).collect(),
        ports: vec![EndpointPort { port: Some(TARGET_PORT), ..EndpointPort::default() }],
        ..EndpointSlice::default()
    }
}

fn meta(name: String) -> ObjectMeta {
    ObjectMeta { name, namespace: Some("default".to_owned()), ..ObjectMeta::default() }
}
