// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon itself: its version, whether it is ready and well, and how far the kernels are.

use std::time::Duration;

use hyper::Method;

use super::exchange::{Waits, decode, empty};
use super::{Client, ClientError, Query};
use crate::wire::{DoctorReport, Programmed, Readiness, Version};

/// How much longer than a wait that the server bounds the client itself waits.
const GRACE_OVER_SERVER_TIMEOUT: Duration = Duration::from_secs(5);

impl Client {
    /// Version of the daemon.
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.json(Method::GET, "/v1/version", None::<&()>).await
    }

    /// Whether the daemon is ready, and what is missing.
    pub async fn ready(&self) -> Result<Readiness, ClientError> {
        let (response, connection) = self.send(empty(Method::GET, "/readyz")?).await?;
        // 503 with the same body is the answer "no".
        let bytes = self.read(response, connection).await?;
        decode("GET /readyz", &bytes)
    }

    /// What the daemon finds when it looks itself over.
    pub async fn doctor(&self) -> Result<DoctorReport, ClientError> {
        self.json(Method::GET, "/v1/doctor", None::<&()>).await
    }

    /// Waits until every ready node's kernel reflects `revision`.
    ///
    /// # Errors
    /// `Timeout`, naming the nodes that lag.
    pub async fn programmed(
        &self,
        revision: u64,
        timeout: Duration,
    ) -> Result<Programmed, ClientError> {
        let path = Query::new("/v1/programmed")
            .set("revision", revision.to_string())
            .set("timeoutSeconds", timeout.as_secs().max(1).to_string())
            .into_path();
        let mut request = empty(Method::GET, &path)?;
        request.extensions_mut().insert(Waits);
        let answer = self.answer(request);
        // The server keeps its own time; this only bounds a server that answers nothing at all.
        match tokio::time::timeout(timeout + GRACE_OVER_SERVER_TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::NoAnswer { request: format!("GET {path}") }),
        }
    }
}
