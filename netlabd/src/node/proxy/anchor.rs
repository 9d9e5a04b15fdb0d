// SPDX-License-Identifier: GPL-3.0-or-later
//! Where packets to services go unless a rule sends them elsewhere: a device that leads nowhere.
//!
//! ```text
//!   10.43.0.0/16   dev nlsvc proto 110       a bridge without ports
//!   192.0.2.240/28 dev nlsvc proto 110       a pool of load balancer addresses
//!   10.43.0.10/32  on nlsvc                  the cluster's DNS, which every node is itself
//!   local 10.43.0.10 dev lo table local      the node's own way to it
//! ```
//!
//! A packet to a service is translated before it leaves, but the kernel looks for a route first: on
//! a node without a default route, connecting to a cluster IP would fail at once, rules or not. And
//! what no rule translates has to come as far as the hooks `forward` and `output` to be rejected
//! there. Routes to `lo` would not do: packets to it count as the node's own, and a rejection
//! never reaches the client on the node. An address that is announced on an uplink is answered for
//! by the kernel because its route leads to another device than the question came by.
//!
//! The addresses of the cluster's DNS stand on this device and not on `lo`, so that they carry our
//! mark: what is on `lo` could be anyone's. Packets to them are the node's own all the same, and
//! are answered without any rule. The node's own connections never come from them, since every
//! node has the same: an answer from elsewhere would not come back. Over IPv4 the route that the
//! kernel makes for such an address costs the node's own packets dearly, so one over `lo` comes
//! before it (see [`Route::own_address`]).
//!
//! [`plan`] and [`diff`] are pure. The kernel is looked at when nothing is known of it: at the
//! start, after a refusal, and when there is reason to believe that somebody else changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlab_api::service::IpMode;
use netlab_link::monitor::What;
use netlab_link::{
    Address, Batch, Bridge, Change, Event, IfName, KernelError, LinkChange, LinkRef, MIN_MTU_V6,
    Netns, Request, Route, RouteFilter, RouteKind, RouteSocket, SocketError, mark,
};
use nix::errno::Errno;

use crate::control::config::ClusterConfig;

/// Why packets to services may find no way.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// There is no socket to the kernel.
    #[error("failed to open a socket for routes to services")]
    Open {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// The kernel could not be asked.
    #[error("failed to look at the routes to services")]
    Observe {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// Changes could not be sent at all.
    #[error("failed to send changes of routes to services to the kernel")]
    Send {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// Somebody else has a link of this name.
    #[error("link `{name}` is not netlab's, which needs that name: rename it or remove it")]
    NameTaken {
        /// The name.
        name: IfName,
    },
    /// Somebody else has a route to services.
    #[error("there is a route to `{network}` that is not netlab's: remove it")]
    RouteInTheWay {
        /// Where both lead.
        network: IpNet,
    },
    /// The kernel refused a change.
    #[error("failed to lead packets to services{}", hint(source))]
    Refused {
        /// What, and why.
        #[source]
        source: KernelError,
    },
}

fn hint(error: &KernelError) -> &'static str {
    match error.errno() {
        Errno::EOPNOTSUPP => ": is the kernel module bridge missing?",
        _ => "",
    }
}

/// What is wished for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnchorWish {
    /// The networks of services and the pools of load balancer addresses, of the families that the
    /// node has. Without any, there is no device either.
    pub networks: BTreeSet<IpNet>,
    /// Addresses that are this node's own, in those networks.
    pub addresses: BTreeSet<IpAddr>,
    /// The MTU of pod links: the node's own connections take theirs from the route to the service,
    /// and go to a pod.
    pub mtu: u32,
}

/// The networks of services and of load balancers, of the families that pods have.
pub fn anchored_networks(
    config: &ClusterConfig,
    balancers: impl Iterator<Item = IpAddr>,
) -> BTreeSet<IpNet> {
    let services = &config.services;
    // Packets to a load balancer that is elsewhere go there.
    let is_here = services.load_balancer_ip_mode == IpMode::Vip;
    let pools = services.load_balancer_pools.iter().filter(|_| is_here);
    let networks: Vec<IpNet> = services.networks.iter().chain(pools).copied().collect();
    // An address stays with its service when its pool is taken away.
    let strays = balancers.map(IpNet::from);
    let strays = strays.filter(|address| !networks.iter().any(|it| it.contains(address)));
    let has_family = |network: &IpNet| {
        let is_ipv4 = network.addr().is_ipv4();
        config.pod_networks.iter().any(|it| it.addr().is_ipv4() == is_ipv4)
    };
    networks.iter().copied().chain(strays).filter(has_family).collect()
}

/// What the kernel has, or must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The device.
    pub device: Option<Device>,
    /// The routes to it.
    pub routes: BTreeMap<IpNet, Route>,
    /// The addresses that it has.
    pub addresses: BTreeSet<IpNet>,
    /// The routes of the node's own packets to those of IPv4.
    pub own: BTreeSet<Route>,
}

/// The device, as far as it can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// It has the number that routes lead to, and is a bridge.
    pub fit: bool,
    /// Its group.
    pub group: u32,
    /// Its MTU.
    pub mtu: u32,
    /// It is set up.
    pub up: bool,
}

impl Device {
    /// Whether changes make it what is wanted. Not what is no bridge, and not what has lost IPv6 to a
    /// small MTU: it would get that back with an address of the kernel's making.
    fn can_become(&self, wanted: Option<Device>) -> bool {
        let v6 = |device: &Device| device.mtu >= MIN_MTU_V6;
        self.fit && (v6(self) || !wanted.is_some_and(|wanted| v6(&wanted)))
    }
}

/// What to do, and what people are told of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    /// The changes, in this order.
    pub batch: Batch,
    /// What was missing or wrong. What was only too much is not named.
    pub missing: Vec<String>,
}

/// The name of the device.
pub fn device_name() -> IfName {
    IfName::new(mark::SERVICE_NAME).expect("a constant that is a valid name")
}

/// Plans the device and the routes to it.
pub fn plan(wish: &AnchorWish) -> State {
    let mut state = State::default();
    for network in &wish.networks {
        let network = network.trunc();
        state.routes.insert(network, Route::new(network, mark::SERVICE_INDEX));
    }
    let inside = |address: &&IpAddr| state.routes.keys().any(|network| network.contains(*address));
    state.addresses = wish.addresses.iter().filter(inside).copied().map(IpNet::from).collect();
    for address in &state.addresses {
        if let IpAddr::V4(address) = address.addr() {
            state.own.insert(Route::own_address(address));
        }
    }
    if !state.routes.is_empty() {
        let group = mark::FABRIC_LINK_GROUP;
        state.device = Some(Device { fit: true, group, mtu: wish.mtu, up: true });
    }
    state
}

/// Finds out what leads from one state to another. The device comes before the routes; the other
/// way round, they go by themselves.
pub fn diff(observed: &State, wanted: &State) -> Difference {
    let mut difference = Difference::default();
    let batch = &mut difference.batch;
    // They lead to another device, and would stay when this one goes.
    for route in observed.own.difference(&wanted.own) {
        batch.del_route(route.clone());
    }
    let mut device = observed.device;
    if device.is_some_and(|device| !device.can_become(wanted.device)) || wanted.device.is_none() {
        if device.take().is_some() {
            batch.del_link(device_name());
        }
        if wanted.device.is_none() {
            return difference;
        }
    }
    if device.is_none() {
        let index = mark::SERVICE_INDEX;
        batch.push(Request::AddBridge(Bridge { name: device_name(), index }));
    }
    // Of a new device, all routes and addresses are missing.
    let (mut routes, mut addresses) = (&observed.routes, &observed.addresses);
    let (no_routes, no_addresses) = (BTreeMap::new(), BTreeSet::new());
    if device != wanted.device
        && let Some(Device { group, mtu, .. }) = wanted.device
    {
        difference.missing.push(format!("device {}", mark::SERVICE_NAME));
        let link = || LinkChange::of(mark::SERVICE_INDEX);
        batch.set_link(LinkChange { group: Some(group), mtu: Some(mtu), ..link() });
        // Each of its own: the kernel looks whether a link has IPv6, which depends on the MTU, before
        // it changes any, and sets a link up before it looks at the rest.
        if mtu >= MIN_MTU_V6 {
            batch.set_link(LinkChange { no_link_local: true, ..link() });
        }
        batch.set_link(LinkChange { up: Some(true), ..link() });
        if device.is_none() {
            (routes, addresses) = (&no_routes, &no_addresses);
        }
    }
    let on_device = |address: &IpNet| Address { dev: mark::SERVICE_INDEX, address: *address };
    for address in wanted.addresses.difference(addresses) {
        batch.push(Request::SetServedAddress(on_device(address)));
        difference.missing.push(format!("address {}", address.addr()));
    }
    for address in addresses.difference(&wanted.addresses) {
        batch.del_address(on_device(address));
    }
    for route in wanted.own.difference(&observed.own) {
        batch.push(Request::PrependRoute(route.clone()));
        difference.missing.push(format!("local route to {}", route.destination.addr()));
    }
    // With a link's last address go its routes of IPv4 (`fib_inetaddr_event`).
    let has_v4 = |all: &BTreeSet<IpNet>| all.iter().any(|address| address.addr().is_ipv4());
    let loses_v4 = has_v4(addresses) && !has_v4(&wanted.addresses);
    for (network, route) in &wanted.routes {
        let request = match routes.get(network) {
            Some(found) if found == route && loses_v4 && network.addr().is_ipv4() => {
                batch.push(Request::SetRoute(route.clone()));
                continue;
            }
            Some(found) if found == route => continue,
            Some(_) => Request::SetRoute(route.clone()),
            // Not in place of one that somebody else made.
            None => Request::AddRoute(route.clone()),
        };
        batch.push(request);
        difference.missing.push(format!("route to {network}"));
    }
    for (network, route) in routes {
        if !wanted.routes.contains_key(network) {
            batch.del_route(route.clone());
        }
    }
    difference
}

/// This node's device for services, and the routes to it.
#[derive(Debug)]
pub struct Anchor {
    socket: RouteSocket,
    wanted: State,
    /// What the kernel has; none when that must be looked up before it is changed.
    believed: Option<State>,
}

impl Anchor {
    /// Opens the way to the kernel of a node. Nothing is looked at yet.
    ///
    /// # Errors
    /// When CAP_NET_ADMIN is missing.
    pub fn open(netns: &Netns) -> Result<Anchor, AnchorError> {
        let socket = RouteSocket::open_in(netns).map_err(|source| AnchorError::Open { source })?;
        Ok(Anchor { socket, wanted: State::default(), believed: None })
    }

    /// Makes the kernel do what is wished, and says whether anything was written. The same wish
    /// again costs a comparison.
    ///
    /// # Errors
    /// When the kernel cannot be talked to or refuses. The rest is carried out even then, and all
    /// of it is looked at again by the next call.
    pub fn ensure(&mut self, wish: &AnchorWish) -> Result<bool, AnchorError> {
        self.wanted = plan(wish);
        if self.believed.as_ref() == Some(&self.wanted) {
            return Ok(false);
        }
        let observed = match self.believed.take() {
            Some(believed) => believed,
            None => observe(&mut self.socket)?,
        };
        Ok(!self.carry_out(&observed)?.batch.is_empty())
    }

    /// Compares the kernel with the last wish, mends it, and tells what was missing.
    ///
    /// # Errors
    /// As [`Anchor::ensure`].
    pub fn repair(&mut self) -> Result<Vec<String>, AnchorError> {
        self.believed = None;
        let observed = observe(&mut self.socket)?;
        Ok(self.carry_out(&observed)?.missing)
    }

    /// What the kernel lacks for a wish. Changes nothing, and knows nothing of what was done before.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn examine(&mut self, wish: &AnchorWish) -> Result<Vec<String>, AnchorError> {
        let missing = diff(&observe(&mut self.socket)?, &plan(wish)).missing;
        Ok(missing.into_iter().map(|what| format!("{what} is missing or wrong")).collect())
    }

    /// Whether an event may mean that something of ours is no longer as it must be: then
    /// [`Anchor::repair`].
    pub fn concerns(&self, event: &Event) -> bool {
        let what = match event {
            Event::Overflow => return true,
            Event::Change(Change { nsid: Some(_), .. }) => return false,
            Event::Change(Change { nsid: None, what }) => what,
        };
        let Some(device) = self.wanted.device else { return false };
        match what {
            What::LinkDeleted { index, name } => {
                *index == mark::SERVICE_INDEX || name.as_str() == mark::SERVICE_NAME
            }
            What::LinkChanged { index, name, up, mtu } => {
                *index == mark::SERVICE_INDEX
                    && (name.as_str() != mark::SERVICE_NAME || !up || *mtu != device.mtu)
            }
            What::RouteDeleted(route) if route.dev == Some(mark::SERVICE_INDEX) => {
                self.wanted.routes.contains_key(&route.destination)
            }
            What::RouteDeleted(route) => self.wanted.own.contains(route),
            What::AddressDeleted(address) => {
                address.dev == mark::SERVICE_INDEX
                    && self.wanted.addresses.contains(&address.address)
            }
            What::NeighbourDeleted { .. } | What::FdbDeleted(_) => false,
        }
    }

    fn carry_out(&mut self, observed: &State) -> Result<Difference, AnchorError> {
        let difference = diff(observed, &self.wanted);
        send(&mut self.socket, &difference.batch)?;
        self.believed = Some(self.wanted.clone());
        Ok(difference)
    }
}

/// Removes the device, and with it the routes.
///
/// # Errors
/// When the kernel cannot be talked to, or refuses.
pub fn teardown(netns: &Netns) -> Result<(), AnchorError> {
    let mut anchor = Anchor::open(netns)?;
    match anchor.repair() {
        // That of somebody else stays.
        Err(AnchorError::NameTaken { .. }) => Ok(()),
        removed => removed.map(drop),
    }
}

fn observe(socket: &mut RouteSocket) -> Result<State, AnchorError> {
    let failed = |source| AnchorError::Observe { source };
    let mut state = State::default();
    let protocol = Some(mark::ROUTE_PROTOCOL);
    // A node has thousands of routes to pods and as many links, so only what may be ours is asked for.
    let over = |dev| RouteFilter { protocol, dev: Some(dev), ..RouteFilter::default() };
    let own = RouteFilter { kind: Some(RouteKind::Local), ..over(mark::LOOPBACK_INDEX) };
    let own = socket.list_routes(own).map_err(failed)?.into_iter();
    // A kernel that ignores filters must not make us take away what is somebody else's.
    let is_own =
        |route: &Route| route.protocol == mark::ROUTE_PROTOCOL && route.kind == RouteKind::Local;
    state.own = own.filter(is_own).collect();
    let Some(link) = socket.get_link(device_name()).map_err(failed)? else { return Ok(state) };
    let numbered = link.index == mark::SERVICE_INDEX;
    if link.group != mark::FABRIC_LINK_GROUP && !numbered {
        return Err(AnchorError::NameTaken { name: link.name });
    }
    for route in socket.list_routes(over(link.index)).map_err(failed)? {
        if route.protocol == mark::ROUTE_PROTOCOL && route.dev == Some(link.index) {
            state.routes.insert(route.destination, route);
        }
    }
    let addresses = socket.list_addresses().map_err(failed)?;
    let own = addresses.into_iter().filter(|address| address.dev == link.index);
    // One that the kernel gave itself is no matter of ours.
    let own = own.map(|address| address.address).filter(|address| !is_link_local(address.addr()));
    state.addresses = own.collect();
    state.device = Some(Device {
        fit: numbered && link.kind.as_deref() == Some("bridge"),
        group: link.group,
        mtu: link.mtu,
        up: link.up,
    });
    Ok(state)
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Sends all of it, and tells what matters most of what was refused.
fn send(socket: &mut RouteSocket, batch: &Batch) -> Result<(), AnchorError> {
    if batch.is_empty() {
        return Ok(());
    }
    let outcome = socket.send(batch).map_err(|source| AnchorError::Send { source })?;
    for (place, error) in outcome.refused() {
        return Err(match &batch.requests()[*place] {
            Request::DelRoute(_) | Request::DelLink(LinkRef::Name(_)) | Request::DelAddress(_)
                if error.is_not_found() =>
            {
                continue;
            }
            Request::AddRoute(route) if error.is_exists() => {
                AnchorError::RouteInTheWay { network: route.destination }
            }
            _ => AnchorError::Refused { source: error.clone() },
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
