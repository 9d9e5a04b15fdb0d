// SPDX-License-Identifier: GPL-3.0-or-later
//! A `netlabctl port-forward` beside the test, and the ports that it listens on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread;

use crate::background::Background;
use crate::wait::poll;

/// A forwarding that runs until it is dropped.
#[derive(Debug)]
pub struct Forwarding {
    /// The program.
    pub program: Background,
}

impl Forwarding {
    /// Starts `netlabctl port-forward …`, and waits until it listens.
    #[track_caller]
    pub fn start(command: &mut Command) -> Forwarding {
        let program = Background::spawn(command);
        program.wait_for("Forwarding from 127.0.0.1:");
        Forwarding { program }
    }

    /// The local port that leads to this one, on 127.0.0.1.
    #[track_caller]
    pub fn port(&self, remote: u16) -> u16 {
        let end = format!(" -> {remote}");
        poll("a line of the forwarding", || {
            let output = self.program.output();
            let line = output.lines().find(|line| {
                line.starts_with("Forwarding from 127.0.0.1:") && line.ends_with(&end)
            })?;
            line.strip_prefix("Forwarding from 127.0.0.1:")?.strip_suffix(&end)?.parse().ok()
        })
    }
}

/// Sends much to a port of 127.0.0.1 behind which somebody sends it back, and then that this is all;
/// all of it must come back unchanged.
#[track_caller]
pub fn assert_echoes(port: u16, length: u32) {
    let sent: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    let mut writer = stream.try_clone().expect("a descriptor is left");
    let copy = sent.clone();
    // Beside the reading: else both directions fill up, and nobody goes on.
    let writing = thread::spawn(move || {
        writer.write_all(&copy).expect("it is taken");
        writer.shutdown(Shutdown::Write).expect("the connection is open");
    });
    let mut came = Vec::new();
    stream.read_to_end(&mut came).expect("it is answered");
    writing.join().expect("all was sent");
    assert!(came == sent, "{} bytes of {length} came, or others", came.len());
}
