// SPDX-License-Identifier: GPL-3.0-or-later
//! A cluster whose store is elsewhere: what a joined node asks of its server.
//!
//! ```text
//!   netlabctl ─► this node's socket ─► RemoteCluster ──┐
//!   node plane ─► RemoteControlPlane ────────────────────┼─► connections to the server (mTLS)
//!   exec, logs ─► RoutedAccess ─► here, or there ──────┘
//! ```
//!
//! Nothing is decided here. Whether the server is there decides what commands answer; pods, links
//! and rules do not ask: what a node saw last is kept on disk for a start without a server.

use std::time::Duration;

use netlab_api::client::ClientError;
use netlab_api::{ApiError, Reason};

pub use access::{RoutedAccess, WayTo};
pub use cluster::RemoteCluster;
pub use plane::{RemoteControlPlane, ServeTunnel};

mod access;
mod cluster;
mod memory;
mod plane;

/// How long a server may take to answer a question, or to take a report.
const ANSWER: Duration = Duration::from_secs(10);

/// What a call answers, unless the server says nothing for so long: a machine that is frozen, or
/// cut off, keeps its connections.
async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ApiError> {
    tokio::time::timeout(patience, call).await.map_err(|_| silent())?.map_err(failed)
}

/// What went wrong on the way to the server, or what the server said.
fn failed(error: ClientError) -> ApiError {
    match error {
        ClientError::Api(error) => error,
        // It names the server itself.
        ClientError::Connect { source, .. } => unreachable(&source),
        error => unreachable(&error),
    }
}

fn unreachable(error: &(dyn std::error::Error + 'static)) -> ApiError {
    ApiError::new(
        Reason::ServiceUnavailable,
        format!("the cluster's server does not answer: {}", crate::error::chain(error)),
    )
    .with_hint("pods and their network go on without it; is netlabd running on it?")
}

/// The server keeps its connection and says nothing.
fn silent() -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, "the cluster's server is silent")
        .with_hint("is netlabd running on it, and is the network whole?")
}
