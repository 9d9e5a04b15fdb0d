// SPDX-License-Identifier: GPL-3.0-or-later
//! What users may not do, and what they hear then.

use netlab_api::resource::{Kind, Object};
use netlab_api::validate::FieldError;
use netlab_api::{ApiError, Reason};

use super::cluster::{ObjectKey, WriteOptions};

/// Field errors as one answer, in Kubernetes' shape: `Pod "web" is invalid: field: Invalid value:
/// …`, or where Kubernetes has no words for it: `Pod "web" is invalid: field must be …`. Several
/// have a line each, as kubectl shows them.
pub(super) fn check(object: &Object, errors: Vec<FieldError>) -> Result<(), ApiError> {
    let Some(first) = errors.first() else {
        return Ok(());
    };
    let text = |error: &FieldError| match &error.invalid_value {
        Some(invalid_value) => format!("{}: {invalid_value}", error.field),
        None => format!("{} {}", error.field, error.message),
    };
    let all: Vec<String> = errors.iter().map(text).collect();
    let list = match all.as_slice() {
        [one] => format!(" {one}"),
        several => several.iter().map(|text| format!("\n* {text}")).collect(),
    };
    let (kind, name) = (object.kind().name(), &object.metadata().name);
    let message = format!("{kind} \"{name}\" is invalid:{list}");
    let mut error = ApiError::new(Reason::Invalid, message)
        .with_object(object.slash_name())
        .with_field(first.field.clone());
    error.hint = errors.iter().find_map(|e| e.hint.clone());
    Err(error)
}

/// Kinds that users write.
pub(super) fn check_writable(object: &Object) -> Result<(), ApiError> {
    match object {
        Object::Pod(_)
        | Object::Node(_)
        | Object::Namespace(_)
        | Object::Service(_)
        | Object::EndpointSlice(_) => Ok(()),
        Object::Event(_) => Err(not_yours(object, "events are made by netlabd")),
        Object::IpamBlock(_) => Err(not_yours(object, "address blocks are claimed by nodes")),
    }
}

/// Whether an apply may build on `live`. One that is on its way out would take the user's wish
/// along, while the answer said that all is well.
pub(super) fn check_stays(
    key: &ObjectKey,
    live: &Object,
    options: WriteOptions,
) -> Result<(), ApiError> {
    let goes = live.metadata().deletion_timestamp.is_some();
    if options.create {
        let mut error = already_exists(key);
        if goes {
            error.message = format!("object is being deleted: {}", error.message);
            error.hint = Some("wait until it is gone, then create it again".to_owned());
        }
        return Err(error);
    }
    if goes {
        let message = format!("{} \"{}\" is being deleted", key.kind.plural(), key.name);
        return Err(ApiError::new(Reason::Conflict, message)
            .with_object(live.slash_name())
            .with_hint("wait until it is gone, then apply again"));
    }
    Ok(())
}

/// Whether the object is at the revision that somebody read; empty when they do not care.
pub(super) fn check_version(
    key: &ObjectKey,
    live: &Object,
    expected: &str,
) -> Result<(), ApiError> {
    let observed = &live.metadata().resource_version;
    if expected.is_empty() || expected == observed {
        return Ok(());
    }
    Err(ApiError::new(
        Reason::Conflict,
        format!(
            "{} \"{}\" has changed: it is at revision {observed}, not {expected}",
            key.kind.plural(),
            key.name
        ),
    )
    .with_object(live.slash_name())
    .with_hint("read it again and apply your changes to what is there now"))
}

/// Whether `wanted` means this object, and not an earlier one of the same name.
pub(super) fn check_uid(live: &Object, wanted: &Object) -> Result<(), ApiError> {
    let (observed, expected) = (&live.metadata().uid, &wanted.metadata().uid);
    if expected.is_empty() || expected == observed {
        return Ok(());
    }
    let name = live.slash_name();
    Err(ApiError::new(
        Reason::Conflict,
        format!("{name} is another one now: its uid is {observed}, not {expected}"),
    )
    .with_object(name)
    .with_hint("read it again and apply your changes to what is there now"))
}

pub(super) fn already_exists(key: &ObjectKey) -> ApiError {
    ApiError::already_exists(key.kind.plural(), &key.name).with_object(format!(
        "{}/{}",
        key.kind.singular(),
        key.name
    ))
}

/// `pods "web" not found`.
pub(super) fn not_found(key: &ObjectKey) -> ApiError {
    ApiError::not_found(key.kind.plural(), &key.name).with_object(format!(
        "{}/{}",
        key.kind.singular(),
        key.name
    ))
}

/// Nodes that a hint names before it counts the rest.
const NAMED_NODES: usize = 10;

/// A pod names a node that there is not. In Kubernetes it would be `Pending` for ever.
pub(super) fn no_such_node(pod: &str, node: &str, known: &[&str]) -> ApiError {
    let message = format!("pod \"{pod}\" wants node \"{node}\", which does not exist");
    let named = known[..known.len().min(NAMED_NODES)].join(", ");
    let hint = match known.len() {
        0 => "no node has registered yet".to_owned(),
        count @ ..=NAMED_NODES => {
            format!("{}: {named}", if count == 1 { "the only node is" } else { "nodes are" })
        }
        count => format!("nodes are: {named} and {} more", count - NAMED_NODES),
    };
    ApiError::new(Reason::Invalid, message)
        .with_object(format!("pod/{pod}"))
        .with_field("spec.nodeName")
        .with_hint(hint)
}

pub(super) fn not_yours(object: &Object, hint: &str) -> ApiError {
    ApiError::new(
        Reason::Forbidden,
        format!("{} cannot be written by hand", object.kind().plural()),
    )
    .with_object(object.slash_name())
    .with_hint(hint)
}

/// Kinds that users delete.
pub(super) fn check_deletable(key: &ObjectKey) -> Result<(), ApiError> {
    let why = match key.kind {
        Kind::Pod | Kind::Event | Kind::Node | Kind::Service | Kind::EndpointSlice => return Ok(()),
        Kind::Namespace if key.name == "default" => "namespace `default` always exists",
        Kind::Namespace => return Ok(()),
        Kind::IpamBlock => "address blocks go with their node",
    };
    Err(ApiError::new(
        Reason::Forbidden,
        format!("{} \"{}\" cannot be deleted: {why}", key.kind.plural(), key.name),
    )
    .with_object(format!("{}/{}", key.kind.singular(), key.name)))
}
