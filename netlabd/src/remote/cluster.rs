// SPDX-License-Identifier: GPL-3.0-or-later
//! [`Cluster`] by way of the server's API.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use netlab_api::client::{self, Client, Collection, ObjectRef, Selectors};
use netlab_api::resource::Object;
use netlab_api::view::NetworkSettings;
use netlab_api::wire::{ApplyResponse, DeleteResponse, Programmed, WatchEvent};
use netlab_api::{ApiError, Reason};
use serde_json::Value;

use super::{ANSWER, failed, within};
use crate::control::cluster::{
    Cluster, DeleteOptions, Filter, ObjectKey, ObjectWatch, Objects, Scope, WriteOptions,
};
use crate::store::Revision;

/// How long it may take to write: a file of many objects is one write.
const WRITE: Duration = Duration::from_secs(60);

/// The cluster as its server tells it.
pub struct RemoteCluster {
    client: Arc<Client>,
}

impl RemoteCluster {
    /// The cluster of the server that `client` reaches.
    pub fn new(client: Arc<Client>) -> RemoteCluster {
        RemoteCluster { client }
    }
}

#[async_trait]
impl Cluster for RemoteCluster {
    async fn get(&self, key: &ObjectKey) -> Result<Object, ApiError> {
        within(ANSWER, self.client.get(&object_ref(key))).await
    }

    async fn list(&self, scope: &Scope, filter: &Filter) -> Result<Objects, ApiError> {
        let (collection, selectors) = (collection(scope), selectors(filter));
        let list = within(ANSWER, self.client.list(&collection, &selectors)).await?;
        let revision = list.metadata.resource_version.parse().unwrap_or_default();
        Ok(Objects { revision, items: list.items })
    }

    async fn watch(
        &self,
        scope: &Scope,
        filter: Filter,
        from: Revision,
    ) -> Result<Box<dyn ObjectWatch>, ApiError> {
        let (collection, selectors) = (collection(scope), selectors(&filter));
        let watch = self.client.watch(&collection, &selectors, Some(from.0));
        Ok(Box::new(RemoteWatch(within(ANSWER, watch).await?)))
    }

    async fn apply(
        &self,
        objects: Vec<Object>,
        options: WriteOptions,
    ) -> Result<ApplyResponse, ApiError> {
        let WriteOptions { create, dry_run } = options;
        let options = client::ApplyOptions { create, dry_run };
        within(WRITE, self.client.apply(&objects, options)).await
    }

    async fn replace(&self, object: Object, dry_run: bool) -> Result<Object, ApiError> {
        within(WRITE, self.client.replace(&object, dry_run)).await
    }

    async fn patch(
        &self,
        key: &ObjectKey,
        patch: Value,
        dry_run: bool,
    ) -> Result<Object, ApiError> {
        within(WRITE, self.client.patch(&object_ref(key), &patch, dry_run)).await
    }

    async fn delete(&self, key: &ObjectKey, options: &DeleteOptions) -> Result<Object, ApiError> {
        within(WRITE, self.client.delete(&object_ref(key), &delete_options(options))).await
    }

    async fn delete_many(
        &self,
        scope: &Scope,
        names: &[String],
        filter: &Filter,
        options: &DeleteOptions,
    ) -> Result<DeleteResponse, ApiError> {
        let (collection, selectors) = (collection(scope), selectors(filter));
        let options = delete_options(options);
        within(WRITE, self.client.delete_many(&collection, names, &selectors, &options)).await
    }

    async fn revision(&self) -> Result<Revision, ApiError> {
        within(ANSWER, self.client.version()).await.map(|version| Revision(version.revision))
    }

    async fn programmed(
        &self,
        revision: Revision,
        timeout: Duration,
    ) -> Result<Programmed, ApiError> {
        self.client.programmed(revision.0, timeout).await.map_err(failed)
    }

    async fn network(&self) -> Result<NetworkSettings, ApiError> {
        within(ANSWER, self.client.network()).await
    }

    async fn set_network(
        &self,
        settings: NetworkSettings,
    ) -> Result<(Revision, NetworkSettings), ApiError> {
        let settings = within(WRITE, self.client.set_network(&settings)).await?;
        // Not below that of the change, which is all that a waiter needs.
        Ok((self.revision().await?, settings))
    }
}

struct RemoteWatch(client::Watch);

#[async_trait]
impl ObjectWatch for RemoteWatch {
    async fn next(&mut self) -> Result<Vec<WatchEvent>, ApiError> {
        match self.0.next().await.map_err(failed)? {
            Some(event) => Ok(vec![event]),
            None => Err(ApiError::new(
                Reason::ServiceUnavailable,
                "the cluster's server ended the watch: it is stopping",
            )
            .with_hint("watch again from the last revision")),
        }
    }
}

fn object_ref(key: &ObjectKey) -> ObjectRef {
    ObjectRef::new(key.kind, key.namespace.as_deref(), &key.name)
}

fn collection(scope: &Scope) -> Collection {
    Collection::new(scope.kind, scope.namespace.as_deref())
}

fn selectors(filter: &Filter) -> Selectors {
    Selectors { labels: filter.labels.to_string(), fields: filter.fields.to_string() }
}

fn delete_options(options: &DeleteOptions) -> client::DeleteOptions {
    client::DeleteOptions {
        grace_period_seconds: options.grace_period_seconds,
        dry_run: options.dry_run,
        resource_version: options.resource_version.map(|revision| revision.0),
        evict: options.evict,
    }
}
