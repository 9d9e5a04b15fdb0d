// SPDX-License-Identifier: GPL-3.0-or-later
//! Packets that nobody should send.

use std::time::Duration;

use crate::lab::{Lab, V4, dial, question, receive, send, udp};

const WEB: &str = "web.default.svc.cluster.local";

/// A small generator (xorshift), so that a failure comes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// A question with some bytes changed, cut off or added.
fn mutated(random: &mut Random) -> Vec<u8> {
    let mut packet = question(1, WEB);
    for _ in 0..random.below(6) {
        let at = random.below(packet.len());
        packet[at] = random.next().to_le_bytes()[0];
    }
    match random.below(4) {
        0 => packet.truncate(random.below(packet.len() + 1)),
        1 => {
            for _ in 0..random.below(40) {
                packet.push(random.next().to_le_bytes()[0]);
            }
        }
        2 => packet = (0..random.below(80)).map(|_| random.next().to_le_bytes()[0]).collect(),
        _ => {}
    }
    packet
}

#[test]
fn a_flood_of_malformed_packets_does_no_harm() {
    let lab = Lab::new("");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let flood = udp(&lab.pod, V4);
    flood.set_nonblocking(true).unwrap();
    let asking = udp(&lab.pod, V4);
    asking.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut longer = 0;
    for round in 0..200_u16 {
        for _ in 0..200 {
            let packet = mutated(&mut random);
            let _ = flood.send(&packet);
            let mut answer = [0; 1500];
            while let Ok(length) = flood.recv(&mut answer) {
                longer += usize::from(length > 1232);
            }
        }
        asking.send(&question(round, WEB)).unwrap();
        let mut answer = [0; 512];
        let length = asking.recv(&mut answer).expect("an answer during the flood");
        assert_eq!(answer[..2], round.to_be_bytes());
        assert_eq!(answer[length - 4..length], [10, 43, 0, 80]);
    }
    assert_eq!(longer, 0);
    // The same over TCP, where what has no header ends a connection.
    let mut stream = dial(&lab.pod, V4);
    for _ in 0..500 {
        let mut packet = mutated(&mut random);
        packet.resize(packet.len().max(12), 0);
        send(&mut stream, &packet).unwrap();
    }
    send(&mut stream, &question(0xabcd, WEB)).unwrap();
    while receive(&mut stream).expect("an answer after all that")[..2] != [0xab, 0xcd] {}
}

#[test]
fn what_is_not_served_is_said_as_coredns_says_it() {
    let lab = Lab::new("");
    let says = |what: &str, expected: &str| {
        let answer = lab.dig(&lab.pod, &format!("@{V4} {what}"));
        assert!(answer.contains(expected), "{what}: {answer}");
    };
    says("CH TXT version.bind", "status: REFUSED");
    says("+edns=1 +noednsneg web.default.svc.cluster.local", "status: BADVERS");
    says("+opcode=STATUS web.default.svc.cluster.local", "status: NOTIMP");
    says("+opcode=UPDATE web.default.svc.cluster.local", "status: NOTIMP");
    says("+opcode=NOTIFY cluster.local SOA", "status: NOERROR");
    says("+header-only", "status: FORMERR");

    let socket = udp(&lab.pod, V4);
    // A response, and what is no message: nothing comes, and then the answer to the last one.
    let mut response = question(1, WEB);
    response[2] |= 0x80;
    socket.send(&response).unwrap();
    socket.send(&response[..11]).unwrap();
    let mut two = question(2, WEB);
    two[5] = 2;
    socket.send(&two).unwrap();
    let mut answer = [0; 512];
    assert_eq!(socket.recv(&mut answer).unwrap(), 12);
    assert_eq!((answer[1], answer[3] & 0xf), (2, 1));
}
