// SPDX-License-Identifier: GPL-3.0-or-later
//! Tokens, which let machines join the cluster, as the API shows them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Time;

/// A wish for a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// How long it is good for; 24 hours unless given, a week at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// What it is for, in the words of the one who makes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A token that was just made: the only time that all of it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedToken {
    /// The token.
    pub token: String,
    /// What is known of it later.
    pub info: TokenInfo,
    /// Where to join, as `https://192.0.2.1:7411`, the likeliest first.
    pub servers: Vec<String>,
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// Names it; no secret.
    pub id: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was made.
    pub created: Time,
    /// When it ends.
    pub expires: Time,
}

/// All tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenList {
    /// The tokens, by id.
    pub items: Vec<TokenInfo>,
}
