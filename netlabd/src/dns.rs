// SPDX-License-Identifier: GPL-3.0-or-later
//! The cluster's names, answered on every node as CoreDNS answers them.
//!
//! ```text
//!  query ─► server ─► parsed? ── no ──────────────────────────► handler: FORMERR, NOTIMP, transfers
//!             │         │ yes
//!             │         ▼  the chain, in CoreDNS's order
//!             │       who may ask ─► rewrite ─► autopath ─► hosts ─► zone ─► cache ─► forward
//!             │                                              (pure)   (bytes)   (upstreams)
//!             ◄── loadbalance ◄── log, errors, metrics ◄──────────────────────────┘
//! ```
//!
//! Everything up to a hit of the cache is answered by the thread that received the packet, without
//! waiting and almost without allocating; only what has to be asked of others becomes a task.
//! The zone is told of services and endpoints by the reconciler, before that reports a revision as
//! programmed: so a name exists when the command that made it returns.
//!
//! What this does not do: it reads no store, and decides nothing about services.

pub mod answered;
pub mod autopath;
pub mod chain;
pub mod errors;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handler;
pub mod hosts;
pub mod http;
pub mod loadbalance;
pub mod log;
pub mod message;
pub mod metrics;
pub mod mnemonic;
pub mod record;
pub mod rewrite;
pub mod server;
pub mod upstream;
pub mod zone;

// What is said of names, and names themselves: the command line checks them as well.
pub use netlab_api::dns::{config, name};
