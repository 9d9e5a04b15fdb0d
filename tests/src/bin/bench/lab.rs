// SPDX-License-Identifier: GPL-3.0-or-later
//! A lab to be measured, and what must be left of it: nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::unistd::Pid;
use serde_json::Value;

use crate::command::{self, Done};
use crate::process;
use crate::sandbox::cgroup_folders;

/// The folder of labs: on a fresh `/run`, as on any machine.
const LABS: &str = "/run/netlab-bench-labs";

/// Names of nodes start with it, so that the sandbox knows their cgroups.
const NODE: &str = "netlab-bench-";

/// How long `lab up` may take: a bound for a benchmark that is stuck, not for a lab.
const TIMEOUT: &str = "400s";

/// A lab that is up, or not: what `netlabctl lab` makes and removes.
pub(crate) struct Lab {
    bin_dir: PathBuf,
}

/// The daemon of a node.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) node: String,
    pub(crate) pid: Pid,
}

/// A lab file: nodes, and pods that are spread over them.
pub(crate) fn file(nodes: u16, pods: u16) -> String {
    let mut text = String::from("[lab]\nname = \"bench\"\n");
    for number in 1..=nodes {
        let _ = writeln!(text, "[[node]]\nname = \"{NODE}{number}\"");
    }
    if pods > 0 {
        let _ = writeln!(text, "[[pod]]\nname = \"web\"\nreplicas = {pods}");
        let _ = writeln!(text, "command = [\"sleep\", \"100000\"]");
    }
    text
}

impl Lab {
    /// No lab yet.
    pub(crate) fn new(bin_dir: &Path) -> Lab {
        Lab { bin_dir: bin_dir.to_owned() }
    }

    /// Runs `netlabctl`, which knows no lab but this.
    ///
    /// # Errors
    /// When it fails.
    pub(crate) fn ctl(&self, args: &[&str]) -> anyhow::Result<Done> {
        command::run(&mut self.command(args))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.bin_dir.join("netlabctl"));
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH"));
        command.env("NETLAB_LAB_DIR", LABS).args(args);
        command
    }

    /// `lab up` of a file; the time until it returns.
    ///
    /// # Errors
    /// When it fails, with the last lines of a daemon that is there.
    pub(crate) fn up(&self, file: &str) -> anyhow::Result<Duration> {
        let args = ["lab", "up", "--timeout", TIMEOUT, "-"];
        Ok(command::run_with(&mut self.command(&args), file)?.took)
    }

    /// `lab down`; the time until it returns.
    ///
    /// # Errors
    /// When it fails, or something is left.
    pub(crate) fn down(&self) -> anyhow::Result<Duration> {
        let took = self.ctl(&["lab", "down", "bench"])?.took;
        let mut left: Vec<String> =
            cgroup_folders().iter().map(|path| path.display().to_string()).collect();
        for name in ["netlabd", "netlab-pod", "sleep"] {
            // One that has ended and was not waited for yet has no memory, and no arguments.
            let arguments =
                |pid: &Pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let alive = process::named(name).into_iter().filter(|pid| !arguments(pid).is_empty());
            left.extend(alive.map(|pid| format!("`{name}` {pid}")));
        }
        left.extend(Path::new(LABS).exists().then(|| LABS.to_owned()));
        ensure!(left.is_empty(), "the lab left something behind: {}", left.join(", "));
        Ok(took)
    }

    /// Removes what is there after a failure. A limit of the kernel's is put back by it too.
    pub(crate) fn clean(&self) {
        if let Err(error) = self.ctl(&["lab", "down", "--ignore-not-found", "bench"]) {
            eprintln!("bench: {error:#}");
        }
    }

    /// How many pods are ready.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) fn count_ready(&self) -> anyhow::Result<usize> {
        let list: Value = serde_json::from_str(&self.ctl(&["get", "pods", "-o", "json"])?.stdout)?;
        let pods = list["items"].as_array().into_iter().flatten();
        let is_ready = |it: &Value| it["type"] == "Ready" && it["status"] == "True";
        let conditions = |pod: &Value| pod["status"]["conditions"].as_array().cloned();
        Ok(pods.filter(|pod| conditions(pod).into_iter().flatten().any(|it| is_ready(&it))).count())
    }

    /// The server's daemon, that of the first node.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn server(&self) -> anyhow::Result<Daemon> {
        let first = format!("{NODE}1");
        let server = daemons()?.into_iter().find(|daemon| daemon.node == first);
        server.context("the server does not run")
    }

    /// The daemons of all other nodes.
    ///
    /// # Errors
    /// When a process cannot be looked at.
    pub(crate) fn members(&self) -> anyhow::Result<Vec<Daemon>> {
        let first = format!("{NODE}1");
        Ok(daemons()?.into_iter().filter(|daemon| daemon.node != first).collect())
    }
}

/// All daemons, by the configuration that each was started with.
fn daemons() -> anyhow::Result<Vec<Daemon>> {
    let mut found = Vec::new();
    for pid in process::named("netlabd") {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .with_context(|| format!("failed to read the arguments of process {pid}"))?;
        let config = words.split('\0').find(|word| word.ends_with("/netlabd.toml"));
        let folder = config.map(Path::new).and_then(Path::parent).and_then(Path::file_name);
        if let Some(node) = folder {
            found.push(Daemon { node: node.to_string_lossy().into_owned(), pid });
        }
    }
    Ok(found)
}
