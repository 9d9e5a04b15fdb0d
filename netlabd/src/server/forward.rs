// SPDX-License-Identifier: GPL-3.0-or-later
//! Port forwarding: a request that becomes a TCP connection to a port of a pod.
//!
//! The pod is connected to before the answer, so whoever asks hears of a refusal as an error.

use aide::transform::TransformOperation;
use axum::extract::{Request, State};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use netlab_api::forward::FORWARD_PROTOCOL;
use netlab_api::{ApiError, Pod};
use schemars::JsonSchema;
use tokio::io::copy_bidirectional;

use super::answer::{Failure, bad_request};
use super::exec::{pod, time_is_up};
use super::query::{FromQuery, Params, Query};
use super::router::App;
use super::target::Single;
use super::upgrade::{switch_to, upgrade_of, wants};
use crate::control::access::PodStream;

/// `POST …/portforward`.
pub(super) async fn forward(
    State(app): State<App>,
    Single(key, _): Single<Pod>,
    Params(params): Params<ForwardParams>,
    mut request: Request,
) -> Result<Response, Failure> {
    if !wants(request.headers(), FORWARD_PROTOCOL) {
        return Err(bad_request("port forwarding needs an upgraded connection")
            .with_hint(format!(
                "send `Connection: Upgrade` and `Upgrade: {FORWARD_PROTOCOL}`, or use `netlabctl port-forward`"
            ))
            .into());
    }
    let port = params.port.filter(|port| *port != 0).ok_or_else(|| {
        bad_request("query parameter `port` is missing").with_hint("`?port=8080`")
    })?;
    let upgrade = upgrade_of(&mut request, "port forwarding")?;
    let pod = pod(&app, &key).await?;
    let stream = app.state.pods.forward(&pod, port).await?;
    tokio::spawn(run(app, upgrade, stream));
    Ok(switch_to(FORWARD_PROTOCOL))
}

/// Documents the answer, which has no JSON body.
pub(super) fn document(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .response_with::<101, (), _>(|response| {
            response.description("the connection is now one to the port of the pod")
        })
        .default_response::<Failure>()
}

/// Carries one connection to its end: until both directions have ended, or one is broken.
async fn run(app: App, upgrade: OnUpgrade, mut stream: Box<dyn PodStream>) {
    // An error here means that the client went before the 101 reached it.
    let Ok(upgraded) = upgrade.await else { return };
    let _level = app.state.metrics.forwards.raise();
    let mut upgraded = TokioIo::new(upgraded);
    tokio::select! {
        // How it ended concerns the two ends, and both know.
        _ = copy_bidirectional(&mut upgraded, &mut stream) => {}
        () = time_is_up(&app) => {}
    }
}

/// Parameters of a port forwarding.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ForwardParams {
    /// The port, from 1 to 65535.
    port: Option<u16>,
}

impl FromQuery for ForwardParams {
    fn from_query(query: &mut Query) -> Result<ForwardParams, ApiError> {
        Ok(ForwardParams { port: query.value("port", "a port from 1 to 65535")? })
    }
}
