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

/// Slices of the service. Each has a writer of its own, so that none waits for the disk of another.
const SLICES: u8 = 4;

/// Endpoints of a slice; each is ready or not.
const ENDPOINTS: u8 = 4;

/// All of them are ready.
const ALL: u16 = 0xf;

/// Changes a second.
const RATE: u32 = 500;

/// Changes in all.
const CHANGES: u32 = 3000;

/// Between two questions of one client.
const PAUSE: Duration = Duration::from_micros(500);

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

fn address(slice: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 42, 150 + slice, number)
}

fn endpoints(slice: u8, ready: u16) -> Value {
    let endpoint = |number: u8| {
        let is_ready = ready & (1 << number) != 0;
        json!({ "addresses": [address(slice, number)], "conditions": { "ready": is_ready } })
    };
    (0..ENDPOINTS).map(endpoint).collect()
}

/// Which endpoints of each slice an answer names.
#[track_caller]
fn named(addresses: &[IpAddr]) -> Ready {
    let mut ready = Ready::default();
    for ip in addresses {
        let IpAddr::V4(v4) = ip else { panic!("{ip} is no endpoint") };
        let [10, 42, slice, number] = v4.octets() else { panic!("{ip} is no endpoint") };
        assert!((150..150 + SLICES).contains(&slice) && number < ENDPOINTS, "{ip} is no endpoint");
        let ready = &mut ready[usize::from(slice - 150)];
        assert_eq!(*ready & (1 << number), 0, "{ip} twice in {addresses:?}");
        *ready |= 1 << number;
    }
    ready
}

/// Who is ready in each slice, a bit an endpoint.
type Ready = [u16; SLICES as usize];

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
    ready: Ready,
    from: Instant,
    to: Instant,
}

#[test]
fn answers_name_only_those_who_were_ready_meanwhile() {
    let _alone = crate::stage::alone();
    let stage = Stage::new("dns-churn", "[dns.forward]\nto = ['192.0.2.9']\n");
    let port = json!({ "name": "http", "port": 80 });
    let spec = json!({ "clusterIP": "None", "ports": [port] });
    let mut items =
        vec![json!({ "kind": "Service", "metadata": { "name": "herd" }, "spec": spec })];
    for slice in 0..SLICES {
        let labels = json!({ "kubernetes.io/service-name": "herd" });
        items.push(json!({
            "kind": "EndpointSlice",
            "metadata": { "name": format!("herd-{slice}"), "labels": labels },
            "addressType": "IPv4", "endpoints": endpoints(slice, ALL), "ports": [port],
        }));
    }
    let begin = Instant::now();
    apply(&stage.lab, &items);
    let first = Change { ready: ALL, sent: begin, revision: 0 };
    let changes: Vec<Mutex<Vec<Change>>> = (0..SLICES).map(|_| Mutex::new(vec![first])).collect();
    // Until when an older state may be seen: a revision, and when the node had it at the latest.
    let programmed: Mutex<Vec<(u64, Instant)>> = Mutex::new(Vec::new());
    let answers: Mutex<Vec<Answer>> = Mutex::new(Vec::new());
    let ends = AtomicBool::new(false);
    let newest = || {
        let last = |changes: &Mutex<Vec<Change>>| changes.lock().unwrap().last().unwrap().revision;
        changes.iter().map(last).max().unwrap()
    };
    let watch = |http: &mut Http| {
        let revision = newest();
        let path = format!("/v1/programmed?revision={revision}&timeoutSeconds=20");
        http.request("GET", &path, None);
        programmed.lock().unwrap().push((revision, Instant::now()));
    };
    let socket = stage.lab.socket();
    std::thread::scope(|scope| {
        for transport in ["udp", "udp", "tcp"] {
            let (stage, answers, ends) = (&stage, &answers, &ends);
            scope.spawn(move || {
                let own = ask_until(stage, transport, ends);
                answers.lock().unwrap().extend(own);
            });
        }
        scope.spawn(|| {
            let mut http = Http::connect(&socket);
            while !ends.load(Ordering::Relaxed) {
                watch(&mut http);
            }
        });
        let begin = Instant::now();
        let writers: Vec<_> = (0..SLICES)
            .map(|slice| {
                let (socket, changes) = (&socket, &changes[usize::from(slice)]);
                scope.spawn(move || change(socket, slice, changes))
            })
            .collect();
        let last: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        let took = begin.elapsed();
        println!("{CHANGES} changes in {took:?}");
        if last.iter().all(Result::is_ok) {
            watch(&mut Http::connect(&socket));
        }
        let now = stage.ask(HERD, kind::A);
        // Before anything may fail: the others go on until they are told.
        ends.store(true, Ordering::Relaxed);
        let now = named(&now.addresses());
        let last: Vec<u16> = last.into_iter().map(|last| last.expect("it wrote all")).collect();
        assert_eq!(now[..], last[..], "the last state");
        assert!(took < Duration::from_secs(60), "{CHANGES} changes took {took:?}");
    });
    let changes: Vec<Vec<Change>> =
        changes.into_iter().map(|changes| changes.into_inner().unwrap()).collect();
    let answers = answers.into_inner().unwrap();
    let wrong = wrong(&changes, programmed.into_inner().unwrap(), &answers);
    let states: BTreeSet<Ready> = answers.iter().map(|answer| answer.ready).collect();
    println!("{} answers, {} different ones", answers.len(), states.len());
    assert!(wrong.is_empty(), "{} wrong answers, first {:?}", wrong.len(), wrong[0]);
    assert!(states.len() > 50, "the changes are seen: {}", states.len());
}

/// Asks again and again.
fn ask_until(stage: &Stage, transport: &str, ends: &AtomicBool) -> Vec<Answer> {
    let (udp, mut tcp) = (stage.udp(), stage.tcp());
    let mut answers = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let query = ask(HERD, kind::A).payload(1232);
        let from = Instant::now();
        let reply = if transport == "udp" { wire::over_udp(&udp, &query) } else { tcp.ask(&query) };
        let to = Instant::now();
        let ready = named(&reply.addresses());
        assert_eq!(reply.rcode() == "NXDOMAIN", ready == Ready::default(), "{reply:?}");
        answers.push(Answer { ready, from, to });
        // Those who change have to have their share of the machine.
        std::thread::sleep(PAUSE);
    }
    answers
}

/// Changes one slice again and again; returns who is ready at last.
fn change(socket: &Path, slice: u8, changes: &Mutex<Vec<Change>>) -> u16 {
    let mut http = Http::connect(socket);
    let path = format!("/v1/namespaces/default/endpointslices/herd-{slice}");
    let mut random = 0x2545_f491_u32 + u32::from(slice);
    let mut ready = ALL;
    let begin = Instant::now();
    for number in 0..CHANGES / u32::from(SLICES) {
        // By the clock, so that a slow change is made up for.
        let next = begin + Duration::from_secs(1) * number * u32::from(SLICES) / RATE;
        if let Some(early) = next.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        ready ^= 1 << (random >> 8 & 3);
        // For a while at a time nobody is.
        if number / 10 % 8 == 7 {
            ready = if number % 2 == 0 { 0 } else { 1 };
        }
        let sent = Instant::now();
        let patch = json!({ "endpoints": endpoints(slice, ready) });
        let patched = http.request("PATCH", &path, Some(&patch));
        let version = patched["metadata"]["resourceVersion"].as_str().expect("a version");
        let revision = version.parse().expect("a number");
        changes.lock().unwrap().push(Change { ready, sent, revision });
    }
    ready
}

/// Compares answers with the history, slice by slice; returns those that were never true.
fn wrong(
    changes: &[Vec<Change>],
    mut programmed: Vec<(u64, Instant)>,
    answers: &[Answer],
) -> Vec<(usize, Answer)> {
    programmed.sort_by_key(|(_, at)| *at);
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
    let changes =
        vec![vec![change(1, 0, 1), change(2, 100, 2), change(3, 200, 3)]; usize::from(SLICES)];
    let programmed = vec![(2, at(110)), (3, at(210))];
    let answer =
        |ready, from, to| Answer { ready: [ready; SLICES as usize], from: at(from), to: at(to) };
    let is_wrong = |answer: Answer| !wrong(&changes, programmed.clone(), &[answer]).is_empty();
    assert!(!is_wrong(answer(1, 50, 60)) && !is_wrong(answer(1, 105, 120)));
    assert!(!is_wrong(answer(2, 95, 105)) && !is_wrong(answer(3, 300, 301)));
    assert!(is_wrong(answer(2, 50, 60)) && is_wrong(answer(1, 120, 130)));
    assert!(is_wrong(answer(2, 300, 301)) && is_wrong(answer(4, 100, 200)));
}
