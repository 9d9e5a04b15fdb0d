// SPDX-License-Identifier: GPL-3.0-or-later
//! Namespaces of the benchmark's own, so that nothing it does meets the machine's network and
//! everything ends with it, however it ends.
//!
//! ```text
//!   outer: unshare(net, mnt, pid) ─► init: PID 1, mounts, reaps ─► worker: measures
//! ```
//!
//! Each is this program with another value of [`ROLE`]. The outer two tidy up what namespaces do
//! not hold: cgroups and the folder of the daemon's state.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use anyhow::Context;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, alarm};

use crate::command;

/// Which of the three a process is, and the folder for what lasts.
const ROLE: &str = "NETLAB_BENCH_ROLE";
const STATE: &str = "NETLAB_BENCH_STATE";

/// The daemon's run directory: on a fresh `/run`, as on any machine.
pub(crate) const RUN_DIR: &str = "/run/netlab-bench";

/// The longest that a run may take. SIGALRM ends the worker, and its PID 1 all the rest.
const LIMIT_SECONDS: u32 = 1800;

const NONE: Option<&str> = None;

/// The folder for the daemon's state: on a disk, as the store flushes.
pub(crate) fn state_dir() -> anyhow::Result<PathBuf> {
    let dir = std::env::var_os(STATE).context("BUG: not inside the sandbox")?;
    Ok(PathBuf::from(dir))
}

/// Goes into the sandbox. `None` for the process inside of it, which is to go on; an exit code
/// for the others, when that is done.
///
/// # Errors
/// When a namespace cannot be made: is CAP_SYS_ADMIN missing?
pub(crate) fn enter() -> anyhow::Result<Option<ExitCode>> {
    match std::env::var(ROLE).as_deref() {
        Err(_) => outer().map(Some),
        Ok("init") => init().map(Some),
        Ok(_) => {
            // A child inherits what its parent blocks, and so would the daemon.
            signals().thread_unblock().context("failed to unblock signals")?;
            set_pdeathsig(Signal::SIGKILL).context("failed to tie the benchmark to its PID 1")?;
            // Nobody waits for a benchmark for ever.
            alarm::set(LIMIT_SECONDS);
            set_up_network()?;
            Ok(None)
        }
    }
}

fn outer() -> anyhow::Result<ExitCode> {
    let state = tempfile::Builder::new()
        .prefix("netlab-bench-")
        .tempdir_in("/var/tmp")
        .context("failed to make a folder in `/var/tmp`")?;
    let signals = block_signals()?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)
        .context("failed to make namespaces: is CAP_SYS_ADMIN missing?")?;
    let mut child = start("init", Some(state.path()))?;
    let code = wait(&mut child, &signals)?;
    remove_cgroups();
    Ok(code)
}

fn init() -> anyhow::Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).context("failed to tie PID 1 to its parent")?;
    let signals = block_signals()?;
    // A slave still hears of unmounts outside, and so keeps nobody else's namespaces alive.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), NONE)
        .context("failed to mount `/proc`")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .context("failed to mount `/run`")?;
    fs::create_dir("/run/netns").context("failed to make `/run/netns`")?;
    let mut child = start("worker", None)?;
    wait(&mut child, &signals)
}

/// An address of the node, as every real one has: packets to pods need a source.
fn set_up_network() -> anyhow::Result<()> {
    command::run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    command::run(Command::new("ip").args(["address", "add", "192.0.2.1/32", "dev", "lo"]))?;
    Ok(())
}

fn start(role: &str, state: Option<&Path>) -> anyhow::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env(ROLE, role);
    if let Some(state) = state {
        command.env(STATE, state);
    }
    command.spawn().with_context(|| format!("failed to start the benchmark's {role}"))
}

/// What [`wait`] waits for.
fn signals() -> SigSet {
    SigSet::from_iter([Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM])
}

fn block_signals() -> anyhow::Result<SigSet> {
    let signals = signals();
    signals.thread_block().context("failed to block signals")?;
    Ok(signals)
}

/// Waits for a child, and passes on that the run is to end. Reaps everybody else's children too:
/// pods outlive whoever started them, and then are this process'.
fn wait(child: &mut Child, signals: &SigSet) -> anyhow::Result<ExitCode> {
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    loop {
        match signals.wait().context("failed to wait for signals")? {
            Signal::SIGCHLD => {}
            // The worker dies of it, and its PID 1 ends, and all that is left with it.
            signal => drop(kill(pid, signal)),
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(ended, code)) if ended == pid => {
                    return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
                }
                Ok(WaitStatus::Signaled(ended, ..)) if ended == pid => {
                    return Ok(ExitCode::FAILURE);
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("failed to wait for the benchmark"),
            }
        }
    }
}

/// Removes the empty cgroups of a run that could not do it. The folder's name starts with the run
/// directory's, see `netlabd/src/node/pod/cgroup.rs`.
fn remove_cgroups() {
    for folder in cgroup_folders() {
        for pod in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // Files cannot be removed and need not be.
            let _ = fs::remove_dir(pod.path());
        }
        let _ = fs::remove_dir(&folder);
    }
}

/// The daemon's folders in all hierarchies.
pub(crate) fn cgroup_folders() -> Vec<PathBuf> {
    let mounts = Path::new("/sys/fs/cgroup");
    let mut parents = vec![mounts.to_owned()];
    parents.extend(fs::read_dir(mounts).into_iter().flatten().flatten().map(|it| it.path()));
    parents
        .iter()
        .flat_map(|parent| fs::read_dir(parent).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("netlab-netlab-bench-")
        })
        .collect()
}
