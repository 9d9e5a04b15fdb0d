// SPDX-License-Identifier: GPL-3.0-or-later
//! Pods: their network, addresses, processes, logs and probes, by real clients. Needs root.
#![allow(clippy::unwrap_used, reason = "these are all tests")]

mod addresses;
mod dns;
mod exec;
mod explain;
mod forward;
mod logs;
mod names;
mod network;
mod probes;
mod process;
mod scale;
mod shown;
mod termination;
