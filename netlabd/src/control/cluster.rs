// SPDX-License-Identifier: GPL-3.0-or-later
//! The cluster as its users see it: objects, and what may be done to them.
//!
//! One implementation decides over the store of this process; a joined node has another that asks
//! its server. Nothing here knows which. What nodes ask and tell is [`super::plane`].

use std::time::Duration;

use async_trait::async_trait;
use netlab_api::ApiError;
use netlab_api::fields::FieldSelector;
use netlab_api::labels::Selector;
use netlab_api::resource::{Kind, Object};
use netlab_api::view::NetworkSettings;
use netlab_api::wire::{ApplyResponse, DeleteResponse, Programmed, WatchEvent};
use serde_json::Value;

use crate::store::Revision;

pub use netlab_api::view::{PodIdentity, PodReport as PodStatusUpdate};

/// Where in the cluster a call looks: all objects of a kind, or those of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for all of them, and for kinds that have none.
    pub namespace: Option<String>,
}

/// Names one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for kinds that have none.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// Which objects of a scope; the default is all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Those whose labels match.
    pub labels: Selector,
    /// Those whose fields match.
    pub fields: FieldSelector,
}

/// Objects as they were at one revision, with `metadata.resourceVersion` filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// The revision.
    pub revision: Revision,
    /// The objects, by namespace and name.
    pub items: Vec<Object>,
}

/// A stream of changes.
#[async_trait]
pub trait ObjectWatch: Send {
    /// The next changes, at least one, in order. Cancel-safe. An object that comes to match the
    /// filter is `Added`, one that no longer does is `Deleted`. A `Bookmark` event tells that
    /// nothing of interest happened up to its revision.
    ///
    /// # Errors
    /// `Expired` when the watcher fell too far behind: list again.
    async fn next(&mut self) -> Result<Vec<WatchEvent>, ApiError>;
}

/// How [`Cluster::apply`] treats what is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Fail with `AlreadyExists` rather than change anything.
    pub create: bool,
    /// Answer what would be, and store nothing.
    pub dry_run: bool,
}

/// How [`Cluster::delete`] goes about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds between SIGTERM and SIGKILL; the pod's own unless given.
    pub grace_period_seconds: Option<u64>,
    /// Fail with `Conflict` unless the object is at this revision.
    pub resource_version: Option<Revision>,
    /// Answer what would be, and delete nothing.
    pub dry_run: bool,
}

/// Objects, and what may be done to them. Every write is on disk when it returns.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// One object.
    async fn get(&self, key: &ObjectKey) -> Result<Object, ApiError>;

    /// The objects of a scope that match.
    async fn list(&self, scope: &Scope, filter: &Filter) -> Result<Objects, ApiError>;

    /// Changes after `from`.
    ///
    /// # Errors
    /// `Expired` when `from` is no longer kept.
    async fn watch(
        &self,
        scope: &Scope,
        filter: Filter,
        from: Revision,
    ) -> Result<Box<dyn ObjectWatch>, ApiError>;

    /// Creates what is missing and changes what differs, all or nothing.
    async fn apply(
        &self,
        objects: Vec<Object>,
        options: WriteOptions,
    ) -> Result<ApplyResponse, ApiError>;

    /// Replaces an object whole. With `metadata.resourceVersion` set it must be at that revision.
    async fn replace(&self, object: Object, dry_run: bool) -> Result<Object, ApiError>;

    /// Changes an object by a JSON merge patch (RFC 7386).
    async fn patch(&self, key: &ObjectKey, patch: Value, dry_run: bool)
    -> Result<Object, ApiError>;

    /// Asks for an object's deletion; answers the object as it is on its way out.
    async fn delete(&self, key: &ObjectKey, options: &DeleteOptions) -> Result<Object, ApiError>;

    /// Asks for the deletion of these objects of a scope, all or nothing: the named ones, or with
    /// no names all that match the filter.
    async fn delete_many(
        &self,
        scope: &Scope,
        names: &[String],
        filter: &Filter,
        options: &DeleteOptions,
    ) -> Result<DeleteResponse, ApiError>;

    /// The revision of the newest write.
    async fn revision(&self) -> Result<Revision, ApiError>;

    /// Waits until every ready node's kernel reflects `revision`.
    ///
    /// # Errors
    /// `Timeout`, naming the nodes that lag.
    async fn programmed(
        &self,
        revision: Revision,
        timeout: Duration,
    ) -> Result<Programmed, ApiError>;

    /// What holds for the pod network.
    async fn network(&self) -> Result<NetworkSettings, ApiError>;

    /// Changes what holds for the pod network; answers with the revision that has it.
    async fn set_network(
        &self,
        settings: NetworkSettings,
    ) -> Result<(Revision, NetworkSettings), ApiError>;
}
