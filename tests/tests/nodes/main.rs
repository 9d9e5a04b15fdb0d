// SPDX-License-Identifier: GPL-3.0-or-later
//! Clusters of several nodes: how they join, what they see, how packets cross, what they survive.
#![allow(clippy::unwrap_used, reason = "these are all tests")]

mod chaos;
mod drain;
mod endpoints;
mod forward;
mod join;
mod life;
mod names;
mod routes;
mod settings;
