// SPDX-License-Identifier: GPL-3.0-or-later
//! Pod links of this node, and in [`fabric`] the ways to other nodes.
//!
//! ```text
//!   plan    (pure)  what a pod's link must be ─┬─► difference ──► apply ──► kernel
//!   observe         what the kernel has       ─┘
//! ```
//!
//! Which link is which pod's is on disk: a symbolic link `netns/<namespace>_<pod>` to the pin of
//! the network namespace. It is written before the pod gets its addresses and removed after they
//! are gone, so whoever starts next knows what to adopt and what to remove.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use netlab_link::PodAddresses;

pub mod apply;
pub mod fabric;
pub mod plan;
pub mod record;

pub use apply::{Network, NetworkError, NetworkOptions};
pub use plan::{Difference, ObservedPod};

/// Where network namespaces are pinned.
pub fn pin_dir(run_dir: &Path) -> PathBuf {
    run_dir.join("pins")
}

/// Where pods' network namespaces have names.
pub fn netns_dir(run_dir: &Path) -> PathBuf {
    run_dir.join("netns")
}

/// Which addresses the link of a pod with these addresses must have: one of a family.
pub fn addresses_of(ips: impl IntoIterator<Item = IpAddr>) -> PodAddresses {
    let mut addresses = PodAddresses::default();
    for ip in ips {
        match ip {
            IpAddr::V4(ip) => addresses.v4 = Some(ip),
            IpAddr::V6(ip) => addresses.v6 = Some(ip),
        }
    }
    addresses
}
