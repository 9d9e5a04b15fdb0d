// SPDX-License-Identifier: GPL-3.0-or-later
//! Who may join and who did, as the store keeps it: `tokens/<id>` and `members/<node>`.
//!
//! Neither is an object of the API: a token's digest is nobody's to read, and a member goes with
//! its node. Signing and checking are the matter of `trust`.

use jiff::SignedDuration;
use netlab_api::event::EventKind;
use netlab_api::node::NodeStatus;
use netlab_api::token::TokenInfo;
use netlab_api::{ApiError, Node, Reason, Time};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::draft::{Draft, read_failed};
use super::event::event_about;
use super::watch::watch_failed;
use super::{Control, MAX_ROUNDS, too_busy};
use crate::store::Watch;

/// Where tokens are.
const TOKENS: &str = "tokens/";
/// Where members are.
const MEMBERS: &str = "members/";
/// A token is remembered for a day after its end, so that who shows it hears why it is refused.
const EXPIRED_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// More tokens than this at once are a mistake, and would fill the store.
const MAX_TOKENS: usize = 1000;

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRecord {
    /// What may be shown of it.
    #[serde(flatten)]
    pub info: TokenInfo,
    /// `Token::digest` of it.
    pub digest: String,
}

/// A node that joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Hash of the public key it joined with.
    pub key: String,
    /// When it first did.
    pub joined: Time,
}

/// Where a member's record is.
pub(super) fn member_path(node: &str) -> String {
    format!("{MEMBERS}{node}")
}

impl Control {
    /// Stores a token, and forgets those that ended long ago.
    ///
    /// # Errors
    /// When the store cannot be written, or has far too many.
    pub async fn put_token(&self, record: &TokenRecord) -> Result<(), ApiError> {
        let now = record.info.created;
        let mut draft = Draft::new(&*self.store);
        let stored = self.tokens().await?;
        let (old, kept): (Vec<_>, Vec<_>) =
            stored.iter().partition(|token| is_forgotten(token, now));
        if kept.len() >= MAX_TOKENS {
            return Err(ApiError::new(
                Reason::TooManyRequests,
                format!("there are {} tokens already", kept.len()),
            )
            .with_hint(
                "one token lets any number of machines join; `netlabctl node token revoke`",
            ));
        }
        for token in old {
            draft.put_raw(token_path(&token.info.id), None);
        }
        let value = serde_json::to_value(record).map_err(unwritable)?;
        draft.put_raw(token_path(&record.info.id), Some(&value));
        draft.commit().await.map(drop)
    }

    /// A token, also one that has ended.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn token(&self, id: &str) -> Result<Option<TokenRecord>, ApiError> {
        self.record(&token_path(id)).await
    }

    /// All tokens by id, also those that have ended of late.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, ApiError> {
        let listing = self.store.list(TOKENS).await.map_err(read_failed)?;
        listing.entries.iter().map(|entry| read(&entry.key, &entry.value)).collect()
    }

    /// Forgets a token: nobody joins with it any more. Who did stays.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn remove_token(&self, id: &str) -> Result<TokenInfo, ApiError> {
        let Some(record) = self.token(id).await? else {
            return Err(ApiError::not_found("tokens", id)
                .with_hint("`netlabctl node token list` lists them"));
        };
        let mut draft = Draft::new(&*self.store);
        draft.put_raw(token_path(id), None);
        draft.commit().await?;
        Ok(record.info)
    }

    /// Forgets tokens that ended long ago; tells how many. To be called now and then.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn prune_tokens(&self, now: Time) -> Result<usize, ApiError> {
        let mut draft = Draft::new(&*self.store);
        let mut count = 0;
        for token in self.tokens().await?.iter().filter(|token| is_forgotten(token, now)) {
            draft.put_raw(token_path(&token.info.id), None);
            count += 1;
        }
        if count > 0 {
            draft.commit().await?;
        }
        Ok(count)
    }

    /// The member of this name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn member(&self, node: &str) -> Result<Option<Member>, ApiError> {
        self.record(&member_path(node)).await
    }

    /// Makes a node a member, with its object, which says not yet ready. The same key may come
    /// again. Tells whether it is new.
    ///
    /// # Errors
    /// `AlreadyExists` when another has the name.
    pub async fn enrol(&self, node: &str, key: &str, now: Time) -> Result<bool, ApiError> {
        for _ in 0..MAX_ROUNDS {
            let mut draft = Draft::new(&*self.store);
            let member = draft.get_raw(&member_path(node)).await?;
            let object: Option<Node> = draft.get_as(None, node).await?;
            let member: Option<Member> =
                member.map(serde_json::from_value).transpose().map_err(unreadable)?;
            match (&member, &object) {
                (Some(member), Some(_)) if member.key == key => return Ok(false),
                (Some(member), None) if member.key == key => {}
                (None, None) => {}
                (_, object) => return Err(name_taken(node, object.is_some())),
            }
            let joined = member.map_or(now, |member| member.joined);
            let member = Member { key: key.to_owned(), joined };
            let value = serde_json::to_value(member).map_err(unwritable)?;
            draft.put_raw(member_path(node), Some(&value));
            let object = super::node::new_node(node, NodeStatus::default(), now).into();
            draft.put(&object);
            if draft.commit_unless_overtaken().await?.is_some() {
                let message = "joined the cluster".to_owned();
                let event =
                    event_about(&object, EventKind::Normal, "Joined", message, "netlabd", node);
                self.record_events(vec![event]).await;
                return Ok(true);
            }
        }
        Err(too_busy())
    }

    /// Ends a membership: the node's certificate opens nothing any more. Deleting the node does so
    /// too.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn expel(&self, node: &str) -> Result<(), ApiError> {
        let mut draft = Draft::new(&*self.store);
        draft.put_raw(member_path(node), None);
        draft.commit().await.map(drop)
    }

    /// Hears of each member that comes or goes from now on.
    ///
    /// # Errors
    /// When the store is closed.
    pub async fn watch_members(&self) -> Result<Watch, ApiError> {
        let revision = self.store.revision().await.map_err(read_failed)?;
        self.store.watch(MEMBERS, revision).await.map_err(watch_failed)
    }

    async fn record<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ApiError> {
        let entry = self.store.get(path).await.map_err(read_failed)?;
        entry.map(|entry| read(path, &entry.value)).transpose()
    }
}

/// The cure depends on whether there is a node to delete.
fn name_taken(node: &str, has_object: bool) -> ApiError {
    let error = ApiError::new(
        Reason::AlreadyExists,
        format!("there is a node `{node}` already, and it has another key"),
    )
    .with_object(format!("node/{node}"));
    error.with_hint(match has_object {
        true => format!(
            "give this machine another name by --node-name; or, if it was `{node}` before and lost \
             its state, `netlabctl delete node {node}` on the server, then join again"
        ),
        false => "give this machine another name by --node-name".to_owned(),
    })
}

fn is_forgotten(token: &TokenRecord, now: Time) -> bool {
    now.timestamp().duration_since(token.info.expires.timestamp()) > EXPIRED_KEPT
}

fn token_path(id: &str) -> String {
    format!("{TOKENS}{id}")
}

fn read<T: DeserializeOwned>(path: &str, value: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(value).map_err(|error| {
        ApiError::new(
            Reason::InternalError,
            format!("record `{path}` of the store does not have the form it should: {error}"),
        )
        .with_hint("was it written by another version of netlabd?")
    })
}

fn unreadable(error: serde_json::Error) -> ApiError {
    ApiError::new(Reason::InternalError, format!("a member's record cannot be read: {error}"))
}

fn unwritable(error: serde_json::Error) -> ApiError {
    ApiError::new(Reason::InternalError, format!("BUG: a record cannot be written: {error}"))
}
