// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the machine's own network and the cluster's networks are in each other's way.
//!
//! An address that the machine has would be given to a pod or a service as well, and nothing would
//! reach the one or the other: with such a one no daemon starts. A route only hides part of a
//! network, from this machine alone, until a pod there has a more specific one: that is told.
//!
//! [`taken`] and [`covered`] are pure. What netlab made itself, which is there at every start but the
//! first, does not count: [`observe`] leaves it out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlab_link::{
    Address, IfIndex, IfName, Route, RouteFilter, RouteKind, RouteSocket, SocketError, mark,
};

use crate::control::config::ClusterConfig;

/// The table that packets to elsewhere are looked up in.
const MAIN_TABLE: u8 = 254;

/// Who makes the routes that come with addresses (`RTPROT_KERNEL` of `linux/rtnetlink.h`).
const KERNEL: u8 = 2;

/// What somebody else configured on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Addresses.
    pub addresses: Vec<Address>,
    /// Routes of the table `main`, but for default routes.
    pub routes: Vec<Route>,
    /// The names of their interfaces.
    pub links: BTreeMap<IfIndex, IfName>,
}

/// A network of the cluster, and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterNetwork {
    /// The network.
    pub network: IpNet,
    /// It has the addresses of services, not those of pods.
    pub is_of_services: bool,
}

impl ClusterNetwork {
    /// All of a cluster. Pools of load balancer addresses are not among them: they may well be part
    /// of the network that nodes are in.
    pub fn all(config: &ClusterConfig) -> Vec<ClusterNetwork> {
        let pods = config.pod_networks.iter().map(|it| (*it, false));
        let services = config.services.networks.iter().map(|it| (*it, true));
        let of = |(network, is_of_services)| ClusterNetwork { network, is_of_services };
        pods.chain(services).map(of).collect()
    }

    fn key(&self) -> &'static str {
        if self.is_of_services { "services.networks" } else { "pod-networks" }
    }
}

impl fmt::Display for ClusterNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_of_services { "service" } else { "pod" };
        write!(f, "{what} network `{}`", self.network)
    }
}

/// Why a machine cannot be a node of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum OverlapError {
    /// The kernel cannot be asked.
    #[error("failed to look for addresses of this machine in the cluster's networks")]
    Look {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// The machine has an address of pods or services.
    #[error(transparent)]
    Taken(Box<Taken>),
}

/// An address that a pod or a service could get though the machine has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {within} contains `{address}`, which this machine has on `{link}`: give the server another \
     network in {}, or take the address away (`ip address del {address}/{prefix} dev {link}`)",
    within.key()
)]
pub struct Taken {
    /// The address.
    pub address: IpAddr,
    prefix: u8,
    link: String,
    within: ClusterNetwork,
}

/// A route of the machine that hides part of a network of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    route: IpNet,
    way: String,
    within: ClusterNetwork,
}

impl Covered {
    /// What to do about it.
    pub const CURE: &str = "give pods and services networks that nothing else on this machine uses, or remove the route";
}

impl fmt::Display for Covered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Covered { route, way, within } = self;
        write!(f, "this machine's route to {route}{way} covers part of the {within}")
    }
}

/// Asks the kernel.
///
/// # Errors
/// When it cannot be asked.
pub fn observe(socket: &mut RouteSocket) -> Result<Surroundings, SocketError> {
    let mut addresses = socket.list_addresses()?;
    let filter = RouteFilter { table: Some(MAIN_TABLE), ..RouteFilter::default() };
    let mut routes = socket.list_routes(filter)?;
    routes.retain(|route| {
        // A kernel that ignores filters shows all tables.
        route.table == u32::from(MAIN_TABLE)
            && route.protocol != mark::ROUTE_PROTOCOL
            && !route.is_default()
            && !route.destination.addr().is_multicast()
    });
    // Each is asked for by itself: beside a few there may be thousands that are pods'.
    let mut links = BTreeMap::new();
    let used = addresses.iter().map(|it| it.dev).chain(routes.iter().filter_map(|it| it.dev));
    for index in used.collect::<BTreeSet<IfIndex>>() {
        let ours = [mark::LINK_GROUP, mark::DOOMED_LINK_GROUP, mark::FABRIC_LINK_GROUP];
        if let Some(link) = socket.get_link(index)?.filter(|link| !ours.contains(&link.group)) {
            links.insert(index, link.name);
        }
    }
    addresses.retain(|address| links.contains_key(&address.dev));
    routes.retain(|route| route.dev.is_none_or(|dev| links.contains_key(&dev)));
    Ok(Surroundings { addresses, routes, links })
}

/// Refuses a machine with an address in a network of a cluster.
///
/// # Errors
/// [`OverlapError::Taken`] for the first of them, or when the kernel cannot be asked.
pub fn check(
    socket: &mut RouteSocket,
    cluster: &ClusterConfig,
) -> Result<Surroundings, OverlapError> {
    let around = observe(socket).map_err(|source| OverlapError::Look { source })?;
    match taken(&ClusterNetwork::all(cluster), &around) {
        Some(taken) => Err(OverlapError::Taken(Box::new(taken))),
        None => Ok(around),
    }
}

/// The first address of the machine that lies in a network of the cluster.
pub fn taken(networks: &[ClusterNetwork], around: &Surroundings) -> Option<Taken> {
    around.addresses.iter().find_map(|Address { dev, address }| {
        let within = networks.iter().find(|it| it.network.contains(&address.addr()))?;
        Some(Taken {
            address: address.addr(),
            prefix: address.prefix_len(),
            link: around.links.get(dev).map(ToString::to_string).unwrap_or_default(),
            within: *within,
        })
    })
}

/// The routes that lead elsewhere with what is a pod's or a service's, and the subnets of the machine
/// that a network of the cluster lies in. A wide route over a gateway is no such thing: it is there
/// for whatever is not known better.
pub fn covered(networks: &[ClusterNetwork], around: &Surroundings) -> Vec<Covered> {
    let mut found = Vec::new();
    for route in &around.routes {
        let is_subnet = route.protocol == KERNEL && route.kind == RouteKind::Unicast;
        let covers = |it: &&ClusterNetwork| {
            it.network.contains(&route.destination)
                || is_subnet && route.destination.contains(&it.network)
        };
        for within in networks.iter().filter(covers) {
            let name = route.dev.and_then(|dev| around.links.get(&dev));
            let via = route.via.map(|via| format!(" via {via}")).unwrap_or_default();
            let dev = name.map(|name| format!(" dev {name}")).unwrap_or_default();
            let way = format!("{via}{dev}");
            found.push(Covered { route: route.destination, way, within: *within });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH0: IfIndex = IfIndex::new(2);

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn networks() -> Vec<ClusterNetwork> {
        let of = |network, is_of_services| ClusterNetwork { network: net(network), is_of_services };
        vec![of("10.42.0.0/16", false), of("fd42::/48", false), of("10.43.0.0/16", true)]
    }

    fn around(addresses: &[&str], routes: Vec<Route>) -> Surroundings {
        let addresses = addresses.iter().map(|it| Address { dev: ETH0, address: net(it) });
        let links = [(ETH0, IfName::new("eth0").unwrap())].into_iter().collect();
        Surroundings { addresses: addresses.collect(), routes, links }
    }

    #[test]
    fn an_address_of_the_machine_in_a_network_of_the_cluster_is_named_with_its_interface() {
        assert_eq!(taken(&networks(), &around(&["192.0.2.1/24", "10.41.255.255/8"], vec![])), None);
        let told = |address| {
            let taken = taken(&networks(), &around(&["192.0.2.1/24", address], vec![]));
            taken.unwrap().to_string()
        };
        assert_eq!(
            told("10.42.7.1/24"),
            "the pod network `10.42.0.0/16` contains `10.42.7.1`, which this machine has on `eth0`: \
             give the server another network in pod-networks, or take the address away (`ip address \
             del 10.42.7.1/24 dev eth0`)"
        );
        assert!(told("fd42::7/64").starts_with("the pod network `fd42::/48` contains `fd42::7`"));
        let service = told("10.43.0.10/32");
        assert!(service.contains("service network `10.43.0.0/16`"), "{service}");
        assert!(service.contains("in services.networks"), "{service}");
    }

    #[test]
    fn routes_into_a_network_of_the_cluster_and_subnets_around_it_are_told() {
        let route = |to: &str| Route { protocol: 4, ..Route::new(net(to), ETH0) };
        let subnet = |to: &str| Route { protocol: KERNEL, ..route(to) };
        let gateway = "192.0.2.254".parse().unwrap();
        let routes = vec![
            route("10.42.200.0/24").via(gateway),
            subnet("10.0.0.0/8"),
            // That of a VPN for all there is, and one for what is not known better.
            route("0.0.0.0/1"),
            route("10.0.0.0/9").via(gateway),
            subnet("192.0.2.0/24"),
        ];
        let found = covered(&networks(), &around(&[], routes));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "this machine's route to 10.42.200.0/24 via 192.0.2.254 dev eth0 covers part of the \
                 pod network `10.42.0.0/16`",
                "this machine's route to 10.0.0.0/8 dev eth0 covers part of the pod network \
                 `10.42.0.0/16`",
                "this machine's route to 10.0.0.0/8 dev eth0 covers part of the service network \
                 `10.43.0.0/16`",
            ]
        );
    }
}
