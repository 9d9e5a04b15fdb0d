// SPDX-License-Identifier: GPL-3.0-or-later
//! What says whether the daemon lives, works and is ready, and what it knows of itself.
//!
//! `/livez`: the process answers. `/healthz`: the store answers too, and what the node was told of
//! services is in its kernel. `/readyz`: every part of the
//! daemon has opened its gate and the store takes writes, and what does not is named.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use netlab_api::wire::{self, DoctorCheck, DoctorOutcome, DoctorReport, Programmed, Version};
use netlab_api::{ApiError, Reason};
use schemars::JsonSchema;
use tokio::sync::watch;

use super::answer::{Answer, Failure, bad_request, json, stopping, text};
use super::query::{FromQuery, NoParams, Params, Query};
use super::router::App;
use crate::store::Revision;

/// How long `/v1/programmed` waits unless told.
const PROGRAMMED_WAIT: u64 = 30;
/// The longest that a client may make it wait; each waiting request holds a connection.
const LONGEST_WAIT: u64 = 3600;

/// What keeps the daemon from being ready. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness {
    missing: Arc<watch::Sender<Vec<(u64, String)>>>,
}

impl Default for Readiness {
    fn default() -> Readiness {
        Readiness::new()
    }
}

impl Readiness {
    /// Nothing is missing.
    pub fn new() -> Readiness {
        Readiness { missing: Arc::new(watch::Sender::new(Vec::new())) }
    }

    /// Something that must happen first, such as `node: first reconcile`. The daemon is not ready
    /// until the gate is opened or dropped.
    pub fn gate(&self, name: impl Into<String>) -> Gate {
        let mut id = 0;
        self.missing.send_modify(|missing| {
            id = missing.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
            missing.push((id, name.into()));
        });
        Gate { readiness: self.clone(), id }
    }

    /// Keeps the daemon from being ready for as long as there is a reason; `what` is said before it.
    /// Ends with the reason's sender.
    pub async fn follow(self, what: &str, mut reason: watch::Receiver<Option<String>>) {
        let mut gate: Option<Gate> = None;
        loop {
            let why = reason.borrow_and_update().clone();
            // The old one opens after the new one is closed.
            drop(std::mem::replace(&mut gate, why.map(|why| self.gate(format!("{what}: {why}")))));
            if reason.changed().await.is_err() {
                return;
            }
        }
    }

    /// What is missing, in the order in which it was asked for.
    pub fn missing(&self) -> Vec<String> {
        self.missing.borrow().iter().map(|(_, name)| name.clone()).collect()
    }

    /// Waits until nothing is missing.
    pub async fn ready(&self) {
        let mut missing = self.missing.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = missing.wait_for(Vec::is_empty).await;
    }
}

/// Keeps the daemon from being ready until it is opened or dropped. A gate that goes down with a
/// panicking thread stays closed: what it stood for never came.
#[derive(Debug)]
#[must_use = "a dropped gate is open"]
pub struct Gate {
    readiness: Readiness,
    id: u64,
}

impl Gate {
    /// What the gate stood for has come.
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.readiness.missing.send_modify(|missing| missing.retain(|(id, _)| *id != self.id));
        }
    }
}

/// `GET /livez`.
pub(super) async fn livez() -> Response {
    text("ok\n")
}

/// `GET /healthz`.
pub(super) async fn healthz(State(app): State<App>) -> Result<Response, Failure> {
    app.state.cluster.revision().await?;
    match app.state.pods.ailment() {
        None => Ok(text("ok\n")),
        Some(ailment) => Err(ApiError::new(Reason::ServiceUnavailable, ailment)
            .with_hint("`netlabctl events` and netlabd's log say more")
            .into()),
    }
}

/// `GET /readyz`.
pub(super) async fn readyz(State(app): State<App>) -> Answer<wire::Readiness> {
    let missing = app.state.readiness.missing();
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::of(json(status, &wire::Readiness { ready: missing.is_empty(), missing }))
}

/// `GET /v1/version`.
pub(super) async fn version(
    State(app): State<App>,
    _: Params<NoParams>,
) -> Result<Answer<Version>, Failure> {
    let revision = app.state.cluster.revision().await?;
    let version = app.state.version.clone();
    let node = app.state.node.clone();
    Ok(Answer::new(&Version { version, node, revision: revision.0 }).at(revision))
}

/// `GET /v1/doctor`.
pub(super) async fn doctor(State(app): State<App>, _: Params<NoParams>) -> Answer<DoctorReport> {
    let mut checks = vec![ready(&app.state.readiness)];
    checks.extend(app.state.pods.doctor().await);
    Answer::new(&DoctorReport { checks })
}

fn ready(readiness: &Readiness) -> DoctorCheck {
    let missing = readiness.missing();
    let (outcome, message) = match missing.is_empty() {
        true => (DoctorOutcome::Ok, "all parts of netlabd work".to_owned()),
        false => (DoctorOutcome::Failed, missing.join("; ")),
    };
    DoctorCheck { name: "ready".to_owned(), outcome, message, fix: None }
}

/// `GET /v1/programmed`.
pub(super) async fn programmed(
    State(app): State<App>,
    Params(params): Params<ProgrammedParams>,
) -> Result<Answer<Programmed>, Failure> {
    let seconds = params.timeout_seconds.unwrap_or(PROGRAMMED_WAIT);
    if seconds > LONGEST_WAIT {
        return Err(bad_request(format!(
            "query parameter `timeoutSeconds` is {seconds}, the most is {LONGEST_WAIT}"
        ))
        .with_hint("ask again when it has passed")
        .into());
    }
    let timeout = Duration::from_secs(seconds);
    tokio::select! {
        programmed = app.state.cluster.programmed(Revision(params.revision), timeout) => {
            let programmed = programmed?;
            Ok(Answer::new(&programmed).at(Revision(programmed.revision)))
        }
        () = app.draining() => Err(stopping().into()),
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Failure> {
    let revision = app.state.cluster.revision().await?;
    let body = app.state.metrics.encode(revision).map_err(|error| {
        ApiError::new(Reason::InternalError, format!("failed to write the metrics: {error}"))
    })?;
    Ok(body)
}

/// Parameters of the wait for kernels.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProgrammedParams {
    /// The revision that the kernels must reflect.
    revision: u64,
    /// How long to wait; 30 unless given.
    timeout_seconds: Option<u64>,
}

impl FromQuery for ProgrammedParams {
    fn from_query(query: &mut Query) -> Result<ProgrammedParams, ApiError> {
        let timeout_seconds = query.value("timeoutSeconds", "a number of seconds")?;
        let revision = query.value("revision", "a revision")?.ok_or_else(|| {
            bad_request("query parameter `revision` is missing")
                .with_hint("`?revision=N`, the `Netlab-Revision` of the write to wait for")
        })?;
        Ok(ProgrammedParams { revision, timeout_seconds })
    }
}
