// SPDX-License-Identifier: GPL-3.0-or-later
//! The lock that says whether a pod is alive, and the pid file that says which process it is.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// True while some process holds the lock. False as well when there is no such file.
pub(super) fn is_held(path: &Path) -> io::Result<bool> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut lock = whole_file();
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Takes the lock; `None` when another process holds it or has removed the file meanwhile. The
/// lock lives as long as the returned file and all its copies in forked processes.
pub(super) fn take(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
        Ok(_) => {}
        Err(Errno::EAGAIN | Errno::EACCES) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    Ok((file.metadata()?.nlink() > 0).then_some(file))
}

/// The text of the pid file.
pub(super) fn format_pid_file(pid: i32, start_time: u64) -> String {
    format!("{pid} {start_time}\n")
}

/// Pid and start time out of the text of a pid file; `None` while it is not wholly written.
pub(super) fn parse_pid_file(text: &str) -> Option<(i32, u64)> {
    let (pid, start_time) = text.strip_suffix('\n')?.split_once(' ')?;
    Some((pid.parse().ok()?, start_time.parse().ok()?))
}

/// When a process was started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`, see
/// `proc_pid_stat(5)`.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may hold anything, `)` and blanks too.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
