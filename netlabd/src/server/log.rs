// SPDX-License-Identifier: GPL-3.0-or-later
//! Logs of pods, as a stream of text.

use std::time::Duration;

use aide::transform::TransformOperation;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use netlab_api::{ApiError, Pod};
use schemars::JsonSchema;

use super::answer::{Failure, text};
use super::exec::pod;
use super::query::{FromQuery, Params, Query};
use super::router::App;
use super::target::Single;
use crate::control::access::{LogCut, LogRequest};

/// `GET …/log`.
pub(super) async fn log(
    State(app): State<App>,
    Single(key, _): Single<Pod>,
    Params(params): Params<LogParams>,
) -> Result<Response, Failure> {
    let pod = pod(&app, &key).await?;
    let wanted = LogRequest {
        follow: params.follow,
        tail: params.tail_lines,
        since: params.since_seconds.map(Duration::from_secs),
        timestamps: params.timestamps,
        previous: params.previous,
    };
    let follow = wanted.follow;
    let lines = app.state.pods.logs(&pod, wanted).await?;
    let pieces = stream::unfold((lines, app), move |(mut lines, app)| async move {
        let piece = tokio::select! {
            biased;
            piece = lines.recv() => piece?,
            // What is there is sent to its end; what would come is not waited for, and whoever
            // follows can tell that from the log's own end.
            () = app.draining(), if follow => {
                // What was given out last leaves before the connection is closed.
                tokio::task::yield_now().await;
                Err(LogCut)
            }
        };
        Some((piece, (lines, app)))
    });
    Ok(text(Body::from_stream(pieces)))
}

/// Documents the answer, which is no JSON.
pub(super) fn document(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.response::<200, String>().default_response::<Failure>()
}

/// Parameters of a log.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogParams {
    /// Go on as lines come.
    #[serde(default)]
    follow: bool,
    /// Only so many lines from the end.
    tail_lines: Option<usize>,
    /// Only lines younger than so many seconds.
    since_seconds: Option<u64>,
    /// Put the time before each line.
    #[serde(default)]
    timestamps: bool,
    /// The lines of the run before the last restart.
    #[serde(default)]
    previous: bool,
}

impl FromQuery for LogParams {
    fn from_query(query: &mut Query) -> Result<LogParams, ApiError> {
        Ok(LogParams {
            follow: query.flag("follow")?,
            tail_lines: query.value("tailLines", "a number of lines")?,
            since_seconds: query.value("sinceSeconds", "a number of seconds")?,
            timestamps: query.flag("timestamps")?,
            previous: query.flag("previous")?,
        })
    }
}
