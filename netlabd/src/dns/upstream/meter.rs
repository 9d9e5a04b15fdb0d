// SPDX-License-Identifier: GPL-3.0-or-later
//! What is counted here, told to whoever keeps the numbers.

use std::net::SocketAddr;
use std::time::Duration;

use crate::dns::record::Rcode;

/// A half of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheHalf {
    /// Answers with records.
    Success,
    /// Answers that there is no such name or data, and SERVFAIL.
    Denial,
}

/// Keeps the numbers of CoreDNS's plugins `cache` and `forward`. Called on the threads that answer:
/// it must not wait.
pub trait Meter: Send + Sync + 'static {
    /// The cache was asked: `coredns_cache_requests_total`, and `…_hits_total` or `…_misses_total`.
    fn cache_asked(&self, hit: Option<CacheHalf>) {
        let _ = hit;
    }
    /// So many answers are remembered: `coredns_cache_entries`.
    fn cache_entries(&self, half: CacheHalf, entries: usize) {
        let _ = (half, entries);
    }
    /// One was forgotten for another: `coredns_cache_evictions_total`.
    fn cache_evicted(&self, half: CacheHalf) {
        let _ = half;
    }
    /// Asked anew before it was forgotten: `coredns_cache_prefetch_total`.
    fn cache_prefetched(&self) {}
    /// An old answer was given: `coredns_cache_served_stale_total`.
    fn cache_served_stale(&self) {}
    /// An answer was not about what was asked: `coredns_cache_drops_total`.
    fn cache_dropped(&self) {}
    /// An upstream answered: `coredns_proxy_request_duration_seconds`.
    fn upstream_answered(&self, to: SocketAddr, rcode: Rcode, took: Duration) {
        let _ = (to, rcode, took);
    }
    /// A health check failed: `coredns_proxy_healthcheck_failures_total`.
    fn health_check_failed(&self, to: SocketAddr) {
        let _ = to;
    }
    /// All upstreams are down: `coredns_forward_healthcheck_broken_total`.
    fn all_down(&self) {}
    /// Refused for `max-concurrent`: `coredns_forward_max_concurrent_rejects_total`.
    fn too_many(&self) {}
    /// A connection was at hand, or not: `coredns_proxy_conn_cache_hits_total`, `…_misses_total`.
    fn connection(&self, to: SocketAddr, reused: bool) {
        let _ = (to, reused);
    }
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Uncounted;

impl Meter for Uncounted {}
