// SPDX-License-Identifier: GPL-3.0-or-later
//! The server's side of joining: issues tokens, lets machines in, renews, and knows its members.

use std::sync::Arc;
use std::time::Duration;

use netlab_api::token::{TokenInfo, TokenRequest};
use netlab_api::{ApiError, Reason, Time};

use super::authority::{Authority, AuthorityError};
use super::certificate::later;
use super::token::{RANDOM_BYTES, Token};
use super::wire::{JoinRequest, JoinResponse, RenewalRequest, RenewalResponse};
use crate::control::Control;
use crate::control::membership::TokenRecord;
use crate::error::chain;

/// How long a token is good for unless told; kubeadm's default.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// The longest life of a token.
const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Characters of a token's description.
const DESCRIPTION_LENGTH: usize = 200;
/// How far the clocks of a machine and the server may be apart. Certificates are backdated by more.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// Who belongs to the cluster, on the server.
pub struct Membership {
    control: Arc<Control>,
    authority: Arc<Authority>,
    node: String,
}

/// Why a machine is not let in. The two kinds cost the one who asks differently.
#[derive(Debug)]
pub enum Refusal {
    /// It showed no valid token: a stranger.
    Stranger(ApiError),
    /// It did, and still cannot join.
    Guest(ApiError),
}

impl Membership {
    /// The members of the cluster that `control` decides over. `node` is the server's own node.
    pub fn new(control: Arc<Control>, authority: Arc<Authority>, node: String) -> Membership {
        Membership { control, authority, node }
    }

    /// What signs.
    pub fn authority(&self) -> &Arc<Authority> {
        &self.authority
    }

    /// Where tokens and members are kept.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Name of the server's own node.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Makes a token out of random bytes.
    ///
    /// # Errors
    /// `Invalid` when it is to live for no time or too long.
    pub async fn issue_token(
        &self,
        wish: &TokenRequest,
        random: [u8; RANDOM_BYTES],
        now: Time,
    ) -> Result<(Token, TokenInfo), ApiError> {
        let life = wish.ttl_seconds.map_or(TOKEN_LIFE, Duration::from_secs);
        if life.is_zero() || life > LONGEST_TOKEN_LIFE {
            return Err(ApiError::new(
                Reason::Invalid,
                format!("a token cannot be good for {} s", life.as_secs()),
            )
            .with_field("ttlSeconds")
            .with_hint("give at least a second and at most a week (604800 s)"));
        }
        let description = wish.description.trim();
        if description.chars().count() > DESCRIPTION_LENGTH
            || description.chars().any(char::is_control)
        {
            return Err(ApiError::new(
                Reason::Invalid,
                format!("a description is one line of at most {DESCRIPTION_LENGTH} characters"),
            )
            .with_field("description"));
        }
        let token = Token::new(self.authority.hash(), random);
        let info = TokenInfo {
            id: token.id().to_owned(),
            description: description.to_owned(),
            created: now,
            expires: later(now, life),
        };
        let record = TokenRecord { info: info.clone(), digest: token.digest() };
        self.control.put_token(&record).await?;
        Ok((token, info))
    }

    /// Lets a machine in.
    ///
    /// # Errors
    /// When its token, its clock or its name is not in order; the error says how to mend it.
    pub async fn join(&self, wish: &JoinRequest, now: Time) -> Result<JoinResponse, Refusal> {
        self.check_token(&wish.token, now).await?;
        check_clock(wish.clock, now).map_err(Refusal::Guest)?;
        self.check_name(&wish.node).map_err(Refusal::Guest)?;
        let signed = self
            .authority
            .sign(&wish.request, &wish.node, now)
            .map_err(|error| Refusal::Guest(sign_failed(&error)))?;
        let key = signed.facts.key.to_string();
        let is_new = self.control.enrol(&wish.node, &key, now).await.map_err(Refusal::Guest)?;
        let node = &wish.node;
        match is_new {
            true => tracing::info!(node, until = %signed.facts.not_after, "a node joined"),
            false => tracing::info!(node, "a node that is a member already joined again"),
        }
        Ok(JoinResponse {
            certificate: signed.certificate,
            authority: self.authority.certificate().to_owned(),
            server: self.node.clone(),
            cluster: self.control.config().clone(),
            clock: now,
        })
    }

    /// Signs a member's next certificate, for the key that it joined with.
    ///
    /// # Errors
    /// `Forbidden` when it is no member, or the key is another.
    pub async fn renew(
        &self,
        node: &str,
        wish: &RenewalRequest,
        now: Time,
    ) -> Result<RenewalResponse, ApiError> {
        let signed =
            self.authority.sign(&wish.request, node, now).map_err(|error| sign_failed(&error))?;
        if !self.is_member(node, &signed.facts.key.to_string()).await? {
            return Err(no_member(node));
        }
        tracing::info!(node, until = %signed.facts.not_after, "renewed a node's certificate");
        Ok(RenewalResponse { certificate: signed.certificate })
    }

    /// Whether this node is a member with this key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_member(&self, node: &str, key: &str) -> Result<bool, ApiError> {
        Ok(self.control.member(node).await?.is_some_and(|member| member.key == key))
    }

    async fn check_token(&self, text: &str, now: Time) -> Result<(), Refusal> {
        let refuse = |message: String| {
            let error = ApiError::new(Reason::Forbidden, message);
            Refusal::Stranger(error.with_hint("`netlabctl node token` on the server makes another"))
        };
        let token: Token = text.parse().map_err(|error: super::token::TokenError| {
            Refusal::Stranger(ApiError::new(Reason::Forbidden, error.to_string()))
        })?;
        let ours = self.authority.hash();
        if token.authority() != ours {
            return Err(refuse(format!(
                "the token is for a cluster whose CA has hash {}, this one's has {ours}",
                token.authority()
            )));
        }
        let id = token.id();
        let record = self.control.token(id).await.map_err(Refusal::Guest)?;
        let Some(record) = record else {
            return Err(refuse(format!("token `{id}` is not known: it was revoked, or ended")));
        };
        if !token.matches(&record.digest) {
            return Err(refuse(format!("token `{id}` is wrong: its secret part differs")));
        }
        if record.info.expires <= now {
            return Err(refuse(format!("token `{id}` ended at {}", record.info.expires)));
        }
        Ok(())
    }

    fn check_name(&self, node: &str) -> Result<(), ApiError> {
        if let Err(error) = netlab_api::names::dns_subdomain(node) {
            return Err(ApiError::new(
                Reason::Invalid,
                format!("`{node}` cannot be a node's name: {}", error.rule),
            )
            .with_hint("give this machine another name by --node-name"));
        }
        if node == self.node {
            return Err(ApiError::new(
                Reason::AlreadyExists,
                format!("`{node}` is the name of the server's own node"),
            )
            .with_hint("give this machine another name by --node-name"));
        }
        Ok(())
    }
}

impl Refusal {
    /// What to answer.
    pub fn error(&self) -> &ApiError {
        match self {
            Refusal::Stranger(error) | Refusal::Guest(error) => error,
        }
    }
}

/// The answer to somebody whose certificate is in order and who is no member any more.
pub fn no_member(node: &str) -> ApiError {
    ApiError::new(
        Reason::Forbidden,
        format!("node `{node}` is no member of this cluster (any more): it was deleted"),
    )
    // By this the node knows that it is meant, and lets go of its pods.
    .with_object(format!("node/{node}"))
    .with_hint("`netlabctl node token` on the server lets it join again")
}

fn check_clock(theirs: Time, ours: Time) -> Result<(), ApiError> {
    let apart = theirs.seconds_since(ours);
    if apart.abs() <= CLOCK_TOLERANCE.as_secs_f64() {
        return Ok(());
    }
    let ahead = if apart > 0.0 { "ahead of" } else { "behind" };
    Err(ApiError::new(
        Reason::Invalid,
        format!(
            "the clocks differ too much for certificates: the node's says {theirs}, the server's \
             {ours}: the node is {:.0} s {ahead} the server",
            apart.abs()
        ),
    )
    .with_hint("set the clock that is wrong (`timedatectl set-ntp true`), then join again"))
}

fn sign_failed(error: &AuthorityError) -> ApiError {
    let reason = match error {
        AuthorityError::Request { .. } => Reason::BadRequest,
        _ => Reason::InternalError,
    };
    ApiError::new(reason, chain(error))
}
