// SPDX-License-Identifier: GPL-3.0-or-later
//! What services need of a node beside their rules: `nft` makes rules as those of services are,
//! `ip`, `curl` and sockets observe. Needs root.
#![allow(clippy::unwrap_used, reason = "what is unexpected fails the test")]

mod anchor;
mod announce;
mod health;
mod lab;
#[path = "../fixture/netns.rs"]
mod netns;
