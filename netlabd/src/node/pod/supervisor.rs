// SPDX-License-Identifier: GPL-3.0-or-later
//! PID 1's loop: one command at a time, its output, its end, its next start.
//!
//! ```text
//!            exec                 ends                   policy says so
//!  waiting ───────► running ──────────────► cleaned up ───────────────► waiting (back-off)
//!                     │ SIGTERM/SIGUSR1          │ otherwise
//!                     ▼                          ▼
//!                  stopping ── grace ── SIGKILL  held: namespaces stay until SIGTERM
//! ```
//!
//! When the command ends, whatever else runs in the pod is killed, as it is in a container whose
//! PID 1 ends. Signals count only when they come from outside the pod; one from inside is passed
//! on to the command, which believes to be the pod's main process.

mod oom;
mod run;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, read};

use super::command::{Prepared, StartFailure};
use super::config::InitConfig;
use super::log::{LogWriter, Stream};
use super::restart::{End, Restarts};
use super::status::{
    ContainerState, REASON_CRASH_LOOP, REASON_CREATING, REASON_ERROR, RuntimeStatus,
};
use super::{paths, sys};

use oom::OomCounter;
use run::{Run, spawn, terminated_by};

/// How much of a command's output is taken before signals and timers are looked at again.
const READ_SIZE: usize = 16 << 10;

/// How long a status that could not be written rests before it is tried again.
const REWRITE_AFTER: Duration = Duration::from_millis(500);

/// What PID 1 needs before it can start supervising.
#[derive(Debug, thiserror::Error)]
pub(super) enum SuperviseError {
    #[error("failed to take signals")]
    Signals(#[source] Errno),
}

/// PID 1's state.
pub(super) struct Supervisor {
    config: InitConfig,
    argv: Vec<String>,
    status_dir: OwnedFd,
    signals: SignalFd,
    log: LogWriter,
    oom: Option<OomCounter>,
    restarts: Restarts,
    status: RuntimeStatus,
    run: Option<Run>,
    /// The command has been started by this PID 1 before.
    has_started: bool,
    /// When the command is to be started next.
    wake: Option<Instant>,
    terminating: bool,
    /// The status file is older than the status.
    unwritten: bool,
}

impl Supervisor {
    /// Opens what lies outside the pod's root.
    pub(super) fn new(
        config: InitConfig,
        status_dir: OwnedFd,
        log_dir: OwnedFd,
    ) -> Result<Self, SuperviseError> {
        let signals =
            SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
                .map_err(SuperviseError::Signals)?;
        Ok(Supervisor {
            argv: config.argv(),
            oom: config.cgroups.iter().find_map(|procs| OomCounter::open(procs)),
            restarts: Restarts::new(config.restart_policy, config.back_off),
            status: resumed_status(read_status(&status_dir, &config.uid)),
            log: LogWriter::new(log_dir, &config.log),
            status_dir,
            signals,
            config,
            run: None,
            wake: None,
            terminating: false,
            unwritten: false,
            has_started: false,
        })
    }

    /// Says that the command is about to be started, so that nobody takes an older status for
    /// this one.
    pub(super) fn announce(&mut self) {
        self.write_status();
    }

    /// Runs until the pod is told to end. `lock` is what makes the pod count as alive.
    pub(super) fn run(mut self, lock: File) -> ! {
        if self.argv.is_empty() {
            self.status.state = ContainerState::Running { started_at: Timestamp::now() };
            self.write_status();
        } else {
            self.wake = Some(Instant::now());
        }
        loop {
            if self.terminating && self.run.is_none() {
                drop(lock);
                sys::exit_now(0);
            }
            if self.wake.is_some_and(|at| at <= Instant::now()) {
                self.wake = None;
                self.start();
            }
            self.wait();
            if self.unwritten {
                self.write_status();
            }
            self.take_signals();
            self.take_exec();
            self.take_output();
            self.kill_overdue();
            if self.run.as_ref().is_some_and(|run| run.ended.is_some()) {
                self.finish();
            }
        }
    }

    fn wait(&self) {
        let kill_at = self.run.as_ref().and_then(|run| run.kill_at);
        let write_at = self.unwritten.then(|| Instant::now() + REWRITE_AFTER);
        let timeout = match self.wake.into_iter().chain(kill_at).chain(write_at).min() {
            None => PollTimeout::NONE,
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                // Rounded up, or the last millisecond would be a busy loop.
                let left = left.as_millis() + u128::from(!left.is_zero());
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(run) = &self.run {
            for fd in [&run.output, &run.error, &run.exec].into_iter().flatten() {
                fds.push(PollFd::new(fd.as_fd(), PollFlags::POLLIN));
            }
        }
        // Nothing can fail but EINTR, and a round for nothing does no harm.
        let _ = poll(&mut fds, timeout);
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else { continue };
            // The kernel says 0 for a sender that this pid namespace cannot see.
            let from_outside = info.ssi_pid == 0;
            match signal {
                Signal::SIGCHLD => self.reap(),
                Signal::SIGTERM | Signal::SIGINT if from_outside => self.terminate(),
                Signal::SIGUSR1 if from_outside => self.restart(),
                Signal::SIGUSR2 if from_outside => self.write_status(),
                Signal::SIGTERM
                | Signal::SIGINT
                | Signal::SIGHUP
                | Signal::SIGQUIT
                | Signal::SIGUSR1
                | Signal::SIGUSR2 => {
                    if let Some(run) = &self.run {
                        let _ = kill(run.pid, signal);
                    }
                }
                _ => {}
            }
        }
    }

    /// Every orphan of the pod is our child.
    fn reap(&mut self) {
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => self.note_end(status),
                Err(_) => {}
            }
        }
    }

    fn note_end(&mut self, status: WaitStatus) {
        if let Some(run) = &mut self.run
            && status.pid() == Some(run.pid)
        {
            run.ended = Some(status);
        }
    }

    fn terminate(&mut self) {
        if self.terminating {
            return;
        }
        self.terminating = true;
        self.wake = None;
        self.status.terminating = true;
        if matches!(self.status.state, ContainerState::Waiting { .. })
            && let Some(last) = self.status.last_state.take()
        {
            // There will be no next start, so how it ended last is how it is.
            self.status.state = last;
        }
        self.stop();
        self.write_status();
    }

    fn restart(&mut self) {
        if let Some(run) = &mut self.run
            && !self.terminating
            && run.kill_at.is_none()
        {
            run.unhealthy = true;
            self.stop();
        }
    }

    /// Only the main process gets the SIGTERM, as kubelet does it.
    fn stop(&mut self) {
        let grace = Duration::from_secs(self.config.termination_grace_period_seconds);
        if let Some(run) = &mut self.run {
            let kill_at = Instant::now() + grace;
            run.kill_at = Some(run.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
            let _ = kill(run.pid, Signal::SIGTERM);
        }
    }

    fn kill_overdue(&mut self) {
        if let Some(run) = &mut self.run
            && run.kill_at.is_some_and(|at| at <= Instant::now())
        {
            run.kill_at = None;
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        }
    }

    fn start(&mut self) {
        let started_at = Timestamp::now();
        // Counted here and not at the end before it: a command that waits for its next start has
        // not been restarted yet.
        if std::mem::replace(&mut self.has_started, true) {
            self.status.restart_count += 1;
        }
        self.log.begin(self.status.restart_count);
        let run = Prepared::new(&self.config, &self.argv, None).and_then(|prepared| {
            spawn(&prepared)
                .map(|spawned| spawned.into_run(started_at, self.ooms()))
                .map_err(|error| StartFailure::system("start a process", error))
        });
        match run {
            Ok(run) => self.run = Some(run),
            Err(failure) => {
                self.log.end();
                self.settle(terminated_by(failure, started_at), End::Failure, Duration::ZERO);
            }
        }
    }

    /// End of file means that the exec worked.
    fn take_exec(&mut self) {
        let Some(run) = &mut self.run else { return };
        let Some(exec) = &run.exec else { return };
        let mut buffer = [0; 4096];
        match read(exec, &mut buffer) {
            Ok(0) => {
                run.exec = None;
                if run.failure.is_empty() {
                    self.status.state = ContainerState::Running { started_at: run.started_at };
                    self.status.pid = Some(run.pid.as_raw());
                    self.write_status();
                }
            }
            Ok(count) => run.failure.extend_from_slice(&buffer[..count]),
            Err(_) => {}
        }
    }

    fn take_output(&mut self) {
        let Some(run) = &mut self.run else { return };
        let dropped = self.log.dropped();
        for (stream, fd) in [(Stream::Stdout, &mut run.output), (Stream::Stderr, &mut run.error)] {
            if fd.as_ref().is_some_and(|fd| !copy_output(fd.as_fd(), stream, &mut self.log)) {
                *fd = None;
            }
        }
        if dropped == 0 && self.log.dropped() > 0 {
            self.write_status();
        }
    }

    /// The command has ended: clean up after it and decide what is next.
    fn finish(&mut self) {
        kill_rest();
        while self.run.as_ref().is_some_and(|run| run.exec.is_some()) {
            let before = self.run.as_ref().map_or(0, |run| run.failure.len());
            self.take_exec();
            let Some(run) = &self.run else { return };
            if run.exec.is_some() && run.failure.len() == before {
                break;
            }
        }
        // All writers are dead, so what is in the pipes now is all there will be.
        let Some(run) = self.run.take() else { return };
        for (stream, fd) in [(Stream::Stdout, &run.output), (Stream::Stderr, &run.error)] {
            if let Some(fd) = fd {
                while has_output(fd.as_fd()) && copy_output(fd.as_fd(), stream, &mut self.log) {}
            }
        }
        self.log.end();
        let ran_for = run.started.elapsed();
        let ooms = self.ooms();
        let (state, end) = run.into_state(ooms);
        self.settle(state, end, ran_for);
    }

    fn settle(&mut self, terminated: ContainerState, end: End, ran_for: Duration) {
        self.status.pid = None;
        self.status.log_records_dropped = self.log.dropped();
        let delay = if self.terminating { None } else { self.restarts.after(end, ran_for) };
        match delay {
            None => self.status.state = terminated,
            Some(delay) => {
                self.status.last_state = Some(terminated);
                self.wake = Some(Instant::now() + delay);
                self.status.state = waiting_for(delay);
            }
        }
        self.write_status();
    }

    fn ooms(&mut self) -> u64 {
        self.oom.as_mut().map_or(0, OomCounter::read)
    }

    /// A status that cannot be written (a full tmpfs) is tried again.
    fn write_status(&mut self) {
        self.unwritten = !self.try_write_status();
    }

    fn try_write_status(&mut self) -> bool {
        self.status.log_records_dropped = self.log.dropped();
        let Ok(text) = serde_json::to_vec(&self.status) else { return true };
        let temporary = paths::half_status_name(&self.config.uid);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
        let Ok(file) =
            openat(&self.status_dir, temporary.as_str(), flags, Mode::from_bits_truncate(0o600))
        else {
            return false;
        };
        let name = paths::status_name(&self.config.uid);
        io::Write::write_all(&mut File::from(file), &text).is_ok()
            && renameat(&self.status_dir, temporary.as_str(), &self.status_dir, name.as_str())
                .is_ok()
    }
}

fn has_output(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// False at the end of the stream.
fn copy_output(fd: BorrowedFd<'_>, stream: Stream, log: &mut LogWriter) -> bool {
    let mut buffer = [0; READ_SIZE];
    match read(fd, &mut buffer) {
        Ok(0) => false,
        Ok(count) => {
            log.write(stream, &buffer[..count], Timestamp::now());
            true
        }
        Err(Errno::EAGAIN | Errno::EINTR) => true,
        Err(_) => false,
    }
}

/// Kills everything else in the pod and reaps it. Again and again, because a command that is just
/// being run beside ours may join the pod and leave an orphan between any two looks.
fn kill_rest() {
    const LOOK_AGAIN_MILLIS: u8 = 1;
    loop {
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return,
                Ok(WaitStatus::StillAlive) => break,
                _ => {}
            }
        }
        let _ = poll(&mut [], PollTimeout::from(LOOK_AGAIN_MILLIS));
    }
}

/// The first restart does not wait, and is no crash loop yet.
fn waiting_for(delay: Duration) -> ContainerState {
    let (reason, message) = if delay.is_zero() {
        (REASON_CREATING, String::new())
    } else {
        let delay = format_delay(delay);
        (REASON_CRASH_LOOP, format!("back-off {delay} restarting failed container"))
    };
    ContainerState::Waiting { reason: reason.to_owned(), message }
}

/// As Go prints durations, which is how people know this message: `10s`, `1m20s`.
fn format_delay(delay: Duration) -> String {
    let seconds = delay.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, 0) if !delay.is_zero() => format!("{}ms", delay.as_millis()),
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

fn read_status(dir: &OwnedFd, uid: &str) -> Option<RuntimeStatus> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(dir, paths::status_name(uid).as_str(), flags, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The status to go on from when a PID 1 before this one was killed: its command did not end by
/// itself, and this is another start.
fn resumed_status(before: Option<RuntimeStatus>) -> RuntimeStatus {
    let Some(before) = before else { return RuntimeStatus::creating() };
    let last_state = match before.state {
        ContainerState::Running { started_at } => Some(ContainerState::Terminated {
            exit_code: 128 + Signal::SIGKILL as i32,
            signal: Some(Signal::SIGKILL as i32),
            reason: REASON_ERROR.to_owned(),
            message: "the pod's PID 1 was killed".to_owned(),
            started_at,
            finished_at: Timestamp::now(),
        }),
        ContainerState::Terminated { .. } => Some(before.state),
        ContainerState::Waiting { .. } => before.last_state,
    };
    RuntimeStatus {
        last_state,
        restart_count: before.restart_count + 1,
        ..RuntimeStatus::creating()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_read_as_in_kubernetes() {
        let text = |millis| format_delay(Duration::from_millis(millis));
        assert_eq!(text(0), "0s");
        assert_eq!(text(20), "20ms");
        assert_eq!(text(10_000), "10s");
        assert_eq!(text(80_000), "1m20s");
        assert_eq!(text(300_000), "5m0s");
    }
}
