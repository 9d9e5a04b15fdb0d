// SPDX-License-Identifier: GPL-3.0-or-later
//! What this node's name server does: how it answers a question, which names it has, and who asked.

use std::convert::Infallible;

use aide::transform::TransformOperation;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use netlab_api::dns::{DnsLogEntry, DnsRecords, DnsTrace};
use netlab_api::{ApiError, Pod};
use schemars::JsonSchema;

use super::answer::{Answer, Failure, bad_request, json_lines};
use super::exec::pod;
use super::query::{FromQuery, Params, Query};
use super::router::App;
use super::target::Single;
use crate::control::access::{NameLogRequest, NameRequest};

/// `GET /v1/dns/query`.
pub(super) async fn query(
    State(app): State<App>,
    Params(params): Params<QueryParams>,
) -> Result<Answer<DnsTrace>, Failure> {
    let request = request(params.host, params.r#type, params.namespace)?;
    Ok(Answer::new(&app.state.pods.look_up(None, request).await?))
}

/// `GET …/pods/{name}/dns/query`.
pub(super) async fn query_of_pod(
    State(app): State<App>,
    Single(key, _): Single<Pod>,
    Params(params): Params<PodQueryParams>,
) -> Result<Answer<DnsTrace>, Failure> {
    let pod = pod(&app, &key).await?;
    let request = request(params.host, params.r#type, None)?;
    Ok(Answer::new(&app.state.pods.look_up(Some(&pod), request).await?))
}

/// `GET /v1/dns/records`.
pub(super) async fn records(
    State(app): State<App>,
    Params(params): Params<RecordsParams>,
) -> Result<Answer<DnsRecords>, Failure> {
    Ok(Answer::new(&app.state.pods.names(params.namespace).await?))
}

/// `GET /v1/dns/log`.
pub(super) async fn log(
    State(app): State<App>,
    Params(params): Params<LogParams>,
) -> Result<Response, Failure> {
    told(app, None, params).await
}

/// `GET …/pods/{name}/dns/log`.
pub(super) async fn log_of_pod(
    State(app): State<App>,
    Single(key, _): Single<Pod>,
    Params(params): Params<LogParams>,
) -> Result<Response, Failure> {
    let pod = pod(&app, &key).await?;
    told(app, Some(pod), params).await
}

async fn told(app: App, pod: Option<Pod>, params: LogParams) -> Result<Response, Failure> {
    let follow = params.follow;
    let request = NameLogRequest { follow, tail: params.tail };
    let entries = app.state.pods.name_log(pod.as_ref(), request).await?;
    let lines = stream::unfold((entries, app), move |(mut entries, app)| async move {
        let entry = tokio::select! {
            biased;
            entry = entries.recv() => entry?,
            // What is there is sent to its end; what would come is not waited for.
            () = app.draining(), if follow => return None,
        };
        Some((Ok::<_, Infallible>(line(&entry)), (entries, app)))
    });
    Ok(json_lines(Body::from_stream(lines)))
}

fn line(entry: &DnsLogEntry) -> Bytes {
    let mut text = serde_json::to_vec(entry).expect("an entry has nothing that JSON has not");
    text.push(b'\n');
    Bytes::from(text)
}

/// Documents an answer of many lines.
pub(super) fn document(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.response::<200, Answer<DnsLogEntry>>().default_response::<Failure>()
}

/// Parameters of a question.
#[derive(JsonSchema)]
pub(super) struct QueryParams {
    /// The name as a program would be given it.
    host: Option<String>,
    /// Types, separated by commas; `A,AAAA` unless given.
    r#type: Option<String>,
    /// As a pod of this namespace would ask.
    namespace: Option<String>,
}

/// Parameters of a pod's question.
#[derive(JsonSchema)]
pub(super) struct PodQueryParams {
    /// The name as a program would be given it.
    host: Option<String>,
    /// Types, separated by commas; `A,AAAA` unless given.
    r#type: Option<String>,
}

fn request(
    host: Option<String>,
    kinds: Option<String>,
    namespace: Option<String>,
) -> Result<NameRequest, ApiError> {
    let name = host.filter(|host| !host.is_empty()).ok_or_else(|| {
        bad_request("query parameter `host` is missing").with_hint("`?host=web.default`")
    })?;
    let kinds = kinds.unwrap_or_default();
    let kinds = kinds.split(',').map(str::trim).filter(|kind| !kind.is_empty());
    Ok(NameRequest { name, kinds: kinds.map(str::to_ascii_uppercase).collect(), namespace })
}

impl FromQuery for QueryParams {
    fn from_query(query: &mut Query) -> Result<QueryParams, ApiError> {
        Ok(QueryParams {
            host: query.text("host")?,
            r#type: query.text("type")?,
            namespace: query.text("namespace")?,
        })
    }
}

impl FromQuery for PodQueryParams {
    fn from_query(query: &mut Query) -> Result<PodQueryParams, ApiError> {
        Ok(PodQueryParams { host: query.text("host")?, r#type: query.text("type")? })
    }
}

/// Parameters of the records.
#[derive(JsonSchema)]
pub(super) struct RecordsParams {
    /// Only those of this namespace.
    namespace: Option<String>,
}

impl FromQuery for RecordsParams {
    fn from_query(query: &mut Query) -> Result<RecordsParams, ApiError> {
        Ok(RecordsParams { namespace: query.text("namespace")? })
    }
}

/// Parameters of the questions that were asked.
#[derive(JsonSchema)]
pub(super) struct LogParams {
    /// Go on as questions come.
    #[serde(default)]
    follow: bool,
    /// Only so many from the end.
    tail: Option<usize>,
}

impl FromQuery for LogParams {
    fn from_query(query: &mut Query) -> Result<LogParams, ApiError> {
        Ok(LogParams {
            follow: query.flag("follow")?,
            tail: query.value("tail", "a number of questions")?,
        })
    }
}
