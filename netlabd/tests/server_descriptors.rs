// SPDX-License-Identifier: GPL-3.0-or-later
//! The server when there are no file descriptors left. Alone in its file, because the limit is one
//! of the whole process.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use netlabd::server::{ServerState, bind_socket, serve};
use netlabd::store::{Options, SledStore};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

#[path = "fixture/server.rs"]
mod server;

#[test]
fn the_server_outlives_a_time_without_descriptors() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("netlabd.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let bound = runtime.block_on(async {
        let store = SledStore::open(&folder.path().join("store"), Options::default());
        let control = server::control(store.expect("a store")).await;
        let bound = bind_socket(&path, "netlab-test-no-such-group").expect("a socket");
        let state = ServerState { group: bound.group, ..server::state(&control) };
        tokio::spawn(serve(bound.listener, state, std::future::pending()));
        bound.file
    });
    // Made beforehand: a connect itself takes no descriptor.
    let flags = SockFlag::SOCK_CLOEXEC;
    let client =
        socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("a client's socket");

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).expect("it may be lowered");
    let mut hoard = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => hoard.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    let address = UnixAddr::new(&path).expect("an address");
    connect(client.as_raw_fd(), &address).expect("the kernel queues the connection");
    let mut client = UnixStream::from(client);
    let request = b"GET /livez HTTP/1.1\r\nhost: n\r\nconnection: close\r\n\r\n";
    client.write_all(request).expect("the kernel takes the bytes");
    client.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let error = client.read(&mut [0]).expect_err("nobody can accept the connection");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");

    drop(hoard);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("it may be raised again");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the server goes on");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    drop(bound);
    assert!(!path.exists(), "the socket's file goes with its guard");
}
