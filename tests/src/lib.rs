// SPDX-License-Identifier: GPL-3.0-or-later
//! The harness of the rootful tests: a [`Lab`] is one node and one machine outside of it, made of
//! fresh network namespaces, with the built `netlabd` and `netlabctl`.
//!
//! ```text
//!   netns nlt-<name>-<pid>-<n>               netns nlt-<name>-<pid>-<n>o
//!   ┌─ node ──────────────────┐              ┌─ outside ────────────┐
//!   │ netlabd      pods       │ eth0    eth0 │ 192.0.2.9            │
//!   │              192.0.2.1  ├──────────────┤ 2001:db8::9          │
//!   │              2001:db8::1│  MTU 1400    │ no route to any pod  │
//!   └─────────────────────────┘              └──────────────────────┘
//! ```
//!
//! A [`Cluster`] is several such nodes in one or more racks, joined by a router.
//!
//! Nothing here reads the kernel by netlab's own readers: [`observe`] asks `ip`, `nft` and
//! `/proc`. A lab that is dropped stops its daemon, tears down and asserts that the node is what
//! it was before the daemon first started, and that no process, mount, cgroup or file is left.

pub mod api;
pub mod background;
pub mod cluster;
pub mod command;
pub mod dice;
pub mod forwarding;
pub mod lab;
mod leftover;
pub mod machine;
pub mod observe;
pub mod ping;
pub mod pty;
pub mod server;
pub mod virtual_lab;
pub mod wait;

pub use api::Response;
pub use background::Background;
pub use cluster::{Cluster, ClusterBuilder};
pub use command::Output;
pub use dice::Dice;
pub use lab::{Lab, LabBuilder};
pub use machine::Machine;
pub use virtual_lab::VirtualLab;
pub use wait::{TIMEOUT, poll, wait_until};
