// SPDX-License-Identifier: GPL-3.0-or-later
//! Clients over TCP that are slow, idle or many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::lab::{DEADLINE, Lab, V4, dial, question, receive, send};

const WEB: &str = "web.default.svc.cluster.local";

/// When the other side closes.
fn closed(stream: &mut TcpStream, start: Instant) -> Duration {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
    start.elapsed()
}

#[test]
fn slow_and_idle_connections_end() {
    let lab = Lab::new("");
    let start = Instant::now();
    let mut idle = dial(&lab.pod, V4);
    let mut slow = dial(&lab.pod, V4);
    let mut half = dial(&lab.pod, V4);
    send(&mut half, &question(1, WEB)).unwrap();
    receive(&mut half).unwrap();
    half.write_all(&[0, 40, 1, 2, 3]).unwrap();
    slow.write_all(&[0]).unwrap();
    let slow = closed(&mut slow, start);
    assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&slow), "{slow:?}");
    let half = closed(&mut half, start);
    assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&half), "{half:?}");
    let idle = closed(&mut idle, start);
    assert!((Duration::from_secs(9)..Duration::from_secs(14)).contains(&idle), "{idle:?}");
}

#[test]
fn what_is_no_dns_is_cut_off() {
    let lab = Lab::new("");
    let start = Instant::now();
    let mut stream = dial(&lab.pod, V4);
    stream.write_all(&[0, 3, 1, 2, 3]).unwrap();
    assert!(closed(&mut stream, start) < Duration::from_secs(3));
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let lab = Lab::new("");
    let mut stream = dial(&lab.pod, V4);
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    let asked = question(1, "many.default.svc.cluster.local");
    let start = Instant::now();
    // Some megabytes of answers are kept by the kernel, and then nothing more is taken.
    let error = loop {
        if let Err(error) = send(&mut stream, &asked) {
            break error;
        }
        assert!(start.elapsed() < DEADLINE, "it reads for ever");
    };
    let kinds = [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::ConnectionReset];
    assert!(kinds.contains(&error.kind()), "{error}");
}

#[test]
fn many_connections_of_one_client_keep_nobody_out() {
    let lab = Lab::new("");
    // Each is busy with a message that does not end.
    let mut greedy: Vec<_> = (0..700).map(|_| dial(&lab.pod, V4)).collect();
    for stream in &mut greedy {
        let _ = stream.write_all(&[0, 40, 1]);
    }
    let answer = lab.dig(&lab.node, &format!("+tcp +short @{V4} {WEB}"));
    assert_eq!(answer, "10.43.0.80\n");
    let answer = lab.dig(&lab.pod, &format!("+notcp +short @{V4} {WEB}"));
    assert_eq!(answer, "10.43.0.80\n");
    // Idle ones make room for new ones of the same client.
    drop(greedy);
    let idle: Vec<_> = (0..200).map(|_| dial(&lab.pod, V4)).collect();
    let answer = lab.dig(&lab.pod, &format!("+tcp +short @{V4} {WEB}"));
    assert_eq!(answer, "10.43.0.80\n");
    drop(idle);
}
