// SPDX-License-Identifier: GPL-3.0-or-later
//! Pins: bind mounts that keep a network namespace alive without a process, as `ip netns` does.
//!
//! The folder of pins is a *private* mount, so that pins do not spread to every mount namespace
//! that shares the host's mounts. A mount namespace made later still starts with a copy of each
//! pin, and a copy keeps its namespace alive: whoever unshares one for a pod unmounts the folder
//! there first (`umount2(dir, MNT_DETACH)`).

use std::{
    ffi::OsString,
    fs, io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{NSFS_MAGIC, statfs},
};

use super::{Netns, NetnsError};

const NONE: Option<&str> = None;

/// Makes `dir` a folder for pins: creates it and makes it a private mount. Repeating it, also
/// after a crash half way through, changes nothing more.
///
/// # Errors
/// [`NetnsError::PreparePinDir`] when the folder cannot be made or CAP_SYS_ADMIN is missing.
pub fn prepare_pin_dir(dir: &Path) -> Result<(), NetnsError> {
    let failed = |source| NetnsError::PreparePinDir { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    match mount(NONE, dir, NONE, MsFlags::MS_PRIVATE, NONE) {
        Ok(()) => return Ok(()),
        // It is not a mount point yet.
        Err(Errno::EINVAL) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    mount(Some(dir), dir, NONE, MsFlags::MS_BIND, NONE)
        .and_then(|()| mount(NONE, dir, NONE, MsFlags::MS_PRIVATE, NONE))
        .map_err(|errno| failed(errno.into()))
}

/// Whether a namespace is pinned at `path`. One system call, for those who look at many.
pub fn is_pin(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

pub(super) fn pin(netns: &Netns, path: &Path) -> Result<(), NetnsError> {
    let failed = |source| NetnsError::Pin { path: path.to_owned(), source };
    match fs::File::create_new(path) {
        Ok(_) => {}
        // Left by a crash before the mount, or the pin is already there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match Netns::open(path) {
            Ok(pinned) if pinned.identity() == netns.identity() => return Ok(()),
            Ok(_) => return Err(failed(error)),
            Err(_) => {}
        },
        Err(error) => return Err(failed(error)),
    }
    let source = PathBuf::from(format!("/proc/self/fd/{}", netns.as_raw_fd()));
    mount(Some(&source), path, NONE, MsFlags::MS_BIND, NONE).map_err(|errno| {
        // Nothing is pinned, so nothing shall look as if it were.
        let _ = fs::remove_file(path);
        failed(errno.into())
    })
}

/// Removes the pin at `path`. The namespace goes once nothing else holds it. A pin that is not
/// there is success.
///
/// # Errors
/// [`NetnsError::Unpin`] when CAP_SYS_ADMIN is missing or the folder is read-only.
pub fn unpin(path: &Path) -> Result<(), NetnsError> {
    let failed = |source| NetnsError::Unpin { path: path.to_owned(), source };
    // Detached, since a process may hold the file open. In a loop, since mounts stack and the
    // file cannot be removed while one is left.
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// The names of the files in a folder of pins, sorted. Also those that lost their mount: they are
/// to be removed like any other. A folder that is not there holds none.
///
/// # Errors
/// [`NetnsError::ListPins`] when the folder cannot be read.
pub fn list_pins(dir: &Path) -> Result<Vec<OsString>, NetnsError> {
    let failed = |source| NetnsError::ListPins { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    names.sort();
    Ok(names)
}
