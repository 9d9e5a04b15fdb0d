// SPDX-License-Identifier: GPL-3.0-or-later
//! Before the server is told all names that there are.
//!
//! One worker and one connection take questions in order: when the second of two is answered, the
//! first is waiting, or was answered before.

use std::time::Duration;

use serde_json::json;

use crate::lab::{Lab, V4, dial, question, receive, send, udp};

const WEB: &str = "web.default.svc.cluster.local";
const LATE: &str = "late.default.svc.cluster.local";

/// The service `late` with the address 10.43.0.81, and then nothing more.
fn tell_the_rest(lab: &Lab) {
    let service = json!({
        "metadata": { "name": "late", "namespace": "default" },
        "spec": { "clusterIP": "10.43.0.81", "clusterIPs": ["10.43.0.81"],
                  "ports": [{ "port": 80 }] },
    });
    let mut zone = lab.zone.write().unwrap();
    zone.put_service(&serde_json::from_value(service).unwrap());
    zone.set_synced();
}

/// The code of a response, and the bytes of its last record's address.
fn said(response: &[u8]) -> (u8, &[u8]) {
    (response[3] & 0xf, response.last_chunk::<4>().unwrap())
}

#[test]
fn questions_for_what_is_not_told_yet_wait_for_it() {
    let lab = Lab::unsynced("startup-timeout = '1h'");
    lab.upstream(Duration::ZERO);
    let socket = udp(&lab.pod, V4);
    let mut stream = dial(&lab.pod, V4);
    let mut buffer = [0; 512];
    for (id, name) in [(1, LATE), (2, "never.default.svc.cluster.local"), (3, WEB)] {
        socket.send(&question(id, name)).unwrap();
        send(&mut stream, &question(id, name)).unwrap();
    }
    let known = (0, &[10, 43, 0, 80][..]);
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!((buffer[1], said(&buffer[..length])), (3, known), "first what is known");
    let response = receive(&mut stream).unwrap();
    assert_eq!((response[1], said(&response)), (3, known), "first what is known");
    // Neither do names of others wait.
    let outside = lab.dig(&lab.pod, &format!("+short @{V4} www.example"));
    assert_eq!(outside, "203.0.113.9\n");

    tell_the_rest(&lab);
    let mut responses: Vec<Vec<u8>> = (0..2).map(|_| receive(&mut stream).unwrap()).collect();
    for _ in 0..2 {
        let length = socket.recv(&mut buffer).unwrap();
        responses.push(buffer[..length].to_vec());
    }
    responses.sort_by_key(|response| response[1]);
    let [late, also_late, never, also_never] = &responses[..] else { panic!("{responses:?}") };
    for late in [late, also_late] {
        assert_eq!((late[1], said(late)), (1, (0, &[10, 43, 0, 81][..])));
    }
    for never in [never, also_never] {
        assert_eq!((never[1], never[3] & 0xf), (2, 3), "NXDOMAIN, now that all is known");
    }
}

#[test]
fn after_the_timeout_what_is_not_told_yet_is_servfail() {
    let lab = Lab::unsynced("startup-timeout = '200ms'");
    // From when this is answered on, the time is over.
    let first = lab.dig(&lab.pod, &format!("@{V4} {LATE}"));
    assert!(first.contains("status: SERVFAIL"), "{first}");
    for over in ["+notcp", "+tcp"] {
        let unknown = lab.dig(&lab.pod, &format!("{over} @{V4} {LATE}"));
        assert!(unknown.contains("status: SERVFAIL"), "{unknown}");
        assert!(unknown.contains("SOA"), "the zone says so: {unknown}");
        let known = lab.dig(&lab.pod, &format!("{over} +short @{V4} {WEB}"));
        assert_eq!(known, "10.43.0.80\n");
    }
    tell_the_rest(&lab);
    let told = lab.dig(&lab.pod, &format!("+short @{V4} {LATE}"));
    assert_eq!(told, "10.43.0.81\n");
    let never = lab.dig(&lab.pod, &format!("@{V4} never.default.svc.cluster.local"));
    assert!(never.contains("status: NXDOMAIN"), "{never}");
}
