// SPDX-License-Identifier: GPL-3.0-or-later
//! What upstreams said, for a while. A hit is a hash, one short lock and a copy.
//!
//! As in CoreDNS, all records of a message have one TTL, the least of them within bounds, and what
//! is full forgets any entry at random. Time comes in as an argument; nothing here waits.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::asked::Asked;
use super::meter::CacheHalf;
use super::reply::{Class, Reply};
use crate::dns::config;
use crate::dns::message::Query;
use crate::dns::name::MAX_NAME;
use crate::dns::record::RecordType;

/// Most shards; fewer when little is to be kept, so that the bound is kept, too. CoreDNS has 256,
/// which fill so unevenly that a cache that is nearly full forgets one answer in thirty.
const SHARDS: usize = 16;

/// How long an entry that is to be asked anew is left alone after that began.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// What distinguishes entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<'a> {
    name: &'a [u8],
    kind: RecordType,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl<'a> Key<'a> {
    pub(super) fn of(query: &'a Query) -> Key<'a> {
        Key {
            name: query.question.name.wire(),
            kind: query.question.kind,
            dnssec_ok: query.edns.as_ref().is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: query.checking_disabled,
        }
    }

    pub(super) fn asked(asked: &'a Asked) -> Key<'a> {
        Key {
            name: asked.name.wire(),
            kind: RecordType(asked.kind),
            dnssec_ok: asked.dnssec_ok(),
            checking_disabled: asked.checking_disabled,
        }
    }

    fn bits(&self) -> u8 {
        u8::from(self.dnssec_ok) | u8::from(self.checking_disabled) << 1
    }
}

/// What is found.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    pub(super) reply: Arc<Reply>,
    /// Seconds it has left; 0 when it is too old.
    pub(super) ttl: u32,
    pub(super) half: CacheHalf,
    /// Whether it is too old, and given because it may be.
    pub(super) stale: bool,
    /// Whether it is time to ask anew.
    pub(super) refresh: bool,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Remembered in this half.
    In(CacheHalf),
    /// Remembered, and another one forgotten.
    Instead(CacheHalf),
    /// Not remembered.
    Not,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    settings: config::Cache,
    hashing: RandomState,
    shards: Box<[Mutex<Shard>]>,
    entries: [AtomicUsize; 2],
}

impl Cache {
    /// One with these options, or none.
    pub(super) fn new(settings: &config::Cache) -> Option<Cache> {
        if !settings.enabled {
            return None;
        }
        let capacities = [settings.success.capacity, settings.denial.capacity];
        let least = capacities.into_iter().filter(|capacity| *capacity > 0).min()?;
        // With a dozen entries or more in each, shards fill evenly enough.
        let count = (least / 16).clamp(1, SHARDS);
        let shards = (0..count)
            .map(|index| {
                let capacity = capacities.map(|all| all / count + usize::from(index < all % count));
                Mutex::new(Shard::new(capacity, index))
            })
            .collect();
        Some(Cache {
            settings: settings.clone(),
            hashing: RandomState::new(),
            shards,
            entries: Default::default(),
        })
    }

    /// What is known. `wanted_stale`: an answer that is too old is wanted as well.
    pub(super) fn get(&self, key: Key<'_>, now: Instant, wanted_stale: bool) -> Option<Hit> {
        let hash = self.hash(key);
        let mut shard = self.shard(hash);
        let slot = *shard.index.get(&hash)?;
        let entry = shard.entry(slot);
        if entry.bits != key.bits() || !entry.reply.is_about(key.name, key.kind) {
            return None;
        }
        let age = now.saturating_duration_since(entry.stored).as_secs();
        if age < u64::from(entry.ttl) {
            let left = entry.ttl - u32::try_from(age).expect("less than the TTL");
            let refresh = entry.wants_prefetch(&self.settings.prefetch, left, now);
            let ttl = if self.settings.keepttl { entry.ttl } else { left };
            let reply = Arc::clone(&entry.reply);
            return Some(Hit { reply, ttl, half: slot.half, stale: false, refresh });
        }
        let stale = &self.settings.serve_stale;
        if stale.enabled
            && entry.reply.class() != Class::Failure
            && age - u64::from(entry.ttl) < stale.duration.as_secs()
        {
            if !wanted_stale {
                return None;
            }
            let refresh = entry.begin_refresh(now);
            let reply = Arc::clone(&entry.reply);
            return Some(Hit { reply, ttl: 0, half: slot.half, stale: true, refresh });
        }
        shard.remove(slot);
        self.entries[slot.half as usize].fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Seconds for which `reply` is true here: CoreDNS's `computeTTL`, so the bounds win over what
    /// the message says, and 0 comes only of a least TTL of 0. Not for what is not remembered.
    pub(super) fn ttl(&self, reply: &Reply) -> Option<u32> {
        let share = match reply.class() {
            Class::Success => &self.settings.success,
            Class::Denial => &self.settings.denial,
            Class::Failure => {
                return u32::try_from(self.settings.servfail.as_secs()).ok();
            }
            Class::Other => return None,
        };
        Some(reply.ttl().max(share.min_ttl).min(share.ttl).min(self.settings.ttl))
    }

    /// Remembers `reply`.
    pub(super) fn put(&self, key: Key<'_>, reply: &Arc<Reply>, now: Instant) -> Kept {
        let Some(ttl) = self.ttl(reply).filter(|ttl| *ttl > 0) else {
            return Kept::Not;
        };
        let half = match reply.class() {
            Class::Success => CacheHalf::Success,
            _ => CacheHalf::Denial,
        };
        let hash = self.hash(key);
        let mut entry = Entry {
            hash,
            bits: key.bits(),
            reply: Arc::clone(reply),
            stored: now,
            ttl,
            hits: 0,
            last: now,
            refreshed: None,
        };
        let mut shard = self.shard(hash);
        if let Some(slot) = shard.index.get(&hash).copied() {
            let old = shard.entry(slot);
            // What could still be given although it is old is worth more than a failure.
            if self.settings.serve_stale.enabled
                && reply.class() == Class::Failure
                && old.reply.class() != Class::Failure
            {
                return Kept::Not;
            }
            // It is asked for as often as before.
            entry.hits = old.hits;
            entry.last = old.last;
            shard.remove(slot);
            self.entries[slot.half as usize].fetch_sub(1, Ordering::Relaxed);
        }
        if shard.capacity[half as usize] == 0 {
            return Kept::Not;
        }
        let evicted = shard.make_room(half);
        shard.insert(half, entry);
        if evicted {
            return Kept::Instead(half);
        }
        self.entries[half as usize].fetch_add(1, Ordering::Relaxed);
        Kept::In(half)
    }

    /// Answers in one half.
    pub(super) fn entries(&self, half: CacheHalf) -> usize {
        self.entries[half as usize].load(Ordering::Relaxed)
    }

    fn hash(&self, key: Key<'_>) -> u64 {
        let mut lower = [0u8; MAX_NAME];
        let lower = &mut lower[..key.name.len()];
        lower.copy_from_slice(key.name);
        lower.make_ascii_lowercase();
        let mut hasher = self.hashing.build_hasher();
        hasher.write(lower);
        hasher.write_u32(u32::from(key.kind.0) << 8 | u32::from(key.bits()));
        hasher.finish()
    }

    fn shard(&self, hash: u64) -> std::sync::MutexGuard<'_, Shard> {
        // The map in the shard uses the lower and the highest bits.
        let index = usize::try_from((hash >> 24) & 0xffff_ffff).unwrap_or(0) % self.shards.len();
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    bits: u8,
    reply: Arc<Reply>,
    stored: Instant,
    ttl: u32,
    /// Queries without a long pause between them, and the last one.
    hits: u32,
    last: Instant,
    refreshed: Option<Instant>,
}

impl Entry {
    /// Counts a query, and says whether this is worth asking anew with `left` seconds left.
    fn wants_prefetch(&mut self, settings: &config::Prefetch, left: u32, now: Instant) -> bool {
        if settings.amount == 0 {
            return false;
        }
        let pause = now.saturating_duration_since(self.last);
        self.hits = if pause > settings.duration { 1 } else { self.hits.saturating_add(1) };
        self.last = now;
        let threshold = (u64::from(self.ttl) * u64::from(settings.percentage)).div_ceil(100);
        self.hits >= settings.amount && u64::from(left) <= threshold && self.begin_refresh(now)
    }

    /// Whether nobody began to ask anew a moment ago; then it is begun now.
    fn begin_refresh(&mut self, now: Instant) -> bool {
        let begun =
            self.refreshed.is_some_and(|at| now.saturating_duration_since(at) < REFRESH_PAUSE);
        if !begun {
            self.refreshed = Some(now);
        }
        !begun
    }
}

/// Where an entry is.
#[derive(Debug, Clone, Copy)]
struct Slot {
    half: CacheHalf,
    at: usize,
}

/// Entries whose hashes fall together: a list of each half, so that a random one is at hand.
#[derive(Debug)]
struct Shard {
    index: HashMap<u64, Slot, BuildHasherDefault<AsIs>>,
    halves: [Vec<Entry>; 2],
    capacity: [usize; 2],
    random: u64,
}

impl Shard {
    fn new(capacity: [usize; 2], seed: usize) -> Shard {
        let random = RandomState::new().hash_one(seed) | 1;
        Shard { index: HashMap::default(), halves: Default::default(), capacity, random }
    }

    fn entry(&mut self, slot: Slot) -> &mut Entry {
        &mut self.halves[slot.half as usize][slot.at]
    }

    fn insert(&mut self, half: CacheHalf, entry: Entry) {
        let at = self.halves[half as usize].len();
        self.index.insert(entry.hash, Slot { half, at });
        self.halves[half as usize].push(entry);
    }

    fn remove(&mut self, slot: Slot) {
        let entries = &mut self.halves[slot.half as usize];
        let removed = entries.swap_remove(slot.at);
        if let Some(moved) = entries.get(slot.at) {
            self.index.insert(moved.hash, slot);
        }
        self.index.remove(&removed.hash);
    }

    /// Forgets any entry of a half that is full.
    fn make_room(&mut self, half: CacheHalf) -> bool {
        let count = self.halves[half as usize].len();
        if count < self.capacity[half as usize] {
            return false;
        }
        // Xorshift: any is good enough, and nobody outside learns which.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let at = usize::try_from(self.random % count as u64).unwrap_or(0);
        self.remove(Slot { half, at });
        true
    }
}

/// Takes hashes as they are.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests;
