// SPDX-License-Identifier: GPL-3.0-or-later
//! What the daemon is told of names changes while it is asked: nobody notices but by what changed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use netlab_tests::{poll, wait_until};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::fake::Fake;
use crate::fixtures::apply;
use crate::stage::Stage;
use crate::wire::{ask, exchange, kind, over_udp};

const WEB: &str = "web.default.svc.cluster.local.";

#[track_caller]
fn stage(name: &str, dns: &str) -> Stage {
    let stage = Stage::new(name, dns);
    let spec = json!({ "clusterIP": "10.43.1.1", "ports": [{ "port": 80 }] });
    apply(&stage.lab, &[json!({ "kind": "Service", "metadata": { "name": "web" }, "spec": spec })]);
    stage
}

/// Asks without a pause while something is done; each query must be answered. Returns how many.
#[track_caller]
fn under_load(stage: &Stage, act: impl FnOnce()) -> usize {
    let (ends, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let socket = stage.udp();
            let mut lost = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                let query = ask(WEB, kind::A);
                let answer = exchange(&socket, &query.bytes(), Duration::from_secs(1));
                if !answer.is_some_and(|bytes| bytes[3] & 15 == 0 && bytes[7] == 1) {
                    lost.push(asked.load(Ordering::Relaxed));
                }
                asked.fetch_add(1, Ordering::Relaxed);
            }
            lost
        });
        wait_until("queries run", || asked.load(Ordering::Relaxed) > 100);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        ends.store(true, Ordering::Relaxed);
        let lost = asking.join().expect("the asking thread ends");
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
        assert!(lost.is_empty(), "of {asked:?} queries these were lost: {lost:?}");
    });
    asked.into_inner()
}

#[test]
fn a_reload_loses_no_query_and_a_bad_file_changes_nothing() {
    let stage = stage("dns-reload", "[dns]\nttl = 7\n");
    let ttl = || stage.ask(WEB, kind::A).ttl();
    assert_eq!(ttl(), 7);
    let asked = under_load(&stage, || {
        for new in [11, 60, 3600, 0, 9] {
            stage.reload(&format!("[dns]\nttl = {new}\n"));
            wait_until(&format!("the TTL is {new}"), || ttl() == new);
        }
        // Each says where and why, and changes nothing.
        for (bad, words) in [
            ("[dns]\nttl = 'long'\n", &["line 3"][..]),
            ("[dns]\nttl = 10\n[dns\n", &["line 4"]),
            ("[dns]\nttl = 10\ntttl = 1\n", &["tttl"]),
            ("[dns]\nttl = 4000\n", &["ttl", "toml:3:7\n", " ttl = 4000\n", " ^^^^ choose"]),
            (
                "[dns.forward]\nto = ['192.0.2.9', 'nowhere:x']\n",
                &["toml:3:20\n", "  ^^^^^^^^^^^ write an address"],
            ),
            (
                "[dns.stub.'corp.example']\nto = ['192.0.2.9']\nread_timeout = '2h'\n",
                &["toml:4:16\n", "  ^^^^ choose 1ms to 1m0s"],
            ),
        ] {
            let after = stage.lab.log().len();
            stage.reload(bad);
            let file = stage.config().display().to_string();
            // The message may stretch over several lines, as the parser draws the place.
            poll(&format!("{words:?} in the log: {}", &stage.lab.log()[after..]), || {
                let log = stage.lab.log();
                let new = &log[after..];
                words.iter().chain([&file.as_str()]).all(|word| new.contains(word)).then_some(())
            });
            assert_eq!(ttl(), 9, "after {bad}");
        }
        wait_until("an event says so", || {
            stage.lab.events_of("n1").iter().any(|event| event.starts_with("ReloadFailed: "))
        });
        stage.reload("[dns]\nttl = 12\n");
        wait_until("a good file counts again", || ttl() == 12);
    });
    assert!(asked > 200, "{asked}");
}

#[test]
fn a_changed_file_is_noticed_without_a_signal() {
    let reload = "[dns.reload]\ninterval = '2s'\njitter = '1s'\n";
    let stage = stage("dns-timed", &format!("[dns]\nttl = 7\n{reload}"));
    assert_eq!(stage.ask(WEB, kind::A).ttl(), 7);
    stage.write(&format!("[dns]\nttl = 8\n{reload}"));
    let took = wait_until("the file is read again", || stage.ask(WEB, kind::A).ttl() == 8);
    assert!(took < Duration::from_secs(8), "{took:?}");
}

/// `health` and `ready` as CoreDNS has them; names are answered while the daemon is ending.
#[test]
fn a_daemon_that_ends_answers_for_as_long_as_it_was_told() {
    let dns = "[dns.health]\nlisten = ':8080'\nlameduck = '1500ms'\n\
               [dns.ready]\nlisten = ':8181'\n[dns.prometheus]\nlisten = 'localhost:9153'\n\
               [dns.forward]\nto = ['192.0.2.9:5301']\n";
    let mut stage = stage("dns-duck", dns);
    let good = std::net::Ipv4Addr::new(198, 51, 100, 1);
    let outside = Fake::honest(&stage.outside(), "192.0.2.9:5301", good, 60);
    let curl = |url: &str| {
        let words = ["curl", "-s", "--max-time", "2", "-w", " %{http_code}", url];
        stage.lab.netns_exec(&words).stdout
    };
    assert_eq!(curl("http://127.0.0.1:8080/health"), "OK 200");
    assert_eq!(curl("http://127.0.0.1:8181/ready"), "OK 200");
    for _ in 0..5 {
        stage.ask(WEB, kind::A);
    }
    stage.ask("nobody.default.svc.cluster.local.", kind::A);
    stage.ask("www.example.org.", kind::A);
    drop(outside);
    let metrics = curl("http://127.0.0.1:9153/metrics");
    let value = |start: &str, words: &[&str]| -> f64 {
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with(start) && words.iter().all(|word| line.contains(word)));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let requests = ["proto=\"udp\"", "family=\"1\"", "type=\"A\""];
    assert!(value("coredns_dns_requests_total{", &requests) >= 6.0, "{metrics}");
    assert!(value("coredns_dns_responses_total{", &["rcode=\"NOERROR\""]) >= 5.0, "{metrics}");
    assert!(value("coredns_dns_responses_total{", &["rcode=\"NXDOMAIN\""]) >= 1.0, "{metrics}");
    for name in [
        "coredns_build_info",
        "coredns_panics_total",
        "coredns_plugin_enabled",
        "coredns_cache_entries",
        "coredns_dns_request_duration_seconds_bucket",
        "coredns_dns_response_size_bytes_bucket",
        "coredns_health_request_duration_seconds_bucket",
        "coredns_reload_failed_total",
        "coredns_forward_max_concurrent_rejects_total",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} in {metrics}");
    }
    let pid = nix::unistd::Pid::from_raw(stage.lab.pid().cast_signed());
    let since = Instant::now();
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let socket = stage.udp();
    wait_until("it is no longer ready", || curl("http://127.0.0.1:8181/ready").ends_with("503"));
    while since.elapsed() < Duration::from_millis(1200) {
        assert_eq!(over_udp(&socket, &ask(WEB, kind::A)).rcode(), "NOERROR", "{since:?}");
    }
    assert_eq!(curl("http://127.0.0.1:8080/health"), "OK 200");
    // It has been told already; a second signal does no harm.
    let took = stage.lab.stop();
    assert!(took < Duration::from_secs(10), "{took:?}");
}
