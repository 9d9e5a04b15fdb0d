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

/// The group of the links that lead to other nodes, and of [`SERVICE_NAME`]. Not [`LINK_GROUP`]: what
/// arrives over those is of a pod of this node and checked for its source, what arrives over these
/// is of any other pod.
pub const FABRIC_LINK_GROUP: u32 = LINK_GROUP + 2;

/// The VXLAN device towards nodes that are reached by IPv4. No pod link: those have 11 digits.
pub const VXLAN_NAME: &str = "nlvx";

/// The VXLAN device towards nodes that are reached by IPv6. A device of its own, since the kernel
/// gives each the sockets of one family only (`vxlan_sock_add`).
pub const VXLAN_NAME_V6: &str = "nlvx6";

/// The number of [`VXLAN_NAME`], chosen by us so that a plan can name the device before it is
/// there. Far above what the kernel counts up to, and below the numbers of pod links.
pub const VXLAN_INDEX: IfIndex = IfIndex::new(0x00f0_0004);

/// The number of [`VXLAN_NAME_V6`].
pub const VXLAN_INDEX_V6: IfIndex = IfIndex::new(0x00f0_0006);

/// The device that routes to service networks lead to: a bridge without ports, since not every
/// kernel has `dummy`.
pub const SERVICE_NAME: &str = "nlsvc";

/// The number of [`SERVICE_NAME`], by which routes to services are told from those to pods.
pub const SERVICE_INDEX: IfIndex = IfIndex::new(0x00f0_0005);

/// The VXLAN network identifier: "nl", as the group of links. Others use 1 (flannel), 4096 (Calico)
/// or count from 4096 (Docker's overlays), and two devices of a machine may not share it.
pub const VXLAN_VNI: u32 = LINK_GROUP;

/// The UDP port of VXLAN at IANA (RFC 7348). Captures are decoded, firewalls know it, and the
/// kernel lets other devices with another identifier share it.
pub const VXLAN_PORT: u16 = 4789;

/// What encapsulation adds to a packet over IPv4: outer IP 20, UDP 8, VXLAN 8, inner Ethernet 14.
pub const VXLAN_OVERHEAD_V4: u32 = 50;

/// The same over IPv6, whose header has 40 bytes.
pub const VXLAN_OVERHEAD_V6: u32 = 70;

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
