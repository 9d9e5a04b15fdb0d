// SPDX-License-Identifier: GPL-3.0-or-later
//! What is kept when things go wrong: a killed daemon, a full disk, things that somebody removed
//! by hand, too much at once. Every test runs its own daemon in a network namespace of its own and
//! ends by looking for anything that is left.
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod audit;
mod by_hand;
mod daemon;
mod disk;
mod http;
mod kill;
mod mass;
mod store;
mod watchers;
