// SPDX-License-Identifier: GPL-3.0-or-later
//! A machine: one network namespace under `/run/netns`, made and looked at with `ip`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::background::Background;
use crate::command::{Output, command, run, run_with_input};
use crate::observe;
use crate::wait::wait_until;

/// A network namespace with a name. Removed on drop.
#[derive(Debug)]
pub struct Machine {
    /// The namespace's name, as `ip netns` shows it.
    pub name: String,
}

impl Machine {
    /// Makes one, with `lo` up.
    ///
    /// # Panics
    /// When `ip` fails; rootful tests need root.
    #[track_caller]
    pub fn new(name: String) -> Machine {
        run(&mut command(&["ip", "netns", "add", &name])).ok();
        let machine = Machine { name };
        machine.ip("link set lo up");
        machine
    }

    /// Path of the namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// A command in the machine. Only the network is the machine's own: `ip netns exec` would
    /// unshare the mount namespace as well, and mounts made there would be seen nowhere else.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").args(words);
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn exec(&self, words: &[&str]) -> Output {
        run(&mut self.command(words))
    }

    /// Runs a command to its end with this on standard input.
    #[track_caller]
    pub fn exec_with_input(&self, words: &[&str], input: &[u8]) -> Output {
        run_with_input(&mut self.command(words), input)
    }

    /// Starts a command that runs until it is dropped.
    #[track_caller]
    pub fn spawn(&self, words: &[&str]) -> Background {
        Background::spawn(&mut self.command(words))
    }

    /// Runs `ip ARGS`, which must succeed; the words are parted by spaces.
    #[track_caller]
    pub fn ip(&self, args: &str) -> String {
        let words: Vec<_> = ["ip"].into_iter().chain(args.split_whitespace()).collect();
        self.exec(&words).ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let output = run(&mut command(&["ip", "netns", "del", &self.name]));
        if !std::thread::panicking() {
            output.ok();
        }
    }
}

/// A name that no other machine has, of this process or another.
pub fn unique(name: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("nlt-{name}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Joins the node and the machine outside by an `eth0` each, with addresses and default routes.
#[track_caller]
pub(crate) fn join(node: &Machine, outside: &Machine, mtu: u32) {
    node.ip(&format!("link add eth0 mtu {mtu} type veth peer name eth0 netns {}", outside.name));
    outside.ip(&format!("link set eth0 mtu {mtu}"));
    for machine in [node, outside] {
        // Else link-local addresses stay tentative for a second, and change while a test looks.
        machine.exec(&["sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0"]).ok();
    }
    for (machine, last, peer) in [(node, 1, 9), (outside, 9, 1)] {
        machine.ip(&format!("addr add 192.0.2.{last}/24 dev eth0"));
        machine.ip(&format!("addr add 2001:db8::{last}/64 dev eth0 nodad"));
        machine.ip("link set eth0 up");
        // The machine outside gets none: pods reach it masqueraded or not at all.
        if last == 1 {
            machine.ip(&format!("route add default via 192.0.2.{peer}"));
            machine.ip(&format!("-6 route add default via 2001:db8::{peer}"));
        }
    }
    for machine in [node, outside] {
        // The carrier comes a moment after both ends are up, and then the link-local address.
        wait_until("the uplink has a carrier", || {
            let links = observe::ip(machine, "-j addr show dev eth0");
            let addresses = observe::items(&links[0]["addr_info"]);
            let is_done = |address: &serde_json::Value| {
                address["scope"] == "link" && address.get("tentative").is_none()
            };
            links[0]["operstate"] == "UP" && addresses.iter().any(is_done)
        });
    }
}
