// SPDX-License-Identifier: GPL-3.0-or-later
//! Networks that no pod and no service can have addresses of, whatever the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What is set apart: the first address, the length of the prefix, and what it is. RFC 6890 has the
/// sources.
const SET_APART: [(IpAddr, u8, &str); 8] = [
    (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8, "unspecified"),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8, "loopback"),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16, "link-local"),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4, "multicast"),
    (IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128, "unspecified"),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128, "loopback"),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10, "link-local"),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8, "multicast"),
];

/// Refuses a network in which addresses mean something else to every machine.
///
/// # Errors
/// When there are such; `what` is what the network was to be.
pub(super) fn check_set_apart(what: &str, network: &IpNet) -> anyhow::Result<()> {
    for (first, length, kind) in SET_APART {
        let apart = IpNet::new_assert(first, length);
        anyhow::ensure!(
            !apart.contains(network) && !network.contains(&apart),
            "{what} `{network}` has {kind} addresses (`{apart}`), which no packet is routed to: give \
             a private network, such as {}",
            if first.is_ipv4() { "10.42.0.0/16" } else { "fd42::/48" }
        );
    }
    Ok(())
}
