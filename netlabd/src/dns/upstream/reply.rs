// SPDX-License-Identifier: GPL-3.0-or-later
//! An upstream's message: read once, kept in wire form, and written for each client that asked.
//! Pure.
//!
//! OPT is between us and the upstream, so it goes; the client gets one of its own.

use super::asked::{Asked, OPT_SIZE, SMALLEST_PAYLOAD, write_opt};
use crate::dns::message::wire::{WireRecord, records};
use crate::dns::message::{HEADER, Query, Section};
use crate::dns::record::RecordType;

/// Seconds for what says of itself nothing about how long it is true.
const DEFAULT_TTL: u32 = 5;

/// Most seconds that are believed.
const MAXIMUM_TTL: u32 = 3600;

/// What a message says, as far as a cache cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Records, or a hint where there may be some.
    Success,
    /// No such name, or no such data.
    Denial,
    /// SERVFAIL or NOTIMP.
    Failure,
    /// What is not to be remembered: other errors, parts of messages.
    Other,
}

/// Why a message is not the answer to what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// Another id or question, no response, or cannot be read: perhaps not from the upstream.
    Foreign,
    /// The name is the one that was asked, written in another case. Whoever did not see the query
    /// cannot know its case, so this is believed only over TCP.
    Case,
}

/// A message that answers what was asked.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    /// The message without OPT.
    wire: Box<[u8]>,
    /// Where each record has its TTL.
    ttls: Box<[u16]>,
    /// The response code, with the bits that were in OPT.
    rcode: u16,
    class: Class,
    ttl: u32,
}

impl Reply {
    /// Reads what came for `asked`, sent with `id`.
    pub(super) fn read(packet: &[u8], asked: &Asked, id: u16) -> Result<Reply, Mismatch> {
        let header = packet.get(..HEADER).ok_or(Mismatch::Foreign)?;
        // A response to a plain query.
        if header[..2] != id.to_be_bytes() || header[2] & 0xf8 != 0x80 {
            return Err(Mismatch::Foreign);
        }
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let low = u16::from(header[3] & 0x0f);
        if count(4) == 0 && matches!(low, 1 | 4) {
            // Some do not repeat a question that they cannot read.
            let mut wire = header[..4].to_vec();
            wire.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
            wire.extend_from_slice(&asked.write(id)[HEADER..HEADER + asked.question_length()]);
            return Ok(Reply::bare(wire, low));
        }
        if count(4) != 1 {
            return Err(Mismatch::Foreign);
        }
        let behind = HEADER + asked.question_length();
        let question = packet.get(HEADER..behind).ok_or(Mismatch::Foreign)?;
        let mut expected = asked.name.wire().to_vec();
        expected.extend_from_slice(&asked.kind.to_be_bytes());
        expected.extend_from_slice(&[0, 1]);
        let name = asked.name.wire().len();
        if question[name..] != expected[name..]
            || !question[..name].eq_ignore_ascii_case(&expected[..name])
        {
            return Err(Mismatch::Foreign);
        }
        if question != expected {
            return Err(Mismatch::Case);
        }

        let mut reading = Reading::new(behind);
        let mut records = records(packet).ok_or(Mismatch::Foreign)?;
        let opt = loop {
            match records.next() {
                // What stands behind OPT would have to be moved, with all that points to it. There
                // is only TSIG, and that is between us and the upstream as well.
                Some(record) if record.kind == RecordType::OPT => break Some(record),
                Some(record) => reading.keep(&record, packet).ok_or(Mismatch::Foreign)?,
                None => break None,
            }
        };
        let is_whole = match &opt {
            Some(opt) => opt.section == Section::Additional,
            None => records.is_complete(),
        };
        if !is_whole {
            return Err(Mismatch::Foreign);
        }
        let mut wire = packet[..reading.end].to_vec();
        for (section, kept) in reading.kept.iter().enumerate() {
            wire[6 + 2 * section..8 + 2 * section].copy_from_slice(&kept.to_be_bytes());
        }
        // The upper bits of the code are OPT's (RFC 6891 section 6.1.3).
        let [extended, ..] = opt.map_or(0, |opt| opt.ttl).to_be_bytes();
        let rcode = low | u16::from(extended) << 4;
        let truncated = header[2] & 0x02 != 0;
        let class = match rcode {
            _ if truncated => Class::Other,
            0 if reading.kept[0] > 0 || !reading.soa => Class::Success,
            0 => Class::Denial,
            3 if reading.soa => Class::Denial,
            2 | 4 => Class::Failure,
            _ => Class::Other,
        };
        let ttl = match class {
            Class::Success if !reading.ttls.is_empty() => reading.least.min(MAXIMUM_TTL),
            Class::Denial => reading.least.min(reading.soa_minimum).min(MAXIMUM_TTL),
            _ => DEFAULT_TTL,
        };
        Ok(Reply { wire: wire.into(), ttls: reading.ttls.into(), rcode, class, ttl })
    }

    /// The same for what came from the upstream for certain, whatever the case of the name is.
    pub(super) fn read_in_any_case(mut packet: Vec<u8>, asked: &Asked, id: u16) -> Option<Reply> {
        let name = asked.name.wire();
        packet.get_mut(HEADER..HEADER + name.len())?.copy_from_slice(name);
        Reply::read(&packet, asked, id).ok()
    }

    fn bare(wire: Vec<u8>, rcode: u16) -> Reply {
        let class = if rcode == 4 { Class::Failure } else { Class::Other };
        Reply { wire: wire.into(), ttls: Box::default(), rcode, class, ttl: DEFAULT_TTL }
    }

    /// The response code.
    pub(super) fn rcode(&self) -> u16 {
        self.rcode
    }

    /// What it says.
    pub(super) fn class(&self) -> Class {
        self.class
    }

    /// The fewest seconds for which something in it is true, before any bounds.
    pub(super) fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Whether there was more than fitted.
    pub(super) fn truncated(&self) -> bool {
        self.wire[2] & 0x02 != 0
    }

    /// Whether this is about `name`, written in any case.
    pub(super) fn is_about(&self, name: &[u8], kind: RecordType) -> bool {
        let end = HEADER + name.len();
        self.wire.get(HEADER..end).is_some_and(|own| own.eq_ignore_ascii_case(name))
            && self.wire.get(end..end + 2) == Some(&kind.0.to_be_bytes())
    }

    /// Writes this as the answer to `query`, in at most `limit` bytes.
    pub(super) fn write(&self, query: &Query, form: Form, limit: usize, out: &mut Vec<u8>) {
        out.clear();
        let opt = if query.edns.is_some() { OPT_SIZE } else { 0 };
        let room = limit.max(usize::from(SMALLEST_PAYLOAD)).saturating_sub(opt);
        let cut = self.wire.len() > room;
        if cut {
            self.write_part(query, room, out);
        } else {
            out.extend_from_slice(&self.wire);
        }
        out[..2].copy_from_slice(&query.id.to_be_bytes());
        out[2] = 0x80
            | if form.authoritative { 0x04 } else { self.wire[2] & 0x04 }
            | if cut { 0x02 } else { self.wire[2] & 0x02 }
            | u8::from(query.recursion_desired);
        let authentic = if wants_authenticity(query) { self.wire[3] & 0x20 } else { 0 };
        let code = if query.edns.is_some() || self.rcode < 16 { self.rcode & 0x0f } else { 2 };
        out[3] = (self.wire[3] & 0x80)
            | authentic
            | if query.checking_disabled { 0x10 } else { 0 }
            | u8::try_from(code).expect("four bits");
        let name = query.question.name.wire();
        out[HEADER..HEADER + name.len()].copy_from_slice(name);
        if let Some(ttl) = form.ttl {
            for &at in &self.ttls {
                let at = usize::from(at);
                if let Some(field) = out.get_mut(at..at + 4) {
                    field.copy_from_slice(&ttl.to_be_bytes());
                }
            }
        }
        if let Some(edns) = &query.edns {
            let count = u16::from_be_bytes([out[10], out[11]]).saturating_add(1);
            out[10..12].copy_from_slice(&count.to_be_bytes());
            let extended = u8::try_from(self.rcode >> 4).expect("eight bits");
            write_opt(out, edns.payload, extended, edns.dnssec_ok);
        }
    }

    /// The records that fit, whole and in their order.
    fn write_part(&self, query: &Query, room: usize, out: &mut Vec<u8>) {
        let mut end = HEADER + query.question.name.wire().len() + 4;
        let mut fits = 0u16;
        for &at in &self.ttls {
            let at = usize::from(at);
            let length = u16::from_be_bytes([self.wire[at + 4], self.wire[at + 5]]);
            let next = at + 6 + usize::from(length);
            if next > room {
                break;
            }
            end = next;
            fits += 1;
        }
        out.extend_from_slice(&self.wire[..end]);
        for section in [6, 8, 10] {
            let count = u16::from_be_bytes([out[section], out[section + 1]]).min(fits);
            out[section..section + 2].copy_from_slice(&count.to_be_bytes());
            fits -= count;
        }
    }
}

/// Whether the client can make something of the AD bit.
fn wants_authenticity(query: &Query) -> bool {
    query.authentic_data || query.edns.as_ref().is_some_and(|edns| edns.dnssec_ok)
}

/// How a reply is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// The TTL of all records, if not their own.
    pub(super) ttl: Option<u32>,
    /// Says AA, as CoreDNS does for what it remembers: some clients take nothing else.
    pub(super) authoritative: bool,
}

/// What was seen while a message's records are read.
#[derive(Debug)]
struct Reading {
    ttls: Vec<u16>,
    /// Records of each section.
    kept: [u16; 3],
    /// Behind the last record that is kept.
    end: usize,
    least: u32,
    soa: bool,
    soa_minimum: u32,
}

impl Reading {
    /// Nothing yet; the questions end at `end`.
    fn new(end: usize) -> Reading {
        let (ttls, kept, soa) = (Vec::new(), [0; 3], false);
        Reading { ttls, kept, end, least: u32::MAX, soa, soa_minimum: u32::MAX }
    }

    /// Notes a record. `None` when it stands where no message reaches.
    fn keep(&mut self, record: &WireRecord, packet: &[u8]) -> Option<()> {
        self.ttls.push(u16::try_from(record.ttl_at).ok()?);
        self.kept[record.section as usize] += 1;
        self.end = record.end;
        // RFC 2181 section 8: one with the highest bit set is none.
        let ttl = if record.ttl > i32::MAX.unsigned_abs() { 0 } else { record.ttl };
        self.least = self.least.min(ttl);
        if record.section == Section::Authority && record.kind == RecordType::SOA {
            self.soa = true;
            let data = packet.get(record.data..record.end)?;
            if let Some((_, minimum)) = data.split_last_chunk::<4>() {
                self.soa_minimum = self.soa_minimum.min(u32::from_be_bytes(*minimum));
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;
