// SPDX-License-Identifier: GPL-3.0-or-later
//! Endpoints that change 500 times a second and more while they are asked for. The test keeps their
//! history: each answer must be one that was true at some moment between question and answer.
//!
//! One change a request is 300 a second with a daemon that the compiler did not optimise: reading
//! and writing HTTP costs it more than the change. So a writer applies the slices of a service at
//! once, as whoever starts or stops a node does.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixtures::apply;
use crate::stage::Stage;
use crate::wire::{self, ask, kind};

/// Services, which are headless. Each has a writer of its own.
const SERVICES: u8 = 4;

/// Slices of a service. Each changes whenever its writer writes.
const SLICES: u8 = 8;

/// Endpoints of a slice; each is ready or not.
const ENDPOINTS: u8 = 4;

/// All of them are ready.
const ALL: u16 = 0xf;

/// Changes a second that are tried for, so that 500 are had when the machine is busy for a while.
const RATE: u32 = 1000;

/// Changes in all.
const CHANGES: u32 = 8000;

/// Between two questions of one client.
const PAUSE: Duration = Duration::from_millis(1);

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
            "{method} {path} HTTP/1.1\r\nHost: netlab\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.reader.get_mut().write_all(request.as_bytes()).expect("the daemon reads");
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("an answer");
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
        let text = String::from_utf8_lossy(&body);
        assert!(line.contains(" 200 "), "{method} {path}: {line}{text}");
        serde_json::from_slice(&body).unwrap_or(Value::Null)
    }
}

fn name(service: u8) -> String {
    format!("herd-{service}")
}

fn address(service: u8, slice: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 42, 150 + service, 16 * slice + number)
}

/// A slice of a service, as it is applied.
fn slice_of(service: u8, slice: u8, ready: u16) -> Value {
    let endpoint = |number: u8| {
        let is_ready = ready & (1 << number) != 0;
        let addresses = [address(service, slice, number)];
        json!({ "addresses": addresses, "conditions": { "ready": is_ready } })
    };
    json!({
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-{slice}", name(service)),
            "labels": { "kubernetes.io/service-name": name(service) },
        },
        "addressType": "IPv4",
        "endpoints": (0..ENDPOINTS).map(endpoint).collect::<Value>(),
        "ports": [{ "name": "http", "port": 80 }],
    })
}

/// Which endpoints of each slice an answer of a service names.
#[track_caller]
fn named(service: u8, addresses: &[IpAddr]) -> Ready {
    let mut ready = Ready::default();
    for ip in addresses {
        let of = |slice: u8, number: u8| IpAddr::V4(address(service, slice, number));
        let all = (0..SLICES).flat_map(|slice| (0..ENDPOINTS).map(move |number| (slice, number)));
        let found = all.into_iter().find(|(slice, number)| of(*slice, *number) == *ip);
        let (slice, number) = found.unwrap_or_else(|| panic!("{ip} is none of {service}"));
        let ready = &mut ready[usize::from(slice)];
        assert_eq!(*ready & (1 << number), 0, "{ip} twice in {addresses:?}");
        *ready |= 1 << number;
    }
    ready
}

/// Who is ready in each slice, a bit an endpoint.
type Ready = [u16; SLICES as usize];

/// Who was ready since when in each slice of a service.
type History = [Vec<Change>; SLICES as usize];

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
    service: u8,
    ready: Ready,
    from: Instant,
    to: Instant,
}

#[test]
fn answers_name_only_those_who_were_ready_meanwhile() {
    let _alone = crate::stage::alone();
    let stage = Stage::new("dns-churn", "[dns.forward]\nto = ['192.0.2.9']\n");
    let service = |service: u8| {
        let spec = json!({ "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] });
        json!({ "kind": "Service", "metadata": { "name": name(service) }, "spec": spec })
    };
    let slices =
        (0..SERVICES).flat_map(|of| (0..SLICES).map(move |slice| slice_of(of, slice, ALL)));
    let begin = Instant::now();
    apply(&stage.lab, &(0..SERVICES).map(service).chain(slices).collect::<Vec<_>>());
    let first = Change { ready: ALL, sent: begin, revision: 0 };
    // Until when an older state may be seen: a revision, and when the node had it at the latest.
    let mut programmed: Vec<(u64, Instant)> = Vec::new();
    let answers: Mutex<Vec<Answer>> = Mutex::new(Vec::new());
    let ends = AtomicBool::new(false);
    let socket = stage.lab.socket();
    let (written, to_watch) = mpsc::channel();
    let histories: Vec<History> = std::thread::scope(|scope| {
        for transport in ["udp", "udp", "tcp"] {
            let (stage, answers, ends) = (&stage, &answers, &ends);
            scope.spawn(move || {
                let own = ask_until(stage, transport, ends);
                answers.lock().unwrap().extend(own);
            });
        }
        let place = &socket;
        let watching = scope.spawn(move || watch(place, &to_watch));
        let begin = Instant::now();
        let writers: Vec<_> = (0..SERVICES)
            .map(|service| {
                let (socket, written) = (&socket, written.clone());
                scope.spawn(move || change(socket, service, first, &written))
            })
            .collect();
        let histories: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        let took = begin.elapsed();
        let rate = f64::from(CHANGES) / took.as_secs_f64();
        println!("{CHANGES} changes in {took:?}: {rate:.0} a second");
        // All are programmed when this has ended.
        drop(written);
        let watched = watching.join();
        let now: Vec<Ready> = (0..SERVICES).map(|service| asked(&stage, service)).collect();
        // Before anything may fail: the others go on until they are told.
        ends.store(true, Ordering::Relaxed);
        programmed.extend(watched.expect("it heard of all"));
        let histories: Vec<History> =
            histories.into_iter().map(|history| history.expect("it wrote all")).collect();
        for (history, now) in histories.iter().zip(now) {
            let last = history.each_ref().map(|changes| changes.last().unwrap().ready);
            assert_eq!(now, last, "the last state");
        }
        histories
    });
    let answers = answers.into_inner().unwrap();
    let wrong: Vec<_> = (0..SERVICES)
        .flat_map(|service| {
            let own: Vec<Answer> =
                answers.iter().filter(|answer| answer.service == service).copied().collect();
            wrong(&histories[usize::from(service)], &programmed, &own)
        })
        .collect();
    let states: BTreeSet<Ready> = answers.iter().map(|answer| answer.ready).collect();
    println!("{} answers, {} different ones", answers.len(), states.len());
    assert!(wrong.is_empty(), "{} wrong answers, first {:?}", wrong.len(), wrong[0]);
    assert!(states.len() > 50, "the changes are seen: {}", states.len());
}

/// The name that a service has.
fn full_name(service: u8) -> String {
    format!("{}.default.svc.cluster.local.", name(service))
}

/// Who is ready now.
#[track_caller]
fn asked(stage: &Stage, service: u8) -> Ready {
    named(service, &stage.send(&ask(&full_name(service), kind::A).payload(1232)).addresses())
}

/// Waits for each revision that is written, until nobody writes any more.
#[track_caller]
fn watch(socket: &Path, written: &mpsc::Receiver<u64>) -> Vec<(u64, Instant)> {
    let mut http = Http::connect(socket);
    let mut programmed = Vec::new();
    while let Ok(revision) = written.recv() {
        // Whoever wrote meanwhile is waited for as well.
        let revision = written.try_iter().fold(revision, u64::max);
        let path = format!("/v1/programmed?revision={revision}&timeoutSeconds=20");
        http.request("GET", &path, None);
        programmed.push((revision, Instant::now()));
    }
    programmed
}

/// Asks again and again, for one service after the other.
fn ask_until(stage: &Stage, transport: &str, ends: &AtomicBool) -> Vec<Answer> {
    let (udp, mut tcp) = (stage.udp(), stage.tcp());
    let mut answers = Vec::new();
    for service in (0..SERVICES).cycle() {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        let query = ask(&full_name(service), kind::A).payload(1232);
        let from = Instant::now();
        let reply = if transport == "udp" { wire::over_udp(&udp, &query) } else { tcp.ask(&query) };
        let to = Instant::now();
        let ready = named(service, &reply.addresses());
        assert_eq!(reply.rcode() == "NXDOMAIN", ready == Ready::default(), "{reply:?}");
        answers.push(Answer { service, ready, from, to });
        // Those who change have to have their share of the machine.
        std::thread::sleep(PAUSE);
    }
    answers
}

/// Changes all slices of a service again and again; returns what was when.
fn change(socket: &Path, service: u8, first: Change, written: &mpsc::Sender<u64>) -> History {
    let mut http = Http::connect(socket);
    let mut history: History = std::array::from_fn(|_| vec![first]);
    let mut random = 0x2545_f491_u32 + u32::from(service);
    let mut ready = [ALL; SLICES as usize];
    let begin = Instant::now();
    let at_once = u32::from(SERVICES) * u32::from(SLICES);
    for number in 0..CHANGES / at_once {
        // By the clock, so that a slow change is made up for.
        let next = begin + Duration::from_secs(1) * number * at_once / RATE;
        if let Some(early) = next.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        for ready in &mut ready {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            *ready ^= 1 << (random >> 8 & 3);
            // For a while at a time nobody is.
            if number / 10 % 8 == 7 {
                *ready = if number % 2 == 0 { 0 } else { 1 };
            }
        }
        let items: Value =
            (0..SLICES).map(|slice| slice_of(service, slice, ready[usize::from(slice)])).collect();
        let sent = Instant::now();
        let applied = http.request("POST", "/v1/apply", Some(&json!({ "items": items })));
        let revision = applied["revision"].as_u64().expect("a revision");
        for (changes, ready) in history.iter_mut().zip(ready) {
            changes.push(Change { ready, sent, revision });
        }
        // Only a test that failed already hears no more.
        let _ = written.send(revision);
    }
    history
}

/// Compares answers with the history, slice by slice; returns those that were never true.
fn wrong(
    changes: &History,
    programmed: &[(u64, Instant)],
    answers: &[Answer],
) -> Vec<(usize, Answer)> {
    let mut wrong = Vec::new();
    for (slice, changes) in changes.iter().enumerate() {
        // A state is over when the node has the one after it.
        let over = |next: &Change| {
            programmed.iter().find(|(had, _)| *had >= next.revision).map(|(_, at)| *at)
        };
        let over: Vec<Option<Instant>> = changes.iter().skip(1).map(over).chain([None]).collect();
        for answer in answers {
            // Changes are sent one after the other, and end so.
            let from = over.partition_point(|over| over.is_some_and(|over| over < answer.from));
            let to = changes.partition_point(|change| change.sent <= answer.to);
            let is_true =
                changes[from..to].iter().any(|change| change.ready == answer.ready[slice]);
            if !is_true {
                wrong.push((slice, *answer));
            }
        }
    }
    wrong
}

#[test]
fn an_answer_from_before_is_found_out() {
    let begin = Instant::now();
    let at = |millis: u64| begin + Duration::from_millis(millis);
    let change = |ready, sent, revision| Change { ready, sent: at(sent), revision };
    let changes: History =
        std::array::from_fn(|_| vec![change(1, 0, 1), change(2, 100, 2), change(3, 200, 3)]);
    let programmed = [(2, at(110)), (3, at(210))];
    let answer = |ready, from, to| Answer {
        service: 0,
        ready: [ready; SLICES as usize],
        from: at(from),
        to: at(to),
    };
    let is_wrong = |answer: Answer| !wrong(&changes, &programmed, &[answer]).is_empty();
    assert!(!is_wrong(answer(1, 50, 60)) && !is_wrong(answer(1, 105, 120)));
    assert!(!is_wrong(answer(2, 95, 105)) && !is_wrong(answer(3, 300, 301)));
    assert!(is_wrong(answer(2, 50, 60)) && is_wrong(answer(1, 120, 130)));
    assert!(is_wrong(answer(2, 300, 301)) && is_wrong(answer(4, 100, 200)));
}
