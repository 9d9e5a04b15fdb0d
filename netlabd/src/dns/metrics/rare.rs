// SPDX-License-Identifier: GPL-3.0-or-later
//! What is counted in common, and the names of all.

use std::net::SocketAddr;

use super::{
    Arc, CacheLabels, ConnectionLabels, Counter, Counters, DnsMetrics, Duration, ExchangeLabels,
    Family, Gauge, HalfLabels, Histogram, Info, Mutex, PluginLabels, Registry, SERVER,
    ServerLabels, Threads, UpstreamLabels, VersionLabels, ZONE, collect, lock, times,
};
use crate::dns::record::Rcode;

const CACHE: CacheLabels = CacheLabels { server: SERVER, zones: ZONE, view: "" };

fn half(denial: bool) -> HalfLabels {
    let kind = if denial { "denial" } else { "success" };
    HalfLabels { server: SERVER, r#type: kind, zones: ZONE, view: "" }
}

fn upstream(to: SocketAddr) -> UpstreamLabels {
    UpstreamLabels { proxy_name: "forward", to: to.to_string() }
}

impl DnsMetrics {
    /// All at zero.
    pub fn new() -> DnsMetrics {
        let threads = Threads { alive: Vec::new(), gone: Counters::new() };
        DnsMetrics {
            threads: Arc::new(Mutex::new(threads)),
            panics: Counter::default(),
            plugins: Family::default(),
            cache_requests: Family::default(),
            cache_misses: Family::default(),
            cache_prefetches: Family::default(),
            cache_stale: Family::default(),
            cache_drops: Family::default(),
            cache_hits: Family::default(),
            cache_entries: Family::default(),
            cache_evictions: Family::default(),
            forward_broken: Counter::default(),
            forward_rejects: Counter::default(),
            exchanges: Family::new_with_constructor(times),
            check_failures: Family::default(),
            connection_hits: Family::default(),
            connection_misses: Family::default(),
            health: Histogram::new(super::exponential_buckets(0.00025, 10.0, 5)),
            health_failures: Counter::default(),
            reload_failures: Counter::default(),
            version: Family::default(),
            autopath: Family::default(),
            hosts: Gauge::default(),
        }
    }

    /// Counters for one thread that answers.
    pub fn counters(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::new());
        lock(&self.threads).alive.push(counters.clone());
        counters
    }

    /// Puts all of them into a registry without a prefix; `version` is the daemon's.
    pub fn register(&self, registry: &mut Registry, version: &str) {
        let registry = registry.sub_registry_with_prefix("coredns");
        registry.register_collector(Box::new(collect::Sum(self.threads.clone())));
        let build = Info::new(vec![("version", version.to_owned())]);
        registry.register("build", "What answers", build);
        registry.register("panics", "Panics", self.panics.clone());
        registry.register("plugin_enabled", "Whether a plugin is on", self.plugins.clone());
        registry.register(
            "cache_requests",
            "Queries asked of the cache",
            self.cache_requests.clone(),
        );
        registry.register(
            "cache_misses",
            "Queries that it could not answer",
            self.cache_misses.clone(),
        );
        registry.register("cache_hits", "Queries that it answered", self.cache_hits.clone());
        registry.register("cache_entries", "Answers that it has", self.cache_entries.clone());
        registry.register("cache_evictions", "Answers that gave way", self.cache_evictions.clone());
        registry.register(
            "cache_prefetch",
            "Answers asked anew in time",
            self.cache_prefetches.clone(),
        );
        registry.register("cache_served_stale", "Old answers given", self.cache_stale.clone());
        registry.register("cache_drops", "Answers to something else", self.cache_drops.clone());
        let broken = self.forward_broken.clone();
        registry.register("forward_healthcheck_broken", "Queries while all were down", broken);
        let rejects = self.forward_rejects.clone();
        registry.register("forward_max_concurrent_rejects", "Queries over the bound", rejects);
        let exchanges = self.exchanges.clone();
        registry.register("proxy_request_duration_seconds", "Time of upstreams", exchanges);
        let failures = self.check_failures.clone();
        registry.register("proxy_healthcheck_failures", "Health checks that failed", failures);
        let hits = self.connection_hits.clone();
        registry.register("proxy_conn_cache_hits", "Connections at hand", hits);
        let misses = self.connection_misses.clone();
        registry.register("proxy_conn_cache_misses", "Connections that were made", misses);
        let health = self.health.clone();
        registry.register("health_request_duration_seconds", "Time of the health page", health);
        let failures = self.health_failures.clone();
        registry.register("health_request_failures", "Failures of the health page", failures);
        registry.register("reload_failed", "Reloads that failed", self.reload_failures.clone());
        registry.register("reload_version_info", "The configuration in use", self.version.clone());
        registry.register("autopath_success", "Names found on a path", self.autopath.clone());
        registry.register("hosts_entries", "Entries of hosts", self.hosts.clone());
    }

    /// The plugins that are on, by CoreDNS's names.
    pub fn plugins(&self, names: impl IntoIterator<Item = &'static str>) {
        self.plugins.clear();
        for name in names {
            let labels = PluginLabels { server: SERVER, zone: ZONE, view: "", name };
            self.plugins.get_or_create(&labels).set(1);
        }
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// The cache was asked: `Some(denial)` when it knew.
    pub fn cache_asked(&self, hit: Option<bool>) {
        self.cache_requests.get_or_create(&CACHE).inc();
        match hit {
            Some(denial) => self.cache_hits.get_or_create(&half(denial)).inc(),
            None => self.cache_misses.get_or_create(&CACHE).inc(),
        };
    }

    /// So many answers are remembered.
    pub fn cache_entries(&self, denial: bool, entries: usize) {
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        self.cache_entries.get_or_create(&half(denial)).set(entries);
    }

    /// One answer gave way to another.
    pub fn cache_evicted(&self, denial: bool) {
        self.cache_evictions.get_or_create(&half(denial)).inc();
    }

    /// An answer was asked anew in time.
    pub fn cache_prefetched(&self) {
        self.cache_prefetches.get_or_create(&CACHE).inc();
    }

    /// An old answer was given.
    pub fn cache_served_stale(&self) {
        self.cache_stale.get_or_create(&CACHE).inc();
    }

    /// An answer was to something else.
    pub fn cache_dropped(&self) {
        self.cache_drops.get_or_create(&CACHE).inc();
    }

    /// An upstream answered.
    pub fn upstream_answered(&self, to: SocketAddr, rcode: Rcode, took: Duration) {
        let labels =
            ExchangeLabels { proxy_name: "forward", to: to.to_string(), rcode: rcode.to_string() };
        self.exchanges.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A health check failed.
    pub fn health_check_failed(&self, to: SocketAddr) {
        self.check_failures.get_or_create(&upstream(to)).inc();
    }

    /// A query came while all upstreams were down.
    pub fn all_down(&self) {
        self.forward_broken.inc();
    }

    /// A query was refused for `max-concurrent`.
    pub fn too_many(&self) {
        self.forward_rejects.inc();
    }

    /// A connection to an upstream was at hand, or made.
    pub fn connection(&self, to: SocketAddr, reused: bool) {
        let family = if reused { &self.connection_hits } else { &self.connection_misses };
        let labels = ConnectionLabels { proxy_name: "forward", to: to.to_string(), proto: "tcp" };
        family.get_or_create(&labels).inc();
    }

    /// The health page was looked at.
    pub fn health_polled(&self, took: Duration, ok: bool) {
        self.health.observe(took.as_secs_f64());
        if !ok {
            self.health_failures.inc();
        }
    }

    /// A reload failed; the old configuration runs on.
    pub fn reload_failed(&self) {
        self.reload_failures.inc();
    }

    /// The configuration that runs: the SHA-512 of its text, in hexadecimal digits.
    pub fn configured(&self, sha512: &str) {
        self.version.clear();
        let labels = VersionLabels { hash: "sha512", value: sha512.to_owned() };
        self.version.get_or_create(&labels).set(1);
    }

    /// A name was found on a search path.
    pub fn autopath_found(&self) {
        self.autopath.get_or_create(&ServerLabels { server: SERVER }).inc();
    }

    /// There are so many entries of hosts.
    pub fn hosts_entries(&self, entries: usize) {
        self.hosts.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }
}
