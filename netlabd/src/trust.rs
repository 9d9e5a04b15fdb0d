// SPDX-License-Identifier: GPL-3.0-or-later
//! Who belongs to the cluster: certificates, tokens, and how a daemon becomes a node of another.
//!
//! The first daemon, the *server*, makes a certificate authority and signs one certificate a node.
//! A token lets a machine without a certificate ask for one; the token carries the hash of the
//! authority, so that the machine knows whom it asks. From then on both ends prove who they are
//! with certificates alone.
//!
//! ```text
//!   netlabctl node token ──► Membership ──► tokens/<id> in the store: a digest, never the secret
//!                                                                          │
//!   join: key, request ── TLS, authority known by its hash ──► POST /v1/join ─► members/<node>
//!         certificate ◄──────────────────────────────────────── Authority::sign
//!   Connector ── mutual TLS ──► the whole API, as that node; Renewal at 2/3 of its life
//! ```
//!
//! Nothing here listens (`server/remote` does) and nothing decides over pods. Times come in as
//! arguments, and so does the randomness of tokens; keys are drawn from the kernel by ring.

pub mod address;
pub mod authority;
pub mod certificate;
pub mod client;
pub mod identity;
pub mod join;
pub mod membership;
pub mod names;
pub mod pki;
pub mod renewal;
pub mod tls;
pub mod token;
pub mod wire;

pub use authority::Authority;
pub use client::{ConnectError, Connector};
pub use identity::Identity;
pub use join::{JoinError, JoinOptions, Joined, join};
pub use membership::Membership;
pub use token::Token;

#[cfg(test)]
mod tests;
