// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeps the kernel's side of traffic between nodes as it is planned. Blocking; every call is short.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlab_link::monitor::What;
use netlab_link::{
    Batch, Change, Event, IfName, KernelError, LinkRef, Netns, Request, RouteSocket, SocketError,
    ethtool, mark, sysctl,
};
use nix::errno::Errno;

use super::diff::{Difference, diff};
use super::observe::{observe, observe_underlay};
use super::plan::{Plan, State, plan};
use super::problem::Problem;
use super::wish::{FabricWish, Underlay};
use crate::error::chain;

/// How long a device that the plan has no use for still takes packets: until the slowest node has
/// heard of the change as well.
pub const LINGER: Duration = Duration::from_secs(30);

/// Why traffic between nodes cannot be seen or changed.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// There is no socket to the kernel.
    #[error("failed to open a socket for routes between nodes")]
    Open {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel could not be asked.
    #[error("failed to look at the routes between nodes")]
    Observe {
        /// Why.
        #[source]
        source: SocketError,
    },
    /// A device's offloads could not be seen.
    #[error("failed to look at the devices between nodes")]
    Offload {
        /// Why.
        #[source]
        source: ethtool::EthtoolError,
    },
    /// Changes could not be sent at all.
    #[error("failed to send changes of routes between nodes to the kernel")]
    Send {
        /// Why.
        #[source]
        source: SocketError,
    },
}

/// What [`Fabric::ensure`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Anything was written.
    pub changed: bool,
    /// What cannot be reached, and why: of the plan first, then of the kernel.
    pub problems: Vec<Problem>,
    /// The MTU that pod links must have.
    pub pod_mtu: u32,
    /// Devices still take packets of nodes that have not heard of the change; [`Fabric::retire`]
    /// removes them after [`LINGER`].
    pub lingering: bool,
}

/// This node's side of traffic between nodes.
#[derive(Debug)]
pub struct Fabric {
    netns: Netns,
    socket: RouteSocket,
    wish: Option<FabricWish>,
    plan: Plan,
    /// What the kernel has; none when that must be looked up before it is changed.
    believed: Option<State>,
    /// What the kernel refused.
    refused: Vec<Problem>,
    /// Devices without use, and since when.
    lingering: BTreeMap<IfName, Instant>,
}

impl Fabric {
    /// Opens the way to the kernel of a node. Nothing is looked at yet.
    ///
    /// # Errors
    /// When CAP_NET_ADMIN is missing.
    pub fn open(netns: &Netns) -> Result<Fabric, FabricError> {
        let socket = RouteSocket::open_in(netns)
            .map_err(|error| FabricError::Open { source: error.into() })?;
        let netns =
            netns.try_clone().map_err(|error| FabricError::Open { source: error.into() })?;
        Ok(Fabric {
            netns,
            socket,
            wish: None,
            plan: Plan::default(),
            believed: None,
            refused: Vec::new(),
            lingering: BTreeMap::new(),
        })
    }

    /// The links of this node that lead to other machines.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn underlay(&mut self) -> Result<Underlay, FabricError> {
        observe_underlay(&mut self.socket).map_err(|source| FabricError::Observe { source })
    }

    /// What the kernel has to have, for `--explain`, logs and doctor.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Makes the kernel do what is wished, writing what differs from the last wish. The same wish
    /// again costs a comparison; what the kernel refused of it is tried again by
    /// [`Fabric::repair`].
    ///
    /// What must be smaller than before, such as the MTU of pods on the way to `vxlan`
    /// ([`super::plan()`] says it), is better changed before this, and what may be larger after.
    ///
    /// # Errors
    /// When the kernel cannot be talked to. That it refuses something is a problem and no error:
    /// the rest is carried out.
    pub fn ensure(&mut self, wish: &FabricWish, now: Instant) -> Result<Outcome, FabricError> {
        if self.wish.as_ref() == Some(wish) {
            return Ok(self.outcome(false));
        }
        let plan = plan(wish);
        let believed = match self.believed.take() {
            Some(believed) => believed,
            None => self.observe(&wish.pod_networks)?,
        };
        let difference = diff(&believed, &plan.state);
        self.plan = plan;
        // Only once it is carried out: else the next call would believe that it was.
        self.wish = None;
        self.carry_out(believed, &difference, now)?;
        self.wish = Some(wish.clone());
        Ok(self.outcome(!difference.is_empty()))
    }

    /// Compares the kernel with the last wish, mends it, and tells what was missing. Also removes
    /// what carries our mark and is not wanted, and devices that have lingered.
    ///
    /// # Errors
    /// As [`Fabric::ensure`].
    pub fn repair(&mut self, now: Instant) -> Result<Vec<String>, FabricError> {
        let Some(wish) = &self.wish else { return Ok(Vec::new()) };
        let networks = wish.pod_networks.clone();
        self.believed = None;
        let observed = self.observe(&networks)?;
        let difference = diff(&observed, &self.plan.state);
        self.carry_out(observed, &difference, now)?;
        self.ensure_sysctls();
        self.retire(now)?;
        // What was refused is missing still, and told as a problem.
        let refused = !self.refused.is_empty();
        Ok(if refused { Vec::new() } else { difference.missing })
    }

    /// What the kernel lacks or has too much for a wish, and what of it nobody can do. Changes
    /// nothing, and knows nothing of what was done before.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn examine(&mut self, wish: &FabricWish) -> Result<Vec<String>, FabricError> {
        let plan = plan(wish);
        let observed = self.observe(&wish.pod_networks)?;
        let mut findings: Vec<String> = plan.problems.iter().map(Problem::to_string).collect();
        let missing = diff(&observed, &plan.state).missing;
        findings.extend(missing.into_iter().map(|what| format!("{what} is missing or wrong")));
        let left = observed.routes.keys().filter(|net| !plan.state.routes.contains_key(*net));
        findings.extend(left.map(|net| format!("a route to {net} is to no node's block")));
        Ok(findings)
    }

    /// Removes devices that have had no use for [`LINGER`]; says whether others remain.
    ///
    /// # Errors
    /// When the kernel cannot be talked to.
    pub fn retire(&mut self, now: Instant) -> Result<bool, FabricError> {
        let due: Vec<IfName> = self
            .lingering
            .iter()
            .filter(|(_, since)| now.duration_since(**since) >= LINGER)
            .map(|(name, _)| name.clone())
            .collect();
        if !due.is_empty() {
            let batch: Batch =
                due.iter().cloned().map(|name| Request::DelLink(LinkRef::Name(name))).collect();
            let sent = self.socket.send(&batch);
            let sent = sent.and_then(|it| Ok(it.ignore(KernelError::is_not_found).check()?));
            sent.map_err(|source| FabricError::Send { source })?;
            for name in due {
                self.lingering.remove(&name);
                self.believed.iter_mut().for_each(|state| state.forget(&name));
            }
        }
        Ok(!self.lingering.is_empty())
    }

    /// Whether an event may mean that something of ours is no longer as it must be, or that the
    /// links to other machines have changed: look at [`Fabric::underlay`] again, then
    /// [`Fabric::ensure`] and [`Fabric::repair`].
    pub fn concerns(&self, event: &Event) -> bool {
        let what = match event {
            Event::Overflow => return true,
            Event::Change(Change { nsid: Some(_), .. }) => return false,
            Event::Change(Change { nsid: None, what }) => what,
        };
        let nothing = State::default();
        let state = self.believed.as_ref().unwrap_or(&nothing);
        let uplinks = self.wish.iter().flat_map(|wish| &wish.underlay.uplinks);
        match what {
            What::LinkDeleted { index, name } => {
                state.devices.contains_key(name) || { uplinks }.any(|it| it.index == *index)
            }
            What::LinkChanged { index, name, up, mtu } => {
                let device = state.devices.get(name);
                device.is_some_and(|it| !up || it.vxlan.mtu != *mtu) || { uplinks }
                    .any(|it| it.index == *index && (!up || it.mtu != *mtu))
            }
            What::AddressDeleted(address) => {
                state.addresses.contains_key(&address.address) || { uplinks }.any(|uplink| {
                    uplink.index == address.dev && uplink.addresses.contains(&address.address)
                })
            }
            What::RouteDeleted(route) => {
                route.protocol == mark::ROUTE_PROTOCOL
                    && state.routes.contains_key(&route.destination)
            }
            What::NeighbourDeleted { dev, address } => {
                state.neighbours.contains_key(&(*dev, *address))
            }
            What::FdbDeleted(entry) => state.fdb.contains_key(&(entry.dev, entry.mac)),
        }
    }

    fn observe(&mut self, pod_networks: &[IpNet]) -> Result<State, FabricError> {
        observe(&self.netns, &mut self.socket, pod_networks)
    }

    fn outcome(&self, changed: bool) -> Outcome {
        let problems = self.plan.problems.iter().chain(&self.refused).cloned().collect();
        let lingering = !self.lingering.is_empty();
        Outcome { changed, problems, pod_mtu: self.plan.pod_mtu, lingering }
    }

    fn carry_out(
        &mut self,
        mut from: State,
        difference: &Difference,
        now: Instant,
    ) -> Result<(), FabricError> {
        self.refused.clear();
        self.make_devices(difference)?;
        self.send(&difference.batch)?;
        self.lingering.retain(|name, _| difference.retired.contains(name));
        for name in &difference.retired {
            self.lingering.entry(name.clone()).or_insert(now);
        }
        if self.refused.is_empty() {
            from.keep_only(&difference.retired);
            self.believed = Some(self.plan.state.clone().with(from));
        }
        Ok(())
    }

    /// Makes devices, and sets what must hold before their first packet.
    fn make_devices(&mut self, difference: &Difference) -> Result<(), FabricError> {
        self.send(&difference.plan_devices())?;
        for name in &difference.offloads {
            if let Err(error) = ethtool::set_tx_checksum_offload(&self.netns, name, false) {
                self.refused.push(Problem::Refused { message: chain(&error) });
            }
        }
        if !difference.made.is_empty() {
            self.ensure_sysctls();
        }
        Ok(())
    }

    /// Lets IPv6 packets that come by our devices be forwarded, where the kernel can be told so for
    /// one link (6.17 and later; before, all links forward: [`sysctl::ensure_forwarding`]).
    fn ensure_sysctls(&mut self) {
        for name in self.plan.state.devices.keys() {
            let name = format!("net/ipv6/conf/{name}/force_forwarding");
            match sysctl::ensure(&self.netns, &name, "1") {
                Err(error) if !error.is_not_found() => {
                    self.refused.push(Problem::Refused { message: chain(&error) });
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, batch: &Batch) -> Result<(), FabricError> {
        if batch.is_empty() {
            return Ok(());
        }
        let outcome = self.socket.send(batch).map_err(|source| FabricError::Send { source })?;
        for (place, error) in outcome.refused() {
            let problem = match &batch.requests()[*place] {
                Request::DelRoute(_)
                | Request::DelLink(_)
                | Request::DelNeighbour(_)
                | Request::DelFdb(_)
                | Request::DelAddress(_)
                    if error.is_not_found() =>
                {
                    continue;
                }
                Request::AddRoute(route) if error.is_exists() => {
                    Problem::InTheWay { block: route.destination }
                }
                Request::AddVxlan(_) if error.errno() == Errno::EOPNOTSUPP => Problem::Refused {
                    message: format!("{error}: is the kernel module vxlan missing?"),
                },
                _ => Problem::Refused { message: error.to_string() },
            };
            self.refused.push(problem);
        }
        Ok(())
    }
}

/// Removes all that netlab has for traffic between nodes.
///
/// # Errors
/// When the kernel cannot be talked to, or refuses.
pub fn teardown(netns: &Netns, pod_networks: &[IpNet]) -> Result<(), FabricError> {
    let mut fabric = Fabric::open(netns)?;
    let state = fabric.observe(pod_networks)?;
    let mut batch = Batch::new();
    state.routes.into_values().for_each(|route| batch.del_route(route));
    state.devices.into_keys().for_each(|name| batch.del_link(name));
    let sent = fabric.socket.send(&batch);
    let sent = sent.and_then(|it| Ok(it.ignore(KernelError::is_not_found).check()?));
    sent.map_err(|source| FabricError::Send { source })
}

impl State {
    /// Forgets a device and what is on it.
    fn forget(&mut self, name: &IfName) {
        let Some(device) = self.devices.remove(name) else { return };
        let index = device.vxlan.index;
        self.addresses.retain(|_, address| address.dev != index);
        self.neighbours.retain(|_, neighbour| neighbour.dev != index);
        self.fdb.retain(|_, entry| entry.dev != index);
    }

    /// Forgets routes, and all devices but these.
    fn keep_only(&mut self, devices: &[IfName]) {
        let others: Vec<IfName> =
            self.devices.keys().filter(|name| !devices.contains(name)).cloned().collect();
        others.iter().for_each(|name| self.forget(name));
        self.routes.clear();
    }

    /// Joins two states that have no device in common.
    fn with(mut self, other: State) -> State {
        self.devices.extend(other.devices);
        self.neighbours.extend(other.neighbours);
        self.fdb.extend(other.fdb);
        for (net, address) in other.addresses {
            // The same address may be on a device of the plan by now.
            self.addresses.entry(net).or_insert(address);
        }
        self
    }
}
