// SPDX-License-Identifier: GPL-3.0-or-later
//! Names, asked for by real clients: what pods, nodes and machines outside are told. Needs root.
//!
//! | what | where |
//! |---|---|
//! | every kind of name, as sets with TTLs, over UDP and TCP, in each family | `table`, `cases/` |
#![allow(clippy::unwrap_used, reason = "these are all tests")]

mod dig;
mod fixtures;
mod outside;
mod sheet;
mod table;
mod wire;
