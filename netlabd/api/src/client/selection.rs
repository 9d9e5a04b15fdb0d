// SPDX-License-Identifier: GPL-3.0-or-later
//! Which objects a request is about: one, a collection, or those of a collection that match; and
//! the paths by which the API knows them.

use super::query::{Query, escape};
use crate::Object;
use crate::resource::Kind;

/// Objects of one kind: all of them, or those of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for all, and for kinds that have none.
    pub namespace: Option<String>,
}

/// Names one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for kinds that have none.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// Which objects of a collection; the default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selectors {
    /// `app=web,tier!=db`; empty for all.
    pub labels: String,
    /// `status.phase=Running`; empty for all.
    pub fields: String,
}

impl Collection {
    /// The objects of `kind` in `namespace`, or everywhere.
    pub fn new(kind: Kind, namespace: Option<&str>) -> Collection {
        let namespace = namespace.filter(|_| kind.is_namespaced()).map(str::to_owned);
        Collection { kind, namespace }
    }

    /// `/v1/namespaces/default/pods`.
    pub fn path(&self) -> String {
        match &self.namespace {
            Some(namespace) => {
                format!("/v1/namespaces/{}/{}", escape(namespace), self.kind.plural())
            }
            None => format!("/v1/{}", self.kind.plural()),
        }
    }
}

impl ObjectRef {
    /// Names an object; the namespace is dropped for kinds that have none.
    pub fn new(kind: Kind, namespace: Option<&str>, name: &str) -> ObjectRef {
        let namespace = namespace.filter(|_| kind.is_namespaced()).map(str::to_owned);
        ObjectRef { kind, namespace, name: name.to_owned() }
    }

    /// Names `object`.
    pub fn of(object: &Object) -> ObjectRef {
        let metadata = object.metadata();
        ObjectRef::new(object.kind(), metadata.namespace.as_deref(), &metadata.name)
    }

    /// `pod/web`.
    pub fn slash_name(&self) -> String {
        format!("{}/{}", self.kind.singular(), self.name)
    }

    /// `/v1/namespaces/default/pods/web`.
    pub fn path(&self) -> String {
        let collection = Collection { kind: self.kind, namespace: self.namespace.clone() };
        format!("{}/{}", collection.path(), escape(&self.name))
    }
}

impl Selectors {
    /// Those with these labels.
    pub fn labels(labels: impl Into<String>) -> Selectors {
        Selectors { labels: labels.into(), ..Selectors::default() }
    }

    /// The one of this name.
    pub fn name(name: &str) -> Selectors {
        Selectors { fields: format!("metadata.name={name}"), ..Selectors::default() }
    }

    pub(super) fn add_to(&self, mut query: Query) -> Query {
        if !self.labels.is_empty() {
            query = query.set("labelSelector", &self.labels);
        }
        if !self.fields.is_empty() {
            query = query.set("fieldSelector", &self.fields);
        }
        query
    }
}
