// SPDX-License-Identifier: GPL-3.0-or-later
//! The store's changes as events of objects that match a filter.

use async_trait::async_trait;
use netlab_api::resource::{Kind, Object};
use netlab_api::wire::{Bookmark, WatchEvent};
use netlab_api::{ApiError, Reason};

use super::cluster::{Filter, ObjectWatch};
use super::draft::decode;
use crate::store::{Change, Entry, Watch, WatchError};

/// A [`Watch`] of one kind, decoded and filtered.
pub(super) struct FilteredWatch {
    pub(super) kind: Kind,
    pub(super) filter: Filter,
    pub(super) watch: Watch,
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
    /// What a change is to somebody who sees only what matches: an object that does so no longer is
    /// gone, and is told as it was when it still did.
    fn event(&self, change: &Change) -> Result<Option<WatchEvent>, ApiError> {
        if !self.filter.may_match(change.key()) {
            return Ok(None);
        }
        let matching = |entry: Option<&Entry>| -> Result<Option<Object>, ApiError> {
            let object = entry.map(|entry| decode(self.kind, entry)).transpose()?;
            Ok(object.filter(|object| self.filter.matches(object)))
        };
        let now = match change {
            Change::Put { entry, .. } => matching(Some(entry))?,
            Change::Delete { .. } => None,
        };
        Ok(match now {
            Some(object) => {
                let had = match change.before() {
                    Some(before) => {
                        self.filter.is_everything() || matching(Some(before))?.is_some()
                    }
                    None => false,
                };
                let event = if had { WatchEvent::Modified } else { WatchEvent::Added };
                Some(event(object))
            }
            None => matching(change.before())?.map(|mut object| {
                // That of the change, so that a watcher can resume after it.
                object.metadata_mut().resource_version = change.revision().to_string();
                WatchEvent::Deleted(object)
            }),
        })
    }
}

impl Filter {
    /// Whether it lets every object through.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether it may let the object through whose record has this key. Cheaper than a look at it:
    /// commands follow one object each, and every one of them hears of all.
    fn may_match(&self, key: &str) -> bool {
        let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
        self.fields.name().is_none_or(|wanted| wanted == name)
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
