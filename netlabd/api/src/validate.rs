// SPDX-License-Identifier: GPL-3.0-or-later
//! What an object must keep to beyond the types of its fields, and what of it may change.
//!
//! The rules are Kubernetes' (`pkg/apis/core/validation/validation.go`), with its wording where a
//! person may search for it, and with the cure.

mod endpoint_slice;
mod pod;
mod service;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::names::{self, NameError};
use crate::resource::{Kind, Object};

/// Most bytes of all annotations of an object together.
const MOST_ANNOTATION_BYTES: usize = 256 * 1024;

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}{}", .hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default())]
pub struct FieldError {
    /// Path of the field: `spec.readinessProbe.httpGet.port`.
    pub field: String,
    /// What is wrong, as the rest of a sentence that the field begins: `must be …`.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The same in Kubernetes' own words, where it has them: `Invalid value: "Web_1": a lowercase
    /// RFC 1123 label must consist of …`.
    pub invalid_value: Option<String>,
    /// Whether it is the key of a label or annotation that is wrong, not its value.
    pub in_key: bool,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> FieldError {
        FieldError {
            field: field.into(),
            message: message.into(),
            hint: None,
            invalid_value: None,
            in_key: false,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> FieldError {
        self.hint = Some(hint.into());
        self
    }

    fn name(field: impl Into<String>, value: &str, error: NameError) -> FieldError {
        FieldError {
            invalid_value: Some(format!("Invalid value: {value:?}: {}", error.rule)),
            hint: error.hint,
            ..FieldError::new(field, format!("is not valid: {}", error.message))
        }
    }
}

/// All that is wrong with `object`; empty when it may be stored.
pub fn validate(object: &Object) -> Vec<FieldError> {
    let mut errors = metadata(object);
    match object {
        Object::Pod(pod) => errors.extend(pod::validate(&pod.spec)),
        Object::Service(service) => errors.extend(service::validate(service)),
        Object::EndpointSlice(slice) => errors.extend(endpoint_slice::validate(slice)),
        _ => {}
    }
    errors
}

/// All that keeps `new` from taking the place of `old`: what is wrong with it, and what of it may
/// not change.
pub fn validate_update(old: &Object, new: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (was, is) = (old.metadata(), new.metadata());
    let fixed = [
        ("metadata.name", was.name != is.name),
        ("metadata.namespace", was.namespace != is.namespace),
        ("metadata.uid", !is.uid.is_empty() && was.uid != is.uid),
    ];
    for (field, _) in fixed.iter().filter(|(_, changed)| *changed) {
        errors.push(FieldError::new(*field, "cannot change: field is immutable"));
    }
    match (old, new) {
        (Object::Service(old), Object::Service(new)) => {
            errors.extend(service::validate_update(old, new));
        }
        (Object::EndpointSlice(old), Object::EndpointSlice(new)) => {
            errors.extend(endpoint_slice::validate_update(old, new));
        }
        _ => {}
    }
    if let (Object::Pod(old), Object::Pod(new)) = (old, new) {
        let mut wanted = new.spec.clone();
        wanted.termination_grace_period_seconds = old.spec.termination_grace_period_seconds;
        if wanted.node_name.is_none() {
            // Who names no node leaves the choice to the server, which has chosen.
            wanted.node_name.clone_from(&old.spec.node_name);
        }
        let name = &new.metadata.name;
        for field in changed_fields(&old.spec, &wanted) {
            let cure = format!(
                "delete and create the pod anew: `netlabctl delete pod {name}`, then apply again"
            );
            let message = "cannot change while the pod lives: field is immutable";
            errors.push(FieldError::new(format!("spec.{field}"), message).hint(cure));
        }
    }
    // What else is wrong may only follow from these.
    errors.extend(validate(new));
    errors
}

/// Names of the first-level fields in which two specs differ.
fn changed_fields<T: serde::Serialize>(old: &T, new: &T) -> Vec<String> {
    let fields = |spec: &T| match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (fields(old), fields(new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    names.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned().collect()
}

fn metadata(object: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let metadata = object.metadata();
    let checked = match object.kind() {
        // A node is called like its machine, whose name may have dots; an event has one, and a
        // slice may.
        Kind::Node | Kind::Event | Kind::EndpointSlice => names::dns_subdomain(&metadata.name),
        Kind::Namespace | Kind::Pod | Kind::Service | Kind::IpamBlock => {
            names::dns_label(&metadata.name)
        }
    };
    if let Err(error) = checked {
        errors.push(FieldError::name("metadata.name", &metadata.name, error));
    }
    match (&metadata.namespace, object.kind().is_namespaced()) {
        (Some(namespace), true) => {
            if let Err(error) = names::dns_label(namespace) {
                errors.push(FieldError::name("metadata.namespace", namespace, error));
            }
        }
        (Some(namespace), false) if !namespace.is_empty() => {
            let message = format!("is not allowed: {} have no namespace", object.kind().plural());
            errors.push(FieldError::new("metadata.namespace", message).hint("remove it"));
        }
        _ => {}
    }
    for (key, value) in &metadata.labels {
        let field = format!("metadata.labels[\"{key}\"]");
        if let Err(error) = names::label_key(key) {
            errors.push(FieldError { in_key: true, ..FieldError::name(&field, key, error) });
        }
        if let Err(error) = names::label_value(value) {
            errors.push(FieldError::name(&field, value, error));
        }
    }
    errors.extend(annotations(&metadata.annotations));
    errors
}

fn annotations(annotations: &BTreeMap<String, String>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for key in annotations.keys() {
        // Kubernetes checks annotations' keys in lower case.
        if let Err(error) = names::label_key(&key.to_lowercase()) {
            let field = format!("metadata.annotations[\"{key}\"]");
            errors.push(FieldError { in_key: true, ..FieldError::name(field, key, error) });
        }
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MOST_ANNOTATION_BYTES {
        let message = format!("must have at most {MOST_ANNOTATION_BYTES} bytes, not {size}");
        errors.push(FieldError::new("metadata.annotations", message));
    }
    errors
}

#[cfg(test)]
mod tests;
