// SPDX-License-Identifier: GPL-3.0-or-later
//! Services on this node: what becomes of a packet to a cluster IP, a node port, a load balancer.
//!
//! ```text
//!   services, slices ──► select ──► PortPlan ──► layout ──► Piece ──┐
//!   (the node's view)   (which       (one port,   (nftables          ├─► steps ──► kernel
//!                       endpoints)    one family)  or iptables)      │
//!                                     what was planned before ──────┘
//! ```
//!
//! All of it is pure up to the steps. A change is planned for the service that it concerns and for
//! nothing else, so that its cost does not depend on how many there are.
//!
//! Beside the rules there are [`anchor`], the device that routes to service networks lead to, and
//! [`announce`], which tells neighbours on the uplink of load balancers' addresses, and [`health`],
//! which tells load balancers at a port of the node whether it has endpoints.

pub mod anchor;
pub mod announce;
pub mod classic;
pub mod desired;
pub mod flows;
pub mod health;
pub mod known;
pub mod maps;
pub mod metrics;
pub mod names;
pub mod piece;
pub mod port;
pub mod script;
pub mod select;
pub mod show;
pub mod stale;
pub mod view;
