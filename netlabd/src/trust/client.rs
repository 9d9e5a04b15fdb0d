// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections of a node to its server.
//!
//! ```text
//!   resolve ─► TCP, each address in turn ─► mutual TLS ─► HTTP/1.1 (one connection a call of mine)
//! ```
//!
//! Nothing is retried here: whoever calls knows whether it makes sense. [`ConnectError`] tells what
//! may pass by itself ([`ConnectError::is_transient`]) and what a person has to mend.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use netlab_api::{ApiError, Time};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{
    KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval, TcpUserTimeout,
};
use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, ClientConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::ServerAddress;
use super::certificate::Facts;
use super::identity::Identity;
use super::tls::{self, TlsError};

/// How long one address may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long TLS may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long [`Connector::call`] waits for a whole answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest answer that [`Connector::call`] reads.
const ANSWER_BYTES: usize = 16 << 20;
/// A peer that is cut off is noticed after about ten seconds, idle or not: seconds before the
/// first probe, between probes, probes, and milliseconds that sent bytes wait for an answer.
const KEEPALIVE: (u32, u32, u32, u32) = (5, 2, 3, 10_000);

/// A connection to the server.
pub type Stream = TlsStream<TcpStream>;

/// Opens connections to the server as this node.
pub struct Connector {
    server: ServerAddress,
    identity: Arc<Identity>,
    config: Arc<ClientConfig>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name is not known.
    #[error("failed to look up `{host}`")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// Nobody answers.
    #[error("failed to connect to {server} ({address})")]
    Connect {
        /// The server.
        server: ServerAddress,
        /// The address that was tried last.
        address: SocketAddr,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The server took the connection and then said nothing, or broke off.
    #[error("{server} broke off before the connection was secured")]
    Broken {
        /// The server.
        server: ServerAddress,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// What answers speaks no TLS.
    #[error("{server} does not speak TLS: is it netlabd's port? `netlabctl node token` prints it")]
    NoTls {
        /// The server.
        server: ServerAddress,
    },
    /// One end does not trust the other.
    #[error("{server} and this machine do not trust each other")]
    Untrusted {
        /// The server.
        server: ServerAddress,
        /// What TLS says.
        #[source]
        source: rustls::Error,
    },
    /// This node's certificate is not valid now.
    #[error(
        "this node's certificate is valid from {not_before} to {not_after}, and its clock says \
         {now}: is the clock off? If not, join again with a new token (`netlabctl node token`)"
    )]
    Invalid {
        /// Its beginning.
        not_before: Time,
        /// Its end.
        not_after: Time,
        /// The clock.
        now: Time,
    },
    /// The connection does not speak HTTP.
    #[error("failed to speak HTTP with {server}")]
    Http {
        /// The server.
        server: ServerAddress,
        /// What hyper says.
        #[source]
        source: hyper::Error,
    },
}

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke, or the answer is none.
    #[error("no answer of {server} to `{request}`")]
    Broken {
        /// The server.
        server: ServerAddress,
        /// Method and path.
        request: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server refused.
    #[error("{server} refused")]
    Refused {
        /// The server.
        server: ServerAddress,
        /// Why.
        #[source]
        source: ApiError,
    },
}

impl ConnectError {
    /// Whether it may pass by itself: the server is not there yet, or the network is cut.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Resolve { .. } | Self::Connect { .. } | Self::Broken { .. })
            || matches!(self, Self::Http { .. })
    }
}

impl CallError {
    /// Whether it may pass by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            CallError::Connect(error) => error.is_transient(),
            CallError::Broken { .. } => true,
            CallError::Refused { source, .. } => source.code == 429 || source.code >= 500,
        }
    }
}

impl Connector {
    /// Connects to `server` as `identity`, and takes the server of `authority` alone.
    ///
    /// # Errors
    /// When the authority's certificate is unusable.
    pub fn new(
        server: ServerAddress,
        identity: Arc<Identity>,
        authority: CertificateDer<'static>,
    ) -> Result<Connector, TlsError> {
        let config = Arc::new(tls::client(identity.clone(), authority)?);
        Ok(Connector { server, identity, config })
    }

    /// Where the server is.
    pub fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// What this node shows; replaced as it is renewed.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// A secured connection. A server that does not take this node's certificate breaks it off
    /// with an alert when it is first read.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self) -> Result<Stream, ConnectError> {
        let Facts { not_before, not_after, .. } = self.identity.facts();
        let now = Time::now();
        if now < not_before || now > not_after {
            return Err(ConnectError::Invalid { not_before, not_after, now });
        }
        open(&self.server, self.config.clone()).await
    }

    /// A connection that speaks HTTP/1.1; a task of the current runtime drives it, and it may be
    /// upgraded. Requests need a `Host`.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn http<B>(&self) -> Result<SendRequest<B>, ConnectError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        speak_http(&self.server, self.connect().await?).await
    }

    /// One request with a JSON body, on a connection of its own, and its JSON answer.
    ///
    /// # Errors
    /// [`CallError::Refused`] with what the server says.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, CallError> {
        call(&self.server, self.http().await?, method, path, body).await
    }
}

/// Opens a secured connection.
pub(super) async fn open(
    server: &ServerAddress,
    config: Arc<ClientConfig>,
) -> Result<Stream, ConnectError> {
    let tcp = dial(server).await?;
    let broken = |source| ConnectError::Broken { server: server.clone(), source };
    let securing = TlsConnector::from(config).connect(tls::server_name(), tcp);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, securing).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(handshake_failed(server, error)),
        Err(_) => Err(broken(io::ErrorKind::TimedOut.into())),
    }
}

/// Makes a connection speak HTTP/1.1.
pub(super) async fn speak_http<B>(
    server: &ServerAddress,
    stream: Stream,
) -> Result<SendRequest<B>, ConnectError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|source| ConnectError::Http { server: server.clone(), source })?;
    // An error of the connection reaches whoever waits for an answer on it.
    tokio::spawn(async move { connection.with_upgrades().await.ok() });
    Ok(sender)
}

/// One request and its answer, JSON both.
pub(super) async fn call<T: DeserializeOwned>(
    server: &ServerAddress,
    mut sender: SendRequest<Full<Bytes>>,
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
) -> Result<T, CallError> {
    let request = format!("{method} {path}");
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| match trust_error(&*source) {
        Some(source) => ConnectError::Untrusted { server: server.clone(), source }.into(),
        None => CallError::Broken { server: server.clone(), request: request.clone(), source },
    };
    let content = body.map(serde_json::to_vec).transpose().map_err(|error| broken(error.into()))?;
    let sent = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, server.host.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(content.unwrap_or_default())))
        .map_err(|error| broken(error.into()))?;
    let exchange = async {
        let response = sender.send_request(sent).await.map_err(|error| broken(error.into()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
        Ok::<_, CallError>((status, body.map_err(&broken)?.to_bytes()))
    };
    let (status, bytes) = tokio::time::timeout(CALL_TIMEOUT, exchange)
        .await
        .map_err(|_| broken(io::Error::from(io::ErrorKind::TimedOut).into()))??;
    if status.is_success() {
        return serde_json::from_slice(&bytes).map_err(|error| broken(error.into()));
    }
    let source = serde_json::from_slice(&bytes)
        .map_err(|_| broken(format!("it answers {status}, which netlabd does not").into()))?;
    Err(CallError::Refused { server: server.clone(), source })
}

async fn dial(server: &ServerAddress) -> Result<TcpStream, ConnectError> {
    let resolve = |source| ConnectError::Resolve { host: server.host.clone(), source };
    let addresses =
        tokio::net::lookup_host((server.host.as_str(), server.port)).await.map_err(resolve)?;
    let mut last = None;
    for address in addresses {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                watch_peer(&stream);
                return Ok(stream);
            }
            Err(source) => last = Some((address, source)),
        }
    }
    Err(match last {
        Some((address, source)) => {
            ConnectError::Connect { server: server.clone(), address, source }
        }
        None => resolve(io::Error::new(io::ErrorKind::NotFound, "it has no address")),
    })
}

/// Lets the kernel notice that the peer is cut off, and send what is written at once.
pub(crate) fn watch_peer(stream: &TcpStream) {
    let (idle, interval, count, unanswered) = KEEPALIVE;
    let set = stream.set_nodelay(true).and_then(|()| {
        setsockopt(stream, KeepAlive, &true)?;
        setsockopt(stream, TcpKeepIdle, &idle)?;
        setsockopt(stream, TcpKeepInterval, &interval)?;
        setsockopt(stream, TcpKeepCount, &count)?;
        setsockopt(stream, TcpUserTimeout, &unanswered)?;
        Ok(())
    });
    if let Err(error) = set {
        tracing::debug!(%error, "a connection that is cut off will be noticed late");
    }
}

fn handshake_failed(server: &ServerAddress, error: io::Error) -> ConnectError {
    let server = server.clone();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) => ConnectError::NoTls { server },
        Some(source) => ConnectError::Untrusted { server, source: source.clone() },
        None => ConnectError::Broken { server, source: error },
    }
}

/// The alert with which the other end said that it does not take our certificate, if it did.
fn trust_error(error: &(dyn std::error::Error + 'static)) -> Option<rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error shows what is in it by another way than its source.
        let inner = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => inner.downcast_ref::<rustls::Error>(),
            None => error.downcast_ref::<rustls::Error>(),
        };
        if let Some(found @ rustls::Error::AlertReceived(alert)) = inner
            && *alert != AlertDescription::CloseNotify
        {
            return Some(found.clone());
        }
        next = error.source();
    }
    None
}
