// SPDX-License-Identifier: GPL-3.0-or-later
//! Traffic between nodes: how packets get from here to the pods of all others.
//!
//! ```text
//!   FabricWish ──► plan (pure) ──► State ─┐
//!   last state, or observe ◄── kernel ────┴─► diff (pure) ──► apply ──► kernel
//! ```
//!
//! Who the nodes are and which blocks they have is decided elsewhere. This knows what a route is.
//!
//! The kernel is looked at when nothing is known of it: at the start, after a refusal, and when
//! there is reason to believe that somebody else changed it. Otherwise a new wish is compared with
//! the last one, and costs what differs.

pub mod apply;
pub mod diff;
pub mod observe;
pub mod plan;
pub mod problem;
pub mod wish;

pub use apply::{Fabric, FabricError, LINGER, Outcome, teardown};
pub use plan::{Plan, State, node_mac, plan};
pub use problem::Problem;
pub use wish::{FabricWish, Peer, Underlay, Uplink};
