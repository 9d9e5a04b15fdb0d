// SPDX-License-Identifier: GPL-3.0-or-later
//! Flows of real packets, translated as those of services are; the `conntrack` tool observes.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use netlab_nft::conntrack::Filter;
use netlab_nft::{Conntrack, Family, Flow};

use crate::namespace::Namespace;

/// Generous, because it only bounds a failure.
const DEADLINE: Duration = Duration::from_secs(20);

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A client with the rules of a service, and a server that is its endpoint.
struct Lab {
    client: Namespace,
    server: Namespace,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { client: Namespace::new(), server: Namespace::new() };
        lab.client.sh(&format!(
            "ip link add eth0 type veth peer name eth0 netns {}
             ip addr add 192.0.2.1/24 dev eth0; ip addr add 2001:db8::1/64 dev eth0 nodad
             ip link set eth0 up
             ip route add 10.43.0.0/16 dev eth0; ip route add fd43::/112 dev eth0",
            lab.server.pid()
        ));
        lab.server
            .sh("ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad
             ip link set eth0 up");
        lab.client.sh_with(
            "nft -f -",
            "table ip service { chain out { type nat hook output priority -100;
                ip daddr 10.43.0.1 udp dport 53 dnat to 192.0.2.2:5353
                ip daddr 10.43.0.1 tcp dport 80 dnat to 192.0.2.2:8080; }; }
             table ip6 service { chain out { type nat hook output priority -100;
                ip6 daddr fd43::1 udp dport 53 dnat to [2001:db8::2]:5353
                ip6 daddr fd43::1 tcp dport 80 dnat to [2001:db8::2]:8080; }; }",
        );
        lab
    }

    fn conntrack(&self) -> Conntrack {
        self.client.within(|| Conntrack::open().unwrap())
    }

    fn udp(&self, at: &str) -> UdpSocket {
        let at: SocketAddr = at.parse().unwrap();
        let socket = self.client.within(|| UdpSocket::bind(at).unwrap());
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    /// An endpoint that answers whatever comes.
    fn answer(&self, at: &str) -> UdpSocket {
        let at: SocketAddr = at.parse().unwrap();
        let socket = self.server.within(|| UdpSocket::bind(at).unwrap());
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    /// What `conntrack -L` prints, of both families, in the form that [`lines`] has.
    fn observed(&self) -> Vec<String> {
        let lines = self.client.sh("conntrack -L -f ipv4 2>&-; conntrack -L -f ipv6 2>&-");
        let mut lines: Vec<String> = lines.lines().map(steady).collect();
        lines.sort();
        lines
    }
}

/// One question and its answer.
fn ask(client: &UdpSocket, server: &UdpSocket, service: &str) {
    let service: SocketAddr = service.parse().unwrap();
    client.send_to(b"question", service).unwrap();
    let mut buffer = [0; 16];
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(b"answer", from).unwrap();
    assert_eq!(client.recv_from(&mut buffer).unwrap(), (6, service), "answered as the service");
}

/// A line without what changes from one look to the next: the timeout and the count of users.
fn steady(line: &str) -> String {
    let words = line.split_whitespace().enumerate();
    let words = words.filter(|(place, word)| *place != 2 && !word.starts_with("use="));
    words.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
}

fn lines(flows: &[Flow]) -> Vec<String> {
    let mut lines: Vec<String> = flows.iter().map(|flow| steady(&flow.to_string())).collect();
    lines.sort();
    lines
}

fn list(conntrack: &mut Conntrack, filter: &Filter) -> Vec<Flow> {
    let mut flows = Vec::new();
    conntrack.list(filter, |flow| flows.push(flow)).unwrap();
    flows
}

#[test]
fn every_flow_is_listed_as_the_conntrack_tool_lists_it() {
    let lab = Lab::new();
    lab.client.sh("echo 1 >/proc/sys/net/netfilter/nf_conntrack_acct");
    let (server, server6) = (lab.answer("192.0.2.2:5353"), lab.answer("[2001:db8::2]:5353"));
    ask(&lab.udp("192.0.2.1:4000"), &server, "10.43.0.1:53");
    ask(&lab.udp("[2001:db8::1]:4000"), &server6, "[fd43::1]:53");
    // Not translated, not answered, and no ports at all.
    lab.udp("192.0.2.1:4001").send_to(b"x", "192.0.2.2:5353").unwrap();
    lab.client.sh("ping -c 1 -w 20 192.0.2.2 && ping -c 1 -w 20 2001:db8::2");
    let mut connections = Vec::new();
    for (at, service) in
        [("192.0.2.2:8080", "10.43.0.1:80"), ("[2001:db8::2]:8080", "[fd43::1]:80")]
    {
        let at: SocketAddr = at.parse().unwrap();
        let listener = lab.server.within(|| TcpListener::bind(at).unwrap());
        let service: SocketAddr = service.parse().unwrap();
        let mut client =
            lab.client.within(|| TcpStream::connect_timeout(&service, DEADLINE).unwrap());
        let (mut accepted, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        accepted.read_exact(&mut [0; 5]).unwrap();
        connections.push((client, accepted));
    }
    let mut conntrack = lab.conntrack();
    // The last acknowledgements may be on their way, and are counted.
    let deadline = Instant::now() + DEADLINE;
    let flows = loop {
        let before = lab.observed();
        let flows = list(&mut conntrack, &Filter::default());
        if lines(&flows) == before || Instant::now() > deadline {
            assert_eq!(lines(&flows), before);
            break flows;
        }
    };
    assert_eq!(flows.len(), 7, "{:?}", lines(&flows));
    let text = lines(&flows).join("\n");
    assert!(text.contains("ESTABLISHED src=192.0.2.1 dst=10.43.0.1"), "{text}");
    assert!(text.contains("packets=1 bytes=36"), "8 bytes of UDP are counted: {text}");

    let only = |filter: Filter, conntrack: &mut Conntrack| lines(&list(conntrack, &filter)).len();
    let family = Some(Family::Ip6);
    assert_eq!(only(Filter { family, ..Filter::default() }, &mut conntrack), 3);
    assert_eq!(only(Filter { protocol: Some(UDP), ..Filter::default() }, &mut conntrack), 3);
    assert_eq!(only(Filter { translated: true, ..Filter::default() }, &mut conntrack), 4);
    let filter = Filter { family, protocol: Some(TCP), translated: true };
    let [flow] = &list(&mut conntrack, &filter)[..] else {
        panic!("one is IPv6, TCP and a service's")
    };
    assert_eq!(flow.original.destination, "[fd43::1]:80".parse().unwrap());
    assert_eq!(flow.reply.source, "[2001:db8::2]:8080".parse().unwrap());
    assert_eq!(flow.state, Some("ESTABLISHED"));
    assert!(flow.is_assured() && flow.is_replied() && !flow.is_source_translated());
}

#[test]
fn a_deleted_flow_is_gone_and_its_client_is_answered_by_the_next_endpoint() {
    let lab = Lab::new();
    let server = lab.answer("192.0.2.2:5353");
    let (client, other) = (lab.udp("192.0.2.1:4000"), lab.udp("192.0.2.1:4001"));
    ask(&client, &server, "10.43.0.1:53");
    ask(&other, &server, "10.43.0.1:53");
    let server6 = lab.answer("[2001:db8::2]:5353");
    ask(&lab.udp("[2001:db8::1]:4000"), &server6, "[fd43::1]:53");
    lab.client.sh("ping -c 1 -w 20 192.0.2.2 && ping -c 1 -w 20 2001:db8::2");
    let mut conntrack = lab.conntrack();

    // The endpoint goes and another comes; the flow leads to the old one all the same.
    lab.client.sh("nft flush chain ip service out
         nft add rule ip service out ip daddr 10.43.0.1 udp dport 53 dnat to 192.0.2.2:5454");
    let next = lab.answer("192.0.2.2:5454");
    ask(&client, &server, "10.43.0.1:53");
    let filter = Filter { protocol: Some(UDP), translated: true, family: Some(Family::Ip) };
    let flows = list(&mut conntrack, &filter);
    let doomed: Vec<Flow> =
        flows.into_iter().filter(|flow| flow.original.source.port() == 4000).collect();
    assert_eq!(doomed.len(), 1);
    conntrack.delete(&doomed).unwrap();
    let left = lab.observed();
    assert_eq!(left.len(), 4, "the other client's, IPv6 and two of ICMP: {left:?}");
    assert!(left.iter().any(|line| line.contains("sport=4001 dport=53")), "{left:?}");
    assert!(!left.iter().any(|line| line.contains("sport=4000 dport=53 src=192")), "{left:?}");
    ask(&client, &next, "10.43.0.1:53");

    // The new flow has the same client and service, perhaps even the same number, and is not the
    // one that was meant.
    conntrack.delete(&doomed).unwrap();
    assert_eq!(lab.observed().len(), 5);

    // All kinds go, gone ones and living ones together.
    let mut all = list(&mut conntrack, &Filter::default());
    all.extend(doomed);
    conntrack.delete(&all).unwrap();
    assert_eq!(lab.observed(), Vec::<String>::new());
    conntrack.delete(&[]).unwrap();
}

#[test]
fn flows_of_another_zone_are_told_apart() {
    let lab = Lab::new();
    lab.client.sh("nft add chain ip service zone '{ type filter hook output priority -300; }'
         nft add rule ip service zone udp sport 4000 ct zone set 7");
    lab.udp("192.0.2.1:4000").send_to(b"x", "192.0.2.2:5353").unwrap();
    let mut conntrack = lab.conntrack();
    let flows = list(&mut conntrack, &Filter::default());
    assert_eq!(flows.len(), 1);
    assert_eq!(flows[0].zone, 7);
    assert_eq!(lines(&flows), lab.observed());
    conntrack.delete(&[Flow { zone: 0, ..flows[0].clone() }]).unwrap();
    assert_eq!(lab.observed().len(), 1, "that of zone 0 was not there");
    conntrack.delete(&flows).unwrap();
    assert_eq!(lab.observed(), Vec::<String>::new());
}

#[test]
fn a_hundred_thousand_flows_are_listed_and_deleted_in_seconds() {
    const SOCKETS: u16 = 2;
    const PORTS: u16 = 50_000;
    let lab = Lab::new();
    lab.client.sh("echo 600 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout");
    // Nobody listens there: without this, as many refusals would come back.
    lab.server.sh(
        "nft add table ip deaf; nft add chain ip deaf in '{ type filter hook input priority 0; }'
         nft add rule ip deaf in meta l4proto udp drop",
    );
    let server: IpAddr = "192.0.2.2".parse().unwrap();
    for number in 0..SOCKETS {
        let socket = lab.udp(&format!("192.0.2.1:{}", 4000 + number));
        for port in 0..PORTS {
            socket.send_to(b"x", SocketAddr::new(server, 10_000 + port)).unwrap();
        }
    }
    let total = usize::from(SOCKETS) * usize::from(PORTS);
    let mut conntrack = lab.conntrack();
    let start = Instant::now();
    let mut count = 0;
    let filter = Filter { protocol: Some(UDP), ..Filter::default() };
    conntrack.list(&filter, |_| count += 1).unwrap();
    let listed = start.elapsed();
    assert_eq!(count, total);
    assert_eq!(lab.client.sh("conntrack -C").trim(), total.to_string());

    let start = Instant::now();
    let translated = Filter { translated: true, ..Filter::default() };
    conntrack.list(&translated, |flow| panic!("{flow} is of no service")).unwrap();
    let sifted = start.elapsed();

    let mut doomed = Vec::new();
    conntrack.list(&filter, |flow| doomed.push(flow)).unwrap();
    doomed.retain(|flow| flow.original.source.port() == 4000);
    let start = Instant::now();
    conntrack.delete(&doomed).unwrap();
    let deleted = start.elapsed();
    assert_eq!(lab.client.sh("conntrack -C").trim(), (total - doomed.len()).to_string());
    println!(
        "{total} flows: listed in {listed:?}, those of services among them found in {sifted:?}, \
         {} deleted in {deleted:?}",
        doomed.len()
    );
    // An unoptimised build takes a fraction of it on two busy cores.
    assert!(listed < Duration::from_secs(10) && deleted < Duration::from_secs(10));
}
