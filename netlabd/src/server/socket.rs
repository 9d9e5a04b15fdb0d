// SPDX-License-Identifier: GPL-3.0-or-later
//! The unix socket: made without a moment of wider permission, never taken from a living daemon.
//!
//! ```text
//!   lock ─► is somebody there? ─► remove the stale one ─► fchmod 0600 ─► bind ─► chown, 0660 ─► listen
//! ```
//!
//! The order matters. Under the lock no second daemon can find the same stale socket. Linux gives
//! the socket's file the mode that the socket itself has at `bind` (`unix_mknod_addr`), so that no
//! umask is needed, which would be that of all threads. Until `listen` a connect is refused.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::sockopt::{AcceptConn, SockType as SockTypeOption};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockname, getsockopt,
    listen, socket,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::Group;
use tokio::net::UnixListener;

use super::peer::inherited_descriptor;
pub use removal::Removal;

mod removal;

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// A listening socket, and who may use it.
#[derive(Debug)]
pub struct BoundSocket {
    /// For [`serve`](super::serve).
    pub listener: UnixListener,
    /// For [`ServerState::group`](super::ServerState::group).
    pub group: Option<u32>,
    /// Removes the socket's file when dropped. `None` when systemd made the socket.
    pub file: Option<SocketFile>,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers there.
    #[error(
        "another netlabd answers on `{path}`: stop it (`systemctl stop netlabd`), or start this \
         one with another --run-dir, in a network namespace of its own"
    )]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// There is a file of another kind.
    #[error("`{path}` is there and is no socket: move it away")]
    Foreign {
        /// The socket's path.
        path: PathBuf,
    },
    /// The path does not fit into a socket address.
    #[error(
        "socket path `{path}` is {length} bytes long, at most 107 fit: use a shorter --run-dir"
    )]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
        /// Its length.
        length: usize,
    },
    /// The lock that keeps two daemons apart cannot be had.
    #[error("failed to lock `{path}`")]
    Lock {
        /// The lock's path.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// It cannot be told whether somebody answers there.
    #[error("failed to find out whether somebody listens on `{path}`")]
    Probe {
        /// The socket's path.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The group cannot be looked up; that it does not exist is no error.
    #[error("failed to look up group `{group}`")]
    Group {
        /// The group's name.
        group: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("failed to listen on `{path}`")]
    Listen {
        /// The socket's path.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// What systemd passed on cannot be served.
    #[error(
        "failed to take over the socket that systemd passed on: does netlabd.socket have one ListenStream= with a path?"
    )]
    Inherited {
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// Listens on `path`, for root and the members of `group` (mode 0660); for root alone (0600) when
/// there is no such group. A stale socket is removed once a connect to it was refused. A socket that
/// systemd passed on (`LISTEN_FDS`) is taken instead. To be called once, inside a tokio runtime.
///
/// # Errors
/// [`SocketError::InUse`] when a daemon answers there.
pub fn bind_socket(path: &Path, group: &str) -> Result<BoundSocket, SocketError> {
    let group = Group::from_name(group)
        .map_err(|errno| SocketError::Group { group: group.to_owned(), source: errno.into() })?
        .map(|group| group.gid.as_raw());
    if let Some(listener) = inherited()? {
        return Ok(BoundSocket { listener, group, file: None });
    }
    let address = address_of(path)?;
    let lock = Lock::take(path)?;
    remove_stale(path, &address)?;
    let failed = |source| SocketError::Listen { path: path.to_owned(), source };
    let (socket, identity) = make(path, &address, group).map_err(failed)?;
    let file = SocketFile { path: path.to_owned(), identity, group, _lock: lock };
    let listener = UnixListener::from_std(StdListener::from(socket)).map_err(failed)?;
    Ok(BoundSocket { listener, group, file: Some(file) })
}

/// Whether [`bind_socket`] is going to refuse, as far as that can be told without making anything.
///
/// # Errors
/// [`SocketError::InUse`] when a daemon answers there, [`SocketError::PathTooLong`].
pub fn check_socket(path: &Path) -> Result<(), SocketError> {
    if is_passed_on() {
        return Ok(());
    }
    address_of(path)?;
    // Where no lock is, none is held. One that nobody holds is removed, as whoever left it would have.
    if lock_path(path).exists() { Lock::take(path).map(drop) } else { Ok(()) }
}

fn address_of(path: &Path) -> Result<UnixAddr, SocketError> {
    let length = path.as_os_str().len();
    UnixAddr::new(path).map_err(|_| SocketError::PathTooLong { path: path.to_owned(), length })
}

/// Keeps daemons from listening on `path`; for those who take away what a daemon works with.
///
/// # Errors
/// [`SocketError::InUse`] when one does already.
pub fn lock_socket(path: &Path) -> Result<SocketLock, SocketError> {
    Lock::take(path).map(SocketLock)
}

/// No daemon starts to listen while this is held.
#[derive(Debug)]
pub struct SocketLock(#[expect(dead_code, reason = "held, and dropped")] Lock);

/// A listening socket at `path`, and the device and inode of its file.
fn make(path: &Path, address: &UnixAddr, group: Option<u32>) -> io::Result<(OwnedFd, (u64, u64))> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    fchmod(socket.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(socket.as_raw_fd(), address)?;
    let open_up = || {
        let made = fs::symlink_metadata(path)?;
        if group.is_some() {
            chown(path, None, group)?;
            fs::set_permissions(path, Permissions::from_mode(0o660))?;
        }
        listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok((made.dev(), made.ino()))
    };
    match open_up() {
        Ok(identity) => Ok((socket, identity)),
        Err(error) => {
            // The error is the one to tell.
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

/// Removes what an earlier daemon left at `path`, once it is certain that nobody answers there.
fn remove_stale(path: &Path, address: &UnixAddr) -> Result<(), SocketError> {
    let failed = |source| SocketError::Probe { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::Foreign { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    // Non-blocking: a daemon that is too busy to accept would make a blocking connect wait.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|errno| failed(errno.into()))?;
    match connect(probe.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).map_err(failed),
        Err(Errno::ENOENT) => Ok(()),
        // EAGAIN: somebody listens, and has more connections waiting than it accepts.
        Ok(()) | Err(Errno::EAGAIN) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Children inherit the variables but not the socket: the pid tells whose it is.
fn is_passed_on() -> bool {
    number("LISTEN_PID") == Some(std::process::id())
}

fn number(variable: &str) -> Option<u32> {
    std::env::var(variable).ok()?.parse().ok()
}

fn inherited() -> Result<Option<UnixListener>, SocketError> {
    let failed = |source| SocketError::Inherited { source };
    if !is_passed_on() {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        None | Some(0) => return Ok(None),
        Some(1) => {}
        Some(count) => {
            return Err(failed(io::Error::other(format!("{count} sockets were passed"))));
        }
    }
    let descriptor = inherited_descriptor().map_err(failed)?;
    take_over(descriptor).map(Some).map_err(failed)
}

/// Makes sure that a foreign descriptor is what we serve, and makes it so that tokio can.
pub(super) fn take_over(descriptor: OwnedFd) -> io::Result<UnixListener> {
    getsockname::<UnixAddr>(descriptor.as_raw_fd())
        .map_err(|_| io::Error::other("it is no unix socket"))?;
    if getsockopt(&descriptor, SockTypeOption)? != SockType::Stream {
        return Err(io::Error::other("it is no stream socket"));
    }
    if !getsockopt(&descriptor, AcceptConn)? {
        return Err(io::Error::other("it does not listen"));
    }
    let listener = StdListener::from(descriptor);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// The file of a socket. Dropped, it is removed, unless somebody has put another in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    group: Option<u32>,
    _lock: Lock,
}

impl SocketFile {
    /// Listens at the path again when somebody has removed the file: the old socket lives on, but
    /// no client finds it. `None` when there is something at the path.
    ///
    /// # Errors
    /// When no socket can be made there.
    pub fn put_back(&mut self) -> Result<Option<UnixListener>, SocketError> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => return Ok(None),
        }
        let failed = |source| SocketError::Listen { path: self.path.clone(), source };
        let address = UnixAddr::new(&self.path).map_err(|errno| failed(errno.into()))?;
        let (socket, identity) = make(&self.path, &address, self.group).map_err(failed)?;
        let listener = UnixListener::from_std(StdListener::from(socket)).map_err(failed)?;
        self.identity = identity;
        Ok(Some(listener))
    }
}

impl SocketFile {
    /// Hears of what is taken out of the socket's folder from here on.
    ///
    /// # Errors
    /// When the folder is gone, or the kernel grants no more watches.
    pub fn watch(&self) -> io::Result<Removal> {
        Removal::watch(self.path.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "failed to remove the socket");
        }
    }
}

/// Keeps two daemons from making the same socket; held for as long as the socket is.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: Flock<File>,
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

impl Lock {
    fn take(socket: &Path) -> Result<Lock, SocketError> {
        let path = lock_path(socket);
        let failed = |source| SocketError::Lock { path: path.clone(), source };
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(failed)?;
            let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(SocketError::InUse { path: socket.to_owned() });
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            };
            // Whoever held it before may have removed it since it was opened: then this lock is on
            // a file that nobody else will find.
            let locked = file.metadata().map_err(failed)?;
            if fs::metadata(&path)
                .is_ok_and(|found| (found.dev(), found.ino()) == (locked.dev(), locked.ino()))
            {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is still held, so that the file is ours.
        let _ = fs::remove_file(&self.path);
    }
}
