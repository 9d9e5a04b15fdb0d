// SPDX-License-Identifier: GPL-3.0-or-later
//! Names that are not ours: others are asked, and what they say is remembered for a while.
//!
//! ```text
//!  query ─► cache ── fresh ─────────────────────────────────────► answer
//!             │ old ─► given all the same (serve-stale), asked anew behind it
//!             ▼
//!           groups whose zone has the name, the most specific first
//!             │        too many at a time ──────────────────────► REFUSED
//!             ▼
//!           the same question on its way? wait with it
//!             ▼
//!           upstreams of the group ─► code in `next`? ─► the next group
//! ```
//!
//! Options and defaults are CoreDNS's (`cache`, `forward`, `loop`). Sockets are opened in the
//! network namespace of the thread that polls: the daemon's, which is the node's.
//!
//! What this does not do: it knows nothing of the cluster's names, and does not listen.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::answered::AnsweredBy;
use super::config::{DnsConfig, RefreshMode};
use super::message::Query;
use super::name::Name;
use super::record::Question;

mod asked;
mod cache;
mod exchange;
mod flight;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod group;
mod member;
mod meter;
mod probe;
mod reply;
mod source;

pub use meter::{CacheHalf, Meter, Uncounted};
pub use source::Origin;
pub(crate) use source::{BEHIND_STUB, STUBS};

use asked::{Asked, SMALLEST_PAYLOAD};
use cache::{Cache, Hit, Kept};
use flight::{Flights, Outcome, Pilot, Waiting};
use group::{Group, GroupError};
use member::Shared;
use probe::Probes;
use reply::Form;

/// Most queries to upstreams at a time, each with a socket; more wait. Far below the descriptors
/// that the daemon may have, so that it can still serve its other work when upstreams are silent.
const SOCKETS: usize = 2048;

/// How long upstreams are waited for before an old answer is given (RFC 8767 section 5).
const STALE_PATIENCE: Duration = Duration::from_millis(1800);

/// Codes of responses that are made here.
const SERVFAIL: u8 = 2;
const REFUSED: u8 = 5;

/// All whom we ask, and what they said.
pub struct Upstreams {
    me: Weak<Upstreams>,
    /// The most specific zone first.
    groups: Vec<Arc<Group>>,
    cache: Option<Cache>,
    verify_stale: bool,
    flights: Arc<Flights>,
    probes: Arc<Probes>,
    shared: Shared,
}

/// An answer, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The response to the query, complete.
    pub message: Vec<u8>,
    /// Who said so.
    pub by: AnsweredBy,
    /// How long that took.
    pub took: Duration,
    /// Why there is no better answer, for the log of errors.
    pub error: Option<String>,
}

/// Whether an upstream is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamState {
    /// It is, as far as we know.
    Up,
    /// It did not answer health checks.
    Down,
    /// It sends queries back to us.
    Looping,
}

/// One upstream, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Names below this are asked for there.
    pub zone: Name,
    /// Where it is.
    pub address: SocketAddr,
    /// Where it is written.
    pub origin: Origin,
    /// Whether it is asked.
    pub state: UpstreamState,
}

impl Upstreams {
    /// Those of `config`. `own_addresses` are those at which we answer; files that name them as
    /// servers do not mean us. Must be called in a runtime, which then does the work. All of it ends
    /// when this is dropped; after a reload a new one is made, and looks for loops again.
    pub fn new(
        config: &DnsConfig,
        own_addresses: &[IpAddr],
        meter: Arc<dyn Meter>,
    ) -> Arc<Upstreams> {
        let shared = Shared {
            meter,
            sockets: Arc::new(Semaphore::new(SOCKETS)),
            runtime: tokio::runtime::Handle::current(),
        };
        let own: Vec<IpAddr> = own_addresses.iter().map(IpAddr::to_canonical).collect();
        let mut groups = Vec::with_capacity(config.stub.len() + 1);
        for (domain, settings) in &config.stub {
            let key = format!("dns.stub.\"{domain}\"");
            match domain.parse() {
                Ok(zone) => groups.push(Arc::new(Group::new(zone, key, settings, &own, &shared))),
                Err(error) => tracing::error!("`{key}` is left out: {error}"),
            }
        }
        groups.push(Arc::new(Group::new(
            Name::root(),
            "dns.forward".to_owned(),
            &config.forward,
            &own,
            &shared,
        )));
        // A stable sort: `[dns.forward]` comes behind a stub for all names.
        groups.sort_by_key(|group| std::cmp::Reverse(group.zone.labels().count()));
        let probes = Arc::new(Probes::default());
        let watched = groups.iter().map(Arc::downgrade).collect();
        let probing = config.loop_detection.enabled.then(|| Arc::clone(&probes));
        shared.runtime.spawn(probe::watch(watched, probing));
        let stale = &config.cache.serve_stale;
        Arc::new_cyclic(|me| Upstreams {
            me: me.clone(),
            groups,
            cache: Cache::new(&config.cache),
            verify_stale: stale.enabled && stale.refresh == RefreshMode::Verify,
            flights: Arc::default(),
            probes,
            shared,
        })
    }

    /// The response to `query` in at most `limit` bytes, if it is known at `now`. Does not wait.
    pub fn cached(
        &self,
        query: &Query,
        now: Instant,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Option<AnsweredBy> {
        let cache = self.cache.as_ref()?;
        let hit = cache.get(cache::Key::of(query), now, !self.verify_stale);
        self.shared.meter.cache_asked(hit.as_ref().map(|hit| hit.half));
        let hit = hit?;
        if hit.refresh {
            if !hit.stale {
                self.shared.meter.cache_prefetched();
            }
            if let Some(me) = self.me.upgrade() {
                me.begin(&Asked::of(query, false));
            }
        }
        Some(self.write_hit(query, &hit, limit, out))
    }

    fn write_hit(&self, query: &Query, hit: &Hit, limit: usize, out: &mut Vec<u8>) -> AnsweredBy {
        hit.reply.write(query, Form { ttl: Some(hit.ttl), authoritative: true }, limit, out);
        if hit.stale {
            self.shared.meter.cache_served_stale();
            return AnsweredBy::Stale;
        }
        AnsweredBy::Cache
    }

    /// Asks upstreams. Never fails: then the response is SERVFAIL or REFUSED, and the error is said.
    pub async fn resolve(&self, query: &Query, over_tcp: bool) -> Resolved {
        let begun = Instant::now();
        let limit = limit(query, over_tcp);
        let mut message = Vec::with_capacity(usize::from(SMALLEST_PAYLOAD));
        let (by, error) = self.answer(query, over_tcp, limit, &mut message).await;
        Resolved { message, by, took: begun.elapsed(), error }
    }

    async fn answer(
        &self,
        query: &Query,
        over_tcp: bool,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> (AnsweredBy, Option<String>) {
        let known = |stale| {
            let cache = self.cache.as_ref()?;
            cache.get(cache::Key::of(query), Instant::now(), stale)
        };
        // It may have come since the cache was asked.
        if let Some(hit) = known(false) {
            return (self.write_hit(query, &hit, limit, out), None);
        }
        let Some(group) = self.groups_of(&query.question.name).next() else {
            asked::write_failure(query, SERVFAIL, out);
            let error = format!(
                "no next plugin found: `dns.forward.except` leaves out `{}`, and no `dns.stub` has it",
                query.question.name
            );
            return (AnsweredBy::Server, Some(error));
        };
        let _running = match group.enter() {
            Ok(running) => running,
            Err(error) => {
                asked::write_failure(query, REFUSED, out);
                return (AnsweredBy::Refused, Some(error.to_string()));
            }
        };
        let Some(me) = self.me.upgrade() else {
            asked::write_failure(query, SERVFAIL, out);
            return (AnsweredBy::Server, None);
        };
        let outcome = flight::outcome(me.begin(&Asked::of(query, over_tcp)));
        let stale = if self.verify_stale { known(true) } else { None };
        let outcome = if let Some(hit) = stale {
            match tokio::time::timeout(STALE_PATIENCE, outcome).await {
                Ok(outcome @ Outcome::Reply(..)) if is_answer(&outcome) => outcome,
                _ => return (self.write_hit(query, &hit, limit, out), None),
            }
        } else {
            outcome.await
        };
        match outcome {
            Outcome::Reply(reply, from) => {
                let ttl = self.cache.as_ref().and_then(|cache| cache.ttl(&reply));
                reply.write(query, Form { ttl, authoritative: false }, limit, out);
                (AnsweredBy::Upstream(from), None)
            }
            Outcome::Refused(error) => {
                asked::write_failure(query, REFUSED, out);
                (AnsweredBy::Refused, Some(error))
            }
            Outcome::Failed(error) => {
                asked::write_failure(query, SERVFAIL, out);
                (AnsweredBy::Server, Some(error))
            }
        }
    }

    /// Whether this is a question by which we look for loops, so that an upstream asks us what we
    /// asked it. It should be answered SERVFAIL at once: to ask upstreams would go in circles.
    pub fn saw_loop_probe(&self, question: &Question) -> bool {
        self.probes.saw(question)
    }

    /// All upstreams, in the order of their groups.
    pub fn status(&self) -> Vec<UpstreamStatus> {
        let mut all = Vec::new();
        for group in &self.groups {
            for member in group.members().iter() {
                let state = match (member.is_looping(), member.is_down()) {
                    (true, _) => UpstreamState::Looping,
                    (false, true) => UpstreamState::Down,
                    (false, false) => UpstreamState::Up,
                };
                all.push(UpstreamStatus {
                    zone: group.zone.clone(),
                    address: member.address,
                    origin: member.origin.clone(),
                    state,
                });
            }
        }
        all
    }

    /// Those who are asked for `name`, the most specific first.
    fn groups_of(&self, name: &Name) -> impl Iterator<Item = &Group> {
        self.groups.iter().map(Arc::as_ref).filter(move |group| group.serves(name))
    }

    /// Sets `asked` on its way unless it is already.
    fn begin(self: Arc<Upstreams>, asked: &Asked) -> Waiting {
        let (waiting, pilot) = self.flights.join(asked);
        if let Some(pilot) = pilot {
            let asked = asked.clone();
            // A task of its own: others may wait for it when the first client is gone.
            self.shared.runtime.clone().spawn(async move { self.fly(&asked, pilot).await });
        }
        waiting
    }

    async fn fly(&self, asked: &Asked, pilot: Pilot) {
        let outcome = match self.ask(asked).await {
            Ok(answered) => {
                let reply = Arc::new(answered.reply);
                // Before those who wait are told, so that nobody who comes then asks again.
                self.remember(asked, &reply);
                Outcome::Reply(reply, answered.member.address)
            }
            Err(error @ GroupError::TooMany { .. }) => Outcome::Refused(error.to_string()),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        pilot.land(outcome);
    }

    async fn ask(&self, asked: &Asked) -> Result<group::Answered, GroupError> {
        let mut groups = self.groups_of(&asked.name).peekable();
        // Nothing is begun for a name that no group has.
        let mut group = groups.next().expect("BUG: a name without upstreams is asked for");
        let mut answered = group.ask(asked).await?;
        while group.next.contains(&answered.reply.rcode()) {
            let Some(next) = groups.next() else {
                break;
            };
            group = next;
            let _running = group.enter()?;
            answered = group.ask(asked).await?;
        }
        Ok(answered)
    }

    fn remember(&self, asked: &Asked, reply: &Arc<reply::Reply>) {
        // What is said to those who want no recursion, such as where to ask next, is no answer for
        // others.
        let Some(cache) = self.cache.as_ref().filter(|_| asked.recursion_desired) else {
            return;
        };
        let half = match cache.put(cache::Key::asked(asked), reply, Instant::now()) {
            Kept::In(half) => half,
            Kept::Instead(half) => {
                self.shared.meter.cache_evicted(half);
                half
            }
            Kept::Not => return,
        };
        self.shared.meter.cache_entries(half, cache.entries(half));
    }
}

/// Whether upstreams said something that replaces what is old (RFC 8767 section 4).
fn is_answer(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Reply(reply, _) if matches!(reply.rcode(), 0 | 3))
}

/// Bytes that the client takes.
fn limit(query: &Query, over_tcp: bool) -> usize {
    if over_tcp { usize::from(u16::MAX) } else { query.udp_limit() }
}

#[cfg(test)]
mod tests;
