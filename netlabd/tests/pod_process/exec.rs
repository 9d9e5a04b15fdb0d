// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands beside the pod's own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};

use netlabd::node::pod::exec::{ExecRequest, ExecSession, helper_handle, resize, wait_ready};

use crate::lab::{Lab, TIMEOUT, wait_until};

fn holding(lab: &Lab, uid: &str) {
    lab.runtime.start(&lab.config(uid, &[])).unwrap();
}

fn request(command: &[&str]) -> ExecRequest {
    ExecRequest {
        command: command.iter().map(|&part| part.to_owned()).collect(),
        ..ExecRequest::default()
    }
}

fn run(lab: &Lab, uid: &str, command: &[&str]) -> Output {
    let mut session = lab.runtime.exec(uid, &request(command)).unwrap();
    session.command.stdin(Stdio::null()).output().unwrap()
}

fn ready(session: &ExecSession, child: &Child) -> io::Result<Option<OwnedFd>> {
    wait_ready(&session.control, &helper_handle(child.id())?)
}

#[test]
fn a_command_runs_in_the_pod_with_the_pods_privileges() {
    let lab = Lab::new();
    holding(&lab, "p");
    let script = "echo $(hostname) $GREETING; grep CapEff /proc/self/status; cat /proc/1/comm
                  readlink /proc/self/ns/net; grep pids: /proc/self/cgroup; echo oops >&2; exit 7";
    let output = run(&lab, "p", &["sh", "-c", script]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..3], ["p-host hello", "CapEff:\t00000000a80425fb", "netlab-pod"]);
    assert_eq!(lines[3], format!("net:[{}]", lab.netns_inode()));
    assert!(lines[4].ends_with(":/"), "{}", lines[4]);
    assert_eq!(output.stderr, b"oops\n");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    let lab = Lab::new();
    holding(&lab, "p");
    assert_eq!(run(&lab, "p", &["true"]).status.code(), Some(0));
    assert_eq!(run(&lab, "p", &["sh", "-c", "kill -TERM $$"]).status.code(), Some(143));
    assert_eq!(run(&lab, "p", &["/etc/hostname"]).status.code(), Some(126));
    let absent = run(&lab, "p", &["frobnicate"]);
    assert_eq!(absent.status.code(), Some(127));
    let message = String::from_utf8(absent.stderr).unwrap();
    assert!(
        message.starts_with("command `frobnicate` was not found in PATH `/usr/local/sbin:"),
        "{message}"
    );
}

#[test]
fn input_flows_in_and_its_end_is_seen() {
    let lab = Lab::new();
    holding(&lab, "p");
    let mut session = lab.runtime.exec("p", &request(&["wc", "-c"])).unwrap();
    let mut child = session.command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    assert!(ready(&session, &child).unwrap().is_none());
    child.stdin.take().unwrap().write_all(&vec![b'x'; 300_000]).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"300000\n");
}

#[test]
fn a_terminal_is_the_pods_own_and_can_be_resized() {
    let lab = Lab::new();
    holding(&lab, "p");
    let script = "tty; echo $TERM; read line; stty size; echo got $line";
    let mut request = request(&["sh", "-c", script]);
    request.tty = true;
    let mut session = lab.runtime.exec("p", &request).unwrap();
    let mut child = session.command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let master = ready(&session, &child).unwrap().expect("a terminal was asked for");
    resize(&master, 33, 101).unwrap();
    let mut master = File::from(master);
    master.write_all(b"abc\n").unwrap();
    let mut text = Vec::new();
    // EIO is the end of a terminal.
    let _ = master.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    for wanted in ["/dev/pts/0\r\n", "xterm\r\n", "33 101\r\n", "got abc\r\n"] {
        assert!(text.contains(wanted), "{wanted:?} is not in {text:?}");
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_client_that_hangs_up_leaves_no_process() {
    let lab = Lab::new();
    holding(&lab, "p");
    // Ignores SIGHUP, so only the SIGKILL after it can end it.
    let command = ["sh", "-c", "trap '' HUP; echo up; while :; do sleep 100 & wait; done"];
    let mut session = lab.runtime.exec("p", &request(&command)).unwrap();
    let mut child = session.command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    ready(&session, &child).unwrap();
    let mut up = [0; 3];
    child.stdout.take().unwrap().read_exact(&mut up).unwrap();
    // PID 1, the helper, the shell and its sleep; the fork of the sleep may be yet to come.
    wait_until(
        || lab.runtime.cgroups().processes("p").unwrap().len() == 4,
        || format!("{:?}", lab.runtime.cgroups().processes("p")),
    );
    drop(session);
    assert_eq!(child.wait().unwrap().code(), Some(137));
    wait_until(
        || lab.runtime.cgroups().processes("p").unwrap().len() == 1,
        || format!("{:?}", lab.runtime.cgroups().processes("p")),
    );
    assert!(lab.is_alive("p"));
}

#[test]
fn a_helper_that_is_killed_takes_the_command_along() {
    let lab = Lab::new();
    holding(&lab, "p");
    let mut session = lab.runtime.exec("p", &request(&["sleep", "1000"])).unwrap();
    let mut child = session.command.stdin(Stdio::null()).spawn().unwrap();
    ready(&session, &child).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(
        || lab.runtime.cgroups().processes("p").unwrap().len() == 1,
        || format!("{:?}", lab.runtime.cgroups().processes("p")),
    );
}

#[test]
fn commands_end_with_their_pod() {
    let lab = Lab::new();
    holding(&lab, "p");
    let mut session = lab.runtime.exec("p", &request(&["sleep", "1000"])).unwrap();
    let mut child = session.command.stdin(Stdio::null()).spawn().unwrap();
    ready(&session, &child).unwrap();
    lab.runtime.remove("p", TIMEOUT).unwrap();
    assert!(!child.wait().unwrap().success());
}

#[test]
fn many_commands_run_at_once_and_none_holds_anothers_descriptors() {
    let lab = Lab::new();
    holding(&lab, "p");
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let script = "for f in /proc/self/fd/*; do readlink $f; done | grep -v '^/' | \
                              grep -v '^pipe:'; echo end";
                let output = run(&lab, "p", &["sh", "-c", script]);
                assert_eq!(String::from_utf8(output.stdout).unwrap(), "end\n");
            });
        }
    });
}

#[test]
fn there_is_no_command_in_a_pod_that_is_not_running() {
    let lab = Lab::new();
    let error = lab.runtime.exec("nobody", &request(&["true"])).unwrap_err();
    assert!(error.to_string().starts_with("pod `nobody` is not running"), "{error}");
}

#[test]
fn a_helper_that_ends_before_it_can_begin_is_not_waited_for() {
    let lab = Lab::new();
    holding(&lab, "p");
    let session = lab.runtime.exec("p", &request(&["true"])).unwrap();
    // As one that the kernel forbids to fetch its end of the control socket.
    let mut child = Command::new("false").spawn().unwrap();
    let error = ready(&session, &child).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
