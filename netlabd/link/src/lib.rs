// SPDX-License-Identifier: GPL-3.0-or-later
//! Network namespaces, veth pairs, VXLAN devices, addresses, routes, neighbours and sysctls.
//!
//! This crate turns values into kernel state and kernel state into values. It knows no pod, no
//! service and no store: the caller decides what should be there, compares it with what
//! [`observe`] found, and sends the difference as a [`Batch`].
//!
//! ```text
//!   Request values ──► Batch ──► RouteSocket (one sendmsg) ──► kernel
//!   observe, monitor, uplink ◄── RouteSocket (dumps, multicast) ◄──┘
//! ```
//!
//! Reading order: [`mark`] (how our things are recognised), [`netns`], [`request`], [`socket`],
//! [`pod_link`], [`vxlan`], [`observe`], [`monitor`], [`sysctl`], [`ethtool`], [`uplink`].
//!
//! Nothing here awaits inside a foreign network namespace: sockets are opened there by a thread
//! of their own ([`Netns::run`]) and then used from anywhere, because a socket stays in the
//! namespace it was made in.

pub mod mark;
pub mod netns;

pub mod address;
pub mod announcement;
pub mod bridge;
pub mod ethtool;
pub mod fdb;
pub mod if_name;
pub mod link;
pub mod link_addr;
pub mod neighbour;
pub mod proxy_neighbour;
pub mod qdisc;
pub mod route;
pub mod vxlan;

pub mod request;
pub mod socket;

pub mod pod_link;

pub mod monitor;
pub mod observe;
pub mod sysctl;
pub mod uplink;

pub use address::Address;
pub use announcement::{Announcement, AnnouncementError, AnnouncementSocket};
pub use bridge::Bridge;
pub use fdb::FdbEntry;
pub use if_name::{IfIndex, IfName};
pub use link::{
    Link, LinkChange, LinkRef, MAX_MTU, MIN_MTU_V4, MIN_MTU_V6, ReversePath, Veth, VethEnd,
};
pub use link_addr::LinkAddr;
pub use monitor::{Change, Event, Monitor, What};
pub use neighbour::Neighbour;
pub use netns::{Netns, NetnsError, NetnsIdentity};
pub use observe::{NodeLinks, PodNetwork, observe_node, observe_pod};
pub use pod_link::{
    Families, PodAddresses, PodLink, PodLinkError, PodLinkId, PodLinkPool, PodLinkPoolOptions,
    PreparedLink, remove_pod_links,
};
pub use proxy_neighbour::ProxyNeighbour;
pub use qdisc::{Netem, Qdisc, QdiscKind};
pub use request::{Batch, Request};
pub use route::{Route, RouteKind};
pub use socket::{BatchError, KernelError, Outcome, RouteFilter, RouteSocket, SocketError};
pub use uplink::{Uplink, observe_uplink};
pub use vxlan::Vxlan;

#[cfg(test)]
mod testing;
