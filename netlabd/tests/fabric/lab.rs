// SPDX-License-Identifier: GPL-3.0-or-later
//! Nodes with pods, and a router between their subnets, all in namespaces of the test's own.
//!
//! ```text
//!   n1 ─┐                                   ┌─ n3      with `racks`; all nodes are in rack 1 with
//!   n2 ─┴─ rack1 ─── router ─── rack2 ──────┘          `flat`
//!          10.0.1.0/24  │  10.0.2.0/24
//!                    outside 10.0.9.9
//! ```
//!
//! The router knows no route to a pod and drops what it has no route for, as routers of others do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use netlab_api::RouteMode;
use netlab_link::{Families, IfName, Netns, PodAddresses, PodLink, sysctl};
use netlabd::control::config::ClusterConfig;
use netlabd::node::network::apply::Wanted;
use netlabd::node::network::fabric::{Fabric, FabricWish, Outcome, Peer};
use netlabd::node::network::{Network, NetworkOptions, pin_dir};
use netlabd::node::rules::Rules;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::netns::{connect, namespace};
pub(crate) use crate::netns::{sh, try_sh};

pub(crate) struct Lab {
    pub(crate) nodes: Vec<Node>,
    pub(crate) router: Netns,
    pub(crate) outside: Netns,
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) netns: Netns,
    pub(crate) fabric: Fabric,
    pub(crate) network: Network,
    pub(crate) pods: Vec<Pod>,
    number: u8,
    rack: u8,
    run_dir: TempDir,
}

pub(crate) struct Pod {
    pub(crate) netns: Netns,
    pub(crate) v4: IpAddr,
    pub(crate) v6: IpAddr,
    pub(crate) name: String,
    pub(crate) link: PodLink,
}

pub(crate) fn pod_networks() -> Vec<IpNet> {
    vec!["10.42.0.0/16".parse().unwrap(), "fd42::/48".parse().unwrap()]
}

impl Lab {
    /// Nodes in one subnet, with one pod each.
    pub(crate) fn flat(nodes: u8) -> Lab {
        Lab::build(&vec![1; nodes.into()])
    }

    /// Two nodes in one subnet and one in another, with one pod each.
    pub(crate) fn racks() -> Lab {
        Lab::build(&[1, 1, 2])
    }

    fn build(racks: &[u8]) -> Lab {
        // Pins are mounts: in a mount namespace of this thread they go with the test.
        unshare(CloneFlags::CLONE_NEWNS).expect("tests need root");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let (router, outside) = (namespace(), namespace());
        sh(
            &router,
            "ip link set lo up
             echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
             for rack in 1 2; do
                 ip link add rack$rack type bridge
                 ip addr add 10.0.$rack.254/24 dev rack$rack
                 ip addr add 2001:db8:$rack::254/64 dev rack$rack nodad
                 ip link set rack$rack up
             done
             # Sources without a way back are dropped, as in most networks of others.
             for c in all default rack1 rack2; do echo 1 >/proc/sys/net/ipv4/conf/$c/rp_filter; done",
        );
        connect(&router, "outside", &outside);
        sh(
            &router,
            "ip addr add 10.0.9.254/24 dev outside; ip addr add 2001:db8:9::254/64 dev outside nodad",
        );
        sh(
            &outside,
            "ip addr add 10.0.9.9/24 dev eth0; ip addr add 2001:db8:9::9/64 dev eth0 nodad
             ip route add default via 10.0.9.254; ip route add default via 2001:db8:9::254",
        );
        let nodes = racks
            .iter()
            .zip(1..)
            .map(|(&rack, number)| {
                let netns = namespace();
                connect(&router, &format!("n{number}"), &netns);
                sh(&router, &format!("ip link set n{number} master rack{rack}"));
                sh(
                    &netns,
                    &format!(
                        "ip addr add 10.0.{rack}.{number}/24 dev eth0
                         ip addr add 2001:db8:{rack}::{number}/64 dev eth0 nodad
                         ip route add default via 10.0.{rack}.254
                         ip route add default via 2001:db8:{rack}::254"
                    ),
                );
                Node::new(netns, number, rack)
            })
            .collect();
        Lab { nodes, router, outside }
    }

    /// What a node is told of all.
    pub(crate) fn wish(&mut self, node: usize, mode: RouteMode) -> FabricWish {
        let underlay = self.nodes[node].fabric.underlay().unwrap();
        let this = &self.nodes[node];
        FabricWish {
            this: this.name.clone(),
            mode,
            pod_networks: pod_networks(),
            own_blocks: this.blocks(),
            peers: self
                .nodes
                .iter()
                .filter(|other| other.name != this.name)
                .map(|other| Peer {
                    name: other.name.clone(),
                    addresses: other.addresses(),
                    blocks: other.blocks(),
                })
                .collect(),
            underlay,
            tunnel: this.tunnel(),
            accept_encapsulated: false,
            mtu: None,
        }
    }

    /// Has every node do what is wished, one after the other, and gives the pods the MTU.
    pub(crate) fn ensure(&mut self, change: impl Fn(&mut FabricWish)) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for node in 0..self.nodes.len() {
            let mut wish = self.wish(node, RouteMode::HostGw);
            change(&mut wish);
            let outcome = self.nodes[node].ensure(&wish);
            self.nodes[node].set_mtu(outcome.pod_mtu);
            outcomes.push(outcome);
        }
        outcomes
    }

    pub(crate) fn set_mode(&mut self, mode: RouteMode) -> Vec<Outcome> {
        self.ensure(|wish| wish.mode = mode)
    }

    /// Each pod with each pod of another node.
    pub(crate) fn pairs(&self) -> Vec<(&Pod, &Pod)> {
        let mut pairs = Vec::new();
        for from in &self.nodes {
            for to in self.nodes.iter().filter(|to| to.name != from.name) {
                for one in &from.pods {
                    pairs.extend(to.pods.iter().map(|other| (one, other)));
                }
            }
        }
        pairs
    }
}

impl Node {
    fn new(netns: Netns, number: u8, rack: u8) -> Node {
        sysctl::ensure_forwarding(&netns, &[IfName::new("eth0").unwrap()]).unwrap();
        // The rules stay when the socket goes.
        let config = ClusterConfig {
            pod_networks: pod_networks(),
            cluster_dns: Vec::new(),
            domain: "cluster.local".to_owned(),
            services: Default::default(),
        };
        netns.run(|| Rules::open(&config).unwrap().ensure().unwrap()).unwrap();
        let run_dir = TempDir::new().unwrap();
        let network = Network::open(NetworkOptions {
            node: netns.try_clone().unwrap(),
            run_dir: run_dir.path().to_owned(),
            pool_size: 0,
            mtu: 1500,
            families: Families::DUAL_STACK,
            known: BTreeMap::new(),
        })
        .unwrap();
        let fabric = Fabric::open(&netns).unwrap();
        let name = format!("n{number}");
        let mut node =
            Node { name, netns, fabric, network, pods: Vec::new(), number, rack, run_dir };
        node.add_pod();
        node
    }

    /// Makes the next pod of the node.
    pub(crate) fn add_pod(&mut self) {
        let host = 5 + self.pods.len();
        let addresses = PodAddresses {
            v4: Some(format!("10.42.{}.{host}", self.number).parse().unwrap()),
            v6: Some(format!("fd42::{}:{host}", self.number).parse().unwrap()),
        };
        let name = format!("default/pod-{}-{host}", self.number);
        let wanted = [Wanted { pod: name.clone(), addresses }];
        let link = self.network.claim(&wanted).remove(0).unwrap();
        let netns = Netns::open(&link.id.pin(&pin_dir(self.run_dir.path()))).unwrap();
        let (v4, v6) = (addresses.v4.unwrap().into(), addresses.v6.unwrap().into());
        self.pods.push(Pod { netns, v4, v6, name, link });
    }

    pub(crate) fn ensure(&mut self, wish: &FabricWish) -> Outcome {
        self.fabric.ensure(wish, Instant::now()).unwrap()
    }

    pub(crate) fn set_mtu(&mut self, mtu: u32) {
        if self.network.mtu() == mtu {
            return;
        }
        let links: Vec<_> = self
            .pods
            .iter()
            .map(|pod| (pod.name.clone(), pod.link.id, pod.link.host_index))
            .collect();
        self.network.set_mtu(&links, mtu).unwrap();
    }

    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let Self { rack, number, .. } = self;
        [format!("10.0.{rack}.{number}"), format!("2001:db8:{rack}::{number}")]
            .map(|it| it.parse().unwrap())
            .to_vec()
    }

    pub(crate) fn blocks(&self) -> Vec<IpNet> {
        let number = self.number;
        [format!("10.42.{number}.0/26"), format!("fd42::{number}:0/122")]
            .map(|it| it.parse().unwrap())
            .to_vec()
    }

    /// Addresses of its blocks that no pod has.
    pub(crate) fn tunnel(&self) -> Vec<IpAddr> {
        let number = self.number;
        [format!("10.42.{number}.1"), format!("fd42::{number}:1")]
            .map(|it| it.parse().unwrap())
            .to_vec()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Pins are mounts on files of the folder, which has to go.
        let pins = pin_dir(self.run_dir.path());
        for pod in self.pods.drain(..) {
            let _ = self.network.remove(&[(pod.name, pod.link.id)]);
        }
        while umount2(&pins, MntFlags::MNT_DETACH).is_ok() {}
    }
}
