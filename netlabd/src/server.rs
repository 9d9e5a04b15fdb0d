// SPDX-License-Identifier: GPL-3.0-or-later
//! HTTP/1.1 and JSON on the unix socket, and for nodes over TLS: objects, watches, exec, logs, health, metrics.
//!
//! The server decides nothing. It turns requests into calls of [`Cluster`] and [`PodAccess`], and
//! their answers into responses; `docs/api.md` is the contract. What it does guard is the daemon:
//! who may talk to it, how many may at once, how much and how slowly they may send.
//!
//! ```text
//!  bind_socket ──► serve: accept ──► peer allowed? ──► router ──► objects ─► Cluster
//!                    │ (bounded)        │ no: 403        ├──────► exec, log ─► PodAccess
//!                    ▼                  ▼                └──────► health, metrics
//!                 drain on shutdown   metrics, panics and errors wrap every answer
//! ```

use std::sync::Arc;
use std::time::Duration;

use crate::control::access::PodAccess;
use crate::control::cluster::Cluster;
use crate::control::plane::ControlPlane;

pub use caller::Caller;
pub use connection::serve;
pub use health::{Gate, Readiness};
pub use metrics::Metrics;
pub use remote::{BoundPort, NodePort, RemoteError, bind_port, serve_remote};
pub use socket::{
    BoundSocket, Removal, SocketError, SocketFile, SocketLock, bind_socket, check_socket,
    lock_socket,
};
pub use tunnel::{TunnelServer, Tunnels};

mod answer;
mod body;
mod caller;
mod connection;
mod exec;
mod explain;
mod forward;
mod health;
mod log;
mod metrics;
mod names;
mod nodes;
mod objects;
mod peer;
mod proxy;
mod query;
mod remote;
mod router;
mod socket;
mod target;
mod token;
mod tunnel;
mod upgrade;
mod watch;

#[cfg(test)]
mod tests;

/// What the server needs of the rest of the daemon.
#[derive(Clone)]
pub struct ServerState {
    /// Objects, and what may be done to them.
    pub cluster: Arc<dyn Cluster>,
    /// What nodes ask and tell; `None` where the store is elsewhere.
    pub control_plane: Option<Arc<dyn ControlPlane>>,
    /// Connections to nodes.
    pub tunnels: Arc<Tunnels>,
    /// The processes of pods.
    pub pods: Arc<dyn PodAccess>,
    /// What `/readyz` waits for.
    pub readiness: Readiness,
    /// What `/metrics` answers.
    pub metrics: Arc<Metrics>,
    /// Members of this group may use the API, besides root. `None`: only root.
    pub group: Option<u32>,
    /// How much the server lets clients ask of it.
    pub limits: Limits,
    /// The port for nodes and who may use it; `None` where there is none.
    pub nodes: Option<NodePort>,
    /// Name of this node, for `/v1/version`.
    pub node: String,
    /// Version of netlabd, for `/v1/version` and `/metrics`.
    pub version: String,
}

/// How much the server lets clients ask of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once. Each costs a file descriptor, and every watch and exec holds one, so
    /// there are more of them than watches.
    pub connections: usize,
    /// Watches at once.
    pub watches: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// How long a request may take to arrive: its head, and once more its body. A connection that
    /// is kept alive without a new request ends after this time too.
    pub arrival: Duration,
    /// A watch that had nothing to say for so long sends a `BOOKMARK`.
    pub bookmark: Duration,
    /// How long requests may go on once the server is told to stop.
    pub drain: Duration,
    /// The same for exec sessions. Short: a command that is about to end tells its exit code, and
    /// a shell that nobody types in does not keep a daemon from its restart, which it cannot
    /// outlive anyway.
    pub session_drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 2048,
            watches: 1000,
            body_bytes: 4 * 1024 * 1024,
            arrival: Duration::from_secs(10),
            bookmark: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            session_drain: Duration::from_millis(500),
        }
    }
}
