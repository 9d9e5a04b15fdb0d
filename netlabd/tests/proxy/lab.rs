// SPDX-License-Identifier: GPL-3.0-or-later
//! Namespaces that are joined, and connections between them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netlab_link::Netns;

/// Generous, because it only bounds a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a shell script inside a namespace; it must succeed. What it prints.
pub(crate) fn sh(netns: &Netns, script: &str) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).stdin(Stdio::null());
    let Output { status, stdout, stderr } = netns.run(|| shell.output().unwrap()).unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{script}\n{stdout}\n{stderr}");
    stdout
}

/// A new namespace whose link-local addresses are there soon. Others are given with `nodad`: else
/// even these could not be used for a moment.
pub(crate) fn namespace() -> Netns {
    let netns = Netns::create().unwrap();
    sh(
        &netns,
        "for c in all default; do echo 0 >/proc/sys/net/ipv6/conf/$c/accept_dad; done
         ip link set lo up",
    );
    netns
}

/// A veth pair: `name` here, `eth0` there, both up.
pub(crate) fn connect(here: &Netns, name: &str, there: &Netns) {
    // A process that is inside, for as long as the command runs.
    let inside =
        there.run(|| Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap());
    let mut inside = inside.unwrap();
    sh(
        here,
        &format!(
            "ip link add {name} type veth peer name eth0 netns {}; ip link set {name} up",
            inside.id()
        ),
    );
    inside.kill().unwrap();
    inside.wait().unwrap();
    sh(there, "ip link set eth0 up");
}

/// A server that accepts and hangs up, for as long as the test runs.
pub(crate) fn serve(netns: &Netns, at: &str) {
    let at: SocketAddr = at.parse().unwrap();
    let listener = netns.run(|| TcpListener::bind(at).unwrap()).unwrap();
    thread::spawn(move || for _ in listener.incoming() {});
}

/// Tries to connect.
pub(crate) fn dial(netns: &Netns, to: &str) -> io::Result<TcpStream> {
    let to: SocketAddr = to.parse().unwrap();
    netns.run(|| TcpStream::connect_timeout(&to, DEADLINE)).unwrap()
}
/// Looks again until it is so; fails when it is not after a while.
pub(crate) fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !look() {
        assert!(Instant::now() < deadline, "not after {DEADLINE:?}: {what}");
        thread::yield_now();
    }
}
