// SPDX-License-Identifier: GPL-3.0-or-later
//! A daemon to be measured, and what must be left of it: nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::command::{self, Done};
use crate::process;
use crate::sandbox::{RUN_DIR, cgroup_folders, state_dir};

/// How long the daemon may take to be ready, and pods to be gone, before the run is given up.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where a daemon says that it is ready.
const READY: &str = "/run/ready";

/// The command of every pod.
pub(crate) const COMMAND: &[&str] = &["--", "sleep", "100000"];

/// What every pod's command is called by the kernel.
const COMMAND_NAME: &str = "sleep";

/// A running daemon.
pub(crate) struct Cluster {
    bin_dir: PathBuf,
    state: PathBuf,
    config: Option<PathBuf>,
    daemon: Child,
    /// Where the daemon says that it is ready, as it would to systemd (sd_notify(3)).
    ready: UnixDatagram,
}

impl Cluster {
    /// Starts a daemon without any state.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) fn start(bin_dir: &Path) -> anyhow::Result<Cluster> {
        Cluster::start_with(bin_dir, None)
    }

    /// The same with a configuration.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) fn start_with(bin_dir: &Path, config: Option<&Path>) -> anyhow::Result<Cluster> {
        eprintln!("netlabd from {}", bin_dir.display());
        let state = state_dir()?;
        // A cluster before this one in the same run left its socket.
        let _ = fs::remove_file(READY);
        let ready =
            UnixDatagram::bind(READY).with_context(|| format!("failed to bind `{READY}`"))?;
        ready.set_read_timeout(Some(TIMEOUT))?;
        let config = config.map(Path::to_owned);
        let daemon = spawn(bin_dir, &state, config.as_deref())?;
        let cluster = Cluster { bin_dir: bin_dir.to_owned(), state, config, daemon, ready };
        if let Err(error) = cluster.wait_until_ready() {
            return Err(error.context(format!("netlabd's last lines:\n{}", cluster.last_lines())));
        }
        Ok(cluster)
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> anyhow::Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.daemon.id())?))
    }

    /// Runs `netlabctl`.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn ctl(&self, args: &[&str]) -> anyhow::Result<Done> {
        let mut command = Command::new(self.bin_dir.join("netlabctl"));
        command.args(["--socket", &format!("{RUN_DIR}/netlabd.sock")]).args(args);
        command::run(&mut command)
    }

    /// Ends the daemon by a signal and starts another. Returns the time from the start of the new
    /// process until it is ready.
    ///
    /// # Errors
    /// When it does not end, or does not get ready.
    pub(crate) fn restart(&mut self, signal: Signal) -> anyhow::Result<Duration> {
        self.end(signal)?;
        let began = Instant::now();
        self.daemon = spawn(&self.bin_dir, &self.state, self.config.as_deref())?;
        self.wait_until_ready()?;
        Ok(began.elapsed())
    }

    /// The same with a kernel that has no rules of netlab's.
    ///
    /// # Errors
    /// When the daemon does not end, or does not get ready.
    pub(crate) fn restart_from_nothing(&mut self, signal: Signal) -> anyhow::Result<Duration> {
        self.end(signal)?;
        for family in ["ip", "ip6"] {
            command::run(Command::new("nft").args(["delete", "table", family, "netlab"]))?;
        }
        let began = Instant::now();
        self.daemon = spawn(&self.bin_dir, &self.state, self.config.as_deref())?;
        self.wait_until_ready()?;
        Ok(began.elapsed())
    }

    fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        kill(self.pid()?, signal).context("failed to end netlabd")?;
        let began = Instant::now();
        while self.daemon.try_wait().context("failed to wait for netlabd")?.is_none() {
            ensure!(began.elapsed() < TIMEOUT, "netlabd does not end after {signal}");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let mut said = [0; 4096];
        loop {
            let length = self.ready.recv(&mut said).context("netlabd does not get ready")?;
            if String::from_utf8_lossy(&said[..length]).lines().any(|line| line == "READY=1") {
                return Ok(());
            }
        }
    }

    /// How many pods are ready.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub(crate) fn count_ready(&self) -> anyhow::Result<usize> {
        let list: Value = serde_json::from_str(&self.ctl(&["get", "pods", "-o", "json"])?.stdout)?;
        let is_ready = |pod: &&Value| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|it| it["type"] == "Ready" && it["status"] == "True")
        };
        Ok(list["items"].as_array().into_iter().flatten().filter(is_ready).count())
    }

    /// A pod's first address.
    ///
    /// # Errors
    /// When it has none.
    pub(crate) fn address(&self, pod: &str) -> anyhow::Result<IpAddr> {
        let text = self.ctl(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"])?.stdout;
        text.trim().parse().with_context(|| format!("pod `{pod}` has no address: `{text}`"))
    }

    /// PID 1 of every pod.
    ///
    /// # Errors
    /// When the daemon's folder of pods cannot be read.
    pub(crate) fn inits(&self) -> anyhow::Result<BTreeSet<Pid>> {
        let mut pids = BTreeSet::new();
        for pod in fs::read_dir(Path::new(RUN_DIR).join("pods"))? {
            let path = pod?.path().join("pid");
            let text = fs::read_to_string(&path)
                .with_context(|| format!("failed to read `{}`", path.display()))?;
            let pid = text.split_whitespace().next().unwrap_or_default();
            pids.insert(Pid::from_raw(pid.parse().context("BUG: a pid file without a pid")?));
        }
        Ok(pids)
    }

    /// What there is of any pod: objects, processes, routes, named links, folders. Links without
    /// a name are the pool's.
    ///
    /// # Errors
    /// When it cannot be looked for.
    pub(crate) fn remains(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut note = |what: &str, count: usize| {
            if count > 0 {
                found.push(format!("{count} {what}"));
            }
        };
        note("objects", self.ctl(&["get", "pods", "-o", "name"])?.stdout.lines().count());
        note("processes", process::named(COMMAND_NAME).len());
        let links = command::run(Command::new("ip").args(["-o", "link"]))?.stdout;
        note("named links", links.lines().filter(|line| line.contains("alias ")).count());
        let routes = command::run(Command::new("ip").args(["-o", "route"]))?.stdout;
        let to_pod = |line: &&str| {
            let link = line.split(' ').skip_while(|word| *word != "dev").nth(1);
            link.is_some_and(|link| netlab_tests::observe::pod_link_id(link).is_some())
        };
        note("routes", routes.lines().filter(to_pod).count());
        let pods = Path::new(RUN_DIR).join("pods");
        note("folders", fs::read_dir(pods).into_iter().flatten().count());
        let cgroups = cgroup_folders();
        let children = cgroups.iter().flat_map(|it| fs::read_dir(it).into_iter().flatten());
        note("cgroups", children.flatten().filter(|it| it.path().is_dir()).count());
        Ok(found)
    }

    /// Waits until nothing is left of any pod. Returns how long that took.
    ///
    /// # Errors
    /// When something stays.
    pub(crate) fn wait_until_gone(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        loop {
            // Looking takes time, which is not the daemon's.
            let looked = began.elapsed();
            let remains = self.remains()?;
            if remains.is_empty() {
                return Ok(looked);
            }
            ensure!(looked < TIMEOUT, "pods are not gone: {}", remains.join(", "));
        }
    }

    /// The end of the daemon's log.
    pub(crate) fn last_lines(&self) -> String {
        let text = fs::read_to_string(log_file(&self.state)).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Ends the daemon and removes all of it. Returns what is left.
    ///
    /// # Errors
    /// When `netlabd teardown` fails.
    pub(crate) fn stop(mut self) -> anyhow::Result<Vec<String>> {
        self.end(Signal::SIGTERM)?;
        command::run(daemon(&self.bin_dir, &self.state, self.config.as_deref()).arg("teardown"))?;
        let mut left = Vec::new();
        let links = command::run(Command::new("ip").args(["-o", "link"]))?.stdout;
        left.extend(links.lines().filter(|line| line.contains(": nl")).map(str::to_owned));
        let tables = command::run(Command::new("nft").args(["list", "tables"]))?.stdout;
        left.extend(tables.lines().filter(|line| line.contains("netlab")).map(str::to_owned));
        left.extend(cgroup_folders().iter().map(|path| path.display().to_string()));
        for name in [COMMAND_NAME, "netlabd"] {
            left.extend(process::named(name).iter().map(|pid| format!("`{name}` {pid}")));
        }
        for dir in [Path::new(RUN_DIR), &self.state.join("state")] {
            if dir.exists() {
                left.push(dir.display().to_string());
            }
        }
        Ok(left)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // After `stop` it is gone already; its pods go with the sandbox.
        let _ = self.daemon.kill();
    }
}

fn spawn(bin_dir: &Path, state: &Path, config: Option<&Path>) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log_file(state))?;
    let mut command = daemon(bin_dir, state, config);
    command.env("NOTIFY_SOCKET", READY).stderr(log);
    match command.spawn() {
        Ok(child) => Ok(child),
        Err(error) => bail!("failed to start {command:?}: {error}"),
    }
}

fn daemon(bin_dir: &Path, state: &Path, config: Option<&Path>) -> Command {
    let mut command = Command::new(bin_dir.join("netlabd"));
    command.args(["--node-name", "bench", "--run-dir", RUN_DIR]);
    command.arg("--state-dir").arg(state.join("state"));
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    // The defaults of netlabd, not the ones of whoever measures.
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH"));
    command
}

fn log_file(state: &Path) -> PathBuf {
    state.join("netlabd.log")
}
