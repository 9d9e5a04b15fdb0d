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

/// How a client reaches its daemon.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Through the unix socket of a daemon on this machine.
    Unix(PathBuf),
    /// In another way: as a node to its server, over TLS.
    Dial(Arc<dyn Dial>),
}

/// Opens connections to a daemon.
pub trait Dial: fmt::Debug + Send + Sync {
    /// Opens one.
    fn dial(&self) -> Dialing<'_>;

    /// Where to, for messages.
    fn target(&self) -> String;
}

/// A connection that is being opened.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Duplex>>> + Send + 'a>>;

/// A connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

impl Transport {
    /// Opens a connection and leaves its driving to a task of the current runtime.
    pub(super) async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let socket = self.to_string();
        let stream: Box<dyn Duplex> = match self {
            Transport::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Box::new(stream),
                Err(source) => {
                    return Err(match source.kind() {
                        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                            ClientError::NotRunning { socket }
                        }
                        ErrorKind::PermissionDenied => ClientError::PermissionDenied { socket },
                        _ => ClientError::Connect { socket, source },
                    });
                }
            },
            Transport::Dial(dial) => match dial.dial().await {
                Ok(stream) => stream,
                Err(source) => return Err(ClientError::Connect { socket, source }),
            },
        };
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
            Transport::Dial(dial) => f.write_str(&dial.target()),
        }
    }
}
