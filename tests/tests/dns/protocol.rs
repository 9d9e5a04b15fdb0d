// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages: sizes, cut answers, what resolvers hide in questions, and what is no question.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netlab_tests::wait_until;
use serde_json::{Value, json};

use crate::fixtures::apply;
use crate::stage::{SERVERS, Stage};
use crate::wire::{self, Ask, PATIENCE, Reply, SILENCE, ask, kind};

const WEB: &str = "web.default.svc.cluster.local.";
const CROWD: &str = "crowd.default.svc.cluster.local.";

/// Bytes of an OPT record without options.
const OPT: usize = 11;

/// Endpoints of `crowd`.
const MANY: u8 = 100;

/// A service, and a headless one of many endpoints with host names.
fn objects() -> [Value; 4] {
    let port = json!({ "name": "http", "port": 80 });
    let service = |name: &str, ip: &str| {
        json!({
            "kind": "Service", "metadata": { "name": name },
            "spec": { "clusterIP": ip, "ports": [port] },
        })
    };
    let endpoints: Vec<Value> = (0..MANY)
        .map(|number| {
            json!({ "addresses": [format!("10.42.100.{number}")], "hostname": format!("crowd-{number}") })
        })
        .collect();
    let slice = json!({
        "kind": "EndpointSlice",
        "metadata": {
            "name": "crowd-1", "labels": { "kubernetes.io/service-name": "crowd" },
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": [port],
    });
    let six = json!({
        "kind": "Service", "metadata": { "name": "six" },
        "spec": { "clusterIP": "fd43::6", "ipFamilies": ["IPv6"], "ports": [port] },
    });
    [service("web", "10.43.1.1"), service("crowd", "None"), slice, six]
}

fn crowd() -> Vec<IpAddr> {
    (0..MANY).map(|number| IpAddr::V4(Ipv4Addr::new(10, 42, 100, number))).collect()
}

#[track_caller]
fn stage(name: &str) -> Stage {
    let stage = Stage::new(name, "[dns.forward]\nto = ['192.0.2.9']\n");
    apply(&stage.lab, &objects());
    stage
}

#[test]
fn answers_are_as_large_as_asked_and_whole_over_tcp() {
    let stage = stage("dns-size");
    let sockets = [0, 1].map(|family| wire::udp(&stage.pod(), Stage::server(family)));
    let mut tcp = stage.tcp();
    for (kind, records) in [(kind::A, 100), (kind::SRV, 100)] {
        let whole = tcp.ask(&ask(CROWD, kind)).bytes.len();
        assert!(whole > 1500, "no packet holds it: {whole}");
        for payload in
            [None, Some(0), Some(512), Some(513), Some(700), Some(1232), Some(4096), Some(65535)]
        {
            let query = ask(CROWD, kind);
            let query = payload.map_or(query.clone(), |payload| query.payload(payload));
            let whole = whole + payload.map_or(0, |_| OPT);
            for socket in &sockets {
                let reply = wire::over_udp(socket, &query);
                let limit = usize::from(payload.unwrap_or(512).max(512));
                let (length, found) = (reply.bytes.len(), reply.message.answers.len());
                assert!(length <= limit, "{length} bytes for {payload:?}");
                assert_eq!(reply.is_cut(), whole > limit, "{payload:?}: {length} of {whole}");
                assert_eq!(length == whole, whole <= limit, "{payload:?}: {length} of {whole}");
                assert!(found == records || reply.is_cut(), "{payload:?}: {found} of {records}");
                assert_eq!(reply.rcode(), "NOERROR");
                // EDNS is answered with EDNS and the client's own size, and nothing else is.
                assert_eq!(reply.message.edns.is_some(), payload.is_some(), "{payload:?}");
                if let Some(payload) = payload {
                    let opt = &reply.bytes[length - OPT..];
                    assert_eq!(opt[..5], [&[0, 0, 41][..], &payload.to_be_bytes()].concat());
                }
            }
        }
        for payload in [None, Some(512), Some(1232)] {
            let query = ask(CROWD, kind);
            let query = payload.map_or(query.clone(), |payload| query.payload(payload));
            let reply = tcp.ask(&query);
            assert!(!reply.is_cut());
            assert_eq!(reply.message.answers.len(), records);
            if kind == kind::A {
                assert_eq!(reply.addresses(), crowd());
            } else {
                assert_eq!(reply.message.additionals.len(), records, "an address of each");
            }
        }
    }
    // A real client does the two in one.
    let told = stage.lab.pod_exec("client", &["dig", "@10.43.0.10", "+short", CROWD]).ok();
    assert_eq!(told.lines().filter(|line| line.starts_with("10.42.100.")).count(), 100, "{told}");
}

#[test]
fn what_resolvers_hide_in_questions_comes_back() {
    let stage = stage("dns-hide");
    let socket = stage.udp();
    // 0x20: the case is the resolver's secret.
    for name in [WEB, "wEB.DeFaULt.sVC.clUsTER.loCAl.", "NOBODY.default.svc.CLUSTER.local.", CROWD]
    {
        let query = ask(name, kind::A);
        let reply = wire::over_udp(&socket, &query);
        let question = &reply.bytes[12..12 + query.question().len()];
        assert_eq!(question, query.question(), "{name}");
        assert_eq!(reply.message.metadata.id, query.id);
        for record in &reply.message.answers {
            assert_eq!(record.name.to_ascii(), name);
        }
    }
    // Flags: RD and CD are given back, Z is not, and EDNS is of version 0 with the DO bit as asked.
    for (flags, back) in [(0x0000, 0x0000), (0x0100, 0x0100), (0x0110, 0x0110), (0x0140, 0x0100)] {
        let reply = wire::over_udp(&socket, &Ask { flags, ..ask(WEB, kind::A) });
        let found = u16::from_be_bytes([reply.bytes[2], reply.bytes[3]]);
        assert_eq!(found & 0x0150, back, "{flags:04x} came back as {found:04x}");
        assert_eq!(found & 0x8400, 0x8400, "an answer, with authority: {found:04x}");
    }
    for dnssec in [false, true] {
        let edns = Some((1232, 0, if dnssec { 0x8000 } else { 0 }));
        let reply = wire::over_udp(&socket, &Ask { edns, ..ask(WEB, kind::A) });
        let edns = reply.message.edns.as_ref().expect("EDNS is answered with EDNS");
        assert_eq!((edns.flags().dnssec_ok, edns.version()), (dnssec, 0));
        assert_eq!(reply.addresses(), ["10.43.1.1".parse::<IpAddr>().unwrap()]);
    }
    for payload in [100, 1232, 65535_u16] {
        let version = Ask { edns: Some((payload, 1, 0)), ..ask(WEB, kind::A) };
        let reply = wire::over_udp(&socket, &version);
        assert_eq!((reply.rcode(), reply.message.answers.len()), ("BADVERS", 0));
        let opt = &reply.bytes[reply.bytes.len() - OPT..];
        assert_eq!(opt[3..7], [&payload.to_be_bytes()[..], &[1, 0]].concat(), "its own size");
    }
    // An option that nobody knows is no error.
    let mut bytes = ask(WEB, kind::A).payload(1232).bytes();
    let length = bytes.len();
    bytes[length - 2..].copy_from_slice(&[0, 6]);
    bytes.extend([0xfd, 0xe9, 0, 2, 1, 2]);
    let reply = Reply::read(&wire::exchange(&socket, &bytes, PATIENCE).expect("an answer"));
    assert_eq!((reply.rcode(), reply.addresses().len()), ("NOERROR", 1));
    // Names are compressed: the owner is two bytes.
    let reply = wire::over_udp(&socket, &ask(WEB, kind::A));
    assert_eq!(reply.bytes.len(), 12 + ask(WEB, kind::A).question().len() + 2 + 10 + 4);
}

/// Bytes with another count of questions, and so many questions.
fn questions(count: u16, real: usize) -> Vec<u8> {
    let query = ask(WEB, kind::A);
    let mut bytes = query.bytes();
    bytes[4..6].copy_from_slice(&count.to_be_bytes());
    for _ in 1..real {
        bytes.extend(query.question());
    }
    bytes
}

/// A query with other bytes behind the header.
fn with_body(body: &[u8]) -> Vec<u8> {
    let mut bytes = ask(WEB, kind::A).bytes()[..12].to_vec();
    bytes.extend(body);
    bytes
}

#[test]
fn what_is_no_question_is_told_so_or_nothing() {
    let stage = stage("dns-bad");
    let socket = stage.udp();
    let question = ask(WEB, kind::A).question();
    let name = &question[..question.len() - 4];
    let flagged = |flags: u16| Ask { flags, ..ask(WEB, kind::A) }.bytes();
    let class = |class: u16, name: &str, kind| Ask { class, ..ask(name, kind) }.bytes();
    let query = ask(WEB, kind::A).bytes();
    let long_name: Vec<u8> = (0..5).flat_map(|_| [&[60_u8][..], &[b'x'; 60]].concat()).collect();
    let ends = [0, 0, 1, 0, 1];
    for (what, bytes, wanted) in [
        ("nothing at all", vec![], None),
        ("half a header", query[..7].to_vec(), None),
        ("an answer", flagged(0x8100), None),
        ("a header alone", query[..12].to_vec(), Some("SERVFAIL")),
        ("no question", questions(0, 0)[..12].to_vec(), Some("FORMERR")),
        ("two questions", questions(2, 2), Some("FORMERR")),
        ("two announced, one there", questions(2, 1), Some("FORMERR")),
        ("half a name", query[..20].to_vec(), Some("FORMERR")),
        ("a name without a type", with_body(name), Some("FORMERR")),
        ("a pointer to itself", with_body(&[0xc0, 12, 0, 1, 0, 1]), Some("FORMERR")),
        ("a pointer beyond", with_body(&[0xff, 0xff, 0, 1, 0, 1]), Some("FORMERR")),
        ("a label of an unknown kind", with_body(&[0x40, 1, 0, 0, 1, 0, 1]), Some("FORMERR")),
        ("a name of 306 bytes", with_body(&[&long_name[..], &ends].concat()), Some("FORMERR")),
        ("an inverse query", flagged(0x0900), Some("NOTIMP")),
        ("a status query", flagged(0x1100), Some("NOTIMP")),
        ("an update", flagged(0x2900), Some("NOTIMP")),
        ("an unknown opcode", flagged(0x7900), Some("NOTIMP")),
        ("class CH", class(3, "version.bind.", kind::TXT), Some("REFUSED")),
        ("class CH, hostname", class(3, "hostname.bind.", kind::TXT), Some("REFUSED")),
        ("class HS", class(4, WEB, kind::A), Some("REFUSED")),
        ("a transfer over UDP", ask("cluster.local.", kind::AXFR).bytes(), Some("REFUSED")),
    ] {
        let patience = if wanted.is_some() { PATIENCE } else { SILENCE };
        let answer = match bytes.is_empty() {
            true => {
                socket.send(&bytes).unwrap();
                wire::receive(&socket, None, patience)
            }
            false => wire::exchange(&socket, &bytes, patience),
        };
        let Some(wanted) = wanted else {
            assert!(answer.is_none(), "{what}: {answer:02x?}");
            continue;
        };
        let answer = answer.unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(answer[2] & 0x80, 0x80, "{what}: an answer");
        let codes = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
        assert_eq!(codes.get(usize::from(answer[3] & 15)), Some(&wanted), "{what}: {answer:02x?}");
        assert!(answer.len() <= bytes.len().max(12) + 11, "{what}: grew: {answer:02x?}");
        assert_eq!(wire::over_udp(&socket, &ask(WEB, kind::A)).addresses().len(), 1, "{what}");
    }
    // The same over TCP ends no connection that a good query may follow on.
    let mut tcp = stage.tcp();
    tcp.send(&questions(2, 2)).unwrap();
    assert_eq!(tcp.receive().unwrap()[3] & 15, 1, "FORMERR");
    assert_eq!(tcp.ask(&ask(WEB, kind::A)).addresses().len(), 1);
}

#[test]
fn who_is_outside_is_refused() {
    let stage = stage("dns-who");
    let outside = stage.outside();
    let machine = stage.lab.outside();
    machine.ip("route add 10.43.0.0/16 via 192.0.2.1");
    machine.ip("-6 route add fd43::/112 via 2001:db8::1");
    for server in SERVERS {
        let server = server.parse().unwrap();
        let socket = wire::udp(&outside, server);
        for (name, kind) in [
            (WEB, kind::A),
            (CROWD, kind::A),
            ("www.example.org.", kind::A),
            ("cluster.local.", 255),
        ] {
            let query = ask(name, kind).payload(4096);
            let reply = wire::over_udp(&socket, &query);
            assert_eq!((reply.rcode(), reply.message.answers.len()), ("REFUSED", 0), "{name}");
            assert!(reply.bytes.len() <= query.bytes().len(), "no more than was asked");
        }
        // The node itself, and its pods, are answered.
        for place in [stage.lab.node.path(), stage.pod()] {
            let reply = wire::over_udp(&wire::udp(&place, server), &ask(WEB, kind::A));
            assert_eq!(reply.rcode(), "NOERROR", "{place:?}");
        }
    }
    // Those who are listed may.
    stage.reload("[dns]\nallow = ['192.0.2.0/28', '2001:db8::/64']\nforward.to = ['192.0.2.9']\n");
    for server in SERVERS {
        let socket = wire::udp(&outside, server.parse().unwrap());
        wait_until("the network is allowed", || {
            wire::over_udp(&socket, &ask(WEB, kind::A)).rcode() == "NOERROR"
        });
        let mut tcp = wire::tcp(&outside, server.parse().unwrap());
        assert_eq!(tcp.ask(&ask(WEB, kind::A)).rcode(), "NOERROR");
    }
}

#[test]
fn whole_zones_are_for_those_who_are_listed() {
    let stage = stage("dns-axfr");
    let dig = ["dig", "@10.43.0.10", "+tcp", "+noall", "+answer", "+time=5", "+tries=1"];
    let transfer = |kind: &str| {
        let words = [&dig[..], &["cluster.local.", kind]].concat();
        stage.lab.pod_exec("client", &words).stdout
    };
    let mut tcp = stage.tcp();
    for kind in [kind::AXFR, kind::IXFR] {
        assert_eq!(tcp.ask(&ask("cluster.local.", kind)).rcode(), "REFUSED");
    }
    let own = &stage.lab.pod_ips("client")[0];
    stage
        .reload(&format!("[dns.transfer]\nto = ['{own}/32']\n[dns.forward]\nto = ['192.0.2.9']\n"));
    wait_until("the pod may have the zone", || transfer("AXFR").contains("SOA"));
    let lines = transfer("AXFR");
    let lines: Vec<Vec<&str>> = lines
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty())
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!((lines[0][3], lines.last().unwrap()[3]), ("SOA", "SOA"), "{lines:?}");
    assert_eq!(lines[0], *lines.last().unwrap());
    let has = |name: &str, kind: &str, data: &str| {
        lines.iter().any(|line| line[0] == name && line[3] == kind && line[4..].join(" ") == data)
    };
    assert!(has(WEB, "A", "10.43.1.1"));
    assert!(has("six.default.svc.cluster.local.", "AAAA", "fd43::6"));
    assert!(has("crowd-99.crowd.default.svc.cluster.local.", "A", "10.42.100.99"));
    for name in ["_http._tcp.web.default.svc.cluster.local.", WEB] {
        assert!(has(name, "SRV", &format!("0 100 80 {WEB}")), "{name}");
    }
    assert!(has("dns-version.cluster.local.", "TXT", "\"1.1.0\""));
    assert!(has("cluster.local.", "NS", "ns.dns.cluster.local."));
    assert_eq!(lines.iter().filter(|line| line[0] == CROWD && line[3] == "A").count(), 100);
    // Who has this version is told only that; dig ends at the second SOA that it waits for.
    let serial = lines[0][6];
    let mut query = ask("cluster.local.", kind::IXFR).bytes();
    query[9] = 1; // one record in the authority section: what the client has
    query.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
    query.extend(serial.parse::<u32>().unwrap().to_be_bytes());
    query.extend([0; 16]);
    tcp = stage.tcp();
    tcp.send(&query).unwrap();
    let reply = Reply::read(&tcp.receive().unwrap());
    assert_eq!((reply.rcode(), reply.message.answers.len()), ("NOERROR", 1), "{reply:?}");
    // What is new since nobody knows when is not to be had.
    let reply = stage.tcp().ask(&ask("cluster.local.", kind::IXFR));
    assert_eq!((reply.rcode(), reply.message.answers.len()), ("SERVFAIL", 0));
    // Others still may not.
    let node =
        wire::tcp(&stage.lab.node.path(), Stage::server(0)).ask(&ask("cluster.local.", kind::AXFR));
    assert_eq!(node.rcode(), "REFUSED");
    // The serial number grows with the zone.
    stage.lab.ctl(&["delete", "service", "web"]).ok();
    let soa = stage.ask("cluster.local.", 6);
    let text = soa.message.answers[0].data.to_string();
    let newer: u32 = text.split(' ').nth(2).unwrap().parse().unwrap();
    assert!(newer > serial.parse().unwrap(), "{text}, before {serial}");
}

#[test]
fn slow_and_idle_clients_of_tcp_are_bounded() {
    let stage = stage("dns-slow");
    // Several queries at once, and one in pieces.
    let mut tcp = stage.tcp();
    let queries: Vec<Ask> = (0..20).map(|_| ask(WEB, kind::A)).collect();
    for query in &queries {
        tcp.send(&query.bytes()).unwrap();
    }
    let mut ids: Vec<u16> =
        queries.iter().map(|_| Reply::read(&tcp.receive().unwrap()).message.metadata.id).collect();
    ids.sort_unstable();
    let mut wanted: Vec<u16> = queries.iter().map(|query| query.id).collect();
    wanted.sort_unstable();
    assert_eq!(ids, wanted);
    let query = ask(WEB, kind::A).bytes();
    for byte in [&u16::try_from(query.len()).unwrap().to_be_bytes()[..], &query].concat() {
        std::io::Write::write_all(&mut tcp.stream, &[byte]).unwrap();
    }
    assert_eq!(Reply::read(&tcp.receive().unwrap()).rcode(), "NOERROR");
    // One that begins and does not go on, and one that says nothing.
    let mut half = stage.tcp();
    std::io::Write::write_all(&mut half.stream, &[0, 40, 1, 2]).unwrap();
    let mut idle = stage.tcp();
    // A crowd that holds all it can get; those who ask are answered beside it.
    let mut held: Vec<_> = (0..200)
        .filter_map(|_| {
            let (pod, server) = (stage.pod(), Stage::server(0));
            wire::within(&pod, || std::net::TcpStream::connect_timeout(&server, PATIENCE)).ok()
        })
        .collect();
    let socket = stage.udp();
    assert_eq!(wire::over_udp(&socket, &ask(WEB, kind::A)).rcode(), "NOERROR");
    let node = stage.lab.node.path();
    let mut other = wire::tcp(&node, Stage::server(0));
    assert_eq!(other.ask(&ask(WEB, kind::A)).rcode(), "NOERROR", "another client is served");
    // Answers that nobody reads fill no memory: the connection ends, or takes no more.
    let mut greedy = wire::tcp(&node, Stage::server(0));
    greedy.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let big = ask(CROWD, kind::SRV).bytes();
    // More than fits into the buffers of both ends.
    let most = (64 << 20) / big.len();
    let sent = (0..most).take_while(|_| greedy.send(&big).is_ok()).count();
    assert!(sent < most, "the server reads on and on for one who reads nothing");
    assert_eq!(wire::over_udp(&socket, &ask(WEB, kind::A)).rcode(), "NOERROR");
    let patience = Duration::from_secs(15);
    assert!(half.is_closed_within(patience), "half a message is waited for for ever");
    assert!(idle.is_closed_within(patience), "an idle connection is kept for ever");
    held.clear();
    assert_eq!(stage.tcp().ask(&ask(WEB, kind::A)).rcode(), "NOERROR");
}
