// SPDX-License-Identifier: GPL-3.0-or-later
//! A node with a pod that asks, and a way to change what the node is told of names.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netlab_tests::{Lab, poll};
use nix::sys::signal::Signal;

use crate::wire::{self, Ask, Reply, Tcp};

/// Where names are asked for.
pub(crate) const SERVERS: [&str; 2] = ["10.43.0.10:53", "[fd43::a]:53"];

/// Held by tests that need the machine's time for themselves: one of them runs at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lab with a pod `client`.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    /// Lines before `[dns]`.
    head: String,
}

impl Stage {
    /// A stage named after the test; `dns` is the configuration from `[dns]` on.
    #[track_caller]
    pub(crate) fn new(name: &str, dns: &str) -> Stage {
        Stage::with(name, "", dns)
    }

    /// The same with lines before.
    #[track_caller]
    pub(crate) fn with(name: &str, head: &str, dns: &str) -> Stage {
        let lab = Lab::builder(name).config(&format!("{head}\n{dns}")).start();
        lab.run("client", &[]);
        Stage { lab, head: head.to_owned() }
    }

    /// The pod's network.
    pub(crate) fn pod(&self) -> PathBuf {
        self.lab.pod_netns("client")
    }

    /// The network of the machine outside.
    pub(crate) fn outside(&self) -> PathBuf {
        self.lab.outside().path()
    }

    /// The server's address of a family: 0 is IPv4.
    pub(crate) fn server(family: usize) -> SocketAddr {
        SERVERS[family].parse().unwrap()
    }

    /// A socket of the pod to the server.
    #[track_caller]
    pub(crate) fn udp(&self) -> UdpSocket {
        wire::udp(&self.pod(), Stage::server(0))
    }

    /// A connection of the pod to the server.
    #[track_caller]
    pub(crate) fn tcp(&self) -> Tcp {
        wire::tcp(&self.pod(), Stage::server(0))
    }

    /// The answer to a question of the pod's, over UDP.
    #[track_caller]
    pub(crate) fn ask(&self, name: &str, kind: u16) -> Reply {
        self.send(&wire::ask(name, kind))
    }

    /// The answer to a query of the pod's, over UDP.
    #[track_caller]
    pub(crate) fn send(&self, query: &Ask) -> Reply {
        wire::over_udp(&self.udp(), query)
    }

    /// Writes the configuration anew, and tells the daemon.
    #[track_caller]
    pub(crate) fn reload(&self, dns: &str) {
        self.write(dns);
        self.lab.signal(Signal::SIGHUP);
    }

    /// Writes the configuration anew.
    #[track_caller]
    pub(crate) fn write(&self, dns: &str) {
        // As editors do: at no moment is there half a file.
        let (file, new) = (self.config(), self.lab.dir().join("netlabd.toml.new"));
        fs::write(&new, format!("{}\n{dns}", self.head)).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// Path of the configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.lab.dir().join("netlabd.toml")
    }

    /// Waits until the daemon has logged this after a point of its log; returns the line.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, after: usize, what: &[&str]) -> String {
        poll(
            &format!("the log says {what:?}: {}", self.lab.log().get(after..).unwrap_or("")),
            || {
                let log = self.lab.log();
                let mut lines = log.get(after..).unwrap_or("").lines();
                lines.find(|line| what.iter().all(|word| line.contains(word))).map(str::to_owned)
            },
        )
    }
}
