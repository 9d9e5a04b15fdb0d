// SPDX-License-Identifier: GPL-3.0-or-later
//! A run directory with pods, for one test. Dropping it removes all and checks that nothing is
//! left.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netlabd::node::pod::config::{BackOff, EnvVar, Etc, LogConfig, RestartPolicy, Root};
use netlabd::node::pod::log::{LogQuery, LogReader};
use netlabd::node::pod::{ContainerState, InitConfig, Runtime, RuntimeStatus};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) runtime: Runtime,
    netns: File,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("hosts")).unwrap();
        std::fs::write(dir.path().join("hosts/default"), "127.0.0.1 localhost\n").unwrap();
        let runtime = Runtime::new(dir.path().join("run"), exe()).unwrap();
        Lab { dir, runtime, netns: new_netns() }
    }

    /// A pod that runs a command once.
    pub(crate) fn config(&self, uid: &str, command: &[&str]) -> InitConfig {
        InitConfig {
            uid: uid.into(),
            namespace: "default".into(),
            name: uid.into(),
            hostname: format!("{uid}-host"),
            domain: None,
            netns: self.netns_path(),
            cgroups: self.runtime.cgroups().ensure(uid, &Default::default()).unwrap(),
            root: Root::Host { mounts: vec![] },
            etc: Etc {
                resolv_conf: "nameserver 10.43.0.10\n".into(),
                hosts_dir: self.dir.path().join("hosts"),
                hosts_file: "default".into(),
            },
            command: command.iter().map(|&part| part.to_owned()).collect(),
            args: vec![],
            env: vec![EnvVar { name: "GREETING".into(), value: "hello".into() }],
            working_dir: None,
            restart_policy: RestartPolicy::Never,
            termination_grace_period_seconds: 10,
            log: LogConfig::new(self.log_dir(uid)),
            back_off: BackOff::default(),
        }
    }

    /// A network namespace without a pin: a descriptor of this process keeps it.
    pub(crate) fn netns_path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_raw_fd()).into()
    }

    pub(crate) fn netns_inode(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        self.netns.metadata().unwrap().ino()
    }

    pub(crate) fn log_dir(&self, uid: &str) -> PathBuf {
        self.dir.path().join("log").join(uid)
    }

    /// Runs a script to its end and returns what it wrote.
    pub(crate) fn script(&self, script: &str) -> String {
        let mut config = self.config("script", &["/bin/sh", "-c", script]);
        config.log.max_bytes = 64 << 20;
        self.output(&config)
    }

    /// Runs a pod's command to its end and returns what it wrote.
    pub(crate) fn output(&self, config: &InitConfig) -> String {
        self.runtime.start(config).unwrap();
        self.wait_for(&config.uid, |status| {
            matches!(status.state, ContainerState::Terminated { .. })
        });
        self.log(&config.uid, LogQuery::default())
    }

    pub(crate) fn log(&self, uid: &str, query: LogQuery) -> String {
        let mut reader = LogReader::open(&self.log_dir(uid), query).unwrap();
        let mut text = Vec::new();
        while reader.read(&mut text).unwrap() > 0 {}
        String::from_utf8(text).unwrap()
    }

    pub(crate) fn wait_for(
        &self,
        uid: &str,
        wanted: impl Fn(&RuntimeStatus) -> bool,
    ) -> RuntimeStatus {
        let mut last = None;
        wait_until(
            || {
                last = self.runtime.status(uid).unwrap();
                last.as_ref().is_some_and(&wanted)
            },
            || format!("status of {uid}: {:?}", self.runtime.status(uid)),
        );
        last.unwrap()
    }

    pub(crate) fn wait_for_log(&self, uid: &str, wanted: &str) {
        wait_until(
            || self.log_dir(uid).exists() && self.log(uid, LogQuery::default()).contains(wanted),
            || format!("log of {uid}: {}", self.log(uid, LogQuery::default())),
        );
    }

    pub(crate) fn is_alive(&self, uid: &str) -> bool {
        self.runtime.observe(uid).unwrap().alive.is_some()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for uid in self.runtime.list().unwrap() {
            self.runtime.remove(&uid, TIMEOUT).unwrap();
        }
        self.runtime.cgroups().remove_all(Instant::now() + TIMEOUT).unwrap();
        if std::thread::panicking() {
            return;
        }
        assert_eq!(entries(&self.dir.path().join("run/pods")), [""; 0], "pods' folders");
        assert_eq!(entries(&self.dir.path().join("run/status")), [""; 0], "status files");
        assert_eq!(self.runtime.cgroups().list().unwrap(), [""; 0], "cgroups");
        let path = self.dir.path().to_str().unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(path), "mounts are left: {mounts}");
        assert_eq!(processes_of(path), [""; 0], "processes");
    }
}

pub(crate) fn exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_netlabd"))
}

pub(crate) fn wait_until(mut done: impl FnMut() -> bool, describe: impl Fn() -> String) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "timed out: {}", describe());
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Live processes that have `path` in their command line.
pub(crate) fn processes_of(path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if line.contains(path) {
            found.push(line.replace('\0', " "));
        }
    }
    found
}

fn new_netns() -> File {
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    })
    .join()
    .unwrap()
}
