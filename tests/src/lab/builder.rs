// SPDX-License-Identifier: GPL-3.0-or-later
//! What a lab is made of, and the making of it.

use std::fs;

use super::Lab;
use crate::machine::{Machine, join, unique};

/// What a lab is made of.
#[derive(Debug)]
pub struct LabBuilder {
    name: String,
    mtu: Option<u32>,
    config: String,
    flags: Vec<String>,
    node_name: String,
    machine: Option<Machine>,
}

impl LabBuilder {
    pub(super) fn new(name: &str) -> LabBuilder {
        let (config, flags) = (String::new(), Vec::new());
        let (name, node_name) = (name.to_owned(), "n1".to_owned());
        LabBuilder { name, mtu: Some(1400), config, flags, node_name, machine: None }
    }

    /// The node's name in its cluster; `n1` unless said.
    pub fn named(mut self, node: &str) -> LabBuilder {
        self.node_name = node.to_owned();
        self
    }

    /// On a machine that is there, and that goes with the lab; it has no machine outside.
    pub fn on(mut self, machine: Machine) -> LabBuilder {
        self.machine = Some(machine);
        self.mtu = None;
        self
    }

    /// MTU of the uplink; 1400 unless said.
    pub fn mtu(mut self, mtu: u32) -> LabBuilder {
        self.mtu = Some(mtu);
        self
    }

    /// No uplink and no machine outside: [`Lab::outside`] panics.
    pub fn without_uplink(mut self) -> LabBuilder {
        self.mtu = None;
        self
    }

    /// Lines of `netlabd.toml`.
    pub fn config(mut self, lines: &str) -> LabBuilder {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// A flag of `netlabd`, as `--mtu=1300`.
    pub fn flag(mut self, flag: &str) -> LabBuilder {
        self.flags.push(flag.to_owned());
        self
    }

    /// Makes the machines and folders; the daemon waits for [`Lab::start`].
    #[track_caller]
    pub fn build(self) -> Lab {
        let id = unique(&self.name);
        let dir = tempfile::Builder::new().prefix("nlt-").tempdir().expect("a folder can be made");
        let node = self.machine.unwrap_or_else(|| Machine::new(id.clone()));
        let outside = self.mtu.map(|mtu| {
            let outside = Machine::new(format!("{id}o"));
            join(&node, &outside, mtu);
            outside
        });
        let config = dir.path().join("netlabd.toml");
        fs::write(&config, &self.config).expect("the configuration can be written");
        let (flags, node_name) = (self.flags, self.node_name);
        Lab { id, dir, node, node_name, outside, flags, daemon: None, baseline: None }
    }

    /// Makes the machines and folders, and starts the daemon.
    #[track_caller]
    pub fn start(self) -> Lab {
        let mut lab = self.build();
        lab.start();
        lab
    }
}
