// SPDX-License-Identifier: GPL-3.0-or-later
//! The pod's processes, from the built binary in real namespaces. Needs root.
#![allow(clippy::unwrap_used, reason = "these are all tests")]

mod exec;
mod lab;
mod lifecycle;
mod sandbox;
