// SPDX-License-Identifier: GPL-3.0-or-later
//! The interface that leads to the rest of the world.

use std::net::IpAddr;

use crate::{Address, Link, RouteKind, RouteSocket, SocketError, socket::RouteFilter};

/// The interface of the default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The interface.
    pub link: Link,
    /// Its addresses, sorted; the IPv4 ones first.
    pub addresses: Vec<Address>,
    /// The next hop, unless the world is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// Finds the interface of the IPv4 default route with the lowest metric, else that of the IPv6
/// one; none when there is no default route.
///
/// # Errors
/// [`SocketError`] when the kernel could not be asked or understood.
pub fn observe_uplink(socket: &mut RouteSocket) -> Result<Option<Uplink>, SocketError> {
    let routes = socket.list_routes(RouteFilter {
        table: Some(254),
        default: true,
        ..RouteFilter::default()
    })?;
    let default = routes
        .iter()
        .filter(|route| route.is_default() && route.kind == RouteKind::Unicast)
        .min_by_key(|route| (route.destination.addr().is_ipv6(), route.metric));
    let Some((route, dev)) = default.and_then(|route| Some((route, route.dev?))) else {
        return Ok(None);
    };
    let Some(link) = socket.get_link(dev)? else {
        // It went after the list of routes was made, and its route with it.
        return Ok(None);
    };
    let mut addresses = socket.list_addresses()?;
    addresses.retain(|address| address.dev == dev);
    Ok(Some(Uplink { link, addresses, gateway: route.via }))
}

#[cfg(test)]
mod tests;
