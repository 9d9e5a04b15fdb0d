// SPDX-License-Identifier: GPL-3.0-or-later
//! The store's changes as events of objects that match a filter.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use netlab_api::resource::{Kind, Object};
use netlab_api::wire::{Bookmark, WatchEvent};
use netlab_api::{ApiError, Reason};

use super::cluster::{Filter, ObjectWatch};
use super::draft::decode;
use crate::store::{Change, Revision, Watch, WatchError};

/// A [`Watch`] of one kind, decoded and filtered.
pub(super) struct FilteredWatch {
    pub(super) kind: Kind,
    pub(super) filter: Filter,
    pub(super) watch: Watch,
    /// Keys of the objects that matched when last seen; only kept when the filter is not
    /// everything. Needed to tell that an object no longer matches.
    pub(super) matching: HashSet<Arc<str>>,
    /// Up to here `matching` is from hindsight: an object that stopped matching before it was
    /// filled is reported as deleted even if nobody heard of it, rather than not at all.
    pub(super) matching_since: Revision,
}

#[async_trait]
impl ObjectWatch for FilteredWatch {
    async fn next(&mut self) -> Result<Vec<WatchEvent>, ApiError> {
        let batch = self.watch.next_batch().await.map_err(watch_failed)?;
        let mut events = Vec::with_capacity(batch.changes.len());
        for change in &batch.changes {
            events.extend(self.event(change)?);
        }
        if events.is_empty() {
            events.push(WatchEvent::Bookmark(Bookmark {
                resource_version: batch.revision.to_string(),
            }));
        }
        Ok(events)
    }
}

impl FilteredWatch {
    fn event(&mut self, change: &Change) -> Result<Option<WatchEvent>, ApiError> {
        let entry = change.entry();
        let mut object = decode(self.kind, entry)?;
        let matches = self.filter.matches(&object);
        if let Change::Delete { revision, .. } = change {
            // The revision of the deletion, so that a watcher can resume after it.
            object.metadata_mut().resource_version = revision.to_string();
            let known = self.filter.is_everything() || self.matching.remove(&entry.key);
            return Ok((known || matches).then_some(WatchEvent::Deleted(object)));
        }
        if self.filter.is_everything() {
            let is_new = entry.created == entry.modified;
            return Ok(Some(match is_new {
                true => WatchEvent::Added(object),
                false => WatchEvent::Modified(object),
            }));
        }
        if !matches {
            let known = self.matching.remove(&entry.key);
            let maybe = entry.modified <= self.matching_since && entry.created != entry.modified;
            return Ok((known || maybe).then_some(WatchEvent::Deleted(object)));
        }
        let is_new = self.matching.insert(entry.key.clone()) || entry.created == entry.modified;
        Ok(Some(if is_new { WatchEvent::Added(object) } else { WatchEvent::Modified(object) }))
    }
}

impl Filter {
    /// Whether it lets every object through.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether it lets this object through.
    pub fn matches(&self, object: &Object) -> bool {
        self.labels.matches(&object.metadata().labels) && self.fields.matches(object)
    }
}

/// What a watch that cannot go on means to the caller.
pub(super) fn watch_failed(error: WatchError) -> ApiError {
    let reason = match error {
        WatchError::Compacted { .. } | WatchError::Future { .. } => Reason::Expired,
        WatchError::Closed => Reason::ServiceUnavailable,
    };
    ApiError::new(reason, error.to_string())
}
