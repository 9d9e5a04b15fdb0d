// SPDX-License-Identifier: GPL-3.0-or-later
//! What goes to a view, before it is decoded: its bytes are those of the store, and whoever takes
//! it pays for the decoding.

use std::sync::Arc;

use netlab_api::view::{ViewChange, ViewEvent, ViewSnapshot};
use netlab_api::{ApiError, EndpointSlice, Pod, Service};

use crate::control::draft::decode_entry;
use crate::store::{Entry, Revision};

/// A message to a view; objects are decoded by whoever takes it.
#[derive(Debug)]
pub(super) enum Item {
    Event(ViewEvent),
    Snapshot(Box<Snapshot>),
    Changes(Revision, Vec<Told>),
}

/// A view whose objects are not decoded yet.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) view: ViewSnapshot,
    pub(super) pods: Vec<Entry>,
    pub(super) services: Vec<Entry>,
    pub(super) slices: Vec<Entry>,
}

impl Snapshot {
    pub(super) fn decode(self) -> Result<ViewSnapshot, ApiError> {
        fn all<T>(
            entries: &[Entry],
            decode: impl Fn(&Entry) -> Result<T, ApiError>,
        ) -> Result<Vec<T>, ApiError> {
            entries.iter().map(decode).collect()
        }
        Ok(ViewSnapshot {
            pods: all(&self.pods, decode_entry)?,
            services: all(&self.services, service)?,
            slices: all(&self.slices, slice)?,
            ..self.view
        })
    }
}

/// One change, as it goes to a view.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Plain(ViewChange),
    Pod(Entry),
    Service(Entry),
    Slice(Entry),
}

impl Told {
    pub(super) fn decode(self) -> Result<ViewChange, ApiError> {
        match self {
            Told::Plain(change) => Ok(change),
            Told::Pod(entry) => Ok(ViewChange::Pod(Box::new(decode_entry::<Pod>(&entry)?))),
            Told::Service(entry) => Ok(ViewChange::Service(service(&entry)?)),
            Told::Slice(entry) => Ok(ViewChange::Slice(slice(&entry)?)),
        }
    }
}

fn service(entry: &Entry) -> Result<Arc<Service>, ApiError> {
    decode_entry(entry).map(Arc::new)
}

fn slice(entry: &Entry) -> Result<Arc<EndpointSlice>, ApiError> {
    decode_entry(entry).map(Arc::new)
}

/// How a service is now, for everybody.
pub(super) fn told_service(now: Option<&Entry>, namespace: &str, name: &str) -> Told {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    match now {
        Some(entry) => Told::Service(entry.clone()),
        None => Told::Plain(ViewChange::ServiceGone { namespace, name }),
    }
}

/// How a slice is now, for everybody.
pub(super) fn told_slice(now: Option<&Entry>, namespace: &str, name: &str) -> Told {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    match now {
        Some(entry) => Told::Slice(entry.clone()),
        None => Told::Plain(ViewChange::SliceGone { namespace, name }),
    }
}
