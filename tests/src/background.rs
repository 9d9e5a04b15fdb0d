// SPDX-License-Identifier: GPL-3.0-or-later
//! Programs that run beside a test, and end with it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::wait::{TIMEOUT, poll};

/// A running program. Its process group is killed on drop.
#[derive(Debug)]
pub struct Background {
    child: Child,
    stdin: Option<ChildStdin>,
    output: File,
}

impl Background {
    /// Starts a command; its standard output and error go to one file.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Background {
        let output = tempfile::tempfile().expect("a temporary file can be made");
        let copy = || output.try_clone().expect("a descriptor can be copied");
        let child = command
            .stdin(Stdio::piped())
            .stdout(copy())
            .stderr(copy())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to run {command:?}: {error}"));
        let mut background = Background { child, stdin: None, output };
        background.stdin = background.child.stdin.take();
        background
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    #[track_caller]
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Writes to its standard input.
    pub fn write(&mut self, input: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(input).expect("the program reads");
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What it wrote so far.
    pub fn output(&self) -> String {
        // A descriptor of its own would still share the place that the program writes at.
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.output));
        let mut file = File::open(path).expect("an open file can be opened again");
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(0)).expect("a file can be read from its start");
        file.read_to_end(&mut text).expect("a file can be read");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits until it has written this.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.output().contains(text) {
            assert!(Instant::now() < deadline, "no `{text}` within {TIMEOUT:?}: {}", self.output());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("the program runs");
    }

    /// Waits for its end, and returns the exit code and all it wrote.
    #[track_caller]
    pub fn wait(mut self) -> (i32, String) {
        use std::os::unix::process::ExitStatusExt as _;
        self.stdin = None;
        let status = poll(&format!("end of a program that wrote: {}", self.output()), || {
            self.child.try_wait().expect("a child can be waited for")
        });
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        (code, self.output())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // The group may live on after the program itself.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
