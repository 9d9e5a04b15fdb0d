// SPDX-License-Identifier: GPL-3.0-or-later
#![allow(unsafe_code, reason = "neither std, nix nor tokio wraps these two system calls")]
//! What the kernel says of a socket: who is at its other end, and which one systemd left us.
//!
//! The socket's mode already keeps strangers out. The peer is asked for again, so that somebody who
//! loosens the mode does not hand out root.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use netlab_api::{ApiError, Reason};
use nix::unistd::{Gid, Uid, User};
use tokio::net::UnixStream;

/// `SO_PEERGROUPS` of `asm-generic/socket.h` (Linux 4.13); the libc crate does not have it.
const SO_PEERGROUPS: libc::c_int = 59;
/// `NGROUPS_MAX` of `linux/limits.h`: no process is in more groups.
const NGROUPS_MAX: usize = 65_536;
/// `SD_LISTEN_FDS_START` of sd_listen_fds(3).
const FIRST_INHERITED: RawFd = 3;

/// Who opened a connection, as the kernel noted it at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    uid: u32,
    gid: u32,
    pid: Option<i32>,
    groups: Vec<u32>,
}

impl Peer {
    /// The peer of a connection.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Peer> {
        let credentials = stream.peer_cred()?;
        Ok(Peer {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid(),
            groups: peer_groups(stream)?,
        })
    }

    /// Whether it may use the API: root may, and members of `group` may.
    pub(super) fn is_allowed(&self, group: Option<u32>) -> bool {
        let member = |group| self.gid == group || self.groups.contains(&group);
        self.uid == 0 || group.is_some_and(member)
    }

    /// What to tell a peer that may not. Blocks while names are looked up, which may ask a network.
    pub(super) fn refusal(&self, group: Option<u32>) -> ApiError {
        let user = match User::from_uid(Uid::from_raw(self.uid)) {
            Ok(Some(user)) => user.name,
            _ => format!("#{}", self.uid),
        };
        let Some(group) = group.map(group_name) else {
            return ApiError::new(
                Reason::Forbidden,
                format!("user `{user}` is not root, and there is no group `netlab` to be in"),
            )
            .with_hint(format!(
                "sudo groupadd netlab && sudo usermod -aG netlab {user}, restart netlabd, then log \
                 in again; or use sudo",
            ));
        };
        ApiError::new(
            Reason::Forbidden,
            format!("user `{user}` is neither root nor in group `{group}`"),
        )
        .with_hint(format!(
            "sudo usermod -aG {group} {user}, then log in again (the group is as good as root)",
        ))
    }
}

fn group_name(gid: u32) -> String {
    match nix::unistd::Group::from_gid(Gid::from_raw(gid)) {
        Ok(Some(group)) => group.name,
        _ => format!("#{gid}"),
    }
}

/// The supplementary groups of a connection's peer.
fn peer_groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 32];
    loop {
        let mut length = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: `groups` is valid for writes of `length` bytes, the descriptor is open for as
        // long as `stream` is borrowed, and the kernel writes no more than `length` bytes.
        let result = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let needed = length as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(needed);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // ERANGE tells in `length` how much room is needed.
        let grows = needed > groups.len() && needed <= NGROUPS_MAX;
        if error.raw_os_error() != Some(libc::ERANGE) || !grows {
            return Err(error);
        }
        groups.resize(needed, 0);
    }
}

/// The first descriptor that systemd passed on. To be called once in the life of a process, when
/// `LISTEN_PID` and `LISTEN_FDS` say that there is one.
pub(super) fn inherited_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_SETFD touches no memory; a descriptor that is not open is an error.
    let result = unsafe { libc::fcntl(FIRST_INHERITED, libc::F_SETFD, libc::FD_CLOEXEC) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, as fcntl just found, and by the protocol of sd_listen_fds(3)
    // it was opened for this process and belongs to nobody else in it.
    Ok(unsafe { OwnedFd::from_raw_fd(FIRST_INHERITED) })
}
