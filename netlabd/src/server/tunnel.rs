// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections to nodes that nodes open: the server says in a node's view that it wants to talk,
//! and the node connects back.
//!
//! ```text
//!   exec for a pod of n2 ──► Dial{7} in n2's view ──► n2: POST …/tunnels/7, Upgrade
//!                       ◄──────────── the connection, in which the server is the client ◄──┘
//! ```
//!
//! So nodes listen to nobody, and only one address of a cluster has to be reachable.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use netlab_api::client::{Dial, Dialing, Io};
use netlab_api::view::ViewEvent;
use tokio::sync::{oneshot, watch};

use super::ServerState;
use super::caller::Caller;
use super::connection::{READ_BUFFER, as_caller, serve_connection};
use super::router::{App, Phase, router};

/// How long a node may take to connect back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says something in a node's view; whether the node is followed.
type Tell = Box<dyn Fn(&str, ViewEvent) -> bool + Send + Sync>;

/// The tunnels that somebody waits for.
pub struct Tunnels {
    tell: Tell,
    next: AtomicU64,
    awaited: Mutex<HashMap<(String, u64), oneshot::Sender<Upgraded>>>,
}

impl Tunnels {
    /// Tunnels to nodes that are told by `tell`.
    pub fn new(tell: impl Fn(&str, ViewEvent) -> bool + Send + Sync + 'static) -> Arc<Tunnels> {
        let awaited = Mutex::default();
        Arc::new(Tunnels { tell: Box::new(tell), next: AtomicU64::new(1), awaited })
    }

    /// Tunnels to nobody: this is not the server.
    pub fn none() -> Arc<Tunnels> {
        Tunnels::new(|_, _| false)
    }

    /// A way to a node.
    pub fn to(self: &Arc<Self>, node: &str) -> Arc<dyn Dial> {
        Arc::new(WayToNode { tunnels: self.clone(), node: node.to_owned() })
    }

    pub(super) fn is_awaited(&self, node: &str, tunnel: u64) -> bool {
        self.lock().contains_key(&(node.to_owned(), tunnel))
    }

    pub(super) fn arrived(&self, node: &str, tunnel: u64, upgraded: Upgraded) {
        if let Some(waiting) = self.lock().remove(&(node.to_owned(), tunnel)) {
            // Who waited may have given up meanwhile.
            let _ = waiting.send(upgraded);
        }
    }

    async fn open(&self, node: &str) -> io::Result<Box<dyn Io>> {
        let tunnel = self.next.fetch_add(1, Ordering::Relaxed);
        let key = (node.to_owned(), tunnel);
        let (arrived, arrival) = oneshot::channel();
        self.lock().insert(key.clone(), arrived);
        // Whoever asked may hang up while the node dials.
        let _awaited = Awaited { tunnels: self, key };
        if !(self.tell)(node, ViewEvent::Dial { tunnel }) {
            return Err(io::Error::new(
                io::ErrorKind::NotConnected,
                format!("node `{node}` is not connected: is netlabd running on it?"),
            ));
        }
        match tokio::time::timeout(PATIENCE, arrival).await {
            Ok(Ok(upgraded)) => Ok(Box::new(TokioIo::new(upgraded))),
            _ => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("node `{node}` did not connect back within {PATIENCE:?}"),
            )),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, u64), oneshot::Sender<Upgraded>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tunnel is awaited for as long as this lives.
struct Awaited<'a> {
    tunnels: &'a Tunnels,
    key: (String, u64),
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.tunnels.lock().remove(&self.key);
    }
}

/// Serves what the server asks a node in tunnels.
pub struct TunnelServer {
    app: App,
    router: Router,
    /// Tunnels end with the daemon.
    _phase: watch::Sender<Phase>,
}

impl TunnelServer {
    /// Serves the API of `state`.
    pub fn new(state: ServerState) -> TunnelServer {
        let (phase, receiver) = watch::channel(Phase::Serving);
        let app = App::new(state, receiver);
        TunnelServer { router: router(app.clone()), app, _phase: phase }
    }

    /// Serves a tunnel until its end, in a task of its own.
    pub fn serve(&self, upgraded: Upgraded) {
        let router = as_caller(self.router.clone(), Caller::Server);
        let app = self.app.clone();
        tokio::spawn(async move {
            serve_connection(TokioIo::new(upgraded), &app, router, READ_BUFFER).await;
        });
    }
}

struct WayToNode {
    tunnels: Arc<Tunnels>,
    node: String,
}

impl Dial for WayToNode {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(self.tunnels.open(&self.node))
    }

    fn describe(&self) -> String {
        format!("node {}", self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tunnel_is_forgotten_when_nobody_waits_for_it_any_more() {
        let (told, mut dials) = tokio::sync::mpsc::unbounded_channel();
        let tunnels = Tunnels::new(move |node, event| told.send((node.to_owned(), event)).is_ok());
        let way = tunnels.to("n2");
        let dialing = tokio::spawn(async move { way.dial().await.map(|_| ()) });
        let (node, event) = dials.recv().await.unwrap();
        assert_eq!((node.as_str(), event), ("n2", ViewEvent::Dial { tunnel: 1 }));
        assert!(tunnels.is_awaited("n2", 1) && !tunnels.is_awaited("n3", 1));
        dialing.abort();
        assert!(dialing.await.unwrap_err().is_cancelled());
        assert!(!tunnels.is_awaited("n2", 1));
    }
}
