// SPDX-License-Identifier: GPL-3.0-or-later
//! This machine: turns decisions into kernel state, and tells what became of them.
//!
//! ```text
//!   watch of pods ─┐
//!   drift          ├─► reconciler ──► network (links, routes)  ──► kernel
//!   PID 1s, probes ┘        │    └──► runtime (processes)      ──► kernel
//!                           └──► statuses, events, programmed revision ──► cluster
//! ```
//!
//! One loop owns all that is known of this node's pods. What takes long (starting and removing
//! processes, probes) runs beside it and comes back as an input. Why the loop woke up decides
//! only which pods it looks at, never what it does with them.

pub mod access;
pub mod doctor;
mod follow;
pub mod forwarding;
pub mod hosts;
pub mod machine;
pub mod names;
pub mod network;
pub mod overlap;
pub mod pod;
pub mod proxy;
pub mod queue;
pub mod reconciler;
mod removal;
pub mod rules;

pub use machine::{Machine, MachineError, MachineOptions};
pub use network::NetworkError;
pub use reconciler::Reconciler;
