// SPDX-License-Identifier: GPL-3.0-or-later
//! Where services are tested: three nodes, servers, and clients of every kind.
//!
//! ```text
//!   n1 (zone a)     n2 (zone b)     n3 (zone b)
//!   s1  c1          s2  c2          s3  c3         servers and clients
//!    └───────────────┼───────────────┘
//!        laptop ─────┴───── desk                   routes to services lead over n1 and n2
//! ```

use std::collections::BTreeMap;
use std::sync::Mutex;

use netlab_tests::{Cluster, observe};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::offer::{OUTER, Offer, offers};

/// A server; its argument is its name.
pub(crate) const SERVER: &str = include_str!("server.py");

/// Networks of load balancers.
pub(crate) const POOLS: [&str; 2] = ["203.0.113.0/28", "2001:db8:52::/124"];

/// Networks of services.
pub(crate) const SERVICE_NETWORKS: [&str; 2] = ["10.43.0.0/16", "fd43::/112"];

/// Servers and clients, and the nodes on which they are.
const PODS: [(&str, &str); 6] =
    [("s1", "n1"), ("s2", "n2"), ("s3", "n3"), ("c1", "n1"), ("c2", "n2"), ("c3", "n3")];

/// Hosts, and the last part of the address of the node over which they reach services.
const HOSTS: [(&str, u8); 2] = [("laptop", 1), ("desk", 2)];

/// Which rules carry services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Nftables,
    Iptables,
}

impl Layout {
    pub(crate) const ALL: [Layout; 2] = [Layout::Nftables, Layout::Iptables];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Layout::Nftables => "nftables",
            Layout::Iptables => "iptables",
        }
    }
}

/// Where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Pod(&'static str),
    Node(&'static str),
    Host(&'static str),
}

/// A cluster with servers, services and clients.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Clients go before the machines that they are on.
    pub(crate) agents: BTreeMap<Place, Mutex<Agent>>,
    pub(crate) cluster: Cluster,
    /// Addresses of pods, nodes and hosts.
    addresses: BTreeMap<String, Vec<String>>,
    /// Services as the cluster has them.
    services: BTreeMap<String, Value>,
    /// Transport protocols of this kernel.
    pub(crate) protocols: Vec<&'static str>,
}

impl Stage {
    /// A stage named after the test, in a layout, with lines of configuration and without services.
    #[track_caller]
    pub(crate) fn bare(name: &str, layout: Layout, config: &str) -> Stage {
        let mode = layout.as_str();
        // Nobody outside to ask for names: what a router answers to that counts among the few errors
        // that it sends a node in a second.
        let config = format!(
            "proxy-mode = '{mode}'\nload-balancer.pools = {POOLS:?}\ndns.forward.to = []\n{config}"
        );
        let cluster =
            Cluster::builder(name).config(&config).hosts(&HOSTS.map(|(host, _)| host)).start();
        for (node, zone) in [("n1", "a"), ("n2", "b"), ("n3", "b")] {
            cluster
                .ctl(&["label", "node", node, &format!("topology.kubernetes.io/zone={zone}")])
                .ok();
        }
        for (pod, node) in PODS {
            match pod.starts_with('s') {
                true => {
                    let words = ["--ready=tcp:8080", "--", "python3", "-c", SERVER, pod];
                    cluster.run_on(node, pod, &words);
                }
                false => cluster.run_on(node, pod, &[]),
            }
        }
        let mut addresses = BTreeMap::new();
        for (pod, _) in PODS {
            addresses.insert(pod.to_owned(), cluster.server().pod_ips(pod));
        }
        for node in cluster.nodes() {
            addresses.insert(node.node_name.clone(), all_addresses(&node.node));
        }
        for (host, node) in HOSTS {
            let machine = cluster.host(host);
            addresses.insert(host.to_owned(), all_addresses(machine));
            let ways = SERVICE_NETWORKS.into_iter().chain(POOLS).chain(OUTER);
            for to in ways {
                match to.contains(':') {
                    true => machine.ip(&format!("-6 route add {to} via fd44:0:0:1::{node}")),
                    false => machine.ip(&format!("route add {to} via 172.30.1.{node}")),
                };
            }
        }
        let mut agents = BTreeMap::new();
        let mut start = |place: Place, agent: Agent| agents.insert(place, Mutex::new(agent));
        for pod in ["c1", "c2", "c3", "s1"] {
            let home = cluster.home_of(pod);
            start(Place::Pod(pod), Agent::start(|words| home.pod_command(pod, words)));
        }
        for name in ["n1", "n2", "n3"] {
            let machine = &cluster.node(name).node;
            start(Place::Node(name), Agent::start(|words| machine.command(words)));
        }
        for (name, _) in HOSTS {
            let machine = cluster.host(name);
            start(Place::Host(name), Agent::start(|words| machine.command(words)));
        }
        let mut protocols = vec!["tcp", "udp"];
        match has_sctp() {
            true => protocols.push("sctp"),
            false => println!("skipped: sctp, which this kernel has not"),
        }
        Stage { agents, cluster, addresses, services: BTreeMap::new(), protocols }
    }

    /// A stage with all services.
    #[track_caller]
    pub(crate) fn full(name: &str, layout: Layout) -> Stage {
        let mut stage = Stage::bare(name, layout, "");
        let (laptop, n1) = (stage.addresses("laptop").to_vec(), stage.main_addresses("n1"));
        stage.provide(&offers(&laptop, &n1));
        stage
    }

    /// Makes services and their endpoints, or changes them; returns when all nodes know.
    #[track_caller]
    pub(crate) fn provide(&mut self, offers: &[Offer]) {
        let mut items = Vec::new();
        for offer in offers {
            items.push(offer.service(&self.protocols));
            let of = |pod: &str| (Stage::home(pod).to_owned(), self.addresses[pod].clone());
            items.extend(offer.slices(&self.protocols, of));
        }
        self.apply(&items);
        for offer in offers {
            self.learn(offer.name);
        }
    }

    /// Reads the addresses of a service.
    #[track_caller]
    pub(crate) fn learn(&mut self, service: &str) {
        let path = format!("/v1/namespaces/default/services/{service}");
        let read = self.cluster.server().get(&path).expect(200);
        self.services.insert(service.to_owned(), read);
    }

    /// Changes an object of namespace `default`; returns when all nodes know.
    #[track_caller]
    pub(crate) fn patch(&self, kind: &str, name: &str, patch: &Value) {
        let server = self.cluster.server();
        let path = format!("/v1/namespaces/default/{kind}/{name}");
        server.api("PATCH", &path, Some(patch)).expect(200);
        self.settle_all();
    }

    /// Applies objects; returns when all nodes know.
    #[track_caller]
    pub(crate) fn apply(&self, items: &[Value]) {
        let body = json!({ "items": items });
        let applied = self.cluster.server().api("POST", "/v1/apply", Some(&body)).expect(200);
        self.settle(&applied["revision"]);
    }

    /// Deletes an object of namespace `default`; returns when all nodes know.
    #[track_caller]
    pub(crate) fn delete(&self, kind: &str, name: &str) {
        let server = self.cluster.server();
        server.api("DELETE", &format!("/v1/namespaces/default/{kind}/{name}"), None).expect(200);
        self.settle_all();
    }

    /// Waits until all nodes reflect what is true now.
    #[track_caller]
    pub(crate) fn settle_all(&self) {
        let version = self.cluster.server().get("/v1/version").expect(200);
        self.settle(&version["revision"]);
    }

    /// Waits until all nodes reflect a revision.
    #[track_caller]
    pub(crate) fn settle(&self, revision: &Value) {
        let path = format!("/v1/programmed?revision={revision}&timeoutSeconds=20");
        self.cluster.server().get(&path).expect(200);
    }

    /// Changes the layout of all nodes.
    #[track_caller]
    pub(crate) fn switch(&self, layout: Layout) {
        let server = self.cluster.server();
        let mut settings = server.get("/v1/network").expect(200);
        settings["proxyMode"] = json!(layout.as_str());
        server.api("PUT", "/v1/network", Some(&settings)).expect(200);
        self.settle_all();
    }

    /// The client at a place.
    #[track_caller]
    pub(crate) fn agent(&self, place: Place) -> std::sync::MutexGuard<'_, Agent> {
        self.agents[&place].lock().unwrap()
    }

    /// All addresses of a pod, a node or a host.
    #[track_caller]
    pub(crate) fn addresses(&self, of: &str) -> &[String] {
        &self.addresses[of]
    }

    /// The addresses of a node or a host at the network between nodes, IPv4 first.
    #[track_caller]
    pub(crate) fn main_addresses(&self, of: &str) -> Vec<String> {
        let find = |start: &str| {
            let found = self.addresses[of].iter().find(|ip| ip.starts_with(start));
            found.unwrap_or_else(|| panic!("{of} has no address {start}…")).clone()
        };
        vec![find("172.30.1."), find("fd44:0:0:1:")]
    }

    /// Where a pod is.
    pub(crate) fn home(pod: &str) -> &'static str {
        PODS.iter().find(|(name, _)| *name == pod).unwrap().1
    }

    /// A service's cluster IP of a family: 0 is IPv4, 1 is IPv6.
    #[track_caller]
    pub(crate) fn cluster_ip(&self, service: &str, family: usize) -> String {
        let ips = observe::items(&self.services[service]["spec"]["clusterIPs"]);
        in_family(ips.iter().filter_map(Value::as_str), family)
    }

    /// An address that a service got from the pools.
    #[track_caller]
    pub(crate) fn balancer_ip(&self, service: &str, family: usize) -> String {
        let ingress = observe::items(&self.services[service]["status"]["loadBalancer"]["ingress"]);
        in_family(ingress.iter().filter_map(|ingress| ingress["ip"].as_str()), family)
    }

    /// A service's port at nodes, of a protocol.
    #[track_caller]
    pub(crate) fn node_port(&self, service: &str, protocol: &str) -> u16 {
        let ports = observe::items(&self.services[service]["spec"]["ports"]);
        let port = ports.iter().find(|port| port["name"] == protocol).expect("a port");
        port["nodePort"].as_u64().expect("a node port").try_into().unwrap()
    }
}

fn in_family<'a>(ips: impl Iterator<Item = &'a str>, family: usize) -> String {
    let ips: Vec<&str> = ips.collect();
    let found = ips.iter().find(|ip| ip.contains(':') == (family == 1));
    found.unwrap_or_else(|| panic!("no address of family {family} in {ips:?}")).to_string()
}

fn all_addresses(machine: &netlab_tests::Machine) -> Vec<String> {
    let links = observe::items(&observe::ip(machine, "-j addr"));
    let infos = links.iter().flat_map(|link| observe::items(&link["addr_info"]));
    infos.filter_map(|info| Some(info["local"].as_str()?.to_owned())).collect()
}

/// Whether this kernel has SCTP.
fn has_sctp() -> bool {
    let script = "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)";
    netlab_tests::command::run(&mut netlab_tests::command::command(&["python3", "-c", script]))
        .is_ok()
}
