// SPDX-License-Identifier: GPL-3.0-or-later
//! What nodes ask and tell: their view, their reports, and the tunnels on which they are asked.
//!
//! A node may do these things for itself only; who it is, its certificate says. The rest of the
//! API is open to it as to anybody who may use the socket.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use netlab_api::view::{NetworkSettings, NodeReport, ReportAnswer, TUNNEL_PROTOCOL, ViewEvent};
use netlab_api::{ApiError, Reason};
use schemars::JsonSchema;

use super::answer::{Answer, Failure, bad_request, defect};
use super::body::JsonBody;
use super::caller::Caller;
use super::query::{FromQuery, NoParams, Params, Query};
use super::router::App;
use super::upgrade::{switch_to, upgrade_of, wants};
use crate::control::plane::{ControlPlane, NodeView};
use crate::store::Revision;

/// A view that had nothing to say for so long says that, so that a node hears of a dead server.
const PING: Duration = Duration::from_secs(2);

/// `GET …/view`.
pub(super) async fn view(
    State(app): State<App>,
    caller: Option<Extension<Caller>>,
    Path(node): Path<String>,
    Params(params): Params<ViewParams>,
) -> Result<Response, Failure> {
    let nodes = nodes_of(&app, caller, &node)?;
    let view = nodes.view(&node, params.resource_version.map(Revision)).await?;
    let followed = Followed { app: app.clone(), view: Some(view) };
    let body = Body::from_stream(stream::unfold(followed, |mut followed| async {
        let piece = followed.next_piece().await?;
        Some((Ok::<Bytes, Infallible>(piece), followed))
    }));
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], body).into_response())
}

/// `POST …/report`.
pub(super) async fn report(
    State(app): State<App>,
    caller: Option<Extension<Caller>>,
    Path(node): Path<String>,
    JsonBody(report): JsonBody<NodeReport>,
) -> Result<Answer<ReportAnswer>, Failure> {
    let nodes = nodes_of(&app, caller, &node)?;
    // A node that hangs up midway does not stop a write between two of its steps.
    let told = tokio::spawn(async move { nodes.report(&node, report).await }).await;
    let answer = told.map_err(|_| defect("a report of a node broke off"))??;
    Ok(Answer::new(&answer))
}

/// `POST …/tunnels/{tunnel}`.
pub(super) async fn tunnel(
    State(app): State<App>,
    caller: Option<Extension<Caller>>,
    Path((node, tunnel)): Path<(String, u64)>,
    mut request: Request,
) -> Result<Response, Failure> {
    nodes_of(&app, caller, &node)?;
    if !wants(request.headers(), TUNNEL_PROTOCOL) {
        return Err(bad_request("a tunnel needs an upgraded connection").into());
    }
    let upgrade = upgrade_of(&mut request, "a tunnel")?;
    let tunnels = app.state.tunnels.clone();
    if !tunnels.is_awaited(&node, tunnel) {
        return Err(bad_request("nobody waits for this tunnel any more").into());
    }
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            tunnels.arrived(&node, tunnel, upgraded);
        }
    });
    Ok(switch_to(TUNNEL_PROTOCOL))
}

/// `GET /v1/network`.
pub(super) async fn network(
    State(app): State<App>,
    _: Params<NoParams>,
) -> Result<Answer<NetworkSettings>, Failure> {
    Ok(Answer::new(&app.state.cluster.network().await?))
}

/// `PUT /v1/network`.
pub(super) async fn set_network(
    State(app): State<App>,
    _: Params<NoParams>,
    JsonBody(settings): JsonBody<NetworkSettings>,
) -> Result<Answer<NetworkSettings>, Failure> {
    let (revision, settings) = app.state.cluster.set_network(settings).await?;
    Ok(Answer::new(&settings).at(revision))
}

/// The cluster, for a node that speaks for itself.
fn nodes_of(
    app: &App,
    caller: Option<Extension<Caller>>,
    node: &str,
) -> Result<std::sync::Arc<dyn ControlPlane>, ApiError> {
    let may = matches!(&caller, Some(Extension(Caller::Node(name))) if name == node);
    if !may {
        return Err(ApiError::new(
            Reason::Forbidden,
            format!("only node \"{node}\" itself may do this, with its certificate"),
        ));
    }
    app.state.control_plane.clone().ok_or_else(|| {
        ApiError::new(Reason::Forbidden, "this netlabd holds no store: ask the cluster's server")
    })
}

/// A view that is being sent. Dropping it, which hyper does when the node is gone, ends it.
struct Followed {
    app: App,
    /// `None` once it is over.
    view: Option<Box<dyn NodeView>>,
}

impl Followed {
    async fn next_piece(&mut self) -> Option<Bytes> {
        let view = self.view.as_mut()?;
        let event = tokio::select! {
            event = view.next() => event,
            () = tokio::time::sleep(PING) => Ok(ViewEvent::Ping),
            // The node finds the next server by itself.
            () = self.app.draining() => return None,
        };
        let Ok(event) = event else {
            // The node asks again and hears why.
            self.view = None;
            return None;
        };
        let mut out = BytesMut::new();
        match serde_json::to_writer((&mut out).writer(), &event) {
            Ok(()) => out.put_u8(b'\n'),
            Err(error) => tracing::error!(%error, "BUG: failed to write a view as JSON"),
        }
        Some(out.freeze())
    }
}

/// Parameters of a view.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ViewParams {
    /// The node saw everything up to this revision.
    resource_version: Option<u64>,
}

impl FromQuery for ViewParams {
    fn from_query(query: &mut Query) -> Result<ViewParams, ApiError> {
        Ok(ViewParams { resource_version: query.value("resourceVersion", "a revision")? })
    }
}
