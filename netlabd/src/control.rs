// SPDX-License-Identifier: GPL-3.0-or-later
//! Decisions: defaults, validation, addresses, placement, and what a status means.
//!
//! Reads the store, writes the store, touches no kernel. Data comes in from `server` (what users
//! want) and from `node` (what became of it), and leaves as transactions.

pub mod access;
pub mod cluster;
pub mod ipam;
