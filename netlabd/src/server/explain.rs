// SPDX-License-Identifier: GPL-3.0-or-later
//! What a person would type to have by hand what netlab made.

use axum::extract::State;
use netlab_api::script::Script;
use netlab_api::{Pod, Service};

use super::answer::{Answer, Failure};
use super::router::App;
use super::target::Single;
use crate::control::access::ScriptRequest;

/// `GET /v1/explain/pods/{namespace}/{name}`.
pub(super) async fn pod(
    State(app): State<App>,
    Single(key, _): Single<Pod>,
) -> Result<Answer<Script>, Failure> {
    let pod = super::exec::pod(&app, &key).await?;
    tell(&app, ScriptRequest::Pod(Box::new(pod))).await
}

/// `GET /v1/explain/services/{namespace}/{name}`.
pub(super) async fn service(
    State(app): State<App>,
    Single(key, _): Single<Service>,
) -> Result<Answer<Script>, Failure> {
    let request = ScriptRequest::Service(key.namespace.unwrap_or_default(), key.name);
    tell(&app, request).await
}

/// `GET /v1/explain/proxy`.
pub(super) async fn proxy(State(app): State<App>) -> Result<Answer<Script>, Failure> {
    tell(&app, ScriptRequest::Proxy).await
}

/// `GET /v1/explain/network`.
pub(super) async fn network(State(app): State<App>) -> Result<Answer<Script>, Failure> {
    tell(&app, ScriptRequest::Network).await
}

async fn tell(app: &App, request: ScriptRequest) -> Result<Answer<Script>, Failure> {
    Ok(Answer::new(&app.state.pods.script(request).await?))
}
