// SPDX-License-Identifier: GPL-3.0-or-later
//! A lab as users build it: a file, and `netlabctl lab up`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::background::Background;
use crate::command::{Output, run};
use crate::lab::binary;
use crate::machine::unique;
use crate::observe;

/// A file of a lab, in a folder of labs of its own. What is up of it is removed on drop, and
/// nothing may be left.
#[derive(Debug)]
pub struct VirtualLab {
    /// The lab's name, unique on this machine.
    pub name: String,
    dir: TempDir,
}

impl VirtualLab {
    /// A lab named after the test, with this file; nothing is up yet.
    #[track_caller]
    pub fn new(name: &str, file: &str) -> VirtualLab {
        let dir = tempfile::Builder::new().prefix("nlt-").tempdir().expect("a folder can be made");
        let lab = VirtualLab { name: unique(name), dir };
        lab.write(file);
        lab
    }

    /// The lab of `examples/NAME.toml`, as it is.
    #[track_caller]
    pub fn example(name: &str) -> VirtualLab {
        let dir = tempfile::Builder::new().prefix("nlt-").tempdir().expect("a folder can be made");
        let lab = VirtualLab { name: name.to_owned(), dir };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let example = root.join("examples").join(name).with_extension("toml");
        fs::copy(example, lab.file()).expect("the example can be read");
        lab
    }

    /// Writes the lab's file anew: `[lab]` with its name comes first.
    #[track_caller]
    pub fn write(&self, file: &str) {
        let head = format!("[lab]\nname = \"{}\"\n", self.name);
        let text = match file.strip_prefix("[lab]\n") {
            Some(rest) => format!("{head}{rest}"),
            None => format!("{head}{file}"),
        };
        fs::write(self.file(), text).expect("the file can be written");
    }

    /// Path of the file.
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("lab.toml")
    }

    /// A folder for the test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder that the lab has while it is up.
    pub fn folder(&self) -> PathBuf {
        self.labs().join(&self.name)
    }

    /// The folder of all labs.
    pub fn labs(&self) -> PathBuf {
        self.dir.path().join("labs")
    }

    /// `netlabctl WORDS`, which knows no other lab.
    pub fn netlabctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("netlabctl"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("NETLAB_") {
                command.env_remove(name);
            }
        }
        command.env("NETLAB_LAB_DIR", self.labs()).args(words).current_dir(self.dir.path());
        command
    }

    /// Runs `netlabctl WORDS` to its end, with `--lab`.
    #[track_caller]
    pub fn ctl(&self, words: &[&str]) -> Output {
        let words: Vec<&str> =
            ["--lab", &self.name].into_iter().chain(words.iter().copied()).collect();
        run(&mut self.netlabctl(&words))
    }

    /// `lab up` of the file.
    #[track_caller]
    pub fn up(&self) -> Output {
        run(&mut self.netlabctl(&["lab", "up", "lab.toml"]))
    }

    /// Starts `lab up` of the file.
    #[track_caller]
    pub fn spawn_up(&self) -> Background {
        Background::spawn(&mut self.netlabctl(&["lab", "up", "lab.toml"]))
    }

    /// `lab down`; nothing may be left of it.
    #[track_caller]
    pub fn down(&self) {
        self.remove(&["lab", "down", &self.name]);
    }

    /// `lab down` of what may not be there; nothing may be left of it.
    #[track_caller]
    pub fn clean(&self) {
        self.remove(&["lab", "down", "--ignore-not-found", &self.name]);
    }

    #[track_caller]
    fn remove(&self, words: &[&str]) {
        let pids = self.pids();
        let cgroups = self.cgroup_names();
        run(&mut self.netlabctl(words)).ok();
        let left = self.left(&pids, &cgroups);
        assert!(left.is_empty(), "lab {} left behind:\n  {}", self.name, left.join("\n  "));
    }

    /// Pin of a machine's network namespace.
    pub fn pin(&self, machine: &str) -> PathBuf {
        self.folder().join("netns").join(machine)
    }

    /// Pin of the network namespace of a pod of namespace `default`.
    pub fn pod_pin(&self, node: &str, pod: &str) -> PathBuf {
        self.folder().join("run").join(node).join("netns").join(format!("default_{pod}"))
    }

    /// Runs a command of the host in a network namespace.
    #[track_caller]
    pub fn inside(&self, pin: &Path, words: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", pin.display())).arg("--").args(words);
        run(&mut command)
    }

    /// Process id of a node's daemon.
    #[track_caller]
    pub fn daemon(&self, node: &str) -> u32 {
        let config = self.folder().join("nodes").join(node).join("netlabd.toml");
        let pids = observe::pids_naming(&config.display().to_string());
        assert_eq!(pids.len(), 1, "daemons of {node}: {pids:?}");
        pids[0]
    }

    /// `get WHAT -o json`.
    #[track_caller]
    pub fn get(&self, what: &[&str]) -> Value {
        let words: Vec<&str> = ["get"].into_iter().chain(what.iter().copied()).collect();
        self.ctl(&[&words[..], &["-o", "json"]].concat()).json()
    }

    /// Processes in the namespaces of machines and pods.
    pub fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut folders = vec![self.folder().join("netns")];
        if let Ok(nodes) = fs::read_dir(self.folder().join("run")) {
            folders.extend(nodes.flatten().map(|node| node.path().join("pins")));
        }
        for folder in folders {
            for pin in fs::read_dir(folder).into_iter().flatten().flatten() {
                pids.extend(observe::pids_in(&pin.path()));
            }
        }
        pids
    }

    fn cgroup_names(&self) -> Vec<String> {
        let nodes = fs::read_dir(self.folder().join("run")).into_iter().flatten().flatten();
        let name = |path: PathBuf| {
            let node = path.file_name().expect("a node has a name").to_string_lossy().into_owned();
            format!("netlab-{node}-{:08x}", crc32(path.display().to_string().as_bytes()))
        };
        nodes.map(|node| name(node.path())).collect()
    }

    /// Everything that is there after a `lab down`.
    fn left(&self, pids: &[u32], cgroups: &[String]) -> Vec<String> {
        let mut left = Vec::new();
        let is_alive = |pid: &&u32| Path::new(&format!("/proc/{pid}/ns/net")).exists();
        // A process id may be another's by now; it names the lab's folder if it is one of ours.
        let labs = self.labs().display().to_string();
        left.extend(
            pids.iter()
                .filter(is_alive)
                .map(|pid| observe::describe(*pid))
                .filter(|text| text.contains("netlab"))
                .map(|text| format!("process {text}")),
        );
        let named = observe::pids_naming(&labs);
        left.extend(named.iter().map(|pid| format!("process {}", observe::describe(*pid))));
        left.extend(observe::mounts(&labs).into_iter().map(|line| format!("mount {line}")));
        for name in cgroups {
            left.extend(observe::cgroups(name).into_iter().map(|path| format!("cgroup {path}")));
        }
        left.extend(self.labs().exists().then(|| format!("folder {labs}")));
        left
    }
}

impl Drop for VirtualLab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let nodes = fs::read_dir(self.folder().join("nodes")).into_iter().flatten().flatten();
            for node in nodes {
                let log = fs::read_to_string(node.path().join("netlabd.log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(40)..].join("\n");
                eprintln!("--- log of {}\n{tail}\n---", node.path().display());
            }
        }
        let pids = self.pids();
        let cgroups = self.cgroup_names();
        let down = self
            .netlabctl(&["lab", "down", "--ignore-not-found", &self.name])
            .output()
            .expect("netlabctl can be run");
        let left = self.left(&pids, &cgroups);
        if !std::thread::panicking() {
            assert!(down.status.success(), "{down:?}");
            assert!(left.is_empty(), "lab {} left behind:\n  {}", self.name, left.join("\n  "));
        }
    }
}

/// The checksum in names of cgroups (CRC-32 of IEEE 802.3), computed by other means than netlab's.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
