// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeps the node's rules as they must be: for services, for pods that leave the cluster, and
//! against packets of pods with sources that are not theirs.
//!
//! All of them stand in one table of each family. What a change of services changes is written
//! without looking; now and then, and when somebody else was there, all of it is compared.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlab_api::ProxyMode;
use netlab_link::mark;
use netlab_nft::conntrack::{Conntrack, ConntrackError, Filter};
use netlab_nft::{
    Error, Family, Protocol, Socket, Step, Transaction, antispoof, diff, diff_into, masquerade,
    observe, observe_with_elements, teardown, untracked,
};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;

use super::proxy::desired::{Desired, ServiceName};
use super::proxy::maps::base::BaseConfig;
use super::proxy::port::PortPlan;
use super::proxy::stale::{self, Stale};
use crate::control::config::ClusterConfig;

/// The node's nf_tables rules, and the socket they are written with.
#[derive(Debug)]
pub struct Rules {
    socket: Socket,
    conntrack: Conntrack,
    /// Where pods have their addresses.
    pod_networks: Vec<IpNet>,
    /// What does not depend on services.
    fixed: Transaction,
    services: Desired,
    /// Whether the services are known: before the first snapshot nothing of them may go.
    knows_services: bool,
    /// The last change was not taken: all of it must be compared.
    doubtful: bool,
    /// Changes after which flows are looked at once more.
    late: VecDeque<Late>,
}

/// After this time no answer is on its way any more, and no packet that met the old rules.
pub const LATE_LOOK: Duration = Duration::from_millis(100);

/// A change of services, to be looked at once more.
#[derive(Debug)]
struct Late {
    /// When the rules were written.
    since: Instant,
    services: Vec<ServiceName>,
    /// What they were.
    was: Stale,
}

/// Why the rules are not as they must be.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// They could not be written.
    #[error(transparent)]
    Write(#[from] Error),
    /// They are written, and flows of before them are still there.
    #[error(transparent)]
    Flows(#[from] ConntrackError),
}

/// What looking for stale flows came to, by family.
pub type DeletedFlows = BTreeMap<Family, Deletion>;

/// A look for stale flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// How many flows were deleted.
    pub count: usize,
    /// How long it took to find and delete them.
    pub took: Duration,
}

/// What a change of services took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programmed {
    /// Whether everything was compared, or only the change was written.
    pub full: bool,
    /// How long it took.
    pub took: Duration,
    /// Whether the kernel refused to have what is used no more taken away.
    pub cleanup_failed: bool,
    /// How many flows of UDP went, for they led to nobody.
    pub deleted_flows: DeletedFlows,
}

/// The port of DNS.
const DNS: u16 = 53;

/// What of the cluster's configuration the rules depend on.
pub fn base_config(config: &ClusterConfig) -> BaseConfig {
    BaseConfig {
        pod_networks: config.pod_networks.clone(),
        service_networks: config.services.networks.clone(),
        node_port_addresses: config.services.node_port_addresses.clone(),
        masquerade_all: config.services.masquerade_all,
    }
}

/// The rules that do not depend on services: among them those that keep connection tracking from
/// questions to the cluster's DNS at `names`. Pure.
pub fn plan_fixed(pod_networks: &[IpNet], names: &[IpAddr]) -> Transaction {
    let mut fixed = masquerade::plan(pod_networks);
    fixed.append(antispoof::plan(pod_networks, mark::LINK_GROUP));
    fixed.append(untracked::plan(names, DNS));
    fixed
}

impl Rules {
    /// Plans the rules of a cluster without services. To be called on a thread in the node's
    /// network namespace.
    ///
    /// # Errors
    /// When the kernel has no nf_tables, or CAP_NET_ADMIN is missing.
    pub fn open(config: &ClusterConfig) -> Result<Rules, RulesError> {
        Ok(Rules {
            socket: Socket::open()?,
            conntrack: Conntrack::open()?,
            fixed: plan_fixed(&config.pod_networks, &[]),
            pod_networks: config.pod_networks.clone(),
            services: Desired::new(ProxyMode::default(), base_config(config)),
            knows_services: false,
            doubtful: false,
            late: VecDeque::new(),
        })
    }

    /// Notes at which addresses this node answers for names; [`Rules::ensure`] writes it.
    pub fn set_names(&mut self, addresses: &[IpAddr]) {
        self.fixed = plan_fixed(&self.pod_networks, addresses);
    }

    /// Number under which the kernel announces our own changes.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// The rules for services.
    pub fn services(&self) -> &Desired {
        &self.services
    }

    /// Writes what differs, and says whether anything did, as `nft` would.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn ensure(&mut self) -> Result<Option<String>, Error> {
        self.ensure_while(&mut || {})
    }

    fn ensure_while(&mut self, meanwhile: &mut dyn FnMut()) -> Result<Option<String>, Error> {
        // Until it is done: after a failure the next change compares as well.
        self.doubtful = true;
        let difference = if self.knows_services {
            let desired = self.desired();
            let observed = observe_with_elements(&mut self.socket, |_| true)?;
            diff_into(desired, &observed)
        } else {
            let observed = observe(&mut self.socket)?;
            self.only_fixed(diff(&self.fixed, &observed))
        };
        if difference.is_empty() {
            self.doubtful = false;
            return Ok(None);
        }
        meanwhile();
        self.commit(&difference)?;
        self.doubtful = false;
        Ok(Some(summary(&difference)))
    }

    /// Everything, from nothing.
    pub fn desired(&self) -> Transaction {
        let mut desired = self.fixed.clone();
        desired.append(self.services.whole());
        desired
    }

    /// Before the services are known, the chains that are not of the fixed part stay as a daemon
    /// before this one left them: connections depend on them.
    fn only_fixed(&self, difference: Transaction) -> Transaction {
        let own = self.fixed.steps.iter().filter_map(|step| match step {
            Step::AddChain(chain) => Some(&chain.name),
            _ => None,
        });
        let chains: BTreeSet<_> = own.collect();
        let steps = difference.steps.into_iter().filter(|step| match step {
            Step::FlushChain(name) | Step::DeleteChain(name) => chains.contains(name),
            Step::DeleteSet(_) | Step::DeleteTable(_) => false,
            _ => true,
        });
        Transaction { steps: steps.collect() }
    }

    /// Takes in all services there are, in the layout that holds. Answers what was written, as
    /// `nft` would.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_services(
        &mut self,
        mode: ProxyMode,
        services: BTreeMap<ServiceName, Vec<PortPlan>>,
    ) -> Result<(Option<String>, DeletedFlows), RulesError> {
        self.set_services_while(mode, services, &mut || {})
    }

    /// The same; `meanwhile` is called when all is planned and only the kernel has work, if there is
    /// anything to write. It should begin something and return.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_services_while(
        &mut self,
        mode: ProxyMode,
        services: BTreeMap<ServiceName, Vec<PortPlan>>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<(Option<String>, DeletedFlows), RulesError> {
        self.services = Desired::of(mode, self.services.config().clone(), services);
        self.knows_services = true;
        let difference = self.ensure_while(meanwhile)?;
        // Endpoints may have gone while nobody looked.
        let mut stale = Stale::default();
        stale.is_now(self.services.ports());
        let deleted = self.forget(&stale)?;
        Ok((difference, deleted))
    }

    /// What the kernel lacks or has too much for these services, as `nft` would put it right.
    /// Changes nothing in the kernel.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn examine(
        &mut self,
        mode: ProxyMode,
        services: BTreeMap<ServiceName, Vec<PortPlan>>,
    ) -> Result<Vec<String>, RulesError> {
        self.services = Desired::of(mode, self.services.config().clone(), services);
        let observed = observe_with_elements(&mut self.socket, |_| true)?;
        let difference = diff_into(self.desired(), &observed);
        Ok(summary(&difference).lines().map(|line| format!("to be done: {line}")).collect())
    }

    /// Takes in another configuration, for the next [`Rules::set_services`] or
    /// [`Rules::set_mode`] to write.
    pub fn set_config(&mut self, config: BaseConfig) {
        self.services.set_config(config);
        self.doubtful = true;
    }

    /// Takes in another layout: the one goes as the other comes, in one transaction.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_mode(&mut self, mode: ProxyMode) -> Result<Option<String>, RulesError> {
        self.services.set_mode(mode);
        Ok(self.ensure()?)
    }

    /// Takes in what became of some services.
    ///
    /// # Errors
    /// When the kernel refuses; the next change, or [`Rules::ensure`], tries all of it again.
    pub fn change_services(
        &mut self,
        services: BTreeMap<ServiceName, Vec<PortPlan>>,
    ) -> Result<Programmed, RulesError> {
        let began = Instant::now();
        let mut stale = Stale::default();
        let mut late = Late { since: began, services: Vec::new(), was: Stale::default() };
        for (name, plans) in &services {
            if self.changes_flows(name, plans) {
                late.was.was(self.services.ports_of(name));
                late.services.push(name.clone());
                stale.is_now(plans);
            }
        }
        stale.absorb(late.was.clone());
        let differences = self.services.replace(services);
        let (mut full, mut cleanup_failed) = (self.doubtful, false);
        if !full {
            let (mut change, mut leftovers) = (Transaction::default(), Transaction::default());
            for (_, difference) in differences {
                let (steps, after) = difference.split();
                change.append(steps);
                leftovers.append(after);
            }
            let written = self.write(&change).and_then(|()| {
                let cleaned = self.write(&leftovers);
                cleanup_failed = cleaned.is_err();
                cleaned
            });
            if let Err(error) = written {
                // Somebody changed what we built upon: compare.
                tracing::info!(%error, "a change of services was not taken, all rules are compared");
                full = true;
            }
        }
        if full {
            self.doubtful = true;
            self.ensure()?;
        }
        if !stale.is_empty() {
            self.late.push_back(Late { since: Instant::now(), ..late });
        }
        let deleted_flows = self.forget(&stale)?;
        Ok(Programmed { full, took: began.elapsed(), cleanup_failed, deleted_flows })
    }

    /// Whether flows may be stale once a service is as planned: somebody serves no more, or is the
    /// first to serve, or packets arrive elsewhere. The kernel's list of flows is long.
    fn changes_flows(&self, name: &ServiceName, plans: &[PortPlan]) -> bool {
        let udp = |plan: &&PortPlan| plan.id.protocol == Protocol::Udp;
        let old: Vec<&PortPlan> = self.services.ports_of(name).filter(udp).collect();
        let new: Vec<&PortPlan> = plans.iter().filter(udp).collect();
        let arrives = |plan: &PortPlan| {
            (plan.id.clone(), plan.port, plan.cluster_ip, plan.external_ips.clone(), plan.node_port)
        };
        let same_places = old.len() == new.len()
            && old.iter().zip(&new).all(|(old, new)| arrives(old) == arrives(new));
        !same_places
            || old.iter().zip(&new).any(|(old, new)| {
                old.serving.is_empty() != new.serving.is_empty()
                    || old.serving.iter().any(|endpoint| !new.serving.contains(endpoint))
            })
    }

    /// Whether a second look at flows is owed, which [`Rules::look_again`] does.
    pub fn owes_look(&self) -> bool {
        !self.late.is_empty()
    }

    /// Looks once more at flows that changes of some time ago concern.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn look_again(&mut self, now: Instant) -> Result<DeletedFlows, RulesError> {
        let mut stale = Stale::default();
        let is_due = |late: &mut Late| now.saturating_duration_since(late.since) >= LATE_LOOK;
        while let Some(late) = self.late.pop_front_if(is_due) {
            for name in &late.services {
                stale.is_now(self.services.ports_of(name));
            }
            stale.absorb(late.was);
        }
        stale.spare_none();
        self.forget(&stale)
    }

    /// Has the kernel forget stale flows; answers how many there were.
    fn forget(&mut self, stale: &Stale) -> Result<DeletedFlows, RulesError> {
        let mut deleted = DeletedFlows::new();
        if stale.is_empty() {
            return Ok(deleted);
        }
        let own = own_addresses();
        let is_local = |address: IpAddr| own.contains(&address);
        for family in stale.families() {
            let began = Instant::now();
            let mut flows = Vec::new();
            let filter =
                Filter { family: Some(family), protocol: Some(stale::UDP), translated: false };
            self.conntrack.list(&filter, |flow| {
                if stale.has(&flow, is_local) && !stale.may_be_answered(&flow) {
                    flows.push(flow);
                }
            })?;
            self.conntrack.delete(&flows)?;
            deleted.insert(family, Deletion { count: flows.len(), took: began.elapsed() });
        }
        Ok(deleted)
    }

    fn write(&mut self, transaction: &Transaction) -> Result<(), Error> {
        if transaction.is_empty() {
            return Ok(());
        }
        self.socket.commit(transaction)
    }

    /// Commits all of it at once or, on a kernel that does not see within one transaction that a
    /// chain is used no more, deletions of chains and sets in a second one.
    fn commit(&mut self, difference: &Transaction) -> Result<(), Error> {
        match self.socket.commit(difference) {
            Err(error) if error.errno() == Some(Errno::EBUSY) => {}
            outcome => return outcome,
        }
        let is_late = |index: usize| {
            let rest = &difference.steps[index + 1..];
            match &difference.steps[index] {
                Step::DeleteChain(name) => {
                    !rest.iter().any(|step| matches!(step, Step::AddChain(it) if it.name == *name))
                }
                Step::DeleteSet(name) => {
                    !rest.iter().any(|step| matches!(step, Step::AddSet(it) if it.name == *name))
                }
                _ => false,
            }
        };
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for (index, step) in difference.steps.iter().enumerate() {
            let part = if is_late(index) { &mut later } else { &mut now };
            part.push(step.clone());
        }
        self.socket.commit(&Transaction { steps: now })?;
        self.write(&Transaction { steps: later })
    }

    /// Removes our tables.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn teardown(&mut self) -> Result<(), Error> {
        self.socket.commit(&teardown())
    }
}

/// Steps that a message about a difference shows; more say no more.
const SHOWN_STEPS: usize = 50;

fn summary(difference: &Transaction) -> String {
    let count = difference.steps.len();
    let shown =
        Transaction { steps: difference.steps.iter().take(SHOWN_STEPS).map(shown).collect() };
    let mut text = String::new();
    for line in shown.to_string().lines() {
        let cut: String = line.chars().take(400).collect();
        text.push_str(&cut);
        text.push_str(if cut.len() < line.len() { " …\n" } else { "\n" });
    }
    if count > SHOWN_STEPS {
        text.push_str(&format!("and {} more\n", count - SHOWN_STEPS));
    }
    text
}

/// A step, with no more elements than are shown: writing out those of ten thousand services takes
/// as long as planning them.
fn shown(step: &Step) -> Step {
    match step {
        Step::AddElements(set, elements) => {
            Step::AddElements(set.clone(), elements.iter().take(SHOWN_STEPS).cloned().collect())
        }
        Step::DeleteElements(set, keys) => {
            Step::DeleteElements(set.clone(), keys.iter().take(SHOWN_STEPS).cloned().collect())
        }
        step => step.clone(),
    }
}

/// The addresses of this network namespace.
fn own_addresses() -> BTreeSet<IpAddr> {
    let interfaces = getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| interface.address);
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    addresses.filter_map(ip).collect()
}
