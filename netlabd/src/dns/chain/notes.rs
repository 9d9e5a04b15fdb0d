// SPDX-License-Identifier: GPL-3.0-or-later
//! What is noted of each query: in the log of queries, in the daemon's log, in numbers. On the
//! threads that answer, so nothing here waits.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Arrival, Chain};
use crate::dns::answered::AnsweredBy;
use crate::dns::handler;
use crate::dns::log::{Noted, QueryLog, Writer};
use crate::dns::message::Query;
use crate::dns::metrics::{Counters, DnsMetrics};
use crate::dns::name::Name;
use crate::dns::record::{Rcode, RecordType};
use crate::dns::upstream::{CacheHalf, Meter};

thread_local! {
    /// What is this thread's.
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

/// A thread's part of the notes.
struct Own {
    /// Of these notes.
    notes: Arc<Notes>,
    writer: Writer,
    counters: Arc<Counters>,
}

/// Where queries are noted; the same for all chains of a daemon.
#[derive(Debug)]
pub struct Notes {
    /// The last queries, and who follows them.
    pub log: Arc<QueryLog>,
    /// CoreDNS's numbers.
    pub metrics: Arc<DnsMetrics>,
}

impl Notes {
    /// Without queries yet.
    pub fn new() -> Arc<Notes> {
        Arc::new(Notes { log: QueryLog::new(), metrics: Arc::new(DnsMetrics::new()) })
    }
}

/// Counts what upstreams and the cache do among CoreDNS's numbers.
impl Meter for DnsMetrics {
    fn cache_asked(&self, hit: Option<CacheHalf>) {
        self.cache_asked(hit.map(|half| half == CacheHalf::Denial));
    }
    fn cache_entries(&self, half: CacheHalf, entries: usize) {
        self.cache_entries(half == CacheHalf::Denial, entries);
    }
    fn cache_evicted(&self, half: CacheHalf) {
        self.cache_evicted(half == CacheHalf::Denial);
    }
    fn cache_prefetched(&self) {
        self.cache_prefetched();
    }
    fn cache_served_stale(&self) {
        self.cache_served_stale();
    }
    fn cache_dropped(&self) {
        self.cache_dropped();
    }
    fn upstream_answered(&self, to: SocketAddr, rcode: Rcode, took: Duration) {
        self.upstream_answered(to, rcode, took);
    }
    fn health_check_failed(&self, to: SocketAddr) {
        self.health_check_failed(to);
    }
    fn all_down(&self) {
        self.all_down();
    }
    fn too_many(&self) {
        self.too_many();
    }
    fn connection(&self, to: SocketAddr, reused: bool) {
        self.connection(to, reused);
    }
}

/// What was asked, as far as it could be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    id: u16,
    /// In wire form.
    name: &'a [u8],
    kind: RecordType,
    class: u16,
    dnssec_ok: bool,
    payload: u16,
}

impl<'a> Asked<'a> {
    pub(super) fn query(query: &'a Query) -> Asked<'a> {
        Asked {
            id: query.id,
            name: query.question.name.wire(),
            kind: query.question.kind,
            class: 1,
            dnssec_ok: query.edns.as_ref().is_some_and(|edns| edns.dnssec_ok),
            payload: query.edns.as_ref().map_or(0, |edns| edns.payload),
        }
    }

    pub(super) fn packet(packet: &'a [u8]) -> Asked<'a> {
        let id = packet.first_chunk().map_or(0, |&id| u16::from_be_bytes(id));
        let (name, kind, class) = handler::asked(packet).unwrap_or((&[0], RecordType(0), 1));
        Asked { id, name, kind, class, dnssec_ok: false, payload: 0 }
    }
}

impl Chain {
    /// Notes a query and its response.
    pub(super) fn note(
        &self,
        asked: Asked<'_>,
        arrival: Arrival,
        response: &[u8],
        by: AnsweredBy,
        error: Option<&str>,
    ) {
        let took = arrival.started.elapsed();
        let flags = response.get(2..4).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        // Only codes that are made here are beyond these bits, and those are never errors of names.
        let rcode = Rcode(flags & 0xf);
        let noted = Noted {
            time: SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH),
            peer: arrival.peer,
            pod: self.clients.pod(arrival.peer.ip()),
            id: asked.id,
            name: asked.name,
            kind: asked.kind,
            class: asked.class,
            protocol: arrival.protocol,
            size: arrival.size,
            dnssec_ok: asked.dnssec_ok,
            payload: asked.payload,
            rcode,
            flags,
            empty: response.get(6..8).is_none_or(|count| count == [0, 0]),
            response_size: response.len(),
            took,
            by,
        };
        OWN.with_borrow_mut(|own| {
            if own.as_ref().is_none_or(|own| !Arc::ptr_eq(&own.notes, &self.notes)) {
                *own = Some(Own {
                    notes: Arc::clone(&self.notes),
                    writer: self.notes.log.writer(),
                    counters: self.notes.metrics.counters(),
                });
            }
            if let Some(own) = own {
                own.writer.note(&noted);
                own.counters.note(&noted);
            }
        });
        if self.lines.is_on() {
            self.lines.write(&noted);
        }
        if let Some(error) = error {
            let name = Name::from_wire(asked.name).unwrap_or_else(|_| Name::root());
            self.errors.note(rcode, &name, asked.kind, error);
        }
    }
}
