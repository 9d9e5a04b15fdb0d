// SPDX-License-Identifier: GPL-3.0-or-later
//! A network namespace as a value: a file descriptor that keeps it alive, and its identity.
//!
//! No thread of the caller ever changes its namespace: what must happen inside one happens on a
//! thread that is made for it and ends after it, so neither a panic nor an early return can leave
//! a thread in the wrong place. There is no fork either, which would be unsafe in a daemon with
//! threads.

use std::{
    fmt,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    panic,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
    sys::stat::fstat,
};

mod pin;

pub use pin::{is_pin, list_pins, prepare_pin_dir, unpin};

/// An open network namespace. It lives as long as this, a socket in it, a process in it, or a
/// pin does.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    identity: NetnsIdentity,
}

/// What tells one namespace from another: the device and inode of its nsfs file. The kernel gives
/// the inode of a namespace that is gone to a new one, so compare only while holding a [`Netns`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetnsIdentity {
    /// The device of nsfs.
    pub device: u64,
    /// The inode, the number in `net:[4026531840]`.
    pub inode: u64,
}

impl Netns {
    /// Makes a new network namespace. It is empty but for `lo`, which is down.
    ///
    /// # Errors
    /// [`NetnsError::Create`] when CAP_SYS_ADMIN is missing or `user.max_net_namespaces` reached.
    pub fn create() -> Result<Self, NetnsError> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|source| NetnsError::Create { source })?;
            Self::current()
        })?
    }

    /// Opens the namespace pinned at `path`, or that of a process (`/proc/PID/ns/net`).
    ///
    /// # Errors
    /// [`NetnsError::Open`], also when the file is not a network namespace.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        let failed = |source| NetnsError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        // A pin whose mount is gone is an ordinary file; entering it would fail much later.
        let magic = nix::sys::statfs::fstatfs(&file).map_err(|errno| failed(errno.into()))?;
        if magic.filesystem_type() != nix::sys::statfs::NSFS_MAGIC {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a namespace")));
        }
        Self::from_fd(file.into())
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// [`NetnsError::Open`] when `/proc` is not mounted.
    pub fn current() -> Result<Self, NetnsError> {
        // Of the thread: `/proc/self` would be that of the process' first thread.
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    fn from_fd(fd: OwnedFd) -> Result<Self, NetnsError> {
        let stat = fstat(&fd).map_err(|source| NetnsError::Identify { source })?;
        Ok(Self { fd, identity: NetnsIdentity { device: stat.st_dev, inode: stat.st_ino } })
    }

    /// Another handle of the same namespace.
    ///
    /// # Errors
    /// [`NetnsError::Identify`] when there are no file descriptors left.
    pub fn try_clone(&self) -> Result<Self, NetnsError> {
        let fd = self.fd.try_clone().map_err(|error| NetnsError::Identify {
            source: Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        })?;
        Ok(Self { fd, identity: self.identity })
    }

    /// Which namespace this is.
    pub fn identity(&self) -> NetnsIdentity {
        self.identity
    }

    /// Runs `work` inside the namespace, on a thread of its own, and waits for it. The work is
    /// synchronous on purpose: nothing can await in the wrong namespace. A panic in `work` goes
    /// on in the caller.
    ///
    /// # Errors
    /// [`NetnsError::Enter`] when CAP_SYS_ADMIN is missing.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        on_own_thread(|| {
            self.enter_for_good()?;
            Ok(work())
        })?
    }

    /// Moves the calling thread into the namespace, for threads that are owned and stay there.
    ///
    /// # Errors
    /// [`NetnsError::Enter`] when CAP_SYS_ADMIN is missing.
    pub(crate) fn enter_for_good(&self) -> Result<(), NetnsError> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET).map_err(|source| NetnsError::Enter { source })
    }

    /// Pins the namespace at `path` with a bind mount, so that it outlives this process and can
    /// be opened by path. The file is created. Pinning the same namespace there again is success.
    ///
    /// # Errors
    /// [`NetnsError::Pin`], also when another namespace is pinned there.
    pub fn pin(&self, path: &Path) -> Result<(), NetnsError> {
        pin::pin(self, path)
    }
}

impl PartialEq for Netns {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Netns {}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Netns {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net:[{}]", self.identity.inode)
    }
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|source| NetnsError::Thread { source })?;
        match thread.join() {
            Ok(value) => Ok(value),
            Err(cause) => panic::resume_unwind(cause),
        }
    })
}

/// What can go wrong with a network namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// A new namespace could not be made.
    #[error("failed to create a network namespace: is CAP_SYS_ADMIN missing?")]
    Create {
        /// Why.
        #[source]
        source: Errno,
    },
    /// A namespace could not be opened by its path.
    #[error("failed to open the network namespace `{path}`")]
    Open {
        /// The pin or the file below `/proc`.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A handle could not be inspected or duplicated.
    #[error("failed to identify a network namespace: are there file descriptors left?")]
    Identify {
        /// Why.
        #[source]
        source: Errno,
    },
    /// A thread could not enter the namespace.
    #[error("failed to enter a network namespace: is CAP_SYS_ADMIN missing?")]
    Enter {
        /// Why.
        #[source]
        source: Errno,
    },
    /// The thread that would have entered the namespace could not be made.
    #[error("failed to start a thread for a network namespace: is the limit of tasks reached?")]
    Thread {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder of pins could not be made a private mount.
    #[error("failed to prepare `{path}` for pins of network namespaces")]
    PreparePinDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A namespace could not be pinned.
    #[error("failed to pin a network namespace at `{path}`")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pin could not be removed.
    #[error("failed to remove the pin `{path}`")]
    Unpin {
        /// The pin.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder of pins could not be read.
    #[error("failed to list the pins in `{path}`")]
    ListPins {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
