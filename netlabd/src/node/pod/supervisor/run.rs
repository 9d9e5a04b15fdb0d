// SPDX-License-Identifier: GPL-3.0-or-later
//! One life of the pod's command: from the fork to the state it ended in.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Pid, pipe2, setsid, write};

use crate::node::pod::command::{self, Prepared, StartFailure};
use crate::node::pod::restart::End;
use crate::node::pod::status::{ContainerState, REASON_COMPLETED, REASON_ERROR, REASON_OOM_KILLED};
use crate::node::pod::sys;

/// One life of the command.
pub(super) struct Run {
    pub(super) pid: Pid,
    pub(super) started: Instant,
    pub(super) started_at: Timestamp,
    pub(super) ooms_before: u64,
    pub(super) output: Option<OwnedFd>,
    pub(super) error: Option<OwnedFd>,
    /// Closed by the exec; until then it may carry why there is none.
    pub(super) exec: Option<OwnedFd>,
    pub(super) failure: Vec<u8>,
    /// Set when the command has been told to end: when it will be killed.
    pub(super) kill_at: Option<Instant>,
    pub(super) unhealthy: bool,
    pub(super) ended: Option<WaitStatus>,
}

impl Run {
    /// How it ended.
    pub(super) fn into_state(self, ooms_now: u64) -> (ContainerState, End) {
        if let Ok(failure) = serde_json::from_slice::<StartFailure>(&self.failure) {
            return (terminated_by(failure, self.started_at), End::Failure);
        }
        let (exit_code, signal) = match self.ended {
            Some(WaitStatus::Exited(_, code)) => (code, None),
            Some(WaitStatus::Signaled(_, signal, _)) => (128 + signal as i32, Some(signal as i32)),
            _ => (255, None),
        };
        let out_of_memory = signal == Some(Signal::SIGKILL as i32) && ooms_now > self.ooms_before;
        let (reason, end) = match exit_code {
            _ if out_of_memory => (REASON_OOM_KILLED, End::Failure),
            0 => (REASON_COMPLETED, End::Success),
            _ => (REASON_ERROR, End::Failure),
        };
        let state = ContainerState::Terminated {
            exit_code,
            signal,
            reason: reason.to_owned(),
            message: String::new(),
            started_at: self.started_at,
            finished_at: Timestamp::now(),
        };
        (state, if self.unhealthy { End::Unhealthy } else { end })
    }
}

/// A forked child, and our ends of its pipes.
pub(super) struct Spawned {
    pid: Pid,
    output: OwnedFd,
    error: OwnedFd,
    exec: OwnedFd,
}

impl Spawned {
    pub(super) fn into_run(self, started_at: Timestamp, ooms_before: u64) -> Run {
        Run {
            pid: self.pid,
            started: Instant::now(),
            started_at,
            ooms_before,
            output: Some(self.output),
            error: Some(self.error),
            exec: Some(self.exec),
            failure: Vec::new(),
            kill_at: None,
            unhealthy: false,
            ended: None,
        }
    }
}

pub(super) fn spawn(prepared: &Prepared) -> Result<Spawned, Errno> {
    let input = File::open("/dev/null").map_err(|_| Errno::last())?;
    let (output, output_end) = pipe2(OFlag::O_CLOEXEC)?;
    let (error, error_end) = pipe2(OFlag::O_CLOEXEC)?;
    let (exec, exec_end) = pipe2(OFlag::O_CLOEXEC)?;
    match sys::fork()? {
        ForkResult::Parent { child } => {
            for fd in [&output, &error, &exec] {
                set_nonblocking(fd.as_fd())?;
            }
            Ok(Spawned { pid: child, output, error, exec })
        }
        ForkResult::Child => {
            let failure = match prepare_child(&input, &output_end, &error_end) {
                Ok(()) => prepared.exec(),
                Err(error) => StartFailure::system("prepare a process", error),
            };
            if let Ok(text) = serde_json::to_vec(&failure) {
                let _ = write(&exec_end, &text);
            }
            sys::exit_now(failure.exit_code)
        }
    }
}

/// A session of its own, so that a terminal's or shell's signals never reach PID 1.
fn prepare_child(input: &File, output: &OwnedFd, error: &OwnedFd) -> Result<(), Errno> {
    setsid()?;
    command::set_standard_streams(input, output, error)?;
    let _ = std::fs::write("/proc/self/oom_score_adj", oom_score_of_command());
    command::reset_signals()
}

/// PID 1's protection is not for the command. Where PID 1 could not be given any, for want of
/// CAP_SYS_RESOURCE, the command is offered in its place: raising a score is anybody's right.
fn oom_score_of_command() -> &'static str {
    let inherited = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    if inherited.trim_start().starts_with('-') { "0" } else { "500" }
}

fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    use nix::fcntl::{FcntlArg, fcntl};
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

pub(super) fn terminated_by(failure: StartFailure, started_at: Timestamp) -> ContainerState {
    ContainerState::Terminated {
        exit_code: failure.exit_code,
        signal: None,
        reason: failure.reason,
        message: failure.message,
        started_at,
        finished_at: Timestamp::now(),
    }
}
