// SPDX-License-Identifier: GPL-3.0-or-later
//! The pod's file system, made by PID 1 in its own mount namespace.
//!
//! ```text
//! /            the node's root, read-only      or   overlay over the folder, writes to scratch
//! /etc         overlay, writes to scratch           (part of the overlay)
//! /tmp /run /var/tmp                           folders of the scratch tmpfs
//! /dev         tmpfs, with the node's null, zero, full, random, urandom, tty bound in
//! /proc /sys   fresh, masked; /sys read-only
//! ```
//!
//! Two rules keep a folder from reaching the node through symbolic links: what must come from the
//! node is taken as a detached mount *before* the pivot, and everything in the new root is made
//! *after* it, when paths can no longer lead out. No mount on which a pod can make a file honours
//! device nodes, because `CAP_MKNOD` is among the capabilities that containers have.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::config::{Etc, InitConfig, Root};
use super::sys;

/// Where the folder with the hosts file is bound.
const HOSTS_MOUNT: &str = "/run/netlab-hosts";

/// The node's devices that a pod sees.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Hidden, as moby and containerd do (`oci/defaults.go`), where the kernel has them.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Visible but not writable, from the same list.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the pod has of its own, so that nothing is carried over below it.
const OWN: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"];

const PLAIN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const DATA: MsFlags = PLAIN.union(MsFlags::MS_NOEXEC);

/// A step of making the pod's root failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what} `{path}`")]
pub(super) struct RootError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Makes the pod's root and moves this process into it. `mount_point` is an empty folder of the
/// node. The mount namespace must be this pod's own.
pub(super) fn enter(config: &InitConfig, mount_point: &Path) -> Result<(), RootError> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .at("make private the mounts below", "/")?;
    tmpfs(mount_point, PLAIN, "mode=0755")?;
    chdir(mount_point).at("enter", mount_point)?;
    for (folder, mode) in
        [("root", 0o755), ("lower", 0o755), ("upper", 0o755), ("work", 0o755), ("run", 0o755)]
    {
        make_folder(folder, mode)?;
    }
    let from_node = FromNode::take(&config.etc)?;
    match &config.root {
        Root::Host { mounts } => bind_host(mounts)?,
        Root::Dir(folder) => overlay_folder(folder)?,
    }
    let scratch = Scratch::take()?;
    chdir("root").at("enter", "root")?;
    // With the same folder twice the old root ends up over the new one, and the next umount of
    // `.` takes it away: no folder for it in the pod's root, see pivot_root(2).
    pivot_root(".", ".").at("pivot to", mount_point)?;
    umount2(".", MntFlags::MNT_DETACH).at("unmount the node's", "/")?;
    chdir("/").at("enter", "/")?;

    let make_missing = matches!(config.root, Root::Dir(_));
    scratch.attach(make_missing)?;
    mount_proc_and_sys(make_missing)?;
    from_node.attach(make_missing)?;
    write_etc(config)?;
    mask()
}

/// The node's root without what is mounted on it, then the mounts that the daemon chose, all
/// read-only; and `/etc` with a layer for the pod's writes.
fn bind_host(mounts: &[PathBuf]) -> Result<(), RootError> {
    let root = sys::open_tree(Path::new("/")).at("copy the mount of", "/")?;
    sys::move_mount(root.as_fd(), Path::new("root")).at("bind", "/")?;
    for path in mounts {
        if path == Path::new("/") || OWN.iter().any(|own| path.starts_with(own)) {
            continue;
        }
        let Ok(relative) = path.strip_prefix("/") else { continue };
        let bound = match sys::open_tree(path) {
            Ok(tree) => sys::move_mount(tree.as_fd(), &Path::new("root").join(relative)),
            Err(error) => Err(error),
        };
        match bound {
            // Unmounted or covered since the daemon looked.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(error) => return Err(error).at("bind", path),
        }
    }
    let locked = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV;
    sys::set_mount_attributes(root.as_fd(), locked, true).at("make read-only", "/")?;
    overlay("/etc", "root/etc")
}

fn overlay_folder(folder: &Path) -> Result<(), RootError> {
    let tree = sys::open_tree(folder).at("open the pod's root folder", folder)?;
    sys::move_mount(tree.as_fd(), Path::new("lower")).at("bind the pod's root folder", folder)?;
    overlay("lower", "root")
}

/// All names are relative to the scratch folder or plain, because a `:` or `,` in a path means
/// something to overlayfs.
fn overlay(lower: &str, target: &str) -> Result<(), RootError> {
    let options = format!("lowerdir={lower},upperdir=upper,workdir=work");
    mount(Some("netlab"), target, Some("overlay"), PLAIN, Some(options.as_str()))
        .at("mount an overlay at", target)
}

/// What comes from the node, detached from it.
struct FromNode {
    devices: Vec<(&'static str, OwnedFd)>,
    hosts: OwnedFd,
}

impl FromNode {
    fn take(etc: &Etc) -> Result<Self, RootError> {
        let mut devices = Vec::new();
        for name in DEVICES {
            let path = Path::new("/dev").join(name);
            devices.push((name, sys::open_tree(&path).at("copy the mount of", path)?));
        }
        let hosts = sys::open_tree(&etc.hosts_dir).at("open the hosts folder", &etc.hosts_dir)?;
        let locked = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        sys::set_mount_attributes(hosts.as_fd(), locked, false)
            .at("make read-only", &etc.hosts_dir)?;
        Ok(FromNode { devices, hosts })
    }

    fn attach(&self, make_missing: bool) -> Result<(), RootError> {
        if make_missing {
            make_folder("/dev", 0o755)?;
        }
        tmpfs("/dev", DATA, "mode=0755,size=64k")?;
        for (name, device) in &self.devices {
            let path = Path::new("/dev").join(name);
            File::create(&path).at("make", &path)?;
            sys::move_mount(device.as_fd(), &path).at("bind", path)?;
        }
        for folder in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
            make_folder(folder, 0o755)?;
        }
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let options = "newinstance,ptmxmode=0666,mode=0620,gid=5";
        mount(Some("devpts"), "/dev/pts", Some("devpts"), quiet, Some(options))
            .at("mount", "/dev/pts")?;
        // 64 MiB is what containers have.
        tmpfs("/dev/shm", DATA, "mode=1777,size=64m")?;
        match mount(Some("mqueue"), "/dev/mqueue", Some("mqueue"), DATA, None::<&str>) {
            // A kernel without POSIX message queues.
            Ok(()) | Err(Errno::ENODEV) => {}
            Err(error) => return Err(error).at("mount", "/dev/mqueue"),
        }
        for (link, target) in [
            ("/dev/ptmx", "pts/ptmx"),
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
        ] {
            symlink(target, link).at("make", link)?;
        }
        make_folder(HOSTS_MOUNT, 0o755)?;
        sys::move_mount(self.hosts.as_fd(), Path::new(HOSTS_MOUNT)).at("bind", HOSTS_MOUNT)
    }
}

/// The pod's writable folders, on one tmpfs that nothing else can reach.
struct Scratch(Vec<(&'static str, OwnedFd)>);

impl Scratch {
    fn take() -> Result<Self, RootError> {
        let mut trees = Vec::new();
        for (folder, target, mode) in
            [("tmp", "/tmp", 0o1777), ("run", "/run", 0o755), ("var-tmp", "/var/tmp", 0o1777)]
        {
            make_folder(folder, mode)?;
            trees
                .push((target, sys::open_tree(Path::new(folder)).at("copy the mount of", folder)?));
        }
        Ok(Scratch(trees))
    }

    fn attach(self, make_missing: bool) -> Result<(), RootError> {
        for (target, tree) in self.0 {
            if make_missing {
                make_folder(target, 0o755)?;
            }
            sys::move_mount(tree.as_fd(), Path::new(target)).at("bind", target)?;
        }
        // Debian's /var/lock leads here.
        make_folder("/run/lock", 0o1777)
    }
}

fn mount_proc_and_sys(make_missing: bool) -> Result<(), RootError> {
    if make_missing {
        make_folder("/proc", 0o555)?;
        make_folder("/sys", 0o555)?;
    }
    mount(Some("proc"), "/proc", Some("proc"), DATA, None::<&str>).at("mount", "/proc")?;
    let flags = DATA | MsFlags::MS_RDONLY;
    mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&str>).at("mount", "/sys")
}

/// `/etc/hosts` is a link and not a bind of the file: the daemon *renames* a new file into place,
/// and a bind would go on showing the old one.
fn write_etc(config: &InitConfig) -> Result<(), RootError> {
    make_folder("/etc", 0o755)?;
    let replace = |path: &str| match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("replace", path),
        _ => Ok(()),
    };
    for (path, text) in [
        ("/etc/resolv.conf", config.etc.resolv_conf.clone()),
        ("/etc/hostname", format!("{}\n", config.hostname)),
    ] {
        // Never written through: it may be a link into the node's /run.
        replace(path)?;
        fs::write(path, text).at("write", path)?;
    }
    replace("/etc/hosts")?;
    symlink(format!("{HOSTS_MOUNT}/{}", config.etc.hosts_file), "/etc/hosts")
        .at("make", "/etc/hosts")
}

fn mask() -> Result<(), RootError> {
    for path in MASKED {
        match fs::symlink_metadata(path) {
            Ok(kind) if kind.is_dir() => {
                tmpfs(path, DATA | MsFlags::MS_RDONLY, "mode=0755,size=0,nr_inodes=1")?;
            }
            Ok(_) => {
                let null =
                    sys::open_tree(Path::new("/dev/null")).at("copy the mount of", "/dev/null")?;
                sys::move_mount(null.as_fd(), Path::new(path)).at("mask", path)?;
            }
            Err(_) => {}
        }
    }
    for path in READ_ONLY {
        let tree = match sys::open_tree(Path::new(path)) {
            Ok(tree) => tree,
            Err(Errno::ENOENT) => continue,
            Err(error) => return Err(error).at("copy the mount of", path),
        };
        sys::set_mount_attributes(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, false)
            .at("make read-only", path)?;
        sys::move_mount(tree.as_fd(), Path::new(path)).at("make read-only", path)?;
    }
    Ok(())
}

fn tmpfs(target: impl AsRef<Path>, flags: MsFlags, options: &str) -> Result<(), RootError> {
    let target = target.as_ref();
    mount(Some("netlab"), target, Some("tmpfs"), flags, Some(options)).at("mount", target)
}

/// A folder with exactly this mode, whatever the umask is; one that is there stays as it is.
fn make_folder(path: impl AsRef<Path>, mode: u32) -> Result<(), RootError> {
    let path = path.as_ref();
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).at("make", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("make", path)
}

trait At<T> {
    fn at(self, what: &'static str, path: impl AsRef<Path>) -> Result<T, RootError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, what: &'static str, path: impl AsRef<Path>) -> Result<T, RootError> {
        self.map_err(|source| RootError {
            what,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}
