// SPDX-License-Identifier: GPL-3.0-or-later
//! One decision on its way to the store: what was read, what is to be written.
//!
//! ```text
//!   read objects ──► decide ──► commit: all that was read is unchanged, or read and decide again
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use netlab_api::resource::{Kind, Object, Resource};
use netlab_api::{ApiError, Reason};
use serde_json::Value;

use super::cluster::ObjectKey;
use crate::error::chain;
use crate::store::{CommitError, Entry, Expected, Revision, Store, Transaction};

/// Reads and writes of one decision.
pub(super) struct Draft<'a> {
    store: &'a dyn Store,
    checks: BTreeMap<String, Expected>,
    writes: BTreeMap<String, Option<Bytes>>,
}

/// What a draft found at a path.
enum Found {
    /// It is to be written.
    Written(Bytes),
    Stored(Entry),
}

impl Found {
    fn value(&self) -> &[u8] {
        match self {
            Found::Written(value) => value,
            Found::Stored(entry) => &entry.value,
        }
    }

    /// Since when it is so; `None` of what is not written yet.
    fn revision(&self) -> Option<Revision> {
        match self {
            Found::Written(_) => None,
            Found::Stored(entry) => Some(entry.modified),
        }
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(store: &'a dyn Store) -> Draft<'a> {
        Draft { store, checks: BTreeMap::new(), writes: BTreeMap::new() }
    }

    /// Reads an object that the decision depends on: if it changes meanwhile, all is decided anew.
    pub(super) async fn get(&mut self, key: &ObjectKey) -> Result<Option<Object>, ApiError> {
        let path = store_key(key);
        let Some(found) = self.read(&path).await? else { return Ok(None) };
        let mut object = decode_bytes(key.kind, &path, found.value())?;
        object.metadata_mut().resource_version = version(found.revision());
        Ok(Some(object))
    }

    /// Reads an object of a known type; see [`Draft::get`].
    pub(super) async fn get_as<T: Resource>(
        &mut self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<T>, ApiError> {
        let path = store_path(T::KIND, namespace, name);
        let Some(found) = self.read(&path).await? else { return Ok(None) };
        let mut object: T = decode_as(&path, found.value())?;
        object.metadata_mut().resource_version = version(found.revision());
        Ok(Some(object))
    }

    /// Reads text that is not an object; see [`Draft::get`].
    pub(super) async fn get_raw(&mut self, path: &str) -> Result<Option<Value>, ApiError> {
        let found = self.read(path).await?;
        found.map(|found| decode_as(path, found.value())).transpose()
    }

    /// Whether something stands at `path`, now; what is decided does not hang on it.
    pub(super) async fn is_taken(&self, path: &str) -> Result<bool, ApiError> {
        if let Some(written) = self.writes.get(path) {
            return Ok(written.is_some());
        }
        Ok(self.store.get(path).await.map_err(read_failed)?.is_some())
    }

    /// What is to be written, else what is stored.
    async fn read(&mut self, path: &str) -> Result<Option<Found>, ApiError> {
        if let Some(written) = self.writes.get(path) {
            return Ok(written.clone().map(Found::Written));
        }
        let entry = self.store.get(path).await.map_err(read_failed)?;
        let expected = entry.as_ref().map_or(Expected::Absent, |e| Expected::At(e.modified));
        self.checks.insert(path.to_owned(), expected);
        Ok(entry.map(Found::Stored))
    }

    /// Holds the decision to an object that was read elsewhere, as of `revision`.
    pub(super) fn depend_on(&mut self, key: &ObjectKey, revision: Option<Revision>) {
        let expected = revision.map_or(Expected::Absent, Expected::At);
        self.checks.insert(store_key(key), expected);
    }

    /// Holds the decision to there being an object, however it is.
    pub(super) fn require(&mut self, key: &ObjectKey) {
        self.checks.insert(store_key(key), Expected::Exists);
    }

    /// Writes an object.
    pub(super) fn put(&mut self, object: &Object) {
        let key = ObjectKey::of(object);
        self.writes.insert(store_key(&key), Some(encode(object).into()));
    }

    /// Removes an object.
    pub(super) fn delete(&mut self, key: &ObjectKey) {
        self.writes.insert(store_key(key), None);
    }

    /// Writes or removes text that is not an object.
    pub(super) fn put_raw(&mut self, path: String, value: Option<&Value>) {
        self.writes.insert(path, value.map(|value| value.to_string().into()));
    }

    /// Whether this object is to be written or removed.
    pub(super) fn changes(&self, key: &ObjectKey) -> bool {
        self.writes.contains_key(&store_key(key))
    }

    /// Whether anything is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Writes all, or nothing when something that was read has changed meanwhile, which is an error
    /// here.
    pub(super) async fn commit(self) -> Result<Revision, ApiError> {
        self.write().await.map_err(commit_failed)
    }

    /// Writes all, or nothing when something that was read has changed meanwhile. Then the answer
    /// is `None`, and whoever decided has to read and decide again.
    pub(super) async fn commit_unless_overtaken(self) -> Result<Option<Revision>, ApiError> {
        match self.write().await {
            Ok(revision) => Ok(Some(revision)),
            Err(CommitError::Conflict { .. }) => Ok(None),
            Err(error) => Err(commit_failed(error)),
        }
    }

    async fn write(self) -> Result<Revision, CommitError> {
        let mut transaction = Transaction::new();
        for (key, expected) in self.checks {
            transaction = transaction.check(key, expected);
        }
        for (key, value) in self.writes {
            transaction = match value {
                Some(value) => transaction.put(key, value),
                None => transaction.delete(key),
            };
        }
        self.store.commit(transaction).await
    }
}

impl ObjectKey {
    /// The key of an object.
    pub fn of(object: &Object) -> ObjectKey {
        let metadata = object.metadata();
        ObjectKey {
            kind: object.kind(),
            namespace: metadata.namespace.clone().filter(|_| object.kind().is_namespaced()),
            name: metadata.name.clone(),
        }
    }
}

/// Where an object stands in the store: `pods/default/web`, `nodes/n1`.
pub(super) fn store_key(key: &ObjectKey) -> String {
    store_path(key.kind, key.namespace.as_deref(), &key.name)
}

/// As [`store_key`], of its parts.
pub(super) fn store_path(kind: Kind, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{}/{namespace}/{name}", kind.plural()),
        None => format!("{}/{name}", kind.plural()),
    }
}

fn version(revision: Option<Revision>) -> String {
    revision.map(|revision| revision.to_string()).unwrap_or_default()
}

/// The stored form: without kind, and without the revision, which the store knows better.
pub(super) fn encode(object: &Object) -> Vec<u8> {
    let mut object = object.clone();
    object.metadata_mut().resource_version.clear();
    let bytes = match &object {
        Object::Namespace(object) => serde_json::to_vec(object),
        Object::Node(object) => serde_json::to_vec(object),
        Object::Pod(object) => serde_json::to_vec(object),
        Object::Service(object) => serde_json::to_vec(object),
        Object::EndpointSlice(object) => serde_json::to_vec(object),
        Object::Event(object) => serde_json::to_vec(object),
        Object::IpamBlock(object) => serde_json::to_vec(object),
    };
    bytes.expect("objects have string keys and no failing serializers")
}

/// The object of a stored entry, with its revision filled in.
pub(super) fn decode(kind: Kind, entry: &Entry) -> Result<Object, ApiError> {
    let mut object = decode_bytes(kind, &entry.key, &entry.value)?;
    object.metadata_mut().resource_version = entry.modified.to_string();
    Ok(object)
}

/// As [`decode`], for a known type.
pub(super) fn decode_entry<T: Resource>(entry: &Entry) -> Result<T, ApiError> {
    let mut object: T = decode_as(&entry.key, &entry.value)?;
    object.metadata_mut().resource_version = entry.modified.to_string();
    Ok(object)
}

fn decode_bytes(kind: Kind, path: &str, bytes: &[u8]) -> Result<Object, ApiError> {
    Ok(match kind {
        Kind::Namespace => Object::Namespace(decode_as(path, bytes)?),
        Kind::Node => Object::Node(decode_as(path, bytes)?),
        Kind::Pod => Object::Pod(decode_as(path, bytes)?),
        Kind::Service => Object::Service(decode_as(path, bytes)?),
        Kind::EndpointSlice => Object::EndpointSlice(decode_as(path, bytes)?),
        Kind::Event => Object::Event(decode_as(path, bytes)?),
        Kind::IpamBlock => Object::IpamBlock(decode_as(path, bytes)?),
    })
}

fn decode_as<T: serde::de::DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ApiError::new(
            Reason::InternalError,
            format!("record `{path}` of the store does not have the form of its kind: {error}"),
        )
        .with_hint("was it written by another version of netlabd?")
    })
}

/// What a failed read means to the caller.
pub(super) fn read_failed(error: crate::store::ReadError) -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, chain(&error))
}

/// What a failed commit means to the caller.
fn commit_failed(error: CommitError) -> ApiError {
    let disk_full = error.is_disk_full();
    let reason = match &error {
        CommitError::Conflict { .. } => Reason::Conflict,
        CommitError::Storage { .. } if disk_full => Reason::InsufficientStorage,
        CommitError::Storage { .. } | CommitError::Unanswered { .. } | CommitError::Closed => {
            Reason::ServiceUnavailable
        }
        CommitError::TooLarge { .. } => Reason::Invalid,
        CommitError::Malformed { .. } => Reason::InternalError,
    };
    let api_error = ApiError::new(reason, chain(&error));
    if disk_full {
        api_error.with_hint("nothing was changed, and reads go on; try again once there is space")
    } else {
        api_error
    }
}
