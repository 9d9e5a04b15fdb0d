// SPDX-License-Identifier: GPL-3.0-or-later
//! Random services and changes of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use netlab_api::{EndpointSlice, Service};
use netlabd::node::proxy::desired::ServiceName;
use netlabd::node::proxy::port::{NodeFacts, PortPlan, plan_service};
use netlabd::node::proxy::select::Endpoints;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

/// What becomes of some services at once.
#[derive(Debug, Clone)]
pub(crate) struct Round(Vec<Wish>);

/// What becomes of one service.
#[derive(Debug, Clone)]
struct Wish {
    /// Which; few, so that they meet again.
    number: u8,
    /// It goes.
    gone: bool,
    kind: u8,
    ports: u8,
    /// The last byte of an external IP, which others may want too.
    external: Option<u8>,
    sticky: Option<u16>,
    external_local: bool,
    internal_local: bool,
    ranges: bool,
    /// Endpoints: last byte and node, ready or ending.
    endpoints: Vec<(u8, bool, bool)>,
}

pub(crate) fn rounds() -> impl Strategy<Value = Vec<Round>> {
    vec(vec(wish(), 1..4).prop_map(Round), 1..12)
}

fn wish() -> impl Strategy<Value = Wish> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
    (
        0..6_u8,
        0..3_u8,
        1..3_u8,
        prop::option::weighted(0.4, 1..4_u8),
        prop::option::weighted(0.3, 1..4_u16),
        flags,
        vec((1..8_u8, any::<bool>(), prop::bool::weighted(0.8)), 0..5),
    )
        .prop_map(|(number, kind, ports, external, sticky, flags, endpoints)| Wish {
            number,
            gone: flags.3,
            kind,
            ports,
            external,
            sticky,
            external_local: flags.0,
            internal_local: flags.1,
            ranges: flags.2,
            endpoints,
        })
}

impl Round {
    pub(crate) fn plans(&self) -> BTreeMap<ServiceName, Vec<PortPlan>> {
        self.0.iter().map(|wish| (wish.name(), wish.plans())).collect()
    }
}

impl Wish {
    fn name(&self) -> ServiceName {
        ("default".to_owned(), format!("svc{}", self.number))
    }

    fn plans(&self) -> Vec<PortPlan> {
        if self.gone {
            return Vec::new();
        }
        let ports: Vec<_> = (0..self.ports)
            .map(|port| {
                json!({
                    "name": format!("p{port}"),
                    "protocol": if port == 0 { "TCP" } else { "UDP" },
                    "port": 80 + u16::from(port),
                    "nodePort": (self.kind > 0).then_some(30_000 + 10 * u16::from(self.number) + u16::from(port)),
                })
            })
            .collect();
        let policy = |local: bool| if local { "Local" } else { "Cluster" };
        let addresses =
            [format!("10.43.0.{}", 10 + self.number), format!("fd43::{:x}", 16 + self.number)];
        let kind = ["ClusterIP", "NodePort", "LoadBalancer"][usize::from(self.kind)];
        let mut spec = json!({
            "type": kind,
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "ports": ports,
            "internalTrafficPolicy": policy(self.internal_local),
            "externalTrafficPolicy": policy(self.external_local),
        });
        if let Some(byte) = self.external {
            spec["externalIPs"] = json!([format!("198.51.100.{byte}")]);
        }
        if let Some(seconds) = self.sticky {
            spec["sessionAffinity"] = json!("ClientIP");
            spec["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": seconds } });
        }
        if self.ranges && self.kind == 2 {
            spec["loadBalancerSourceRanges"] = json!(["192.0.2.0/24", "2001:db8::/32"]);
        }
        let vip = json!({ "ip": format!("203.0.113.{}", self.number) });
        let ingress: Vec<_> = (self.kind == 2).then_some(vip).into_iter().collect();
        let service: Service = serde_json::from_value(json!({
            "metadata": { "name": self.name().1, "namespace": "default" },
            "spec": spec,
            "status": { "loadBalancer": { "ingress": ingress } },
        }))
        .expect("a service");
        let slice = |family: &str, address: &dyn Fn(u8) -> String| -> EndpointSlice {
            let endpoints: Vec<_> = self
                .endpoints
                .iter()
                .map(|(byte, here, ready)| {
                    json!({
                        "addresses": [address(*byte)],
                        "nodeName": if *here { "n1" } else { "n2" },
                        "conditions": { "ready": ready, "serving": true, "terminating": !ready },
                    })
                })
                .collect();
            let ports: Vec<_> = (0..self.ports)
                .map(|port| {
                    json!({
                        "name": format!("p{port}"),
                        "protocol": if port == 0 { "TCP" } else { "UDP" },
                        "port": 8080,
                    })
                })
                .collect();
            serde_json::from_value(json!({
                "addressType": family, "ports": ports, "endpoints": endpoints,
            }))
            .expect("a slice")
        };
        let v4 = slice("IPv4", &|byte| format!("10.42.0.{byte}"));
        let v6 = slice("IPv6", &|byte| format!("fd42::{byte:x}"));
        let node = NodeFacts { name: "n1".to_owned(), zone: None };
        plan_service(&service, &Endpoints::of([&v4, &v6]), &node)
    }
}

/// One service of each sort.
pub(crate) fn example() -> BTreeMap<ServiceName, Vec<PortPlan>> {
    let plain = Wish {
        number: 0,
        gone: false,
        kind: 0,
        ports: 2,
        external: None,
        sticky: None,
        external_local: false,
        internal_local: false,
        ranges: false,
        endpoints: vec![(1, true, true), (2, false, true), (3, false, true)],
    };
    let round = Round(vec![
        plain.clone(),
        Wish { number: 1, kind: 1, external: Some(1), ..plain.clone() },
        Wish { number: 2, kind: 2, external_local: true, ranges: true, ..plain.clone() },
        Wish { number: 3, sticky: Some(60), ..plain.clone() },
        Wish { number: 4, endpoints: Vec::new(), ..plain },
    ]);
    round.plans()
}

/// Services without endpoints, with one port each.
pub(crate) fn plain(numbers: Range<u32>) -> BTreeMap<ServiceName, Vec<PortPlan>> {
    let plan = |number: u32| {
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 43, 0, 0).to_bits() + number);
        let name = format!("plain{number}");
        let service: Service = serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "clusterIP": address, "clusterIPs": [address], "ports": [{ "port": 80 }] },
        }))
        .expect("a service");
        let plans = plan_service(&service, &Endpoints::default(), &NodeFacts::default());
        (("default".to_owned(), name), plans)
    };
    numbers.map(plan).collect()
}
