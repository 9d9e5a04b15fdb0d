// SPDX-License-Identifier: GPL-3.0-or-later
//! Traffic between nodes, with real packets: the fabric acts, `ip`, `ping` and sockets observe.
//! Needs root.
#![allow(clippy::unwrap_used, reason = "what is unexpected fails the test")]

mod checksums;
mod lab;
#[path = "../fixture/netns.rs"]
mod netns;
mod reach;
mod repair;
mod scale;
mod switch;
