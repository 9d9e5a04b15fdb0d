// SPDX-License-Identifier: GPL-3.0-or-later
//! Services on this node, apart from their rules: what packets to them need beside those.
//!
//! - [`anchor`]: the device that the routes to service networks lead to.
//! - [`announce`]: which node has a load balancer address, and how its neighbours know.
//! - [`health`]: where load balancers ask whether this node has endpoints of a service.

pub mod anchor;
pub mod announce;
pub mod health;
