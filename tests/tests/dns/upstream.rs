// SPDX-License-Identifier: GPL-3.0-or-later
//! Servers outside, as they are: slow, lossy, dead, lying, and one that asks us again.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use netlab_tests::wait_until;

use crate::fake::{Fake, Seen};
use crate::outside::Outside;
use crate::stage::Stage;
use crate::wire::{self, ask, kind};

const VERSION: &str = "dns-version.cluster.local.";
const GOOD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const FALSE: [u8; 4] = [203, 0, 113, 66];

fn is(address: Ipv4Addr) -> Vec<IpAddr> {
    vec![IpAddr::V4(address)]
}

/// What a client has room for is asked of those outside, and what they say fills it, once it is
/// remembered too; unless less is configured.
#[test]
fn large_answers_from_outside_are_passed_on_in_one_piece() {
    const FORWARD: &str = "[dns.forward]\nto = ['192.0.2.9:5301']\n";
    let stage = Stage::new("dns-large", FORWARD);
    let server = Fake::start(&stage.outside(), "192.0.2.9:5301", |query, socket| {
        let mut answer = query.answer(Some(GOOD.octets()), 60);
        let record = answer[answer.len() - 16..].to_vec();
        answer.extend(record.repeat(99));
        answer[7] = 100;
        let _ = socket.send_to(&answer, query.from);
    });
    let asked = |name: &str| {
        let query = server.seen().into_iter().rev().find(|query| query.name() == name).unwrap();
        u16::from_be_bytes(query.bytes[query.bytes.len() - 8..][..2].try_into().unwrap())
    };
    let ask_for = |name: &str, payload| stage.send(&ask(name, kind::A).payload(payload));
    for (name, payload) in
        [("a.large.test.", 4096), ("a.large.test.", 4096), ("b.large.test.", 9000)]
    {
        let reply = ask_for(name, payload);
        assert_eq!((reply.is_cut(), reply.message.answers.len()), (false, 100), "{name}");
        assert_eq!(asked(name), payload);
    }
    // Another client has less room.
    let reply = ask_for("a.large.test.", 1232);
    assert!(reply.is_cut() && reply.bytes.len() <= 1232, "{reply:?}");
    assert_eq!(server.count("a.large.test."), 1);
    stage.reload(&format!("[dns]\nbufsize = 1400\n{FORWARD}"));
    wait_until("less is configured", || ask_for("a.large.test.", 4096).is_cut());
    let reply = ask_for("c.large.test.", 4096);
    assert!(reply.is_cut() && reply.bytes.len() <= 1400, "{reply:?}");
    assert_eq!(asked("c.large.test."), 1400);
}

/// A real server that is asked for one domain, another for the rest, none for a third.
#[test]
fn each_domain_is_asked_for_where_it_should_be() {
    let stage = Stage::new(
        "dns-stub",
        "[dns.forward]\nto = ['192.0.2.9:5301']\nexcept = ['secret.test']\n\
         [dns.stub.'stub.example']\nto = ['192.0.2.9:5302']\n\
         [dns.stub.'deep.stub.example']\nto = ['[2001:db8::9]:5303']\n\
         [dns.stub.'broken.test']\nto = ['192.0.2.9:5304', '192.0.2.9:5305']\n\
         policy = 'sequential'\nfailover = ['SERVFAIL', 'REFUSED']\n",
    );
    let outside = stage.outside();
    let all = Fake::honest(&outside, "192.0.2.9:5301", GOOD, 60);
    let _knot = Outside::start(stage.lab.outside(), stage.lab.dir(), &["192.0.2.9@5302"]);
    let deep = Fake::honest(&outside, "[2001:db8::9]:5303", OTHER, 60);
    let broken = Fake::start(&outside, "192.0.2.9:5304", |query, socket| {
        let rcode = if query.name().starts_with('r') { 5 } else { 2 };
        let _ = socket.send_to(&query.fail(rcode), query.from);
    });
    let whole = Fake::honest(&outside, "192.0.2.9:5305", OTHER, 60);
    let addresses = |name: &str| stage.ask(name, kind::A).addresses();
    assert_eq!(addresses("host.stub.example."), is(Ipv4Addr::new(198, 51, 100, 90)));
    assert_eq!(addresses("HOST.Stub.Example."), is(Ipv4Addr::new(198, 51, 100, 90)));
    assert_eq!(addresses("x.deep.stub.example."), is(OTHER));
    assert_eq!(addresses("host.notstub.example."), is(GOOD));
    assert_eq!(addresses("example."), is(GOOD));
    assert_eq!(stage.ask("nobody.stub.example.", kind::A).rcode(), "NXDOMAIN");
    assert_eq!(addresses("a.broken.test."), is(OTHER));
    assert_eq!(addresses("refused.broken.test."), is(OTHER));
    assert!(broken.count("a.broken.test.") >= 1 && whole.count("a.broken.test.") == 1);
    let told = stage.ask("www.secret.test.", kind::A);
    assert!(["REFUSED", "SERVFAIL"].contains(&told.rcode()), "{told:?}");
    assert_eq!((all.count("www.secret.test."), deep.count("host.stub.example.")), (0, 0));
    // What is ours is asked for nowhere.
    assert_eq!(stage.ask("nobody.default.svc.cluster.local.", kind::A).rcode(), "NXDOMAIN");
    assert!(all.seen().iter().all(|query| !query.name().ends_with("cluster.local.")));
}

#[test]
fn slow_and_dead_servers_cost_little_time() {
    let stage = Stage::new(
        "dns-dead",
        "[dns.forward]\nto = ['192.0.2.9:5301', '192.0.2.9:5302', '192.0.2.9:5303']\n\
         policy = 'sequential'\nrace-after = '100ms'\nhealth-check = '100ms'\n\
         [dns.cache]\nenabled = false\n",
    );
    let outside = stage.outside();
    // The first is mute, the second slow, the third as it should be.
    let mute = Fake::start(&outside, "192.0.2.9:5301", |_, _| {});
    let slow = Fake::start(&outside, "192.0.2.9:5302", |query, socket| {
        let (answer, to) = (query.answer(Some(OTHER.octets()), 60), query.from);
        let socket = socket.try_clone().unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(1500));
            let _ = socket.send_to(&answer, to);
        });
    });
    let _good = Fake::honest(&outside, "192.0.2.9:5303", GOOD, 60);
    let since = Instant::now();
    assert_eq!(stage.ask("one.example.org.", kind::A).addresses(), is(GOOD));
    let took = since.elapsed();
    assert!(took < Duration::from_millis(1400), "{took:?}");
    assert!(mute.count("one.example.org.") >= 1 && slow.count("one.example.org.") >= 1);
    // Found dead, it is asked no more.
    let mut number = 0;
    wait_until("the mute one is left out", || {
        number += 1;
        let name = format!("n{number}.example.org.");
        assert_eq!(stage.ask(&name, kind::A).rcode(), "NOERROR");
        mute.count(&name) == 0
    });
    drop((mute, slow));
    // Ports where nobody listens are told at once, and cluster names never wait.
    let since = Instant::now();
    assert_eq!(stage.ask("two.example.org.", kind::A).addresses(), is(GOOD));
    assert_eq!(stage.ask(VERSION, kind::TXT).rcode(), "NOERROR");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[test]
fn nobody_answers_and_the_cluster_goes_on() {
    let stage = Stage::new(
        "dns-none",
        "[dns.forward]\nto = ['192.0.2.9']\nread-timeout = '300ms'\ntimeout = '1s'\n\
         max-concurrent = 20\n",
    );
    let knot = Outside::start(stage.lab.outside(), stage.lab.dir(), &["192.0.2.9@53"]);
    assert_eq!(stage.ask("www.example.org.", kind::A).rcode(), "NOERROR");
    knot.stop();
    let since = Instant::now();
    let reply = stage.ask("text.example.org.", kind::TXT);
    assert_eq!(reply.rcode(), "SERVFAIL");
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    // More than may wait at a time are refused.
    let socket = stage.udp();
    let mut codes = BTreeSet::new();
    for number in 0..100 {
        socket.send(&ask(&format!("n{number}.many.example.org."), kind::A).bytes()).unwrap();
    }
    let since = Instant::now();
    assert_eq!(stage.ask(VERSION, kind::TXT).rcode(), "NOERROR");
    assert!(since.elapsed() < Duration::from_millis(500), "{:?}", since.elapsed());
    for _ in 0..100 {
        let answer = wire::receive(&socket, None, wire::PATIENCE).expect("each is answered");
        codes.insert(wire::Reply::read(&answer).rcode());
    }
    assert_eq!(codes, BTreeSet::from(["REFUSED", "SERVFAIL"]));
    let log = stage.lab.log();
    assert!(log.contains("concurrent queries exceeded maximum 20"), "{log}");
    assert!(log.contains("text.example.org. TXT:"), "failures are told: {log}");
    knot.go_on();
    wait_until("names outside are back", || {
        stage.ask("long.example.org.", kind::A).addresses() == is(Ipv4Addr::new(198, 51, 100, 83))
    });
}

#[test]
fn half_of_the_packets_are_lost_and_no_answer() {
    let stage = Stage::new(
        "dns-lossy",
        "[dns.forward]\nto = ['192.0.2.9:5301', '192.0.2.9:5302']\nread-timeout = '200ms'\n\
         race-after = '50ms'\nmax-fails = 0\n",
    );
    let lossy = |port: u16| {
        Fake::start(&stage.outside(), &format!("192.0.2.9:{port}"), move |query, socket| {
            // Each name is lost at one of the two, so that none is lost at both.
            let last = query.name().as_bytes().get(1).copied().unwrap_or(0);
            if (u16::from(last) + port).is_multiple_of(2) {
                let _ = socket.send_to(&query.answer(Some(GOOD.octets()), 60), query.from);
            }
        })
    };
    let servers = [lossy(5301), lossy(5302)];
    for number in 0..40 {
        let reply = stage.ask(&format!("n{number}.example.org."), kind::A);
        assert_eq!((reply.rcode(), reply.addresses()), ("NOERROR", is(GOOD)), "{number}");
    }
    assert!(servers.iter().all(|server| !server.seen().is_empty()));
}

/// Whoever guesses has to guess port and id, and whatever does not fit is not listened to.
#[test]
fn lies_are_not_believed() {
    let stage = Stage::new(
        "dns-lies",
        "[dns.forward]\nto = ['192.0.2.9:5301']\nread-timeout = '600ms'\ntimeout = '1s'\n\
         [dns.cache]\nservfail = '0s'\n",
    );
    let lie = |query: &Seen, socket: &UdpSocket, elsewhere: &UdpSocket| {
        let good = query.answer(Some(FALSE), 60);
        let mut wrong_id = good.clone();
        wrong_id[0] ^= 0x55;
        let mut other_name = good.clone();
        other_name[13] ^= 0x01;
        let mut no_question = query.fail(0);
        no_question.truncate(12);
        no_question[4..6].copy_from_slice(&[0, 0]);
        let question_only = query.bytes.clone();
        for bytes in [
            &wrong_id,
            &other_name,
            &no_question,
            &question_only,
            &vec![0; 3],
            &good[..20].to_vec(),
        ] {
            let _ = socket.send_to(bytes, query.from);
        }
        // From another port of the same machine, all else right.
        let _ = elsewhere.send_to(&good, query.from);
    };
    let place = stage.outside();
    let elsewhere = wire::within(&place, || UdpSocket::bind("192.0.2.9:5399").unwrap());
    let _liar = Fake::start(&place, "192.0.2.9:5301", move |query, socket| {
        lie(query, socket, &elsewhere);
        if query.name().starts_with("late") {
            let (answer, to) = (query.answer(Some(GOOD.octets()), 60), query.from);
            let _ = socket.send_to(&answer, to);
        }
    });
    assert_eq!(stage.ask("late.example.org.", kind::A).addresses(), is(GOOD));
    let reply = stage.ask("only-lies.example.org.", kind::A);
    assert_eq!((reply.rcode(), reply.addresses()), ("SERVFAIL", vec![]));
    assert_eq!(stage.ask("late-too.example.org.", kind::A).addresses(), is(GOOD));
}

#[test]
fn ports_and_ids_of_queries_cannot_be_foretold() {
    let stage = Stage::new("dns-ports", "[dns.forward]\nto = ['192.0.2.9:5301']\n");
    let server = Fake::honest(&stage.outside(), "192.0.2.9:5301", GOOD, 60);
    let socket = stage.udp();
    for number in 0..200 {
        let reply = wire::over_udp(&socket, &ask(&format!("n{number}.example.org."), kind::A));
        assert_eq!(reply.addresses(), is(GOOD));
    }
    let seen = server.seen();
    let ports: Vec<u16> = seen.iter().map(|query| query.from.port()).collect();
    let ids: Vec<u16> =
        seen.iter().map(|query| u16::from_be_bytes([query.bytes[0], query.bytes[1]])).collect();
    for (what, numbers) in [("ports", ports), ("ids", ids)] {
        let distinct: BTreeSet<u16> = numbers.iter().copied().collect();
        assert!(distinct.len() > 150, "{} different {what} of {}", distinct.len(), numbers.len());
        // Of random numbers about half are smaller than the one before.
        let falls = numbers.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!((60..140).contains(&falls), "{what} fall {falls} times: {numbers:?}");
        let steps: BTreeSet<u16> =
            numbers.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert!(steps.len() > 100, "{what} have a pattern: {numbers:?}");
    }
}

/// The upstream that the file names on its third line forwards to us.
#[test]
fn a_loop_is_found_and_only_what_loops_is_given_up() {
    let stage = Stage::new("dns-loop", "[dns.forward]\nto = ['192.0.2.9:5301']\n");
    let place = stage.outside();
    stage.lab.outside().ip("route add 10.43.0.0/16 via 192.0.2.1");
    let back = wire::within(&place, || UdpSocket::bind("192.0.2.9:0").unwrap());
    back.set_nonblocking(true).unwrap();
    let _looping = Fake::start(&place, "192.0.2.9:53", move |query, _| {
        // Its answers come too late for anybody.
        let _ = back.send_to(&query.bytes, Stage::server(0));
        while back.recv(&mut [0; 512]).is_ok() {}
    });
    let _stub = Fake::honest(&place, "192.0.2.9:5302", OTHER, 60);
    let resolv = stage.lab.dir().join("resolv.conf");
    std::fs::write(&resolv, "# the machine's\noptions ndots:1\nnameserver 192.0.2.9\n").unwrap();
    let file = resolv.display().to_string();
    let after = stage.lab.log().len();
    stage.reload(&format!(
        "[dns]\nallow = ['192.0.2.9/32']\n[dns.forward]\nto = ['{file}']\nread-timeout = '300ms'\n\
         timeout = '1s'\n[dns.stub.'stub.example']\nto = ['192.0.2.9:5302']\n"
    ));
    let line = stage.wait_for_log(after, &["oop", &file]);
    assert!(line.contains(&format!("{file}:3")) || line.contains("line 3"), "{line}");
    assert_eq!(stage.ask("www.example.org.", kind::A).rcode(), "SERVFAIL");
    assert_eq!(stage.ask("host.stub.example.", kind::A).addresses(), is(OTHER));
    assert_eq!(stage.ask(VERSION, kind::TXT).rcode(), "NOERROR");
}
