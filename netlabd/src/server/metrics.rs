// SPDX-License-Identifier: GPL-3.0-or-later
//! Metrics in the OpenMetrics text format: those of the server, and a registry for all others.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::store::Revision;

/// The daemon's metrics, with the prefix `netlab_`, and those that have a name elsewhere.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Those under names that others gave.
    adopted: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    latency: Family<PathLabels, Histogram, fn() -> Histogram>,
    /// Answers of `/healthz` and `/livez`, as kube-proxy counts its own.
    healthz: Family<CodeLabel, Counter>,
    livez: Family<CodeLabel, Counter>,
    revision: Gauge,
    pub(super) refused: Counter,
    pub(super) connections: Count,
    pub(super) watchers: Count,
    pub(super) exec_sessions: Count,
    pub(super) forwards: Count,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    /// The route, not the path: object names would make a series each.
    path: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    method: &'static str,
    path: String,
}

impl Metrics {
    /// The server's own metrics, at zero; `version` is netlabd's.
    pub fn new(version: &str) -> Metrics {
        let latency: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let metrics = Metrics {
            registry: Mutex::new(Registry::with_prefix("netlab")),
            adopted: Mutex::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(latency),
            healthz: Family::default(),
            livez: Family::default(),
            revision: Gauge::default(),
            refused: Counter::default(),
            connections: Count::default(),
            watchers: Count::default(),
            exec_sessions: Count::default(),
            forwards: Count::default(),
        };
        let mut registry = metrics.registry();
        registry.register(
            "api_requests",
            "Requests answered, by route and status",
            metrics.requests.clone(),
        );
        registry.register(
            "api_request_duration_seconds",
            "Time from a request's head to its answer's head",
            metrics.latency.clone(),
        );
        registry.register(
            "api_peers_refused",
            "Connections of peers that are neither root nor in the group",
            metrics.refused.clone(),
        );
        registry.register("api_connections", "Open connections", metrics.connections.0.clone());
        registry.register("api_watchers", "Running watches", metrics.watchers.0.clone());
        registry.register(
            "api_exec_sessions",
            "Running exec sessions",
            metrics.exec_sessions.0.clone(),
        );
        registry.register(
            "api_forwards",
            "Forwarded connections to pods",
            metrics.forwards.0.clone(),
        );
        registry.register(
            "store_revision",
            "Revision of the newest write",
            metrics.revision.clone(),
        );
        registry.register("build", "What is running", Info::new([("version", version.to_owned())]));
        drop(registry);
        let mut adopted = metrics.adopted();
        let probes = adopted.sub_registry_with_prefix("kubeproxy");
        let answers = "Answers by status";
        probes.register("proxy_healthz", answers, metrics.healthz.clone());
        probes.register("proxy_livez", answers, metrics.livez.clone());
        drop(adopted);
        metrics
    }

    /// Where other parts of the daemon register their metrics.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        // A registration that panicked leaves a registry that is still whole.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for metrics under names that others gave, without our prefix.
    pub fn adopted(&self) -> MutexGuard<'_, Registry> {
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn observe(&self, method: &Method, path: &str, code: u16, took: Duration) {
        let method = label(method);
        let path = path.to_owned();
        self.latency
            .get_or_create(&PathLabels { method, path: path.clone() })
            .observe(took.as_secs_f64());
        let probe = match path.as_str() {
            "/healthz" => Some(&self.healthz),
            "/livez" => Some(&self.livez),
            _ => None,
        };
        if let Some(probe) = probe {
            probe.get_or_create(&CodeLabel { code }).inc();
        }
        self.requests.get_or_create(&RequestLabels { method, path, code }).inc();
    }

    pub(super) fn encode(&self, revision: Revision) -> Result<Response, fmt::Error> {
        self.revision.set(i64::try_from(revision.0).unwrap_or(i64::MAX));
        let mut out = String::new();
        text::encode_registry(&mut out, &self.registry())?;
        text::encode_registry(&mut out, &self.adopted())?;
        text::encode_eof(&mut out)?;
        let openmetrics =
            HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        Ok(([(header::CONTENT_TYPE, openmetrics)], out).into_response())
    }
}

/// Method names are the client's to invent; they must not make series without end.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// How many of something there are now.
#[derive(Debug, Clone, Default)]
pub(super) struct Count(Gauge);

impl Count {
    /// One more, until the answer is dropped.
    pub(super) fn raise(&self) -> Level {
        self.0.inc();
        Level(self.0.clone())
    }
}

/// One of what a [`Count`] counts.
#[derive(Debug)]
pub(super) struct Level(Gauge);

impl Drop for Level {
    fn drop(&mut self) {
        self.0.dec();
    }
}
