// SPDX-License-Identifier: GPL-3.0-or-later
//! The TCP port for other nodes: TLS, and the API for those who show a certificate of the cluster.
//!
//! ```text
//!   accept ─► budget ─► TLS handshake ─┬─ a member's certificate ──► the API, as that node
//!      (too often: dropped;            ├─ a certificate, no member ─► 403 and why
//!       too many: the oldest goes)     ├─ none ─────────────────────► POST /v1/join, nothing else
//!                                      └─ a foreign one ────────────► broken off
//! ```
//!
//! A stranger has a few seconds for all of it and little room. A member's connection ends when its
//! node is deleted.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use netlab_api::{ApiError, Time};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::budget::{Budget, Quiet, Source};
use super::ServerState;
use super::caller::Caller;
use super::connection::{READ_BUFFER, as_caller, drain, serve_connection};
use super::router::{App, Phase, router};
use crate::error::chain;
use crate::trust::Membership;
use crate::trust::authority::ServerNames;
use crate::trust::certificate::Facts;
use crate::trust::client::watch_peer;
use crate::trust::membership::no_member;
use crate::trust::names;
use crate::trust::tls;

mod budget;
mod stranger;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stranger may stay after it.
const STRANGER_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of a stranger's request head; hyper takes no less.
const STRANGER_BUFFER: usize = 8192;
/// How often the server looks whether its own certificate is fit.
const REFRESH: Duration = Duration::from_secs(60);
/// The wait after an accept that failed, for want of descriptors as a rule.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// The port for nodes.
#[derive(Clone)]
pub struct NodePort {
    /// Who may use it, and who may come to.
    pub membership: Arc<Membership>,
    /// Where it is.
    pub listen: SocketAddr,
}

/// Why there is no port for nodes.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The port cannot be had.
    #[error("failed to listen on {address}: is another program there, and is it this machine's?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The authority's certificate cannot be used.
    #[error(transparent)]
    Identity(#[from] crate::trust::identity::IdentityError),
}

/// A listening port, and all that it takes to serve it.
pub struct BoundPort {
    /// For [`ServerState::nodes`].
    pub port: NodePort,
    listener: TcpListener,
    tls: TlsAcceptor,
}

/// Listens on a TCP port; with port 0, on one that is free.
///
/// # Errors
/// When it is taken, or TLS cannot be set up.
pub async fn bind_port(
    address: SocketAddr,
    membership: Arc<Membership>,
) -> Result<BoundPort, RemoteError> {
    let authority = membership.authority();
    let config = tls::server(authority.server().clone(), authority.certificate_der()?)?;
    let failed = |source| RemoteError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let listen = listener.local_addr().map_err(failed)?;
    let port = NodePort { membership, listen };
    Ok(BoundPort { port, listener, tls: TlsAcceptor::from(Arc::new(config)) })
}

/// Serves nodes until `shutdown` is done, and then ends as [`serve`](super::serve) does. Keeps the
/// server's certificate fit meanwhile.
pub async fn serve_remote(
    bound: BoundPort,
    state: ServerState,
    shutdown: impl Future<Output = ()>,
) {
    let BoundPort { port, listener, tls } = bound;
    let (phase, receiver) = watch::channel(Phase::Serving);
    let limits = state.limits.clone();
    let readiness = state.readiness.clone();
    let app = App::new(state, receiver);
    let budget = Arc::new(Mutex::new(Budget::new(Instant::now())));
    let membership = port.membership.clone();
    let server = Arc::new(Server {
        router: router(app.clone()),
        app,
        tls,
        membership: membership.clone(),
        nodes: Arc::new(Semaphore::new(limits.connections)),
        joins: Semaphore::new(stranger::JOINS),
        budget,
        handshakes: Mutex::new(Quiet::new(Instant::now())),
        refusals: Mutex::new(Quiet::new(Instant::now())),
        changes: watch::Sender::new(()),
    });
    tokio::select! {
        () = server.clone().accept_all(&listener) => {}
        () = server.watch_members() => {}
        () = keep_certificate(&membership) => {}
        () = shutdown => {}
    }
    drop(listener);
    drop(server);
    drain(phase, &limits, &readiness).await;
}

struct Server {
    app: App,
    router: Router,
    tls: TlsAcceptor,
    membership: Arc<Membership>,
    /// Connections of members: their own, which no stranger takes from.
    nodes: Arc<Semaphore>,
    /// Joins that are looked at at once.
    joins: Semaphore,
    budget: Arc<Mutex<Budget<oneshot::Sender<()>>>>,
    handshakes: Mutex<Quiet>,
    refusals: Mutex<Quiet>,
    /// Changes whenever a member comes or goes.
    changes: watch::Sender<()>,
}

/// A stranger's place in the budget; given back when dropped.
struct Place {
    id: u64,
    budget: Arc<Mutex<Budget<oneshot::Sender<()>>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.budget).leave(self.id);
    }
}

/// Whom the handshake showed.
enum Shown {
    Nobody,
    Member {
        node: String,
        key: String,
    },
    Former(String),
    /// A certificate of the cluster that is no node's.
    Unnamed,
}

impl Server {
    async fn accept_all(self: Arc<Self>, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.clone().admit(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a node: are there too many open files?");
                    tokio::time::sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }

    fn admit(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let source = Source::of(peer.ip());
        let (evict, evicted) = oneshot::channel();
        let entry = locked(&self.budget).enter(source, evict);
        // Whoever has to go hears of it by this.
        drop(entry.evicted);
        let place = Place { id: entry.id, budget: self.budget.clone() };
        tokio::spawn(async move {
            let draining = self.app.draining();
            let welcomed = tokio::select! {
                welcomed = self.welcome(stream, peer) => welcomed,
                _ = evicted => None,
                () = draining => None,
            };
            drop(place);
            if let Some((stream, node, key)) = welcomed {
                self.serve_node(stream, node, key).await;
            }
        });
    }

    /// Secures a connection, and serves it to its end unless it is a member's.
    async fn welcome(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, String, String)> {
        watch_peer(&stream);
        let securing = self.secure(stream, Source::of(peer.ip()));
        let secured = tokio::time::timeout(HANDSHAKE_TIMEOUT, securing).await;
        let stream = match secured.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => stream,
            Err(error) => {
                self.tell_of_handshake(peer, &chain(&error));
                return None;
            }
        };
        let router = match self.shown(&stream).await {
            Ok(Shown::Member { node, key }) => {
                locked(&self.budget).recognise(Source::of(peer.ip()), Instant::now());
                return Some((stream, node, key));
            }
            Ok(Shown::Nobody) => None,
            Ok(Shown::Former(node)) => {
                self.tell_of_refusal(peer, &no_member(&node));
                Some(stranger::refusing(no_member(&node)))
            }
            Ok(Shown::Unnamed) => Some(stranger::refusing(stranger::no_certificate())),
            Err(error) => Some(stranger::refusing(error)),
        };
        let app = &self.app;
        match router {
            Some(router) => {
                let serving = serve_connection(stream, app, router, STRANGER_BUFFER);
                let _ = tokio::time::timeout(STRANGER_TIMEOUT, serving).await;
            }
            None => {
                let (ask, mut asked) = tokio::sync::mpsc::channel(1);
                let serving = serve_connection(stream, app, stranger::router(ask), STRANGER_BUFFER);
                let answering = async {
                    while let Some(wish) = asked.recv().await {
                        self.answer_join(peer, wish).await;
                    }
                };
                let both = async { tokio::join!(serving, answering) };
                let _ = tokio::time::timeout(STRANGER_TIMEOUT, both).await;
            }
        }
        None
    }

    async fn secure(&self, stream: TcpStream, source: Source) -> io::Result<TlsStream<TcpStream>> {
        // Not `readable`, which may be wrong.
        if stream.peek(&mut [0]).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !locked(&self.budget).may_shake_hands(source, Instant::now()) {
            return Err(io::Error::other("this source connects too often"));
        }
        self.tls.accept(stream).await
    }

    async fn shown(&self, stream: &TlsStream<TcpStream>) -> Result<Shown, ApiError> {
        let certificates = stream.get_ref().1.peer_certificates();
        let Some(certificate) = certificates.and_then(<[_]>::first) else {
            return Ok(Shown::Nobody);
        };
        let Ok(Facts { node: Some(node), key, .. }) = Facts::of(certificate) else {
            return Ok(Shown::Unnamed);
        };
        let key = key.to_string();
        Ok(match self.membership.is_member(&node, &key).await? {
            true => Shown::Member { node, key },
            false => Shown::Former(node),
        })
    }

    async fn serve_node(&self, stream: TlsStream<TcpStream>, node: String, key: String) {
        let Ok(_permit) = self.nodes.clone().try_acquire_owned() else {
            tracing::warn!(node, "too many connections of nodes: dropping one");
            return;
        };
        let _level = self.app.state.metrics.connections.raise();
        let router = as_caller(self.router.clone(), Caller::Node(node.clone()));
        tokio::select! {
            () = serve_connection(stream, &self.app, router, READ_BUFFER) => {}
            () = self.cast_out(&node, &key) => {
                tracing::info!(node, "ended a connection of a node that was deleted");
            }
        }
    }

    /// Ends when the node is no member any more.
    async fn cast_out(&self, node: &str, key: &str) {
        let mut changes = self.changes.subscribe();
        // First a look: it may have gone between the handshake and now.
        while !matches!(self.membership.is_member(node, key).await, Ok(false)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn watch_members(&self) {
        loop {
            match self.membership.control().watch_members().await {
                Ok(mut watch) => {
                    self.changes.send_replace(());
                    while watch.next_batch().await.is_ok() {
                        self.changes.send_replace(());
                    }
                }
                Err(error) => tracing::warn!(%error, "deleted nodes are noticed late"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn tell_of_handshake(&self, peer: SocketAddr, why: &str) {
        if let Some(kept) = locked(&self.handshakes).speak(Instant::now()) {
            tracing::warn!(%peer, why, not_told = kept, "dropped a connection that did not secure");
        }
    }

    fn tell_of_refusal(&self, peer: SocketAddr, error: &ApiError) {
        if let Some(kept) = locked(&self.refusals).speak(Instant::now()) {
            tracing::warn!(%peer, %error, not_told = kept, "refused a machine");
        }
    }
}

/// Renews the server's own certificate before it ends, and when the server's addresses change.
/// Never ends: drop it.
async fn keep_certificate(membership: &Membership) {
    let authority = membership.authority();
    let every = REFRESH.min(authority.lifetime() / 20).max(Duration::from_millis(100));
    loop {
        tokio::time::sleep(every).await;
        match authority.refresh(&names::own(membership.node()), Time::now()) {
            Ok(true) => {
                let until = authority.server().facts().not_after;
                tracing::info!(%until, "renewed the server's certificate");
            }
            Ok(false) => {}
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "the server's certificate is not renewed");
            }
        }
    }
}

impl NodePort {
    /// What the server of this node is known by, now.
    pub fn names(node: &str) -> ServerNames {
        names::own(node)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
