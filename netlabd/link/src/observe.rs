// SPDX-License-Identifier: GPL-3.0-or-later
//! What is there, as values to compare with what should be. Nothing is changed or judged here.

use crate::{
    Address, Link, Neighbour, PodLinkId, Route, RouteKind, RouteSocket, SocketError, mark,
    socket::RouteFilter,
};

/// What netlab has in a node's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeLinks {
    /// Our links, by index.
    pub links: Vec<Link>,
    /// The routes to pods, of all tables, sorted: those with our protocol that lead straight to a
    /// link. Routes to blocks of other nodes have a next hop, those to services lead to a device of
    /// their own ([`mark::SERVICE_INDEX`]), and are not among them.
    pub routes: Vec<Route>,
    /// The permanent neighbours on our links, sorted.
    pub neighbours: Vec<Neighbour>,
}

/// What is in a pod's namespace, whoever put it there.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodNetwork {
    /// All links, `lo` too, by index.
    pub links: Vec<Link>,
    /// All addresses but those of `lo`, sorted.
    pub addresses: Vec<Address>,
    /// The routes of the main table, sorted.
    pub routes: Vec<Route>,
    /// The permanent neighbours, sorted.
    pub neighbours: Vec<Neighbour>,
}

/// Lists what netlab has in the node's namespace. `socket` belongs to it.
///
/// A link is ours by its group, or as a veth with the name of a pod link. The prefix alone does
/// not make it ours: `nlmon0` is someone's netlink monitor, and a bridge never is.
///
/// # Errors
/// [`SocketError`] when the kernel could not be asked or understood.
pub fn observe_node(socket: &mut RouteSocket) -> Result<NodeLinks, SocketError> {
    let mut links = socket.list_links()?;
    links.retain(|link| {
        matches!(link.group, mark::LINK_GROUP | mark::DOOMED_LINK_GROUP)
            || (link.kind.as_deref() == Some("veth")
                && PodLinkId::from_host_name(&link.name).is_some())
    });
    let protocol = Some(mark::ROUTE_PROTOCOL);
    let mut routes = socket.list_routes(RouteFilter { protocol, ..RouteFilter::default() })?;
    // Kernels before 5.0 ignore the filter.
    routes.retain(|route| {
        route.protocol == mark::ROUTE_PROTOCOL
            && route.kind == RouteKind::Unicast
            && route.via.is_none()
            && route.dev != Some(mark::SERVICE_INDEX)
    });
    let mut neighbours = socket.list_neighbours()?;
    // Sorted by index, which comes first in a link.
    neighbours.retain(|it| links.binary_search_by_key(&it.dev, |link| link.index).is_ok());
    Ok(NodeLinks { links, routes, neighbours })
}

/// Lists what is in a pod's namespace. `socket` belongs to it.
///
/// # Errors
/// As [`observe_node`].
pub fn observe_pod(socket: &mut RouteSocket) -> Result<PodNetwork, SocketError> {
    let mut addresses = socket.list_addresses()?;
    addresses.retain(|address| address.dev != mark::LOOPBACK_INDEX);
    Ok(PodNetwork {
        links: socket.list_links()?,
        addresses,
        routes: socket.list_routes(RouteFilter { table: Some(254), ..RouteFilter::default() })?,
        neighbours: socket.list_neighbours()?,
    })
}

#[cfg(test)]
mod tests;
