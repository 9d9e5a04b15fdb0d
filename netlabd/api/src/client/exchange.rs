// SPDX-License-Identifier: GPL-3.0-or-later
//! One request and its answer: sent over a kept connection or a new one, read whole or left open.
//!
//! Nothing here retries what may have been carried out already: only a request that never left is
//! sent again.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, ClientError};
use crate::ApiError;

/// Longest path and query, in bytes: the `http` crate takes no more (`uri::MAX_LEN`), neither here
/// nor in the server.
pub(super) const MAX_PATH: usize = u16::MAX as usize - 1;

/// The content type of most bodies.
const JSON: &str = "application/json";

/// What an observer of a client hears of each request once its answer has begun.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// `GET`.
    pub method: &'a Method,
    /// Path and query.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// From the request's first byte to the answer's.
    pub took: Duration,
}

/// Hears of every request.
pub type Observer = Box<dyn Fn(Exchange<'_>) + Send + Sync>;

/// How long an answer is waited for in silence; the wait goes on after that.
pub struct Patience {
    /// The silence.
    pub time: Duration,
    /// Called when it is over.
    pub tell: Box<dyn Fn() + Send + Sync>,
}

/// Mark of a request whose answer comes when something has happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits;

impl Client {
    /// Sends JSON, or nothing, and reads JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        content: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        self.answer(match content {
            Some(content) => body(method, path, content, JSON)?,
            None => empty(method, path)?,
        })
        .await
    }

    /// Sends a request and reads the JSON of its answer.
    pub(super) async fn answer<T: DeserializeOwned>(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<T, ClientError> {
        let what = describe(&request);
        let (response, connection) = self.open(request).await?;
        let bytes = self.read(response, connection).await?;
        decode(&what, &bytes)
    }

    /// Makes of the connection of a POST, sent with JSON or nothing, one that speaks another
    /// protocol.
    pub(super) async fn upgrade(
        &self,
        path: &str,
        content: Option<&impl Serialize>,
        protocol: &'static str,
    ) -> Result<Upgraded, ClientError> {
        let mut request = match content {
            Some(content) => body(Method::POST, path, content, JSON)?,
            None => empty(Method::POST, path)?,
        };
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(protocol));
        let (response, _connection) = self.open(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::NoUpgrade { status: response.status().as_u16() });
        }
        let upgraded = hyper::upgrade::on(response).await;
        upgraded.map_err(|source| ClientError::Upgrade { source })
    }

    /// Sends a request and turns an error answer into an error.
    pub(super) async fn open(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), ClientError> {
        let what = describe(&request);
        let (response, connection) = self.send(request).await?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok((response, connection));
        }
        let bytes = self.read(response, connection).await?;
        Err(match serde_json::from_slice::<ApiError>(&bytes) {
            Ok(error) => ClientError::Api(error),
            Err(_) => ClientError::UnknownAnswer {
                request: what,
                status: status.as_u16(),
                body: String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned(),
            },
        })
    }

    /// Sends a request, over a kept connection if there is one.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), ClientError> {
        let started = Instant::now();
        let method = request.method().clone();
        let path = request.uri().to_string();
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reused = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.transport.connect().await?,
            };
            let patience = self.patience.as_ref();
            let patience = patience.filter(|_| request.extensions().get::<Waits>().is_none());
            match answered(connection.try_send_request(request), patience).await {
                Ok(response) => {
                    if let Some(observer) = &self.observer {
                        let status = response.status().as_u16();
                        let took = started.elapsed();
                        observer(Exchange { method: &method, path: &path, status, took });
                    }
                    return Ok((response, connection));
                }
                Err(mut refused) => match refused.take_message() {
                    // A kept connection may have been closed meanwhile; this one never left.
                    Some(message) if reused => request = message,
                    _ => {
                        return Err(ClientError::Closed {
                            request: format!("{method} {path}"),
                            source: refused.into_error(),
                        });
                    }
                },
            }
        }
    }

    /// Reads the whole answer and keeps the connection for the next request.
    pub(super) async fn read(
        &self,
        response: Response<Incoming>,
        connection: SendRequest<Full<Bytes>>,
    ) -> Result<Bytes, ClientError> {
        let body = response.into_body().collect().await;
        let bytes = body.map_err(|source| ClientError::ClosedMidway { source })?.to_bytes();
        if !connection.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        Ok(bytes)
    }
}

/// Awaits an answer, and tells when that takes long.
async fn answered<T>(answer: impl Future<Output = T>, patience: Option<&Patience>) -> T {
    tokio::pin!(answer);
    if let Some(patience) = patience {
        if let Ok(done) = tokio::time::timeout(patience.time, answer.as_mut()).await {
            return done;
        }
        (patience.tell)();
    }
    answer.await
}

pub(super) fn empty(method: Method, path: &str) -> Result<Request<Full<Bytes>>, ClientError> {
    request(method, path, Bytes::new())
}

pub(super) fn body(
    method: Method,
    path: &str,
    content: &impl Serialize,
    content_type: &'static str,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let content = serde_json::to_vec(content).expect("objects have string keys");
    let mut request = request(method, path, content.into())?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(request)
}

fn request(
    method: Method,
    path: &str,
    content: Bytes,
) -> Result<Request<Full<Bytes>>, ClientError> {
    if path.len() > MAX_PATH {
        return Err(ClientError::TooLong { length: path.len() });
    }
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "netlab")
        .body(Full::new(content))
        .expect("paths are escaped and not too long");
    Ok(request)
}

fn describe(request: &Request<Full<Bytes>>) -> String {
    format!("{} {}", request.method(), request.uri())
}

pub(super) fn decode<T: DeserializeOwned>(request: &str, bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes)
        .map_err(|source| ClientError::Decode { request: request.to_owned(), source })
}
