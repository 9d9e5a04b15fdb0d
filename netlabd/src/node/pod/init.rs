// SPDX-License-Identifier: GPL-3.0-or-later
//! `netlabd pod-init DIR`: from a folder with an `init.json` to a running PID 1.
//!
//! ```text
//! intermediate                                  PID 1
//!   lock DIR/lock (given up when it is held)
//!   join cgroups, setns(net), unshare(rest)
//!   fork ───────────────────────────────────────► waits
//!   write DIR/pid, then ── go ──────────────────► makes root, host name
//!   waits          ◄──────────────────── ready ── starts the command
//!   exits
//! ```
//!
//! The pid is written before PID 1 does anything, so that whoever finds the lock held also finds
//! out by whom; an intermediate that dies before takes PID 1 along. Both processes hold the lock.
//!
//! Single-threaded, without a runtime: it may fork, and PID 1 stays small.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, chdir, pipe2, sethostname, setsid};

use super::config::InitConfig;
use super::supervisor::{self, Supervisor};
use super::{command, lock, paths, root, sys};

/// The kernel's OOM killer takes PID 1 last: with it the pod's addresses and logs would go.
const OOM_SCORE_OF_INIT: &str = "-998";

#[derive(Debug, thiserror::Error)]
pub(super) enum InitError {
    #[error("usage: netlabd pod-init DIR")]
    Usage,
    #[error("failed to {what} `{path}`")]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to parse `{path}`")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("failed to {what}: is CAP_SYS_ADMIN missing?")]
    System {
        what: &'static str,
        #[source]
        source: Errno,
    },
    #[error("failed to make the pod's root")]
    Root(#[from] root::RootError),
    #[error("failed to prepare supervision")]
    Supervise(#[from] supervisor::SuperviseError),
}

/// Runs `pod-init` with the arguments after its name.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    sys::close_inherited();
    let result = match (args.next(), args.next()) {
        (Some(dir), None) => run(Path::new(&dir)),
        _ => Err(InitError::Usage),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path) -> Result<ExitCode, InitError> {
    // From here on signals wait until PID 1 reads them from its descriptor.
    SigSet::all().thread_block().system("block signals")?;
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    let lock_path = dir.join(paths::LOCK_FILE);
    let Some(lock) = lock::take(&lock_path).file("lock", &lock_path)? else {
        return Ok(ExitCode::SUCCESS);
    };
    // That of a PID 1 before us.
    let pid_path = dir.join(paths::PID_FILE);
    match fs::remove_file(&pid_path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).file("remove", &pid_path);
        }
        _ => {}
    }
    let config = read_config(dir)?;
    for procs in &config.cgroups {
        fs::write(procs, "0").file("join the cgroup", procs)?;
    }
    let status_dir = dir.join("../..").join("status");
    let status_dir = open_dir(&status_dir)?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&config.log.dir)
        .file("make the log folder", &config.log.dir)?;
    let log_dir = open_dir(&config.log.dir)?;
    let mut supervisor = Supervisor::new(config.clone(), status_dir, log_dir)?;
    // Without CAP_SYS_RESOURCE the score stays, which is no reason to have no pod.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_OF_INIT);

    let netns = File::open(&config.netns).file("open the network namespace", &config.netns)?;
    setns(netns, CloneFlags::CLONE_NEWNET).system("join the network namespace")?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .system("make namespaces")?;
    let (go_read, go_write) = pipe2(OFlag::O_CLOEXEC).system("make a pipe")?;
    let (ready_read, ready_write) = pipe2(OFlag::O_CLOEXEC).system("make a pipe")?;
    match sys::fork().system("fork")? {
        ForkResult::Parent { child } => {
            drop((go_read, ready_write));
            introduce(dir, child, go_write, ready_read)
        }
        ForkResult::Child => {
            drop((go_write, ready_read));
            let error = match become_init(dir, &mut supervisor, &config, go_read, ready_write) {
                Ok(()) => supervisor.run(lock),
                Err(error) => error,
            };
            report(&error);
            sys::exit_now(1)
        }
    }
}

/// The intermediate's last work: say who PID 1 is, let it go, wait until it is ready.
fn introduce(dir: &Path, child: Pid, go: OwnedFd, ready: OwnedFd) -> Result<ExitCode, InitError> {
    let path = dir.join(paths::PID_FILE);
    let start_time =
        lock::start_time(child.as_raw()).ok_or(Errno::ESRCH).system("read PID 1's start time")?;
    let temporary = dir.join(".pid");
    fs::write(&temporary, lock::format_pid_file(child.as_raw(), start_time))
        .and_then(|()| fs::rename(&temporary, &path))
        .file("write", &path)?;
    File::from(go).write_all(b"g").file("let PID 1 go", &path)?;
    let mut answer = [0];
    if File::from(ready).read(&mut answer).file("wait for PID 1", &path)? == 1 {
        return Ok(ExitCode::SUCCESS);
    }
    // It has said why.
    let _ = waitpid(child, None);
    Ok(ExitCode::FAILURE)
}

fn become_init(
    dir: &Path,
    supervisor: &mut Supervisor,
    config: &InitConfig,
    go: OwnedFd,
    ready: OwnedFd,
) -> Result<(), InitError> {
    let mut letter = [0];
    if File::from(go).read(&mut letter).file("wait for", Path::new("the intermediate"))? == 0 {
        sys::exit_now(1);
    }
    // The pod's root user must not reach the node through our descriptors in /proc/1/fd.
    prctl::set_dumpable(false).system("hide PID 1 from ptrace")?;
    let _ = prctl::set_name(c"netlab-pod");
    setsid().system("make a session")?;
    root::enter(config, &dir.join(paths::ROOT_DIR))?;
    sethostname(&config.hostname).system("set the host name")?;
    if let Some(domain) = &config.domain {
        sys::set_domain_name(domain).system("set the domain name")?;
    }
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.file("open", Path::new("/dev/null"))?;
    chdir("/").system("enter the root")?;
    command::set_standard_streams(&null, &null, &null).system("close the standard streams")?;
    supervisor.announce();
    // Nobody listens any more if the intermediate was killed, which changes nothing for the pod.
    let _ = nix::unistd::write(ready.as_fd(), b"r");
    Ok(())
}

pub(super) fn read_config(dir: &Path) -> Result<InitConfig, InitError> {
    let path = dir.join(paths::INIT_FILE);
    let text = fs::read(&path).file("read", &path)?;
    serde_json::from_slice(&text).map_err(|source| InitError::Parse { path, source })
}

fn open_dir(path: &Path) -> Result<OwnedFd, InitError> {
    open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).file("open", path)
}

/// One line on standard error: the error and all its causes.
pub(super) fn report(error: &dyn std::error::Error) {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    let _ = writeln!(io::stderr(), "{line}");
}

trait Context<T> {
    fn file(self, what: &'static str, path: &Path) -> Result<T, InitError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn file(self, what: &'static str, path: &Path) -> Result<T, InitError> {
        self.map_err(|source| InitError::File {
            what,
            path: path.to_owned(),
            source: source.into(),
        })
    }
}

trait SystemContext<T> {
    fn system(self, what: &'static str) -> Result<T, InitError>;
}

impl<T> SystemContext<T> for Result<T, Errno> {
    fn system(self, what: &'static str) -> Result<T, InitError> {
        self.map_err(|source| InitError::System { what, source })
    }
}
