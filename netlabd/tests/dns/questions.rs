// SPDX-License-Identifier: GPL-3.0-or-later
//! What `dig` is told, over both protocols and both families.

use std::time::Duration;

use crate::lab::{DEADLINE, Lab, V4, V6, at, dial, question, receive, send, sh, udp};

const WEB: &str = "web.default.svc.cluster.local";

#[test]
fn names_of_the_cluster_are_answered_over_both_protocols_and_families() {
    let lab = Lab::new("");
    for server in [V4, V6] {
        for protocol in ["+notcp", "+tcp"] {
            let dig = |what: &str| lab.dig(&lab.pod, &format!("{protocol} @{server} {what}"));
            assert_eq!(dig(&format!("+short {WEB} A")), "10.43.0.80\n");
            assert_eq!(dig(&format!("+short {WEB} AAAA")), "fd43::80\n");
            let whole = dig("WeB.default.svc.CLUSTER.local A");
            assert!(whole.contains("status: NOERROR"), "{whole}");
            assert!(whole.contains("flags: qr aa rd"), "{whole}");
            assert!(
                whole.contains("\nWeB.default.svc.CLUSTER.local. 5 IN\tA\t10.43.0.80"),
                "{whole}"
            );
            let none = dig("none.default.svc.cluster.local A");
            assert!(none.contains("status: NXDOMAIN") && none.contains("SOA\tns.dns."), "{none}");
        }
    }
}

#[test]
fn what_does_not_fit_is_had_over_tcp() {
    let lab = Lab::new("");
    let name = "many.default.svc.cluster.local";
    let sizes =
        [("+noedns", 512), ("+bufsize=100", 512), ("+bufsize=513", 513), ("+bufsize=1232", 1232)];
    for (options, most) in sizes {
        let cut = lab.dig(&lab.pod, &format!("+notcp +ignore {options} @{V4} {name}"));
        assert!(cut.contains("flags: qr aa tc rd"), "{cut}");
        let size = cut.split("MSG SIZE  rcvd: ").nth(1).unwrap().trim().parse::<usize>().unwrap();
        assert!(size <= most, "{options}: {size}");
    }
    let whole = lab.dig(&lab.pod, &format!("+short @{V4} {name}"));
    assert_eq!(whole.lines().count(), 100, "{whole}");
    // A client that takes it has it in one datagram, which is more than one packet.
    for server in [V4, V6] {
        let options = format!("+notcp +ignore +bufsize=4096 @{server}");
        let whole = lab.dig(&lab.pod, &format!("{options} {name}"));
        assert!(whole.contains("flags: qr aa rd") && whole.contains("ANSWER: 100,"), "{whole}");
        assert!(whole.contains("udp: 4096"), "{whole}");
        let size = whole.split("MSG SIZE  rcvd: ").nth(1).unwrap().trim().parse::<usize>().unwrap();
        assert!((1501..=4096).contains(&size), "{size}");
    }
    // In another order each time, most likely.
    let again = lab.dig(&lab.pod, &format!("+short @{V4} {name}"));
    assert_ne!(whole, again);
}

#[test]
fn clients_take_no_more_than_is_configured() {
    let lab = Lab::new("bufsize = 600");
    let name = "many.default.svc.cluster.local";
    for (payload, most, told) in [(512, 512, 512), (600, 600, 600), (4096, 600, 600)] {
        let options = format!("+notcp +ignore +bufsize={payload} @{V4}");
        let cut = lab.dig(&lab.pod, &format!("{options} {name}"));
        assert!(cut.contains("flags: qr aa tc rd"), "{cut}");
        assert!(cut.contains(&format!("udp: {told}\n")), "{cut}");
        let size = cut.split("MSG SIZE  rcvd: ").nth(1).unwrap().trim().parse::<usize>().unwrap();
        assert!((most - 16..=most).contains(&size), "{payload}: {size}");
    }
    let whole = lab.dig(&lab.pod, &format!("+tcp +bufsize=4096 @{V4} {name}"));
    assert!(whole.contains("ANSWER: 100,") && whole.contains("udp: 600\n"), "{whole}");
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let lab = Lab::silent("");
    let errors = lab.server().set_addresses(&[at("0.0.0.0"), at("::")]);
    assert!(errors.is_empty(), "{errors:?}");
    sh(&lab.node, "ip addr add 10.43.0.11/32 dev lo; ip addr add fd43::b/128 dev lo nodad");
    for server in [V4, "10.43.0.11", "10.42.0.1", V6, "fd43::b", "fd42::1"] {
        // A connected socket hears nobody else.
        let socket = udp(&lab.pod, server);
        for id in 0..100 {
            socket.send(&question(id, WEB)).unwrap();
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer).unwrap();
            assert_eq!(answer[..2], id.to_be_bytes());
            assert_eq!(answer[length - 4..length], [10, 43, 0, 80], "{server}");
        }
        assert_eq!(lab.dig(&lab.pod, &format!("+tcp +short @{server} {WEB}")), "10.43.0.80\n");
    }
}

#[test]
fn an_address_may_come_later_and_come_back() {
    let lab = Lab::silent("");
    let errors = lab.server().set_addresses(&[at("10.43.0.99"), at("fd43::99")]);
    assert!(errors.is_empty(), "{errors:?}");
    let add = "ip addr add 10.43.0.99/32 dev lo; ip addr add fd43::99/128 dev lo nodad";
    let remove = "ip addr del 10.43.0.99/32 dev lo; ip addr del fd43::99/128 dev lo";
    for script in [add, remove, add] {
        sh(&lab.node, script);
        if script == add {
            for server in ["10.43.0.99", "fd43::99"] {
                for protocol in ["+notcp", "+tcp"] {
                    let answer = lab.dig(&lab.pod, &format!("{protocol} +short @{server} {WEB}"));
                    assert_eq!(answer, "10.43.0.80\n");
                }
            }
        }
    }
    // What stays is left alone, and what goes is closed.
    assert!(lab.server().set_addresses(&[at("fd43::99")]).is_empty());
    assert_eq!(lab.server().addresses(), [at("fd43::99")]);
    assert_eq!(lab.dig(&lab.pod, &format!("+short @fd43::99 {WEB}")), "10.43.0.80\n");
    let gone = "dig +tries=1 +time=1 @10.43.0.99 x. >/dev/null && exit 1; true";
    sh(&lab.pod, gone);
}

#[test]
fn a_server_at_all_addresses_does_not_keep_ours_from_us() {
    let lab = Lab::silent("");
    let others = lab.node.run(|| {
        let udp = std::net::UdpSocket::bind("0.0.0.0:53").unwrap();
        (udp, std::net::TcpListener::bind("10.42.0.1:53").unwrap())
    });
    let _others = others.unwrap();
    let errors = lab.server().set_addresses(&[at("10.42.0.1")]);
    let error = errors.first().expect("the address has a server already").to_string();
    assert!(error.contains("10.42.0.1:53") && error.contains("(pid "), "{error}");
}

#[test]
fn names_outside_are_forwarded_remembered_and_reached_by_aliases() {
    let lab = Lab::new("");
    lab.upstream(Duration::ZERO);
    // The second time over TCP, from what is remembered: this upstream speaks UDP alone.
    for protocol in ["+notcp", "+tcp"] {
        let answer = lab.dig(&lab.pod, &format!("{protocol} +short @{V4} www.example A"));
        assert_eq!(answer, "203.0.113.9\n");
    }
    let alias = lab.dig(&lab.pod, &format!("+noall +answer @{V4} out.default.svc.cluster.local A"));
    let lines: Vec<Vec<_>> = alias.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][3..], ["CNAME", "elsewhere.example."], "{alias}");
    assert_eq!(lines[1][0], "elsewhere.example.", "{alias}");
    assert_eq!(lines[1][3..], ["A", "203.0.113.9"], "{alias}");
}

#[test]
fn questions_on_one_connection_do_not_wait_for_each_other() {
    let lab = Lab::new("");
    lab.upstream(Duration::from_millis(700));
    let mut stream = dial(&lab.pod, V4);
    // Upstreams are asked as the client asked: over TCP, which this one does not speak.
    lab.configure("[forward]\nprefer-udp = true");
    send(&mut stream, &question(1, "slow.example")).unwrap();
    for id in 2..50 {
        send(&mut stream, &question(id, WEB)).unwrap();
    }
    let mut order = Vec::new();
    for _ in 1..50 {
        let answer = receive(&mut stream).unwrap();
        order.push(u16::from_be_bytes([answer[0], answer[1]]));
    }
    assert_eq!(order.pop(), Some(1));
    order.sort_unstable();
    assert_eq!(order, (2..50).collect::<Vec<_>>());
}

#[test]
fn another_configuration_loses_no_question() {
    let lab = Lab::new("");
    let socket = udp(&lab.pod, V4);
    for id in 0..2000 {
        if id % 20 == 0 {
            lab.configure(if id % 40 == 0 { "ttl = 5" } else { "" });
        }
        socket.send(&question(id, WEB)).unwrap();
        let length = socket.recv(&mut [0; 512]).expect("an answer");
        assert!(length > 40, "{length}");
    }
}

#[test]
fn a_server_that_stops_answers_for_a_while_still() {
    let mut lab = Lab::new("");
    let socket = udp(&lab.pod, V4);
    let lameduck = Duration::from_millis(1500);
    let asking = std::thread::spawn(move || {
        let start = std::time::Instant::now();
        let mut answered = Duration::ZERO;
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        while start.elapsed() < DEADLINE {
            if socket.send(&question(1, WEB)).is_err() || socket.recv(&mut [0; 512]).is_err() {
                return answered;
            }
            answered = start.elapsed();
        }
        panic!("it goes on for ever")
    });
    lab.stop(lameduck);
    let answered = asking.join().unwrap();
    assert!(answered >= lameduck - Duration::from_millis(200), "{answered:?}");
}
