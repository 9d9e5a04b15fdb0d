// SPDX-License-Identifier: GPL-3.0-or-later
//! What a path names: all objects of a kind, those of a namespace, or one.

use std::marker::PhantomData;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use aide::operation::{ParamLocation, add_parameters, parameters_from_schema};
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use netlab_api::meta::ObjectMeta;
use netlab_api::resource::Kind;
use netlab_api::{ApiError, Resource};
use schemars::{Schema, json_schema};

use super::answer::{Failure, bad_request};
use crate::control::cluster::{ObjectKey, Scope};

/// The path of a collection of `T`.
pub(super) struct Collection<T>(pub(super) Scope, pub(super) PhantomData<fn() -> T>);

/// The path of one `T`.
pub(super) struct Single<T>(pub(super) ObjectKey, pub(super) PhantomData<fn() -> T>);

impl<T: Resource, S: Send + Sync> FromRequestParts<S> for Collection<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let (namespace, _) = segments::<S>(parts, state, T::KIND).await?;
        Ok(Collection(Scope { kind: T::KIND, namespace }, PhantomData))
    }
}

impl<T: Resource, S: Send + Sync> FromRequestParts<S> for Single<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let (namespace, name) = segments::<S>(parts, state, T::KIND).await?;
        let name = name.ok_or_else(|| super::answer::defect("route of one object has no name"))?;
        Ok(Single(ObjectKey { kind: T::KIND, namespace, name }, PhantomData))
    }
}

/// The namespace and the name of a path.
///
/// A text that no object can have as its name is not found. It must not get any further: a name
/// with a slash in it would be another key in the store.
async fn segments<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    kind: Kind,
) -> Result<(Option<String>, Option<String>), ApiError> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|error| bad_request(format!("malformed path: {error}")))?;
    let (mut namespace, mut name) = (None, None);
    for (parameter, value) in &params {
        let (slot, plural) = match parameter {
            "namespace" => (&mut namespace, Kind::Namespace.plural()),
            _ => (&mut name, kind.plural()),
        };
        if !is_possible_name(value) {
            return Err(ApiError::not_found(plural, value)
                .with_hint("a name has lower-case letters, digits, `-` and `.` only"));
        }
        *slot = Some(value.to_owned());
    }
    Ok((namespace, name))
}

fn is_possible_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (1..=253).contains(&text.len()) && text.bytes().all(allowed)
}

impl<T: Resource> OperationInput for Collection<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        // The same handler serves a kind's collection over all namespaces; the router drops the
        // parameter where the path does not have it.
        if T::KIND.is_namespaced() {
            add_path_parameters(
                ctx,
                operation,
                json_schema!({
                    "properties": { "namespace": { "type": "string", "description": "the namespace" } },
                    "required": ["namespace"],
                }),
            );
        }
    }
}

impl<T: Resource> OperationInput for Single<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        Collection::<T>::operation_input(ctx, operation);
        add_path_parameters(
            ctx,
            operation,
            json_schema!({
                "properties": { "name": { "type": "string", "description": "the object's name" } },
                "required": ["name"],
            }),
        );
    }
}

fn add_path_parameters(ctx: &mut GenContext, operation: &mut Operation, schema: Schema) {
    let params = parameters_from_schema(ctx, schema, ParamLocation::Path);
    add_parameters(ctx, operation, params);
}

/// Makes sure that the body means the object that the path names; what it leaves out is filled in.
pub(super) fn agree(
    metadata: &mut ObjectMeta,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<(), ApiError> {
    if let Some(wanted) = name {
        match metadata.name.as_str() {
            "" => metadata.name = wanted.to_owned(),
            found if found == wanted => {}
            found => return Err(disagreement("name", found, wanted)),
        }
    }
    if let Some(wanted) = namespace {
        match metadata.namespace.as_deref() {
            None | Some("") => metadata.namespace = Some(wanted.to_owned()),
            Some(found) if found == wanted => {}
            Some(found) => return Err(disagreement("namespace", found, wanted)),
        }
    }
    Ok(())
}

/// `metadata.<field>` of the body is not what the path says.
pub(super) fn disagreement(field: &str, body: &str, path: &str) -> ApiError {
    bad_request(format!("the body's {field} is `{body}`, the path's is `{path}`"))
        .with_hint(format!("leave `metadata.{field}` out, or write the same in both"))
        .with_field(format!("metadata.{field}"))
}
