// SPDX-License-Identifier: GPL-3.0-or-later
//! The socket's file: its mode, what may be in its place, and what is left when it goes.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};

use nix::unistd::Group;

use super::*;
use crate::server::socket::take_over;
use crate::server::{SocketError, bind_socket};

/// No machine has it.
const NO_GROUP: &str = "netlab-test-no-such-group";

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("netlabd.sock");
    (folder, socket)
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("a folder");
    entries.map(|e| e.expect("an entry").file_name().into_string().expect("text")).collect()
}

#[tokio::test]
async fn the_socket_is_for_root_alone_until_there_is_a_group() {
    let (folder, path) = folder();
    let bound = bind_socket(&path, NO_GROUP).expect("a socket");
    assert_eq!(bound.group, None);
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777, 0o600);
    drop(bound);
    assert_eq!(names(&folder), Vec::<String>::new(), "nothing is left");

    let group = "daemon";
    let bound = bind_socket(&path, group).expect("a socket");
    let gid = Group::from_name(group).expect("a lookup").expect("a group").gid.as_raw();
    let metadata = fs::metadata(&path).expect("it is there");
    assert_eq!((bound.group, metadata.gid(), metadata.uid()), (Some(gid), gid, 0));
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
    let client = StdStream::connect(&path).expect("somebody listens");
    within(bound.listener.accept()).await.expect("it is accepted");
    drop(client);
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let (_folder, path) = folder();
    // Without a listener behind it, as after kill -9.
    drop(StdListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    let bound = bind_socket(&path, NO_GROUP).expect("the stale one is replaced");
    let Err(SocketError::InUse { .. }) = bind_socket(&path, NO_GROUP) else {
        panic!("a second daemon must not get the socket");
    };
    StdStream::connect(&path).expect("the first still has it");
    drop(bound);
    // One that knows nothing of the lock, and is too busy to accept.
    let other = StdListener::bind(&path).expect("a socket");
    let error = bind_socket(&path, NO_GROUP).expect_err("it is in use");
    assert!(error.to_string().contains("another netlabd answers on"), "{error}");
    StdStream::connect(&path).expect("it is still there");
    drop(other);
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let (folder, path) = folder();
    fs::write(&path, "precious").expect("a file");
    let error = bind_socket(&path, NO_GROUP).expect_err("refused");
    assert!(matches!(error, SocketError::Foreign { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("a file"), "precious");
    fs::remove_file(&path).expect("removed");
    symlink("/etc/passwd", &path).expect("a link");
    let error = bind_socket(&path, NO_GROUP).expect_err("refused");
    assert!(matches!(error, SocketError::Foreign { .. }), "{error}");
    fs::remove_file(&path).expect("removed");
    let long = folder.path().join("x".repeat(200));
    let error = bind_socket(&long, NO_GROUP).expect_err("refused");
    assert!(error.to_string().contains("at most 107 fit"), "{error}");
    let nowhere = folder.path().join("nowhere/netlabd.sock");
    let error = bind_socket(&nowhere, NO_GROUP).expect_err("refused");
    assert!(matches!(error, SocketError::Lock { .. }), "{error}");
    assert_eq!(names(&folder), Vec::<String>::new());
}

#[tokio::test]
async fn a_socket_that_somebody_else_put_there_is_not_removed() {
    let (_folder, path) = folder();
    let bound = bind_socket(&path, NO_GROUP).expect("a socket");
    fs::remove_file(&path).expect("removed by hand");
    let other = StdListener::bind(&path).expect("a socket");
    drop(bound);
    StdStream::connect(&path).expect("the other is still there");
    drop(other);
}

#[tokio::test]
async fn of_many_daemons_that_start_at_once_one_gets_the_socket() {
    let (_folder, path) = folder();
    for _ in 0..20 {
        drop(StdListener::bind(&path).expect("a stale socket"));
        let mut starts = Vec::new();
        for _ in 0..8 {
            let path = path.clone();
            starts.push(tokio::task::spawn_blocking(move || bind_socket(&path, NO_GROUP)));
        }
        let mut bound = Vec::new();
        for start in starts {
            bound.extend(start.await.expect("no panic").ok());
        }
        assert_eq!(bound.len(), 1);
        StdStream::connect(&path).expect("the one that got it listens there");
    }
}

#[tokio::test]
async fn only_a_listening_unix_socket_is_taken_over() {
    let (_folder, path) = folder();
    let listener = StdListener::bind(&path).expect("a socket");
    let taken = take_over(OwnedFd::from(listener)).expect("it is taken over");
    let client = StdStream::connect(&path).expect("a client");
    within(taken.accept()).await.expect("it is accepted");
    let tcp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    assert!(take_over(OwnedFd::from(tcp)).is_err());
    assert!(take_over(OwnedFd::from(client)).is_err(), "it does not listen");
    let file = fs::File::open("/dev/null").expect("a file");
    assert!(take_over(OwnedFd::from(file)).is_err());
}
