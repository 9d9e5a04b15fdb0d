// SPDX-License-Identifier: GPL-3.0-or-later
//! Metrics under CoreDNS's names, so that dashboards made for it work.
//!
//! A thread that answers has [`Counters`] of its own, which nobody else writes; they are summed when
//! somebody looks. What happens more rarely is counted in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::answered::AnsweredBy;
use super::log::{Protocol, Query};
use super::mnemonic::TYPES;

mod collect;

/// CoreDNS's labels of the one server that there is.
const SERVER: &str = "dns://:53";
const ZONE: &str = ".";

/// The first bucket of times, in microseconds; each next one is twice as wide.
const FIRST_MICROS: u64 = 250;
const TIMES: usize = 16;
/// Buckets of sizes.
const SIZES: [u64; 14] =
    [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000];
/// Names of codes; all others are the last.
const RCODES: usize = 24;
/// Who answers, as CoreDNS's plugins are called.
const PLUGINS: [&str; 5] = ["kubernetes", "hosts", "cache", "forward", ""];
const PROTOCOLS: [&str; 2] = ["udp", "tcp"];
const FAMILIES: [&str; 2] = ["1", "2"];
/// And one for all other types.
const KINDS: usize = TYPES.len() + 1;

type Count = AtomicU64;

fn zeros<const N: usize>() -> [Count; N] {
    std::array::from_fn(|_| Count::new(0))
}

/// Adds without the cost of an atomic addition: each of these has one writer.
fn add(count: &Count, by: u64) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// What one thread counts. Only that thread may call [`note`](Counters::note).
#[derive(Debug)]
pub struct Counters {
    requests: [[[Count; KINDS]; 2]; 2],
    responses: [[Count; RCODES + 1]; PLUGINS.len()],
    dnssec: Count,
    times: [Count; TIMES + 1],
    time_sum: Count,
    request_sizes: [([Count; SIZES.len() + 1], Count); 2],
    response_sizes: [([Count; SIZES.len() + 1], Count); 2],
}

impl Counters {
    fn new() -> Counters {
        let sizes = || std::array::from_fn(|_| (zeros(), Count::new(0)));
        Counters {
            requests: std::array::from_fn(|_| std::array::from_fn(|_| zeros())),
            responses: std::array::from_fn(|_| zeros()),
            dnssec: Count::new(0),
            times: zeros(),
            time_sum: Count::new(0),
            request_sizes: sizes(),
            response_sizes: sizes(),
        }
    }

    /// Counts a query that was answered.
    pub fn note<N>(&self, query: &Query<N>) {
        let protocol = usize::from(query.protocol == Protocol::Tcp);
        let family = usize::from(query.peer.ip().to_canonical().is_ipv6());
        let kind = TYPES.iter().position(|(kind, _)| *kind == query.kind);
        add(&self.requests[protocol][family][kind.unwrap_or(TYPES.len())], 1);
        let rcode = usize::from(query.rcode.0).min(RCODES);
        let plugin = match query.by {
            AnsweredBy::Zone => 0,
            AnsweredBy::Hosts => 1,
            AnsweredBy::Cache | AnsweredBy::Stale => 2,
            AnsweredBy::Upstream(_) => 3,
            AnsweredBy::Refused | AnsweredBy::Server => 4,
        };
        add(&self.responses[plugin][rcode], 1);
        if query.dnssec_ok {
            add(&self.dnssec, 1);
        }
        add(&self.times[time_bucket(query.took)], 1);
        add(&self.time_sum, u64::try_from(query.took.as_nanos()).unwrap_or(u64::MAX));
        for (sizes, size) in [
            (&self.request_sizes[protocol], query.size),
            (&self.response_sizes[protocol], query.response_size),
        ] {
            let size = u64::try_from(size).unwrap_or(u64::MAX);
            let bucket = SIZES.iter().position(|&bound| size <= bound).unwrap_or(SIZES.len());
            add(&sizes.0[bucket], 1);
            add(&sizes.1, size);
        }
    }

    /// Everything of `other` is added to this.
    fn absorb(&self, other: &Counters) {
        for (to, from) in self.all().zip(other.all()) {
            to.fetch_add(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn all(&self) -> impl Iterator<Item = &Count> {
        let sizes = self.request_sizes.iter().chain(&self.response_sizes);
        (self.requests.iter().flatten().flatten())
            .chain(self.responses.iter().flatten())
            .chain([&self.dnssec, &self.time_sum])
            .chain(&self.times)
            .chain(sizes.flat_map(|(counts, sum)| counts.iter().chain([sum])))
    }
}

fn time_bucket(took: Duration) -> usize {
    let mut bound = Duration::from_micros(FIRST_MICROS);
    for bucket in 0..TIMES {
        if took <= bound {
            return bucket;
        }
        bound *= 2;
    }
    TIMES
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    server: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    server: &'static str,
    zones: &'static str,
    view: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HalfLabels {
    server: &'static str,
    r#type: &'static str,
    zones: &'static str,
    view: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    server: &'static str,
    zone: &'static str,
    view: &'static str,
    name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    proxy_name: &'static str,
    to: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    proxy_name: &'static str,
    to: String,
    proto: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExchangeLabels {
    proxy_name: &'static str,
    to: String,
    rcode: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    hash: &'static str,
    value: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.00025, 2.0, 16))
}

mod rare;

/// All of CoreDNS's metrics.
#[derive(Debug)]
pub struct DnsMetrics {
    threads: Arc<Mutex<Threads>>,
    panics: Counter,
    plugins: Family<PluginLabels, Gauge>,
    cache_requests: Family<CacheLabels, Counter>,
    cache_misses: Family<CacheLabels, Counter>,
    cache_prefetches: Family<CacheLabels, Counter>,
    cache_stale: Family<CacheLabels, Counter>,
    cache_drops: Family<CacheLabels, Counter>,
    cache_hits: Family<HalfLabels, Counter>,
    cache_entries: Family<HalfLabels, Gauge>,
    cache_evictions: Family<HalfLabels, Counter>,
    forward_broken: Counter,
    forward_rejects: Counter,
    exchanges: Histograms<ExchangeLabels>,
    check_failures: Family<UpstreamLabels, Counter>,
    connection_hits: Family<ConnectionLabels, Counter>,
    connection_misses: Family<ConnectionLabels, Counter>,
    health: Histogram,
    health_failures: Counter,
    reload_failures: Counter,
    version: Family<VersionLabels, Gauge>,
    autopath: Family<ServerLabels, Counter>,
    hosts: Gauge,
}

/// Counters of threads that are, and the sum of those that were.
#[derive(Debug)]
struct Threads {
    alive: Vec<Arc<Counters>>,
    gone: Counters,
}

impl Threads {
    fn sum(&mut self) -> Counters {
        let gone = &self.gone;
        self.alive.retain(|counters| {
            // Held here alone: its thread is gone, and writes no more.
            let alone = Arc::strong_count(counters) == 1;
            if alone {
                gone.absorb(counters);
            }
            !alone
        });
        let sum = Counters::new();
        sum.absorb(&self.gone);
        self.alive.iter().for_each(|counters| sum.absorb(counters));
        sum
    }
}

fn lock(threads: &Mutex<Threads>) -> MutexGuard<'_, Threads> {
    threads.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for DnsMetrics {
    fn default() -> DnsMetrics {
        DnsMetrics::new()
    }
}

#[cfg(test)]
mod tests;
