// SPDX-License-Identifier: GPL-3.0-or-later
//! What the tests of this crate share: a node of their own, and `ip -j` to look at it.
//!
//! A test acts with this crate and looks with iproute2, never with this crate's own reader.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Batch, Families, Netns, PodAddresses, PodLinkId, PodLinkPool, PodLinkPoolOptions, PreparedLink,
    RouteSocket, netns::prepare_pin_dir, remove_pod_links,
};

pub(crate) const MTU: u32 = 1450;

/// A node: an empty network namespace, a socket in it and a folder for pins. The folder is in a
/// mount namespace of the test's thread, so a test that dies leaves nothing behind.
pub(crate) struct Node {
    pub(crate) netns: Netns,
    pub(crate) socket: RouteSocket,
    dir: TempDir,
}

impl Node {
    pub(crate) fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let netns = Netns::create().unwrap();
        let socket = RouteSocket::open_in(&netns).unwrap();
        let node = Self { netns, socket, dir: TempDir::new().unwrap() };
        prepare_pin_dir(node.pin_dir()).unwrap();
        node.ip("link set lo up");
        node
    }

    pub(crate) fn pin_dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn pool(&self, size: usize, families: Families) -> PodLinkPool {
        PodLinkPool::start(PodLinkPoolOptions {
            node: self.netns.try_clone().unwrap(),
            pin_dir: self.pin_dir().to_owned(),
            size,
            mtu: MTU,
            families,
        })
        .unwrap()
    }

    /// Claims a link and gives it the `n`th addresses on both sides.
    pub(crate) fn pod(&mut self, pool: &PodLinkPool, n: u8) -> PreparedLink {
        let mut pod = pool.claim().unwrap();
        let addresses = addresses(n);
        pod.assign(addresses).unwrap();
        let mut batch = Batch::new();
        pod.plan_node_claim(addresses, Some(&format!("default/pod-{n}")), &mut batch);
        self.socket.send_all(&batch).unwrap();
        pod
    }

    pub(crate) fn remove(&mut self, ids: &[PodLinkId]) {
        remove_pod_links(&mut self.socket, self.dir.path(), ids).unwrap();
    }

    pub(crate) fn ip(&self, arguments: &str) -> Value {
        ip(&self.netns, arguments)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Pins are mounts on the files: unpin what the test left so that the folder can go.
        for name in crate::netns::list_pins(self.pin_dir()).unwrap_or_default() {
            let _ = crate::netns::unpin(&self.pin_dir().join(name));
        }
        let _ = nix::mount::umount2(self.pin_dir(), nix::mount::MntFlags::MNT_DETACH);
    }
}

pub(crate) fn addresses(n: u8) -> PodAddresses {
    PodAddresses {
        v4: Some([10, 42, 0, n].into()),
        v6: Some(format!("fd42::{n:x}").parse().unwrap()),
    }
}

/// Runs a command inside a namespace.
pub(crate) fn run_in(netns: &Netns, command: &str) -> Output {
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    netns.run(|| command.output().unwrap()).unwrap()
}

/// Runs `ip -j` inside a namespace, which must succeed; its answer, or null.
pub(crate) fn ip(netns: &Netns, arguments: &str) -> Value {
    let output = run_in(netns, &format!("ip -j -d {arguments}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {stderr}");
    // Some versions print nothing and some an empty list when there is nothing.
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// The texts of one field in the answer of `ip -j`.
pub(crate) fn field(answer: &Value, name: &str) -> Vec<String> {
    let entries = answer.as_array().into_iter().flatten();
    entries.filter_map(|entry| entry[name].as_str().map(str::to_owned)).collect()
}

/// Looks again until it is so; fails when it is not after a while.
pub(crate) fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !look() {
        assert!(Instant::now() < deadline, "not after 10 s: {what}");
        std::thread::yield_now();
    }
}

/// The pin of a link.
pub(crate) fn pin_of(node: &Node, pod: &PreparedLink) -> PathBuf {
    pod.id().pin(node.pin_dir())
}

/// Where a pod's packets can go, as `ping` says.
pub(crate) fn pings(netns: &Arc<Netns>, target: &str) -> bool {
    run_in(netns, &format!("ping -c 1 -w 5 {target}")).status.success()
}
