// SPDX-License-Identifier: GPL-3.0-or-later
//! A lab: a node with its daemon, a machine outside, and the end of both.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::api::{self, Response};
use crate::background::Background;
use crate::command::{Output, run, run_with_input};
use crate::leftover::{self, Baseline};
use crate::machine::Machine;
use crate::wait::{TIMEOUT, poll};

pub use self::builder::LabBuilder;

mod builder;

/// Lines of the daemon's log that a failed test shows.
const LOG_LINES: usize = 150;

/// A node with its daemon, and a machine outside.
#[derive(Debug)]
pub struct Lab {
    /// The lab's own name, unique on this machine; the node's namespace has it too.
    pub id: String,
    /// The node.
    pub node: Machine,
    /// Its name in its cluster.
    pub node_name: String,
    outside: Option<Machine>,
    dir: TempDir,
    flags: Vec<String>,
    daemon: Option<Child>,
    baseline: Option<Baseline>,
}

impl Lab {
    /// A lab with its daemon, ready. Named after the test, in a word.
    #[track_caller]
    pub fn new(name: &str) -> Lab {
        Lab::builder(name).start()
    }

    /// A lab to be.
    pub fn builder(name: &str) -> LabBuilder {
        LabBuilder::new(name)
    }

    /// The machine outside.
    ///
    /// # Panics
    /// When the lab has no uplink.
    #[track_caller]
    pub fn outside(&self) -> &Machine {
        self.outside.as_ref().expect("the lab was made without an uplink")
    }

    /// A folder for the test's own files; it goes with the lab.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces the configuration by these lines, for the next start.
    pub fn configure(&self, lines: &str) {
        fs::write(self.dir.path().join("netlabd.toml"), lines)
            .expect("the configuration can be written");
    }

    /// Adds a flag of `netlabd` for the next start.
    pub fn add_flag(&mut self, flag: &str) {
        self.flags.push(flag.to_owned());
    }

    /// The daemon's run directory. Its name is the lab's, so that cgroups can be told apart.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join(&self.id)
    }

    /// The daemon's state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("netlabd.sock")
    }

    /// What the daemon logged, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("netlabd.log")
    }

    /// `netlabd` with the lab's folders and configuration in the node's network.
    pub fn netlabd(&self, words: &[&str]) -> Command {
        let mut command = self.node.command(&[]);
        command.arg(binary("netlabd"));
        command.arg("--config").arg(self.dir.path().join("netlabd.toml"));
        command.arg("--state-dir").arg(self.state_dir()).arg("--run-dir").arg(self.run_dir());
        command.arg(format!("--node-name={}", self.node_name)).args(&self.flags).args(words);
        command.current_dir("/");
        command
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// # Panics
    /// When it ends or is not ready in time; its log is shown.
    #[track_caller]
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Waits until a daemon that was started is ready.
    ///
    /// # Panics
    /// When it ends or is not ready in time; its log is shown.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        poll(&format!("the daemon is ready\n{}", self.log_tail()), || {
            self.assert_alive();
            let ready = self.socket().exists() && self.get("/readyz").status == 200;
            ready.then_some(())
        });
    }

    /// Starts the daemon and does not wait.
    #[track_caller]
    pub fn spawn(&mut self) {
        assert!(self.daemon.is_none(), "the daemon of the lab is running already");
        // What a test adds before the first start is foreign, and must stay.
        if self.baseline.is_none() {
            self.baseline = Some(Baseline::of(&self.node));
        }
        let log = File::options().append(true).create(true).open(self.log_path());
        let log = log.expect("the log can be written");
        let daemon =
            self.netlabd(&[]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.daemon = Some(daemon.expect("nsenter can be run"));
    }

    #[track_caller]
    fn assert_alive(&mut self) {
        let ended = self.daemon.as_mut().and_then(|daemon| daemon.try_wait().ok().flatten());
        if let Some(status) = ended {
            self.daemon = None;
            panic!("the daemon ended ({status}):\n{}", self.log_tail());
        }
    }

    /// The daemon's process id; `nsenter` executes it in its own place.
    ///
    /// # Panics
    /// When it was not started.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Sends a signal to the daemon.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("the daemon runs");
    }

    /// Kills the daemon; it has no time for anything.
    #[track_caller]
    pub fn kill9(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().expect("the daemon can be killed");
        daemon.wait().expect("the daemon can be waited for");
    }

    /// Stops the daemon by SIGTERM, which must succeed, and returns how long it took.
    #[track_caller]
    pub fn stop(&mut self) -> Duration {
        let since = Instant::now();
        self.signal(Signal::SIGTERM);
        let mut daemon = self.daemon.take().expect("the daemon runs");
        let status = poll("the daemon stops on SIGTERM", || {
            daemon.try_wait().expect("the daemon can be waited for")
        });
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.log_tail());
        since.elapsed()
    }

    /// Stops the daemon and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Runs `netlabctl WORDS` to its end.
    #[track_caller]
    pub fn ctl(&self, words: &[&str]) -> Output {
        run(&mut self.netlabctl(words))
    }

    /// Runs `netlabctl WORDS` with this on standard input.
    #[track_caller]
    pub fn ctl_with_input(&self, words: &[&str], input: &str) -> Output {
        run_with_input(&mut self.netlabctl(words), input.as_bytes())
    }

    /// Starts `netlabctl WORDS` beside the test.
    #[track_caller]
    pub fn ctl_spawn(&self, words: &[&str]) -> Background {
        Background::spawn(&mut self.netlabctl(words))
    }

    /// `netlabctl WORDS` with the lab's socket, free of the environment's preferences.
    #[track_caller]
    pub fn netlabctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("netlabctl"));
        command.env("NETLAB_SOCKET", self.socket()).args(words);
        command.current_dir(self.dir.path());
        command
    }

    /// Sends a request to the API.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        api::request(&self.socket(), method, path, body)
    }

    /// Reads from the API.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.api("GET", path, None)
    }

    /// A pod of namespace `default`, as the API has it.
    #[track_caller]
    pub fn pod(&self, name: &str) -> Value {
        self.get(&format!("/v1/namespaces/default/pods/{name}")).expect(200)
    }

    /// A pod's addresses, IPv4 first.
    #[track_caller]
    pub fn pod_ips(&self, name: &str) -> Vec<String> {
        let pod = self.pod(name);
        let ips = crate::observe::items(&pod["status"]["podIPs"]);
        ips.iter().filter_map(|ip| Some(ip["ip"].as_str()?.to_owned())).collect()
    }

    /// Runs a command in the node's network.
    #[track_caller]
    pub fn netns_exec(&self, words: &[&str]) -> Output {
        self.node.exec(words)
    }

    /// Runs a command on the machine outside.
    #[track_caller]
    pub fn outside_exec(&self, words: &[&str]) -> Output {
        self.outside().exec(words)
    }

    /// Path of the network namespace of a pod of namespace `default`.
    pub fn pod_netns(&self, name: &str) -> PathBuf {
        self.run_dir().join("netns").join(format!("default_{name}"))
    }

    /// Runs a command of the host in a pod's network; all else is the host's. `netlabctl exec` is
    /// what people use; this is what looks at it.
    #[track_caller]
    pub fn pod_exec(&self, name: &str, words: &[&str]) -> Output {
        run(&mut self.pod_command(name, words))
    }

    /// A command of the host in a pod's network.
    pub fn pod_command(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.pod_netns(name).display())).arg("--").args(words);
        command
    }

    /// Processes in a pod's network namespace, its PID 1 among them.
    pub fn pod_pids(&self, name: &str) -> Vec<u32> {
        crate::observe::pids_in(&self.pod_netns(name))
    }

    /// Makes a pod by `netlabctl pod run NAME WORDS`, which returns when it is ready.
    #[track_caller]
    pub fn run(&self, name: &str, words: &[&str]) -> String {
        let words: Vec<_> = ["pod", "run", name].into_iter().chain(words.iter().copied()).collect();
        self.ctl(&words).ok()
    }

    /// Waits until a pod of namespace `default` is as wanted, and returns it.
    #[track_caller]
    pub fn wait_for_pod(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = self.pod(name);
        let deadline = Instant::now() + TIMEOUT;
        while !wanted(&last) {
            assert!(Instant::now() < deadline, "pod {name} does not become as wanted: {last:#}");
            std::thread::sleep(Duration::from_millis(10));
            last = self.pod(name);
        }
        last
    }

    /// Events about a pod of namespace `default`, as `reason: message`.
    #[track_caller]
    pub fn events_of(&self, name: &str) -> Vec<String> {
        let path = format!("/v1/events?fieldSelector=involvedObject.name={name}");
        let list = self.get(&path).expect(200);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let line =
            |event: &Value| format!("{}: {}", text(&event["reason"]), text(&event["message"]));
        crate::observe::items(&list["items"]).iter().map(line).collect()
    }

    /// Everything that a teardown would have to remove and that is still there.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = leftover::elsewhere(&self.run_dir(), &self.state_dir(), &self.id);
        found.extend(leftover::processes(&self.node));
        if let Some(baseline) = &self.baseline {
            found.extend(baseline.differences(&self.node));
        }
        found
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        format!("--- log of {}\n{tail}\n---", self.id)
    }

    /// Stops the daemon however it can; the complaint, if it did not stop by itself.
    fn end_daemon(&mut self) -> Option<String> {
        let mut daemon = self.daemon.take()?;
        let _ = kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM);
        // It may be stopped by SIGSTOP.
        let _ = kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGCONT);
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            match daemon.try_wait() {
                Ok(Some(status)) if status.success() => return None,
                Ok(Some(status)) => return Some(format!("the daemon ended with {status}")),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        let _ = daemon.kill();
        let _ = daemon.wait();
        Some(format!("the daemon did not stop within {TIMEOUT:?} of SIGTERM"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("{}", self.log_tail());
        }
        let mut complaints: Vec<String> = self.end_daemon().into_iter().collect();
        let teardown = self.netlabd(&["teardown"]).stdin(Stdio::null()).output();
        match teardown {
            Ok(output) if output.status.success() => {}
            output => complaints.push(format!("teardown failed: {output:?}")),
        }
        // Looking at a broken node may panic, and a panic in a panic aborts all other tests.
        let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.leftovers()));
        complaints.extend(left.unwrap_or_else(|_| vec!["the node cannot be looked at".to_owned()]));
        if complaints.is_empty() {
            return;
        }
        let text = format!("lab {} left behind:\n  {}", self.id, complaints.join("\n  "));
        if failed {
            eprintln!("{text}");
        } else {
            panic!("{text}\n{}", self.log_tail());
        }
    }
}

/// The built program: tests are in `target/<profile>/deps`, the program is one folder up.
pub(crate) fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let mut folders = test.ancestors().skip(1).map(|folder| folder.join(name));
    let found = folders.by_ref().take(3).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "there is no `{name}` beside {}: run `cargo build --workspace` first",
            test.display()
        )
    })
}
