// SPDX-License-Identifier: GPL-3.0-or-later
//! Several nodes in racks: each rack a bridge in a namespace of its own, a router between them.
//!
//! ```text
//!   n1 172.30.1.1   n2 172.30.1.2        n3 172.30.2.1
//!      └──── rack 1 ────┘                  rack 2
//!              └───────── router ───────────┘
//!               172.30.1.254    172.30.2.254
//! ```
//!
//! IPv6 is the same with `fd44:0:0:<rack>::<number>`. Node `n1` is the server. Hosts, which are no
//! part of the cluster, are in rack 1 from number 101 on.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Output;
use crate::lab::Lab;
use crate::machine::{Machine, unique};
use crate::wait::poll;

/// MTU between nodes.
pub const MTU: u32 = 1500;

/// Port of the server for nodes.
const PORT: u16 = 7411;

/// Number of the first host in rack 1.
const FIRST_HOST: usize = 101;

/// What a cluster is made of.
#[derive(Debug)]
pub struct ClusterBuilder {
    name: String,
    racks: Vec<usize>,
    hosts: Vec<String>,
    config: String,
}

impl ClusterBuilder {
    /// Machines outside of the cluster, beside the nodes of rack 1.
    pub fn hosts(mut self, names: &[&str]) -> ClusterBuilder {
        self.hosts = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// So many nodes in each rack; 3 in one unless said. Names go on from rack to rack.
    pub fn racks(mut self, nodes: &[usize]) -> ClusterBuilder {
        self.racks = nodes.to_vec();
        self
    }

    /// Lines of every node's `netlabd.toml`.
    pub fn config(mut self, lines: &str) -> ClusterBuilder {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Makes the machines, starts the server, and lets the others join.
    #[track_caller]
    pub fn start(self) -> Cluster {
        let id = unique(&self.name);
        let router = Machine::new(format!("{id}r"));
        router.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]).ok();
        router.exec(&["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]).ok();
        let mut nodes = Vec::new();
        let mut racks = Vec::new();
        for (index, count) in self.racks.iter().enumerate() {
            let rack = index + 1;
            let switch = Machine::new(format!("{id}s{rack}"));
            switch.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0");
            switch.ip("link set br0 up");
            plug(&router, &format!("rack{rack}"), &switch, "router", rack, 254);
            for number in 1..=*count {
                let name = format!("n{}", nodes.len() + 1);
                let machine = attach(&id, &switch, &name, rack, number);
                let lab = Lab::builder(&format!("{}-{name}", self.name));
                nodes.push(lab.named(&name).config(&self.config).on(machine).build());
            }
            racks.push(switch);
        }
        let hosts = self.hosts.iter().zip(FIRST_HOST..);
        let hosts =
            hosts.map(|(name, number)| (name.clone(), attach(&id, &racks[0], name, 1, number)));
        let hosts = hosts.collect();
        let mut cluster = Cluster { nodes, hosts, racks, router };
        cluster.start();
        cluster
    }
}

/// Several nodes, joined.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes; the first is the server. They go before what joins them.
    nodes: Vec<Lab>,
    /// Machines outside of it, by name.
    hosts: BTreeMap<String, Machine>,
    racks: Vec<Machine>,
    /// The router between the racks.
    pub router: Machine,
}

impl Cluster {
    /// A cluster to be.
    pub fn builder(name: &str) -> ClusterBuilder {
        let (name, racks) = (name.to_owned(), vec![3]);
        ClusterBuilder { name, racks, hosts: Vec::new(), config: String::new() }
    }

    #[track_caller]
    fn start(&mut self) {
        self.nodes[0].add_flag(&format!("--listen=0.0.0.0:{PORT}"));
        self.nodes[0].start();
        if self.nodes.len() == 1 {
            return;
        }
        let token = self.token();
        for node in &mut self.nodes[1..] {
            node.add_flag(&format!("--join=https://172.30.1.1:{PORT}"));
            node.add_flag(&format!("--token={token}"));
            node.spawn();
        }
        for node in &mut self.nodes[1..] {
            node.wait_ready();
        }
    }

    /// A new token.
    #[track_caller]
    pub fn token(&self) -> String {
        let issued = self.server().api("POST", "/v1/tokens", Some(&json!({}))).expect(201);
        issued["token"].as_str().expect("a token").to_owned()
    }

    /// The server, `n1`.
    pub fn server(&self) -> &Lab {
        &self.nodes[0]
    }

    /// A node by its name.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn node(&self, name: &str) -> &Lab {
        self.nodes.iter().find(|node| node.node_name == name).expect("a node of the cluster")
    }

    /// A node by its name, to start and stop it.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn node_mut(&mut self, name: &str) -> &mut Lab {
        self.nodes.iter_mut().find(|node| node.node_name == name).expect("a node of the cluster")
    }

    /// A host by its name.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn host(&self, name: &str) -> &Machine {
        self.hosts.get(name).expect("a host beside the cluster")
    }

    /// All nodes, the server first.
    pub fn nodes(&self) -> &[Lab] {
        &self.nodes
    }

    /// The switch of a rack; racks count from 1.
    pub fn rack(&self, rack: usize) -> &Machine {
        &self.racks[rack - 1]
    }

    /// Runs `netlabctl WORDS` on the server.
    #[track_caller]
    pub fn ctl(&self, words: &[&str]) -> Output {
        self.server().ctl(words)
    }

    /// Runs a pod of namespace `default` on a node; returns when it is ready.
    #[track_caller]
    pub fn run_on(&self, node: &str, pod: &str, words: &[&str]) {
        let flag = format!("--node={node}");
        let words: Vec<_> =
            ["pod", "run", pod, &flag].into_iter().chain(words.iter().copied()).collect();
        self.ctl(&words).ok();
    }

    /// The node on which a pod of namespace `default` runs.
    #[track_caller]
    pub fn home_of(&self, pod: &str) -> &Lab {
        let pod = self.server().pod(pod);
        self.node(pod["spec"]["nodeName"].as_str().expect("a pod on a node"))
    }

    /// Runs a command of the host in a pod's network, wherever it runs.
    #[track_caller]
    pub fn pod_exec(&self, pod: &str, words: &[&str]) -> Output {
        self.home_of(pod).pod_exec(pod, words)
    }

    /// The `Ready` condition of a node, as `True`, `False` or `Unknown`.
    #[track_caller]
    pub fn ready(&self, node: &str) -> String {
        let node = self.server().get(&format!("/v1/nodes/{node}")).expect(200);
        let conditions = crate::observe::items(&node["status"]["conditions"]);
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        ready.and_then(|r| r["status"].as_str()).unwrap_or("none").to_owned()
    }

    /// Waits until a node's `Ready` condition has this status.
    #[track_caller]
    pub fn wait_node(&self, node: &str, status: &str) {
        poll(&format!("node {node} is {status}"), || (self.ready(node) == status).then_some(()));
    }

    /// Cuts a node off from all others: its port at the switch takes and gives nothing. The link
    /// stays up, as behind a switch that has failed.
    #[track_caller]
    pub fn cut(&self, node: &str) {
        self.set_port(node, "disabled");
    }

    /// Lets a node be reached again.
    #[track_caller]
    pub fn heal(&self, node: &str) {
        self.set_port(node, "forwarding");
    }

    #[track_caller]
    fn set_port(&self, node: &str, state: &str) {
        let (rack, _) = self.place_of(node);
        self.rack(rack).exec(&["bridge", "link", "set", "dev", node, "state", state]).ok();
    }

    /// Rack and number in it.
    #[track_caller]
    fn place_of(&self, node: &str) -> (usize, usize) {
        let address = self.address(node);
        let mut parts = address.split('.').skip(2).map(|part| part.parse().expect("a number"));
        (parts.next().expect("a rack"), parts.next().expect("a number"))
    }

    /// The IPv4 address of a node.
    #[track_caller]
    pub fn address(&self, node: &str) -> String {
        let links: Value = crate::observe::ip(&self.node(node).node, "-j -4 addr show dev eth0");
        let info = crate::observe::items(&links[0]["addr_info"]);
        info[0]["local"].as_str().expect("an address").to_owned()
    }

    /// How long a silent node counts as ready, for those who wait for it.
    pub fn patience() -> Duration {
        Duration::from_secs(15)
    }
}

/// Makes a machine in a rack, whose default route is the router's.
#[track_caller]
fn attach(id: &str, switch: &Machine, name: &str, rack: usize, number: usize) -> Machine {
    let machine = Machine::new(format!("{id}{name}"));
    plug(&machine, "eth0", switch, name, rack, number);
    machine.ip(&format!("route add default via 172.30.{rack}.254"));
    machine.ip(&format!("-6 route add default via fd44:0:0:{rack}::fe"));
    // Else one refusal a second is all that a client hears of.
    machine.exec(&["sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"]).ok();
    machine
}

/// Joins a machine to a switch by a cable with an address of the rack.
#[track_caller]
fn plug(machine: &Machine, port: &str, switch: &Machine, name: &str, rack: usize, number: usize) {
    machine
        .ip(&format!("link add {port} mtu {MTU} type veth peer name {name} netns {}", switch.name));
    machine.exec(&["sysctl", "-qw", &format!("net.ipv6.conf.{port}.accept_dad=0")]).ok();
    switch.ip(&format!("link set {name} mtu {MTU} master br0 up"));
    machine.ip(&format!("addr add 172.30.{rack}.{number}/24 dev {port}"));
    machine.ip(&format!("addr add fd44:0:0:{rack}::{number:x}/64 dev {port} nodad"));
    machine.ip(&format!("link set {port} up"));
}
