// SPDX-License-Identifier: GPL-3.0-or-later
//! All that the rules must say of services, and what a change of some of them changes. Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};
use std::net::IpAddr;
use std::sync::Arc;

use netlab_api::ProxyMode;
use netlab_nft::{Family, Protocol, SetName, Step, TableName, Transaction};

use super::classic;
use super::maps::base::BaseConfig;
use super::maps::{self, Shared};
use super::piece::{Difference, Piece, diff};
use super::port::{PortId, PortPlan};

/// Namespace and name of a service.
pub type ServiceName = (String, String);

/// An address at which packets arrive for a service; node ports have none.
type Front = (Family, Option<IpAddr>, Protocol, u16);

/// The desired rules for services.
#[derive(Debug, Clone)]
pub struct Desired {
    mode: ProxyMode,
    config: BaseConfig,
    /// Boxed: a plan is large, and a tree has many empty places.
    ports: BTreeMap<Arc<PortId>, Box<PortPlan>>,
    /// Who has each front: the first of all that want it. Two services may ask for one external
    /// address, and rules that contradict each other are none.
    claims: HashMap<Front, Arc<PortId>>,
    /// The others that want a front; mostly there are none, and then nobody has to look.
    rivals: BTreeMap<Front, BTreeSet<Arc<PortId>>>,
    /// How many ports need what is shared.
    shared: BTreeMap<(Family, Shared), usize>,
    /// In the classic layout, the chains that all services are in.
    trunks: BTreeMap<Family, Piece>,
}

impl Desired {
    /// No service.
    pub fn new(mode: ProxyMode, config: BaseConfig) -> Desired {
        let mut desired = Desired {
            mode,
            config,
            ports: BTreeMap::new(),
            claims: HashMap::new(),
            rivals: BTreeMap::new(),
            shared: BTreeMap::new(),
            trunks: BTreeMap::new(),
        };
        desired.trunks = desired.plan_trunks();
        desired
    }

    /// All services there are. What differs from nothing is everything, so nobody is told: piece by
    /// piece it would take as long again as the rest.
    pub fn of(
        mode: ProxyMode,
        config: BaseConfig,
        services: BTreeMap<ServiceName, Vec<PortPlan>>,
    ) -> Desired {
        let mut desired = Desired::new(mode, config);
        let plans = services.into_values().flatten();
        // Made at once, the tree has no empty places.
        desired.ports = plans.map(|plan| (plan.id.clone(), Box::new(plan))).collect();
        let ports = std::mem::take(&mut desired.ports);
        ports.values().for_each(|plan| desired.claim(plan));
        desired.ports = ports;
        desired.lay_out();
        desired
    }

    /// The layout.
    pub fn mode(&self) -> ProxyMode {
        self.mode
    }

    /// The configuration.
    pub fn config(&self) -> &BaseConfig {
        &self.config
    }

    /// The ports that are planned, in order.
    pub fn ports(&self) -> impl Iterator<Item = &PortPlan> {
        self.ports.values().map(Box::as_ref)
    }

    /// The ports of a service.
    pub fn ports_of(&self, (namespace, service): &ServiceName) -> impl Iterator<Item = &PortPlan> {
        let first = PortId {
            namespace: namespace.clone(),
            service: service.clone(),
            port: String::new(),
            protocol: Protocol::Tcp,
            family: Family::Ip,
        };
        let (namespace, service) = (namespace.clone(), service.clone());
        let from = self.ports.range::<PortId, _>(first..).map(|(_, plan)| &**plan);
        from.take_while(move |plan| plan.id.namespace == namespace && plan.id.service == service)
    }

    /// The same services in another layout: all of it differs.
    pub fn set_mode(&mut self, mode: ProxyMode) {
        if self.mode == mode {
            return;
        }
        self.mode = mode;
        self.lay_out();
    }

    /// The same services under another configuration: much of it differs.
    pub fn set_config(&mut self, config: BaseConfig) {
        self.config = config;
        self.lay_out();
    }

    /// What ports share in the layout.
    fn lay_out(&mut self) {
        self.shared.clear();
        if self.mode == ProxyMode::Nftables {
            let ports = std::mem::take(&mut self.ports);
            for plan in ports.values() {
                let plan = self.effective(plan);
                self.count_shared(&plan, true);
            }
            self.ports = ports;
        }
        self.trunks = self.plan_trunks();
    }

    /// Everything, from nothing.
    pub fn whole(&self) -> Transaction {
        let mut all = Transaction::default();
        for family in self.config.families() {
            let mut base = self.base(family);
            let table = TableName::own(family);
            let trunk = self.trunks.get(&family).cloned();
            let shared = self.shared.keys().filter(|(of, _)| *of == family);
            let shared = shared.map(|(of, shared)| maps::plan_shared(*of, shared));
            let ports = self.ports.values().filter(|plan| plan.id.family == family);
            let pieces = trunk.into_iter().chain(shared).chain(ports.map(|plan| self.piece(plan)));
            let pieces = Piece::build_all(pieces, &table);
            give_room(&mut base, &pieces);
            let mut bounds = Vec::new();
            for step in &base.steps {
                // What is in it and not desired goes.
                if let Step::AddSet(set) = step {
                    bounds.push(Step::AddElements(set.name.clone(), Vec::new()));
                }
            }
            all.append(base);
            all.steps.extend(bounds);
            all.append(pieces);
        }
        all
    }

    fn base(&self, family: Family) -> Transaction {
        match self.mode {
            ProxyMode::Nftables => maps::base::base(family, &self.config),
            ProxyMode::Iptables => classic::base(family, &self.config),
        }
    }

    /// What a port adds, as far as it has its fronts.
    pub fn piece(&self, plan: &PortPlan) -> Piece {
        self.draw(&self.effective(plan))
    }

    /// The piece of a plan that has all its fronts.
    fn draw(&self, effective: &PortPlan) -> Piece {
        match self.mode {
            ProxyMode::Nftables => maps::plan(effective, &self.config.pod_networks),
            ProxyMode::Iptables => classic::plan(effective, &self.config),
        }
    }

    /// The port that has a front, of all that want it.
    pub fn holder(
        &self,
        family: Family,
        address: Option<IpAddr>,
        protocol: Protocol,
        port: u16,
    ) -> Option<&PortPlan> {
        let holder = self.claims.get(&(family, address, protocol, port))?;
        self.ports.get(holder).map(|plan| &**plan)
    }

    /// The plan without the fronts that another port has.
    fn effective<'a>(&self, plan: &'a PortPlan) -> Cow<'a, PortPlan> {
        if self.rivals.is_empty() {
            return Cow::Borrowed(plan);
        }
        let has = |front: &Front| self.claims.get(front).is_none_or(|holder| *holder == plan.id);
        let at =
            |address: &IpAddr| has(&(plan.id.family, Some(*address), plan.id.protocol, plan.port));
        let mut plan = plan.clone();
        plan.cluster_ip = plan.cluster_ip.filter(at);
        plan.external_ips.retain(at);
        plan.guarded_ips.retain(at);
        let door = |port: &u16| has(&(plan.id.family, None, plan.id.protocol, *port));
        plan.node_port = plan.node_port.filter(door);
        Cow::Owned(plan)
    }

    /// Takes in what became of some services; one without plans is gone. Answers what differs, by
    /// family.
    pub fn replace(
        &mut self,
        services: BTreeMap<ServiceName, Vec<PortPlan>>,
    ) -> BTreeMap<Family, Difference> {
        let mut affected: BTreeSet<Arc<PortId>> = BTreeSet::new();
        let mut fronts: BTreeSet<Front> = BTreeSet::new();
        for (service, plans) in &services {
            for plan in self.ports_of(service).chain(plans) {
                affected.insert(plan.id.clone());
                fronts.extend(fronts_of(plan));
            }
        }
        // Whoever has a front now may lose it, and whoever has it not may get it.
        for front in &fronts {
            affected.extend(self.claims.get(front).cloned());
            affected.extend(self.rivals.get(front).into_iter().flatten().cloned());
        }
        let before = self.take_out(&affected);
        for (service, plans) in services {
            let old: Vec<Arc<PortId>> =
                self.ports_of(&service).map(|plan| plan.id.clone()).collect();
            for id in old {
                if let Some(plan) = self.ports.remove(&id) {
                    self.unclaim(&plan);
                }
            }
            for plan in plans {
                self.claim(&plan);
                self.ports.insert(plan.id.clone(), Box::new(plan));
            }
        }
        self.put_in(&affected, before)
    }

    fn claim(&mut self, plan: &PortPlan) {
        for front in fronts_of(plan) {
            let mut holder = match self.claims.entry(front) {
                hash_map::Entry::Vacant(free) => {
                    free.insert(plan.id.clone());
                    continue;
                }
                hash_map::Entry::Occupied(taken) => taken,
            };
            if *holder.get() == plan.id {
                continue;
            }
            let other = match plan.id < *holder.get() {
                true => holder.insert(plan.id.clone()),
                false => plan.id.clone(),
            };
            self.rivals.entry(front).or_default().insert(other);
        }
    }

    fn unclaim(&mut self, plan: &PortPlan) {
        for front in fronts_of(plan) {
            let has_it = self.claims.get(&front).is_some_and(|holder| *holder == plan.id);
            let Some(rivals) = self.rivals.get_mut(&front) else {
                if has_it {
                    self.claims.remove(&front);
                }
                continue;
            };
            if !has_it {
                rivals.remove(&plan.id);
            } else if let Some(next) = rivals.pop_first() {
                self.claims.insert(front, next);
            }
            if rivals.is_empty() {
                self.rivals.remove(&front);
            }
        }
    }

    /// The pieces of ports as they are, which from here on count no more.
    fn take_out(&mut self, ids: &BTreeSet<Arc<PortId>>) -> Before {
        let mut before = Before::default();
        for id in ids {
            let Some(plan) = self.ports.get(id) else { continue };
            let plan = self.effective(plan).into_owned();
            before.pieces.insert(id.clone(), self.draw(&plan));
            for key in self.count_shared(&plan, false) {
                before.shared.entry(key).or_insert(true);
            }
        }
        before
    }

    /// The pieces of ports as they are now, and what differs from how they were.
    fn put_in(
        &mut self,
        ids: &BTreeSet<Arc<PortId>>,
        mut before: Before,
    ) -> BTreeMap<Family, Difference> {
        let mut differences: BTreeMap<Family, Difference> = BTreeMap::new();
        for id in ids {
            let new = match self.ports.get(id) {
                Some(plan) => {
                    let plan = self.effective(plan).into_owned();
                    for key in self.count_shared(&plan, true) {
                        before.shared.entry(key).or_insert(false);
                    }
                    self.draw(&plan)
                }
                None => Piece::default(),
            };
            let old = before.pieces.remove(id).unwrap_or_default();
            let difference = diff(&TableName::own(id.family), &old, &new);
            differences.entry(id.family).or_default().append(difference);
        }
        for ((family, shared), was_there) in before.shared {
            let is_there = self.shared.contains_key(&(family, shared.clone()));
            if was_there == is_there {
                continue;
            }
            let piece = maps::plan_shared(family, &shared);
            let none = Piece::default();
            let (old, new) = if was_there { (&piece, &none) } else { (&none, &piece) };
            let difference = diff(&TableName::own(family), old, new);
            differences.entry(family).or_default().append(difference);
        }
        if self.mode == ProxyMode::Iptables {
            let trunks = self.plan_trunks();
            for (family, new) in &trunks {
                let none = Piece::default();
                let old = self.trunks.get(family).unwrap_or(&none);
                let difference = diff(&TableName::own(*family), old, new);
                differences.entry(*family).or_default().append(difference);
            }
            self.trunks = trunks;
        }
        differences.retain(|_, difference| !difference.is_empty());
        differences
    }

    /// Counts what a port needs of what is shared, and answers which of it came first or went last.
    fn count_shared(&mut self, plan: &PortPlan, needs: bool) -> Vec<(Family, Shared)> {
        if self.mode != ProxyMode::Nftables {
            return Vec::new();
        }
        let mut changed = Vec::new();
        for shared in maps::shared(plan) {
            let key = (plan.id.family, shared);
            let count = self.shared.entry(key.clone()).or_default();
            *count = if needs { *count + 1 } else { count.saturating_sub(1) };
            let turns = *count == usize::from(needs);
            if *count == 0 {
                self.shared.remove(&key);
            }
            if turns {
                changed.push(key);
            }
        }
        changed
    }

    fn plan_trunks(&self) -> BTreeMap<Family, Piece> {
        if self.mode != ProxyMode::Iptables {
            return BTreeMap::new();
        }
        let families = self.config.families();
        families
            .map(|family| {
                let ports = self.ports.values().filter(|plan| plan.id.family == family);
                let ports: Vec<PortPlan> =
                    ports.map(|plan| self.effective(plan).into_owned()).collect();
                (family, classic::trunk(family, &ports, &self.config))
            })
            .collect()
    }
}

/// From so many elements on a set is made with room for them. A smaller one is filled in no time
/// and then grows as needed.
const MANY: usize = 1000;

/// Sets that are made with `base` get room for what is put into them, and for half as much again.
/// When one is full, the kernel refuses a change; then all rules are compared, and it is made anew.
fn give_room(base: &mut Transaction, pieces: &Transaction) {
    let counts = pieces.steps.iter().filter_map(|step| match step {
        Step::AddElements(set, elements) => Some((set, elements.len())),
        _ => None,
    });
    let counts: HashMap<&SetName, usize> = counts.collect();
    for step in &mut base.steps {
        if let Step::AddSet(set) = step {
            let count = counts.get(&set.name).copied().filter(|count| *count >= MANY);
            let room = count.map_or(0, |count| (count + count / 2).next_power_of_two());
            set.room = Some(u32::try_from(room).unwrap_or(0));
        }
    }
}

/// How it was, for what is being replaced.
#[derive(Default)]
struct Before {
    pieces: BTreeMap<Arc<PortId>, Piece>,
    /// Whether each shared thing that was counted had been there.
    shared: BTreeMap<(Family, Shared), bool>,
}

fn fronts_of(plan: &PortPlan) -> Vec<Front> {
    let (family, protocol) = (plan.id.family, plan.id.protocol);
    let addresses = plan.cluster_ip.iter().chain(&plan.external_ips);
    let mut fronts: Vec<Front> =
        addresses.map(|address| (family, Some(*address), protocol, plan.port)).collect();
    fronts.extend(plan.node_port.map(|port| (family, None, protocol, port)));
    fronts
}

#[cfg(test)]
mod tests;
