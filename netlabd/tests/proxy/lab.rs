// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections between namespaces that are joined.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use netlab_link::Netns;

pub(crate) use crate::netns::{connect, namespace, sh};

/// Generous, because it only bounds a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

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
