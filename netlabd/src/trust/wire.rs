// SPDX-License-Identifier: GPL-3.0-or-later
//! What daemons say to each other to join and to renew. Tokens' own bodies, which netlabctl sees,
//! are in `netlab_api::token`.

use netlab_api::Time;
use serde::{Deserialize, Serialize};

use crate::control::config::ClusterConfig;

/// `POST /v1/join`: a machine asks to be a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinRequest {
    /// What lets it in.
    pub token: String,
    /// The name it wants to have.
    pub node: String,
    /// Its certificate request, PEM.
    pub request: String,
    /// The time by its clock.
    pub clock: Time,
}

/// The answer to a [`JoinRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinResponse {
    /// Its certificate, PEM.
    pub certificate: String,
    /// The authority's certificate, PEM.
    pub authority: String,
    /// Name of the server's own node.
    pub server: String,
    /// The cluster's networks and names.
    pub cluster: ClusterConfig,
    /// The time by the server's clock.
    pub clock: Time,
}

/// `POST /v1/nodes/{name}/certificate`: a node asks for its next certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalRequest {
    /// The request, PEM, of the key that the node joined with.
    pub request: String,
}

/// The answer to a [`RenewalRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalResponse {
    /// The certificate, PEM.
    pub certificate: String,
}
