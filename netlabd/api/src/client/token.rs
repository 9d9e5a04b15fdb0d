// SPDX-License-Identifier: GPL-3.0-or-later
//! Tokens, which let machines join.

use hyper::Method;

use super::{Client, ClientError, query};
use crate::token::{IssuedToken, TokenInfo, TokenList, TokenRequest};

impl Client {
    /// Makes a token.
    ///
    /// # Errors
    /// `ServiceUnavailable` when the daemon has no port for other nodes.
    pub async fn create_token(&self, wish: &TokenRequest) -> Result<IssuedToken, ClientError> {
        self.json(Method::POST, "/v1/tokens", Some(wish)).await
    }

    /// The tokens that are good now, without their secrets.
    ///
    /// # Errors
    /// See [`Client::create_token`].
    pub async fn tokens(&self) -> Result<TokenList, ClientError> {
        self.json(Method::GET, "/v1/tokens", None::<&()>).await
    }

    /// Revokes a token; nodes that joined by it stay.
    ///
    /// # Errors
    /// `NotFound` when there is none of this id.
    pub async fn revoke_token(&self, id: &str) -> Result<TokenInfo, ClientError> {
        let path = format!("/v1/tokens/{}", query::escape(id));
        self.json(Method::DELETE, &path, None::<&()>).await
    }
}
