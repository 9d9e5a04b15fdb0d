// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's side of the pods' processes: start, observe, end, remove.
//!
//! Everything is idempotent and keeps no state in memory, so a daemon that was killed between any
//! two steps simply calls again. All calls are synchronous; those that wait say so. Calls for one
//! uid must not overlap, calls for different uids may.
//!
//! A pod is alive exactly as long as its lock is held. The lock is an open-file-description lock
//! (`F_OFD_SETLK`): like `flock` it goes with the last copy of the descriptor, but it can be
//! tested without taking it, so that looking never makes a starting PID 1 believe that another
//! one is there. The pid file only says *which* process it is, and counts only together with the
//! start time.

mod error;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::cgroup::Cgroups;
use super::config::InitConfig;
use super::exec::{ExecRequest, ExecSession};
use super::status::RuntimeStatus;
use super::{lock, paths, sys};

pub use error::RuntimeError;

/// How long a starting PID 1 may hold the lock before its pid is known. It takes two
/// milliseconds; a machine under heavy load gets a thousand times that.
const STARTING_TIMEOUT: Duration = Duration::from_secs(5);
/// How often is looked again while a pod starts or ends and no descriptor tells.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The pods' processes of one daemon.
#[derive(Debug)]
pub struct Runtime {
    run_dir: PathBuf,
    /// The binary, as a path that stays right when the file is replaced, and on a read-only
    /// mount of its own: what a pod may find in `/proc/*/exe` cannot be written through.
    program: PathBuf,
    _program_mount: Option<OwnedFd>,
    cgroups: Cgroups,
}

/// PID 1 of a pod, while it lives.
#[derive(Debug)]
pub struct PodProcess {
    /// Its pid as the node sees it.
    pub pid: i32,
    /// Readable once the process, and with it all of the pod's pid namespace, is gone.
    pub pidfd: OwnedFd,
}

/// What there is of a pod.
#[derive(Debug)]
pub struct Observed {
    /// PID 1, if the pod is alive.
    pub alive: Option<PodProcess>,
    /// What PID 1 wrote last; `None` before it wrote anything.
    pub status: Option<RuntimeStatus>,
}

impl Runtime {
    /// Lays out `run_dir` and takes `exe` (usually `/proc/self/exe`) as the binary to spawn.
    ///
    /// # Errors
    /// When the folders cannot be made or the cgroup mounts cannot be read.
    pub fn new(run_dir: impl Into<PathBuf>, exe: &Path) -> Result<Self, RuntimeError> {
        let run_dir = run_dir.into();
        for path in [paths::pods_dir(&run_dir), paths::status_dir(&run_dir)] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|source| RuntimeError::Layout { path, source })?;
        }
        let run_dir = run_dir
            .canonicalize()
            .map_err(|source| RuntimeError::Layout { path: run_dir.clone(), source })?;
        let mount = read_only_copy(exe);
        Ok(Runtime {
            program: match &mount {
                Some(mount) => fd_path(mount.as_fd()),
                None => exe.to_owned(),
            },
            _program_mount: mount,
            cgroups: Cgroups::detect(&run_dir)?,
            run_dir,
        })
    }

    /// The run directory, absolute.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The folder of all status files: the one place to watch (`IN_MOVED_TO`, `<uid>.json`).
    #[must_use]
    pub fn status_dir(&self) -> PathBuf {
        paths::status_dir(&self.run_dir)
    }

    /// The pods' cgroups. `InitConfig::cgroups` comes from [`Cgroups::ensure`]; [`Self::remove`]
    /// removes what it made.
    #[must_use]
    pub fn cgroups(&self) -> &Cgroups {
        &self.cgroups
    }

    /// Starts a pod unless it is alive, and returns its PID 1. Waits until the sandbox stands,
    /// not for the command's exec.
    ///
    /// # Errors
    /// When the sandbox cannot be made. A command that cannot be executed is no error here: the
    /// status tells.
    pub fn start(&self, config: &InitConfig) -> Result<PodProcess, RuntimeError> {
        let uid = config.uid.as_str();
        let pod = || format!("{}/{}", config.namespace, config.name);
        let dir = self.pod_dir(uid)?;
        if let Some(process) = self.process(uid)? {
            return Ok(process);
        }
        self.write_config(config, &dir)?;
        let output = Command::new(&self.program)
            .arg0("netlab-pod")
            .arg("pod-init")
            .arg(&dir)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .map_err(|source| RuntimeError::Spawn {
                uid: uid.to_owned(),
                program: self.program.clone(),
                source,
            })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let message = if said.is_empty() { output.status.to_string() } else { said };
            return Err(RuntimeError::Init { pod: pod(), message });
        }
        self.process(uid)?.ok_or_else(|| RuntimeError::Vanished { pod: pod() })
    }

    /// What there is of a pod. Waits (milliseconds) while a PID 1 is just starting.
    ///
    /// # Errors
    /// When the lock or the pid file cannot be read.
    pub fn observe(&self, uid: &str) -> Result<Observed, RuntimeError> {
        let alive = self.process(uid)?;
        // What cannot be read says nothing; whether the pod is alive does not depend on it.
        let status = self.status(uid).unwrap_or_else(|error| {
            tracing::warn!(uid, %error, "the status of a pod is not readable");
            None
        });
        Ok(Observed { alive, status })
    }

    /// What PID 1 wrote last; `None` before it wrote anything.
    ///
    /// # Errors
    /// When the file cannot be read or parsed.
    pub fn status(&self, uid: &str) -> Result<Option<RuntimeStatus>, RuntimeError> {
        self.pod_dir(uid)?;
        read_json(uid, &paths::status_file(&self.run_dir, uid))
    }

    /// What a pod was started with; `None` when there is no such pod.
    ///
    /// # Errors
    /// When the file cannot be read or parsed.
    pub fn config(&self, uid: &str) -> Result<Option<InitConfig>, RuntimeError> {
        read_json(uid, &self.pod_dir(uid)?.join(paths::INIT_FILE))
    }

    /// The uids of all pods that have a folder, alive or not, in order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> Result<Vec<String>, RuntimeError> {
        let path = paths::pods_dir(&self.run_dir);
        let read = |path: &Path| -> io::Result<Vec<String>> {
            let mut uids = Vec::new();
            for entry in fs::read_dir(path)? {
                uids.extend(entry?.file_name().into_string().ok());
            }
            uids.sort();
            Ok(uids)
        };
        read(&path).map_err(|source| RuntimeError::Layout { path, source })
    }

    /// Asks PID 1 to end the pod: SIGTERM to the command, SIGKILL after the grace period. Returns
    /// at once; the pidfd tells when it is done. Nothing to do for a pod that is not alive.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn terminate(&self, uid: &str) -> Result<(), RuntimeError> {
        self.signal(uid, Signal::SIGTERM)
    }

    /// Kills the pod's processes, all of them. Returns at once; the status stays as it was.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(&self, uid: &str) -> Result<(), RuntimeError> {
        self.signal(uid, Signal::SIGKILL)
    }

    /// Asks PID 1 to end the command and start it again (a failed liveness probe), by the pod's
    /// restart policy. Returns at once.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn restart_command(&self, uid: &str) -> Result<(), RuntimeError> {
        self.signal(uid, Signal::SIGUSR1)
    }

    /// Asks PID 1 to write its status again: it is lost or garbled. Returns at once.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn ask_status(&self, uid: &str) -> Result<(), RuntimeError> {
        self.signal(uid, Signal::SIGUSR2)
    }

    /// Kills what is left of a pod, waits until its pid namespace is gone, and removes its
    /// cgroups and files. The logs stay. Nothing to do for a pod that is not there.
    ///
    /// # Errors
    /// When a process does not end within `timeout`, or a file or cgroup cannot be removed.
    pub fn remove(&self, uid: &str, timeout: Duration) -> Result<(), RuntimeError> {
        let deadline = Instant::now() + timeout;
        let dir = self.pod_dir(uid)?;
        // Held until the folder is gone: a pod-init that a killed daemon left behind either finds
        // the lock taken, or takes it on a file that has no name any more and gives up.
        let _lock = self.end(uid, &dir, deadline, timeout)?;
        self.cgroups.remove(uid, deadline)?;
        let failed = |path: PathBuf| {
            move |source| RuntimeError::Remove { uid: uid.to_owned(), path, source }
        };
        let status = paths::status_file(&self.run_dir, uid);
        accept_done(fs::remove_file(&status)).map_err(failed(status))?;
        // Left by a PID 1 that was killed while it wrote, or found no space.
        let half = paths::half_status_file(&self.run_dir, uid);
        accept_done(fs::remove_file(&half)).map_err(failed(half))?;
        accept_done(fs::remove_dir_all(&dir)).map_err(failed(dir))
    }

    /// A command in a pod: the program to spawn and the socket to hold it by.
    ///
    /// # Errors
    /// When the pod is not alive, or without descriptors left.
    pub fn exec(&self, uid: &str, request: &ExecRequest) -> Result<ExecSession, RuntimeError> {
        let dir = self.pod_dir(uid)?;
        if self.process(uid)?.is_none() {
            return Err(RuntimeError::NotRunning { uid: uid.to_owned() });
        }
        ExecSession::new(&self.program, &dir, request)
            .map_err(|source| RuntimeError::ControlSocket { uid: uid.to_owned(), source })
    }

    fn pod_dir(&self, uid: &str) -> Result<PathBuf, RuntimeError> {
        if uid.is_empty() || uid.starts_with('.') || uid.contains(['/', '\0']) {
            return Err(RuntimeError::Uid { uid: uid.to_owned() });
        }
        Ok(paths::pod_dir(&self.run_dir, uid))
    }

    fn write_config(&self, config: &InitConfig, dir: &Path) -> Result<(), RuntimeError> {
        let path = dir.join(paths::INIT_FILE);
        let temporary = dir.join(".init.json");
        let text = serde_json::to_vec(config).expect("strings, numbers and lists always serialize");
        let write = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            accept_done(fs::create_dir(dir.join(paths::ROOT_DIR)))?;
            fs::write(&temporary, &text)?;
            fs::rename(&temporary, &path)?;
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(dir.join(paths::LOCK_FILE))
                .map(drop)
        };
        write().map_err(|source| RuntimeError::Write { uid: config.uid.clone(), path, source })
    }

    /// PID 1, if the pod is alive. Waits while the lock is held but the pid is not yet written.
    fn process(&self, uid: &str) -> Result<Option<PodProcess>, RuntimeError> {
        let dir = self.pod_dir(uid)?;
        let deadline = Instant::now() + STARTING_TIMEOUT;
        while self.is_locked(uid, &dir)? {
            if let Some(process) = find_process(uid, &dir)?
                && !process.has_ended(Duration::ZERO)
            {
                return Ok(Some(process));
            }
            if Instant::now() >= deadline {
                return Err(RuntimeError::Look { uid: uid.to_owned(), source: Errno::ETIMEDOUT });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(None)
    }

    fn is_locked(&self, uid: &str, dir: &Path) -> Result<bool, RuntimeError> {
        lock::is_held(&dir.join(paths::LOCK_FILE)).map_err(|source| RuntimeError::Read {
            uid: uid.to_owned(),
            path: dir.join(paths::LOCK_FILE),
            source,
        })
    }

    fn signal(&self, uid: &str, signal: Signal) -> Result<(), RuntimeError> {
        let Some(process) = self.process(uid)? else { return Ok(()) };
        match sys::pidfd_send_signal(process.pidfd.as_fd(), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(source) => Err(RuntimeError::Signal { uid: uid.to_owned(), signal, source }),
        }
    }

    /// Kills until the lock is ours; `None` when the pod has no folder.
    fn end(
        &self,
        uid: &str,
        dir: &Path,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Option<File>, RuntimeError> {
        let path = dir.join(paths::LOCK_FILE);
        loop {
            // Also when the lock is free: a dying PID 1 closes its files before the kernel ends
            // the rest of its pid namespace, and only the pidfd tells when that is done.
            if let Some(process) = find_process(uid, dir)? {
                match sys::pidfd_send_signal(process.pidfd.as_fd(), Signal::SIGKILL) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(source) => {
                        let signal = Signal::SIGKILL;
                        return Err(RuntimeError::Signal { uid: uid.to_owned(), signal, source });
                    }
                }
                process.has_ended(deadline.saturating_duration_since(Instant::now()));
            }
            match lock::take(&path) {
                Ok(Some(file)) => return Ok(Some(file)),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(source) => {
                    return Err(RuntimeError::Read { uid: uid.to_owned(), path, source });
                }
            }
            if Instant::now() >= deadline {
                return Err(RuntimeError::RemoveTimeout { uid: uid.to_owned(), timeout });
            }
            // The holder is an intermediate that has not written PID 1's pid yet; it joined the
            // pod's cgroups first, so it can be found there.
            self.cgroups.kill(uid)?;
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl PodProcess {
    /// Waits up to `timeout` for the end of the process; true when it has ended.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        self.has_ended(timeout)
    }

    fn has_ended(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, or the last millisecond would be a busy loop.
            let left = left.as_millis().saturating_add(u128::from(!left.is_zero()));
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, left) {
                Ok(0) if Instant::now() >= deadline => return false,
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// The process that the pid file names, if it still is that process.
fn find_process(uid: &str, dir: &Path) -> Result<Option<PodProcess>, RuntimeError> {
    let look = |source| RuntimeError::Look { uid: uid.to_owned(), source };
    let path = dir.join(paths::PID_FILE);
    let Some(text) = read_optional(&path).map_err(|source| RuntimeError::Read {
        uid: uid.to_owned(),
        path,
        source,
    })?
    else {
        return Ok(None);
    };
    let Some((pid, start_time)) = lock::parse_pid_file(&text) else { return Ok(None) };
    let pidfd = match sys::pidfd_open(Pid::from_raw(pid)) {
        Ok(pidfd) => pidfd,
        Err(Errno::ESRCH) => return Ok(None),
        Err(source) => return Err(look(source)),
    };
    // After the pidfd was opened: if the process with this number is the right one now, then the
    // pidfd is that process' too.
    if lock::start_time(pid) != Some(start_time) {
        return Ok(None);
    }
    Ok(Some(PodProcess { pid, pidfd }))
}

/// A detached read-only mount of the binary, or `None` where the kernel refuses one.
fn read_only_copy(exe: &Path) -> Option<OwnedFd> {
    let mount = sys::open_tree(exe).ok()?;
    sys::set_mount_attributes(mount.as_fd(), libc::MOUNT_ATTR_RDONLY, false).ok()?;
    Some(mount)
}

fn fd_path(fd: BorrowedFd<'_>) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn read_json<T: serde::de::DeserializeOwned>(
    uid: &str,
    path: &Path,
) -> Result<Option<T>, RuntimeError> {
    let path = path.to_owned();
    match read_optional(&path) {
        Ok(None) => Ok(None),
        Ok(Some(text)) => match serde_json::from_str(&text) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(RuntimeError::Parse { uid: uid.to_owned(), path, source }),
        },
        Err(source) => Err(RuntimeError::Read { uid: uid.to_owned(), path, source }),
    }
}

fn read_optional(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// "Not there" and "there already" are what the caller wanted.
fn accept_done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_cannot_be_written_through_what_a_pod_sees_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("netlabd");
        fs::write(&exe, "binary").unwrap();
        let runtime = Runtime::new(dir.path().join("run"), &exe).unwrap();
        assert_eq!(fs::read(&runtime.program).unwrap(), b"binary");
        let error = OpenOptions::new().write(true).open(&runtime.program).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        // A new binary takes the place of the old one; pods go on with the old one.
        fs::write(dir.path().join("new"), "newer").unwrap();
        fs::rename(dir.path().join("new"), &exe).unwrap();
        assert_eq!(fs::read(&runtime.program).unwrap(), b"binary");
    }
}
