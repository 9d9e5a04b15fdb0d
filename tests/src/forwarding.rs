// SPDX-License-Identifier: GPL-3.0-or-later
//! A `netlabctl port-forward` beside the test, and the ports that it listens on.

use std::process::Command;

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
