// SPDX-License-Identifier: GPL-3.0-or-later
//! A network namespace of a test's own, without a name on the machine.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// Lives as long as this value, or as the test's process.
pub(crate) struct Namespace {
    /// A process that does nothing but stay in the namespace. It waits on a pipe from here and so
    /// ends with the test, however the test ends.
    holder: Child,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let holder = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("tests need root");
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        });
        let namespace = Self { holder: holder.join().unwrap() };
        namespace.sh("ip link set lo up");
        namespace
    }

    /// A process in the namespace, for `ip link set … netns PID`.
    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Runs `work` on a thread in the namespace.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a shell script in the namespace, which must succeed; returns what it prints.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.sh_with(script, "")
    }

    /// The same, with standard input.
    pub(crate) fn sh_with(&self, script: &str, input: &str) -> String {
        let Output { status, stdout, stderr } = self.within(|| {
            let mut shell = Command::new("sh")
                .args(["-euc", script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            shell.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            shell.wait_with_output().unwrap()
        });
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{script}\n{input}\n{stderr}");
        String::from_utf8(stdout).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
