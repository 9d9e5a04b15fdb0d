// SPDX-License-Identifier: GPL-3.0-or-later
//! What all kinds have in common: their names, and their form on the wire.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{EndpointSlice, Event, IpamBlock, Namespace, Node, ObjectMeta, Pod, Service};

/// `apiVersion` of every kind. Manifests may leave it out.
pub const API_VERSION: &str = "v1";

/// A kind of object.
pub trait Resource:
    Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
    /// Which kind.
    const KIND: Kind;

    /// Its metadata.
    fn metadata(&self) -> &ObjectMeta;

    /// Its metadata, to change.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
}

/// The kinds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Kind {
    /// A set of names.
    Namespace,
    /// A machine.
    Node,
    /// A process with a network of its own.
    Pod,
    /// One name and one address for many pods.
    Service,
    /// Where the connections of a service end.
    EndpointSlice,
    /// Something that happened.
    Event,
    /// A piece of the pod network.
    IpamBlock,
}

impl Kind {
    /// All kinds, in the order in which they must be made.
    pub const ALL: [Kind; 7] = [
        Kind::Namespace,
        Kind::Node,
        Kind::Pod,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Event,
        Kind::IpamBlock,
    ];

    /// `Pod`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Namespace => "Namespace",
            Kind::Node => "Node",
            Kind::Pod => "Pod",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Event => "Event",
            Kind::IpamBlock => "IpamBlock",
        }
    }

    /// `pods`: in paths, and in messages about names.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Namespace => "namespaces",
            Kind::Node => "nodes",
            Kind::Pod => "pods",
            Kind::Service => "services",
            Kind::EndpointSlice => "endpointslices",
            Kind::Event => "events",
            Kind::IpamBlock => "ipamblocks",
        }
    }

    /// `pod`: on the command line, and in `pod/web`.
    pub fn singular(self) -> &'static str {
        match self {
            Kind::Namespace => "namespace",
            Kind::Node => "node",
            Kind::Pod => "pod",
            Kind::Service => "service",
            Kind::EndpointSlice => "endpointslice",
            Kind::Event => "event",
            Kind::IpamBlock => "ipamblock",
        }
    }

    /// `po`.
    pub fn short_names(self) -> &'static [&'static str] {
        match self {
            Kind::Namespace => &["ns"],
            Kind::Node => &["no"],
            Kind::Pod => &["po"],
            Kind::Service => &["svc"],
            Kind::EndpointSlice => &["eps"],
            Kind::Event => &["ev"],
            Kind::IpamBlock => &["blocks"],
        }
    }

    /// `apiVersion` as Kubernetes' manifests write it; here [`API_VERSION`] does for all kinds.
    pub fn kubernetes_version(self) -> &'static str {
        match self {
            Kind::EndpointSlice => "discovery.k8s.io/v1",
            _ => API_VERSION,
        }
    }

    /// Whether its objects live in a namespace.
    pub fn is_namespaced(self) -> bool {
        matches!(self, Kind::Pod | Kind::Service | Kind::EndpointSlice | Kind::Event)
    }

    /// The kind that goes by this name on the command line: plural, singular, short, or its name
    /// in any case.
    pub fn from_word(word: &str) -> Option<Kind> {
        let word = word.to_ascii_lowercase();
        Kind::ALL.into_iter().find(|kind| {
            word == kind.plural()
                || word == kind.singular()
                || kind.short_names().contains(&word.as_str())
        })
    }
}

macro_rules! resources {
    ($($type:ident),*) => {
        $(impl Resource for $type {
            const KIND: Kind = Kind::$type;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }

        impl From<$type> for Object {
            fn from(object: $type) -> Object {
                Object::$type(object)
            }
        })*

        /// An object of any kind. On the wire it carries `apiVersion` and `kind`, first.
        #[expect(clippy::large_enum_variant, reason = "nearly every object is a pod")]
        #[derive(Debug, Clone, PartialEq)]
        pub enum Object {
            $(#[doc = concat!("A ", stringify!($type), ".")]
            $type($type)),*
        }

        impl Object {
            /// Which kind.
            pub fn kind(&self) -> Kind {
                match self { $(Object::$type(_) => Kind::$type),* }
            }

            /// Its metadata.
            pub fn metadata(&self) -> &ObjectMeta {
                match self { $(Object::$type(object) => &object.metadata),* }
            }

            /// Its metadata, to change.
            pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
                match self { $(Object::$type(object) => &mut object.metadata),* }
            }

            /// An object of kind `kind` from JSON that carries neither `kind` nor `apiVersion`.
            pub fn from_value(kind: Kind, value: Value) -> Result<Object, serde_json::Error> {
                match kind {
                    $(Kind::$type => serde_json::from_value(value).map(Object::$type)),*
                }
            }
        }

        impl Serialize for Object {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Object::$type(object) => Tagged::new(object).serialize(serializer)),*
                }
            }
        }

        impl JsonSchema for Object {
            fn schema_name() -> Cow<'static, str> {
                "Object".into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let kinds = [$(generator.subschema_for::<$type>()),*];
                json_schema!({
                    "description": "an object of the kind that its field `kind` names",
                    "anyOf": kinds,
                })
            }
        }
    };
}

resources!(Namespace, Node, Pod, Service, EndpointSlice, Event, IpamBlock);

/// An object as it goes over the wire: with its `apiVersion` and `kind` in front.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tagged<'a, T> {
    api_version: &'static str,
    kind: Kind,
    #[serde(flatten)]
    object: &'a T,
}

impl<'a, T: Resource> Tagged<'a, T> {
    /// The wire form of `object`.
    pub fn new(object: &'a T) -> Tagged<'a, T> {
        Tagged { api_version: API_VERSION, kind: T::KIND, object }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        let mut fields = Map::<String, Value>::deserialize(deserializer)?;
        let kind = fields.remove("kind").ok_or_else(|| D::Error::missing_field("kind"))?;
        let kind = Kind::deserialize(kind).map_err(D::Error::custom)?;
        match fields.remove("apiVersion") {
            None => {}
            Some(version) if version == API_VERSION => {}
            Some(version) => {
                return Err(D::Error::custom(format!(
                    "apiVersion {version} is not known, write \"{API_VERSION}\""
                )));
            }
        }
        Object::from_value(kind, Value::Object(fields)).map_err(D::Error::custom)
    }
}

impl Object {
    /// `pod/web`.
    pub fn slash_name(&self) -> String {
        format!("{}/{}", self.kind().singular(), self.metadata().name)
    }
}

/// Objects of one kind, as they were at one revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// The revision.
    pub metadata: ListMeta,
    /// The objects, by namespace and name.
    pub items: Vec<T>,
}

/// What a list says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    /// The revision at which the list was true; a watch from here misses nothing.
    pub resource_version: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_carries_its_kind_over_the_wire() {
        let mut pod = Pod::default();
        pod.metadata.name = "web".to_owned();
        let object = Object::Pod(pod);
        let text = serde_json::to_string(&object).expect("serialises");
        assert!(text.starts_with(r#"{"apiVersion":"v1","kind":"Pod","metadata":"#), "{text}");
        let back: Object = serde_json::from_str(&text).expect("deserialises");
        assert_eq!(back, object);
    }

    #[test]
    fn a_foreign_version_or_kind_is_refused() {
        for text in [r#"{"apiVersion":"v2","kind":"Pod"}"#, r#"{"kind":"Pot"}"#, r#"{}"#] {
            assert!(serde_json::from_str::<Object>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn kinds_are_found_by_each_of_their_names() {
        for kind in Kind::ALL {
            for word in [kind.plural(), kind.singular(), kind.name(), kind.short_names()[0]] {
                assert_eq!(Kind::from_word(word), Some(kind), "{word}");
            }
        }
        assert_eq!(Kind::from_word("deploy"), None);
    }
}
