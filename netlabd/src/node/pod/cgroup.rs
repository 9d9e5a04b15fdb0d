// SPDX-License-Identifier: GPL-3.0-or-later
//! The pods' cgroups: limits, and a list of all processes of a pod that no pid namespace hides.
//!
//! Versions 1 and 2 of the kernel's interface, and machines that mount both. One folder for one
//! daemon, named after its run directory, and one below it for each pod:
//! `<mount>/netlab-<name>-<checksum>/<uid>`. On version 1 folders are made only where a limit
//! needs them, and in `pids` always.
//!
//! Sources: `Documentation/admin-guide/cgroup-v1/` and `cgroup-v2.rst` of the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use netlab_link::mark;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use error::CgroupError;
use mountinfo::{Hierarchy, Version, parse_mountinfo};

mod error;
mod mountinfo;

/// The scheduler's accounting period; the kernel's and Kubernetes' default.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// The kernel refuses a smaller quota.
const MIN_CPU_QUOTA_MICROS: u64 = 1_000;
/// A folder stays busy for a moment after its last process ended.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What a pod may use; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u64>,
    /// Bytes of memory, those of the pod's private `/tmp`, `/run` and overlay included.
    pub memory_bytes: Option<u64>,
    /// Processes and threads, PID 1 included.
    pub pids: Option<u64>,
}

/// The cgroups of one daemon's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    /// The daemon's folder in each of them.
    folder: String,
}

impl Cgroups {
    /// Finds the machine's cgroup mounts. `run_dir` gives the daemon's folder its name.
    ///
    /// # Errors
    /// When `/proc/self/mountinfo` or a controller list cannot be read.
    pub fn detect(run_dir: &Path) -> Result<Self, CgroupError> {
        let path = PathBuf::from("/proc/self/mountinfo");
        let mountinfo =
            fs::read_to_string(&path).map_err(|source| CgroupError::Detect { path, source })?;
        let mut hierarchies = parse_mountinfo(&mountinfo);
        for hierarchy in &mut hierarchies {
            if hierarchy.version == Version::Two {
                let path = hierarchy.mount.join("cgroup.controllers");
                let text = fs::read_to_string(&path)
                    .map_err(|source| CgroupError::Detect { path, source })?;
                hierarchy.controllers = text.split_whitespace().map(str::to_owned).collect();
            }
        }
        Ok(Cgroups { hierarchies, folder: mark::cgroup_name(run_dir) })
    }

    /// Makes a pod's folders, sets its limits, and returns the files into which its PID 1
    /// writes `0` to join, as a process of one thread.
    ///
    /// # Errors
    /// When a controller is missing or a limit cannot be set; folders made until then stay, and
    /// [`Self::remove`] removes them.
    pub fn ensure(&self, uid: &str, limits: &Limits) -> Result<Vec<PathBuf>, CgroupError> {
        let mut joined: Vec<PathBuf> = Vec::new();
        for controller in ["cpu", "memory", "pids"] {
            let settings = |version| settings(controller, limits, version);
            let Some(hierarchy) = self.hierarchy_of(controller) else {
                // Version one or two: the question is only whether there is anything to set.
                if settings(Version::Two).is_empty() {
                    continue;
                }
                return Err(CgroupError::NoController { uid: uid.to_owned(), controller });
            };
            let settings = settings(hierarchy.version);
            if settings.is_empty() && controller != "pids" {
                continue;
            }
            let pod = self.ensure_folder(hierarchy, controller, uid)?;
            for (file, value, required) in settings {
                let path = pod.join(file);
                match fs::write(&path, &value) {
                    Err(source) if required => {
                        return Err(CgroupError::Limit { controller, value, path, source });
                    }
                    _ => {}
                }
            }
            let entrance = pod.join(hierarchy.version.entrance());
            if !joined.contains(&entrance) {
                joined.push(entrance);
            }
        }
        Ok(joined)
    }

    /// The uids that have a folder in any hierarchy, in order.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn list(&self) -> Result<Vec<String>, CgroupError> {
        let mut uids = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            let path = hierarchy.mount.join(&self.folder);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(CgroupError::List { path, source }),
            };
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    uids.extend(entry.file_name().into_string().ok());
                }
            }
        }
        Ok(uids.into_iter().collect())
    }

    /// The processes of a pod, as the node numbers them.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn processes(&self, uid: &str) -> Result<Vec<i32>, CgroupError> {
        let mut pids = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            let path = hierarchy.mount.join(&self.folder).join(uid).join("cgroup.procs");
            match fs::read_to_string(&path) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
                Err(error) if is_gone(&error) => {}
                Err(source) => return Err(CgroupError::List { path, source }),
            }
        }
        Ok(pids.into_iter().collect())
    }

    /// Kills every process of a pod. Returns at once.
    ///
    /// # Errors
    /// When a folder cannot be listed or a signal cannot be sent.
    pub fn kill(&self, uid: &str) -> Result<(), CgroupError> {
        for pid in self.processes(uid)? {
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(source) => {
                    return Err(CgroupError::Kill { uid: uid.to_owned(), pid, source });
                }
            }
        }
        Ok(())
    }

    /// Removes a pod's folders. Kills and waits until `deadline` for processes in them.
    ///
    /// # Errors
    /// When a folder cannot be removed.
    pub fn remove(&self, uid: &str, deadline: Instant) -> Result<(), CgroupError> {
        for hierarchy in &self.hierarchies {
            let path = hierarchy.mount.join(&self.folder).join(uid);
            loop {
                match fs::remove_dir(&path) {
                    Ok(()) => break,
                    Err(error) if is_gone(&error) => break,
                    Err(error)
                        if error.raw_os_error() == Some(libc::EBUSY)
                            && Instant::now() < deadline =>
                    {
                        self.kill(uid)?;
                        std::thread::sleep(LOOK_AGAIN);
                    }
                    Err(source) => return Err(CgroupError::Remove { path, source }),
                }
            }
        }
        Ok(())
    }

    /// Removes all pods' folders and the daemon's own, and so leaves nothing.
    ///
    /// # Errors
    /// When a folder cannot be listed or removed.
    pub fn remove_all(&self, deadline: Instant) -> Result<(), CgroupError> {
        for uid in self.list()? {
            self.remove(&uid, deadline)?;
        }
        for hierarchy in &self.hierarchies {
            let path = hierarchy.mount.join(&self.folder);
            match fs::remove_dir(&path) {
                Ok(()) => {}
                Err(error) if is_gone(&error) => {}
                Err(source) => return Err(CgroupError::Remove { path, source }),
            }
        }
        Ok(())
    }

    fn hierarchy_of(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.controllers.contains(controller))
    }

    fn ensure_folder(
        &self,
        hierarchy: &Hierarchy,
        controller: &str,
        uid: &str,
    ) -> Result<PathBuf, CgroupError> {
        let parent = hierarchy.mount.join(&self.folder);
        let pod = parent.join(uid);
        if hierarchy.version == Version::One {
            create_folder(&parent)?;
        } else {
            // A controller is there in a folder when all folders above hand it down.
            enable(&hierarchy.mount, controller)?;
            create_folder(&parent)?;
            enable(&parent, controller)?;
        }
        create_folder(&pod)?;
        Ok(pod)
    }
}

/// File, text, and whether the limit does not hold without it.
type Setting = (&'static str, String, bool);

fn settings(controller: &str, limits: &Limits, version: Version) -> Vec<Setting> {
    match (controller, version) {
        ("cpu", _) => limits.cpu_millis.map_or_else(Vec::new, |millis| {
            let quota = (millis.saturating_mul(CPU_PERIOD_MICROS) / 1000).max(MIN_CPU_QUOTA_MICROS);
            match version {
                Version::One => vec![
                    ("cpu.cfs_period_us", CPU_PERIOD_MICROS.to_string(), true),
                    ("cpu.cfs_quota_us", quota.to_string(), true),
                ],
                Version::Two => vec![("cpu.max", format!("{quota} {CPU_PERIOD_MICROS}"), true)],
            }
        }),
        // Swap would only make a pod slow where it should be killed. Kernels without swap
        // accounting lack the files.
        ("memory", Version::One) => limits.memory_bytes.map_or_else(Vec::new, |bytes| {
            vec![
                ("memory.limit_in_bytes", bytes.to_string(), true),
                ("memory.memsw.limit_in_bytes", bytes.to_string(), false),
            ]
        }),
        ("memory", Version::Two) => limits.memory_bytes.map_or_else(Vec::new, |bytes| {
            vec![("memory.max", bytes.to_string(), true), ("memory.swap.max", "0".into(), false)]
        }),
        ("pids", _) => {
            limits.pids.map_or_else(Vec::new, |pids| vec![("pids.max", pids.to_string(), true)])
        }
        _ => Vec::new(),
    }
}

fn create_folder(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(CgroupError::Create { path: path.to_owned(), source }),
    }
}

fn enable(folder: &Path, controller: &str) -> Result<(), CgroupError> {
    let path = folder.join("cgroup.subtree_control");
    let failed = |source| CgroupError::Enable {
        controller: controller.to_owned(),
        path: path.clone(),
        source,
    };
    let enabled = fs::read_to_string(&path).map_err(failed)?;
    if enabled.split_whitespace().any(|name| name == controller) {
        return Ok(());
    }
    fs::write(&path, format!("+{controller}")).map_err(failed)
}

/// ENODEV is what reading a file of a folder gives that is just being removed.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests;
