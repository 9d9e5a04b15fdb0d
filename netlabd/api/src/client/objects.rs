// SPDX-License-Identifier: GPL-3.0-or-later
//! Objects of any kind: read, made, changed, deleted and watched.

use hyper::Method;
use serde::Serialize;
use serde_json::Value;

use super::exchange::{MAX_PATH, body, empty};
use super::query::escape;
use super::{Client, ClientError, Collection, ObjectRef, Query, Selectors, Watch};
use crate::resource::{Kind, ListMeta, Resource};
use crate::wire::{ApplyResponse, DeleteResponse};
use crate::{List, Object};

/// How [`Client::apply`] treats what is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Fail with `AlreadyExists` rather than change anything.
    pub create: bool,
    /// Answer what would be, and store nothing.
    pub dry_run: bool,
}

/// How a deletion goes about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds between SIGTERM and SIGKILL; the pod's own unless given.
    pub grace_period_seconds: Option<u64>,
    /// Answer what would be, and delete nothing.
    pub dry_run: bool,
    /// Fail with `Conflict` unless the object is at this revision.
    pub resource_version: Option<u64>,
    /// Pods only: make it anew on another node once it is gone from its own.
    pub evict: bool,
}

impl Client {
    /// One object.
    pub async fn get(&self, object: &ObjectRef) -> Result<Object, ClientError> {
        let value = self.json(Method::GET, &object.path(), None::<&()>).await?;
        object_of(object.kind, value)
    }

    /// One object as its own type.
    pub async fn get_as<T: Resource>(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<T, ClientError> {
        let path = ObjectRef::new(T::KIND, namespace, name).path();
        typed(self.json(Method::GET, &path, None::<&()>).await?)
    }

    /// The objects of a collection that match, as they were at one revision.
    pub async fn list(
        &self,
        collection: &Collection,
        selectors: &Selectors,
    ) -> Result<List<Object>, ClientError> {
        let (metadata, items) = self.list_values(collection, selectors).await?;
        let items = items.into_iter().map(|item| object_of(collection.kind, item));
        Ok(List { metadata, items: items.collect::<Result<_, _>>()? })
    }

    /// The objects of a collection as their own type.
    pub async fn list_as<T: Resource>(
        &self,
        namespace: Option<&str>,
        selectors: &Selectors,
    ) -> Result<List<T>, ClientError> {
        let collection = Collection::new(T::KIND, namespace);
        let (metadata, items) = self.list_values(&collection, selectors).await?;
        Ok(List { metadata, items: items.into_iter().map(typed).collect::<Result<_, _>>()? })
    }

    async fn list_values(
        &self,
        collection: &Collection,
        selectors: &Selectors,
    ) -> Result<(ListMeta, Vec<Value>), ClientError> {
        let path = selectors.add_to(Query::new(collection.path())).into_path();
        let list: List<Value> = self.json(Method::GET, &path, None::<&()>).await?;
        Ok((list.metadata, list.items))
    }

    /// Creates an object.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one of that name.
    pub async fn create(&self, object: &Object, dry_run: bool) -> Result<Object, ClientError> {
        let target = ObjectRef::of(object);
        let collection = Collection { kind: target.kind, namespace: target.namespace };
        let path = Query::new(collection.path()).flag("dryRun", dry_run).into_path();
        object_of(object.kind(), self.json(Method::POST, &path, Some(object)).await?)
    }

    /// Creates what is missing and changes what differs: all of it, or nothing.
    pub async fn apply(
        &self,
        objects: &[Object],
        options: ApplyOptions,
    ) -> Result<ApplyResponse, ClientError> {
        #[derive(Serialize)]
        struct Body<'a> {
            items: &'a [Object],
        }
        let path = Query::new("/v1/apply")
            .flag("create", options.create)
            .flag("dryRun", options.dry_run)
            .into_path();
        self.json(Method::POST, &path, Some(&Body { items: objects })).await
    }

    /// Replaces an object whole. With `metadata.resourceVersion` set it must be at that revision.
    ///
    /// # Errors
    /// `Conflict` when it is not.
    pub async fn replace(&self, object: &Object, dry_run: bool) -> Result<Object, ClientError> {
        let path = Query::new(ObjectRef::of(object).path()).flag("dryRun", dry_run).into_path();
        object_of(object.kind(), self.json(Method::PUT, &path, Some(object)).await?)
    }

    /// Changes an object by a JSON merge patch (RFC 7386).
    pub async fn patch(
        &self,
        object: &ObjectRef,
        patch: &Value,
        dry_run: bool,
    ) -> Result<Object, ClientError> {
        let path = Query::new(object.path()).flag("dryRun", dry_run).into_path();
        let request = body(Method::PATCH, &path, patch, "application/merge-patch+json")?;
        object_of(object.kind, self.answer(request).await?)
    }

    /// Asks for an object's deletion; answers it as it is on its way out.
    pub async fn delete(
        &self,
        object: &ObjectRef,
        options: &DeleteOptions,
    ) -> Result<Object, ClientError> {
        let path = options.add_to(Query::new(object.path())).into_path();
        object_of(object.kind, self.json(Method::DELETE, &path, None::<&()>).await?)
    }

    /// Asks for the deletion of several objects: the named ones, or with no names all that match.
    /// All or nothing, unless there are more names than one request has room for.
    pub async fn delete_many(
        &self,
        collection: &Collection,
        names: &[String],
        selectors: &Selectors,
        options: &DeleteOptions,
    ) -> Result<DeleteResponse, ClientError> {
        let query = options.add_to(selectors.add_to(Query::new(collection.path())));
        if names.is_empty() {
            return self.json(Method::DELETE, &query.into_path(), None::<&()>).await;
        }
        let mut whole = DeleteResponse { revision: 0, items: Vec::new() };
        for names in batches(names, ROOM_FOR_NAMES) {
            let path = query.clone().set("names", names.join(",")).into_path();
            let part: DeleteResponse = self.json(Method::DELETE, &path, None::<&()>).await?;
            whole.revision = part.revision;
            whole.items.extend(part.items);
        }
        Ok(whole)
    }

    /// Changes after revision `from`; without one, the present objects first.
    ///
    /// # Errors
    /// `Expired` when `from` is no longer kept: list again.
    pub async fn watch(
        &self,
        collection: &Collection,
        selectors: &Selectors,
        from: Option<u64>,
    ) -> Result<Watch, ClientError> {
        let mut query = selectors.add_to(Query::new(collection.path())).flag("watch", true);
        if let Some(revision) = from {
            query = query.set("resourceVersion", revision.to_string());
        }
        let response = self.open(empty(Method::GET, &query.into_path())?).await?.0;
        Ok(Watch::new(response.into_body()))
    }
}

/// Bytes of names in one request; the rest is for the path and what else is asked.
const ROOM_FOR_NAMES: usize = MAX_PATH - 4096;

/// The same names in as few batches as there is room for.
fn batches(names: &[String], room: usize) -> Vec<&[String]> {
    let mut batches = Vec::new();
    let (mut start, mut length) = (0, 0);
    for (index, name) in names.iter().enumerate() {
        // With the comma after it.
        let more = escape(name).len() + "%2C".len();
        if length + more > room && index > start {
            batches.push(&names[start..index]);
            (start, length) = (index, 0);
        }
        length += more;
    }
    batches.push(&names[start..]);
    batches
}

impl DeleteOptions {
    fn add_to(&self, mut query: Query) -> Query {
        if let Some(seconds) = self.grace_period_seconds {
            query = query.set("gracePeriodSeconds", seconds.to_string());
        }
        if let Some(revision) = self.resource_version {
            query = query.set("resourceVersion", revision.to_string());
        }
        query.flag("dryRun", self.dry_run).flag("evict", self.evict)
    }
}

/// Reads an object whose kind is known; items of a list may leave theirs out.
fn object_of(kind: Kind, mut value: Value) -> Result<Object, ClientError> {
    untag(&mut value);
    Object::from_value(kind, value).map_err(|source| ClientError::DecodeObject { kind, source })
}

fn typed<T: Resource>(mut value: Value) -> Result<T, ClientError> {
    untag(&mut value);
    serde_json::from_value(value)
        .map_err(|source| ClientError::DecodeObject { kind: T::KIND, source })
}

fn untag(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_asked_for_in_as_few_requests_as_they_fit_in() {
        let names: Vec<String> = (0..5).map(|number| format!("web-{number}")).collect();
        let sizes = |room| batches(&names, room).iter().map(|b| b.len()).collect::<Vec<_>>();
        assert_eq!(sizes(40), [5]);
        assert_eq!(sizes(39), [4, 1]);
        assert_eq!(sizes(16), [2, 2, 1]);
        assert_eq!(sizes(1), [1; 5], "one that does not fit is sent all the same");
    }
}
