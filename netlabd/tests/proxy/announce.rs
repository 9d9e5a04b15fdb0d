// SPDX-License-Identifier: GPL-3.0-or-later
//! Load balancer addresses in the subnet of two nodes, and a client there that knows no route.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use netlab_link::Netns;
use netlabd::node::forwarding;
use netlabd::node::proxy::anchor::{Anchor, AnchorWish};
use netlabd::node::proxy::announce::{self, Announcer, Changes};
use tempfile::TempDir;

use crate::lab::{connect, dial, eventually, namespace, serve, sh};

const V4: &str = "192.0.2.240";
const V6: &str = "2001:db8::f1";

struct Lab {
    /// What joins them; it goes with this.
    _switch: Netns,
    client: Netns,
    nodes: [Node; 2],
}

struct Node {
    netns: Netns,
    announcer: Announcer,
    dir: TempDir,
}

impl Lab {
    /// A switch with the client and two nodes, each with an endpoint of its own.
    fn new() -> Lab {
        let (switch, client) = (namespace(), namespace());
        sh(&switch, "ip link add br0 type bridge; ip link set br0 up");
        connect(&switch, "client", &client);
        sh(&client, "ip addr add 192.0.2.9/24 dev eth0; ip addr add 2001:db8::9/64 dev eth0 nodad");
        let nodes = [1, 2].map(|number| {
            let netns = namespace();
            connect(&switch, &format!("n{number}"), &netns);
            Node::new(netns, number)
        });
        sh(&switch, "for link in client n1 n2; do ip link set $link master br0; done");
        Lab { _switch: switch, client, nodes }
    }

    /// Where the client believes an address to be.
    fn place(&self, address: &str) -> String {
        let shown = sh(&self.client, &format!("ip neigh show {address} dev eth0"));
        let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr");
        words.nth(1).unwrap_or_default().to_owned()
    }
}

impl Node {
    fn new(netns: Netns, number: u8) -> Node {
        let pod = namespace();
        connect(&netns, "nlpod", &pod);
        sh(
            &netns,
            &format!(
                "ip addr add 192.0.2.{number}/24 dev eth0; ip addr add 2001:db8::{number}/64 dev eth0 nodad
                 ip addr add 10.0.0.1/32 dev nlpod; ip addr add fd00::1/128 dev nlpod nodad
                 ip route add 10.42.0.5 dev nlpod; ip route add fd42::5 dev nlpod
                 echo 1 >/proc/sys/net/ipv4/conf/nlpod/forwarding
                 echo 1 >/proc/sys/net/ipv6/conf/nlpod/forwarding
                 [ ! -e /proc/sys/net/ipv6/conf/nlpod/force_forwarding ] ||
                     echo 1 >/proc/sys/net/ipv6/conf/nlpod/force_forwarding
                 nft 'table ip service {{ chain p {{ type nat hook prerouting priority -100; ip daddr {V4} tcp dport 80 dnat to 10.42.0.5:8080; }}; }}
                 table ip6 service {{ chain p {{ type nat hook prerouting priority -100; ip6 daddr {V6} tcp dport 80 dnat to [fd42::5]:8080; }}; }}'"
            ),
        );
        sh(
            &pod,
            "ip addr add 10.42.0.5/32 dev eth0; ip addr add fd42::5/128 dev eth0 nodad
             ip route add 10.0.0.1 dev eth0; ip route add default via 10.0.0.1
             ip route add fd00::1 dev eth0; ip route add default via fd00::1",
        );
        serve(&pod, "10.42.0.5:8080");
        serve(&pod, "[fd42::5]:8080");
        let networks = ["192.0.2.240/28", "2001:db8::f0/124"].map(|it| it.parse().unwrap()).into();
        Anchor::open(&netns)
            .unwrap()
            .ensure(&AnchorWish { networks, mtu: 1450, ..AnchorWish::default() })
            .unwrap();
        let dir = TempDir::new().unwrap();
        let announcer = Announcer::open(&netns, &dir.path().join("sysctls.json")).unwrap();
        let node = Node { netns, announcer, dir };
        forwarding::ensure(&node.netns, &node.journal()).unwrap();
        node
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("sysctls.json")
    }

    fn ensure(&mut self, addresses: &[&str]) -> Changes {
        let addresses: BTreeSet<IpAddr> = addresses.iter().map(|it| it.parse().unwrap()).collect();
        self.announcer.ensure(&addresses).unwrap()
    }

    fn mac(&self) -> String {
        let shown = sh(&self.netns, "ip -o link show eth0");
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).unwrap().to_owned()
    }

    fn proxied(&self) -> String {
        sh(&self.netns, "ip neigh show proxy; ip -6 neigh show proxy")
    }
}

fn both() -> Vec<IpAddr> {
    [V4, V6].map(|it| it.parse().unwrap()).to_vec()
}

#[test]
fn a_client_of_the_subnet_reaches_an_announced_address_and_hears_of_a_takeover() {
    let mut lab = Lab::new();
    assert_eq!(lab.nodes[0].ensure(&[V4, V6]).taken, both());
    for service in [format!("{V4}:80"), format!("[{V6}]:80")] {
        dial(&lab.client, &service).unwrap();
    }
    let first = lab.nodes[0].mac();
    assert_eq!([lab.place(V4), lab.place(V6)], [first.clone(), first.clone()]);

    // The client sends nothing: what changes its mind is what it is told. The first node still
    // answers meanwhile, as one that is cut off would.
    assert_eq!(lab.nodes[1].ensure(&[V4, V6]).taken, both());
    let second = lab.nodes[1].mac();
    assert_ne!(first, second);
    for address in [V4, V6] {
        eventually("the client knows the new place", || lab.place(address) == second);
    }
    assert_eq!(lab.nodes[0].ensure(&[]).released, both());
    assert_eq!(lab.nodes[0].proxied(), "");
    for service in [format!("{V4}:80"), format!("[{V6}]:80")] {
        dial(&lab.client, &service).unwrap();
    }
    // Who has to ask is answered by the second node only.
    sh(&lab.client, "ip neigh flush dev eth0");
    for service in [format!("{V4}:80"), format!("[{V6}]:80")] {
        dial(&lab.client, &service).unwrap();
    }
    assert_eq!([lab.place(V4), lab.place(V6)], [second.clone(), second]);
}

#[test]
fn a_neighbour_that_makes_sure_of_an_address_is_answered() {
    let mut lab = Lab::new();
    lab.nodes[0].ensure(&[V4, V6]);
    for address in [V4, V6] {
        dial(&lab.client, &if address == V4 { format!("{V4}:80") } else { format!("[{V6}]:80") })
            .unwrap();
        // It asks the address itself, by unicast; unanswered, the entry would fail.
        let mac = lab.nodes[0].mac();
        sh(&lab.client, &format!("ip neigh replace {address} lladdr {mac} dev eth0 nud probe"));
        eventually("the entry is confirmed", || {
            let shown = sh(&lab.client, &format!("ip neigh show {address} dev eth0"));
            assert!(!shown.contains("FAILED"), "{shown}");
            shown.contains("REACHABLE")
        });
    }
}

#[test]
fn an_address_that_is_taken_is_told_three_times_and_one_that_was_there_is_not() {
    let mut lab = Lab::new();
    sh(
        &lab.client,
        "nft 'table arp told { chain in { type filter hook input priority 0; arp saddr ip 192.0.2.240 counter; }; }
         table ip6 told { chain in { type filter hook input priority 0; icmpv6 type nd-neighbor-advert @th,64,128 0x20010db80000000000000000000000f1 counter; }; }'",
    );
    let count = || -> Vec<u64> {
        let shown = sh(&lab.client, "nft list table arp told; nft list table ip6 told");
        let after = shown.split("packets ").skip(1);
        after.map(|it| it.split(' ').next().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(count(), [0, 0]);
    let node = &mut lab.nodes[0];
    node.ensure(&[V4, V6]);
    // Of ARP both a question and an answer.
    eventually("told once", || count() == [2, 1]);
    assert!(node.announcer.tick().unwrap());
    eventually("told twice", || count() == [4, 2]);
    assert!(!node.announcer.tick().unwrap());
    eventually("told three times", || count() == [6, 3]);
    assert!(!node.announcer.tick().unwrap());
    assert_eq!(node.ensure(&[V4, V6]), Changes::default());
    // As after a restart.
    let mut next = Announcer::open(&node.netns, &node.journal()).unwrap();
    assert!(next.ensure(&both().into_iter().collect()).unwrap().is_empty());
    assert!(!next.is_due());
    // Frames arrive in order: had another been sent before this one, it would be counted.
    node.ensure(&[V4]);
    assert_eq!(node.ensure(&[V4, V6]).taken, [V6.parse::<IpAddr>().unwrap()]);
    eventually("told of IPv6 only", || count() == [6, 4]);
}

#[test]
fn what_others_did_is_mended_or_left_alone_and_everything_is_put_back() {
    let mut lab = Lab::new();
    let node = &mut lab.nodes[0];
    let settings = "cd /proc/sys/net; cat ipv4/neigh/eth0/proxy_delay ipv6/neigh/eth0/proxy_delay \
        ipv6/conf/eth0/accept_ra ipv6/conf/eth0/forwarding ipv6/conf/all/proxy_ndp";
    let before = sh(&node.netns, settings);
    sh(&node.netns, "ip neigh add proxy 192.0.2.77 dev eth0");
    node.ensure(&[V4, V6]);
    assert_eq!(sh(&node.netns, settings), "0\n0\n2\n1\n1\n");

    sh(
        &node.netns,
        &format!(
            "ip neigh del proxy {V4} dev eth0; echo 80 >/proc/sys/net/ipv4/neigh/eth0/proxy_delay"
        ),
    );
    assert_eq!(node.ensure(&[V4, V6]).taken, [V4.parse::<IpAddr>().unwrap()]);
    assert_eq!(sh(&node.netns, settings), "0\n0\n2\n1\n1\n");
    assert_eq!(node.ensure(&[V6]).released, [V4.parse::<IpAddr>().unwrap()]);

    announce::teardown(&node.netns).unwrap();
    forwarding::restore(&node.netns, &node.journal()).unwrap();
    let left = node.proxied();
    assert!(left.contains("192.0.2.77") && left.lines().count() == 1, "{left}");
    assert_eq!(sh(&node.netns, settings), before);
}

#[test]
fn without_a_link_of_its_family_an_address_has_no_place() {
    let netns = namespace();
    let dir = TempDir::new().unwrap();
    let mut announcer = Announcer::open(&netns, &dir.path().join("sysctls.json")).unwrap();
    let changes = announcer.ensure(&both().into_iter().collect()).unwrap();
    assert_eq!(changes.unplaced, both());
    assert!(changes.is_empty());
}
