// SPDX-License-Identifier: GPL-3.0-or-later
//! Why a pod has no network, and what to do about it.

use std::io;
use std::path::PathBuf;

use netlab_link::{KernelError, NetnsError, PodLinkError, SocketError};

/// Why a pod has no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The folders for records and pins cannot be made.
    #[error("failed to prepare `{path}`: is it writable for root?")]
    PrepareRecords {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder of pins cannot be made a mount.
    #[error("failed to prepare the folder of network namespaces")]
    PreparePins {
        /// Why.
        #[source]
        source: NetnsError,
    },
    /// A pod's record cannot be written, read or removed.
    #[error("failed to record the network namespace of pod `{pod}`")]
    Record {
        /// `namespace/name`.
        pod: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A link could not be had, given its addresses, or removed.
    #[error(transparent)]
    Link(#[from] PodLinkError),
    /// The node's kernel could not be asked.
    #[error("failed to look at the node's links and routes")]
    Observe {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// The node's side of a pod's link was refused.
    #[error("failed to program the node's side of pod `{pod}`")]
    Program {
        /// `namespace/name`.
        pod: String,
        /// Why.
        #[source]
        source: KernelError,
    },
    /// A batch could not be sent at all.
    #[error("failed to send changes of the network to the kernel")]
    Send {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// A pod's namespace could not be entered.
    #[error("failed to enter the network namespace of pod `{pod}`: was its pin unmounted?")]
    Enter {
        /// `namespace/name`.
        pod: String,
        /// Why.
        #[source]
        source: NetnsError,
    },
}
