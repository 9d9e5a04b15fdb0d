// SPDX-License-Identifier: GPL-3.0-or-later
//! How a client reaches its daemon.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::client::ClientError;

/// How a client reaches its daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// Through the unix socket of a daemon on this machine.
    Unix(PathBuf),
}

impl Transport {
    /// Opens a connection and leaves its driving to a task of the current runtime.
    pub(super) async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let Transport::Unix(path) = self;
        let socket = self.to_string();
        let stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket: socket.clone() }
            }
            ErrorKind::PermissionDenied => ClientError::PermissionDenied { socket: socket.clone() },
            _ => ClientError::Connect { socket: socket.clone(), source },
        })?;
        let handshake = handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            handshake.map_err(|source| ClientError::Handshake { socket, source })?;
        // An error of the connection reaches whoever waits for an answer on it.
        tokio::spawn(async move { connection.with_upgrades().await.ok() });
        Ok(sender)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::Unix(path) => path.display().fmt(f),
        }
    }
}
