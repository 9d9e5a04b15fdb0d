// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a lab lives: a file system of its own in memory, so that one unmount takes every file,
//! every pin and every mount of it away, whatever state it is in, and nothing outlives a reboot.
//!
//! ```text
//! /run/netlab-labs/            a private mount: nothing below is copied to other mount namespaces
//!   shop/                      tmpfs
//!     state.json               what was decided; written before anything is done
//!     netns/<machine>          pins
//!     nodes/<node>/            netlabd.toml, netlabd.log, state/
//!     run/<node>/              the daemon's run directory
//! ```
//!
//! Not below `/run/netlab`: that is the run directory of the machine's own daemon, and goes as a
//! whole with it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::state::State;
use crate::failure::Failure;

/// Where labs are, unless `NETLAB_LAB_DIR` says otherwise.
const ROOT: &str = "/run/netlab-labs";

const NONE: Option<&str> = None;

/// The folder of one lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    root: PathBuf,
    /// Name of the lab.
    pub(crate) name: String,
}

/// Keeps other commands from changing the lab.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not used")] Flock<File>);

/// The folder of all labs.
pub(crate) fn root() -> PathBuf {
    std::env::var_os("NETLAB_LAB_DIR").map_or_else(|| ROOT.into(), PathBuf::from)
}

/// Labs that are there, by name. A folder that was made and not yet mounted is none.
pub(crate) fn list() -> Vec<Folder> {
    let root = root();
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let own = device(&root);
    let entries = fs::read_dir(&root).map(|entries| entries.flatten().collect::<Vec<_>>());
    let mut labs: Vec<Folder> = entries
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| device(&entry.path()) != own)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .map(|name| Folder { root: root.clone(), name })
        .collect();
    labs.sort_by(|one, other| one.name.cmp(&other.name));
    labs
}

impl Folder {
    /// The folder of a lab of this name, there or not.
    pub(crate) fn of(name: &str) -> Folder {
        Folder { root: root(), name: name.to_owned() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// Pin of a machine's namespace.
    pub(crate) fn pin(&self, machine: &str) -> PathBuf {
        self.pins().join(machine)
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.path().join("netns")
    }

    /// Configuration, log and state of a node.
    pub(crate) fn node(&self, node: &str) -> PathBuf {
        self.path().join("nodes").join(node)
    }

    /// Run directories of all nodes.
    pub(crate) fn run(&self) -> PathBuf {
        self.path().join("run")
    }

    /// Run directory of a node.
    pub(crate) fn run_dir(&self, node: &str) -> PathBuf {
        self.run().join(node)
    }

    pub(crate) fn socket(&self, node: &str) -> PathBuf {
        self.run_dir(node).join("netlabd.sock")
    }

    pub(crate) fn log(&self, node: &str) -> PathBuf {
        self.node(node).join("netlabd.log")
    }

    fn state_file(&self) -> PathBuf {
        self.path().join("state.json")
    }

    /// Whether there is a lab of this name.
    pub(crate) fn exists(&self) -> bool {
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        let own = device(&self.path());
        own.is_some() && own != device(&self.root)
    }

    /// What was decided about the lab. None when it is not there, or not that far.
    pub(crate) fn state(&self) -> Result<Option<State>, Failure> {
        let path = self.state_file();
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| failed("read", &path, &error))?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            failed("understand", &path, &error)
                .with_hint(format!("`netlabctl lab down {}` removes the lab", self.name))
        })
    }

    /// Writes down what was decided: all of it or nothing.
    pub(crate) fn save(&self, state: &State) -> Result<(), Failure> {
        let path = self.state_file();
        let new = path.with_extension("json.new");
        let text =
            serde_json::to_vec_pretty(state).map_err(|error| failed("write", &path, &error))?;
        fs::write(&new, text).map_err(|error| failed("write", &new, &error))?;
        fs::rename(&new, &path).map_err(|error| failed("write", &path, &error))
    }

    /// Makes the folder unless it is there, and locks it.
    pub(crate) fn create(&self) -> Result<Lock, Failure> {
        loop {
            {
                let _turn = self.turn()?;
                self.mount()?;
            }
            if let Some(lock) = self.lock()? {
                return Ok(lock);
            }
        }
    }

    fn mount(&self) -> Result<(), Failure> {
        netlab_link::netns::prepare_pin_dir(&self.root).map_err(super::failed)?;
        let path = self.path();
        fs::create_dir_all(&path).map_err(|error| failed("make", &path, &error))?;
        if !self.exists() {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(Some("netlab-lab"), &path, Some("tmpfs"), flags, Some("mode=0755"))
                .map_err(|error| failed("mount a file system on", &path, &error))?;
            mount(NONE, &path, NONE, MsFlags::MS_PRIVATE, NONE)
                .map_err(|error| failed("mount", &path, &error))?;
        }
        for dir in [self.pins(), self.run(), self.path().join("nodes")] {
            fs::create_dir_all(&dir).map_err(|error| failed("make", &dir, &error))?;
        }
        Ok(())
    }

    /// Waits until no other command changes the lab. None when it is gone then.
    pub(crate) fn lock(&self) -> Result<Option<Lock>, Failure> {
        let path = self.path();
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| failed("open", &path, &error))?,
        };
        let opened = file.metadata().map_err(|error| failed("look at", &path, &error))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| failed("lock", &path, &error))?;
        // Whoever held it may have removed the lab.
        let same = fs::metadata(&path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (opened.dev(), opened.ino()));
        Ok((same && self.exists()).then_some(Lock(lock)))
    }

    /// Removes the folder with all mounts and files in it, and that of all labs when it was the
    /// last one.
    pub(crate) fn remove(&self) -> Result<(), Failure> {
        let _turn = self.turn()?;
        let path = self.path();
        while self.exists() {
            umount2(&path, MntFlags::MNT_DETACH)
                .map_err(|error| failed("unmount", &path, &error))?;
        }
        accept_missing(fs::remove_dir(&path)).map_err(|error| failed("remove", &path, &error))?;
        // Fails when another lab is mounted in it, which is as it should be.
        let is_empty = fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_none());
        if is_empty {
            while umount2(&self.root, MntFlags::empty()).is_ok() {}
            fs::remove_dir(&self.root).ok();
        }
        Ok(())
    }

    /// Keeps the folder of all labs from coming and going meanwhile. The lock is on the folder
    /// that it is in, so that no file is left of it.
    fn turn(&self) -> Result<Flock<File>, Failure> {
        let parent = self.root.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(|error| failed("make", parent, &error))?;
        let file = File::open(parent).map_err(|error| failed("open", parent, &error))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| failed("lock", parent, &error))
    }
}

fn accept_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn failed(what: &str, path: &Path, error: &dyn std::error::Error) -> Failure {
    let failure = Failure::failed(format!("failed to {what} `{}`: {error}", path.display()));
    match nix::unistd::geteuid().is_root() {
        true => failure,
        false => failure.with_hint("labs are built by root: network namespaces need it"),
    }
}
