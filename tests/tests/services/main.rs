// SPDX-License-Identifier: GPL-3.0-or-later
//! Services, by real packets: what clients on pods, on nodes and on machines outside of a cluster
//! of three nodes see of each row of kube-proxy's behaviour. Both layouts of rules, both families.
//! Needs root.
#![allow(clippy::unwrap_used, reason = "these are all tests")]

mod affinity;
mod agent;
mod allocation;
mod announced;
mod balance;
mod cases;
mod config;
mod flows;
mod health;
mod live;
mod load;
mod offer;
mod quiet;
mod stage;
mod table;
