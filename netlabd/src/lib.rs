// SPDX-License-Identifier: GPL-3.0-or-later
//! The netlab daemon: a store, decisions over it, a server in front of it, and the node that
//! turns decisions into kernel state. `ARCHITECTURE.md` draws how the modules hang together.

pub mod control;
pub mod daemon;
pub mod dns;
mod error;
pub mod memory;
pub mod node;
pub mod remote;
pub mod server;
pub mod store;
mod tick;
pub mod trust;
