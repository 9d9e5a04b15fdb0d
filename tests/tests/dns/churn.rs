// SPDX-License-Identifier: GPL-3.0-or-later
//! Endpoints that change hundreds of times a second while they are asked for. The test keeps their
//! history: each answer must be one that was true at some moment between question and answer.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixtures::apply;
use crate::stage::Stage;
use crate::wire::{self, ask, kind};

const HERD: &str = "herd.default.svc.cluster.local.";

/// Endpoints; each is ready or not.
const ENDPOINTS: u8 = 12;

/// Changes a second.
const RATE: u32 = 500;

/// How long it goes on.
const TIME: Duration = Duration::from_secs(6);

/// HTTP on one connection that is kept.
#[derive(Debug)]
struct Http {
    reader: BufReader<UnixStream>,
}

impl Http {
    #[track_caller]
    fn connect(socket: &Path) -> Http {
        let stream = UnixStream::connect(socket).expect("the daemon listens");
        Http { reader: BufReader::new(stream) }
    }

    /// Sends a request, and returns the body of what must be a success.
    #[track_caller]
    fn request(&mut self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: netlab\r\nContent-Type: \
             application/merge-patch+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.reader.get_mut().write_all(request.as_bytes()).expect("the daemon reads");
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("an answer");
        assert!(line.contains(" 200 "), "{method} {path}: {line}");
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("headers");
            let line = line.trim().to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).expect("the body");
        serde_json::from_slice(&body).unwrap_or(Value::Null)
    }
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 42, 150, number)
}

fn endpoints(ready: u16) -> Value {
    let endpoint = |number: u8| {
        let is_ready = ready & (1 << number) != 0;
        json!({ "addresses": [address(number)], "conditions": { "ready": is_ready } })
    };
    (0..ENDPOINTS).map(endpoint).collect()
}

/// Which endpoints an answer names.
#[track_caller]
fn named(addresses: &[IpAddr]) -> u16 {
    let mut ready = 0;
    for ip in addresses {
        let number = (0..ENDPOINTS).find(|number| *ip == IpAddr::V4(address(*number)));
        let number = number.unwrap_or_else(|| panic!("{ip} is no endpoint"));
        assert_eq!(ready & (1 << number), 0, "{ip} twice in {addresses:?}");
        ready |= 1 << number;
    }
    ready
}

/// A change: who is ready from then on. True from `sent` at the earliest.
#[derive(Debug, Clone, Copy)]
struct Change {
    ready: u16,
    sent: Instant,
    revision: u64,
}

/// An answer, and when it was asked for and had.
#[derive(Debug, Clone, Copy)]
struct Answer {
    ready: u16,
    from: Instant,
    to: Instant,
}

#[test]
fn answers_name_only_those_who_were_ready_meanwhile() {
    let stage = Stage::new("dns-churn", "[dns.forward]\nto = ['192.0.2.9']\n");
    let port = json!({ "name": "http", "port": 80 });
    let slice = json!({
        "kind": "EndpointSlice",
        "metadata": { "name": "herd-1", "labels": { "kubernetes.io/service-name": "herd" } },
        "addressType": "IPv4", "endpoints": endpoints(0x0fff), "ports": [port],
    });
    let spec = json!({ "clusterIP": "None", "ports": [port] });
    let begin = Instant::now();
    apply(
        &stage.lab,
        &[json!({ "kind": "Service", "metadata": { "name": "herd" }, "spec": spec }), slice],
    );
    let changes = Mutex::new(vec![Change { ready: 0x0fff, sent: begin, revision: 0 }]);
    // Until when an older state may be seen: a revision, and when the node had it at the latest.
    let programmed: Mutex<Vec<(u64, Instant)>> = Mutex::new(Vec::new());
    let answers: Mutex<Vec<Answer>> = Mutex::new(Vec::new());
    let ends = AtomicBool::new(false);
    let socket = stage.lab.socket();
    let path = "/v1/namespaces/default/endpointslices/herd-1";
    std::thread::scope(|scope| {
        for transport in ["udp", "udp", "tcp"] {
            let (stage, answers, ends) = (&stage, &answers, &ends);
            scope.spawn(move || {
                let (udp, mut tcp) = (stage.udp(), stage.tcp());
                let mut own = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    let query = ask(HERD, kind::A).payload(1232);
                    let from = Instant::now();
                    let reply = if transport == "udp" {
                        wire::over_udp(&udp, &query)
                    } else {
                        tcp.ask(&query)
                    };
                    let to = Instant::now();
                    let ready = named(&reply.addresses());
                    assert_eq!(reply.rcode() == "NXDOMAIN", ready == 0, "{reply:?}");
                    own.push(Answer { ready, from, to });
                }
                answers.lock().unwrap().extend(own);
            });
        }
        scope.spawn(|| {
            let mut http = Http::connect(&socket);
            while !ends.load(Ordering::Relaxed) {
                let newest = changes.lock().unwrap().last().map_or(0, |change| change.revision);
                http.request(
                    "GET",
                    &format!("/v1/programmed?revision={newest}&timeoutSeconds=20"),
                    None,
                );
                programmed.lock().unwrap().push((newest, Instant::now()));
            }
        });
        let mut http = Http::connect(&socket);
        let begin = Instant::now();
        let (mut number, mut random) = (0_u32, 0x2545_f491_u32);
        let mut ready = 0x0fff_u16;
        while begin.elapsed() < TIME {
            // By the clock, so that a slow change is made up for.
            let next = begin + Duration::from_secs(1) * number / RATE;
            if let Some(early) = next.checked_duration_since(Instant::now()) {
                std::thread::sleep(early);
            }
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            ready ^= 1 << (random % u32::from(ENDPOINTS));
            // Now and then nobody is.
            if number % 97 == 0 {
                ready = 0;
            }
            let sent = Instant::now();
            let patch = json!({ "endpoints": endpoints(ready) });
            let patched = http.request("PATCH", path, Some(&patch));
            let version = patched["metadata"]["resourceVersion"].as_str().expect("a version");
            let revision = version.parse().expect("a number");
            changes.lock().unwrap().push(Change { ready, sent, revision });
            number += 1;
        }
        let took = begin.elapsed();
        println!("{number} changes in {took:?}");
        let last = changes.lock().unwrap().last().unwrap().revision;
        http.request("GET", &format!("/v1/programmed?revision={last}&timeoutSeconds=20"), None);
        programmed.lock().unwrap().push((last, Instant::now()));
        assert_eq!(named(&stage.ask(HERD, kind::A).addresses()), ready, "the last state");
        ends.store(true, Ordering::Relaxed);
        assert!(
            f64::from(number) >= f64::from(RATE) * 0.9 * TIME.as_secs_f64(),
            "{number} changes"
        );
    });
    judge(
        &changes.into_inner().unwrap(),
        programmed.into_inner().unwrap(),
        &answers.into_inner().unwrap(),
    );
}

/// Compares answers with the history.
fn judge(changes: &[Change], mut programmed: Vec<(u64, Instant)>, answers: &[Answer]) {
    programmed.sort_by_key(|(_, at)| *at);
    // A state is over when the node has the one after it.
    let over: Vec<Option<Instant>> = changes
        .iter()
        .skip(1)
        .map(|next| programmed.iter().find(|(had, _)| *had >= next.revision).map(|(_, at)| *at))
        .chain([None])
        .collect();
    let mut wrong = Vec::new();
    let mut states = BTreeSet::new();
    for answer in answers {
        let is_true = |(change, over): (&Change, &Option<Instant>)| {
            change.ready == answer.ready
                && change.sent <= answer.to
                && over.is_none_or(|over| over >= answer.from)
        };
        if !changes.iter().zip(&over).any(is_true) {
            wrong.push(answer);
        }
        states.insert(answer.ready);
    }
    println!("{} answers, {} different ones", answers.len(), states.len());
    assert!(wrong.is_empty(), "{} wrong answers, first {:?}", wrong.len(), wrong[0]);
    assert!(states.len() > 50, "the changes are seen: {}", states.len());
}
