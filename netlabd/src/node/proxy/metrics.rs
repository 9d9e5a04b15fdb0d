// SPDX-License-Identifier: GPL-3.0-or-later
//! How the programming of services goes: metrics under kube-proxy's names, and whether a change has
//! been waiting for too long.
//!
//! A change begins to wait when the node hears of it, not when the loop takes it up: a loop that is
//! stuck would never say so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netlab_api::view::{ViewChange, ViewEvent};
use netlab_api::{EndpointSlice, Time};
use netlab_nft::Family as IpFamily;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::desired::ServiceName;
use super::port::PortPlan;

/// A change that waits for longer means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// When the change happened that a slice tells of, as Kubernetes notes it.
const TRIGGER_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Times of one kind, by family.
type Durations = Family<FamilyLabel, Histogram, fn() -> Histogram>;

/// A number with a fraction.
type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabel {
    ip_family: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PolicyLabel {
    ip_family: &'static str,
    traffic_policy: &'static str,
}

fn name(family: IpFamily) -> &'static str {
    match family {
        IpFamily::Ip => "IPv4",
        IpFamily::Ip6 => "IPv6",
    }
}

fn label(family: IpFamily) -> FamilyLabel {
    FamilyLabel { ip_family: name(family) }
}

/// What was written, and how.
#[derive(Debug, Clone)]
pub struct Sync {
    /// The revision up to which the kernel has everything.
    pub revision: u64,
    /// The families that there are rules of.
    pub families: Vec<IpFamily>,
    /// How long it took. The families are written together.
    pub took: Duration,
    /// Whether everything was compared, or only the change was written.
    pub full: bool,
}

/// Metrics of the programming of services.
#[derive(Debug)]
pub struct ProxyMetrics {
    syncs: Durations,
    full_syncs: Durations,
    partial_syncs: Durations,
    programming: Durations,
    last_sync: Family<FamilyLabel, Seconds>,
    last_queued: Family<FamilyLabel, Seconds>,
    service_changes: Counter,
    endpoint_changes: Counter,
    service_changes_pending: Gauge,
    endpoint_changes_pending: Gauge,
    no_local_endpoints: Family<PolicyLabel, Gauge>,
    sync_failures: Family<FamilyLabel, Counter>,
    cleanup_failures: Family<FamilyLabel, Counter>,
    deleted_flows: Family<FamilyLabel, Counter>,
    flow_looks: Durations,
    /// A trigger older than this was no news to this daemon.
    began: Time,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Why the last attempt failed, if it did.
    failure: Option<String>,
    /// Ports without local endpoints that want such: of internal and of external policy.
    without_local: BTreeMap<ServiceName, BTreeMap<(IpFamily, &'static str), i64>>,
}

/// Changes that came in one message.
#[derive(Debug)]
struct Waiting {
    revision: u64,
    since: Instant,
    /// How long ago the cause was when the message came.
    age: Duration,
    services: i64,
    endpoints: i64,
}

impl State {
    /// Takes out what waited up to a revision.
    fn take(&mut self, revision: u64) -> Vec<Waiting> {
        let mut taken = Vec::new();
        while self.waiting.front().is_some_and(|first| first.revision <= revision) {
            taken.extend(self.waiting.pop_front());
        }
        taken
    }
}

impl ProxyMetrics {
    /// Nothing happened yet; `began` is when the daemon was started.
    pub fn new(began: Time) -> ProxyMetrics {
        let short: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let long: fn() -> Histogram = || {
            let steps = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5];
            let seconds = (1..60).chain((60..120).step_by(5)).chain((120..=300).step_by(30));
            Histogram::new(steps.into_iter().chain(seconds.map(f64::from)))
        };
        ProxyMetrics {
            syncs: Family::new_with_constructor(short),
            full_syncs: Family::new_with_constructor(short),
            partial_syncs: Family::new_with_constructor(short),
            programming: Family::new_with_constructor(long),
            last_sync: Family::default(),
            last_queued: Family::default(),
            service_changes: Counter::default(),
            endpoint_changes: Counter::default(),
            service_changes_pending: Gauge::default(),
            endpoint_changes_pending: Gauge::default(),
            no_local_endpoints: Family::default(),
            sync_failures: Family::default(),
            cleanup_failures: Family::default(),
            deleted_flows: Family::default(),
            flow_looks: Family::new_with_constructor(short),
            began,
            state: Mutex::default(),
        }
    }

    /// Makes them known to a registry without a prefix.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("kubeproxy");
        let mut times = |name: &str, help: &str, metric: &Durations| {
            registry.register(name, help, metric.clone());
        };
        times(
            "sync_proxy_rules_duration_seconds",
            "Time that it took to write rules for services",
            &self.syncs,
        );
        times(
            "sync_full_proxy_rules_duration_seconds",
            "The same, where all rules were compared",
            &self.full_syncs,
        );
        times(
            "sync_partial_proxy_rules_duration_seconds",
            "The same, where only the change was written",
            &self.partial_syncs,
        );
        times(
            "network_programming_duration_seconds",
            "Time from a change of services or endpoints until the kernel has it",
            &self.programming,
        );
        times(
            "conntrack_reconciler_sync_duration_seconds",
            "Time that it took to find flows whose endpoint is gone, and to delete them",
            &self.flow_looks,
        );
        let mut points = |name: &str, help: &str, metric: &Family<FamilyLabel, Seconds>| {
            registry.register(name, help, metric.clone());
        };
        points(
            "sync_proxy_rules_last_timestamp_seconds",
            "When rules for services were last written",
            &self.last_sync,
        );
        points(
            "sync_proxy_rules_last_queued_timestamp_seconds",
            "When a change of services or endpoints last came",
            &self.last_queued,
        );
        let mut count = |name: &str, help: &str, metric: &Counter| {
            registry.register(name, help, metric.clone());
        };
        count("sync_proxy_rules_service_changes", "Services that changed", &self.service_changes);
        count(
            "sync_proxy_rules_endpoint_changes",
            "Endpoint slices that changed",
            &self.endpoint_changes,
        );
        let mut level = |name: &str, help: &str, metric: &Gauge| {
            registry.register(name, help, metric.clone());
        };
        level(
            "sync_proxy_rules_service_changes_pending",
            "Changed services that the kernel does not have yet",
            &self.service_changes_pending,
        );
        level(
            "sync_proxy_rules_endpoint_changes_pending",
            "Changed endpoint slices that the kernel does not have yet",
            &self.endpoint_changes_pending,
        );
        registry.register(
            "sync_proxy_rules_no_local_endpoints_total",
            "Ports of services that want endpoints of this node and have them elsewhere only",
            self.no_local_endpoints.clone(),
        );
        let mut counts = |name: &str, help: &str, metric: &Family<FamilyLabel, Counter>| {
            registry.register(name, help, metric.clone());
        };
        counts(
            "sync_proxy_rules_nftables_sync_failures",
            "Times that the kernel refused rules for services",
            &self.sync_failures,
        );
        counts(
            "sync_proxy_rules_nftables_cleanup_failures",
            "Times that the kernel refused to have what is used no more taken away",
            &self.cleanup_failures,
        );
        counts(
            "conntrack_reconciler_deleted_entries",
            "Flows that were deleted since their endpoint is gone",
            &self.deleted_flows,
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something came from the cluster.
    pub fn received(&self, event: &ViewEvent, now: Instant, at: Time) {
        let (mut services, mut endpoints, mut triggers) = (0, 0, Vec::new());
        let mut is_layout = false;
        let revision = match event {
            ViewEvent::Snapshot(snapshot) => {
                services = snapshot.services.len() as i64;
                endpoints = snapshot.slices.len() as i64;
                snapshot.revision
            }
            ViewEvent::Changes(changes) => {
                for change in &changes.changes {
                    match change {
                        ViewChange::Service(_) | ViewChange::ServiceGone { .. } => services += 1,
                        ViewChange::SliceGone { .. } => endpoints += 1,
                        ViewChange::Slice(slice) => {
                            endpoints += 1;
                            triggers.extend(self.trigger(slice));
                        }
                        ViewChange::ProxyMode(_) | ViewChange::Settings(_) => is_layout = true,
                        _ => {}
                    }
                }
                changes.revision
            }
            ViewEvent::Ping | ViewEvent::Dial { .. } => return,
        };
        let is_whole = matches!(event, ViewEvent::Snapshot(_));
        if services == 0 && endpoints == 0 && !is_whole && !is_layout {
            return;
        }
        self.service_changes.inc_by(services as u64);
        self.endpoint_changes.inc_by(endpoints as u64);
        let age = triggers.into_iter().min().map_or(Duration::ZERO, |trigger| since(trigger, at));
        let mut state = self.state();
        if is_whole {
            // What came before is in it, and its revision may be an older one.
            state.waiting.clear();
        }
        state.waiting.push_back(Waiting { revision, since: now, age, services, endpoints });
        self.tell_pending(&state);
        for family in IpFamily::ALL {
            self.last_queued.get_or_create(&label(family)).set(seconds(at));
        }
    }

    fn trigger(&self, slice: &EndpointSlice) -> Option<Time> {
        let text = slice.metadata.annotations.get(TRIGGER_ANNOTATION)?;
        let trigger: jiff::Timestamp = text.parse().ok()?;
        Some(Time::from(trigger)).filter(|trigger| *trigger >= self.began)
    }

    fn tell_pending(&self, state: &State) {
        self.service_changes_pending.set(state.waiting.iter().map(|it| it.services).sum());
        self.endpoint_changes_pending.set(state.waiting.iter().map(|it| it.endpoints).sum());
    }

    /// What became of some services; of all, when nothing else is left of those before.
    pub fn planned(&self, services: &BTreeMap<ServiceName, Vec<PortPlan>>, are_all: bool) {
        let mut state = self.state();
        if are_all {
            state.without_local.clear();
        }
        for (service, plans) in services {
            let mut counts = BTreeMap::new();
            // Without any endpoint clients are refused, which is not the policy's doing.
            let elsewhere = |plan: &&PortPlan| plan.has_endpoints && plan.local.is_empty();
            for plan in plans.iter().filter(elsewhere) {
                let internal = plan.internal_local && plan.cluster_ip.is_some();
                let external = plan.external_local && plan.is_external();
                let wanted = [(internal, "internal"), (external, "external")];
                for (_, policy) in wanted.into_iter().filter(|(wants, _)| *wants) {
                    *counts.entry((plan.id.family, policy)).or_insert(0) += 1;
                }
            }
            match counts.is_empty() {
                true => state.without_local.remove(service),
                false => state.without_local.insert(service.clone(), counts),
            };
        }
        for family in IpFamily::ALL {
            for traffic_policy in ["internal", "external"] {
                let each = state.without_local.values();
                let count = each.filter_map(|it| it.get(&(family, traffic_policy))).sum();
                let label = PolicyLabel { ip_family: name(family), traffic_policy };
                self.no_local_endpoints.get_or_create(&label).set(count);
            }
        }
    }

    /// What came up to a revision changed nothing, as the end of a slice of no service.
    pub fn settled(&self, revision: u64) {
        let mut state = self.state();
        if state.take(revision).is_empty() {
            return;
        }
        self.tell_pending(&state);
    }

    /// The kernel has the rules.
    pub fn programmed(&self, sync: &Sync, now: Instant, at: Time) {
        let mut state = self.state();
        state.failure = None;
        let waited = |it: &Waiting| now.saturating_duration_since(it.since) + it.age;
        let took: Vec<Duration> = state.take(sync.revision).iter().map(waited).collect();
        self.tell_pending(&state);
        let kind = if sync.full { &self.full_syncs } else { &self.partial_syncs };
        for family in &sync.families {
            let label = label(*family);
            for times in [&self.syncs, kind] {
                times.get_or_create(&label).observe(sync.took.as_secs_f64());
            }
            let programming = self.programming.get_or_create(&label);
            took.iter().for_each(|took| programming.observe(took.as_secs_f64()));
            self.last_sync.get_or_create(&label).set(seconds(at));
        }
    }

    /// The kernel refused the rules.
    pub fn failed(&self, families: &[IpFamily], why: &str) {
        self.state().failure = Some(why.to_owned());
        families.iter().for_each(|family| {
            self.sync_failures.get_or_create(&label(*family)).inc();
        });
    }

    /// The kernel refused to have what is used no more taken away.
    pub fn cleanup_failed(&self, families: &[IpFamily]) {
        families.iter().for_each(|family| {
            self.cleanup_failures.get_or_create(&label(*family)).inc();
        });
    }

    /// Flows were looked for whose endpoint is gone, and deleted.
    pub fn deleted_flows(&self, family: IpFamily, count: u64, took: Duration) {
        self.deleted_flows.get_or_create(&label(family)).inc_by(count);
        self.flow_looks.get_or_create(&label(family)).observe(took.as_secs_f64());
    }

    /// Why services are not as they must be here, when they have not been for too long.
    pub fn stuck(&self, now: Instant) -> Option<String> {
        let state = self.state();
        let waits = now.saturating_duration_since(state.waiting.front()?.since);
        if waits <= PATIENCE {
            return None;
        }
        let why = state.failure.as_deref().unwrap_or("the node does not get to it");
        let seconds = waits.as_secs();
        Some(format!("a change of services has not been programmed for {seconds} s: {why}"))
    }
}

fn seconds(at: Time) -> f64 {
    at.timestamp().as_millisecond() as f64 / 1000.0
}

fn since(then: Time, now: Time) -> Duration {
    Duration::try_from_secs_f64(now.seconds_since(then)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
