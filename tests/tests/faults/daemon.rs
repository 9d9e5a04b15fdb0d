// SPDX-License-Identifier: GPL-3.0-or-later
//! A daemon in a network namespace of its own, which can be killed and started again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::Client;

/// How long anything may take to become true, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Everything of one test.
pub(crate) struct Lab {
    /// Also the last part of the run dir's path, so that cgroups can be told apart.
    pub(crate) name: String,
    pub(crate) dir: TempDir,
    /// Keeps the network namespace.
    holder: Child,
    daemon: Option<Child>,
    finished: bool,
}

/// Waits until `look` answers, or panics with what it last complained of.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(why) if Instant::now() >= deadline => panic!("{what}: {why}"),
            Err(_) => sleep(LOOK_AGAIN),
        }
    }
}

/// The daemon's binary, built beside this test.
fn netlabd() -> PathBuf {
    if let Some(path) = std::env::var_os("NETLABD") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("netlabd");
    assert!(path.exists(), "`{}` is not built: run `cargo build`", path.display());
    path
}

impl Lab {
    /// A lab whose daemon is not started yet.
    pub(crate) fn new(name: &str) -> Lab {
        let dir = tempfile::Builder::new().prefix("nlf-").tempdir().unwrap();
        let ready = dir.path().join("ready");
        let holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "touch \"$0\" && exec sleep infinity"])
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("a network namespace", || {
            ready.exists().then_some(()).ok_or_else(|| "is this test run as root?".to_owned())
        });
        fs::write(dir.path().join("netlabd.toml"), "pool-size = 4\n").unwrap();
        let name = format!("{name}{}", holder.id());
        let lab = Lab { name, dir, holder, daemon: None, finished: false };
        for folder in [lab.run_dir(), lab.state_dir()] {
            fs::create_dir_all(folder).unwrap();
        }
        lab
    }

    /// A lab whose daemon is ready.
    pub(crate) fn started(name: &str) -> Lab {
        let mut lab = Lab::new(name);
        lab.start();
        lab
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.run_dir().join("netlabd.sock"))
    }

    /// A program in the node's network namespace.
    pub(crate) fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("--").arg(program);
        command
    }

    /// `netlabd` with this lab's folders.
    pub(crate) fn netlabd(&self, args: &[&str]) -> Command {
        self.netlabd_with(&self.state_dir(), args)
    }

    /// `netlabd` with another state folder.
    pub(crate) fn netlabd_with(&self, state_dir: &Path, args: &[&str]) -> Command {
        let mut command = self.inside(netlabd());
        command.arg("--state-dir").arg(state_dir).arg("--run-dir").arg(self.run_dir());
        command.arg("--config").arg(self.dir.path().join("netlabd.toml")).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Starts the daemon without waiting for it.
    pub(crate) fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.netlabd(&["--node-name", "n1"]);
        command.stderr(log).env("NETLABD_LOG", "info");
        self.daemon = Some(command.spawn().unwrap());
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Waits until the daemon answers that it is ready.
    pub(crate) fn wait_ready(&mut self) {
        let client = self.client();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ready = client.get("/readyz").is_ok_and(|answer| answer.status == 200);
            if ready {
                return;
            }
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "netlabd ended: {}", self.log());
            assert!(Instant::now() < deadline, "netlabd is not ready: {}", self.log());
            sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.daemon.as_ref().unwrap().id() as i32)
    }

    /// Ends the daemon as a crash would.
    pub(crate) fn kill9(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        kill(Pid::from_raw(daemon.id() as i32), Signal::SIGKILL).unwrap();
        daemon.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.kill9();
        self.start();
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Pods by `namespace/name`.
    pub(crate) fn pods(&self) -> BTreeMap<String, Value> {
        let list = self.client().get("/v1/pods").unwrap().ok();
        let items = list["items"].as_array().unwrap();
        let name = |pod: &Value| {
            let metadata = &pod["metadata"];
            format!(
                "{}/{}",
                metadata["namespace"].as_str().unwrap(),
                metadata["name"].as_str().unwrap()
            )
        };
        items.iter().map(|pod| (name(pod), pod.clone())).collect()
    }

    pub(crate) fn pod(&self, name: &str) -> Value {
        self.client().get(&format!("/v1/namespaces/default/pods/{name}")).unwrap().ok()
    }

    /// A pod that sleeps.
    pub(crate) fn pod_object(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": { "command": ["sleep", "100000"] },
        })
    }

    /// Makes pods and waits until they run.
    pub(crate) fn run_pods(&self, names: &[&str]) {
        let items: Vec<_> = names.iter().map(|name| self.pod_object(name)).collect();
        self.client().post("/v1/apply", &json!({ "items": items })).unwrap().ok();
        for name in names {
            self.wait_running(name);
        }
    }

    pub(crate) fn wait_running(&self, name: &str) -> Value {
        wait_for(&format!("pod {name} is ready"), || {
            let pod = self.pod(name);
            if is_ready(&pod) { Ok(pod) } else { Err(pod["status"].to_string()) }
        })
    }

    pub(crate) fn wait_gone(&self, name: &str) {
        let path = format!("/v1/namespaces/default/pods/{name}");
        wait_for(&format!("pod {name} is gone"), || match self.client().get(&path).unwrap() {
            answer if answer.status == 404 => Ok(()),
            answer => Err(answer.body.to_string()),
        });
    }

    /// Reasons and messages of the events about a pod.
    pub(crate) fn events(&self, name: &str) -> Vec<(String, String)> {
        let path =
            format!("/v1/namespaces/default/events?fieldSelector=involvedObject.name%3D{name}");
        let list = self.client().get(&path).unwrap().ok();
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or("").to_owned();
        let items = list["items"].as_array().unwrap();
        items.iter().map(|event| (text(event, "reason"), text(event, "message"))).collect()
    }

    pub(crate) fn wait_event(&self, name: &str, reason: &str) -> String {
        wait_for(&format!("an event {reason} of pod {name}"), || {
            let events = self.events(name);
            let found = events.iter().find(|(found, _)| found == reason);
            found.map(|(_, message)| message.clone()).ok_or_else(|| format!("{events:?}"))
        })
    }

    /// PID 1 of a pod and when it was started.
    pub(crate) fn process(&self, pod: &Value) -> Option<(i32, u64)> {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let text = fs::read_to_string(self.run_dir().join("pods").join(uid).join("pid")).ok()?;
        let (pid, start) = text.trim().split_once(' ')?;
        let process = (pid.parse().ok()?, start.parse().ok()?);
        (start_time(process.0) == Some(process.1)).then_some(process)
    }

    /// One packet from a pod, through its own namespace, to an address.
    pub(crate) fn ping(&self, from: &Value, to: &str) -> Result<(), String> {
        let Some((pid, _)) = self.process(from) else { return Err("no process".to_owned()) };
        let output = Command::new("nsenter")
            .args([&format!("--net=/proc/{pid}/ns/net"), "ping", "-c1", "-W1", to])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(()).ok_or(text)
    }

    /// Two pods reach each other, and each other's names.
    pub(crate) fn assert_connected(&self, one: &str, other: &str) {
        let (one, other) = (self.pod(one), self.pod(other));
        for (from, to) in [(&one, &other), (&other, &one)] {
            wait_for("a packet arrives", || self.ping(from, &ip_of(to)));
        }
    }

    /// Runs a program to its end.
    pub(crate) fn output(mut command: Command) -> Output {
        command.output().unwrap()
    }

    /// Ends the daemon, removes everything and looks whether anything is left.
    pub(crate) fn finish(mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            kill(Pid::from_raw(daemon.id() as i32), Signal::SIGTERM).unwrap();
            daemon.wait().unwrap();
        }
        let output = Lab::output(self.netlabd(&["teardown"]));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let left = self.left();
        assert!(left.is_empty(), "left behind: {left:?}");
        self.finished = true;
    }

    /// What exists of this lab outside of the store.
    fn left(&self) -> Vec<String> {
        let run_dir = self.run_dir();
        let run_dir = run_dir.to_str().unwrap();
        let mut left: Vec<String> = mounts(run_dir);
        left.extend(processes(run_dir).into_values().map(|text| format!("process {text}")));
        left.extend(self.cgroups().into_iter().map(|path| path.display().to_string()));
        let output = Lab::output({
            let mut command = self.inside("ip");
            command.args(["-br", "link"]);
            command
        });
        let links = String::from_utf8_lossy(&output.stdout).into_owned();
        left.extend(links.lines().filter(|link| link.starts_with("nl")).map(str::to_owned));
        if Path::new(run_dir).exists() {
            left.push(run_dir.to_owned());
        }
        left
    }

    /// This lab's folders in the mounts of cgroups.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let prefix = format!("netlab-{}-", self.name);
        let mut found = Vec::new();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        for line in mounts.lines().filter(|line| line.starts_with("cgroup")) {
            let mount = line.split(' ').nth(1).unwrap();
            for entry in fs::read_dir(mount).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if !self.finished {
            eprintln!("log of netlabd:\n{}", tail(&self.log(), 60));
            let _ = self.netlabd(&["teardown"]).output();
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["ready"] == true
}

pub(crate) fn ip_of(pod: &Value) -> String {
    pod["status"]["podIP"].as_str().unwrap().to_owned()
}

/// When a process was started; field 22 of proc_pid_stat(5).
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    // A zombie is no process any more.
    let mut fields = fields.split_ascii_whitespace();
    if fields.next() == Some("Z") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Mount points below a folder.
pub(crate) fn mounts(below: &str) -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(below)).map(str::to_owned).collect()
}

/// Processes other than daemons whose command line names `needle`, by pid.
pub(crate) fn processes(needle: &str) -> BTreeMap<i32, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(needle) && !line.contains("--run-dir") && start_time(pid).is_some() {
            found.insert(pid, line);
        }
    }
    found
}
