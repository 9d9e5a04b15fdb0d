// SPDX-License-Identifier: GPL-3.0-or-later
//! What this machine is known by to those who want to join it.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::authority::ServerNames;

/// The node's name and its addresses, without those of pods' links.
pub fn own(node: &str) -> ServerNames {
    let mut addresses: Vec<IpAddr> = Vec::new();
    match getifaddrs() {
        Ok(interfaces) => {
            for interface in interfaces {
                let is_pod_link =
                    interface.interface_name.starts_with(netlab_link::mark::LINK_PREFIX);
                let Some(address) = interface.address.filter(|_| !is_pod_link) else { continue };
                if !interface.flags.contains(InterfaceFlags::IFF_UP) {
                    continue;
                }
                if let Some(address) = address.as_sockaddr_in() {
                    addresses.push(address.ip().into());
                } else if let Some(address) = address.as_sockaddr_in6() {
                    addresses.push(address.ip().into());
                }
            }
        }
        Err(error) => tracing::debug!(%error, "the server's addresses are not known"),
    }
    // A link-local address means another machine on each link.
    addresses.retain(|address| match address {
        IpAddr::V4(address) => !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    });
    addresses.sort();
    addresses.dedup();
    ServerNames { node: node.to_owned(), addresses }
}
