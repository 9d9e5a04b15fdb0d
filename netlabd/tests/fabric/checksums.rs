// SPDX-License-Identifier: GPL-3.0-or-later
//! Checksums of encapsulated packets, as the network between the nodes sees them.
//!
//! A packet that goes through a device which leaves checksums to the next one carries a wrong one
//! until somebody fills it in. Where it was masqueraded as well, kernels and network cards have
//! forgotten to, and the receiver drops it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netlab_api::RouteMode;
use netlab_link::Netns;

use crate::lab::{Lab, sh};

/// Reads VXLAN packets at a link, and tells of each inner UDP and TCP packet whether its checksum
/// is right, until it has seen as many as wished. Arguments: link, count.
const CAPTURE: &str = r#"
import socket, struct, sys
link, left = sys.argv[1], int(sys.argv[2])
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
packets.bind((link, 0))
packets.settimeout(30)
print("ready", flush=True)
def total(data):
    data += b"\0" * (len(data) % 2)
    sum_ = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while sum_ >> 16:
        sum_ = (sum_ & 0xffff) + (sum_ >> 16)
    return sum_
while left:
    data = packets.recv(65536)
    if data[12:14] != b"\x08\x00" or data[23] != 17 or data[36:38] != struct.pack("!H", 4789):
        continue
    frame = data[50:]
    if frame[12:14] == b"\x08\x00":
        ip = frame[14:]
        protocol, length = ip[9], struct.unpack("!H", ip[2:4])[0] - 20
        body, addresses = ip[20:20 + length], ip[12:20]
    else:
        ip = frame[14:]
        protocol, length = ip[6], struct.unpack("!H", ip[4:6])[0]
        body, addresses = ip[40:40 + length], ip[8:40]
    if protocol not in (6, 17):
        continue
    right = total(addresses + struct.pack("!HH", protocol, length) + body) == 0xffff
    print("tcp" if protocol == 6 else "udp", "right" if right else "wrong", flush=True)
    left -= 1
"#;

struct Capture {
    python: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Capture {
    fn start(netns: &Netns, link: &str, count: u32) -> Capture {
        let mut python = Command::new("python3");
        python.args(["-c", CAPTURE, link, &count.to_string()]).stdout(Stdio::piped());
        let mut python = netns.run(|| python.spawn().unwrap()).unwrap();
        let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        Capture { python, lines }
    }

    fn finish(mut self) -> Vec<String> {
        let lines = self.lines.map_while(Result::ok).collect();
        self.python.wait().unwrap();
        lines
    }
}

/// Sends some packets of both protocols and families from a pod of the first node to one of the
/// last; what the network in between saw.
fn exchange(lab: &Lab) -> Vec<String> {
    let (from, to) = (&lab.nodes[0].pods[0].netns, &lab.nodes[2].pods[0]);
    // Each family: 3 of UDP, and of TCP at least 3 and 10 there and back.
    let capture = Capture::start(&lab.router, "n1", 2 * (3 + 3 + 20));
    for address in [to.v4, to.v6] {
        let inbox = to.netns.run(|| UdpSocket::bind((address, 0)).unwrap()).unwrap();
        inbox.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let there = inbox.local_addr().unwrap();
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = from.run(|| UdpSocket::bind(any).unwrap()).unwrap();
        let mut buffer = [0; 2000];
        for size in [1, 77, 1200] {
            socket.send_to(&vec![7; size], there).unwrap();
            assert_eq!(inbox.recv(&mut buffer).unwrap(), size);
        }
        let listener = to.netns.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
        let there = listener.local_addr().unwrap();
        let mut stream = from.run(|| TcpStream::connect(there).unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        for _ in 0..10 {
            stream.write_all(&[7; 1000]).unwrap();
            other.read_exact(&mut [0; 1000]).unwrap();
            other.write_all(b"thanks").unwrap();
            stream.read_exact(&mut [0; 6]).unwrap();
        }
    }
    capture.finish()
}

#[test]
fn the_network_sees_right_checksums_of_encapsulated_packets_masqueraded_or_not() {
    let mut lab = Lab::racks();
    lab.set_mode(RouteMode::Vxlan);
    let n1 = lab.nodes[0].netns.try_clone().unwrap();
    assert!(sh(&n1, "ethtool -k nlvx").contains("tx-checksumming: off"));
    let masquerade = "nft add table inet other
        nft 'add chain inet other post { type nat hook postrouting priority 90; }'
        nft add rule inet other post oifname nlvx masquerade fully-random";
    for script in ["true", masquerade] {
        sh(&n1, script);
        let seen = exchange(&lab);
        for line in ["udp right", "tcp right"] {
            assert!(seen.iter().any(|it| it == line), "{seen:?}");
        }
        assert!(seen.iter().all(|it| it.ends_with("right")), "{script}: {seen:?}");
    }
    // What the test rests upon: left to the devices, they are wrong between the nodes. What is
    // wrong here is filled in by nobody, since a pair of virtual links has no need to.
    sh(&n1, "ethtool -K nlvx tx on >/dev/null");
    let seen = exchange(&lab);
    assert!(seen.iter().any(|it| it.ends_with("wrong")), "{seen:?}");
    // And it is put back.
    let missing = lab.nodes[0].fabric.repair(std::time::Instant::now()).unwrap();
    assert_eq!(missing, ["checksums of link nlvx (they were left to the device)"]);
    assert!(sh(&n1, "ethtool -k nlvx").contains("tx-checksumming: off"));
}
