// SPDX-License-Identifier: GPL-3.0-or-later
//! The loop that owns all that is known of this node's pods.
//!
//! ```text
//!              ┌────────────── advance ──────────────┐
//!   wanted ──► link claimed ──► process starting ──► alive ──┐ PID 1 ended unasked
//!                  ▲                                         │
//!                  └─────────────────────────────────────────┘
//!   deleted ──► drained ──► terminated ──► processes gone ──► removal ──► forgotten
//! ```
//!
//! Inputs change entries; [`Reconciler::settle`] then looks at the entries that were touched and
//! does what they lack, all links in one batch. `advance` asks only how an entry is, never which
//! input made it so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlab_api::event::EventKind;
use netlab_api::view::{
    PodName, ProgrammedReport, Routing, ViewChange, ViewEvent, ViewNames, ViewNode,
};
use netlab_api::{Pod, ProxyMode, Time};
use netlab_link::{IfIndex, PodLinkId};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::follow;
use super::hosts::{HostsEntry, plan_hosts};
use super::machine::{Machine, MachineError};
use super::network::apply::Wanted;
use super::network::fabric::Fabric;
use super::network::record::{record_path, recorded_link};
use super::network::{NetworkError, netns_dir};
use super::pod::PodProcess;
use super::pod::report::pod_status;
use super::pod::watcher::{Heard, Watcher};
use super::proxy::anchor::Anchor;
use super::proxy::announce::Announcer;
use super::proxy::health::HealthPorts;
use super::proxy::view::Services;
use super::removal::{self, Removal, Removed};
use super::rules::Rules;
use crate::control::cluster::PodIdentity;
use crate::error::chain;
use crate::store::Revision;
use drain::Drains;
use entry::{Entry, Process};
use probes::ProbeResult;

mod adopt;
mod drain;
pub(crate) mod drift;
mod entry;
mod fabric;
mod names;
mod probes;
mod services;
mod start;

/// A full look at the node's links at least this often, whatever the monitors say.
const RESYNC: Duration = Duration::from_secs(30);

/// A full look may take one part in this of the time: with thousands of pods it comes less often,
/// for the monitors hear of nearly everything anyway.
const RESYNC_SHARE: u32 = 3000;

/// Pods whose processes are being started at once. More only wait for the kernel's locks.
const STARTERS: usize = 4;

/// Inputs that are taken in before the loop acts on them together.
const ROUND: usize = 1024;

/// Links that are claimed at once. Each takes about a millisecond once the pool is empty.
const CLAIMS: usize = 32;

/// So many inputs leave memory behind that is worth giving back.
const BURST: usize = 100;

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// The cluster is followed, perhaps again: it has to hear how this node is.
    Attached,
    /// What concerns this node in the cluster.
    View(ViewEvent),
    /// A PID 1 was started, or could not be.
    Started { uid: String, result: Result<PodProcess, String> },
    /// Something was heard of a PID 1.
    Heard(Heard),
    /// A pod's processes and links are gone, or not quite.
    Removed(Removed),
    /// A probe has an answer.
    Probed(ProbeResult),
    /// Something went or changed in the kernel.
    Drift(netlab_link::Event),
    /// Our rules were changed by somebody else.
    Rules(netlab_nft::Event),
    /// Time to listen to who changes our rules.
    ListenToRules,
    /// Time to look at a pod again.
    Look { uid: String },
    /// All nodes know of the pods that were deleted then, or need not be waited for any longer.
    Drained { deleted_at: Revision },
    /// Time to try again what failed between nodes.
    RetryFabric,
    /// Time to try again what failed of services.
    RetryServices,
    /// Time to look once more at flows that a change left.
    LookAtFlows,
    /// Time to tell neighbours once more.
    Announce,
}

/// The loop, and all that it knows.
pub struct Reconciler {
    machine: Arc<Machine>,
    inputs: mpsc::UnboundedReceiver<Input>,
    input: mpsc::UnboundedSender<Input>,
    watcher: Watcher,
    removals: mpsc::UnboundedSender<Removal>,
    starters: Arc<Semaphore>,
    rules: Option<Rules>,
    /// It is heard when somebody else changes them.
    hears_rules: bool,
    /// Pods of this node, by uid. Boxed: an entry is large, and a table keeps its empty places, more
    /// than half of them after it grew, for as long as it lives.
    entries: HashMap<String, Box<Entry>>,
    /// Where the nodes are, this one too, by name.
    nodes: BTreeMap<String, ViewNode>,
    /// How blocks of other nodes are reached.
    routing: Routing,
    /// The ways to them.
    fabric: Option<Fabric>,
    /// Nodes or routing have changed since the fabric was told.
    fabric_is_stale: bool,
    /// Somebody may have taken something away from the fabric.
    doubt_fabric: bool,
    /// Why the fabric is not as it must be, if it is not.
    fabric_failure: Option<String>,
    /// It is going to be tried again.
    retries_fabric: bool,
    /// What the fabric cannot do, as it was last told.
    problems: Vec<String>,
    /// Services, as far as the cluster told of them.
    services: Services,
    /// The layout that their rules are to have.
    proxy_mode: ProxyMode,
    /// The services were told anew, all of them.
    services_are_new: bool,
    /// Why the rules for services are not as they must be, if they are not.
    services_failure: Option<String>,
    /// They are to be tried again.
    retry_services: bool,
    /// What the zone was told.
    told: names::Told,
    /// The cluster tells of pods in all namespaces.
    knows_all_pods: bool,
    /// The device that routes to services lead to.
    anchor: Option<Anchor>,
    /// Somebody may have taken something away from it.
    doubt_anchor: bool,
    /// Where load balancers ask whether this node has endpoints, once there are such.
    health: Option<HealthPorts>,
    /// Ports of these that cannot be had, as it was last told.
    health_failures: Vec<String>,
    /// What tells neighbours of load balancers' addresses, once there are some.
    announcer: Option<Announcer>,
    /// What it announces, if that is known.
    announced: Option<BTreeSet<IpAddr>>,
    /// Nodes, services or endpoints have changed since it was told.
    announced_is_stale: bool,
    /// MTU of pod links.
    mtu: u32,
    /// Pods of this node's namespaces that have addresses, by namespace and name.
    hosts: BTreeMap<String, BTreeMap<String, HostsEntry>>,
    /// Which pods are endpoints, and which wait for others to know that they go.
    drains: Drains,
    /// Namespaces whose hosts file may have to be written.
    stale_hosts: BTreeSet<String>,
    /// Uids that [`Reconciler::settle`] has to look at.
    touched: BTreeSet<String>,
    /// Which pod a link belongs to.
    by_index: HashMap<IfIndex, String>,
    /// Uids by the number of their namespace; filled when somebody asks.
    by_nsid: HashMap<i32, String>,
    /// Uids whose link must be compared with the kernel.
    drifted: BTreeSet<String>,
    /// When the first of them was noted.
    drifted_since: Option<tokio::time::Instant>,
    /// Links that have no alias yet.
    nameless: Vec<(IfIndex, String)>,
    /// A start failed, perhaps because somebody unmounted the pin of the pod's namespace.
    doubt_pins: bool,
    /// Inputs since the last time when nothing happened.
    inputs_since_rest: usize,
    /// The newest revision that was taken in, and the newest that was reported.
    seen: Revision,
    reported: Option<Revision>,
    /// The cluster must be told anew how far the kernel is.
    retell: bool,
    /// Told once, when the first snapshot is programmed.
    synced: Option<oneshot::Sender<()>>,
}

impl Reconciler {
    /// Sets up the loop; nothing is changed in the kernel yet. `synced` is told when the first
    /// snapshot is programmed. To be called within the runtime.
    ///
    /// # Errors
    /// When the kernel grants no watches.
    pub fn new(
        machine: Arc<Machine>,
        synced: oneshot::Sender<()>,
    ) -> Result<Reconciler, MachineError> {
        let (input, inputs) = mpsc::unbounded_channel();
        let heard = input.clone();
        let tell = move |what| heard.send(Input::Heard(what)).is_ok();
        let watcher = Watcher::start(&machine.runtime.status_dir(), tell)
            .map_err(|source| MachineError::Watch { source })?;
        let (removals, wanted) = mpsc::unbounded_channel();
        let removed = input.clone();
        tokio::spawn(removal::work(machine.clone(), wanted, move |what| {
            // The loop ends only with the daemon.
            let _ = removed.send(Input::Removed(what));
        }));
        let name = machine.options.name.clone();
        tokio::spawn(machine.reports.clone().drain(name, machine.cluster.clone()));
        let mtu = machine.mtu;
        Ok(Reconciler {
            machine,
            inputs,
            input,
            watcher,
            removals,
            starters: Arc::new(Semaphore::new(STARTERS)),
            rules: None,
            hears_rules: false,
            entries: HashMap::new(),
            nodes: BTreeMap::new(),
            routing: Routing::default(),
            fabric: None,
            fabric_is_stale: false,
            doubt_fabric: false,
            fabric_failure: None,
            retries_fabric: false,
            problems: Vec::new(),
            services: Services::default(),
            proxy_mode: ProxyMode::default(),
            services_are_new: false,
            services_failure: None,
            retry_services: false,
            told: names::Told::default(),
            knows_all_pods: false,
            anchor: None,
            doubt_anchor: false,
            health: None,
            health_failures: Vec::new(),
            announcer: None,
            announced: None,
            announced_is_stale: false,
            mtu,
            hosts: BTreeMap::new(),
            drains: Drains::default(),
            stale_hosts: BTreeSet::new(),
            touched: BTreeSet::new(),
            by_index: HashMap::new(),
            by_nsid: HashMap::new(),
            drifted: BTreeSet::new(),
            drifted_since: None,
            nameless: Vec::new(),
            doubt_pins: false,
            inputs_since_rest: 0,
            seen: Revision::ZERO,
            reported: None,
            retell: false,
            synced: Some(synced),
        })
    }

    /// Runs until `stop` says true, or the kernel cannot be listened to any more.
    ///
    /// # Errors
    /// When the node's network cannot be watched or its rules not be written at the start.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), MachineError> {
        // Subscribe before the first look.
        self.listen_for_drift()?;
        self.ensure_rules(true, None).await?;
        tokio::spawn(follow::follow(self.machine.clone(), self.input.clone()));
        tokio::spawn(follow::beat(self.machine.clone()));
        let mut resync = tokio::time::interval_at(tokio::time::Instant::now() + RESYNC, RESYNC);
        resync.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut next_full_look = Instant::now() + RESYNC;
        let mut round = Vec::new();
        let mut plans = self.machine.names.plans();
        loop {
            tokio::select! {
                // Cancel-safe: nothing is taken out when another branch wins.
                count = self.inputs.recv_many(&mut round, ROUND) => {
                    if count == 0 {
                        return Ok(());
                    }
                    self.inputs_since_rest += count;
                    for input in round.drain(..) {
                        self.take(input).await?;
                    }
                }
                _ = resync.tick() => {
                    if Instant::now() >= next_full_look {
                        let began = Instant::now();
                        self.resync().await;
                        next_full_look = Instant::now() + RESYNC.max(began.elapsed() * RESYNC_SHARE);
                    }
                }
                // The sender lives in the machine.
                Ok(()) = plans.changed() => self.follow_names(),
                () = drift::pause(self.drifted_since) => self.mend_drift().await,
                () = drift::leisure(), if self.has_chores() => self.do_chores().await,
                () = std::future::ready(()), if !self.touched.is_empty() => {}
                () = told_to_stop(&mut stop) => return Ok(()),
            }
            self.settle().await;
        }
    }

    /// Whether there is something to do once nobody waits.
    fn has_chores(&self) -> bool {
        !self.nameless.is_empty() || self.inputs_since_rest >= BURST
    }

    async fn do_chores(&mut self) {
        if !self.nameless.is_empty() {
            self.name_links().await;
        }
        if std::mem::take(&mut self.inputs_since_rest) >= BURST {
            tokio::task::spawn_blocking(crate::memory::give_back);
        }
    }

    async fn take(&mut self, input: Input) -> Result<(), MachineError> {
        match input {
            Input::Attached => self.retell = true,
            Input::View(ViewEvent::Snapshot(snapshot)) => self.take_snapshot(*snapshot).await?,
            Input::View(ViewEvent::Changes(changes)) => {
                self.seen = Revision(changes.revision);
                changes.changes.into_iter().for_each(|change| self.take_change(change));
            }
            Input::View(ViewEvent::Ping | ViewEvent::Dial { .. }) => {}
            Input::Started { uid, result } => self.take_started(&uid, result),
            Input::Heard(Heard::Status { uid }) => self.take_status(&uid),
            Input::Heard(Heard::Ended { uid }) => self.take_end(&uid),
            Input::Heard(Heard::Missed) => {
                let uids: Vec<_> = self.entries.keys().cloned().collect();
                uids.iter().for_each(|uid| self.take_status(uid));
            }
            Input::Removed(removed) => self.take_removed(removed),
            Input::Probed(result) => self.take_probe(result),
            Input::Drift(event) => self.take_drift(event).await,
            Input::Rules(event) => self.take_rules(event).await,
            Input::ListenToRules => self.listen_to_rules().await?,
            Input::Drained { deleted_at } => self.take_drained(deleted_at),
            Input::Look { uid } => drop(self.touched.insert(uid)),
            Input::RetryServices => self.retry_services = true,
            Input::LookAtFlows => self.look_at_flows(),
            Input::Announce => self.announce_again(),
            Input::RetryFabric => {
                self.retries_fabric = false;
                self.fabric_is_stale = true;
            }
        }
        Ok(())
    }

    fn take_change(&mut self, change: ViewChange) {
        match change {
            ViewChange::Pod(pod) => self.take_pod(*pod),
            ViewChange::PodGone { namespace, name, uid } => {
                self.lose_pod(&PodIdentity { namespace, name, uid });
            }
            ViewChange::Names(names) => self.take_names(names),
            ViewChange::Name { namespace, pod } => self.note_hosts(&namespace, pod),
            ViewChange::NameGone { namespace, name } => self.forget_name(&namespace, &name),
            ViewChange::Node(node) => {
                self.nodes.insert(node.name.clone(), node);
                self.see_nodes();
                self.fabric_is_stale = true;
                self.announced_is_stale = true;
            }
            ViewChange::NodeGone { name } => {
                self.nodes.remove(&name);
                self.see_nodes();
                self.fabric_is_stale = true;
                self.announced_is_stale = true;
            }
            ViewChange::Routing(routing) => {
                self.routing = routing;
                self.fabric_is_stale = true;
            }
            ViewChange::ProxyMode(mode) => self.proxy_mode = mode,
            ViewChange::Settings(settings) => {
                self.machine.follow(&settings);
                // Also the routes to pools, of which rules know nothing.
                self.retry_services = true;
            }
            ViewChange::Dns(settings) => self.take_dns(&settings),
            ViewChange::Namespace { name } => self.name_namespace(name),
            ViewChange::NamespaceGone { name } => self.unname_namespace(&name),
            ViewChange::Service(service) => {
                self.name_service(&service);
                self.services.put(&service);
            }
            ViewChange::ServiceGone { namespace, name } => {
                self.unname_service(&namespace, &name);
                self.services.remove((namespace, name));
            }
            ViewChange::Slice(slice) => {
                self.name_slice(&slice);
                self.drains.see(&slice);
                self.services.put_slice(&slice);
            }
            ViewChange::SliceGone { namespace, name } => {
                self.unname_slice(&namespace, &name);
                self.drains.lose(&namespace, &name);
                self.services.remove_slice((namespace, name));
            }
        }
    }

    fn take_pod(&mut self, pod: Pod) {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let hostname = pod.spec.hostname.clone();
        let name = pod.metadata.name.clone();
        let addresses: Vec<IpAddr> = pod.ips().collect();
        self.machine.names.place(&namespace, &name, &addresses);
        self.note_hosts(
            &namespace,
            PodName {
                addresses,
                hostname: hostname.filter(|hostname| *hostname != name),
                subdomain: pod.spec.subdomain.clone(),
                name,
            },
        );
        let uid = pod.metadata.uid.clone();
        self.touched.insert(uid.clone());
        match self.entries.get_mut(&uid) {
            Some(entry) => entry.see(pod),
            None => {
                let mut entry = Entry::new(pod, Time::now());
                // The first look still needs what an earlier daemon said.
                if self.reported.is_some() {
                    entry.forget_status();
                }
                self.entries.insert(uid, Box::new(entry));
            }
        }
    }

    /// A pod's object is gone. Normally that is the end of a removal of ours.
    fn lose_pod(&mut self, pod: &PodIdentity) {
        self.forget_name(&pod.namespace, &pod.name);
        let uid = &pod.uid;
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let addresses: Vec<IpAddr> = entry.pod.ips().collect();
        self.machine.names.displace(&pod.namespace, &pod.name, &addresses);
        entry.is_object_gone = true;
        if entry.is_removed {
            self.entries.remove(uid);
            self.stale_hosts.insert(pod.namespace.clone());
        } else if !entry.removing {
            entry.pod.metadata.deletion_timestamp.get_or_insert_with(Time::now);
            entry.pod.metadata.deletion_grace_period_seconds = Some(0);
            self.touched.insert(uid.clone());
        }
    }

    /// Takes in who is in a namespace on other nodes; who is not named is not there.
    fn take_names(&mut self, names: ViewNames) {
        let ViewNames { namespace, pods } = names;
        let here: BTreeSet<&str> = self
            .entries
            .values()
            .filter(|entry| entry.pod.metadata.namespace.as_deref() == Some(&namespace))
            .map(|entry| entry.pod.metadata.name.as_str())
            .collect();
        if let Some(known) = self.hosts.get_mut(&namespace) {
            known.retain(|name, _| here.contains(name.as_str()));
        }
        let here: BTreeSet<String> = here.into_iter().map(str::to_owned).collect();
        let kept = here.iter().chain(pods.iter().map(|pod| &pod.name)).map(String::as_str);
        self.keep_pod_names(&namespace, &kept.collect());
        self.stale_hosts.insert(namespace.clone());
        for pod in pods {
            self.note_hosts(&namespace, pod);
        }
    }

    fn forget_name(&mut self, namespace: &str, name: &str) {
        self.unname_pod(namespace, name);
        if let Some(pods) = self.hosts.get_mut(namespace)
            && pods.remove(name).is_some()
        {
            self.stale_hosts.insert(namespace.to_owned());
        }
    }

    fn note_hosts(&mut self, namespace: &str, pod: PodName) {
        let PodName { addresses, hostname, subdomain, .. } = pod;
        let entry = HostsEntry { addresses, hostname, subdomain };
        if entry.addresses.is_empty() {
            return;
        }
        let pods = self.hosts.entry(namespace.to_owned()).or_default();
        if pods.get(&pod.name) != Some(&entry) {
            pods.insert(pod.name.clone(), entry.clone());
            self.name_pod(namespace, &pod.name, &entry.addresses);
            self.stale_hosts.insert(namespace.to_owned());
        }
    }

    /// Does what the touched entries lack, then tells how far this node is.
    async fn settle(&mut self) {
        if std::mem::take(&mut self.doubt_pins) {
            self.mend_names().await;
        }
        // Before the pods: none of them is told of before its way home is there.
        if std::mem::take(&mut self.fabric_is_stale) {
            self.ensure_fabric().await;
        }
        self.program_services().await;
        if std::mem::take(&mut self.announced_is_stale) {
            self.announce(false);
            self.serve_health().await;
        }
        let touched = std::mem::take(&mut self.touched);
        let mut claims: Vec<_> =
            touched.iter().filter(|uid| self.wants_link(uid)).cloned().collect();
        // The others in the next round, so that processes start meanwhile and nobody waits long.
        self.touched.extend(claims.drain(claims.len().min(CLAIMS)..));
        self.claim_links(&claims).await;
        // Before the processes: a command may look up its neighbours at once.
        self.write_hosts().await;
        for uid in &touched {
            self.advance(uid);
            self.report(uid);
        }
        self.report_programmed();
    }

    fn wants_link(&self, uid: &str) -> bool {
        let Some(entry) = self.entries.get(uid) else { return false };
        entry.link.is_none()
            && !entry.removing
            && entry.pod.metadata.deletion_timestamp.is_none()
            && entry.may_try(Instant::now())
    }

    async fn claim_links(&mut self, uids: &[String]) {
        if uids.is_empty() {
            return;
        }
        let wanted: Vec<Wanted> =
            uids.iter().filter_map(|uid| Some(self.entries.get(uid)?.wanted())).collect();
        let claimed = self.machine.with_network(move |network| network.claim(&wanted)).await;
        for (uid, claimed) in uids.iter().zip(claimed) {
            match claimed {
                Ok(link) => self.set_link(uid, link),
                Err(error) => self.link_failed(uid, &error),
            }
        }
    }

    fn set_link(&mut self, uid: &str, link: netlab_link::PodLink) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if let Some(before) = entry.link {
            self.by_index.remove(&before.host_index);
        }
        let dir = netns_dir(&self.machine.options.run_dir);
        let netns = record_path(&dir, &entry.full_name());
        entry.set_link(link, netns.display().to_string());
        self.by_index.insert(link.host_index, uid.to_owned());
        self.nameless.push((link.host_index, entry.full_name()));
    }

    fn link_failed(&mut self, uid: &str, error: &NetworkError) {
        let message = chain(error);
        tracing::error!(uid, error = %message, "a pod has no network");
        self.fail(uid, "FailedCreatePodSandBox", message);
    }

    /// Notes why a pod is not as it should be, and looks again later.
    fn fail(&mut self, uid: &str, reason: &str, message: String) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        self.machine.pod_event(&entry.pod, EventKind::Warning, reason, message.clone());
        let rest = entry.fail(reason, message, Instant::now());
        self.look_after(uid, rest);
        self.report(uid);
    }

    /// Looks at a pod again after a while.
    fn look_after(&self, uid: &str, rest: Duration) {
        let (input, uid) = (self.input.clone(), uid.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(rest).await;
            // The loop ends only with the daemon.
            let _ = input.send(Input::Look { uid });
        });
    }

    /// Takes a pod one step on, if it can go.
    fn advance(&mut self, uid: &str) {
        let Some(entry) = self.entries.get(uid) else { return };
        if entry.removing {
            return;
        }
        if entry.pod.metadata.deletion_timestamp.is_some() {
            self.advance_to_removal(uid);
        } else if entry.link.is_some()
            && entry.process == Process::None
            && entry.may_try(Instant::now())
        {
            self.start_process(uid);
        }
    }

    fn advance_to_removal(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        match entry.process {
            // Its end, or its start, comes as an input.
            Process::Starting => {}
            Process::Alive => self.terminate(uid),
            Process::None | Process::Ended => {
                // A removal that failed rests like everything else.
                if !entry.may_try(Instant::now()) {
                    return;
                }
                entry.removing = true;
                entry.stop_probes();
                // A link that was never finished, or given up, still has its record.
                let dir = netns_dir(&self.machine.options.run_dir);
                let link = entry.link.map(|link| link.id);
                let link = link.or_else(|| recorded_link(&dir, &entry.full_name()));
                let pod = entry.identity();
                let is_object_gone = entry.is_object_gone;
                if let Some(link) = entry.link {
                    self.by_index.remove(&link.host_index);
                }
                // The record is the name's: it may be that of a younger pod by now.
                let is_of_another = |id: &PodLinkId| {
                    self.entries.iter().any(|(other, entry)| {
                        other != uid && entry.link.is_some_and(|link| link.id == *id)
                    })
                };
                let removal =
                    Removal { pod, link: link.filter(|id| !is_of_another(id)), is_object_gone };
                // The worker ends only with the daemon.
                let _ = self.removals.send(removal);
            }
        }
    }

    fn take_removed(&mut self, removed: Removed) {
        let uid = removed.pod.uid.clone();
        match removed.failure {
            None => {
                // Until its object is seen to go, news of the pod may still be on their way, and
                // must not look like those of a new one.
                match self.entries.get_mut(&uid) {
                    Some(entry) if !entry.is_object_gone => entry.is_removed = true,
                    _ => drop(self.entries.remove(&uid)),
                }
                self.stale_hosts.insert(removed.pod.namespace);
            }
            Some(message) => {
                tracing::warn!(%uid, error = %message, "a pod is not quite gone");
                if let Some(entry) = self.entries.get_mut(&uid) {
                    entry.removing = false;
                }
                self.fail(&uid, "FailedKillPod", message);
            }
        }
    }

    async fn write_hosts(&mut self) {
        if self.stale_hosts.is_empty() {
            return;
        }
        let local: BTreeSet<&str> =
            self.entries.values().filter_map(|e| e.pod.metadata.namespace.as_deref()).collect();
        let nobody = BTreeMap::new();
        let mut failed = BTreeSet::new();
        // Once nothing of a namespace is here, the cluster tells no more of it.
        self.hosts.retain(|namespace, _| local.contains(namespace.as_str()));
        let local: BTreeSet<String> = local.into_iter().map(str::to_owned).collect();
        if !self.knows_all_pods {
            self.keep_pod_namespaces(|namespace| local.contains(namespace));
        }
        for namespace in &self.stale_hosts {
            let written = if local.contains(namespace) {
                let pods = self.hosts.get(namespace).unwrap_or(&nobody);
                let domain = &self.machine.options.cluster.domain;
                self.machine.hosts.put(namespace, &plan_hosts(namespace, domain, pods))
            } else {
                self.machine.hosts.remove(namespace)
            };
            if let Err(error) = written {
                tracing::error!(namespace, %error, "failed to write the hosts file of pods");
                failed.insert(namespace.clone());
            }
        }
        self.stale_hosts = failed;
    }

    /// Tells the cluster what became of a pod, when that is news.
    fn report(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        // Before its process has started a pod says nothing but what failed: its link and its
        // process come in one write.
        let is_starting = matches!(entry.process, Process::None | Process::Starting);
        if is_starting && entry.facts.runtime.is_none() && entry.facts.failure.is_none() {
            return;
        }
        let status = pod_status(&entry.pod, &entry.facts);
        if entry.is_news(&status) {
            self.machine.reports.status(entry.identity(), status);
        }
    }

    /// Tells the cluster up to which revision the kernel is as it must be.
    fn report_programmed(&mut self) {
        let news = self.reported.is_some() && (self.retell || self.reported != Some(self.seen));
        if !news && self.synced.is_none() {
            return;
        }
        if self.reported.is_none() && self.seen == Revision::ZERO {
            // No snapshot yet.
            return;
        }
        if self.touched.iter().any(|uid| self.wants_link(uid)) {
            return;
        }
        let pods = self
            .entries
            .values()
            .filter(|entry| entry.link.is_none() && !entry.removing)
            .filter_map(|entry| {
                let (_, message) = entry.facts.failure.as_ref()?;
                Some(format!("pod/{}: {message}", entry.full_name()))
            });
        let node = &self.machine.options.name;
        let fabric = self.fabric_failure.iter().map(|message| format!("node/{node}: {message}"));
        let services = self.services_failure.iter();
        let services = services.map(|message| format!("node/{node}: services: {message}"));
        let failures = fabric.chain(services).chain(pods).collect();
        self.reported = Some(self.seen);
        self.retell = false;
        self.machine.reports.programmed(ProgrammedReport { revision: self.seen.0, failures });
        if let Some(synced) = self.synced.take() {
            // Nobody waits when the daemon is about to stop.
            let _ = synced.send(());
        }
    }
}

/// Waits until the daemon stops; a sender that is gone says the same.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Names a pod at this point of its life.
pub(crate) fn identity(pod: &Pod) -> PodIdentity {
    PodIdentity {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    }
}

/// Which link a pod's addresses ask for.
pub(crate) fn addresses_of(pod: &Pod) -> netlab_link::PodAddresses {
    let mut addresses = netlab_link::PodAddresses::default();
    for ip in pod.ips() {
        match ip {
            std::net::IpAddr::V4(ip) => addresses.v4 = Some(ip),
            std::net::IpAddr::V6(ip) => addresses.v6 = Some(ip),
        }
    }
    addresses
}

/// The links that records name, for those who need no more.
pub(crate) type Records = BTreeMap<String, PodLinkId>;
