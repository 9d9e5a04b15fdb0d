// SPDX-License-Identifier: GPL-3.0-or-later
//! What users may say of an object, taken out of one and put into another. Pure.

use std::collections::BTreeSet;

use netlab_api::resource::{Kind, Object, Resource};
use netlab_api::validate::FieldError;
use netlab_api::{
    ApiError, EndpointSlice, Event, IpamBlock, Namespace, Node, Pod, Reason, Service,
};
use serde_json::{Value, json};

use super::cluster::ObjectKey;
use super::service;

/// Where a manifest's object came from; it moves when the file is edited, which is no change of
/// the object.
const SOURCE_ANNOTATION: &str = "netlab.io/source";

/// What a person may wish of an object: labels, annotations, spec. It can be read as the object
/// that it is of.
pub(super) fn wish_of(object: &Object) -> Value {
    let metadata = object.metadata();
    let mut wish = match object {
        // Its fields stand beside the metadata.
        Object::EndpointSlice(_) => spec_of(object),
        _ => json!({ "spec": spec_of(object) }),
    };
    wish["metadata"] = json!({ "labels": metadata.labels, "annotations": metadata.annotations });
    wish
}

pub(super) fn spec_of(object: &Object) -> Value {
    let spec = match object {
        Object::Pod(object) => serde_json::to_value(&object.spec),
        Object::Node(object) => serde_json::to_value(&object.spec),
        Object::Namespace(object) => serde_json::to_value(&object.spec),
        Object::Service(object) => serde_json::to_value(&object.spec),
        // It has no spec: all of it but its metadata is wished.
        Object::EndpointSlice(slice) => Ok(json!({
            "addressType": slice.address_type,
            "endpoints": slice.endpoints,
            "ports": slice.ports,
        })),
        Object::IpamBlock(object) => serde_json::to_value(&object.spec),
        Object::Event(_) => Ok(Value::Null),
    };
    spec.expect("specs have string keys and no failing serializers")
}

/// The object that a value describes; a field that its kind does not have is an error.
pub(super) fn read_object(key: &ObjectKey, value: Value) -> Result<Object, ApiError> {
    fn read<T: Resource + Into<Object>>(
        value: Value,
    ) -> Result<Object, serde_path_to_error::Error<serde_json::Error>> {
        serde_path_to_error::deserialize::<_, T>(value).map(Into::into)
    }
    let object = match key.kind {
        Kind::Pod => read::<Pod>(value),
        Kind::Node => read::<Node>(value),
        Kind::Service => read::<Service>(value),
        Kind::EndpointSlice => read::<EndpointSlice>(value),
        Kind::Namespace => read::<Namespace>(value),
        Kind::IpamBlock => read::<IpamBlock>(value),
        Kind::Event => read::<Event>(value),
    };
    object.map_err(|error| {
        let field = error.path().to_string();
        let error = error.into_inner();
        let name = format!("{} \"{}\"", key.kind.name(), key.name);
        let answer = match field.as_str() {
            "." => ApiError::new(Reason::Invalid, format!("{name} is invalid: {error}")),
            _ => ApiError::new(Reason::Invalid, format!("{name} is invalid: {field}: {error}"))
                .with_field(field),
        };
        answer.with_object(format!("{}/{}", key.kind.singular(), key.name))
    })
}

/// The object with all its fields, as `read_object` takes it.
pub(super) fn fields_of(object: &Object) -> Value {
    let fields = match object {
        Object::Pod(object) => serde_json::to_value(object),
        Object::Node(object) => serde_json::to_value(object),
        Object::Service(object) => serde_json::to_value(object),
        Object::EndpointSlice(object) => serde_json::to_value(object),
        Object::Namespace(object) => serde_json::to_value(object),
        Object::IpamBlock(object) => serde_json::to_value(object),
        Object::Event(object) => serde_json::to_value(object),
    };
    fields.expect("objects have string keys and no failing serializers")
}

/// The live object with the wishes of another; everything that is not a wish stays as it is.
pub(super) fn with_wish(live: &Object, wanted: Object) -> Object {
    let mut object = live.clone();
    let (metadata, wished) = (object.metadata_mut(), wanted.metadata());
    metadata.labels.clone_from(&wished.labels);
    metadata.annotations.clone_from(&wished.annotations);
    match (&mut object, wanted) {
        (Object::Pod(object), Object::Pod(wanted)) => {
            let node_name = object.spec.node_name.take();
            object.spec = wanted.spec;
            // A manifest that leaves the choice to the server does not take the choice back.
            object.spec.node_name = object.spec.node_name.take().or(node_name);
        }
        (Object::Node(object), Object::Node(wanted)) => object.spec = wanted.spec,
        // A manifest that leaves addresses and ports to the server does not take them back.
        (Object::Service(object), Object::Service(wanted)) => {
            object.spec = service::complete(Some(&object.spec), wanted.spec);
        }
        (Object::EndpointSlice(object), Object::EndpointSlice(wanted)) => {
            object.address_type = wanted.address_type;
            object.endpoints = wanted.endpoints;
            object.ports = wanted.ports;
        }
        (Object::Namespace(object), Object::Namespace(wanted)) => object.spec = wanted.spec,
        // Nobody may write the others.
        _ => {}
    }
    object
}

/// Fields outside of the spec that a patch would change and that are not for users to write.
pub(super) fn foreign_changes(allowed: &Object, patched: &Object) -> Vec<FieldError> {
    let (allowed, patched) = (fields_of(allowed), fields_of(patched));
    let mut errors = Vec::new();
    for part in ["metadata", "status"] {
        let fields = |object: &Value| object.get(part).and_then(Value::as_object).cloned();
        let (allowed, patched) =
            (fields(&allowed).unwrap_or_default(), fields(&patched).unwrap_or_default());
        let names: BTreeSet<&String> = allowed.keys().chain(patched.keys()).collect();
        for name in names.into_iter().filter(|name| allowed.get(*name) != patched.get(*name)) {
            // The revision is a condition, and was looked at as one.
            if name != "resourceVersion" {
                errors.push(FieldError {
                    field: format!("{part}.{name}"),
                    message: "is netlabd's to say and cannot be patched".to_owned(),
                    hint: None,
                    invalid_value: None,
                    in_key: false,
                });
            }
        }
    }
    errors
}

pub(super) fn without_source(object: &Object) -> Object {
    let mut object = object.clone();
    object.metadata_mut().annotations.remove(SOURCE_ANNOTATION);
    object
}
