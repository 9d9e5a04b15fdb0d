// SPDX-License-Identifier: GPL-3.0-or-later
//! What happens to a question, in CoreDNS's order: who may ask, rewrites, search paths, hosts, the
//! zone, what is remembered, and at last upstreams.
//!
//! ```text
//!  now:    may ask? ─► handler, if unusual ─► direct: loop? ─► hosts ─► zone ─► cache ─► answered
//!                         │ a rewrite or a search path fits      │ alias        │ not there
//!  later:  rewrite ─► search path ─► direct ─► alias ─► upstreams ◄┴─────────────┘
//!                                     └► zone not synced: wait until it is, or `startup-timeout`
//! ```
//!
//! A chain is made from one configuration and does not change: another configuration is another
//! chain. What lives longer (the zone, clients, numbers, the log) is shared by all.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use thiserror::Error;
use tokio::task::JoinHandle;

use super::answered::AnsweredBy;
use super::autopath;
use super::config::DnsConfig;
use super::errors::{ConsolidateError, ErrorLog};
use super::handler::{self, Unusual, write_error};
use super::hosts::{Hosts, HostsError};
use super::loadbalance::Shuffler;
use super::log::{LogLines, LogLinesError};
use super::message::{HEADER, Query, read_query, write_answer};
use super::name::Name;
use super::record::{Answer, Found, Question, Rcode, Record, RecordType};
use super::rewrite::{RewriteError, Rewriter};
use super::upstream::Upstreams;
use super::zone::{Direct, Zone};

pub mod clients;
mod compose;
mod notes;
mod refusals;
mod startup;
#[cfg(test)]
mod tests;
mod trace;
mod transfer;

pub use super::log::Protocol;
pub use clients::Clients;
pub use notes::Notes;
pub use trace::Traced;
pub use transfer::{Messages, Transfer};

use compose::{Join, is_nxdomain, joined, targets};
use notes::Asked;
use refusals::Refusals;
use startup::Startup;

/// HINFO (RFC 1035 section 3.3.2): how loops are looked for.
const HINFO: RecordType = RecordType(13);

/// Numbers chains, so that threads notice another one.
static CHAINS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What shuffles on this thread, and for which chain.
    static SHUFFLER: RefCell<Option<(u64, Shuffler)>> = const { RefCell::new(None) };
}

/// What comes of a question at once.
pub enum Step {
    /// The answer is written.
    Answered,
    /// There will be none.
    Silent,
    /// Others have to be asked.
    Later(Pending),
    /// A zone is to be sent. Only over TCP.
    Transfer(Transfer),
}

/// A question that waits.
pub struct Pending {
    query: Query,
    arrival: Arrival,
}

impl Pending {
    /// Who asks.
    pub fn peer(&self) -> SocketAddr {
        self.arrival.peer
    }
}

/// How and when a question came.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    peer: SocketAddr,
    protocol: Protocol,
    started: Instant,
    /// Bytes of the question.
    size: usize,
}

/// What a chain is made of.
pub struct Parts {
    /// The section `[dns]`, which was checked.
    pub config: Arc<DnsConfig>,
    /// The cluster's domain.
    pub domain: Name,
    /// The node's own search list, for search paths of pods.
    pub searches: Vec<Name>,
    /// When the daemon began to learn the cluster's names.
    pub started: Instant,
    /// Who may ask.
    pub clients: Arc<Clients>,
    /// The cluster's names.
    pub zone: Arc<RwLock<Zone>>,
    /// Who is asked for others.
    pub upstreams: Arc<Upstreams>,
    /// Where queries are noted.
    pub notes: Arc<Notes>,
}

/// The order of things for one configuration.
pub struct Chain {
    config: Arc<DnsConfig>,
    domain: Name,
    searches: Vec<Name>,
    clients: Arc<Clients>,
    zone: Arc<RwLock<Zone>>,
    upstreams: Arc<Upstreams>,
    notes: Arc<Notes>,
    hosts: Option<Hosts>,
    rewriter: Option<Rewriter>,
    startup: Startup,
    errors: Arc<ErrorLog>,
    lines: LogLines,
    /// Tells of failures that were counted.
    telling: JoinHandle<()>,
    refusals: Refusals,
    number: u64,
}

/// What of a configuration cannot be followed.
#[derive(Debug, Error)]
pub enum ChainError {
    /// In `dns.hosts`.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// In `dns.rewrite`.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// In `dns.errors`.
    #[error(transparent)]
    Errors(#[from] ConsolidateError),
    /// In `dns.log`.
    #[error(transparent)]
    Log(#[from] LogLinesError),
}

/// What was said without asking others.
enum Said {
    /// The response is written.
    By(AnsweredBy),
    /// The zone's is: SERVFAIL, as it may yet be told of the name.
    Unsynced,
    /// Nothing.
    Nothing,
}

/// A response, and how it came about.
struct Made {
    message: Vec<u8>,
    by: AnsweredBy,
    error: Option<String>,
}

impl Chain {
    /// The order of things for these parts. Must be called in a runtime.
    ///
    /// # Errors
    /// When the configuration was not checked, and something in it cannot be followed.
    pub fn new(parts: Parts) -> Result<Chain, ChainError> {
        let Parts { config, domain, searches, started, clients, zone, upstreams, notes } = parts;
        let hosts = Hosts::new(&config.hosts)?;
        notes.metrics.hosts_entries(hosts.len());
        let hosts = Some(hosts).filter(|hosts| !hosts.is_empty());
        let rewriter = Some(Rewriter::new(&config.rewrite)?).filter(|all| !all.is_empty());
        let errors = Arc::new(ErrorLog::new(&config.errors)?);
        let told = Arc::clone(&errors);
        Ok(Chain {
            hosts,
            rewriter,
            startup: Startup { end: started + config.startup_timeout },
            telling: tokio::spawn(async move { told.run().await }),
            errors,
            lines: LogLines::new(&config.log)?,
            config,
            domain,
            searches,
            clients,
            zone,
            upstreams,
            notes,
            refusals: Refusals::new(),
            number: CHAINS.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Answers a message if that needs nobody else: the response is then in `out`. Does not wait.
    pub fn now(
        &self,
        packet: &[u8],
        peer: SocketAddr,
        protocol: Protocol,
        started: Instant,
        out: &mut Vec<u8>,
    ) -> Step {
        let arrival = Arrival { peer, protocol, started, size: packet.len() };
        let query = read_query(packet);
        if !self.clients.may_ask(peer.ip(), &self.config.allow) {
            return self.stranger(packet, query.as_ref(), arrival, out);
        }
        match query {
            Some(query) if !is_transfer(query.question.kind) => self.begin(query, arrival, out),
            _ => self.unusual(packet, arrival, out),
        }
    }

    /// Answers what had to wait.
    pub async fn later(&self, pending: Pending) -> Vec<u8> {
        let Pending { query, arrival } = pending;
        let made = self.rewritten(&query, arrival).await;
        self.note(Asked::query(&query), arrival, &made.message, made.by, made.error.as_deref());
        made.message
    }

    /// Writes that too many wait already.
    pub fn overloaded(&self, pending: &Pending, out: &mut Vec<u8>) {
        self.notes.metrics.too_many();
        let limit = limit(&pending.query, pending.arrival.protocol);
        write_answer(&pending.query, &Answer::of(Rcode::SERVFAIL), false, limit, out);
        let error = Some("too many queries wait for upstreams");
        self.note(Asked::query(&pending.query), pending.arrival, out, AnsweredBy::Server, error);
    }

    /// Counts that answering panicked, and writes SERVFAIL; false when not even that can be said.
    pub fn panicked(&self, packet: &[u8], out: &mut Vec<u8>) -> bool {
        self.count_panic();
        write_error(packet, Rcode::SERVFAIL, out);
        !out.is_empty()
    }

    /// Counts that answering panicked.
    pub fn count_panic(&self) {
        self.notes.metrics.panicked();
    }

    fn stranger(
        &self,
        packet: &[u8],
        query: Option<&Query>,
        arrival: Arrival,
        out: &mut Vec<u8>,
    ) -> Step {
        let is_response = packet.get(2).is_none_or(|flags| flags & 0x80 != 0);
        if packet.len() < HEADER || is_response || !self.refusals.may_tell(arrival.started) {
            return Step::Silent;
        }
        let question = query.map(|query| &query.question);
        // An upstream that asks us back is to be found, also when it asks from where nobody may.
        let rcode = match question {
            Some(question) if self.is_loop(question) => Rcode::SERVFAIL,
            _ => Rcode::REFUSED,
        };
        write_error(packet, rcode, out);
        self.note(Asked::packet(packet), arrival, out, AnsweredBy::Refused, None);
        Step::Answered
    }

    fn unusual(&self, packet: &[u8], arrival: Arrival, out: &mut Vec<u8>) -> Step {
        match handler::read(packet, out) {
            Unusual::Silent => Step::Silent,
            Unusual::Refused(_) => {
                self.note(Asked::packet(packet), arrival, out, AnsweredBy::Server, None);
                Step::Answered
            }
            Unusual::Plain(query) => self.begin(query, arrival, out),
            Unusual::Notify(mut query) => {
                self.bound(&mut query);
                let limit = limit(&query, arrival.protocol);
                let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
                let by = match zone.answer_into(&query, limit, out) {
                    Direct::Answered | Direct::Unsynced => {
                        handler::as_notify(out);
                        AnsweredBy::Zone
                    }
                    Direct::Alias | Direct::Elsewhere => {
                        write_error(packet, Rcode::REFUSED, out);
                        AnsweredBy::Refused
                    }
                };
                drop(zone);
                self.note(Asked::query(&query), arrival, out, by, None);
                Step::Answered
            }
            Unusual::Transfer { query, serial } => {
                let to = &self.config.transfer.to;
                let may = arrival.protocol == Protocol::Tcp
                    && query.question.name == self.domain
                    && transfer::is_allowed(arrival.peer.ip(), to);
                let (rcode, by) = match may {
                    true if transfer::is_whole(&query, serial) => {
                        let zone = Arc::clone(&self.zone);
                        return Step::Transfer(Transfer { query, serial, zone });
                    }
                    // As CoreDNS says it.
                    true => (Rcode::SERVFAIL, AnsweredBy::Server),
                    false => (Rcode::REFUSED, AnsweredBy::Refused),
                };
                write_error(packet, rcode, out);
                self.note(Asked::query(&query), arrival, out, by, None);
                Step::Answered
            }
        }
    }

    fn begin(&self, mut query: Query, arrival: Arrival, out: &mut Vec<u8>) -> Step {
        self.bound(&mut query);
        let name = &query.question.name;
        let is_direct =
            self.rewriter.as_ref().is_none_or(|rewriter| rewriter.rewrite(name).is_none())
                && self.candidates(name, arrival.peer.ip()).is_empty();
        if is_direct {
            let limit = limit(&query, arrival.protocol);
            let by = match self.direct(&query, limit, arrival.started, out) {
                Said::By(by) => Some(by),
                Said::Unsynced if self.startup.is_over() => Some(AnsweredBy::Zone),
                Said::Unsynced | Said::Nothing => None,
            };
            if let Some(by) = by {
                self.note(Asked::query(&query), arrival, out, by, None);
                return Step::Answered;
            }
            out.clear();
        }
        Step::Later(Pending { query, arrival })
    }

    /// Lets the client take no more over UDP than is configured. As with CoreDNS's plugin
    /// `bufsize`, it is then told so, and upstreams are asked for no more.
    fn bound(&self, query: &mut Query) {
        if let (Some(bufsize), Some(edns)) = (self.config.bufsize, &mut query.edns) {
            edns.payload = edns.payload.min(bufsize);
        }
    }

    /// Answers what needs nobody else.
    fn direct(&self, query: &Query, limit: usize, now: Instant, out: &mut Vec<u8>) -> Said {
        out.clear();
        if self.is_loop(&query.question) {
            write_answer(query, &Answer::of(Rcode::SERVFAIL), false, limit, out);
            return Said::By(AnsweredBy::Server);
        }
        if let Some(answer) = self.hosts.as_ref().and_then(|hosts| hosts.answer(&query.question)) {
            write_answer(query, &answer, true, limit, out);
            self.shuffle(out);
            return Said::By(AnsweredBy::Hosts);
        }
        let found = {
            let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
            zone.answer_into(query, limit, out)
        };
        match found {
            Direct::Answered => {
                self.shuffle(out);
                Said::By(AnsweredBy::Zone)
            }
            Direct::Unsynced => Said::Unsynced,
            Direct::Alias => Said::Nothing,
            Direct::Elsewhere => match self.upstreams.cached(query, now, limit, out) {
                Some(by) => {
                    self.shuffle(out);
                    Said::By(by)
                }
                None => Said::Nothing,
            },
        }
    }

    /// Asks for the name that a rewrite makes of the one that was asked.
    async fn rewritten(&self, query: &Query, arrival: Arrival) -> Made {
        let name = &query.question.name;
        let Some(other) = self.rewriter.as_ref().and_then(|rewriter| rewriter.rewrite(name)) else {
            return self.searched(query, arrival).await;
        };
        let made = self.searched(&renamed(query, other.name.clone()), arrival).await;
        self.join(made, query, &other.name, Join::Rename(&other), arrival)
    }

    /// Asks for all names of the client's search path, so that it need not.
    async fn searched(&self, query: &Query, arrival: Arrival) -> Made {
        let mut first = None;
        for other in self.candidates(&query.question.name, arrival.peer.ip()) {
            // The first is the one asked for, and comes back as the client wrote it: it may believe
            // no other case.
            let is_asked = other == query.question.name;
            let asked = if is_asked { query.clone() } else { renamed(query, other.clone()) };
            let made = self.resolved(&asked, arrival).await;
            if !is_nxdomain(&made.message) {
                self.notes.metrics.autopath_found();
                if is_asked {
                    return made;
                }
                return self.join(made, query, &other, Join::Alias, arrival);
            }
            first.get_or_insert(made);
        }
        match first {
            // The client walks the rest of its path itself.
            Some(made) => made,
            None => self.resolved(query, arrival).await,
        }
    }

    /// Asks for one name, whoever has it.
    async fn resolved(&self, query: &Query, arrival: Arrival) -> Made {
        let mut message = Vec::new();
        let limit = limit(query, arrival.protocol);
        let mut said = self.direct(query, limit, Instant::now(), &mut message);
        if let Said::Unsynced = said {
            self.startup.wait(&self.zone).await;
            said = self.direct(query, limit, Instant::now(), &mut message);
        }
        match said {
            Said::By(by) => return Made { message, by, error: None },
            Said::Unsynced => return Made { message, by: AnsweredBy::Zone, error: None },
            Said::Nothing => {}
        }
        let found = {
            let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
            zone.answer(&query.question)
        };
        match found {
            // The zone changed just now.
            Found::Answer(answer) => {
                write_answer(query, &answer, true, limit, &mut message);
                self.shuffle(&mut message);
                Made { message, by: AnsweredBy::Zone, error: None }
            }
            Found::Alias { chain, target } => self.alias(query, chain, target, arrival).await,
            Found::Elsewhere => self.forwarded(query, arrival).await,
        }
    }

    /// Asks for the target of an alias. Its own answer does not matter to the alias: that exists.
    async fn alias(
        &self,
        query: &Query,
        chain: Vec<Record>,
        target: Name,
        arrival: Arrival,
    ) -> Made {
        let target = renamed(query, target);
        let mut message = Vec::new();
        let known = self.hosts.as_ref().and_then(|hosts| hosts.answer(&target.question));
        let (found, by, error) = if let Some(answer) = known {
            write_answer(&target, &answer, true, usize::from(u16::MAX), &mut message);
            (message, AnsweredBy::Hosts, None)
        } else {
            let limit = limit(&target, arrival.protocol);
            match self.upstreams.cached(&target, Instant::now(), limit, &mut message) {
                Some(by) => (message, by, None),
                None => {
                    let Made { message, by, error } = self.forwarded(&target, arrival).await;
                    (message, by, error)
                }
            }
        };
        let (records, is_cut) = targets(&found);
        let mut answer = Answer::of(Rcode::NOERROR);
        answer.answer = chain;
        answer.answer.extend(records);
        let mut message = Vec::new();
        write_answer(query, &answer, true, limit(query, arrival.protocol), &mut message);
        if is_cut && let Some(flags) = message.get_mut(2) {
            *flags |= 0x02;
        }
        self.shuffle(&mut message);
        Made { message, by, error }
    }

    async fn forwarded(&self, query: &Query, arrival: Arrival) -> Made {
        let over_tcp = arrival.protocol == Protocol::Tcp;
        let mut resolved = self.upstreams.resolve(query, over_tcp).await;
        self.shuffle(&mut resolved.message);
        Made { message: resolved.message, by: resolved.by, error: resolved.error }
    }

    fn join(
        &self,
        made: Made,
        query: &Query,
        other: &Name,
        how: Join<'_>,
        arrival: Arrival,
    ) -> Made {
        let limit = limit(query, arrival.protocol);
        let Made { message, by, error } = made;
        match joined(&message, query, how, limit) {
            Some(message) => Made { message, by, error },
            None => {
                let mut message = Vec::new();
                write_answer(query, &Answer::of(Rcode::SERVFAIL), false, limit, &mut message);
                let error = error.or_else(|| Some(format!("the answer for {other} is malformed")));
                Made { message, by: AnsweredBy::Server, error }
            }
        }
    }

    /// Names of the client's search path that end as `name` begins; none if it is not the first.
    fn candidates(&self, name: &Name, client: IpAddr) -> Vec<Name> {
        if !self.config.autopath.enabled {
            return Vec::new();
        }
        match self.clients.pod(client) {
            Some(pod) => autopath::candidates(name, &pod.namespace, &self.domain, &self.searches),
            None => Vec::new(),
        }
    }

    fn is_loop(&self, question: &Question) -> bool {
        question.kind == HINFO && self.upstreams.saw_loop_probe(question)
    }

    fn shuffle(&self, message: &mut [u8]) {
        if !self.config.loadbalance.enabled {
            return;
        }
        SHUFFLER.with_borrow_mut(|shuffler| {
            if shuffler.as_ref().is_none_or(|(number, _)| *number != self.number) {
                *shuffler = Some((self.number, Shuffler::new(&self.config.loadbalance)));
            }
            if let Some((_, shuffler)) = shuffler {
                shuffler.shuffle_wire(message);
            }
        });
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.telling.abort();
        self.errors.flush();
    }
}

/// Bytes that the response to a query may have.
fn limit(query: &Query, protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => usize::from(u16::MAX),
        Protocol::Udp => query.udp_limit(),
    }
}

fn is_transfer(kind: RecordType) -> bool {
    [RecordType::AXFR, RecordType::IXFR].contains(&kind)
}

/// The same query for another name.
fn renamed(query: &Query, name: Name) -> Query {
    let mut renamed = query.clone();
    renamed.question.name = name;
    renamed
}
