// SPDX-License-Identifier: GPL-3.0-or-later
//! The server of names in namespaces of its own: `dig` and plain sockets ask, also those who mean
//! harm. Needs root.
#![allow(clippy::unwrap_used, reason = "what is unexpected fails the test")]

mod bounds;
mod clients;
mod flood;
mod lab;
#[path = "../fixture/netns.rs"]
mod netns;
mod questions;
mod startup;
mod transfer;
