// SPDX-License-Identifier: GPL-3.0-or-later
//! nf_tables for netlab: desired rules as values, atomic transactions, and what the kernel has.
//!
//! ```text
//!  masquerade::plan ──► Transaction (desired) ──┐
//!                                               ├─► diff ──► Transaction ──► Socket::commit
//!  Socket ──► observe ──► Observed ─────────────┘                                 │
//!     ▲                                                                           ▼
//!     └──────────── Monitor says that somebody else changed our tables ◄──── the kernel
//! ```
//!
//! - [`transaction`]: what to do, step by step, as a value; it prints what `nft -f` accepts.
//! - [`rule`], [`expression`]: tables, chains, rules, and what rules consist of.
//! - [`set`], [`element`]: sets and maps, which rules look up at a cost that does not grow with
//!   them, and what is in them. One element comes or goes without a look at the others.
//! - [`masquerade`]: the desired rules for pods that leave the cluster.
//! - [`untracked`]: the desired rules that keep connection tracking from the node's own server.
//! - [`antispoof`]: the desired rules against forged source addresses.
//! - [`socket`]: carries a transaction out, all of it or nothing.
//! - [`mod@observe`], [`mod@diff`]: what is there, and what leads from there to what is desired.
//!   The elements of sets are listed and compared for those sets only that the caller names.
//! - [`monitor`]: who else changes our tables.
//! - [`conntrack`]: the flows that the kernel follows, listed and deleted.
//!
//! This crate knows no pod and no service, only networks, rules and sets. It touches the tables
//! [`TABLE`] of the families `ip` and `ip6` and never lists or edits another one.

pub mod antispoof;
pub mod conntrack;
pub mod diff;
pub mod element;
pub mod expression;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod masquerade;
pub mod monitor;
pub mod observe;
pub mod rule;
pub mod set;
pub mod socket;
pub mod transaction;
pub mod untracked;

mod instruction;
mod message;

pub use conntrack::{Conntrack, ConntrackError, Flow};
pub use diff::{diff, diff_into};
pub use element::{Data, Element, Protocol, Tuple, Value};
pub use expression::{ConntrackStates, Expression, Field, Operator, Side, Verdict};
pub use monitor::{Event, Monitor};
pub use observe::{Observed, observe, observe_elements, observe_with_elements};
pub use rule::{
    Base, Chain, ChainName, ChainType, Comment, Family, Hook, Policy, Rule, Table, TableName,
};
pub use set::{Datatype, MapData, Set, SetName};
pub use socket::{Error, Socket};
pub use transaction::{Step, Transaction, teardown};

/// The name of netlab's tables. It is the mark by which netlab knows its own: whatever stands in
/// `ip netlab` and `ip6 netlab` is netlab's to change and to delete.
pub const TABLE: &str = "netlab";
