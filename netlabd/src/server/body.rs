// SPDX-License-Identifier: GPL-3.0-or-later
//! What comes in: JSON bodies, read with a bound on size and time, into objects.

use std::marker::PhantomData;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, RequestBody, SchemaObject};
use aide::operation::set_body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use netlab_api::resource::{API_VERSION, Kind};
use netlab_api::wire::ApplyRequest;
use netlab_api::{
    ApiError, EndpointSlice, Event, IpamBlock, Namespace, Node, Object, Pod, Reason, Resource,
    Service,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value};

use super::answer::{Failure, bad_request};
use super::query::nearest;
use super::router::App;

/// Content type of JSON.
const JSON: &str = "application/json";
/// Content type of RFC 7386 patches.
const MERGE_PATCH: &str = "application/merge-patch+json";

/// One object of type `T`.
pub(super) struct ObjectBody<T>(pub(super) T);

/// Objects of any kind.
pub(super) struct ObjectsBody(pub(super) Vec<Object>);

/// A value that is no object of the store.
pub(super) struct JsonBody<T>(pub(super) T);

/// A merge patch of a `T`.
pub(super) struct PatchBody<T>(pub(super) Map<String, Value>, pub(super) PhantomData<fn() -> T>);

impl<T: Resource> FromRequest<App> for ObjectBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let Value::Object(mut fields) = read_json(request, app, &[JSON]).await? else {
            return Err(bad_request(format!("the body is no {}", T::KIND.singular()))
                .with_hint("send a JSON object: `{\"metadata\":{\"name\":\"…\"}, …}`")
                .into());
        };
        check_version(&mut fields, "")?;
        check_kind(&mut fields, T::KIND)?;
        Ok(ObjectBody(decode(T::KIND, fields, "")?))
    }
}

impl FromRequest<App> for ObjectsBody {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let hint = "send `{\"items\":[{\"kind\":\"Pod\", …}, …]}`";
        let Value::Object(mut body) = read_json(request, app, &[JSON]).await? else {
            return Err(bad_request("the body is no list of objects").with_hint(hint).into());
        };
        let Some(Value::Array(items)) = body.remove("items") else {
            return Err(bad_request("the body has no list `items`").with_hint(hint).into());
        };
        if let Some(other) = body.keys().next() {
            return Err(bad_request(format!("unknown field `{other}` beside `items`"))
                .with_hint(hint)
                .into());
        }
        let objects = items.into_iter().enumerate().map(|(index, item)| decode_any(index, item));
        Ok(ObjectsBody(objects.collect::<Result<_, ApiError>>()?))
    }
}

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let value = read_json(request, app, &[JSON]).await?;
        let read = serde_path_to_error::deserialize(value);
        read.map(JsonBody).map_err(|error| {
            let field = error.path().to_string();
            let error = bad_request(format!("the body cannot be understood: {}", error.inner()));
            Failure(if field == "." { error } else { error.with_field(field) })
        })
    }
}

impl<T: JsonSchema> OperationInput for JsonBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<T>();
        set_body(ctx, operation, body_doc(JSON, schema));
    }
}

impl<T: Resource> FromRequest<App> for PatchBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let Value::Object(mut patch) = read_json(request, app, &[MERGE_PATCH]).await? else {
            return Err(bad_request("the merge patch is no JSON object")
                .with_hint("send the fields to change: `{\"metadata\":{\"labels\":{…}}}`")
                .into());
        };
        check_version(&mut patch, "")?;
        check_kind(&mut patch, T::KIND)?;
        Ok(PatchBody(patch, PhantomData))
    }
}

impl<T: Resource> OperationInput for ObjectBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<T>();
        set_body(ctx, operation, body_doc(JSON, schema));
    }
}

impl OperationInput for ObjectsBody {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<ApplyRequest>();
        set_body(ctx, operation, body_doc(JSON, schema));
    }
}

impl<T> OperationInput for PatchBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = schemars::json_schema!({
            "type": "object",
            "description": "the fields to change, `null` to remove one (RFC 7386)",
        });
        set_body(ctx, operation, body_doc(MERGE_PATCH, schema));
    }
}

fn body_doc(content_type: &str, json_schema: schemars::Schema) -> RequestBody {
    let schema = SchemaObject { json_schema, example: None, external_docs: None };
    let media = MediaType { schema: Some(schema), ..MediaType::default() };
    RequestBody {
        content: [(content_type.to_owned(), media)].into_iter().collect(),
        required: true,
        ..RequestBody::default()
    }
}

/// A body that is no object: a plain `T`.
pub(super) struct Plain<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Plain<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        let body = read_json(request, app, &[JSON]).await?;
        serde_path_to_error::deserialize(body).map(Plain).map_err(|error| {
            let field = error.path().to_string();
            let text = without_place(error.inner());
            match field.as_str() {
                "." => bad_request(text).into(),
                _ => bad_request(format!("{field}: {text}")).with_field(field).into(),
            }
        })
    }
}

impl<T: JsonSchema> OperationInput for Plain<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<T>();
        set_body(ctx, operation, body_doc(JSON, schema));
    }
}

/// The same, where there may be no body.
pub(super) struct MaybePlain<T>(pub(super) Option<T>);

impl<T: DeserializeOwned> FromRequest<App> for MaybePlain<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, app: &App) -> Result<Self, Failure> {
        if request.body().is_end_stream() {
            return Ok(MaybePlain(None));
        }
        let Plain(value) = Plain::from_request(request, app).await?;
        Ok(MaybePlain(Some(value)))
    }
}

impl<T: JsonSchema> OperationInput for MaybePlain<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let schema = ctx.schema.subschema_for::<T>();
        set_body(ctx, operation, RequestBody { required: false, ..body_doc(JSON, schema) });
    }
}

/// Reads a body of one of these content types. A body without a type is taken for the first.
async fn read_json(request: Request, app: &App, types: &[&str]) -> Result<Value, ApiError> {
    check_content_type(request.headers(), types)?;
    let bytes = read(request, app).await?;
    if bytes.trim_ascii().is_empty() {
        return Err(bad_request("the body is empty").with_hint("send JSON"));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let text = without_place(&error);
        match error.classify() {
            Category::Eof => bad_request(format!("truncated JSON at {place}: {text}")),
            _ => bad_request(format!("malformed JSON at {place}: {text}")),
        }
    })
}

fn check_content_type(headers: &HeaderMap, types: &[&str]) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if types.contains(&essence.as_str()) {
        return Ok(());
    }
    Err(bad_request(format!("content type `{text}` is not understood here"))
        .with_hint(format!("send `Content-Type: {}`", types.join("` or `"))))
}

async fn read(request: Request, app: &App) -> Result<Bytes, ApiError> {
    let limit = app.state.limits.body_bytes;
    let too_large = || {
        ApiError::new(
            Reason::RequestEntityTooLarge,
            format!("the body is larger than {limit} bytes"),
        )
        .with_hint("send the objects in several requests")
    };
    // Told before the body is read, a client that waits for `100 Continue` need not send it.
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let reading = Limited::new(request.into_body(), limit).collect();
    match tokio::time::timeout(app.state.limits.arrival, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(bad_request(format!("failed to read the body: {error}"))),
        Err(_) => Err(bad_request(format!(
            "the body did not arrive within {} s",
            app.state.limits.arrival.as_secs_f64()
        ))),
    }
}

/// Takes `apiVersion` off; `prefix` is the object's place in the body.
fn check_version(fields: &mut Map<String, Value>, prefix: &str) -> Result<(), ApiError> {
    match fields.remove("apiVersion") {
        None => Ok(()),
        Some(version) if version == API_VERSION => Ok(()),
        Some(version) => Err(bad_request(format!("{prefix}apiVersion {version} is not known"))
            .with_hint(format!("write \"{API_VERSION}\", or leave it out"))
            .with_field("apiVersion")),
    }
}

/// Takes `kind` off, which may be missing where the path says it.
fn check_kind(fields: &mut Map<String, Value>, wanted: Kind) -> Result<(), ApiError> {
    match fields.remove("kind") {
        None => Ok(()),
        Some(kind) if kind == wanted.name() => Ok(()),
        Some(kind) => Err(bad_request(format!(
            "the body's kind is {kind}, the path's is \"{}\"",
            wanted.name()
        ))
        .with_hint("POST /v1/apply takes objects of any kind")
        .with_field("kind")),
    }
}

fn decode_any(index: usize, item: Value) -> Result<Object, ApiError> {
    let prefix = format!("items[{index}].");
    let Value::Object(mut fields) = item else {
        return Err(bad_request(format!("items[{index}] is no JSON object")));
    };
    check_version(&mut fields, &prefix)?;
    let names = Kind::ALL.map(Kind::name);
    let kinds = format!("kinds are {}", names.join(", "));
    let kind = match fields.remove("kind") {
        Some(Value::String(word)) => {
            Kind::ALL.into_iter().find(|kind| kind.name() == word).ok_or_else(|| {
                bad_request(format!("{prefix}kind \"{word}\" is not known"))
                    .with_hint(match nearest(&word, names.into_iter()) {
                        Some(near) => format!("did you mean \"{near}\"? {kinds}"),
                        None => kinds,
                    })
                    .with_field("kind")
            })?
        }
        _ => {
            return Err(bad_request(format!("{prefix}kind is missing"))
                .with_hint(kinds)
                .with_field("kind"));
        }
    };
    Ok(match kind {
        Kind::Namespace => decode::<Namespace>(kind, fields, &prefix)?.into(),
        Kind::Node => decode::<Node>(kind, fields, &prefix)?.into(),
        Kind::Pod => decode::<Pod>(kind, fields, &prefix)?.into(),
        Kind::Service => decode::<Service>(kind, fields, &prefix)?.into(),
        Kind::EndpointSlice => decode::<EndpointSlice>(kind, fields, &prefix)?.into(),
        Kind::Event => decode::<Event>(kind, fields, &prefix)?.into(),
        Kind::IpamBlock => decode::<IpamBlock>(kind, fields, &prefix)?.into(),
    })
}

fn decode<T: Resource>(
    kind: Kind,
    fields: Map<String, Value>,
    prefix: &str,
) -> Result<T, ApiError> {
    let name = fields.get("metadata").and_then(|m| m.get("name")).and_then(Value::as_str);
    let object = name.map(|name| format!("{}/{name}", kind.singular()));
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let field = error.path().to_string();
        let text = without_place(error.inner());
        let mut answer = match field.as_str() {
            "." => bad_request(format!("{prefix}{text}")),
            _ => bad_request(format!("{prefix}{field}: {text}")).with_field(field),
        };
        answer.object = object;
        answer
    })
}

/// The error's text without the place that serde_json puts at its end.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) if error.line() > 0 => text[..end].to_owned(),
        _ => text,
    }
}
