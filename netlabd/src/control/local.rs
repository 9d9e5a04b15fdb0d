// SPDX-License-Identifier: GPL-3.0-or-later
//! [`Cluster`] over the store of this process.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use netlab_api::resource::{Kind, Object};
use netlab_api::view::NetworkSettings;
use netlab_api::wire::{Applied, ApplyResponse, ApplyResult, DeleteResponse, Programmed};
use netlab_api::{ApiError, Reason};
use serde_json::Value;

use super::Control;
use super::admission::Wish;
use super::cluster::{
    Cluster, DeleteOptions, Filter, ObjectKey, ObjectWatch, Objects, Scope, WriteOptions,
};
use super::draft::{decode, read_failed, store_key};
use super::feed::{Goals, Standing};
use super::refusal::not_found;
use super::watch::{FilteredWatch, watch_failed};
use crate::store::Revision;

/// How long is waited for the endpoints that follow from a change, however short a wait is asked
/// for. Writing them takes milliseconds.
const ENDPOINTS_PATIENCE: Duration = Duration::from_secs(2);

#[async_trait]
impl Cluster for Control {
    async fn get(&self, key: &ObjectKey) -> Result<Object, ApiError> {
        let entry = self.store.get(&store_key(key)).await.map_err(read_failed)?;
        decode(key.kind, &entry.ok_or_else(|| not_found(key))?)
    }

    async fn list(&self, scope: &Scope, filter: &Filter) -> Result<Objects, ApiError> {
        let listing = self.entries(scope.kind, scope.namespace.as_deref()).await?;
        let mut items = Vec::with_capacity(listing.entries.len());
        for entry in &listing.entries {
            let object = decode(scope.kind, entry)?;
            if filter.matches(&object) {
                items.push(object);
            }
        }
        Ok(Objects { revision: listing.revision, items })
    }

    async fn watch(
        &self,
        scope: &Scope,
        filter: Filter,
        from: Revision,
    ) -> Result<Box<dyn ObjectWatch>, ApiError> {
        let prefix = match &scope.namespace {
            Some(namespace) => format!("{}/{namespace}/", scope.kind.plural()),
            None => format!("{}/", scope.kind.plural()),
        };
        let watch = self.store.watch(&prefix, from).await.map_err(watch_failed)?;
        Ok(Box::new(FilteredWatch { kind: scope.kind, filter, watch }))
    }

    async fn apply(
        &self,
        objects: Vec<Object>,
        options: WriteOptions,
    ) -> Result<ApplyResponse, ApiError> {
        let wish = Wish::Apply(objects, options);
        let (revision, items) = self.admit_for_users(&wish, options.dry_run).await?;
        Ok(ApplyResponse { revision: revision.0, items })
    }

    async fn replace(&self, object: Object, dry_run: bool) -> Result<Object, ApiError> {
        let wish = Wish::Replace(Box::new(object));
        let (_, mut applied) = self.admit_for_users(&wish, dry_run).await?;
        Ok(applied.remove(0).object)
    }

    async fn patch(
        &self,
        key: &ObjectKey,
        patch: Value,
        dry_run: bool,
    ) -> Result<Object, ApiError> {
        let wish = Wish::Patch(key.clone(), patch);
        let (_, mut applied) = self.admit_for_users(&wish, dry_run).await?;
        Ok(applied.remove(0).object)
    }

    async fn delete(&self, key: &ObjectKey, options: &DeleteOptions) -> Result<Object, ApiError> {
        let keys = std::slice::from_ref(key);
        let (_, mut gone) = self.delete_keys(keys, options, false).await?;
        if key.kind == Kind::Node && !options.dry_run {
            // A lost node's pods went with it; those that had been evicted are made anew.
            self.place_waiting().await;
        }
        if matches!(key.kind, Kind::Service | Kind::Namespace) && !options.dry_run {
            self.balance_waiting().await;
        }
        gone.pop().ok_or_else(|| not_found(key))
    }

    async fn delete_many(
        &self,
        scope: &Scope,
        names: &[String],
        filter: &Filter,
        options: &DeleteOptions,
    ) -> Result<DeleteResponse, ApiError> {
        let keys: Vec<ObjectKey> = if names.is_empty() {
            self.list(scope, filter).await?.items.iter().map(ObjectKey::of).collect()
        } else {
            let key = |name: &String| ObjectKey {
                kind: scope.kind,
                namespace: scope.namespace.clone(),
                name: name.clone(),
            };
            let mut seen = HashSet::new();
            names.iter().filter(|name| seen.insert(*name)).map(key).collect()
        };
        // Of those that were not named, one may have gone since they were listed.
        let (revision, items) = self.delete_keys(&keys, options, names.is_empty()).await?;
        if matches!(scope.kind, Kind::Service | Kind::Namespace) && !options.dry_run {
            self.balance_waiting().await;
        }
        Ok(DeleteResponse { revision: revision.0, items })
    }

    async fn revision(&self) -> Result<Revision, ApiError> {
        self.store.revision().await.map_err(read_failed)
    }

    async fn programmed(
        &self,
        revision: Revision,
        timeout: Duration,
    ) -> Result<Programmed, ApiError> {
        let newest = self.revision().await?;
        if revision > newest {
            return Err(ApiError::new(
                Reason::BadRequest,
                format!("revision {revision} has not happened yet: the newest is {newest}"),
            ));
        }
        let deadline = tokio::time::Instant::now() + timeout;
        // However short the time is: this is no node's to do.
        let patience = timeout.max(ENDPOINTS_PATIENCE);
        let settled = tokio::time::timeout(patience, self.endpoints.settled(revision)).await;
        let Ok(goal) = settled else {
            let message = format!(
                "revision {revision} is stored, but the endpoints that follow from it are not, \
                 after {patience:?}"
            );
            return Err(ApiError::new(Reason::Timeout, message)
                .with_hint("look at the log of netlabd on the server: can it write its store?"));
        };
        self.feed.caught_up(goal).await;
        let mut progress = self.feed.progress();
        let mut goals = Goals::default();
        loop {
            progress.borrow_and_update();
            let lagging = match self.feed.standing(goal, &mut goals) {
                Standing::Done(nodes) => {
                    return Ok(Programmed { revision: revision.0, nodes });
                }
                Standing::Lagging(lagging) => lagging,
            };
            match tokio::time::timeout_at(deadline, progress.changed()).await {
                Ok(changed) => changed.expect("the sender lives as long as `self`"),
                Err(_) => {
                    let lagging: Vec<_> = lagging
                        .iter()
                        .map(|(name, at)| format!("{name} (at revision {at})"))
                        .collect();
                    return Err(ApiError::new(
                        Reason::Timeout,
                        format!(
                            "revision {revision} is stored but not in every node's kernel after \
                             {timeout:?}: lagging: {}",
                            lagging.join(", ")
                        ),
                    )
                    .with_hint(
                        "look at `netlabctl status` and at the log of netlabd on these nodes",
                    ));
                }
            }
        }
    }

    async fn network(&self) -> Result<NetworkSettings, ApiError> {
        self.network_settings().await
    }

    async fn set_network(
        &self,
        settings: NetworkSettings,
    ) -> Result<(Revision, NetworkSettings), ApiError> {
        self.set_network_settings(&settings).await
    }
}

impl Control {
    /// Grants a wish; a node that it changed may take pods that wait.
    async fn admit_for_users(
        &self,
        wish: &Wish,
        dry_run: bool,
    ) -> Result<(Revision, Vec<Applied>), ApiError> {
        let (revision, applied) = self.admit(wish, dry_run).await?;
        if !dry_run && applied.iter().any(|a| a.object.kind() == Kind::Node) {
            self.place_waiting().await;
        }
        let may_give_back =
            |a: &Applied| a.object.kind() == Kind::Service && a.result == ApplyResult::Configured;
        if !dry_run && applied.iter().any(may_give_back) {
            self.balance_waiting().await;
        }
        Ok((revision, applied))
    }
}
