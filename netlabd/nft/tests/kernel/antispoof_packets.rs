// SPDX-License-Identifier: GPL-3.0-or-later
//! A pod that sends with addresses that are not its own, and one that does not.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use crate::namespace::Namespace;
use crate::{GROUP, antispoof_plan, socket};

/// Sends one UDP packet with any source: everything below Ethernet is written here, and the
/// kernel of the sender does not look at it. Arguments: source, destination, port, text.
const FORGE: &str = r#"
import socket, struct, sys, ipaddress
src, dst = (ipaddress.ip_address(a) for a in sys.argv[1:3])
port, text = int(sys.argv[3]), sys.argv[4].encode()
def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def udp(pseudo):
    length = 8 + len(text)
    plain = struct.pack("!HHHH", 4000, port, length, 0) + text
    return struct.pack("!HHHH", 4000, port, length, checksum(pseudo(length) + plain)) + text
if src.version == 4:
    body = udp(lambda n: src.packed + dst.packed + struct.pack("!BBH", 0, 17, n))
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0, src.packed, dst.packed)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
else:
    body = udp(lambda n: src.packed + dst.packed + struct.pack("!IxxxB", n, 17))
    head = struct.pack("!IHBB16s16s", 6 << 28, len(body), 17, 64, src.packed, dst.packed)
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
kind = 0x0800 if src.version == 4 else 0x86dd
link.send(bytes.fromhex("02000000000102") + b"\0\0\0\0\x02" + struct.pack("!H", kind) + head + body)
"#;

struct Lab {
    pods: [Namespace; 2],
    node: Namespace,
}

impl Lab {
    /// Two pods as netlab links them: layer 3, routes to single addresses, a group on the node's
    /// ends. IPv4's own reverse path filter is off, so that the rules are alone.
    fn new() -> Self {
        let lab = Self { pods: [Namespace::new(), Namespace::new()], node: Namespace::new() };
        lab.node.sh(
            "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
        );
        for (i, pod) in lab.pods.iter().enumerate() {
            lab.node.sh(&format!(
                "ip link add pod{i} group {GROUP} address 02:00:00:00:00:01 type veth \
                    peer name eth0 address 02:00:00:00:00:02 netns {}
                 ip link set pod{i} up
                 echo 0 >/proc/sys/net/ipv4/conf/pod{i}/rp_filter",
                pod.pid()
            ));
            pod.sh(&format!(
                "ip link set eth0 up
                 ip addr add 10.42.0.{i}/32 dev eth0; ip addr add fd42::1{i}/128 dev eth0 nodad
                 ip neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0
                 ip neigh add fe80::1 lladdr 02:00:00:00:00:01 dev eth0
                 ip route add default via 169.254.1.1 dev eth0 onlink
                 ip route add default via fe80::1 dev eth0"
            ));
            lab.node.sh(&format!(
                "ip route add 10.42.0.{i} dev pod{i}; ip route add fd42::1{i} dev pod{i}
                 ip neigh add 10.42.0.{i} lladdr 02:00:00:00:00:02 dev pod{i}
                 ip neigh add fd42::1{i} lladdr 02:00:00:00:00:02 dev pod{i}"
            ));
        }
        lab.node.sh("ip addr add 192.0.2.1/32 dev lo; ip addr add 2001:db8::1/128 dev lo");
        lab
    }

    fn counted(&self, family: &str) -> u64 {
        let listing = self.node.sh(&format!("nft -j list chain {family} netlab antispoof"));
        let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
        let rules = listing["nftables"].as_array().unwrap().iter();
        let expressions = rules.filter_map(|it| it["rule"]["expr"].as_array()).flatten();
        expressions.filter_map(|it| it["counter"]["packets"].as_u64()).sum()
    }
}

fn forge(pod: &Namespace, source: &str, destination: &str, port: u16, text: &str) {
    pod.sh_with(&format!("python3 - {source} {destination} {port} {text}"), FORGE);
}

/// A socket at any port of an address.
fn listen(place: &Namespace, address: &str) -> (UdpSocket, u16) {
    let address: IpAddr = address.parse().unwrap();
    let socket = place.within(|| UdpSocket::bind((address, 0)).unwrap());
    // Generous, because it only bounds a failure.
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// The next packet: who sent it, and what it says.
fn next(socket: &UdpSocket) -> (String, String) {
    let mut buffer = [0; 100];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (from.ip().to_string(), String::from_utf8(buffer[..len].to_vec()).unwrap())
}

#[test]
fn forged_sources_are_dropped_at_the_link_and_counted_and_honest_ones_pass() {
    let lab = Lab::new();
    let [bad, good] = &lab.pods;
    for (family, own, others, victims) in [
        ("ip", "10.42.0.0", ["10.42.0.1", "192.0.2.1", "203.0.113.9"], ["10.42.0.1", "192.0.2.1"]),
        (
            "ip6",
            "fd42::10",
            ["fd42::11", "2001:db8::1", "2001:db8:9::9"],
            ["fd42::11", "2001:db8::1"],
        ),
    ] {
        for (victim, place) in victims.iter().zip([good, &lab.node]) {
            let (inbox, port) = listen(place, victim);
            // What the test rests upon: without the rules a stranger's address gets through.
            forge(bad, others[2], victim, port, "before");
            assert_eq!(next(&inbox), (others[2].to_owned(), "before".to_owned()));

            socket(&lab.node).commit(&antispoof_plan()).unwrap();
            for source in others {
                forge(bad, source, victim, port, "forged");
            }
            // One link, one way: had any of the others passed, it would come first.
            forge(bad, own, victim, port, "honest");
            assert_eq!(next(&inbox), (own.to_owned(), "honest".to_owned()));
            assert_eq!(lab.counted(family), others.len() as u64);
            socket(&lab.node).commit(&netlab_nft::teardown()).unwrap();
        }
    }
}

#[test]
fn what_is_of_the_link_alone_is_not_held_up() {
    let lab = Lab::new();
    socket(&lab.node).commit(&antispoof_plan()).unwrap();
    let [pod, other] = &lab.pods;
    // Neighbour discovery with link-local addresses, as a pod may do by itself.
    pod.sh("ip addr add fe80::7/64 dev eth0 nodad; ip neigh flush dev eth0 nud all");
    lab.node.sh("ip addr add fe80::1/64 dev pod0 nodad; ip neigh flush dev pod0 nud all");
    pod.sh("ping -c 1 -w 20 fe80::1%eth0");
    lab.node.sh("ping -c 1 -w 20 fe80::7%pod0");
    assert_eq!(lab.counted("ip6"), 0);
    // Pod to pod, both ways, both families.
    lab.node.sh("ip neigh add fd42::10 lladdr 02:00:00:00:00:02 dev pod0
        ip neigh add 10.42.0.0 lladdr 02:00:00:00:00:02 dev pod0");
    pod.sh("ip neigh add 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0");
    pod.sh("ping -c 1 -w 20 10.42.0.1; ping -c 1 -w 20 fd42::11");
    other.sh("ping -c 1 -w 20 10.42.0.0; ping -c 1 -w 20 fd42::10");
    assert_eq!((lab.counted("ip"), lab.counted("ip6")), (0, 0));
}
