// SPDX-License-Identifier: GPL-3.0-or-later
//! How the kernel objects of netlab are told from everyone else's.
//!
//! What carries none of these marks was made by someone else and is never edited or removed.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use crate::{IfIndex, LinkAddr};

/// Every link on the node starts with this, so that a person sees in `ip link` what is ours.
pub const LINK_PREFIX: &str = "nl";

/// The `IFLA_GROUP` of every node-side pod link: "nl" in ASCII. A whole group is deleted by one
/// message and one RCU grace period; one link at a time costs 22 ms each.
pub const LINK_GROUP: u32 = 0x6e6c;

/// Links about to be deleted are moved here first, so that many of them, but not all, can go in
/// one message. Only links of [`LINK_GROUP`] are ever moved into it.
pub const DOOMED_LINK_GROUP: u32 = LINK_GROUP + 1;

/// The `proto` of every route netlab adds. Free in iproute2's `rt_protos` and below the range
/// that routing daemons take (bird 12, bgp 186 and so on).
pub const ROUTE_PROTOCOL: u8 = 110;

/// The MAC address of the node's end of every pod link, the same one as Calico's. It may be the
/// same everywhere because each link is a segment of its own, and being constant it lets a pod's
/// neighbour entries be written before its link exists.
pub const HOST_MAC: LinkAddr = LinkAddr::new([0xee; 6]);

/// The next hop of a pod's IPv4 default route. Link-local and on no interface: the pod never
/// asks for it, since its neighbour entry is permanent.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The next hop of a pod's IPv6 default route.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The name of a pod's interface.
pub const POD_IF_NAME: &str = "eth0";

/// The index of a pod's `eth0`, chosen by us so that one batch can create the link and use it.
/// Not 2: where `sit` or `ip6_tunnel` is loaded, the kernel puts their fallback devices into each
/// new namespace and they take the first numbers.
pub const POD_IF_INDEX: IfIndex = IfIndex::new(1000);

/// The index of `lo` in every network namespace (`LOOPBACK_IFINDEX` in `include/net/flow.h`).
pub const LOOPBACK_INDEX: IfIndex = IfIndex::new(1);

/// The folder that the daemon of a run directory has in each cgroup hierarchy:
/// `netlab-<last part of the path>-<checksum of the path>`, which is readable, and different for
/// two run directories that end alike.
pub fn cgroup_name(run_dir: &Path) -> String {
    let path = run_dir.to_string_lossy();
    let name: String = run_dir
        .file_name()
        .map_or_else(|| "root".into(), |name| name.to_string_lossy())
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
        .collect();
    format!("netlab-{name}-{:08x}", crc32fast::hash(path.as_bytes()))
}
