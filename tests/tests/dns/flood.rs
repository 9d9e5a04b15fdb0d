// SPDX-License-Identifier: GPL-3.0-or-later
//! A million packets that are random, or queries with something changed: the daemon lives, grows
//! by nothing, and answers all the while.

use std::fs;
use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netlab_tests::{Lab, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use serde_json::json;

use crate::fixtures::{Families, apply, objects};
use crate::outside::Outside;
use crate::stage::Stage;
use crate::wire::{Reply, ask, exchange, kind};

/// Packets that the daemon is to read.
const PACKETS: u64 = 1_000_000;

/// Packets of one system call.
const BATCH: usize = 64;

/// After so long, a client asks again.
const RETRY: Duration = Duration::from_millis(500);

/// A daemon that lives reads something in so long, however busy the machine is.
const STALLED: Duration = Duration::from_secs(20);

/// How much memory may grow, in KiB.
const GROWTH: u64 = 5 * 1024;

/// Numbers that are random enough, and the same each time (Marsaglia's xorshift).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[3]
    }
}

/// Queries from which others are made.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for name in [
        "web.default.svc.cluster.local.",
        "nobody.default.svc.cluster.local.",
        "_http._tcp.pets.default.svc.cluster.local.",
        "rex.pets.default.svc.cluster.local.",
        "inside.default.svc.cluster.local.",
        "10-42-0-5.default.pod.cluster.local.",
        "1.1.43.10.in-addr.arpa.",
        "dns-version.cluster.local.",
        "www.example.org.",
        ".",
    ] {
        for kind in [kind::A, kind::AAAA, kind::SRV, 12, kind::TXT, 255] {
            seeds.push(ask(name, kind).bytes());
            seeds.push(ask(name, kind).payload(4096).bytes());
        }
    }
    seeds
}

/// A packet: a query with something changed, or anything.
fn packet(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = seeds[random.below(seeds.len())].clone();
    // Those who ask for names outside stay few: they are others' work.
    match random.below(8) {
        0 => return (0..random.below(300)).map(|_| random.byte()).collect(),
        1 => packet.truncate(random.below(packet.len())),
        2 => packet.extend((0..random.below(200)).map(|_| random.byte()).collect::<Vec<_>>()),
        3 => {
            let at = random.below(packet.len());
            packet.splice(at..at, [0xc0, random.byte() & 63]);
        }
        4 => {
            // Counts and flags.
            let at = 2 + random.below(10);
            packet[at] = random.byte();
        }
        5 => {
            let (from, to) = (random.below(packet.len()), random.below(packet.len()));
            let part = packet[from.min(to)..from.max(to)].to_vec();
            packet.extend(part);
        }
        6 => {}
        _ => {
            for _ in 0..=random.below(4) {
                let at = 12 + random.below(packet.len() - 12);
                packet[at] ^= 1 << random.below(8);
            }
        }
    }
    packet
}

/// Memory of the daemon that is its own, in KiB.
fn memory(lab: &Lab) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", lab.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Datagrams that programs of the node have read.
fn read_so_far(lab: &Lab) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/net/snmp", lab.pid())).unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split(' ').position(|name| name == "InDatagrams").unwrap();
    values.split(' ').nth(place).unwrap().parse().unwrap()
}

/// Says at its end that the flood is over, also when that fails: nobody asks for ever.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends until the node has read so many more.
fn flood(lab: &Lab, socket: &UdpSocket, random: &mut Random, count: u64) {
    let seeds = seeds();
    let goal = read_so_far(lab) + count;
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let nowhere = vec![None; BATCH];
    let mut trash = [0; 2048];
    socket.set_nonblocking(true).unwrap();
    let (mut sent, mut seen, mut since) = (0_u64, 0, Instant::now());
    loop {
        let read = read_so_far(lab);
        if read >= goal {
            return;
        }
        if read > seen {
            (seen, since) = (read, Instant::now());
        }
        // How quickly it reads is the machine's, and no matter of this test.
        assert!(since.elapsed() < STALLED, "the daemon reads nothing: {sent} sent, {read} read");
        for _ in 0..16 {
            let packets: Vec<Vec<u8>> = (0..BATCH).map(|_| packet(random, &seeds)).collect();
            let slices: Vec<[IoSlice<'_>; 1]> =
                packets.iter().map(|packet| [IoSlice::new(packet)]).collect();
            // What the socket does not take now is none of the count.
            if let Ok(results) =
                sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &nowhere, [], MsgFlags::empty())
            {
                sent += u64::try_from(results.count()).unwrap();
            }
            while socket.recv(&mut trash).is_ok() {}
        }
    }
}

/// A node that counts failures of upstreams, as whoever is flooded should: when the one outside
/// gets no time, thousands wait for it, and each would be a line.
const CONFIG: &str = "[dns]\npods = 'insecure'\nforward.to = ['192.0.2.9']\n\
    errors.consolidate = [{ duration = '30s', pattern = '.*' }]\n";

/// Waits until the server outside is asked and answers.
fn heed(socket: &UdpSocket, name: &str) {
    poll("a name outside", || {
        let answer = exchange(socket, &ask(name, kind::A).bytes(), RETRY)?;
        (Reply::read(&answer).rcode() == "NOERROR").then_some(())
    });
}

#[test]
fn a_million_packets_change_nothing() {
    let _alone = crate::stage::alone();
    let stage = Stage::new("dns-flood", CONFIG);
    let lab = &stage.lab;
    let outside = Outside::start(lab.outside(), lab.dir(), &["192.0.2.9@53"]);
    apply(lab, &objects(Families::Both));
    let socket = stage.udp();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // What is kept of names outside, stacks of threads, and as many questions as may wait come
    // first: how many wait later is a matter of how busy the server outside is.
    outside.stop();
    flood(lab, &socket, &mut random, PACKETS / 10);
    outside.go_on();
    heed(&stage.udp(), "www.example.org.");
    flood(lab, &socket, &mut random, PACKETS / 10);
    let before = memory(lab);
    let begin = Instant::now();
    let ends = AtomicBool::new(false);
    let (over_tcp, (heard, lost)) = std::thread::scope(|scope| {
        // TCP loses none.
        let over_tcp = scope.spawn(|| {
            let mut tcp = stage.tcp();
            let mut heard = 0_u32;
            while !ends.load(Ordering::Relaxed) {
                let query = ask("web.default.svc.cluster.local.", kind::A);
                assert_eq!(tcp.ask(&query).rcode(), "NOERROR");
                heard += 1;
            }
            heard
        });
        // Whoever shares a queue with the flood loses some, and asks again. By itself, for what is
        // lost takes as long as a client waits, and would leave no time for the others.
        let over_udp = scope.spawn(|| {
            let socket = stage.udp();
            let (mut heard, mut lost) = (0_u32, 0_u32);
            while !ends.load(Ordering::Relaxed) {
                let query = ask("web.default.svc.cluster.local.", kind::A);
                match exchange(&socket, &query.bytes(), RETRY) {
                    Some(bytes) => {
                        assert_eq!(Reply::read(&bytes).rcode(), "NOERROR");
                        heard += 1;
                    }
                    None => lost += 1,
                }
            }
            (heard, lost)
        });
        let ending = Ending(&ends);
        flood(lab, &socket, &mut random, PACKETS - PACKETS / 5);
        drop(ending);
        (over_tcp.join().unwrap(), over_udp.join().unwrap())
    });
    let took = begin.elapsed();
    println!(
        "{PACKETS} packets in {took:?}; {over_tcp} answers over TCP, {heard} over UDP, {lost} lost"
    );
    assert!(over_tcp > 20, "{over_tcp} answers over TCP beside the flood");
    assert!(heard > 0, "no answer over UDP beside the flood, of {lost}");
    let grown = poll("memory is what it was", || {
        let grown = memory(lab).saturating_sub(before);
        (grown < GROWTH).then_some(grown)
    });
    println!("grown by {grown} KiB from {before} KiB");
    let log = lab.log();
    let failures = log.lines().filter(|line| line.contains("plugin/errors")).count();
    println!("{} bytes of log, {failures} failures", log.len());
    assert!(!log.contains("panicked"), "{log}");
    assert!(log.len() < 1 << 20, "{} bytes of log", log.len());
    // As before. What the flood left in a queue may still cost a datagram.
    let socket = stage.udp();
    for (name, kind, rcode) in [
        ("web.default.svc.cluster.local.", kind::A, "NOERROR"),
        ("nobody.default.svc.cluster.local.", kind::A, "NXDOMAIN"),
    ] {
        let answer = poll("an answer after the flood", || {
            exchange(&socket, &ask(name, kind).bytes(), RETRY)
        });
        assert_eq!(Reply::read(&answer).rcode(), rcode, "{name}");
    }
    // Behind those that wait still, for as long as each may.
    heed(&socket, "www.example.org.");
    let spec = json!({ "clusterIP": "10.43.9.9", "ports": [{ "port": 80 }] });
    apply(lab, &[json!({ "kind": "Service", "metadata": { "name": "new" }, "spec": spec })]);
    assert_eq!(stage.ask("new.default.svc.cluster.local.", kind::A).addresses().len(), 1);
}
