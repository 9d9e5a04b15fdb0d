// SPDX-License-Identifier: GPL-3.0-or-later
//! What somebody without a certificate is served: one try to join, and errors.

use std::net::SocketAddr;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt, Limited};
use netlab_api::{ApiError, Reason, Time};
use tokio::sync::{mpsc, oneshot};

use super::budget::Source;
use super::{Server, locked};
use crate::server::answer::{Failure, bad_request, json, stopping};
use crate::trust::membership::Refusal;
use crate::trust::wire::JoinRequest;

/// Joins that are looked at at once; each costs a signature and a write.
pub(super) const JOINS: usize = 16;
/// Bytes of a request to join: token, name and certificate request are below 2 KiB.
const BODY_BYTES: usize = 16 * 1024;

/// A request to join, and where its answer goes.
pub(super) struct Wish {
    body: Body,
    answer: oneshot::Sender<Response>,
}

/// Passes requests to join on, and refuses all others.
pub(super) fn router(ask: mpsc::Sender<Wish>) -> Router {
    let join = move |request: Request| async move {
        let (answer, answered) = oneshot::channel();
        let wish = Wish { body: request.into_body(), answer };
        match ask.send(wish).await {
            Ok(()) => last(answered.await.unwrap_or_else(|_| Failure(stopping()).into_response())),
            Err(_) => last(Failure(stopping()).into_response()),
        }
    };
    let refuse_all = || async { refuse(no_certificate()) };
    Router::new().route("/v1/join", post(join).fallback(refuse_all)).fallback(refuse_all)
}

/// Refuses everything.
pub(super) fn refusing(error: ApiError) -> Router {
    Router::new().fallback(move || async move { refuse(error) })
}

/// Why somebody without a certificate is served nothing.
pub(super) fn no_certificate() -> ApiError {
    ApiError::new(Reason::Forbidden, "this port is for nodes, which show a certificate")
        .with_hint("people use the unix socket, also that of a node: `netlabctl` does")
}

fn refuse(error: ApiError) -> Response {
    last(Failure(error).into_response())
}

/// A stranger's connection has one answer.
fn last(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

impl Server {
    pub(super) async fn answer_join(&self, peer: SocketAddr, wish: Wish) {
        let response = match self.join(peer, wish.body).await {
            Ok(response) => response,
            Err(error) => {
                self.tell_of_refusal(peer, &error);
                Failure(error).into_response()
            }
        };
        let _ = wish.answer.send(response);
    }

    async fn join(&self, peer: SocketAddr, body: Body) -> Result<Response, ApiError> {
        let source = Source::of(peer.ip());
        if !locked(&self.budget).may_show_token(source, Instant::now()) {
            return Err(ApiError::new(
                Reason::TooManyRequests,
                format!("too many wrong tokens came from {}", peer.ip()),
            )
            .with_hint("wait a minute, then try again with a token that is right"));
        }
        let arrival = self.app.state.limits.arrival;
        let reading = Limited::new(body, BODY_BYTES).collect();
        let bytes = tokio::time::timeout(arrival, reading)
            .await
            .map_err(|_| bad_request("the request to join did not arrive in time"))?
            .map_err(|error| bad_request(format!("failed to read the request to join: {error}")))?
            .to_bytes();
        let wish: JoinRequest = serde_json::from_slice(&bytes).map_err(|error| {
            bad_request(format!("this is no request to join: {error}"))
                .with_hint("are both daemons of the same version?")
        })?;
        let Ok(_turn) = self.joins.try_acquire() else {
            return Err(ApiError::new(
                Reason::TooManyRequests,
                "many machines join at this moment",
            )
            .with_hint("it is tried again"));
        };
        match self.membership.join(&wish, Time::now()).await {
            Ok(answer) => Ok(json(axum::http::StatusCode::OK, &answer)),
            Err(refusal) => {
                if matches!(refusal, Refusal::Stranger(_)) {
                    locked(&self.budget).wrong_token(source, Instant::now());
                }
                Err(refusal.error().clone())
            }
        }
    }
}
