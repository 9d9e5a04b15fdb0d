// SPDX-License-Identifier: GPL-3.0-or-later
//! Tokens and certificates: what lets machines join, and lets nodes stay.

use std::net::{IpAddr, SocketAddr};

use axum::Extension;
use axum::extract::{Path, State};
use netlab_api::resource::Kind;
use netlab_api::token::{IssuedToken, TokenInfo, TokenList, TokenRequest};
use netlab_api::{ApiError, Object, Reason, Time};
use ring::rand::{SecureRandom, SystemRandom};
use schemars::JsonSchema;
use serde::Deserialize;

use super::NodePort;
use super::answer::{Answer, Failure, defect};
use super::body::Plain;
use super::caller::Caller;
use super::query::{NoParams, Params};
use super::router::App;
use crate::control::cluster::ObjectKey;
use crate::trust::address::ServerAddress;
use crate::trust::token::RANDOM_BYTES;
use crate::trust::wire::{RenewalRequest, RenewalResponse};

/// The id in a path.
#[derive(Deserialize, JsonSchema)]
pub(super) struct TokenPath {
    /// Names the token.
    id: String,
}

/// `POST /v1/tokens`.
pub(super) async fn create(
    State(app): State<App>,
    _: Params<NoParams>,
    Plain(wish): Plain<TokenRequest>,
) -> Result<Answer<IssuedToken, 201>, Failure> {
    let port = port(&app)?;
    let mut random = [0; RANDOM_BYTES];
    SystemRandom::new().fill(&mut random).map_err(|_| defect("the kernel gave no random bytes"))?;
    let (token, info) = port.membership.issue_token(&wish, random, Time::now()).await?;
    tracing::info!(id = info.id, expires = %info.expires, "made a token");
    let servers = servers(&app, port.listen).await;
    Ok(Answer::new(&IssuedToken { token: token.to_string(), info, servers }))
}

/// `GET /v1/tokens`.
pub(super) async fn list(
    State(app): State<App>,
    _: Params<NoParams>,
) -> Result<Answer<TokenList>, Failure> {
    let now = Time::now();
    let tokens = port(&app)?.membership.control().tokens().await?;
    let items = tokens.into_iter().map(|token| token.info).filter(|info| info.expires > now);
    Ok(Answer::new(&TokenList { items: items.collect() }))
}

/// `DELETE /v1/tokens/{id}`.
pub(super) async fn revoke(
    State(app): State<App>,
    Path(path): Path<TokenPath>,
    _: Params<NoParams>,
) -> Result<Answer<TokenInfo>, Failure> {
    // An id goes into a key of the store: nothing but letters and digits may.
    if path.id.is_empty() || !path.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(ApiError::not_found("tokens", &path.id).into());
    }
    let info = port(&app)?.membership.control().remove_token(&path.id).await?;
    tracing::info!(id = info.id, "revoked a token");
    Ok(Answer::new(&info))
}

/// `POST /v1/nodes/{name}/certificate`: a node's next certificate, for that node alone.
pub(super) async fn renew(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(node): Path<String>,
    Plain(wish): Plain<RenewalRequest>,
) -> Result<Answer<RenewalResponse>, Failure> {
    if caller != Caller::Node(node.clone()) {
        return Err(ApiError::new(
            Reason::Forbidden,
            format!("only node `{node}` itself may renew its certificate"),
        )
        .into());
    }
    Ok(Answer::new(&port(&app)?.membership.renew(&node, &wish, Time::now()).await?))
}

fn port(app: &App) -> Result<&NodePort, ApiError> {
    app.state.nodes.as_ref().ok_or_else(|| {
        ApiError::new(Reason::ServiceUnavailable, "this daemon has no port for other nodes")
            .with_hint(
                "write `listen = \"0.0.0.0:7411\"` into /etc/netlab/netlabd.toml (or start it with \
                 --listen 0.0.0.0:7411), then `systemctl restart netlabd`; pods live on meanwhile",
            )
    })
}

/// Where machines may join: the address that is listened on, or those of the node.
async fn servers(app: &App, listen: SocketAddr) -> Vec<String> {
    let url = |address: IpAddr| {
        ServerAddress { host: address.to_string(), port: listen.port() }.to_string()
    };
    if !listen.ip().is_unspecified() {
        return vec![url(listen.ip())];
    }
    let key = ObjectKey { kind: Kind::Node, namespace: None, name: app.state.node.clone() };
    match app.state.cluster.get(&key).await {
        Ok(Object::Node(node)) => node
            .internal_ips()
            // `[::]` takes IPv4 as well.
            .filter(|address| listen.is_ipv6() || address.is_ipv4())
            .map(url)
            .collect(),
        _ => Vec::new(),
    }
}
