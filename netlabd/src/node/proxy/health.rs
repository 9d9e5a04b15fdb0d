// SPDX-License-Identifier: GPL-3.0-or-later
//! Health check node ports: where a load balancer asks whether this node has endpoints of a service
//! with `externalTrafficPolicy: Local`, and so whether to send it packets.
//!
//! ```text
//!   GET http://NODE:PORT/    200 with ready local endpoints and rules in force, else 503
//!   {"service":{"namespace":"default","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}
//! ```
//!
//! Whatever the path and the method, as kube-proxy has it. Anyone can ask, so there is a bound on
//! connections and on the time that each may take; when there are too many, the oldest goes, so
//! that idle ones cannot keep a load balancer out.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener};
use std::os::fd::AsRawFd;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use netlab_link::{Netns, NetnsError};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, Shutdown, SockFlag, SockType, SockaddrIn6, bind, listen, setsockopt,
    shutdown, socket, sockopt,
};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

/// How many connections a port has at a time.
const CONNECTIONS: usize = 64;
/// How long a connection may take in all. Load balancers give up after some seconds themselves.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// What is read of a head; hyper takes no less.
const READ_BUFFER: usize = 8192;
/// The wait after an accept that failed, for want of descriptors as a rule.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);
/// For load balancers that share packets out by the number of endpoints.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// Why a health check port is not served.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The namespace could not be entered or kept.
    #[error("failed to enter the node's network namespace for health check ports")]
    Netns {
        /// Why.
        #[source]
        source: NetnsError,
    },
    /// The port cannot be had.
    #[error(
        "failed to listen on health check port `{port}` of service `{service}`: is another program \
         there?"
    )]
    Listen {
        /// The port.
        port: u16,
        /// The service, as `namespace/name`.
        service: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is answered on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthFacts {
    /// The namespace of the service.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// How many ready endpoints this node has. Those that are terminating do not count, although
    /// they may still get packets: the load balancer is to look elsewhere.
    pub local_endpoints: usize,
    /// This node's rules are what they must be.
    pub proxy_healthy: bool,
}

impl HealthFacts {
    /// Whether the node should get packets for the service.
    pub fn is_healthy(&self) -> bool {
        self.local_endpoints > 0 && self.proxy_healthy
    }

    fn answer(&self) -> Response<Full<Bytes>> {
        let body = serde_json::json!({
            "service": { "namespace": self.namespace, "name": self.name },
            "localEndpoints": self.local_endpoints,
            "serviceProxyHealthy": self.proxy_healthy,
        });
        let status =
            if self.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Response::builder()
            .status(status)
            .header(CONTENT_TYPE, "application/json")
            .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
            .header(WEIGHT, self.local_endpoints)
            .body(Full::from(body.to_string()))
            .expect("constants and a number are valid headers")
    }
}

/// The health check ports of this node, on all of its addresses.
#[derive(Debug)]
pub struct HealthPorts {
    netns: Netns,
    ports: BTreeMap<u16, Port>,
}

/// A port that is served for as long as this lives.
#[derive(Debug)]
struct Port {
    facts: watch::Sender<HealthFacts>,
    task: JoinHandle<()>,
}

impl HealthPorts {
    /// Serves no port yet.
    ///
    /// # Errors
    /// [`HealthError::Netns`] without a descriptor to spare.
    pub fn open(netns: &Netns) -> Result<HealthPorts, HealthError> {
        let netns = netns.try_clone().map_err(|source| HealthError::Netns { source })?;
        Ok(HealthPorts { netns, ports: BTreeMap::new() })
    }

    /// Serves these ports and no others, with these facts from the next request on. Within a tokio
    /// runtime. Returns the ports that cannot be had, which are tried again by the next call; all
    /// others are served.
    pub async fn wish(&mut self, wish: &BTreeMap<u16, HealthFacts>) -> Vec<HealthError> {
        let gone: Vec<u16> =
            self.ports.keys().filter(|port| !wish.contains_key(*port)).copied().collect();
        for port in gone {
            if let Some(port) = self.ports.remove(&port) {
                port.close().await;
            }
        }
        let mut errors = Vec::new();
        for (&number, facts) in wish {
            if let Some(port) = self.ports.get(&number) {
                port.facts.send_if_modified(|served| {
                    let differs = served != facts;
                    served.clone_from(facts);
                    differs
                });
                continue;
            }
            match self.listen(number, facts) {
                Ok(port) => drop(self.ports.insert(number, port)),
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    /// The ports that are served.
    pub fn served(&self) -> impl Iterator<Item = u16> {
        self.ports.keys().copied()
    }

    fn listen(&self, number: u16, facts: &HealthFacts) -> Result<Port, HealthError> {
        let failed = |source| HealthError::Listen {
            port: number,
            service: format!("{}/{}", facts.namespace, facts.name),
            source,
        };
        let listener = self
            .netns
            .run(|| listen_here(number))
            .map_err(|source| HealthError::Netns { source })?
            .map_err(failed)?;
        let listener = Listener(tokio::net::TcpListener::from_std(listener).map_err(failed)?);
        let (sender, receiver) = watch::channel(facts.clone());
        Ok(Port { facts: sender, task: tokio::spawn(serve(listener, receiver)) })
    }
}

impl Port {
    /// Returns when the port is free again.
    async fn close(mut self) {
        self.task.abort();
        // Aborted, or ended by a panic: it is over either way.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listening socket that ends with this, wherever else it may be open: a process that is being
/// spawned has it too, until it executes its program.
struct Listener(tokio::net::TcpListener);

impl Drop for Listener {
    fn drop(&mut self) {
        // Only fails when it no longer listens.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Read);
    }
}

/// Listens on all addresses of both families, or of IPv4 where the kernel has no IPv6.
fn listen_here(port: u16) -> io::Result<TcpListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = match socket(AddressFamily::Inet6, SockType::Stream, flags, None) {
        Err(Errno::EAFNOSUPPORT) => {
            let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
            listener.set_nonblocking(true)?;
            return Ok(listener);
        }
        socket => socket?,
    };
    // Connections of an earlier daemon may still be in TIME_WAIT.
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    // Whatever `net.ipv6.bindv6only` says.
    setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    let address = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    bind(socket.as_raw_fd(), &address)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket.into())
}

/// Accepts for ever. All connections end with this.
async fn serve(listener: Listener, facts: watch::Receiver<HealthFacts>) {
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.0.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a health check: too many open files?");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
                continue;
            }
        };
        oldest_first.retain(|connection| !connection.is_finished());
        if oldest_first.len() >= CONNECTIONS
            && let Some(oldest) = oldest_first.pop_front()
        {
            oldest.abort();
        }
        oldest_first.push_back(connections.spawn(serve_connection(stream, facts.clone())));
    }
}

/// Answers one request.
async fn serve_connection(stream: TcpStream, facts: watch::Receiver<HealthFacts>) {
    let service = service_fn(|_| {
        let answer = facts.borrow().answer();
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    // Who takes too long, hangs up or speaks no HTTP gets no answer; nobody needs to hear of it.
    let _ = tokio::time::timeout(TIMEOUT, connection).await;
}
