// SPDX-License-Identifier: GPL-3.0-or-later
//! Which service and which pods a flow of connection tracking is about. Pure.
//!
//! The first packet's destination is an address of the service; who answers is the endpoint.

use std::collections::HashMap;
use std::net::IpAddr;

use netlab_api::proxy::ServiceFlow;
use netlab_api::service::{IpMode, ServiceType};
use netlab_api::{Pod, Service};
use netlab_nft::conntrack::Flow;

use super::port::protocol;

/// The names of addresses.
#[derive(Debug, Default)]
pub struct Names {
    fronts: HashMap<(IpAddr, u8, u16), String>,
    node_ports: HashMap<(u8, u16), String>,
    pods: HashMap<IpAddr, String>,
}

impl Names {
    /// The addresses of these services and pods.
    pub fn of(services: &[Service], pods: &[Pod]) -> Names {
        let mut names = Names::default();
        for service in services.iter().filter(|service| service.is_proxied()) {
            names.put(service);
        }
        for pod in pods.iter().filter(|pod| !pod.is_finished()) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let name = format!("{namespace}/{}", pod.metadata.name);
            names.pods.extend(pod.ips().map(|ip| (ip, name.clone())));
        }
        names
    }

    fn put(&mut self, service: &Service) {
        let spec = &service.spec;
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let balancer = service.status.load_balancer.ingress.iter();
        let vips = balancer
            .filter(|it| spec.kind == ServiceType::LoadBalancer && it.ip_mode == IpMode::Vip)
            .map(|it| it.ip);
        let addresses: Vec<IpAddr> =
            service.cluster_ips().chain(spec.external_ips.iter().copied()).chain(vips).collect();
        for port in &spec.ports {
            let mut name = format!("{namespace}/{}", service.metadata.name);
            if !port.name().is_empty() {
                name += &format!(":{}", port.name());
            }
            let number = protocol(port.protocol).number();
            for address in &addresses {
                let front = (*address, number, port.port);
                self.fronts.entry(front).or_insert_with(|| name.clone());
            }
            if let Some(door) = port.node_port.filter(|_| spec.kind.has_node_ports()) {
                self.node_ports.entry((number, door)).or_insert(name);
            }
        }
    }

    fn service(&self, flow: &Flow) -> Option<&String> {
        let to = flow.original.destination;
        let front = self.fronts.get(&(to.ip(), flow.protocol, to.port()));
        // Other machines have ports of these numbers too; to ours packets are led elsewhere.
        let door = || {
            let led = flow.is_destination_translated();
            self.node_ports.get(&(flow.protocol, to.port())).filter(|_| led)
        };
        front.or_else(door)
    }
}

/// The flow with the names of whom it is about; none when it leads to no service and only such are
/// wanted.
pub fn is_wanted(names: &Names, flow: &Flow, all: bool) -> Option<ServiceFlow> {
    let service = names.service(flow).cloned();
    if service.is_none() && !all {
        return None;
    }
    let pod = |ip: IpAddr| names.pods.get(&ip).cloned();
    let bytes = match (flow.sent, flow.received) {
        (None, None) => None,
        (sent, received) => {
            Some([sent, received].into_iter().flatten().map(|counter| counter.bytes).sum())
        }
    };
    Some(ServiceFlow {
        protocol: flow.protocol_name().to_owned(),
        source: flow.original.source,
        source_pod: pod(flow.original.source.ip()),
        destination: flow.original.destination,
        service,
        endpoint: flow.reply.source,
        endpoint_pod: pod(flow.reply.source.ip()),
        seen_as: flow.reply.destination,
        state: state(flow),
        timeout_seconds: flow.timeout_secs,
        bytes,
        mark: flow.mark,
    })
}

fn state(flow: &Flow) -> String {
    let seen = match (flow.is_replied(), flow.is_assured()) {
        (false, _) => "UNREPLIED",
        (true, false) => "REPLIED",
        (true, true) => "ASSURED",
    };
    // What a protocol that knows states says of itself says more, but not that nobody answered.
    match flow.state {
        Some(state) if flow.is_replied() => state.to_owned(),
        Some(state) => format!("{state},{seen}"),
        None => seen.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use netlab_nft::conntrack::{Counter, Tuple};
    use serde_json::{Value, from_value, json};

    use super::*;

    fn service(name: &str, spec: Value) -> Service {
        let metadata = json!({ "name": name, "namespace": "shop" });
        let status = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.9" }] } });
        from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap()
    }

    fn names() -> Names {
        let web = json!({
            "type": "LoadBalancer",
            "clusterIP": "10.43.0.7",
            "clusterIPs": ["10.43.0.7"],
            "externalIPs": ["203.0.113.5"],
            "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }],
        });
        let dns = json!({
            "clusterIP": "10.43.0.8",
            "clusterIPs": ["10.43.0.8"],
            "ports": [{ "port": 53, "protocol": "UDP" }],
        });
        let pod = |name: &str, ip: &str| -> Pod {
            from_value(json!({
                "metadata": { "name": name, "namespace": "shop" },
                "status": { "podIP": ip, "podIPs": [{ "ip": ip }] },
            }))
            .unwrap()
        };
        Names::of(
            &[service("web", web), service("dns", dns)],
            &[pod("client", "10.42.0.9"), pod("web-0", "10.42.0.1")],
        )
    }

    fn flow(protocol: u8, to: &str, endpoint: &str, status: u32) -> Flow {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let client = at("10.42.0.9:40000");
        Flow {
            protocol,
            original: Tuple { source: client, destination: at(to), icmp: None },
            reply: Tuple { source: at(endpoint), destination: client, icmp: None },
            zone: 0,
            status,
            state: (protocol == 6).then_some("ESTABLISHED"),
            timeout_secs: 100,
            mark: 0,
            id: 1,
            sent: Some(Counter { packets: 2, bytes: 100 }),
            received: Some(Counter { packets: 1, bytes: 50 }),
        }
    }

    /// Answered, assured, and led elsewhere.
    const LED: u32 = 1 << 1 | 1 << 2 | 1 << 5;

    #[test]
    fn a_flow_is_named_by_where_it_was_sent_and_who_answers() {
        let names = names();
        for to in ["10.43.0.7:80", "203.0.113.5:80", "192.0.2.9:80", "192.168.1.1:30080"] {
            let named = is_wanted(&names, &flow(6, to, "10.42.0.1:8080", LED), false).unwrap();
            assert_eq!(named.service.as_deref(), Some("shop/web:http"), "{to}");
            assert_eq!(named.endpoint_pod.as_deref(), Some("shop/web-0"));
            assert_eq!(named.source_pod.as_deref(), Some("shop/client"));
            assert_eq!((named.state.as_str(), named.bytes), ("ESTABLISHED", Some(150)));
            assert_eq!(named.protocol, "tcp");
        }
    }

    #[test]
    fn the_protocol_and_the_translation_count() {
        let names = names();
        let wanted = |flow: Flow| is_wanted(&names, &flow, false).is_some();
        assert!(wanted(flow(17, "10.43.0.8:53", "10.42.0.1:53", 0)));
        assert!(!wanted(flow(6, "10.43.0.8:53", "10.42.0.1:53", LED)));
        // Another machine's port of the same number.
        assert!(!wanted(flow(6, "198.51.100.1:30080", "198.51.100.1:30080", 0)));
    }

    #[test]
    fn all_flows_are_listed_when_asked_for() {
        let names = names();
        let other = flow(17, "198.51.100.1:53", "198.51.100.1:53", 0);
        assert_eq!(is_wanted(&names, &other, false), None);
        let named = is_wanted(&names, &other, true).unwrap();
        assert_eq!((named.service, named.endpoint_pod), (None, None));
        assert_eq!(named.state, "UNREPLIED");
    }

    #[test]
    fn who_was_not_answered_is_told_beside_the_state() {
        let mut lonely = flow(6, "10.43.0.7:80", "10.42.0.1:8080", 1 << 5);
        lonely.state = Some("SYN_SENT");
        assert_eq!(state(&lonely), "SYN_SENT,UNREPLIED");
        assert_eq!(state(&flow(17, "10.43.0.8:53", "10.42.0.1:53", 1 << 1)), "REPLIED");
        assert_eq!(state(&flow(17, "10.43.0.8:53", "10.42.0.1:53", LED)), "ASSURED");
    }
}
