// SPDX-License-Identifier: GPL-3.0-or-later
//! A command in a running pod: the daemon's side ([`ExecSession`]) and the helper
//! ([`main`]).
//!
//! ```text
//! daemon ──spawn──► netlabd pod-exec (helper) ──fork──► the command, inside the pod
//!    └── control socket ──┘   1 byte: ready (with the terminal's master side, if there is one)
//!                             hang-up: SIGHUP, then SIGKILL to the command's session
//! ```
//!
//! Without a terminal, standard input, output and error are whatever the daemon gives the helper.
//! The helper fetches its end of the control socket out of the daemon's descriptor table
//! (`pidfd_getfd`), so no descriptor of the daemon is ever inheritable, not for an instant.

mod helper;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

pub use helper::main;

use super::sys;

/// A command to run in a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Whether it gets a terminal of its own; standard input, output and error of the helper are
    /// not used then.
    pub tty: bool,
    /// The value of `TERM`; `xterm` if there is a terminal and nothing is given.
    pub term: Option<String>,
}

/// A command that is ready to be spawned. Dropping it ends the command.
#[derive(Debug)]
pub struct ExecSession {
    /// What to spawn, with the standard streams still to be set. Its exit code is the command's,
    /// 128 + n after signal n, 127 when there is no such command (and standard error says so),
    /// 126 when it cannot be executed.
    pub command: Command,
    /// The daemon's end of the control socket. Closing it ends the command.
    pub control: UnixStream,
    /// The helper's end; it must stay open here until the helper has said that it is ready.
    pub helper_end: OwnedFd,
}

impl ExecSession {
    pub(super) fn new(program: &Path, pod_dir: &Path, request: &ExecRequest) -> io::Result<Self> {
        let (control, helper_end) = UnixStream::pair()?;
        let helper_end = OwnedFd::from(helper_end);
        let mut command = Command::new(program);
        command.arg0("netlab-exec").arg("pod-exec").arg("--uid-dir").arg(pod_dir);
        command.arg("--control-fd").arg(helper_end.as_raw_fd().to_string());
        if request.tty {
            command.arg("--tty").arg(request.term.as_deref().unwrap_or("xterm"));
        }
        command.arg("--").args(&request.command).env_clear();
        Ok(ExecSession { command, control, helper_end })
    }
}

/// A handle of the helper with this number, for [`wait_ready`]. To be had before anybody waits for
/// the helper's end, while the number cannot be another process' yet.
///
/// # Errors
/// When there is no such process, or there are no file descriptors left.
pub fn helper_handle(pid: u32) -> io::Result<OwnedFd> {
    Ok(sys::pidfd_open(Pid::from_raw(pid.cast_signed()))?)
}

/// Waits until the helper says that the command has been started, and returns the terminal's
/// master side if the command has a terminal. `control` must be blocking.
///
/// # Errors
/// When the helper ended before; its exit code and standard error say why.
pub fn wait_ready(control: &UnixStream, helper: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut fds = [
        PollFd::new(control.as_fd(), PollFlags::POLLIN),
        PollFd::new(helper.as_fd(), PollFlags::POLLIN),
    ];
    while let Err(errno) = poll(&mut fds, PollTimeout::NONE) {
        if errno != Errno::EINTR {
            return Err(errno.into());
        }
    }
    // A helper that ended before it fetched its end of the socket, which the kernel may forbid it,
    // hangs up nothing: that end is still open in this process.
    let mut control_alone = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
    if poll(&mut control_alone, PollTimeout::ZERO)? == 0 {
        return Err(Errno::EPIPE.into());
    }
    let (count, terminal) = sys::receive_fd(control.as_fd())?;
    if count == 0 {
        return Err(Errno::EPIPE.into());
    }
    Ok(terminal)
}

/// Sets the size of a command's terminal, given its master side.
///
/// # Errors
/// When `master` is no terminal.
pub fn resize(master: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    Ok(sys::set_window_size(master, rows, columns)?)
}
