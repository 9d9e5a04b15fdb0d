// SPDX-License-Identifier: GPL-3.0-or-later
//! A node's namespace with a server in it, and machines beside it that ask.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use netlab_api::{EndpointSlice, Service};
use netlab_link::Netns;
use netlabd::dns::chain::{Chain, Clients, Notes, Parts};
use netlabd::dns::config::{DnsConfig, PodNames};
use netlabd::dns::server::DnsServer;
use netlabd::dns::upstream::{Uncounted, Upstreams};
use netlabd::dns::zone::{Zone, ZoneSettings};
use serde_json::json;
use tokio::runtime::Runtime;

pub(crate) use crate::netns::sh;
use crate::netns::{connect, namespace};

/// Generous, because it only bounds a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Where the server listens.
pub(crate) const V4: &str = "10.43.0.10";
pub(crate) const V6: &str = "fd43::a";

/// A server, whose upstream is at `127.0.0.9` inside the node's namespace if a test puts it there.
pub(crate) struct Lab {
    /// The node.
    pub(crate) node: Netns,
    /// A pod, `10.42.0.5` and `fd42::5`.
    pub(crate) pod: Netns,
    /// Nobody we know, `192.0.2.5`.
    pub(crate) stranger: Netns,
    pub(crate) server: Option<DnsServer>,
    pub(crate) zone: Arc<RwLock<Zone>>,
    runtime: Runtime,
}

impl Lab {
    /// Listens at the usual addresses, as configured.
    pub(crate) fn new(config: &str) -> Lab {
        let lab = Lab::silent(config);
        let errors = lab.server().set_addresses(&[at(V4), at(V6)]);
        assert!(errors.is_empty(), "{errors:?}");
        lab
    }

    /// The same with a zone that is not told all yet.
    pub(crate) fn unsynced(config: &str) -> Lab {
        let lab = Lab::made(config, zone());
        let errors = lab.server().set_addresses(&[at(V4), at(V6)]);
        assert!(errors.is_empty(), "{errors:?}");
        lab
    }

    /// Listens nowhere yet.
    pub(crate) fn silent(config: &str) -> Lab {
        let mut zone = zone();
        zone.set_synced();
        Lab::made(config, zone)
    }

    fn made(config: &str, zone: Zone) -> Lab {
        let [node, pod, stranger] = [(), (), ()].map(|()| namespace());
        connect(&node, "pod", &pod);
        connect(&node, "stranger", &stranger);
        sh(
            &node,
            "ip addr add 10.43.0.10/32 dev lo; ip addr add fd43::a/128 dev lo nodad
             ip addr add 10.42.0.1/24 dev pod; ip addr add fd42::1/64 dev pod nodad
             ip addr add 192.0.2.1/24 dev stranger",
        );
        sh(
            &pod,
            "ip addr add 10.42.0.5/24 dev eth0; ip addr add fd42::5/64 dev eth0 nodad
             ip route add default via 10.42.0.1; ip route add default via fd42::1",
        );
        sh(&stranger, "ip addr add 192.0.2.5/24 dev eth0; ip route add default via 192.0.2.1");
        // Its threads are in the namespace of the thread that makes it.
        let runtime = node.run(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap()
        });
        let runtime = runtime.unwrap();
        let zone = Arc::new(RwLock::new(zone));
        let _inside = runtime.enter();
        let chain = chain(config, &zone);
        let server = DnsServer::start(chain, Some(node.try_clone().unwrap())).unwrap();
        drop(_inside);
        Lab { node, pod, stranger, server: Some(server), zone, runtime }
    }

    pub(crate) fn server(&self) -> &DnsServer {
        self.server.as_ref().unwrap()
    }

    /// Another configuration from now on.
    pub(crate) fn configure(&self, config: &str) {
        let _inside = self.runtime.enter();
        self.server().set_chain(chain(config, &self.zone));
    }

    /// Answers every question that comes to `127.0.0.9` with the address `203.0.113.9`, after a
    /// while.
    pub(crate) fn upstream(&self, delay: Duration) {
        let socket = self.node.run(|| UdpSocket::bind("127.0.0.9:53").unwrap()).unwrap();
        thread::spawn(move || {
            let mut question = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                let mut answer = question[..length].to_vec();
                // The question alone, whatever came with it.
                let end = 12 + question[12..].iter().position(|&byte| byte == 0).unwrap() + 5;
                answer.truncate(end);
                answer[2..4].copy_from_slice(&[0x81, 0x80]);
                answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
                answer
                    .extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9]);
                let socket = socket.try_clone().unwrap();
                thread::spawn(move || {
                    thread::sleep(delay);
                    let _ = socket.send_to(&answer, from);
                });
            }
        });
    }

    /// What `dig` says in a namespace.
    pub(crate) fn dig(&self, from: &Netns, arguments: &str) -> String {
        sh(from, &format!("dig +tries=2 +time=5 +nocookie {arguments}"))
    }

    /// Stops it as the daemon does.
    pub(crate) fn stop(&mut self, lameduck: Duration) {
        let server = self.server.take().unwrap();
        self.runtime.block_on(server.stop(lameduck));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.server.take();
    }
}

/// Port 53 of an address.
pub(crate) fn at(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 53)
}

fn chain(config: &str, zone: &Arc<RwLock<Zone>>) -> Arc<Chain> {
    let mut config: DnsConfig = toml::from_str(config).unwrap();
    config.forward.to = Some(vec!["127.0.0.9".to_owned()]);
    let clients = Clients::new(|_| None);
    clients.set_pod_networks(vec!["10.42.0.0/16".parse().unwrap(), "fd42::/48".parse().unwrap()]);
    let own: [IpAddr; 2] = [V4.parse().unwrap(), V6.parse().unwrap()];
    let upstreams = Upstreams::new(&config, &own, Arc::new(Uncounted));
    let parts = Parts {
        config: Arc::new(config),
        domain: "cluster.local".parse().unwrap(),
        searches: Vec::new(),
        started: Instant::now(),
        clients: Arc::new(clients),
        zone: Arc::clone(zone),
        upstreams,
        notes: Notes::new(),
    };
    Arc::new(Chain::new(parts).unwrap())
}

/// Services `web` (10.43.0.80, fd43::80), `many` (headless, 100 endpoints) and `out` (an alias);
/// more may come.
fn zone() -> Zone {
    let mut zone = Zone::new(ZoneSettings {
        domain: "cluster.local".parse().unwrap(),
        reverse: Vec::new(),
        dns_addresses: vec![V4.parse().unwrap(), V6.parse().unwrap()],
        ttl: 5,
        pods: PodNames::default(),
        endpoint_pod_names: false,
        ignore_empty_service: false,
        fallthrough: Vec::new(),
        zonal: true,
    });
    zone.put_namespace("default");
    let service = |name: &str, spec| -> Service {
        let metadata = json!({ "name": name, "namespace": "default" });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    };
    let ports = json!([{ "name": "http", "port": 80, "protocol": "TCP" }]);
    zone.put_service(&service(
        "web",
        json!({ "clusterIP": "10.43.0.80", "clusterIPs": ["10.43.0.80", "fd43::80"],
                "ipFamilies": ["IPv4", "IPv6"], "ports": ports }),
    ));
    zone.put_service(&service(
        "many",
        json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": ports }),
    ));
    zone.put_service(&service(
        "out",
        json!({ "type": "ExternalName", "externalName": "elsewhere.example" }),
    ));
    let endpoints: Vec<_> = (1..=100)
        .map(
            |at| json!({ "addresses": [format!("10.42.7.{at}")], "conditions": { "ready": true } }),
        )
        .collect();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": { "name": "many-1", "namespace": "default",
                      "labels": { "kubernetes.io/service-name": "many" } },
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
    }))
    .unwrap();
    zone.put_slice(&slice);
    zone
}

/// A question for addresses, as a resolver asks.
pub(crate) fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

/// Connects over TCP.
pub(crate) fn dial(from: &Netns, to: &str) -> TcpStream {
    let to = at(to);
    let stream = from.run(|| TcpStream::connect_timeout(&to, DEADLINE).unwrap()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends a message with its length.
pub(crate) fn send(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let mut bytes = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    stream.write_all(&bytes)
}

/// The next message.
pub(crate) fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// A UDP socket that is connected to the server.
pub(crate) fn udp(from: &Netns, to: &str) -> UdpSocket {
    let to = at(to);
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = from.run(|| UdpSocket::bind(any).unwrap()).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}
