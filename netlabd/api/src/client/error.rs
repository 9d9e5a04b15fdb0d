// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a call to a daemon failed, and what a person does about it.

use std::io;

use super::exchange::MAX_PATH;
use crate::error::{ApiError, Reason};
use crate::exec::FrameError;
use crate::resource::Kind;

/// Why a call to a daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error(
        "netlabd is not running (nobody answers on `{socket}`): start it with `systemctl start netlabd` or `netlabd`, or name another with --socket"
    )]
    NotRunning {
        /// The socket's path.
        socket: String,
    },
    /// The socket may not be opened.
    #[error(
        "permission denied on `{socket}`: you are neither root nor in group `netlab`: `sudo usermod -aG netlab $USER`, then log in again; note that the group is as good as root"
    )]
    PermissionDenied {
        /// The socket's path.
        socket: String,
    },
    /// The socket cannot be opened for another reason.
    #[error("failed to connect to `{socket}`")]
    Connect {
        /// The socket's path.
        socket: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// What listens there does not speak HTTP.
    #[error("failed to speak HTTP on `{socket}`: is another program listening there?")]
    Handshake {
        /// The socket's path.
        socket: String,
        /// What hyper says.
        #[source]
        source: hyper::Error,
    },
    /// The request was not sent: its first line has no room for what was asked.
    #[error(
        "the request is too long: its path and query have {length} bytes, and {most} is the most: shorten the name or the selector",
        most = MAX_PATH
    )]
    TooLong {
        /// Bytes of path and query.
        length: usize,
    },
    /// The connection ended before an answer came.
    #[error(
        "netlabd closed the connection without an answer to `{request}`: it may have stopped or restarted; whether the request was carried out is not known: look, then try again"
    )]
    Closed {
        /// Method and path.
        request: String,
        /// What hyper says.
        #[source]
        source: hyper::Error,
    },
    /// The connection ended inside an answer.
    #[error(
        "netlabd closed the connection in the middle of its answer: it may have stopped or restarted, try again"
    )]
    ClosedMidway {
        /// What hyper says.
        #[source]
        source: hyper::Error,
    },
    /// The daemon did not answer in time.
    #[error("netlabd did not answer `{request}` in time: `netlabctl doctor` looks further")]
    NoAnswer {
        /// Method and path.
        request: String,
    },
    /// The API refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An error answer that is not the API's.
    #[error(
        "unexpected answer {status} to `{request}`: is another program listening on the socket? it says: {body}"
    )]
    UnknownAnswer {
        /// Method and path.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The first bytes of the body.
        body: String,
    },
    /// The answer is not what the API promises.
    #[error(
        "failed to read the answer to `{request}`: are netlabctl and netlabd of the same version? `netlabctl version` tells"
    )]
    Decode {
        /// Method and path.
        request: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// An object in an answer is not what its kind promises.
    #[error("failed to read a {} that netlabd sent: are netlabctl and netlabd of the same version? `netlabctl version` tells", kind.singular())]
    DecodeObject {
        /// The kind.
        kind: Kind,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A line of a watch grew without end.
    #[error(
        "a line of the watch is over {limit} bytes: is another program listening on the socket?"
    )]
    WatchLine {
        /// The bound.
        limit: usize,
    },
    /// The server answered an exec with something else than an upgrade.
    #[error(
        "netlabd answered {status} where an exec session should begin: are netlabctl and netlabd of the same version?"
    )]
    NoUpgrade {
        /// The HTTP status.
        status: u16,
    },
    /// The connection could not be taken over for an exec session.
    #[error("failed to take over the connection for the exec session")]
    Upgrade {
        /// What hyper says.
        #[source]
        source: hyper::Error,
    },
    /// An exec session sent something that is no frame.
    #[error("failed to read the exec session")]
    Frame {
        /// What is wrong.
        #[source]
        source: FrameError,
    },
    /// The connection of an exec session failed.
    #[error("the exec session broke off: netlabd may have stopped, or the pod was deleted")]
    ExecClosed {
        /// What the kernel says, if it was the kernel.
        #[source]
        source: Option<io::Error>,
    },
}

impl ClientError {
    /// The API's own error, if it is one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            ClientError::Api(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the object was simply not there.
    pub fn is_not_found(&self) -> bool {
        self.is(Reason::NotFound)
    }

    /// Whether a watch has to start over with a list.
    pub fn is_expired(&self) -> bool {
        self.is(Reason::Expired)
    }

    /// Whether no daemon could be reached at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            ClientError::NotRunning { .. }
                | ClientError::PermissionDenied { .. }
                | ClientError::Connect { .. }
        )
    }

    /// Whether the API gave this reason.
    pub fn is(&self, reason: Reason) -> bool {
        self.api().is_some_and(|error| error.reason == reason)
    }
}
