// SPDX-License-Identifier: GPL-3.0-or-later
//! Finds and changes things in responses in wire form, without taking them apart.

use super::{HEADER, Section, u16_at, u32_at};
use crate::dns::name::MAX_NAME;
use crate::dns::record::RecordType;

/// Where a record stands in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireRecord {
    /// Its part of the message.
    pub section: Section,
    /// Where its owner begins.
    pub start: usize,
    /// Its type.
    pub kind: RecordType,
    /// Its class.
    pub class: u16,
    /// Its time to live; of OPT, the flags.
    pub ttl: u32,
    /// Where that stands.
    pub ttl_at: usize,
    /// Where its data begins.
    pub data: usize,
    /// Where it ends.
    pub end: usize,
}

/// Records of a message, in order. Ends early when the message is malformed.
#[derive(Debug, Clone)]
pub struct WireRecords<'a> {
    message: &'a [u8],
    at: usize,
    counts: [u16; 3],
}

/// The records of a message; `None` when its header or its questions cannot be read.
pub fn records(message: &[u8]) -> Option<WireRecords<'_>> {
    let at = questions_end(message)?;
    let counts = [u16_at(message, 6)?, u16_at(message, 8)?, u16_at(message, 10)?];
    Some(WireRecords { message, at, counts })
}

impl WireRecords<'_> {
    /// Whether all that the header promises was there, once the records are through.
    pub fn is_complete(&self) -> bool {
        self.counts == [0; 3]
    }
}

impl Iterator for WireRecords<'_> {
    type Item = WireRecord;

    fn next(&mut self) -> Option<WireRecord> {
        let index = self.counts.iter().position(|&count| count > 0)?;
        let section = [Section::Answer, Section::Authority, Section::Additional][index];
        let (start, at) = (self.at, skip_name(self.message, self.at)?);
        let data = at + 10;
        let end = data + usize::from(u16_at(self.message, at + 8)?);
        if end > self.message.len() {
            return None;
        }
        self.at = end;
        self.counts[index] -= 1;
        Some(WireRecord {
            section,
            start,
            kind: RecordType(u16_at(self.message, at)?),
            class: u16_at(self.message, at + 2)?,
            ttl: u32_at(self.message, at + 4)?,
            ttl_at: at + 4,
            data,
            end,
        })
    }
}

/// Replaces the payload that OPT says, if there is one.
pub fn set_payload(message: &mut [u8], payload: u16) {
    let opt = records(message).and_then(|mut all| all.find(|one| one.kind == RecordType::OPT));
    // It stands where others have their class.
    if let Some(place) = opt.and_then(|opt| message.get_mut(opt.ttl_at - 2..opt.ttl_at)) {
        place.copy_from_slice(&payload.to_be_bytes());
    }
}

/// Leaves records out from the end until the message has at most `limit` bytes, and sets TC if any
/// had to go. OPT stays if there is room for it beside the questions. Of what cannot be read, or
/// has questions that do not fit, the header stays.
pub fn truncate(message: &mut Vec<u8>, limit: usize) {
    if message.len() <= limit.max(HEADER) {
        return;
    }
    message[2] |= 0x02;
    let questions = questions_end(message).filter(|&end| end <= limit);
    let (Some(questions), Some(found)) = (questions, records(message)) else {
        message.truncate(HEADER);
        message[4..].fill(0);
        return;
    };
    let all: Vec<WireRecord> = found.collect();
    let opt = all.iter().find(|record| record.kind == RecordType::OPT);
    let opt = opt.filter(|opt| questions + (opt.end - opt.start) <= limit);
    let opt: Vec<u8> = opt.map_or(Vec::new(), |opt| message[opt.start..opt.end].to_vec());
    let (mut end, mut counts) = (questions, [0u16; 3]);
    for record in &all {
        if record.kind == RecordType::OPT || record.end + opt.len() > limit {
            break;
        }
        end = record.end;
        counts[record.section as usize] += 1;
    }
    message.truncate(end);
    if !opt.is_empty() {
        message.extend_from_slice(&opt);
        counts[2] += 1;
    }
    for (index, count) in counts.into_iter().enumerate() {
        message[6 + 2 * index..8 + 2 * index].copy_from_slice(&count.to_be_bytes());
    }
}

fn questions_end(message: &[u8]) -> Option<usize> {
    let mut at = HEADER;
    for _ in 0..u16_at(message, 4)? {
        at = skip_name(message, at)? + 4;
    }
    (at <= message.len()).then_some(at)
}

/// Where the name at `at` ends: after its root or its first pointer, which is not followed.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        let length = *message.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            0xc0.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
        if at - start > MAX_NAME {
            return None;
        }
    }
}
