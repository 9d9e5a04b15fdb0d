// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeps the rules for services as the cluster's services and endpoints ask for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlab_api::event::EventKind;
use netlab_api::{EndpointSlice, ProxyMode, Service, Time};

use super::drift::FORWARDING_JOURNAL;
use super::names::Untold;
use super::{Input, Reconciler};
use crate::error::chain;
use crate::node::proxy::anchor::{Anchor, AnchorWish, anchored_networks};
use crate::node::proxy::announce::Announcer;
use crate::node::proxy::desired::ServiceName;
use crate::node::proxy::health::{HealthFacts, HealthPorts};
use crate::node::proxy::maps::base::BaseConfig;
use crate::node::proxy::metrics::Sync;
use crate::node::proxy::port::{NodeFacts, PortPlan};
use crate::node::rules::{DeletedFlows, Deletion, LATE_LOOK, Rules, base_config};

/// How long to rest after the kernel refused rules.
const REST: Duration = Duration::from_secs(1);
/// Why services may not work here.
const NOT_PROGRAMMED: &str = "ServicesNotProgrammed";

/// What is to become of the rules for services.
struct ServicesChange {
    mode: ProxyMode,
    config: BaseConfig,
    is_reconfigured: bool,
    /// The plans are those of all services.
    are_all: bool,
    /// The layout or the configuration is another.
    switches: bool,
    plans: BTreeMap<ServiceName, Vec<PortPlan>>,
}

impl Reconciler {
    /// Takes in all services there are.
    pub(super) fn take_services(
        &mut self,
        mode: ProxyMode,
        services: &[Arc<Service>],
        slices: &[Arc<EndpointSlice>],
    ) {
        self.proxy_mode = mode;
        let slices = slices.iter().map(Arc::as_ref);
        self.services.reset(services.iter().map(Arc::as_ref), slices);
        self.services_are_new = true;
    }

    /// What of this node decides which endpoints it uses.
    pub(super) fn note_place(&mut self) {
        let name = self.machine.options.name.clone();
        let zone = self.nodes.get(&name).and_then(|node| node.zone.clone());
        self.services.set_node(NodeFacts { name, zone });
    }

    /// The device and the routes by which packets to services get to the rules.
    pub(super) fn ensure_anchor(&mut self) {
        let config = self.machine.config();
        let networks = anchored_networks(&config, self.services.balancer_addresses());
        let wish = AnchorWish {
            networks,
            addresses: self.machine.names.plan().addresses.iter().copied().collect(),
            mtu: self.mtu,
        };
        let anchor = match &mut self.anchor {
            Some(anchor) => Ok(anchor),
            none => Anchor::open(&self.machine.netns).map(|anchor| none.insert(anchor)),
        };
        let done = anchor.and_then(|anchor| {
            let doubted = std::mem::take(&mut self.doubt_anchor);
            anchor.ensure(&wish)?;
            if doubted { anchor.repair() } else { Ok(Vec::new()) }
        });
        match done {
            Ok(missing) if missing.is_empty() => {}
            Ok(missing) => {
                let message = format!("Put back {}", missing.join(", "));
                tracing::warn!("{message}");
                self.machine.node_event(EventKind::Warning, "RoutesRepaired", message);
            }
            Err(error) => {
                let message = chain(&error);
                tracing::error!(error = %message, "packets to services may not find their rules");
                self.machine.node_event(EventKind::Warning, NOT_PROGRAMMED, message);
            }
        }
    }

    /// Tells neighbours on the uplink which addresses of load balancers are here, if these are
    /// others than last time; with `thorough` whatever they are.
    pub(super) fn announce(&mut self, thorough: bool) {
        let ready = self.nodes.values().filter(|node| node.ready).map(|node| node.name.as_str());
        let ready: Vec<&str> = ready.collect();
        let addresses = self.services.announced(&ready);
        let is_news = self.announced.as_ref() != Some(&addresses);
        if addresses.is_empty() && self.announcer.is_none() || !is_news && !thorough {
            return;
        }
        let journal = self.machine.options.state_dir.join(FORWARDING_JOURNAL);
        let announcer = match &mut self.announcer {
            Some(announcer) => Ok(announcer),
            none => Announcer::open(&self.machine.netns, &journal)
                .map(|announcer| none.insert(announcer)),
        };
        let node = &self.machine.options.name;
        match announcer.and_then(|announcer| announcer.ensure(&addresses)) {
            Ok(changes) => {
                self.announced = Some(addresses);
                let list = |all: &[std::net::IpAddr]| {
                    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                };
                if !changes.taken.is_empty() {
                    let message = format!("Node {node} announces {}", list(&changes.taken));
                    tracing::info!("{message}");
                    self.machine.node_event(EventKind::Normal, "Announced", message);
                    self.announce_later();
                }
                if !changes.released.is_empty() {
                    tracing::info!("this node announces {} no more", list(&changes.released));
                }
                if !changes.unplaced.is_empty() {
                    let message = format!(
                        "No link of node {node} leads to neighbours that could ask for {}",
                        list(&changes.unplaced)
                    );
                    tracing::warn!("{message}");
                }
            }
            Err(error) => {
                self.announced = None;
                let message = chain(&error);
                tracing::error!(error = %message, "addresses of load balancers are not announced");
                self.machine.node_event(EventKind::Warning, "NotAnnounced", message);
            }
        }
    }

    /// A frame may be lost: neighbours hear it a few times.
    pub(super) fn announce_again(&mut self) {
        let Some(announcer) = &mut self.announcer else { return };
        match announcer.tick() {
            Ok(true) => self.announce_later(),
            Ok(false) => {}
            Err(error) => tracing::warn!(error = %chain(&error), "neighbours were not told again"),
        }
    }

    /// Serves the ports where load balancers ask whether this node has endpoints.
    pub(super) async fn serve_health(&mut self) {
        let healthy = self.services_failure.is_none();
        let wish: BTreeMap<u16, HealthFacts> = self
            .services
            .health_checks()
            .map(|(port, (namespace, name), local_endpoints)| {
                let (namespace, name) = (namespace.clone(), name.clone());
                (port, HealthFacts { namespace, name, local_endpoints, proxy_healthy: healthy })
            })
            .collect();
        if wish.is_empty() && self.health.is_none() {
            return;
        }
        let ports = match &mut self.health {
            Some(ports) => Ok(ports),
            none => HealthPorts::open(&self.machine.netns).map(|ports| none.insert(ports)),
        };
        let errors = match ports {
            Ok(ports) => ports.wish(&wish).await,
            Err(error) => vec![error],
        };
        let failures: Vec<String> = errors.iter().map(|error| chain(error)).collect();
        for failure in failures.iter().filter(|it| !self.health_failures.contains(it)) {
            tracing::error!("{failure}");
            self.machine.node_event(EventKind::Warning, "HealthCheckPort", failure.clone());
        }
        self.health_failures = failures;
    }

    fn announce_later(&self) {
        self.later(REST, Input::Announce);
    }

    /// Takes in something after a while.
    fn later(&self, rest: Duration, what: Input) {
        let input = self.input.clone();
        tokio::spawn(async move {
            tokio::time::sleep(rest).await;
            // The loop ends only with the daemon.
            let _ = input.send(what);
        });
    }

    /// Deletes flows that a change of services left and that lead to nobody still.
    pub(super) fn look_at_flows(&mut self) {
        let Some(rules) = &mut self.rules else { return };
        match rules.look_again(Instant::now()) {
            Ok(flows) => self.count_flows(flows),
            Err(error) => {
                tracing::error!(error = %chain(&error), "stale flows of UDP may live on");
            }
        }
    }

    fn count_flows(&self, flows: DeletedFlows) {
        for (family, Deletion { count, took }) in flows {
            self.machine.proxy.deleted_flows(family, count as u64, took);
        }
    }

    /// Writes what changed of services.
    pub(super) async fn program_services(&mut self) {
        if let Some(change) = self.plan_services() {
            self.write_services(change, &mut || {});
        }
    }

    /// The same with all that names are made of: while the kernel takes the rules, another thread
    /// tells the zone. Not sooner, for all threads share one malloc: two of them that plan take
    /// longer than one after the other.
    pub(super) async fn program_all(&mut self, untold: Untold) {
        let mut tell = Some(self.telling(untold));
        let mut telling = None;
        let mut begin = || {
            if let Some(tell) = tell.take() {
                telling = Some(tell());
            }
        };
        if let Some(change) = self.plan_services() {
            self.write_services(change, &mut begin);
        }
        // Where there was nothing to write.
        begin();
        if let Some(telling) = telling {
            self.note_told(telling).await;
        }
    }

    /// What there is to write; nothing if nothing changed.
    fn plan_services(&mut self) -> Option<ServicesChange> {
        self.note_place();
        let in_use = self.rules.as_ref().map(Rules::services)?;
        let mode = self.proxy_mode;
        let config = base_config(&self.machine.config());
        let is_reconfigured = *in_use.config() != config;
        let are_all = std::mem::take(&mut self.services_are_new);
        let switches = in_use.mode() != mode || is_reconfigured;
        if !are_all && !switches && !self.services.is_dirty() && !self.retry_services {
            if self.services_failure.is_none() {
                self.machine.proxy.settled(self.seen.0);
            }
            return None;
        }
        self.retry_services = false;
        self.announced_is_stale = true;
        self.ensure_anchor();
        let plans = self.services.plan();
        // Many plans leave much memory behind that nobody uses.
        self.inputs_since_rest += plans.len();
        self.machine.proxy.planned(&plans, are_all);
        Some(ServicesChange { mode, config, is_reconfigured, are_all, switches, plans })
    }

    fn write_services(&mut self, change: ServicesChange, meanwhile: &mut dyn FnMut()) {
        let ServicesChange { mode, config, is_reconfigured, are_all, switches, plans } = change;
        let Some(rules) = &mut self.rules else { return };
        let proxy = &self.machine.proxy;
        let began = Instant::now();
        let families: Vec<_> = config.families().collect();
        if is_reconfigured {
            rules.set_config(config);
        }
        let written = if are_all {
            let set = rules.set_services_while(mode, plans, meanwhile);
            set.map(|(_, deleted)| (true, deleted))
        } else {
            let changed = rules.change_services(plans).map(|it| {
                if it.cleanup_failed {
                    proxy.cleanup_failed(&families);
                }
                (it.full, it.deleted_flows)
            });
            if switches { rules.set_mode(mode).and(changed) } else { changed }
        };
        match written {
            Ok((full, flows)) => {
                let now = Instant::now();
                let revision = self.seen.0;
                let sync = Sync { revision, families, took: now - began, full };
                proxy.programmed(&sync, now, Time::now());
                if rules.owes_look() {
                    self.later(LATE_LOOK, Input::LookAtFlows);
                }
                self.count_flows(flows);
                if self.services_failure.take().is_some() {
                    self.retell = true;
                    tracing::info!("the rules for services are programmed again");
                }
            }
            Err(error) => {
                let message = chain(&error);
                proxy.failed(&families, &message);
                tracing::error!(error = %message, "the rules for services are not programmed");
                if self.services_failure.as_ref() != Some(&message) {
                    let text = format!("The rules for services are not programmed: {message}");
                    self.machine.node_event(EventKind::Warning, NOT_PROGRAMMED, text);
                    self.services_failure = Some(message);
                }
                self.later(REST, Input::RetryServices);
            }
        }
    }
}
