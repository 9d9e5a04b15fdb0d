// SPDX-License-Identifier: GPL-3.0-or-later
//! What the kernel has for traffic between nodes, and the links that lead to them.

use std::collections::BTreeSet;

use ipnet::IpNet;
use netlab_link::{
    IfIndex, Link, Netns, Route, RouteFilter, RouteKind, RouteSocket, SocketError, ethtool, mark,
};

use super::FabricError;
use super::plan::{Device, State, device_name};
use super::wish::{Underlay, Uplink};

/// The main routing table (`RT_TABLE_MAIN`).
const MAIN_TABLE: u32 = 254;

/// Looks at what carries our mark and is not a pod's.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn observe(
    netns: &Netns,
    socket: &mut RouteSocket,
    pod_networks: &[IpNet],
) -> Result<State, FabricError> {
    let failed = |source| FabricError::Observe { source };
    let mut state = State::default();
    for (link, vxlan) in socket.list_vxlans().map_err(failed)? {
        if !is_ours(&link) {
            continue;
        }
        let checksum_offload = match ethtool::tx_checksum_offload(netns, &vxlan.name) {
            // It went meanwhile.
            Err(error) if error.is_not_found() => continue,
            found => found.map_err(|source| FabricError::Offload { source })?,
        };
        for entry in socket.list_fdb(vxlan.index).map_err(failed)? {
            state.fdb.insert((entry.dev, entry.mac), entry);
        }
        let device = Device { vxlan, up: link.up, checksum_offload };
        state.devices.insert(link.name, device);
    }
    let devices: Vec<IfIndex> = state.devices.values().map(|it| it.vxlan.index).collect();
    if !devices.is_empty() {
        for address in socket.list_addresses().map_err(failed)? {
            if devices.contains(&address.dev) {
                state.addresses.insert(address.address, address);
            }
        }
        for neighbour in socket.list_neighbours().map_err(failed)? {
            if devices.contains(&neighbour.dev) {
                state.neighbours.insert((neighbour.dev, neighbour.address), neighbour);
            }
        }
    }
    // A pod's route leads straight to its link, and a node has thousands of them.
    let ours = RouteFilter { protocol: Some(mark::ROUTE_PROTOCOL), ..RouteFilter::default() };
    let mut routes = socket.list_routes(RouteFilter { indirect: true, ..ours }).map_err(failed)?;
    for device in &devices {
        routes.extend(
            socket.list_routes(RouteFilter { dev: Some(*device), ..ours }).map_err(failed)?,
        );
    }
    for route in routes {
        if is_to_a_block(&route, pod_networks, &devices) {
            state.routes.insert(route.destination, route);
        }
    }
    Ok(state)
}

/// Whether a link is one of our devices.
fn is_ours(link: &Link) -> bool {
    link.group == mark::FABRIC_LINK_GROUP
        && [false, true].into_iter().any(|v6| link.name == device_name(v6))
}

/// Whether a route is to a block. A pod's leads straight to its link; what leads elsewhere than into
/// the pod networks was not made by netlab, whatever its protocol.
fn is_to_a_block(route: &Route, pod_networks: &[IpNet], devices: &[IfIndex]) -> bool {
    let to_a_pod = route.kind == RouteKind::Unicast
        && route.via.is_none()
        && route.dev.is_none_or(|dev| !devices.contains(&dev));
    route.protocol == mark::ROUTE_PROTOCOL
        && route.table == MAIN_TABLE
        && !to_a_pod
        && pod_networks.iter().any(|network| network.contains(&route.destination))
}

/// Finds the links that lead to other machines: those that are up and have an address that others
/// can reach, and are neither pods' nor our own devices.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn observe_underlay(socket: &mut RouteSocket) -> Result<Underlay, SocketError> {
    let main = netlab_link::observe_uplink(socket)?.map(|uplink| uplink.link.index);
    let addresses = socket.list_addresses()?;
    // Pods' links have no address, so however many there are, only a few are asked for.
    let indexes: BTreeSet<IfIndex> = addresses.iter().map(|address| address.dev).collect();
    let mut links = Vec::new();
    for index in indexes {
        links.extend(socket.get_link(index)?);
    }
    let mut uplinks: Vec<Uplink> = links
        .into_iter()
        .filter(|link| {
            let ours = [mark::LINK_GROUP, mark::DOOMED_LINK_GROUP, mark::FABRIC_LINK_GROUP];
            link.up && link.index != mark::LOOPBACK_INDEX && !ours.contains(&link.group)
        })
        .map(|link| Uplink {
            addresses: addresses
                .iter()
                .filter(|address| address.dev == link.index && !is_link_local(&address.address))
                .map(|address| address.address)
                .collect(),
            index: link.index,
            name: link.name,
            mtu: link.mtu,
        })
        .filter(|uplink| !uplink.addresses.is_empty())
        .collect();
    uplinks.sort_by_key(|uplink| (Some(uplink.index) != main, uplink.index));
    Ok(Underlay { uplinks })
}

fn is_link_local(address: &IpNet) -> bool {
    match address {
        IpNet::V4(v4) => v4.addr().is_link_local(),
        IpNet::V6(v6) => v6.addr().is_unicast_link_local(),
    }
}
