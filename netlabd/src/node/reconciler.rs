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
//! Inputs change entries; `Reconciler::settle` then looks at the entries that were touched and
//! does what they lack, all links in one batch. `advance` asks only how an entry is, never which
//! input made it so.
//!
//! This file is the loop and its memory; each noun that it deals with has a file below. Planning
//! and writing to the kernel are not here but in `network`, `proxy`, `rules` and `pod`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlab_api::ProxyMode;
use netlab_api::view::{Routing, ViewNode};
use netlab_link::IfIndex;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::follow;
use super::hosts::HostsEntry;
use super::machine::{Machine, MachineError};
use super::network::fabric::Fabric;
use super::pod::watcher::Watcher;
use super::proxy::anchor::Anchor;
use super::proxy::announce::Announcer;
use super::proxy::health::HealthPorts;
use super::proxy::view::Services;
use super::removal::{self, Removal};
use super::rules::Rules;
use crate::memory::Alike;
use crate::store::Revision;
use drain::Drains;
use entry::Entry;
pub(super) use input::Input;

mod adopt;
mod drain;
pub(crate) mod drift;
mod entry;
mod fabric;
mod hosts;
mod input;
mod lifecycle;
mod links;
mod names;
mod probes;
mod report;
mod seen;
mod services;
mod start;

/// A full look at the node's links at least this often, whatever the monitors say.
const RESYNC: Duration = Duration::from_secs(30);

/// A full look may take one part in this of a processor: with thousands of pods it comes less often,
/// for the monitors hear of nearly everything anyway.
const RESYNC_SHARE: u32 = 4000;

/// Pods whose processes are being started at once. More only wait for the kernel's locks.
const STARTERS: usize = 4;

/// Inputs that are taken in before the loop acts on them together.
const ROUND: usize = 1024;

/// Links that are claimed at once. Each takes about a millisecond once the pool is empty.
const CLAIMS: usize = 32;

/// So many inputs leave memory behind that is worth giving back.
const BURST: usize = 100;

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
    entries: HashMap<Arc<str>, Box<Entry>>,
    /// What pods of this node have alike.
    alike: Alike<seen::Common>,
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
    by_index: HashMap<IfIndex, Arc<str>>,
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
            alike: Alike::default(),
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
                        let began = processor_time();
                        self.resync().await;
                        let took = processor_time().saturating_sub(began);
                        next_full_look = Instant::now() + RESYNC.max(took * RESYNC_SHARE);
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
}

/// How long processors have worked for this process. A look that has to wait for them, because others
/// are busy, is not put off for that.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map(Duration::from)
        .expect("Linux has this clock since 2.6.12")
}

/// Waits until the daemon stops; a sender that is gone says the same.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
