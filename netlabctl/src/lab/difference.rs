// SPDX-License-Identifier: GPL-3.0-or-later
//! What differs between a plan and what there is, as steps. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlab_api::lab::Faults;

use super::plan::{MachineKind, Plan, Port, ROUTER};
use super::step::{Step, What};

/// What there is of a lab.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed {
    /// Namespaces that are pinned, the router's among them.
    pub(crate) machines: BTreeMap<String, ObservedMachine>,
    /// Nodes whose daemon runs.
    pub(crate) daemons: BTreeSet<String>,
}

/// What there is in a namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ObservedMachine {
    /// Links, and whether each is set up.
    pub(crate) links: BTreeMap<String, bool>,
    /// Addresses by link.
    pub(crate) addresses: BTreeSet<(String, IpNet)>,
    /// Next hops of default routes.
    pub(crate) gateways: BTreeSet<IpAddr>,
    /// Whether it forwards packets.
    pub(crate) forwards: bool,
}

/// Settings of the router.
const FORWARDING: [&str; 2] = ["net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"];

/// Steps from what there is to the plan. `before` is the plan that it was built by.
pub(crate) fn difference(
    plan: &Plan,
    before: Option<&Plan>,
    observed: &Observed,
    daemon: &dyn Fn(&str) -> String,
) -> Vec<Step> {
    let rebuilt = rebuilt(plan, before);
    let mut steps = Difference { plan, observed, rebuilt, steps: Vec::new() };
    steps.remove();
    steps.namespaces();
    steps.router();
    for machine in &plan.machines {
        steps.machine(machine);
    }
    for node in plan.nodes() {
        let runs = observed.daemons.contains(&node.name) && !steps.rebuilt.contains(&node.name);
        if !runs {
            steps.push(&node.name, What::StartDaemon { command: daemon(&node.name) });
        }
    }
    steps.steps
}

/// Machines that are there but must be made anew: their links changed, which their daemon and
/// pods could not follow.
fn rebuilt(plan: &Plan, before: Option<&Plan>) -> BTreeSet<String> {
    let Some(before) = before else { return BTreeSet::new() };
    let is_other = |machine: &super::plan::Machine| match before.machine(&machine.name) {
        Some(then) => {
            let plugs = |machine: &super::plan::Machine| {
                let ports = machine.ports.iter();
                let port = |p: &super::plan::Port| Port { faults: Faults::default(), ..p.clone() };
                ports.map(port).collect::<Vec<_>>()
            };
            then.kind != machine.kind || plugs(then) != plugs(machine)
        }
        None => false,
    };
    // The first node holds the store: a new one knows none of the others.
    let cluster =
        plan.pod_networks != before.pod_networks || plan.nodes().next().is_some_and(is_other);
    let is_rebuilt = |machine: &&super::plan::Machine| {
        let is_of_cluster = cluster && machine.kind == MachineKind::Node;
        is_other(machine) || (is_of_cluster && before.machine(&machine.name).is_some())
    };
    plan.machines.iter().filter(is_rebuilt).map(|machine| machine.name.clone()).collect()
}

struct Difference<'a> {
    plan: &'a Plan,
    observed: &'a Observed,
    rebuilt: BTreeSet<String>,
    steps: Vec<Step>,
}

impl Difference<'_> {
    fn push(&mut self, machine: &str, what: What) {
        self.steps.push(Step::new(&self.plan.lab, machine, what));
    }

    /// Whether a machine is there and stays.
    fn stays(&self, name: &str) -> Option<&ObservedMachine> {
        self.observed.machines.get(name).filter(|_| !self.rebuilt.contains(name))
    }

    /// Machines that left the file, or are made anew, and bridges of networks that left.
    fn remove(&mut self) {
        for name in self.observed.machines.keys() {
            let is_known = name == ROUTER || self.plan.machine(name).is_some();
            if !is_known || self.rebuilt.contains(name) {
                self.push(name, What::Remove);
            }
        }
        let Some(router) = self.observed.machines.get(ROUTER) else { return };
        for link in router.links.keys() {
            let is_known = self.plan.networks.iter().any(|network| network.bridge == *link);
            let is_plugged = self.plan.machines.iter().any(|machine| {
                self.stays(&machine.name).is_some()
                    && machine.ports.iter().any(|port| port.peer == *link)
            });
            let is_stray = match link.split_once('-') {
                Some(("br", _)) => !is_known,
                // The kernel takes its time with the links of a namespace that is gone.
                Some(("to", _)) => !is_plugged,
                _ => false,
            };
            if is_stray {
                self.push(ROUTER, What::DelLink { dev: link.clone() });
            }
        }
    }

    fn namespaces(&mut self) {
        let machines = self.plan.machines.iter().map(|machine| machine.name.as_str());
        for name in [ROUTER].into_iter().chain(machines) {
            if self.stays(name).is_none() {
                self.push(name, What::AddNetns);
            }
        }
    }

    /// Bridges, their addresses, and cables.
    fn router(&mut self) {
        let none = ObservedMachine::default();
        let there = self.observed.machines.get(ROUTER).unwrap_or(&none);
        if !there.forwards {
            for name in FORWARDING {
                self.push(ROUTER, What::SetSysctl { name, value: "1" });
            }
        }
        for network in &self.plan.networks {
            let (bridge, index, mtu) = (network.bridge.clone(), network.index, network.mtu);
            if !there.links.contains_key(&network.bridge) {
                self.push(ROUTER, What::AddBridge { bridge, index, mtu });
            }
            self.addresses(ROUTER, there, &network.bridge, index, &network.router);
        }
        for machine in &self.plan.machines {
            let stays = self.stays(&machine.name).is_some();
            for port in &machine.ports {
                if stays && there.links.contains_key(&port.peer) {
                    continue;
                }
                let Some(network) = self.plan.network(&port.network) else { continue };
                self.push(
                    ROUTER,
                    What::AddCable {
                        peer: port.peer.clone(),
                        peer_index: port.peer_index,
                        bridge: network.bridge.clone(),
                        bridge_index: network.index,
                        to: machine.name.clone(),
                        dev: port.dev.clone(),
                        index: port.index,
                        mac: port.mac.clone(),
                        mtu: port.mtu,
                    },
                );
            }
        }
    }

    fn machine(&mut self, machine: &super::plan::Machine) {
        let none = ObservedMachine::default();
        let there = self.stays(&machine.name).unwrap_or(&none).clone();
        for port in &machine.ports {
            self.addresses(&machine.name, &there, &port.dev, port.index, &port.addresses);
            if there.links.get(&port.dev) != Some(&true) {
                let (dev, index) = (port.dev.clone(), port.index);
                self.push(&machine.name, What::SetUp { dev, index });
            }
        }
        let Some(first) = machine.ports.first() else { return };
        let Some(network) = self.plan.network(&first.network) else { return };
        for gateway in network.router.iter().map(IpNet::addr) {
            if !there.gateways.contains(&gateway) {
                let (dev, index) = (first.dev.clone(), first.index);
                self.push(&machine.name, What::SetDefaultRoute { dev, index, via: gateway });
            }
        }
    }

    fn addresses(
        &mut self,
        machine: &str,
        there: &ObservedMachine,
        dev: &str,
        index: u32,
        wanted: &[IpNet],
    ) {
        for address in wanted {
            if !there.addresses.contains(&(dev.to_owned(), *address)) {
                let (dev, address) = (dev.to_owned(), *address);
                self.push(machine, What::SetAddress { dev, index, address });
            }
        }
        // Only the router's own, of a network with other prefixes: what else a machine has, it has
        // from somebody who had a reason.
        for (on, address) in &there.addresses {
            let is_local = matches!(address, IpNet::V6(net) if net.addr().is_unicast_link_local());
            if machine == ROUTER && on == dev && !is_local && !wanted.contains(address) {
                let (dev, address) = (dev.to_owned(), *address);
                self.push(machine, What::DelAddress { dev, index, address });
            }
        }
    }
}
