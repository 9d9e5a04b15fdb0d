// SPDX-License-Identifier: GPL-3.0-or-later
//! A request whose connection speaks another protocol after the answer: whether it is one, and the
//! answer. What is said on the connection then is for whoever asked.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use netlab_api::ApiError;

use super::answer::defect;

/// Whether the client asks for this protocol.
pub(super) fn wants(headers: &HeaderMap, protocol: &str) -> bool {
    let names = |name: header::HeaderName, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(wanted)))
    };
    names(header::CONNECTION, "upgrade") && names(header::UPGRADE, protocol)
}

/// The connection of a request for `what`, once it is answered by [`switch_to`].
pub(super) fn upgrade_of(request: &mut Request, what: &str) -> Result<OnUpgrade, ApiError> {
    request.extensions_mut().remove::<OnUpgrade>().ok_or_else(|| {
        defect(&format!("{what} was asked for on a connection that cannot be upgraded"))
    })
}

/// The answer after which the connection speaks this protocol.
pub(super) fn switch_to(protocol: &'static str) -> Response {
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static(protocol)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}
