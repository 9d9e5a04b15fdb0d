// SPDX-License-Identifier: GPL-3.0-or-later
//! Who is answered.

use crate::lab::{Lab, V4, question, udp};

const WEB: &str = "web.default.svc.cluster.local";

#[test]
fn strangers_are_refused_in_few_words() {
    let lab = Lab::new("");
    for protocol in ["+notcp", "+tcp"] {
        let answer = lab.dig(&lab.stranger, &format!("{protocol} @{V4} {WEB}"));
        assert!(answer.contains("status: REFUSED"), "{answer}");
        let node = lab.dig(&lab.node, &format!("{protocol} +short @{V4} {WEB}"));
        assert_eq!(node, "10.43.0.80\n");
    }
    let socket = udp(&lab.stranger, V4);
    let asked = question(7, WEB);
    socket.send(&asked).unwrap();
    let length = socket.recv(&mut [0; 1500]).unwrap();
    assert!(length <= asked.len(), "{length} bytes for {}", asked.len());
}

#[test]
fn networks_that_are_listed_are_answered() {
    let lab = Lab::new("allow = [\"192.0.2.0/24\"]");
    assert_eq!(lab.dig(&lab.stranger, &format!("+short @{V4} {WEB}")), "10.43.0.80\n");
    lab.configure("");
    let answer = lab.dig(&lab.stranger, &format!("@{V4} {WEB}"));
    assert!(answer.contains("status: REFUSED"), "{answer}");
}

#[test]
fn refusals_have_a_bound() {
    let lab = Lab::new("");
    let socket = udp(&lab.stranger, V4);
    let asked = question(7, WEB);
    for _ in 0..20_000 {
        let _ = socket.send(&asked);
    }
    socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let mut refused = 0;
    while socket.recv(&mut [0; 1500]).is_ok() {
        refused += 1;
    }
    // A thousand per second, and the flood and the wait take few of them.
    assert!((1..10_000).contains(&refused), "{refused}");
    assert_eq!(lab.dig(&lab.pod, &format!("+short @{V4} {WEB}")), "10.43.0.80\n");
}
