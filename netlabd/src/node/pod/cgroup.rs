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

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    version: Version,
    controllers: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The file a single-threaded process writes `0` into to join. Moving a thread group takes a
    /// lock that waits for an RCU grace period, 10 to 20 ms on each start of a pod; a thread that
    /// moves itself does not (`cgroup_procs_write_start` of the kernel). Version 2 moves single
    /// threads in threaded cgroups only.
    fn entrance(self) -> &'static str {
        match self {
            Version::One => "tasks",
            Version::Two => "cgroup.procs",
        }
    }
}

/// What can go wrong with cgroups.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The mounts cannot be listed.
    #[error("failed to read `{path}`: is /proc mounted?")]
    Detect {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A limit needs a controller that this machine does not have.
    #[error(
        "no cgroup controller `{controller}` for the limit of pod `{uid}`: mount it (cgroup v2: \
         enable it in cgroup.subtree_control of the root) or remove the limit"
    )]
    NoController {
        /// The pod.
        uid: String,
        /// `cpu`, `memory` or `pids`.
        controller: &'static str,
    },
    /// A controller cannot be handed down (version 2).
    #[error(
        "failed to enable the cgroup controller `{controller}` in `{path}`: a folder with \
         processes in it cannot hand controllers down"
    )]
    Enable {
        /// The controller.
        controller: String,
        /// The `cgroup.subtree_control` file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be made.
    #[error("failed to make the cgroup `{path}`: is the cgroup file system read-only?")]
    Create {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A limit cannot be set.
    #[error(
        "failed to set the `{controller}` limit `{value}` in `{path}`: is it within the limits of \
         the folders above?"
    )]
    Limit {
        /// The controller.
        controller: &'static str,
        /// What was written.
        value: String,
        /// The file it was written to.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be listed.
    #[error("failed to list the cgroup `{path}`")]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder cannot be removed.
    #[error("failed to remove the cgroup `{path}`: does it still hold processes?")]
    Remove {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A process cannot be killed.
    #[error("failed to kill process {pid} of pod `{uid}`")]
    Kill {
        /// The pod.
        uid: String,
        /// The process.
        pid: i32,
        /// Why.
        #[source]
        source: Errno,
    },
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

/// The cgroup mounts in a `/proc/<pid>/mountinfo`, see `proc_pid_mountinfo(5)`. The controllers
/// of version 1 stand in the super block's options.
fn parse_mountinfo(text: &str) -> Vec<Hierarchy> {
    /// What the kernel may put beside the controllers.
    const NO_CONTROLLERS: [&str; 4] = ["rw", "ro", "xattr", "clone_children"];
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let Some(path) = mount.split(' ').nth(4) else { continue };
        let mut source = source.split(' ');
        let version = match source.next() {
            Some("cgroup") => Version::One,
            Some("cgroup2") => Version::Two,
            _ => continue,
        };
        let controllers = match version {
            Version::One => source
                .nth(1)
                .unwrap_or_default()
                .split(',')
                .filter(|option| !NO_CONTROLLERS.contains(option) && !option.contains('='))
                .map(str::to_owned)
                .collect(),
            Version::Two => BTreeSet::new(),
        };
        let mount = PathBuf::from(unescape(path));
        if hierarchies.iter().any(|known| known.mount == mount) {
            continue;
        }
        hierarchies.push(Hierarchy { mount, version, controllers });
    }
    hierarchies
}

/// Undoes the octal escapes of mountinfo.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn both_versions_are_found_in_mountinfo() {
        let found: Vec<_> = parse_mountinfo(HYBRID)
            .into_iter()
            .map(|h| (h.mount, h.version, h.controllers.into_iter().collect::<Vec<_>>()))
            .collect();
        let at = |name: &str| PathBuf::from(format!("/sys/fs/cgroup/{name}"));
        assert_eq!(
            found,
            [
                (at("cpu,cpuacct"), Version::One, vec!["cpu".to_owned(), "cpuacct".to_owned()]),
                (at("pids"), Version::One, vec!["pids".to_owned()]),
                (at("systemd"), Version::One, vec![]),
                (at("unified"), Version::Two, vec![]),
            ]
        );
    }

    #[test]
    fn a_limit_without_its_controller_is_an_error_that_names_it() {
        let none = Cgroups { hierarchies: vec![], folder: "netlab-x".into() };
        assert_eq!(none.ensure("u", &Limits::default()).unwrap(), Vec::<PathBuf>::new());
        let error = none
            .ensure("u", &Limits { memory_bytes: Some(1 << 20), ..Limits::default() })
            .unwrap_err();
        assert!(error.to_string().starts_with("no cgroup controller `memory`"), "{error}");
    }

    #[test]
    fn version_two_is_written_as_the_kernel_documents_it() {
        let limits = Limits { cpu_millis: Some(250), memory_bytes: Some(64 << 20), pids: Some(32) };
        let text = |controller| settings(controller, &limits, Version::Two);
        assert_eq!(text("cpu"), [("cpu.max", "25000 100000".to_owned(), true)]);
        assert_eq!(text("memory")[0], ("memory.max", "67108864".to_owned(), true));
        assert_eq!(text("pids"), [("pids.max", "32".to_owned(), true)]);
    }

    #[test]
    fn version_two_hands_controllers_down_folder_by_folder() {
        let mount = tempfile::tempdir().unwrap();
        let parent = mount.path().join("netlab-x");
        fs::create_dir(&parent).unwrap();
        for folder in [mount.path(), &parent] {
            fs::write(folder.join("cgroup.subtree_control"), "cpu\n").unwrap();
        }
        let hierarchy = Hierarchy {
            mount: mount.path().to_owned(),
            version: Version::Two,
            controllers: ["cpu", "pids"].map(str::to_owned).into(),
        };
        let cgroups = Cgroups { hierarchies: vec![hierarchy], folder: "netlab-x".into() };
        let limits = Limits { cpu_millis: Some(1500), pids: Some(9), ..Limits::default() };
        let pod = parent.join("u");
        assert_eq!(cgroups.ensure("u", &limits).unwrap(), [pod.join("cgroup.procs")]);
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(text(&mount.path().join("cgroup.subtree_control")), "+pids");
        assert_eq!(text(&parent.join("cgroup.subtree_control")), "+pids");
        assert_eq!(text(&pod.join("cpu.max")), "150000 100000");
        assert_eq!(text(&pod.join("pids.max")), "9");
        assert_eq!(cgroups.list().unwrap(), ["u"]);
        let memory = Limits { memory_bytes: Some(1), ..Limits::default() };
        let error = cgroups.ensure("u", &memory).unwrap_err();
        assert!(matches!(error, CgroupError::NoController { controller: "memory", .. }));
    }

    #[test]
    fn run_directories_that_end_alike_get_folders_of_their_own() {
        let name = |path| mark::cgroup_name(Path::new(path));
        assert!(name("/run/netlab").starts_with("netlab-netlab-"));
        assert_ne!(name("/tmp/a/run"), name("/tmp/b/run"));
    }
}
