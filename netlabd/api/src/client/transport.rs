// SPDX-License-Identifier: GPL-3.0-or-later
//! How a client reaches its daemon.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::client::ClientError;

/// A connection that carries HTTP.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection to be.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send + 'a>>;

/// Another way to a daemon than a unix socket; it brings its own security.
pub trait Dial: Send + Sync {
    /// Opens a connection.
    fn dial(&self) -> Dialing<'_>;

    /// Where it leads, for messages.
    fn describe(&self) -> String;
}

/// How a client reaches its daemon.
#[derive(Clone)]
pub enum Transport {
    /// Through the unix socket of a daemon on this machine.
    Unix(PathBuf),
    /// In another way.
    Other(Arc<dyn Dial>),
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transport").field(&self.to_string()).finish()
    }
}

impl Transport {
    /// Opens a connection and leaves its driving to a task of the current runtime.
    pub(super) async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        match self {
            Transport::Unix(path) => {
                let stream = self.connect_unix(path).await?;
                self.handshake(stream).await
            }
            Transport::Other(way) => {
                let stream = way
                    .dial()
                    .await
                    .map_err(|source| ClientError::Connect { socket: self.to_string(), source })?;
                self.handshake(stream).await
            }
        }
    }

    async fn connect_unix(&self, path: &PathBuf) -> Result<UnixStream, ClientError> {
        let socket = self.to_string();
        UnixStream::connect(path).await.map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket: socket.clone() }
            }
            ErrorKind::PermissionDenied => ClientError::PermissionDenied { socket: socket.clone() },
            _ => ClientError::Connect { socket: socket.clone(), source },
        })
    }

    async fn handshake<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake
            .map_err(|source| ClientError::Handshake { socket: self.to_string(), source })?;
        // An error of the connection reaches whoever waits for an answer on it.
        tokio::spawn(async move { connection.with_upgrades().await.ok() });
        Ok(sender)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::Unix(path) => path.display().fmt(f),
            Transport::Other(way) => f.write_str(&way.describe()),
        }
    }
}
