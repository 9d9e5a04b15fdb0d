// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections: accepted, bounded, checked for who opened them, and drained at the end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use netlab_api::{ApiError, Reason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tower::Service;
use tower::util::MapRequest;

use super::ServerState;
use super::answer::Failure;
use super::caller::Caller;
use super::peer::Peer;
use super::router::{App, Phase, router};
use super::{Limits, Readiness};

/// Headers of a request, and what of a body is read ahead. A request line is at most 64 KiB (the
/// limit of the `http` crate), and selectors are there, and the short commands of an exec.
pub(super) const READ_BUFFER: usize = 128 * 1024;
/// Refused peers are told why, but so many of them at a time and no more.
const REFUSALS: usize = 16;
/// The first and the longest wait after an accept that failed, for want of descriptors as a rule.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Serves the API on `listener` until `shutdown` is done. Then no connection is accepted any more,
/// watches end, requests get [`Limits::drain`](super::Limits::drain) to finish and exec sessions
/// [`Limits::session_drain`](super::Limits::session_drain).
///
/// Never ends for an error: an accept that fails is tried again.
pub async fn serve(listener: UnixListener, state: ServerState, shutdown: impl Future<Output = ()>) {
    let (phase, receiver) = watch::channel(Phase::Serving);
    let limits = state.limits.clone();
    let readiness = state.readiness.clone();
    let app = App::new(state, receiver);
    let server = Server {
        router: router(app.clone()),
        app,
        connections: Arc::new(Semaphore::new(limits.connections)),
        refusals: Arc::new(Semaphore::new(REFUSALS)),
    };
    tokio::select! {
        () = server.accept_all(&listener) => {}
        () = shutdown => {}
    }
    drop(listener);
    drop(server);
    drain(phase, &limits, &readiness).await;
}

/// Ends what goes on: gently first, and what takes too long by force.
pub(super) async fn drain(phase: watch::Sender<Phase>, limits: &Limits, readiness: &Readiness) {
    let _stopping = readiness.gate("netlabd is stopping");
    let _ = phase.send(Phase::Draining);
    // Every connection and session holds a receiver; the channel closes when the last is gone.
    if tokio::time::timeout(limits.drain, phase.closed()).await.is_err() {
        tracing::info!(
            connections = phase.receiver_count(),
            "ending connections that did not finish in time"
        );
        let _ = phase.send(Phase::Closed);
        phase.closed().await;
    }
}

struct Server {
    app: App,
    router: Router,
    connections: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Server {
    async fn accept_all(&self, listener: &UnixListener) {
        let mut backoff = BACKOFF.0;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    backoff = BACKOFF.0;
                    self.admit(stream);
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "failed to accept a connection: are there too many open files?"
                    );
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF.1);
                }
            }
        }
    }

    fn admit(&self, stream: UnixStream) {
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!(%error, "dropping a connection whose peer cannot be told");
                return;
            }
        };
        let group = self.app.state.group;
        if !peer.is_allowed(group) {
            tracing::warn!(?peer, "refusing a connection of a peer that is not in the group");
            self.app.state.metrics.refused.inc();
            self.refuse(stream, move || peer.refusal(group));
            return;
        }
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            let limit = self.app.state.limits.connections;
            self.refuse(stream, move || {
                ApiError::new(
                    Reason::TooManyRequests,
                    format!("{limit} connections are open already"),
                )
                .with_hint("close some: watches, execs and followed logs hold one each")
            });
            return;
        };
        let (app, router) = (self.app.clone(), self.router.clone());
        tokio::spawn(async move {
            let _level = app.state.metrics.connections.raise();
            serve_connection(stream, &app, as_caller(router, Caller::Local), READ_BUFFER).await;
            drop(permit);
        });
    }

    /// Answers the first request on `stream` with an error, which may take its time to be made.
    fn refuse(&self, stream: UnixStream, error: impl FnOnce() -> ApiError + Send + 'static) {
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
        let app = self.app.clone();
        tokio::spawn(async move {
            let Ok(error) = tokio::task::spawn_blocking(error).await else { return };
            let router = Router::new().fallback(move || async move {
                let mut response = Failure(error).into_response();
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
                response
            });
            let arrival = app.state.limits.arrival;
            let answer = serve_connection(stream, &app, router, READ_BUFFER);
            let _ = tokio::time::timeout(arrival, answer).await;
            drop(permit);
        });
    }
}

/// A router that tells its handlers who calls.
pub(super) fn as_caller<B>(
    router: Router,
    caller: Caller,
) -> MapRequest<Router, impl FnMut(Request<B>) -> Request<B> + Clone> {
    MapRequest::new(router, move |mut request: Request<B>| {
        request.extensions_mut().insert(caller.clone());
        request
    })
}

/// Serves one connection until its end, or the server's. `buffer` bounds the head of a request.
pub(super) async fn serve_connection<S, R>(stream: S, app: &App, router: R, buffer: usize)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    R::Future: Send,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.state.limits.arrival)
        .max_buf_size(buffer)
        .max_header_size(buffer)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let started = Instant::now();
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = app.draining() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = app.closed() => return,
            }
        }
    };
    if let Err(error) = result {
        // Clients hang up, send garbage and stall; that is theirs to mend, not the operator's.
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            after = ?started.elapsed(),
            "a connection ended early"
        );
    }
}
