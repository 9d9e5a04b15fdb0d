// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's life: starting, stopping, repairing and leaving. Needs root.
#![allow(clippy::unwrap_used, reason = "these are all tests")]

mod drift;
mod foreign;
mod start;
mod stop;
mod teardown;
mod watch;
