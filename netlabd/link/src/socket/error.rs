// SPDX-License-Identifier: GPL-3.0-or-later
//! What the kernel refused, and what kept us from asking it.

use std::{collections::BTreeMap, fmt, io};

use netlink_packet_core::DecodeError;
use nix::errno::Errno;

use crate::{NetnsError, Request};

/// The kernel refused a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    request: String,
    errno: Errno,
    message: Option<String>,
}

impl KernelError {
    pub(crate) fn new(request: &Request, errno: i32, message: Option<String>) -> Self {
        Self { request: request.to_string(), errno: Errno::from_raw(errno), message }
    }

    pub(crate) fn dump(what: &str, errno: i32, message: Option<String>) -> Self {
        Self { request: what.to_owned(), errno: Errno::from_raw(errno), message }
    }

    /// What was asked, as the `ip` command that would ask the same.
    pub fn request(&self) -> &str {
        &self.request
    }

    /// Why it was refused.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// What the kernel said about it (extended acknowledgement), where it said anything.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// What was to be added is already there.
    pub fn is_exists(&self) -> bool {
        self.errno == Errno::EEXIST
    }

    /// What was to be changed or deleted is not there: a link (ENODEV), a route (ESRCH), an
    /// address (EADDRNOTAVAIL) or anything else (ENOENT).
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.errno,
            Errno::ENODEV | Errno::ESRCH | Errno::EADDRNOTAVAIL | Errno::ENOENT | Errno::ENXIO
        )
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, errno, message } = self;
        write!(f, "the kernel refused `{request}`: {} ({errno:?})", errno.desc().to_lowercase())?;
        if let Some(message) = message {
            write!(f, ": {}", message.trim_end_matches('.'))?;
        }
        if *errno == Errno::EPERM {
            f.write_str(": is CAP_NET_ADMIN missing?")?;
        }
        Ok(())
    }
}

impl std::error::Error for KernelError {}

/// The kernel refused some requests of a batch and carried out the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchError {
    pub(crate) total: usize,
    pub(crate) refused: BTreeMap<usize, KernelError>,
}

impl BatchError {
    /// The refused requests, by their place in the batch.
    pub fn refused(&self) -> &BTreeMap<usize, KernelError> {
        &self.refused
    }

    /// The first refused request, usually the cause of the others.
    pub fn first(&self) -> Option<&KernelError> {
        self.refused.values().next()
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.first() else {
            return f.write_str("BUG: a batch failed without a refused request");
        };
        write!(f, "{first}")?;
        match self.refused.len() - 1 {
            0 => Ok(()),
            others => write!(f, " (and {others} more of {} requests)", self.total),
        }
    }
}

impl std::error::Error for BatchError {}

/// A netlink socket did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The namespace of the socket could not be entered.
    #[error("failed to open a netlink socket in a network namespace")]
    Enter {
        /// Why.
        #[source]
        source: NetnsError,
    },
    /// The socket could not be opened.
    #[error("failed to open a netlink socket: is CAP_NET_ADMIN missing?")]
    Open {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A batch could not be handed to the kernel.
    #[error("failed to send to the kernel over netlink")]
    Send {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer could not be read.
    #[error("failed to read the kernel's answer over netlink")]
    Receive {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A message was larger than the buffer for it.
    #[error("failed to read the kernel's answer over netlink: `{size}` bytes are too many")]
    Truncated {
        /// How large it was.
        size: usize,
    },
    /// A message was not understood.
    #[error("failed to understand a message of the kernel")]
    Decode {
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A message ended early.
    #[error("failed to understand a message of the kernel: it ends after {size} bytes")]
    Short {
        /// How long it was.
        size: usize,
    },
    /// The kernel refused something.
    #[error(transparent)]
    Refused(#[from] BatchError),
}

impl SocketError {
    /// The first request that the kernel refused, if that was the trouble.
    pub fn kernel_error(&self) -> Option<&KernelError> {
        match self {
            Self::Refused(error) => error.first(),
            _ => None,
        }
    }
}

impl From<KernelError> for SocketError {
    fn from(error: KernelError) -> Self {
        Self::Refused(BatchError { total: 1, refused: BTreeMap::from([(0, error)]) })
    }
}
