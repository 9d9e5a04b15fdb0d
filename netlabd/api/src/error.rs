// SPDX-License-Identifier: GPL-3.0-or-later
//! The one shape in which the API says that something went wrong.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error as the API answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiError {
    /// The HTTP status.
    pub code: u16,
    /// One word for programs.
    pub reason: Reason,
    /// What went wrong, for people: lower case, no full stop, names in backticks or quotes.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The object it is about, as `pod/web`, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The field it is about, as `spec.readinessProbe.httpGet.port`, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Why an API call failed; Kubernetes' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// 400: the request cannot be understood.
    BadRequest,
    /// 403: the caller may not.
    Forbidden,
    /// 404: there is no such object or path.
    NotFound,
    /// 405: the path knows no such method.
    MethodNotAllowed,
    /// 409: there is one of that name already.
    AlreadyExists,
    /// 409: it changed since the caller read it.
    Conflict,
    /// 410: the revision asked for is no longer kept; list again.
    Expired,
    /// 413: the body is too large.
    RequestEntityTooLarge,
    /// 422: understood, and not allowed.
    Invalid,
    /// 429: too many at once; try again.
    TooManyRequests,
    /// 500: a defect of netlabd.
    InternalError,
    /// 503: not now.
    ServiceUnavailable,
    /// 504: it did not happen in the time given.
    Timeout,
    /// 507: the store's disk is full.
    InsufficientStorage,
}

impl Reason {
    /// The HTTP status that goes with it.
    pub fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::InternalError => 500,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
            Reason::InsufficientStorage => 507,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl ApiError {
    /// An error with nothing but a reason and a message.
    pub fn new(reason: Reason, message: impl Into<String>) -> ApiError {
        ApiError {
            code: reason.code(),
            reason,
            message: message.into(),
            hint: None,
            object: None,
            field: None,
        }
    }

    /// The same error with something to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> ApiError {
        self.hint = Some(hint.into());
        self
    }

    /// The same error about an object, written `pod/web`.
    pub fn with_object(mut self, object: impl Into<String>) -> ApiError {
        self.object = Some(object.into());
        self
    }

    /// The same error about a field, written `spec.nodeName`.
    pub fn with_field(mut self, field: impl Into<String>) -> ApiError {
        self.field = Some(field.into());
        self
    }

    /// `pods "web" not found`.
    pub fn not_found(plural: &str, name: &str) -> ApiError {
        ApiError::new(Reason::NotFound, format!("{plural} \"{name}\" not found"))
    }

    /// `pods "web" already exists`.
    pub fn already_exists(plural: &str, name: &str) -> ApiError {
        ApiError::new(Reason::AlreadyExists, format!("{plural} \"{name}\" already exists"))
    }

    /// Whether the object was simply not there.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, ": {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}
