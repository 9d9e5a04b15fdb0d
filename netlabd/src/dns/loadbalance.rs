// SPDX-License-Identifier: GPL-3.0-or-later
//! The order of records in answers, as CoreDNS's plugin `loadbalance` makes it: aliases first, then
//! addresses and mail exchanges in an order that is another each time.
//!
//! A message is shuffled where it lies. Only the time and the data of records change places, among
//! records of one owner, type and length: so no name moves that a later one may point to.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType as WireType;
use ipnet::IpNet;

use super::config::LoadBalance;
use super::message::HEADER;
use super::message::IN;
use super::message::wire::skip_name;
use super::record::{Answer, Owner, Record, RecordData, RecordType};

/// Shuffles. Each thread has its own; after a while it allocates nothing.
#[derive(Debug, Clone)]
pub struct Shuffler {
    enabled: bool,
    prefer: Vec<IpNet>,
    random: Random,
    spots: Vec<Spot>,
}

/// A record that may change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spot {
    /// Where its owner's name stands.
    owner: usize,
    kind: u16,
    class: u16,
    /// Where its time to live stands; the length and the data follow.
    at: usize,
    length: usize,
}

impl Shuffler {
    /// One that does as configured.
    pub fn new(config: &LoadBalance) -> Shuffler {
        Shuffler {
            enabled: config.enabled,
            prefer: config.prefer.clone(),
            random: Random::new(),
            spots: Vec::new(),
        }
    }

    /// Shuffles an answer.
    pub fn shuffle(&mut self, answer: &mut Answer) {
        if !self.enabled {
            return;
        }
        for section in [&mut answer.answer, &mut answer.authority, &mut answer.additional] {
            self.shuffle_records(section);
        }
    }

    fn shuffle_records(&mut self, records: &mut [Record]) {
        if records.len() < 2 {
            return;
        }
        aliases_first(records);
        let slots: Vec<usize> =
            (0..records.len()).filter(|&at| address(&records[at]).is_some()).collect();
        for last in (1..slots.len()).rev() {
            let other = self.random.below(last + 1);
            records.swap(slots[last], slots[other]);
        }
        if !self.prefer.is_empty() {
            let mut sorted: Vec<Record> = slots.iter().map(|&at| records[at].clone()).collect();
            sorted.sort_by_key(|record| rank(&self.prefer, address(record)));
            for (at, record) in slots.into_iter().zip(sorted) {
                records[at] = record;
            }
        }
    }

    /// Shuffles a message where it lies. One that cannot be read stays as it is.
    pub fn shuffle_wire(&mut self, message: &mut [u8]) {
        if !self.enabled || message.len() < HEADER {
            return;
        }
        let counts = [6, 8, 10].map(|at| u16::from_be_bytes([message[at], message[at + 1]]));
        // Nothing to do for most answers: one record, or none.
        if counts.iter().all(|&count| count < 2) {
            return;
        }
        let mut at = HEADER;
        for _ in 0..u16::from_be_bytes([message[4], message[5]]) {
            match skip_name(message, at) {
                Some(end) => at = end + 4,
                None => return,
            }
        }
        for count in counts {
            self.spots.clear();
            for _ in 0..count {
                let Some((spot, end)) = record_at(message, at) else { return };
                let is_address = matches!(RecordType(spot.kind), RecordType::A | RecordType::AAAA);
                // Classes stay where they are, so those of another one stay altogether.
                if is_address && spot.class == IN {
                    self.spots.push(spot);
                }
                at = end;
            }
            self.shuffle_spots(message);
        }
    }

    fn shuffle_spots(&mut self, message: &mut [u8]) {
        // Records of one set stand together, as a rule; those that do not are sets of their own.
        let mut spots = std::mem::take(&mut self.spots);
        for set in
            spots.chunk_by_mut(|a, b| (a.owner, a.kind, a.length) == (b.owner, b.kind, b.length))
        {
            for last in (1..set.len()).rev() {
                let other = self.random.below(last + 1);
                swap(message, set[last], set[other]);
            }
            if !self.prefer.is_empty() {
                self.preferred_first(message, set);
            }
        }
        spots.clear();
        self.spots = spots;
    }

    /// Sorts by insertion, which keeps what is equal as shuffled.
    fn preferred_first(&self, message: &mut [u8], set: &[Spot]) {
        for end in 1..set.len() {
            let mut at = end;
            while at > 0 && self.rank_at(message, set[at]) < self.rank_at(message, set[at - 1]) {
                swap(message, set[at], set[at - 1]);
                at -= 1;
            }
        }
    }

    fn rank_at(&self, message: &[u8], spot: Spot) -> usize {
        let data = &message[spot.at + 6..spot.at + spot.length];
        let address = match data.len() {
            4 => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        };
        rank(&self.prefer, address)
    }
}

/// Aliases first, each before the one that it leads to.
fn aliases_first(records: &mut [Record]) {
    let is_alias = |record: &Record| matches!(record.data, RecordData::Cname(_));
    let aliases = records.iter().filter(|record| is_alias(record)).count();
    if aliases == 0 {
        return;
    }
    records.sort_by_key(|record| !is_alias(record));
    let mut next = Owner::Asked;
    for at in 0..aliases {
        let Some(found) = (at..aliases).find(|&other| records[other].owner == next) else { return };
        records[at..=found].rotate_right(1);
        if let RecordData::Cname(target) = &records[at].data {
            next = Owner::Name(target.clone());
        }
    }
}

/// The message with aliases before all other answers; `None` when it is so already, as nearly
/// always, or cannot be read.
pub fn aliases_first_wire(message: &[u8]) -> Option<Vec<u8>> {
    let mut at = HEADER;
    let count = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    for _ in 0..count(4)? {
        at = skip_name(message, at)? + 4;
    }
    let (mut other, mut late) = (false, false);
    for _ in 0..count(6)? {
        let (spot, end) = record_at(message, at)?;
        let alias = RecordType(spot.kind) == RecordType::CNAME;
        late |= alias && other;
        other |= !alias;
        at = end;
    }
    if !late {
        return None;
    }
    let mut message = Message::from_vec(message).ok()?;
    message.answers.sort_by_key(|record| record.record_type() != WireType::CNAME);
    message.to_vec().ok()
}

fn address(record: &Record) -> Option<IpAddr> {
    match record.data {
        RecordData::A(address) => Some(address.into()),
        RecordData::Aaaa(address) => Some(address.into()),
        _ => None,
    }
}

fn rank(prefer: &[IpNet], address: Option<IpAddr>) -> usize {
    let of = |address: IpAddr| prefer.iter().position(|network| network.contains(&address));
    address.and_then(of).unwrap_or(prefer.len())
}

/// The record at `at`, and where it ends.
fn record_at(message: &[u8], at: usize) -> Option<(Spot, usize)> {
    let fixed = skip_name(message, at)?;
    let head = message.get(fixed..fixed + 10)?;
    let length = usize::from(u16::from_be_bytes([head[8], head[9]]));
    let end = fixed + 10 + length;
    message.get(..end)?;
    let [kind, class] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_be_bytes);
    let owner = match message[at] {
        pointer if pointer >= 0xc0 => {
            usize::from(u16::from_be_bytes([pointer & 0x3f, message[at + 1]]))
        }
        _ => at,
    };
    Some((Spot { owner, kind, class, at: fixed + 4, length: 6 + length }, end))
}

/// Swaps what two records of one length say.
fn swap(message: &mut [u8], a: Spot, b: Spot) {
    let (first, second) = if a.at < b.at { (a, b) } else { (b, a) };
    if first.at == second.at {
        return;
    }
    let (head, tail) = message.split_at_mut(second.at);
    head[first.at..first.at + first.length].swap_with_slice(&mut tail[..second.length]);
}

/// Numbers that need not be unpredictable, but even (xorshift64*).
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn new() -> Random {
        // The keys of a hash map are the process's randomness that is at hand, new each time.
        Random(RandomState::new().hash_one(0u8) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        // Below `bound`, since `high` is below 2^32.
        usize::try_from((high * bound as u64) >> 32).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
