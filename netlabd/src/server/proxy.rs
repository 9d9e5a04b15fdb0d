// SPDX-License-Identifier: GPL-3.0-or-later
//! What this node does with packets to services: its rules, and the flows that it tracks.

use axum::extract::State;
use netlab_api::proxy::{Flows, ProxyRules, ProxyRuleset};
use netlab_api::{ApiError, ProxyMode, Service};
use schemars::JsonSchema;

use super::answer::{Answer, Failure, bad_request};
use super::query::{FromQuery, Params, Query};
use super::router::App;
use super::target::Single;
use crate::control::access::{FlowsRequest, RulesRequest};

/// `GET /v1/proxy`.
pub(super) async fn base(
    State(app): State<App>,
    Params(params): Params<RulesParams>,
) -> Result<Answer<ProxyRules>, Failure> {
    let request = RulesRequest { mode: params.r#as, service: None };
    Ok(Answer::new(&app.state.pods.proxy_rules(request).await?))
}

/// `GET /v1/proxy/ruleset`.
pub(super) async fn ruleset(
    State(app): State<App>,
    Params(params): Params<RulesParams>,
) -> Result<Answer<ProxyRuleset>, Failure> {
    Ok(Answer::new(&app.state.pods.ruleset(params.r#as).await?))
}

/// `GET /v1/proxy/services/{namespace}/{name}`.
pub(super) async fn service(
    State(app): State<App>,
    Single(key, _): Single<Service>,
    Params(params): Params<RulesParams>,
) -> Result<Answer<ProxyRules>, Failure> {
    let service = Some((key.namespace.unwrap_or_default(), key.name));
    let request = RulesRequest { mode: params.r#as, service };
    Ok(Answer::new(&app.state.pods.proxy_rules(request).await?))
}

/// `GET /v1/flows`.
pub(super) async fn flows(
    State(app): State<App>,
    Params(params): Params<FlowsParams>,
) -> Result<Answer<Flows>, Failure> {
    let service = match params.service {
        None => None,
        Some(text) => match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Some((namespace.to_owned(), name.to_owned()))
            }
            _ => {
                let message = format!("query parameter `service` is `{text}`, not a service");
                return Err(bad_request(message).with_hint("`?service=default/web`").into());
            }
        },
    };
    let protocol = match params.protocol.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("icmp") => Some(1),
        Some("tcp") => Some(6),
        Some("udp") => Some(17),
        Some("icmpv6") => Some(58),
        Some("sctp") => Some(132),
        Some(other) => {
            let message = format!("query parameter `protocol` is `{other}`, not a protocol");
            return Err(bad_request(message).with_hint("tcp, udp, sctp, icmp or icmpv6").into());
        }
    };
    let request = FlowsRequest { service, protocol, all: params.all };
    Ok(Answer::new(&app.state.pods.flows(request).await?))
}

/// Parameters of the rules.
#[derive(JsonSchema)]
pub(super) struct RulesParams {
    /// The layout; that which is in use unless given.
    r#as: Option<ProxyMode>,
}

impl FromQuery for RulesParams {
    fn from_query(query: &mut Query) -> Result<RulesParams, ApiError> {
        Ok(RulesParams { r#as: query.value("as", "a proxy mode")? })
    }
}

/// Parameters of the flows.
#[derive(JsonSchema)]
pub(super) struct FlowsParams {
    /// Only those to this service: `namespace/name`.
    service: Option<String>,
    /// Only those of this protocol: tcp, udp, sctp, icmp, icmpv6.
    protocol: Option<String>,
    /// Also those to no service.
    all: bool,
}

impl FromQuery for FlowsParams {
    fn from_query(query: &mut Query) -> Result<FlowsParams, ApiError> {
        let (service, protocol) = (query.text("service")?, query.text("protocol")?);
        Ok(FlowsParams { service, protocol, all: query.flag("all")? })
    }
}
