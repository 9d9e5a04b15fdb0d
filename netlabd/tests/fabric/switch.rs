// SPDX-License-Identifier: GPL-3.0-or-later
//! The mode changes on nodes one after the other, and what flows goes on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use netlab_api::RouteMode;
use netlab_link::Netns;
use netlabd::node::network::fabric::LINGER;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, sh};

/// Answers that must come between two changes: of 100 a second.
const ANSWERS: u64 = 4;

/// What must come over each TCP connection between two changes, in bytes.
const BYTES: u64 = 64 << 10;

/// A `ping` that goes on.
struct Pings {
    ping: Child,
    answers: Arc<AtomicU64>,
    reader: Option<JoinHandle<String>>,
}

impl Drop for Pings {
    fn drop(&mut self) {
        // Fails when it was stopped; else the test failed, and it must not go on.
        let _ = self.ping.kill();
        let _ = self.ping.wait();
    }
}

impl Pings {
    fn start(netns: &Netns, to: IpAddr) -> Pings {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-i", "0.01", &to.to_string()]).stdout(Stdio::piped());
        let mut ping = netns.run(|| ping.spawn().unwrap()).unwrap();
        let output = BufReader::new(ping.stdout.take().unwrap());
        let answers = Arc::new(AtomicU64::new(0));
        let counter = answers.clone();
        let reader = Some(thread::spawn(move || {
            let mut last = String::new();
            for line in output.lines().map_while(Result::ok) {
                if line.contains("bytes from") {
                    counter.fetch_add(1, Ordering::Relaxed);
                } else if line.contains("transmitted") {
                    last = line;
                }
            }
            last
        }));
        Pings { ping, answers, reader }
    }

    /// The summary that `ping` prints when it is interrupted.
    fn stop(mut self) -> String {
        kill(Pid::from_raw(self.ping.id().cast_signed()), Signal::SIGINT).unwrap();
        self.ping.wait().unwrap();
        self.reader.take().unwrap().join().unwrap()
    }
}

/// A TCP connection over which as much as it takes flows, and is compared.
struct Stream {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: [JoinHandle<()>; 2],
}

impl Stream {
    fn start(from: &Netns, to: &Netns, address: IpAddr) -> Stream {
        let listener = to.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
        let there = listener.local_addr().unwrap();
        let mut sender = from.run(|| TcpStream::connect(there).unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        let (received, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, end) = (received.clone(), stop.clone());
        // Of a length that no packet divides, so that a lost or doubled one shifts all.
        let block: Vec<u8> = (0..=250).cycle().take(251 * 64).collect();
        let sent = block.clone();
        let send = move || {
            while !end.load(Ordering::Relaxed) {
                sender.write_all(&sent).unwrap();
            }
        };
        let receive = move || {
            let mut buffer = vec![0; block.len()];
            while receiver.read_exact(&mut buffer).is_ok() {
                assert!(buffer == block, "what is received is not what was sent");
                counter.fetch_add(buffer.len() as u64, Ordering::Relaxed);
            }
        };
        Stream { received, stop, threads: [thread::spawn(send), thread::spawn(receive)] }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Waits until a counter has grown by so much.
fn wait(what: &str, counter: &AtomicU64, by: u64) {
    let (start, deadline) =
        (counter.load(Ordering::Relaxed), Instant::now() + Duration::from_secs(20));
    while counter.load(Ordering::Relaxed) < start + by {
        assert!(Instant::now() < deadline, "{what} do not go on");
        thread::yield_now();
    }
}

#[test]
fn not_a_packet_is_lost_when_a_cluster_goes_from_any_mode_to_any_other() {
    let mut lab = Lab::flat(3);
    lab.set_mode(RouteMode::HostGw);
    let [one, two, three] = &lab.nodes[..] else { panic!() };
    let (one, two, three) = (&one.pods[0], &two.pods[0], &three.pods[0]);
    let pings = [
        Pings::start(&one.netns, two.v4),
        Pings::start(&two.netns, three.v6),
        Pings::start(&three.netns, one.v4),
    ];
    let streams = [
        Stream::start(&one.netns, &two.netns, two.v4),
        Stream::start(&three.netns, &one.netns, one.v6),
    ];
    let flowing = || {
        pings.iter().for_each(|it| wait("pings", &it.answers, ANSWERS));
        streams.iter().for_each(|it| wait("streams", &it.received, BYTES));
    };
    flowing();
    let modes = [
        RouteMode::Vxlan,
        RouteMode::Auto,
        RouteMode::Vxlan,
        RouteMode::HostGw,
        RouteMode::Auto,
        RouteMode::HostGw,
    ];
    let mut before = RouteMode::HostGw;
    for mode in modes {
        // All take what some send already or send still; then all send; then nobody need.
        for (sent, accept_encapsulated) in [(before, true), (mode, true), (mode, false)] {
            for node in 0..3 {
                let mut wish = lab.wish(node, sent);
                wish.accept_encapsulated = accept_encapsulated;
                let node = &mut lab.nodes[node];
                let outcome = node.ensure(&wish);
                assert_eq!(outcome.problems, []);
                node.set_mtu(outcome.pod_mtu);
                // Nodes that have not heard of it yet send as before.
                flowing();
            }
        }
        before = mode;
    }
    for ping in pings {
        let summary = ping.stop();
        assert!(summary.contains(" 0% packet loss"), "{summary}");
    }
    streams.into_iter().for_each(Stream::stop);
}

#[test]
fn a_device_without_use_takes_packets_for_a_while_and_then_goes() {
    let mut lab = Lab::flat(2);
    lab.set_mode(RouteMode::Vxlan);
    let now = Instant::now();
    let wish = lab.wish(0, RouteMode::HostGw);
    let one = &mut lab.nodes[0];
    let outcome = one.fabric.ensure(&wish, now).unwrap();
    assert!(outcome.lingering && outcome.changed && outcome.pod_mtu == 1500);
    // The other node has not heard of it and encapsulates still.
    sh(&one.pods[0].netns, "ping -c 1 -w 20 10.42.2.5");

    let before = |span: Duration| LINGER - span;
    assert!(one.fabric.retire(now + before(Duration::from_millis(1))).unwrap());
    sh(&one.netns, "ip link show nlvx");
    assert!(!one.fabric.retire(now + LINGER).unwrap());
    assert!(!sh(&one.netns, "ip link").contains("nlvx"));
    assert_eq!(one.fabric.repair(now + LINGER).unwrap(), [""; 0]);
}

#[test]
fn links_of_pods_have_the_mtu_of_the_mode_on_both_ends() {
    let mut lab = Lab::flat(2);
    lab.nodes[0].add_pod();
    for (mode, mtu) in
        [(RouteMode::Vxlan, 1450), (RouteMode::HostGw, 1500), (RouteMode::Auto, 1450)]
    {
        lab.set_mode(mode);
        lab.nodes[0].add_pod();
        for pod in &lab.nodes[0].pods {
            let host =
                sh(&lab.nodes[0].netns, &format!("ip link show {}", pod.link.id.host_name()));
            let inside = sh(&pod.netns, "ip link show eth0");
            for text in [host, inside] {
                assert!(text.contains(&format!("mtu {mtu} ")), "{text}");
            }
        }
    }
}
