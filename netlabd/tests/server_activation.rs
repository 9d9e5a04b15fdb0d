// SPDX-License-Identifier: GPL-3.0-or-later
//! A socket that systemd passes on, by the protocol of sd_listen_fds(3). Its variables and its
//! descriptor are those of a whole process, so the test plays systemd and starts itself.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use netlabd::server::bind_socket;

/// Tells the child its role, and where it would listen if nothing were passed on.
const OWN_PATH: &str = "NETLAB_TEST_OWN_PATH";

#[test]
fn a_passed_socket_is_served_instead_of_an_own_one() {
    if let Some(path) = std::env::var_os(OWN_PATH) {
        return answer_one_client(Path::new(&path));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (passed, own) = (folder.path().join("passed.sock"), folder.path().join("own.sock"));
    let listener = UnixListener::bind(&passed).expect("a socket");
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    let mut child = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_passed_socket_is_served_instead_of_an_own_one"])
        .env(OWN_PATH, &own)
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .spawn()
        .expect("a child");
    let mut client = UnixStream::connect(&passed).expect("the kernel queues the connection");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the child answers");
    assert_eq!(answer, "served");
    assert!(child.wait().expect("it ends").success());
    assert!(!own.exists(), "no socket of its own is made");
    assert!(passed.exists(), "the passed one is systemd's to remove");
}

fn answer_one_client(path: &Path) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let bound = bind_socket(path, "netlab-test-no-such-group").expect("a socket");
        assert!(bound.file.is_none());
        let (stream, _) = bound.listener.accept().await.expect("a client");
        stream.writable().await.expect("it listens");
        stream.try_write(b"served").expect("it takes a few bytes");
    });
}
