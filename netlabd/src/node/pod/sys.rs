// SPDX-License-Identifier: GPL-3.0-or-later
//! System calls that neither std nor nix wraps, each as one safe function. All of this module's
//! unsafe code is here and says nothing about pods.
#![allow(unsafe_code, reason = "raw system calls without a safe wrapper in nix")]

use std::ffi::{CString, OsStr};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::{ForkResult, Pid};

/// Forks. Only for the single-threaded `pod-init` and `pod-exec`: with a second thread a lock of
/// the allocator could stay taken forever in the child.
pub(super) fn fork() -> Result<ForkResult, Errno> {
    // SAFETY: the callers are single-threaded programs, so the child may go on as the parent.
    unsafe { nix::unistd::fork() }
}

/// Closes every descriptor but the standard streams: whatever a careless library or parent left
/// open would stay open as long as the pod. Only for the first line of a program.
pub(super) fn close_inherited() {
    // SAFETY: no descriptor of this program has an owner yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

/// A file descriptor for the process `pid`; `pidfd_open(2)`. It also opens zombies.
pub(super) fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    // SAFETY: no pointers; a successful call returns a new descriptor that is ours alone.
    unsafe { new_fd(libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0)) }
}

/// Sends a signal to the process behind a pidfd, never to one that took over its number.
pub(super) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    // SAFETY: a null siginfo means the one that kill(2) would make.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as libc::c_int,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// A copy of descriptor `fd` of the process behind a pidfd; `pidfd_getfd(2)`. The copy is
/// close-on-exec.
pub(super) fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: no pointers; a successful call returns a new descriptor that is ours alone.
    unsafe { new_fd(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0)) }
}

/// A detached copy of the mount that `path` is on, rooted at `path` and without the mounts below
/// it; `open_tree(2)`.
pub(super) fn open_tree(path: &Path) -> Result<OwnedFd, Errno> {
    let path = c_string(path.as_os_str())?;
    // SAFETY: the path is a C string that outlives the call.
    unsafe {
        new_fd(libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC,
        ))
    }
}

/// Attaches a detached mount at `target`; `move_mount(2)`.
pub(super) fn move_mount(mount: BorrowedFd<'_>, target: &Path) -> Result<(), Errno> {
    /// `MOVE_MOUNT_F_EMPTY_PATH` of linux/mount.h.
    const FROM_EMPTY_PATH: libc::c_uint = 4;
    let target = c_string(target.as_os_str())?;
    // SAFETY: both paths are C strings that outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            FROM_EMPTY_PATH,
        )
    };
    Errno::result(result).map(drop)
}

/// Adds attributes (`MOUNT_ATTR_*`) to the mount at `mount`, and to those below it if
/// `recursive`. Unlike a remount it leaves all other attributes as they are.
pub(super) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    attributes: u64,
    recursive: bool,
) -> Result<(), Errno> {
    let attr = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path and structure outlive the call, and the size is that of the structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop)
}

/// Limits this process and all it execs to the capabilities of `mask`: permitted, effective and
/// bounding set; the inheritable and ambient sets become empty.
pub(super) fn limit_capabilities(mask: u64) -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words for each set.
    const VERSION_3: u32 = 0x2008_0522;

    for capability in 0..64_u64 {
        if mask & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: PR_CAPBSET_DROP takes a plain number.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(result) {
            Ok(_) => {}
            // The kernel's last capability is passed.
            Err(Errno::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    // SAFETY: PR_CAP_AMBIENT_CLEAR_ALL takes no further arguments.
    let result =
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    Errno::result(result)?;
    let word = |shift: u32| {
        let bits = (mask >> shift) as u32;
        Data { effective: bits, permitted: bits, inheritable: 0 }
    };
    let header = Header { version: VERSION_3, pid: 0 };
    let data = [word(0), word(32)];
    // SAFETY: the kernel reads one header and, for version 3, two data entries.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Makes a terminal the controlling one of this session.
pub(super) fn set_controlling_terminal(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a plain number.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    Errno::result(result).map(drop)
}

/// Sets the size of a terminal, which sends SIGWINCH to its foreground processes.
pub(super) fn set_window_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    let result =
        unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(result).map(drop)
}

/// Gives a signal its default action.
pub(super) fn set_default_action(signal: Signal) -> Result<(), Errno> {
    // SAFETY: the default action runs no code of ours.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.map(drop)
}

/// Receives one byte and the descriptor that came with it, if one did. 0 bytes is the end.
pub(super) fn receive_fd(socket: BorrowedFd<'_>) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut letter = [0];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut letter)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut received = None;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = part {
            for descriptor in descriptors {
                // SAFETY: the kernel has just made it for us, and nobody else knows it.
                received = Some(unsafe { OwnedFd::from_raw_fd(descriptor) });
            }
        }
    }
    Ok((message.bytes, received))
}

/// Sets the NIS domain name of this uts namespace.
pub(super) fn set_domain_name(name: &str) -> Result<(), Errno> {
    // SAFETY: the kernel reads `len` bytes.
    let result = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    Errno::result(result).map(drop)
}

/// Ends this process without running anything that the parent registered for its own exit.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

fn c_string(text: &OsStr) -> Result<CString, Errno> {
    CString::new(text.as_bytes()).map_err(|_| Errno::EINVAL)
}

/// # Safety
/// `result` must come from a system call that returns a new descriptor, or -1 with errno set.
unsafe fn new_fd(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let raw = Errno::result(result)?;
    let raw = RawFd::try_from(raw).map_err(|_| Errno::EBADF)?;
    // SAFETY: promised by the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
