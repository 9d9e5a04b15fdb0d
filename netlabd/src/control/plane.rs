// SPDX-License-Identifier: GPL-3.0-or-later
//! The cluster as its nodes see it: what concerns them, and what they report.
//!
//! One implementation is over the store of this process; a joined node has another that asks its
//! server. The `node` plane knows neither.

use std::time::Duration;

use async_trait::async_trait;
use netlab_api::ApiError;
use netlab_api::resource::Object;
use netlab_api::view::{NetworkSettings, NodeReport, ReportAnswer, ViewEvent};

use super::cluster::{Filter, Objects, Scope};
use crate::store::Revision;

/// What a node hears of its cluster, in order.
#[async_trait]
pub trait NodeView: Send {
    /// What comes next; the first is a snapshot unless the view goes on from a revision.
    /// Cancel-safe.
    ///
    /// # Errors
    /// The view is over. `Expired` when the node fell too far behind or is followed twice,
    /// `Forbidden` about the node itself when it was deleted; all else means that the server cannot be reached.
    async fn next(&mut self) -> Result<ViewEvent, ApiError>;
}

/// What a node asks of its cluster and tells it.
#[async_trait]
pub trait ControlPlane: Send + Sync {
    /// What concerns `node`: all of it, or what is different since `from`, when that is still
    /// known. A node is followed once; a second view ends the first.
    ///
    /// # Errors
    /// `ServiceUnavailable` when the server cannot be reached.
    async fn view(&self, node: &str, from: Option<Revision>)
    -> Result<Box<dyn NodeView>, ApiError>;

    /// Takes in what a node says; all of it, or an error and perhaps some of it. Saying it again is
    /// harmless.
    ///
    /// # Errors
    /// `NotFound` when the node was deleted, `ServiceUnavailable` when the server cannot be
    /// reached or cannot write.
    async fn report(&self, node: &str, report: NodeReport) -> Result<ReportAnswer, ApiError>;

    /// The objects of a scope that match, for those who compare them with the kernel.
    ///
    /// # Errors
    /// `ServiceUnavailable` when the server cannot be reached.
    async fn list(&self, scope: &Scope, filter: &Filter) -> Result<Objects, ApiError>;

    /// What holds for the pod network, for the same.
    ///
    /// # Errors
    /// `ServiceUnavailable` when the server cannot be reached.
    async fn network_settings(&self) -> Result<NetworkSettings, ApiError>;

    /// Waits until every ready node's kernel reflects `revision`, for those who must not act
    /// before.
    ///
    /// # Errors
    /// `Timeout` when some do not, `ServiceUnavailable` when the server cannot be reached.
    async fn await_programmed(&self, revision: Revision, timeout: Duration)
    -> Result<(), ApiError>;
}

/// The objects of a list that are of one kind.
pub fn of_kind<T>(objects: Objects, pick: impl Fn(Object) -> Option<T>) -> Vec<T> {
    objects.items.into_iter().filter_map(pick).collect()
}
