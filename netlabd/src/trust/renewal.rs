// SPDX-License-Identifier: GPL-3.0-or-later
//! Certificates that are replaced before they end, while connections go on.

use std::path::Path;
use std::time::Duration;

use hyper::Method;
use netlab_api::Time;

use super::certificate::Facts;
use super::client::{CallError, Connector};
use super::join::{JoinError, own_key, request};
use super::pki::{CA_CERTIFICATE, NODE_CERTIFICATE, Pki};
use super::wire::{RenewalRequest, RenewalResponse};
use crate::error::chain;

/// The clock is looked at this often at least: it may be set, and the machine may have slept.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// The shortest wait, between tries that fail and for certificates of very short life.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The server did not sign.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What it signed could not be taken up.
    #[error(transparent)]
    Local(#[from] JoinError),
}

/// How long to wait before a certificate with these facts is to be renewed, or `None` when now.
/// After a try that failed, a twentieth of what is left of its life.
pub fn wait(facts: &Facts, has_failed: bool, now: Time) -> Option<Duration> {
    let until = |time: Time| Duration::try_from_secs_f64(time.seconds_since(now)).ok();
    let due = until(facts.renewal()).filter(|wait| !wait.is_zero());
    let wait = match (due, has_failed) {
        (Some(wait), _) => wait,
        (None, false) => return None,
        (None, true) => until(facts.not_after).unwrap_or_default() / 20,
    };
    Some(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT))
}

/// Renews a node's certificate at two thirds of its life, over and over. Never ends: drop it.
pub async fn keep(connector: &Connector, node: &str, state_dir: &Path) {
    let mut has_failed = false;
    loop {
        let facts = connector.identity().facts();
        if let Some(wait) = wait(&facts, has_failed, Time::now()) {
            tokio::time::sleep(wait).await;
            // The clock may have been set meanwhile.
            if Time::now() < facts.renewal() {
                continue;
            }
        }
        match renew(connector, node, state_dir).await {
            Ok(facts) => {
                has_failed = false;
                tracing::info!(node, until = %facts.not_after, "renewed this node's certificate");
            }
            Err(error) => {
                has_failed = true;
                tracing::warn!(
                    error = chain(&error),
                    until = %facts.not_after,
                    "failed to renew this node's certificate; will try again"
                );
            }
        }
    }
}

/// Renews a node's certificate now.
///
/// # Errors
/// When the server does not sign; the certificate there is stays.
pub async fn renew(
    connector: &Connector,
    node: &str,
    state_dir: &Path,
) -> Result<Facts, RenewalError> {
    let pki = Pki::of(state_dir);
    let key = own_key(&pki)?;
    let wish = RenewalRequest { request: request(&key)? };
    let path = format!("/v1/nodes/{node}/certificate");
    let answer: RenewalResponse = connector.call(Method::POST, &path, Some(&wish)).await?;
    let authority = pki.read(CA_CERTIFICATE).map_err(JoinError::from)?.unwrap_or_default();
    let identity = connector.identity();
    // Used first, so that what cannot be used is not kept either.
    identity
        .replace(&answer.certificate, &key.serialize_pem(), &authority)
        .map_err(JoinError::from)?;
    pki.write(NODE_CERTIFICATE, &answer.certificate).map_err(JoinError::from)?;
    Ok(identity.facts())
}
