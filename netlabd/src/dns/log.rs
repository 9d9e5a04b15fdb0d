// SPDX-License-Identifier: GPL-3.0-or-later
//! What was asked: the last queries of each thread that answers, those who follow, and the lines of
//! CoreDNS's plugin `log`.
//!
//! A thread that answers has a [`Writer`] of its own, so that noting a query waits for nobody (only
//! for a reader, who copies and goes) and allocates nothing: old entries are overwritten in place.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use smallvec::SmallVec;
use tokio::sync::broadcast;

use super::answered::AnsweredBy;
use super::name::Name;
use super::record::{Rcode, RecordType};

mod line;

pub use line::{Class, LogLines, LogLinesError};

/// So many queries are kept.
pub const KEPT: usize = 1000;

/// A follower may be so far behind.
const BEHIND: usize = 1024;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// In one packet.
    Udp,
    /// Over a connection.
    Tcp,
}

impl Protocol {
    /// `udp` or `tcp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        }
    }
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A query and what came of it; all but the name is small.
#[derive(Debug, Clone)]
pub struct Query<N> {
    /// When it came.
    pub time: SystemTime,
    /// Who asked.
    pub peer: SocketAddr,
    /// The pod that it is, if it is one.
    pub pod: Option<Arc<PodName>>,
    /// The query's number.
    pub id: u16,
    /// What was asked for.
    pub name: N,
    /// Of which type.
    pub kind: RecordType,
    /// Of which class.
    pub class: u16,
    /// How it came.
    pub protocol: Protocol,
    /// Bytes of the query.
    pub size: usize,
    /// Whether signatures were asked for.
    pub dnssec_ok: bool,
    /// How much the client takes over UDP; 0 without EDNS.
    pub payload: u16,
    /// The code of the response.
    pub rcode: Rcode,
    /// The response's flags: bytes 2 and 3 of its header.
    pub flags: u16,
    /// Whether it has no records that answer.
    pub empty: bool,
    /// Bytes of the response.
    pub response_size: usize,
    /// How long it took.
    pub took: Duration,
    /// Who answered.
    pub by: AnsweredBy,
}

/// A query as it is noted: its name lies elsewhere, in wire form.
pub type Noted<'a> = Query<&'a [u8]>;

/// A query as it is read.
pub type Entry = Query<Name>;

impl<N> Query<N> {
    fn with<M>(&self, name: M) -> Query<M> {
        Query {
            time: self.time,
            peer: self.peer,
            pod: self.pod.clone(),
            id: self.id,
            name,
            kind: self.kind,
            class: self.class,
            protocol: self.protocol,
            size: self.size,
            dnssec_ok: self.dnssec_ok,
            payload: self.payload,
            rcode: self.rcode,
            flags: self.flags,
            empty: self.empty,
            response_size: self.response_size,
            took: self.took,
            by: self.by,
        }
    }
}

impl<N: AsRef<[u8]>> Query<N> {
    /// With a name of its own. What is no name reads as the root.
    pub fn to_entry(&self) -> Entry {
        self.with(Name::from_wire(self.name.as_ref()).unwrap_or_else(|_| Name::root()))
    }
}

/// A name in wire form. Names of a cluster fit in place.
type NameBytes = SmallVec<[u8; 48]>;

/// The queries of one thread; the oldest is at `next` once there are [`KEPT`].
#[derive(Debug, Default)]
struct Ring {
    entries: Vec<Query<NameBytes>>,
    next: usize,
}

impl Ring {
    fn push(&mut self, query: &Noted<'_>) {
        if let Some(old) = self.entries.get_mut(self.next) {
            let mut name = std::mem::take(&mut old.name);
            name.clear();
            name.extend_from_slice(query.name);
            *old = query.with(name);
        } else {
            self.entries.push(query.with(NameBytes::from_slice(query.name)));
        }
        self.next = (self.next + 1) % KEPT;
    }
}

/// The queries of a node.
#[derive(Debug)]
pub struct QueryLog {
    rings: Mutex<Vec<Weak<Mutex<Ring>>>>,
    sender: broadcast::Sender<Arc<Entry>>,
    followers: AtomicUsize,
}

impl Default for QueryLog {
    fn default() -> QueryLog {
        QueryLog {
            rings: Mutex::default(),
            sender: broadcast::Sender::new(BEHIND),
            followers: AtomicUsize::new(0),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl QueryLog {
    /// One without queries.
    pub fn new() -> Arc<QueryLog> {
        Arc::default()
    }

    /// For one thread that answers. What it noted goes when it is dropped.
    pub fn writer(self: &Arc<QueryLog>) -> Writer {
        let ring = Arc::new(Mutex::default());
        let mut rings = lock(&self.rings);
        rings.retain(|ring| ring.strong_count() > 0);
        rings.push(Arc::downgrade(&ring));
        Writer { log: self.clone(), ring }
    }

    /// The last `count` queries, or as many as are kept, the oldest first.
    pub fn last(&self, count: usize) -> Vec<Entry> {
        self.last_of(count, |_| true)
    }

    /// The last `count` queries that are wanted; not more than are kept.
    pub fn last_of(&self, count: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let rings: Vec<_> = lock(&self.rings).iter().filter_map(Weak::upgrade).collect();
        let mut entries = Vec::new();
        for ring in rings {
            let ring = lock(&ring);
            let (newer, older) = ring.entries.split_at(ring.next.min(ring.entries.len()));
            entries.extend(older.iter().chain(newer).map(Query::to_entry));
        }
        entries.sort_by_key(|entry| entry.time);
        // Threads together keep more than the node promises.
        entries.drain(..entries.len().saturating_sub(KEPT));
        entries.retain(wanted);
        entries.drain(..entries.len().saturating_sub(count));
        entries
    }

    /// All queries from now on.
    pub fn follow(self: &Arc<QueryLog>) -> Follower {
        let receiver = self.sender.subscribe();
        self.followers.fetch_add(1, Ordering::Relaxed);
        Follower { log: self.clone(), receiver }
    }
}

/// Notes the queries of one thread.
#[derive(Debug)]
pub struct Writer {
    log: Arc<QueryLog>,
    ring: Arc<Mutex<Ring>>,
}

impl Writer {
    /// Notes one.
    pub fn note(&self, query: &Noted<'_>) {
        lock(&self.ring).push(query);
        if self.log.followers.load(Ordering::Relaxed) > 0 {
            // The last follower may be gone by now.
            let _ = self.log.sender.send(Arc::new(query.to_entry()));
        }
    }
}

/// Reads queries as they come.
#[derive(Debug)]
pub struct Follower {
    log: Arc<QueryLog>,
    receiver: broadcast::Receiver<Arc<Entry>>,
}

/// What a follower reads.
#[derive(Debug, Clone)]
pub enum Followed {
    /// A query.
    Query(Arc<Entry>),
    /// So many queries came faster than they were read, and are lost.
    Lost(u64),
}

impl Follower {
    /// The next query. Never ends by itself.
    pub async fn next(&mut self) -> Followed {
        match self.receiver.recv().await {
            Ok(entry) => Followed::Query(entry),
            Err(broadcast::error::RecvError::Lagged(lost)) => Followed::Lost(lost),
            // Cannot be: the log that sends is held here.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.log.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An address as CoreDNS writes it before a port.
fn bracketed(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests;
