// SPDX-License-Identifier: GPL-3.0-or-later
//! What is remembered of others' answers, and for how long.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netlab_tests::wait_until;

use crate::fake::Fake;
use crate::stage::Stage;
use crate::wire::{Ask, Reply, ask, kind, over_udp};

const GOOD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const FORWARD: &str = "[dns.forward]\nto = ['192.0.2.9:5301']\nread-timeout = '300ms'\n\
                       timeout = '600ms'\n";

#[test]
fn answers_are_kept_for_their_time_and_count_down() {
    let stage = Stage::new("dns-cache", FORWARD);
    let server = Fake::start(&stage.outside(), "192.0.2.9:5301", |query, socket| {
        let (name, ttl) = (query.name().to_lowercase(), 30);
        let answer = match name.split('-').next().unwrap() {
            "no" => query.answer(None, ttl),
            "fail" => query.fail(2),
            "refuse" => query.fail(5),
            "short" => query.answer(Some(GOOD.octets()), 1),
            "week" => query.answer(Some(GOOD.octets()), 604_800),
            _ => query.answer(Some(GOOD.octets()), ttl),
        };
        let _ = socket.send_to(&answer, query.from);
    });
    let socket = stage.udp();
    let get = |name: &str| over_udp(&socket, &ask(name, kind::A));
    let since = Instant::now();
    assert_eq!(get("yes-1.example.org.").ttl(), 30);
    wait_until("the TTL counts down", || get("yes-1.example.org.").ttl() < 30);
    let left = get("yes-1.example.org.").ttl();
    let passed = u32::try_from(since.elapsed().as_secs()).unwrap();
    assert!(30 - left <= passed + 1, "{left} s are left after {passed} s");
    // Whose case it is, and which id, is the asker's.
    for name in ["YES-1.example.org.", "yes-1.EXAMPLE.org."] {
        let query = ask(name, kind::A);
        let reply = over_udp(&socket, &query);
        assert_eq!((reply.name(), reply.message.metadata.id), (name.to_owned(), query.id));
        assert_eq!(reply.message.answers[0].name.to_ascii(), name);
        assert_eq!(reply.addresses(), [IpAddr::V4(GOOD)]);
    }
    assert_eq!(server.count("yes-1.example.org."), 1, "asked once");
    // Another type, and another DO bit, are other questions.
    over_udp(&socket, &ask("yes-1.example.org.", kind::AAAA));
    let dnssec = Ask { edns: Some((1232, 0, 0x8000)), ..ask("yes-1.example.org.", kind::A) };
    let reply = over_udp(&socket, &dnssec);
    assert!(reply.message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok));
    assert_eq!(server.count("yes-1.example.org."), 3);
    // No such name, no such data, for the time that the SOA says.
    for name in ["no-1.example.org.", "NO-1.example.org."] {
        let reply = get(name);
        assert_eq!((reply.rcode(), reply.message.authorities.len()), ("NXDOMAIN", 1));
        assert!(reply.message.authorities[0].ttl <= 30);
    }
    assert_eq!(server.count("no-1.example.org."), 1);
    // Failures are kept for five seconds; what the server would not say is not kept.
    for _ in 0..3 {
        assert_eq!(get("fail-1.example.org.").rcode(), "SERVFAIL");
        assert_eq!(get("refuse-1.example.org.").rcode(), "REFUSED");
    }
    assert_eq!(server.count("refuse-1.example.org."), 3);
    let asked = server.count("fail-1.example.org.");
    wait_until("a failure is asked for anew", || {
        get("fail-1.example.org.");
        server.count("fail-1.example.org.") > asked
    });
    // Shorter than five seconds is kept for five, longer than an hour for an hour.
    get("short-1.example.org.");
    get("short-1.example.org.");
    assert_eq!(server.count("short-1.example.org."), 1);
    get("week-1.example.org.");
    let ttl = get("week-1.example.org.").ttl();
    assert!((3590..=3600).contains(&ttl), "{ttl}");
    // Ours is never kept: it is at hand, with its own time.
    let version = "dns-version.cluster.local.";
    for _ in 0..2 {
        assert_eq!(over_udp(&socket, &ask(version, kind::TXT)).ttl(), 28800);
    }
}

#[test]
fn old_answers_are_better_than_none_where_that_is_wished() {
    // Only where a failure is wanted is it to come soon: a server on a busy machine may be slow.
    let dns = "[dns.forward]\nto = ['192.0.2.9:5301']\n\
               [dns.stub.'new.example.org']\nto = ['192.0.2.9:5301']\n\
               read-timeout = '300ms'\ntimeout = '600ms'\n\
               [dns.cache]\nsuccess = { min-ttl = 1 }\n[dns.cache.serve-stale]\nenabled = true\n";
    let stage = Stage::new("dns-stale", dns);
    let is_mute = Arc::new(AtomicBool::new(false));
    let mute = is_mute.clone();
    let server = Fake::start(&stage.outside(), "192.0.2.9:5301", move |query, socket| {
        if !mute.load(Ordering::Relaxed) {
            let _ = socket.send_to(&query.answer(Some(GOOD.octets()), 1), query.from);
        }
    });
    let get = |name: &str| stage.ask(name, kind::A);
    assert_eq!(get("old.example.org.").ttl(), 1);
    let is_old = || {
        let reply = get("old.example.org.");
        assert_eq!(reply.addresses(), [IpAddr::V4(GOOD)], "there is always one");
        reply.ttl() == 0
    };
    // The server would say a newer one, for which nobody waits.
    wait_until("the answer is old", is_old);
    is_mute.store(true, Ordering::Relaxed);
    let asked = server.count("old.example.org.");
    wait_until("the answer is old, and the server says no other", || {
        is_old() && server.count("old.example.org.") > asked
    });
    assert_eq!(get("new.example.org.").rcode(), "SERVFAIL", "there is no old one");
    is_mute.store(false, Ordering::Relaxed);
    let asked = server.count("old.example.org.");
    wait_until("it is asked for behind the answer", || {
        get("old.example.org.").ttl() > 0 && server.count("old.example.org.") > asked
    });
}

#[test]
fn what_is_asked_often_is_asked_for_before_it_is_forgotten() {
    let dns =
        format!("{FORWARD}[dns.cache.prefetch]\namount = 3\nduration = '1m'\npercentage = 90\n");
    let stage = Stage::new("dns-fetch", &dns);
    let server = Fake::honest(&stage.outside(), "192.0.2.9:5301", GOOD, 6);
    let get = |name: &str| -> Reply { stage.ask(name, kind::A) };
    get("seldom.example.org.");
    let since = Instant::now();
    wait_until("it is asked for early", || {
        assert!(get("often.example.org.").ttl() > 0);
        server.count("often.example.org.") > 1
    });
    assert!(since.elapsed() < Duration::from_secs(5), "before its 6 s: {:?}", since.elapsed());
    assert_eq!(server.count("seldom.example.org."), 1);
}
