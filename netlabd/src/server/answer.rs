// SPDX-License-Identifier: GPL-3.0-or-later
//! What goes back: JSON bodies, and errors in the API's one shape.

use std::any::Any;
use std::marker::PhantomData;

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as ResponseDoc, SchemaObject};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use netlab_api::{ApiError, Reason};
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::Revision;

/// Header with the revision at which an answer is true.
pub(super) const REVISION_HEADER: &str = "netlab-revision";

/// An [`ApiError`] on its way out. A newtype, because both the error and the traits that make a
/// response of it belong to other crates.
#[derive(Debug)]
pub(super) struct Failure(pub(super) ApiError);

impl<E: Into<ApiError>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        json(status, &self.0)
    }
}

impl OperationOutput for Failure {
    type Inner = ApiError;

    fn operation_response(ctx: &mut GenContext, _: &mut Operation) -> Option<ResponseDoc> {
        Some(json_doc::<ApiError>(ctx, "what went wrong, and what to do about it"))
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        Self::operation_response(ctx, operation).into_iter().map(|doc| (None, doc)).collect()
    }
}

/// A response whose body has the schema of `T`, with status `STATUS` when all is well.
pub(super) struct Answer<T, const STATUS: u16 = 200> {
    response: Response,
    schema: PhantomData<fn() -> T>,
}

impl<T, const STATUS: u16> Answer<T, STATUS> {
    /// `body` as JSON. It need not be a `T`, only look like one on the wire.
    pub(super) fn new(body: &impl Serialize) -> Self {
        let status = StatusCode::from_u16(STATUS).expect("the status is a constant of the caller");
        Self::of(json(status, body))
    }

    /// A response that was made by other means.
    pub(super) fn of(response: Response) -> Self {
        Answer { response, schema: PhantomData }
    }

    /// The same answer, true at `revision`.
    pub(super) fn at(mut self, revision: Revision) -> Self {
        self.response.headers_mut().insert(REVISION_HEADER, HeaderValue::from(revision.0));
        self
    }
}

impl<T, const STATUS: u16> IntoResponse for Answer<T, STATUS> {
    fn into_response(self) -> Response {
        self.response
    }
}

impl<T: JsonSchema, const STATUS: u16> OperationOutput for Answer<T, STATUS> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, _: &mut Operation) -> Option<ResponseDoc> {
        Some(json_doc::<T>(ctx, ""))
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        vec![(Some(STATUS), json_doc::<T>(ctx, "done"))]
    }
}

/// Describes a JSON response of type `T`; without `description`, in the words of the type.
fn json_doc<T: JsonSchema>(ctx: &mut GenContext, description: &str) -> ResponseDoc {
    let json_schema = ctx.schema.subschema_for::<T>();
    let schema = SchemaObject { json_schema, example: None, external_docs: None };
    let media = MediaType { schema: Some(schema), ..MediaType::default() };
    ResponseDoc {
        description: description.to_owned(),
        content: [("application/json".to_owned(), media)].into_iter().collect(),
        ..ResponseDoc::default()
    }
}

/// `body` as JSON, with a line end for people with curl.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = match serde_json::to_vec(body) {
        Ok(bytes) => bytes,
        Err(error) => {
            let error = defect(&format!("failed to write an answer as JSON: {error}"));
            return Failure(error).into_response();
        }
    };
    bytes.push(b'\n');
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], bytes).into_response()
}

/// Plain text.
pub(super) fn text(body: impl Into<Body>) -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(header::CONTENT_TYPE, plain)], body.into()).into_response()
}

/// JSON values as they come, one a line.
pub(super) fn json_lines(body: impl Into<Body>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], body.into()).into_response()
}

/// 400 with a message.
pub(super) fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError::new(Reason::BadRequest, message)
}

/// 500: netlabd did what it must not.
pub(super) fn defect(message: &str) -> ApiError {
    ApiError::new(Reason::InternalError, format!("BUG: {message}")).with_hint(
        "this is a defect of netlabd, not of your request: report it with the lines that \
         `journalctl -u netlabd` shows",
    )
}

/// The daemon goes down.
pub(super) fn stopping() -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, "netlabd is stopping")
        .with_hint("try again when it has started: `systemctl status netlabd`")
}

/// The answer to a request whose handler panicked.
pub(super) fn panic_response(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    tracing::error!(panic = message, "a request handler panicked");
    Failure(defect(&format!("a request handler panicked: {message}"))).into_response()
}
