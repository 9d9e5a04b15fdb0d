// SPDX-License-Identifier: GPL-3.0-or-later
//! How much strangers may cost: how many at once, how often, and how loudly. Pure.
//!
//! Whoever has not yet shown a certificate is a stranger, a node at the beginning of its
//! connection too. So strangers cannot be kept waiting for each other: when there are too many, a
//! newcomer pushes out the one who has dawdled longest, of the source that has most. A node needs
//! some milliseconds for its handshake; somebody idle waits in vain.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Strangers at once.
const STRANGERS: usize = 256;
/// Strangers at once from one source.
const STRANGERS_OF_SOURCE: usize = 64;
/// Sources of which is remembered how often they came.
const SOURCES: usize = 4096;
/// How long a source is known by a node that came from there.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// Handshakes at once, and how many a second after that: with a source that no node is known to
/// have, ...
const NEWCOMER: Rate = Rate { burst: 64.0, per_second: 16.0 };
/// ... with one of a node, ...
const ACQUAINTANCE: Rate = Rate { burst: 1024.0, per_second: 256.0 };
/// ... and with all that no node is known to have, together.
const NEWCOMERS: Rate = Rate { burst: 1024.0, per_second: 256.0 };
/// Wrong tokens of one source.
const WRONG_TOKENS: Rate = Rate { burst: 10.0, per_second: 0.1 };
/// Lines in the log about strangers of one kind.
const MESSAGES: Rate = Rate { burst: 10.0, per_second: 0.1 };

/// Where a connection comes from: an IPv4 address, or the network of an IPv6 address, of which
/// one machine has as many as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Source(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            address => Source(address),
        }
    }
}

/// How often something may be.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// A bucket that fills as time passes.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Bucket {
        Bucket { left: rate.burst, at: now }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate.per_second).min(rate.burst);
        self.at = now;
    }

    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        let takes = self.left >= 1.0;
        if takes {
            self.left -= 1.0;
        }
        takes
    }
}

/// What is known of a source.
#[derive(Debug)]
struct Known {
    handshakes: Bucket,
    wrong_tokens: Bucket,
    node_seen: Option<Instant>,
}

/// The strangers there are, and how often they come. `T` is what it takes to send one away.
#[derive(Debug)]
pub(super) struct Budget<T> {
    strangers: BTreeMap<u64, (Source, T)>,
    next: u64,
    sources: HashMap<Source, Known>,
    newcomers: Bucket,
}

/// A place among the strangers.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// To be given to [`Budget::leave`].
    pub(super) id: u64,
    /// Who has to go for it.
    pub(super) evicted: Option<T>,
}

impl<T> Budget<T> {
    pub(super) fn new(now: Instant) -> Budget<T> {
        Budget {
            strangers: BTreeMap::new(),
            next: 0,
            sources: HashMap::new(),
            newcomers: Bucket::full(NEWCOMERS, now),
        }
    }

    /// A connection comes, and may stay until others push it out.
    pub(super) fn enter(&mut self, source: Source, handle: T) -> Entry<T> {
        let evicted = self.make_room(source);
        let id = self.next;
        self.next += 1;
        self.strangers.insert(id, (source, handle));
        Entry { id, evicted }
    }

    /// A connection has sent something. Whether a handshake, which costs time, may be made of it.
    /// Asked no earlier: whoever is idle uses up nothing that others of its source would need.
    pub(super) fn may_shake_hands(&mut self, source: Source, now: Instant) -> bool {
        let Some(known) = self.known(source, now) else { return false };
        let is_newcomer =
            known.node_seen.is_none_or(|seen| now.saturating_duration_since(seen) > KNOWN_FOR);
        let rate = if is_newcomer { NEWCOMER } else { ACQUAINTANCE };
        known.handshakes.take(rate, now) && (!is_newcomer || self.newcomers.take(NEWCOMERS, now))
    }

    /// A stranger is gone, or none any more.
    pub(super) fn leave(&mut self, id: u64) {
        self.strangers.remove(&id);
    }

    /// A node showed its certificate.
    pub(super) fn recognise(&mut self, source: Source, now: Instant) {
        if let Some(known) = self.known(source, now) {
            known.node_seen = Some(now);
        }
    }

    /// Whether a source may show another token, after all that were wrong.
    pub(super) fn may_show_token(&mut self, source: Source, now: Instant) -> bool {
        self.known(source, now).is_some_and(|known| {
            known.wrong_tokens.fill(WRONG_TOKENS, now);
            known.wrong_tokens.left >= 1.0
        })
    }

    /// A source showed a wrong token.
    pub(super) fn wrong_token(&mut self, source: Source, now: Instant) {
        if let Some(known) = self.known(source, now) {
            known.wrong_tokens.take(WRONG_TOKENS, now);
        }
    }

    #[cfg(test)]
    fn count(&self, source: Source) -> usize {
        self.strangers.values().filter(|(other, _)| *other == source).count()
    }

    /// What is known of a source; `None` when there are too many to remember another.
    fn known(&mut self, source: Source, now: Instant) -> Option<&mut Known> {
        if !self.sources.contains_key(&source) && self.sources.len() >= SOURCES {
            // Those of which nothing need be remembered.
            self.sources.retain(|_, known| {
                known.handshakes.fill(NEWCOMER, now);
                known.wrong_tokens.fill(WRONG_TOKENS, now);
                known.handshakes.left < NEWCOMER.burst
                    || known.wrong_tokens.left < WRONG_TOKENS.burst
                    || known
                        .node_seen
                        .is_some_and(|seen| now.saturating_duration_since(seen) <= KNOWN_FOR)
            });
            if self.sources.len() >= SOURCES {
                return None;
            }
        }
        Some(self.sources.entry(source).or_insert_with(|| Known {
            handshakes: Bucket::full(NEWCOMER, now),
            wrong_tokens: Bucket::full(WRONG_TOKENS, now),
            node_seen: None,
        }))
    }

    fn make_room(&mut self, source: Source) -> Option<T> {
        let mut counts: BTreeMap<Source, usize> = BTreeMap::new();
        for (other, _) in self.strangers.values() {
            *counts.entry(*other).or_default() += 1;
        }
        let crowded = match counts.get(&source) {
            Some(count) if *count >= STRANGERS_OF_SOURCE => source,
            _ if self.strangers.len() >= STRANGERS => {
                counts.into_iter().max_by_key(|(_, count)| *count).map(|(source, _)| source)?
            }
            _ => return None,
        };
        // Ids grow, so the first is the oldest.
        let oldest = self.strangers.iter().find(|(_, (other, _))| *other == crowded);
        let id = oldest.map(|(id, _)| *id)?;
        self.strangers.remove(&id).map(|(_, handle)| handle)
    }
}

/// Lets some of many messages through: a few at once, then one now and then.
#[derive(Debug)]
pub(super) struct Quiet {
    messages: Bucket,
    kept: u64,
}

impl Quiet {
    pub(super) fn new(now: Instant) -> Quiet {
        Quiet { messages: Bucket::full(MESSAGES, now), kept: 0 }
    }

    /// How many messages were kept back since the last one, when there may be another.
    pub(super) fn speak(&mut self, now: Instant) -> Option<u64> {
        if !self.messages.take(MESSAGES, now) {
            self.kept += 1;
            return None;
        }
        Some(std::mem::take(&mut self.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    #[test]
    fn a_newcomer_pushes_out_the_oldest_of_the_most_crowded_source() {
        let mut budget = Budget::new(Instant::now());
        for crowd in 1..=4 {
            for place in 0..STRANGERS_OF_SOURCE {
                assert!(budget.enter(source(crowd), (crowd, place)).evicted.is_none());
            }
        }
        // Room is made by the source itself, and for others by one of the crowds.
        let own = budget.enter(source(2), (2, 999));
        assert_eq!(own.evicted, Some((2, 0)));
        let quiet = budget.enter(source(9), (9, 0));
        assert!(quiet.evicted.is_some_and(|(crowd, place)| crowd <= 4 && place <= 1));
        assert_eq!(budget.count(source(9)), 1);
        budget.leave(quiet.id);
        assert_eq!(budget.count(source(9)), 0);
    }

    #[test]
    fn who_shakes_hands_too_often_is_dropped_and_nodes_are_not() {
        let start = Instant::now();
        let mut budget: Budget<()> = Budget::new(start);
        let come = |budget: &mut Budget<()>, who, count: usize, now| {
            (0..count).filter(|_| budget.may_shake_hands(source(who), now)).count()
        };
        assert_eq!(come(&mut budget, 1, 1000, start), NEWCOMER.burst as usize);
        assert_eq!(come(&mut budget, 2, 10, start), 10);
        let later = start + Duration::from_secs(2);
        assert_eq!(come(&mut budget, 1, 1000, later), 2 * NEWCOMER.per_second as usize);
        budget.recognise(source(1), later);
        let more = later + Duration::from_secs(1);
        assert_eq!(come(&mut budget, 1, 200, more), 200);
    }

    #[test]
    fn wrong_tokens_are_counted_by_source_and_forgiven() {
        let start = Instant::now();
        let mut budget: Budget<()> = Budget::new(start);
        for _ in 0..10 {
            assert!(budget.may_show_token(source(1), start));
            budget.wrong_token(source(1), start);
        }
        assert!(!budget.may_show_token(source(1), start));
        assert!(budget.may_show_token(source(2), start));
        assert!(budget.may_show_token(source(1), start + Duration::from_secs(11)));
    }

    #[test]
    fn what_is_remembered_of_sources_is_bounded() {
        let start = Instant::now();
        let mut budget: Budget<()> = Budget::new(start);
        for network in 0..20_000_u32 {
            let address = Ipv6Addr::from((0x2001_0db8_u128 << 96) | (u128::from(network) << 64));
            budget.wrong_token(Source::of(address.into()), start);
        }
        assert!(budget.sources.len() <= SOURCES);
        // And after a while there is room again.
        let later = start + Duration::from_secs(3600);
        assert!(budget.may_shake_hands(source(1), later));
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let of = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn messages_that_are_too_many_are_counted() {
        let start = Instant::now();
        let mut quiet = Quiet::new(start);
        for _ in 0..10 {
            assert_eq!(quiet.speak(start), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(quiet.speak(start), None);
        }
        assert_eq!(quiet.speak(start + Duration::from_secs(11)), Some(5));
    }
}
