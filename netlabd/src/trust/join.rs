// SPDX-License-Identifier: GPL-3.0-or-later
//! How this machine becomes a node of another's cluster, and stays one after a restart.
//!
//! ```text
//!   joined before? ──► its certificate and networks are on disk: no server is needed
//!        │ no
//!        ▼
//!   key (kept) ─► TLS, the authority known by the token's hash ─► POST /v1/join ─► files, the
//!   note `joined.json` last
//! ```
//!
//! A server that does not answer is tried again for ever: at boot it may come later. A server that
//! refuses is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use netlab_api::wire::Version;
use netlab_api::{ApiError, Reason, Time};
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};

use super::address::ServerAddress;
use super::client::{CallError, ConnectError, Connector, call, open, speak_http};
use super::identity::{Identity, IdentityError, read_certificate};
use super::pki::{CA_CERTIFICATE, CA_KEY, JOINED, NODE_CERTIFICATE, NODE_KEY, Pki, PkiError};
use super::tls::{self, Pinned, Seen, TlsError};
use super::token::{Hash, Token};
use super::wire::{JoinRequest, JoinResponse};
use crate::control::config::ClusterConfig;
use crate::error::chain;

/// The first and the longest wait before a server that does not answer is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a node that has a token and a certificate waits to hear whether the latter is good.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// What is needed to join.
#[derive(Debug, Clone)]
pub struct JoinOptions {
    /// Where the folder `pki` is.
    pub state_dir: PathBuf,
    /// Where the server is.
    pub server: ServerAddress,
    /// What lets this machine in; not needed once it is.
    pub token: Option<Token>,
    /// The name that this node is to have.
    pub node: String,
}

/// A machine that is a node of a cluster.
pub struct Joined {
    /// Opens connections to the server.
    pub connector: Arc<Connector>,
    /// The cluster's networks and names.
    pub cluster: ClusterConfig,
    /// This node's name.
    pub node: String,
    /// Name of the server's node.
    pub server: String,
}

/// Why a machine is no node.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// There is no token.
    #[error(
        "this machine has not joined {server} before and has no token: run `netlabctl node token` \
         on the server, and give what it prints as --token"
    )]
    NoToken {
        /// The server.
        server: ServerAddress,
    },
    /// It has a cluster of its own.
    #[error(
        "`{path}` says that this machine is a server itself, with a cluster of its own: \
         `netlabd teardown` removes that, or give another --state-dir"
    )]
    IsServer {
        /// The authority's key.
        path: PathBuf,
    },
    /// The server is that of another cluster.
    #[error(
        "the server at {server} has CA hash {found}, the token says {wanted}: is this another \
         cluster? Compare with `netlabctl node token` on the server; if somebody answers in the \
         server's place, do not join"
    )]
    OtherAuthority {
        /// The server.
        server: ServerAddress,
        /// What it showed.
        found: Hash,
        /// What the token wants.
        wanted: Hash,
    },
    /// The token is for another cluster than the one this machine is in.
    #[error(
        "this machine is a node of the cluster with CA hash {ours}, the token is for another \
         ({theirs}): leave the token out, or `netlabd teardown` to leave the cluster"
    )]
    OtherCluster {
        /// The cluster it is in.
        ours: Hash,
        /// That of the token.
        theirs: Hash,
    },
    /// It is in the cluster under another name.
    #[error(
        "this machine joined as `{before}`, its name is now `{now}`: give --node-name {before}, or \
         delete the node and `netlabd teardown` to join anew"
    )]
    OtherName {
        /// The name it has.
        before: String,
        /// The name it should have.
        now: String,
    },
    /// Its certificate ended while it was away.
    #[error(
        "this node's certificate ended at {not_after}, and its clock says {now}: is the clock off? \
         If not, give a new --token (`netlabctl node token` on the server)"
    )]
    Ended {
        /// The end.
        not_after: Time,
        /// The clock.
        now: Time,
    },
    /// The server does not let this machine in.
    #[error("failed to join as `{node}`")]
    Call {
        /// The name it wanted.
        node: String,
        /// Why not.
        #[source]
        source: Box<CallError>,
    },
    /// The server's own certificate is not valid.
    #[error(
        "the certificate of {server} is valid from {not_before} to {not_after}, and this machine's \
         clock says {now}: restart netlabd on the server, which renews it"
    )]
    ServerCertificate {
        /// The server.
        server: ServerAddress,
        /// Its beginning.
        not_before: Time,
        /// Its end.
        not_after: Time,
        /// The clock.
        now: Time,
    },
    /// The server answered with what was not asked for.
    #[error("BUG: {server} signed a certificate for another name or key")]
    OtherCertificate {
        /// The server.
        server: ServerAddress,
    },
    /// A key or a request cannot be made.
    #[error("failed to make a key and a certificate request")]
    Key {
        /// What rcgen says.
        #[source]
        source: rcgen::Error,
    },
    /// The note of the join cannot be used.
    #[error("failed to use `{path}`: was it damaged? `netlabd teardown` removes it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] PkiError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl JoinError {
    /// Whether it may pass by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, JoinError::Call { source, .. } if source.is_transient())
    }
}

/// What is noted of a join.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Where the server is.
    pub address: ServerAddress,
    /// Name of its node.
    pub server: String,
    /// This node's name.
    pub node: String,
    /// The cluster's networks and names.
    pub cluster: ClusterConfig,
}

/// What a state directory says of a join that was, if there was one.
///
/// # Errors
/// When it cannot be read.
pub fn noted(state_dir: &Path) -> Result<Option<Note>, JoinError> {
    let pki = Pki::of(state_dir);
    let Some(text) = pki.read(JOINED)? else { return Ok(None) };
    let note = serde_json::from_str(&text);
    note.map(Some).map_err(|source| JoinError::Damaged { path: pki.path(JOINED), source })
}

/// Joins, or takes up what an earlier join left: that needs no server. Tries a server that does not
/// answer until it does; drop the future to give up.
///
/// # Errors
/// See [`JoinError`].
pub async fn join(options: &JoinOptions) -> Result<Joined, JoinError> {
    let pki = Pki::of(&options.state_dir);
    if pki.read(CA_KEY)?.is_some() {
        return Err(JoinError::IsServer { path: pki.path(CA_KEY) });
    }
    if let Some(joined) = take_up(&pki, options).await? {
        return Ok(joined);
    }
    let Some(token) = &options.token else {
        return Err(JoinError::NoToken { server: options.server.clone() });
    };
    let mut wait = BACK_OFF.0;
    loop {
        match join_now(&pki, options, token).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    error = chain(&error),
                    again_after = ?wait,
                    "has not joined yet"
                );
            }
            done => return done,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

/// What an earlier join left, if it still is good for something.
async fn take_up(pki: &Pki, options: &JoinOptions) -> Result<Option<Joined>, JoinError> {
    let Some(mut note) = noted(&options.state_dir)? else { return Ok(None) };
    let read = |name| pki.read(name);
    let (Some(authority), Some(certificate), Some(key)) =
        (read(CA_CERTIFICATE)?, read(NODE_CERTIFICATE)?, read(NODE_KEY)?)
    else {
        return Ok(None);
    };
    if note.node != options.node {
        return Err(JoinError::OtherName { before: note.node, now: options.node.clone() });
    }
    let der = read_certificate(&authority)?;
    let ours = Hash::of(&der);
    if let Some(theirs) = options.token.as_ref().map(Token::authority).filter(|t| *t != ours) {
        return Err(JoinError::OtherCluster { ours, theirs });
    }
    let identity = Arc::new(Identity::new(&certificate, &key, &authority)?);
    let now = Time::now();
    let not_after = identity.facts().not_after;
    if not_after < now {
        return match options.token {
            Some(_) => Ok(None),
            None => Err(JoinError::Ended { not_after, now }),
        };
    }
    let connector = Arc::new(Connector::new(options.server.clone(), identity, der)?);
    if options.token.is_some() && is_cast_out(&connector).await {
        return Ok(None);
    }
    if note.address != options.server {
        note.address = options.server.clone();
        write_note(pki, &note)?;
    }
    Ok(Some(Joined { connector, cluster: note.cluster, node: note.node, server: note.server }))
}

/// Whether the server says that this node is no member. One that says nothing does not say so.
async fn is_cast_out(connector: &Connector) -> bool {
    let asked = connector.call::<Version>(Method::GET, "/v1/version", None::<&()>);
    let answer = tokio::time::timeout(PROBE_TIMEOUT, asked).await;
    matches!(
        answer,
        Ok(Err(CallError::Refused { source: ApiError { reason: Reason::Forbidden, .. }, .. }))
    )
}

async fn join_now(pki: &Pki, options: &JoinOptions, token: &Token) -> Result<Joined, JoinError> {
    let server = &options.server;
    let failed = |source: CallError| JoinError::Call {
        node: options.node.clone(),
        source: Box::new(source),
    };
    let key = own_key(pki)?;
    let pinned = Arc::new(Pinned::new(token.authority()));
    let config = Arc::new(tls::first_contact(pinned.clone())?);
    let stream = match open(server, config).await {
        Ok(stream) => stream,
        Err(error) => {
            return Err(match pinned.seen() {
                Some(Seen::Other(found)) => JoinError::OtherAuthority {
                    server: server.clone(),
                    found,
                    wanted: token.authority(),
                },
                _ => failed(error.into()),
            });
        }
    };
    let sender = speak_http::<Full<Bytes>>(server, stream).await;
    let sender = sender.map_err(|error: ConnectError| failed(error.into()))?;
    let wish = JoinRequest {
        token: token.to_string(),
        node: options.node.clone(),
        request: request(&key)?,
        clock: Time::now(),
    };
    let answer: JoinResponse =
        call(server, sender, Method::POST, "/v1/join", Some(&wish)).await.map_err(failed)?;
    // The clocks agree, or the server had refused: what is wrong now is its certificate.
    let now = Time::now();
    if let Some(Seen::Authority(_, facts)) = pinned.seen()
        && !facts.is_valid(now)
    {
        return Err(JoinError::ServerCertificate {
            server: server.clone(),
            not_before: facts.not_before,
            not_after: facts.not_after,
            now,
        });
    }
    let authority = read_certificate(&answer.authority)?;
    let identity = Identity::new(&answer.certificate, &key.serialize_pem(), &answer.authority)?;
    if Hash::of(&authority) != token.authority()
        || identity.facts().node.as_deref() != Some(&options.node)
    {
        return Err(JoinError::OtherCertificate { server: server.clone() });
    }
    let note = Note {
        address: server.clone(),
        server: answer.server,
        node: options.node.clone(),
        cluster: answer.cluster,
    };
    pki.write(CA_CERTIFICATE, &answer.authority)?;
    pki.write(NODE_CERTIFICATE, &answer.certificate)?;
    write_note(pki, &note)?;
    tracing::info!(
        node = note.node,
        server = %server,
        authority = %token.authority(),
        until = %identity.facts().not_after,
        "joined the cluster"
    );
    let connector = Arc::new(Connector::new(server.clone(), Arc::new(identity), authority)?);
    Ok(Joined { connector, cluster: note.cluster, node: note.node, server: note.server })
}

/// This machine's key, made when there is none. A join that is tried again is by the same key, so
/// that the server knows the machine.
pub(super) fn own_key(pki: &Pki) -> Result<KeyPair, JoinError> {
    if let Some(key) = pki.read(NODE_KEY)?.and_then(|pem| KeyPair::from_pem(&pem).ok()) {
        return Ok(key);
    }
    let key = KeyPair::generate().map_err(|source| JoinError::Key { source })?;
    pki.write(NODE_KEY, &key.serialize_pem())?;
    Ok(key)
}

/// A certificate request. It names nobody: whose certificate it is the server says.
pub(super) fn request(key: &KeyPair) -> Result<String, JoinError> {
    let made = CertificateParams::default().serialize_request(key);
    made.and_then(|request| request.pem()).map_err(|source| JoinError::Key { source })
}

fn write_note(pki: &Pki, note: &Note) -> Result<(), JoinError> {
    let text = serde_json::to_string_pretty(note)
        .map_err(|source| JoinError::Damaged { path: pki.path(JOINED), source })?;
    Ok(pki.write(JOINED, &(text + "\n"))?)
}
