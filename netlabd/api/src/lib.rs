// SPDX-License-Identifier: GPL-3.0-or-later
//! What netlab's programs say to each other: objects, names, validation, manifests, and the client.
//!
//! Objects have Kubernetes' names and field names. Nothing here touches a kernel, a store or a
//! socket, except [`client`], which speaks to a daemon's unix socket.

#[cfg(feature = "client")]
pub mod client;
pub mod dns;
pub mod endpoint_slice;
pub mod error;
pub mod event;
pub mod exec;
pub mod fields;
pub mod forward;
pub mod ipam;
pub mod lab;
pub mod labels;
pub mod manifest;
pub mod meta;
pub mod names;
pub mod namespace;
pub mod node;
pub mod patch;
pub mod pod;
pub mod proxy;
pub mod proxy_mode;
pub mod quantity;
pub mod resource;
pub mod route_mode;
pub mod schema;
pub mod script;
pub mod service;
pub mod settings;
pub mod time;
pub mod token;
pub mod validate;
pub mod view;
pub mod wire;

pub use dns::DnsSettings;
pub use endpoint_slice::EndpointSlice;
pub use error::{ApiError, Reason};
pub use event::Event;
pub use ipam::IpamBlock;
pub use meta::ObjectMeta;
pub use namespace::Namespace;
pub use node::Node;
pub use pod::Pod;
pub use proxy_mode::ProxyMode;
pub use resource::{List, Object, Resource};
pub use route_mode::RouteMode;
pub use service::Service;
pub use settings::ClusterSettings;
pub use time::Time;
