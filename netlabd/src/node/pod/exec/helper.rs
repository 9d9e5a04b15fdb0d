// SPDX-License-Identifier: GPL-3.0-or-later
//! `netlabd pod-exec --uid-dir DIR [--control-fd N] [--tty TERM] -- CMD…`: joins a pod, runs a
//! command in it, and ends with its exit code. Single-threaded, without a runtime.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, getppid, setsid};

use crate::node::pod::command::{self, Prepared, StartFailure};
use crate::node::pod::config::InitConfig;
use crate::node::pod::{init, lock, paths, sys};

/// What a shell exits with when the fault is not the command's.
const EXIT_HELPER_FAILED: u8 = 125;
/// Between SIGHUP and SIGKILL to a command whose client is gone.
const HANG_UP_GRACE_MILLIS: u16 = 1_000;

#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error("usage: netlabd pod-exec --uid-dir DIR [--control-fd N] [--tty TERM] -- CMD…")]
    Usage,
    #[error(transparent)]
    Config(#[from] init::InitError),
    #[error("the pod is not running: `netlabctl describe pod` shows why")]
    NotRunning,
    #[error("failed to {what} `{path}`")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to {what}")]
    System {
        what: &'static str,
        #[source]
        source: Errno,
    },
    #[error("{0}")]
    Command(StartFailure),
}

struct Arguments {
    uid_dir: PathBuf,
    control_fd: Option<RawFd>,
    /// The value of `TERM`; there is a terminal when it is given.
    term: Option<String>,
    command: Vec<String>,
}

/// Runs `pod-exec` with the arguments after its name.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    sys::close_inherited();
    match parse(args).ok_or(HelperError::Usage).and_then(|arguments| run(&arguments)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            init::report(&error);
            match error {
                HelperError::Command(failure) => {
                    ExitCode::from(u8::try_from(failure.exit_code).unwrap_or(EXIT_HELPER_FAILED))
                }
                _ => ExitCode::from(EXIT_HELPER_FAILED),
            }
        }
    }
}

fn parse(args: impl Iterator<Item = OsString>) -> Option<Arguments> {
    let mut args = args.map(|arg| arg.into_string().ok());
    let (mut uid_dir, mut control_fd, mut term) = (None, None, None);
    loop {
        match args.next()??.as_str() {
            "--uid-dir" => uid_dir = Some(PathBuf::from(args.next()??)),
            "--control-fd" => control_fd = Some(args.next()??.parse().ok()?),
            "--tty" => term = Some(args.next()??),
            "--" => break,
            _ => return None,
        }
    }
    Some(Arguments { uid_dir: uid_dir?, control_fd, term, command: args.collect::<Option<_>>()? })
}

fn run(arguments: &Arguments) -> Result<u8, HelperError> {
    let control = arguments.control_fd.map(fetch_control).transpose()?;
    let config = init::read_config(&arguments.uid_dir)?;
    let prepared = Prepared::new(&config, &arguments.command, arguments.term.as_deref())
        .map_err(HelperError::Command)?;
    let null =
        File::options().read(true).write(true).open("/dev/null").map_err(|source| {
            HelperError::File { what: "open", path: "/dev/null".into(), source }
        })?;
    join(&arguments.uid_dir, &config)?;
    let terminal = match arguments.term {
        Some(_) => Some(Terminal::open().system("open a terminal in the pod's /dev/pts")?),
        None => None,
    };
    let helper = sys::pidfd_open(Pid::this()).system("open a pidfd")?;
    match sys::fork().system("fork")? {
        ForkResult::Child => become_command(&prepared, terminal, &helper),
        ForkResult::Parent { child } => {
            let pidfd = sys::pidfd_open(child).system("open a pidfd")?;
            // Or nobody would see the end of the command's output while we live.
            command::set_standard_streams(&null, &null, &null).system("close the streams")?;
            if let Some(control) = &control {
                // A daemon that is gone is seen as a hang-up below.
                let _ = send_ready(control, terminal.as_ref());
            }
            drop(terminal);
            Ok(watch(child, &pidfd, control.as_ref()))
        }
    }
}

/// Our end of the control socket lies in our parent's descriptor table.
fn fetch_control(fd: RawFd) -> Result<OwnedFd, HelperError> {
    let parent = sys::pidfd_open(getppid()).system("find the daemon")?;
    sys::pidfd_getfd(parent.as_fd(), fd).system("fetch the control socket from the daemon")
}

/// Moves this process into the pod; only its children are in the pid namespace.
fn join(uid_dir: &Path, config: &InitConfig) -> Result<(), HelperError> {
    let path = uid_dir.join(paths::PID_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(HelperError::NotRunning);
        }
        Err(source) => return Err(HelperError::File { what: "read", path, source }),
    };
    let (pid, start_time) = lock::parse_pid_file(&text).ok_or(HelperError::NotRunning)?;
    let pidfd = sys::pidfd_open(Pid::from_raw(pid)).map_err(|_| HelperError::NotRunning)?;
    if lock::start_time(pid) != Some(start_time) {
        return Err(HelperError::NotRunning);
    }
    for procs in &config.cgroups {
        fs::write(procs, "0").map_err(|source| HelperError::File {
            what: "join the cgroup",
            path: procs.clone(),
            source,
        })?;
    }
    // The pod's root user must not reach the node through our descriptors.
    prctl::set_dumpable(false).system("hide from ptrace")?;
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP;
    setns(pidfd, all).system("join the pod's namespaces")
}

struct Terminal {
    master: PtyMaster,
    slave: OwnedFd,
}

impl Terminal {
    fn open() -> Result<Self, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave =
            nix::fcntl::open(ptsname_r(&master)?.as_str(), flags, nix::sys::stat::Mode::empty())?;
        Ok(Terminal { master, slave })
    }
}

fn become_command(prepared: &Prepared, terminal: Option<Terminal>, helper: &OwnedFd) -> ! {
    let prepare = || {
        // A helper that is killed takes the command along, also if it is killed right now.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if has_ended(helper) {
            sys::exit_now(i32::from(EXIT_HELPER_FAILED));
        }
        setsid()?;
        if let Some(terminal) = &terminal {
            sys::set_controlling_terminal(terminal.slave.as_fd())?;
            command::set_standard_streams(&terminal.slave, &terminal.slave, &terminal.slave)?;
        }
        command::reset_signals()
    };
    let failure = match prepare() {
        Ok(()) => prepared.exec(),
        Err(error) => StartFailure::system("prepare a process", error),
    };
    let _ = writeln!(io::stderr(), "{failure}");
    sys::exit_now(failure.exit_code)
}

fn send_ready(control: &OwnedFd, terminal: Option<&Terminal>) -> Result<usize, Errno> {
    let master = terminal.map(|terminal| [terminal.master.as_raw_fd()]);
    let rights = master.as_ref().map(|master| ControlMessage::ScmRights(master));
    sendmsg::<()>(
        control.as_raw_fd(),
        &[IoSlice::new(b"r")],
        rights.as_slice(),
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
}

/// Waits for the command's end or the daemon's hang-up, whichever comes first.
fn watch(child: Pid, pidfd: &OwnedFd, control: Option<&OwnedFd>) -> u8 {
    loop {
        let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        // Without events to wait for only a hang-up is reported.
        fds.extend(control.map(|control| PollFd::new(control.as_fd(), PollFlags::empty())));
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            continue;
        }
        if fds[0].any() == Some(true) {
            break;
        }
        if fds.get(1).is_some_and(|control| control.any() == Some(true)) {
            hang_up(child, pidfd);
            break;
        }
    }
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, code)) => u8::try_from(code).unwrap_or(EXIT_HELPER_FAILED),
        Ok(WaitStatus::Signaled(_, signal, _)) => {
            u8::try_from(128 + signal as i32).unwrap_or(EXIT_HELPER_FAILED)
        }
        _ => EXIT_HELPER_FAILED,
    }
}

fn hang_up(child: Pid, pidfd: &OwnedFd) {
    let session = Pid::from_raw(-child.as_raw());
    let _ = kill(session, Signal::SIGHUP);
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut fds, PollTimeout::from(HANG_UP_GRACE_MILLIS));
    let _ = kill(session, Signal::SIGKILL);
    // In case it had not yet made its session.
    let _ = kill(child, Signal::SIGKILL);
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

trait SystemContext<T> {
    fn system(self, what: &'static str) -> Result<T, HelperError>;
}

impl<T> SystemContext<T> for Result<T, Errno> {
    fn system(self, what: &'static str) -> Result<T, HelperError> {
        self.map_err(|source| HelperError::System { what, source })
    }
}
