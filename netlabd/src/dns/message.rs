// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages in wire form (RFC 1035 section 4): reads a plain query, writes an answer. Pure.
//!
//! Only what resolvers ask every day is read here; what it does not read goes to `handler`.

use super::name::{Name, name_length};
use super::record::{Answer, Question, RecordType};

pub mod wire;
pub(crate) mod write;

#[cfg(test)]
mod tests;

pub use write::write_answer;

/// Bytes of a message's header.
pub const HEADER: usize = 12;

/// The largest response over UDP to a query without EDNS.
pub const PLAIN_LIMIT: usize = 512;

/// The class of everything here.
pub(crate) const IN: u16 = 1;

/// What a client says of itself (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The largest response that it takes over UDP.
    pub payload: u16,
    /// The version that it speaks.
    pub version: u8,
    /// It wants signatures.
    pub dnssec_ok: bool,
}

/// A plain query: one question of class IN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// By which the client knows its response.
    pub id: u16,
    /// What is asked.
    pub question: Question,
    /// Others may be asked for it.
    pub recursion_desired: bool,
    /// The client knows what AD means (RFC 6840).
    pub authentic_data: bool,
    /// Signatures need not be checked.
    pub checking_disabled: bool,
    /// EDNS, if the client speaks it.
    pub edns: Option<Edns>,
}

impl Query {
    /// The largest response over UDP: what the client takes, at least 512 and at most `most`.
    pub fn udp_limit(&self, most: usize) -> usize {
        let asked = self.edns.map_or(PLAIN_LIMIT, |edns| usize::from(edns.payload));
        asked.min(most).max(PLAIN_LIMIT)
    }
}

/// Reads a query. `None`: anything unusual, from malformed bytes to a zone transfer.
pub fn read_query(packet: &[u8]) -> Option<Query> {
    let header: &[u8; HEADER] = packet.first_chunk()?;
    let (flags, codes) = (header[2], header[3]);
    // A query with opcode 0, not truncated; what stands in AA, RA, Z and RCODE is the sender's slip.
    if flags & 0b1111_1010 != 0 {
        return None;
    }
    let extra = u16_at(packet, 10)?;
    if u16_at(packet, 4)? != 1 || u16_at(packet, 6)? != 0 || u16_at(packet, 8)? != 0 || extra > 1 {
        return None;
    }
    let length = name_length(&packet[HEADER..])?;
    let mut at = HEADER + length;
    let kind = RecordType(u16_at(packet, at)?);
    if u16_at(packet, at + 2)? != IN
        || matches!(kind, RecordType::AXFR | RecordType::IXFR | RecordType::OPT)
    {
        return None;
    }
    let name = Name::from_wire(&packet[HEADER..at]).ok()?;
    at += 4;
    let edns = if extra == 1 {
        let (edns, end) = read_edns(packet, at)?;
        at = end;
        Some(edns)
    } else {
        None
    };
    (at == packet.len()).then_some(Query {
        id: u16_at(packet, 0)?,
        question: Question { name, kind },
        recursion_desired: flags & 1 != 0,
        authentic_data: codes & 0x20 != 0,
        checking_disabled: codes & 0x10 != 0,
        edns,
    })
}

/// Reads the record OPT at `at`, of version 0 and with well-formed options.
fn read_edns(packet: &[u8], at: usize) -> Option<(Edns, usize)> {
    if *packet.get(at)? != 0 || u16_at(packet, at + 1)? != RecordType::OPT.0 {
        return None;
    }
    let payload = u16_at(packet, at + 3)?;
    let (extended, version) = (*packet.get(at + 5)?, *packet.get(at + 6)?);
    let flags = u16_at(packet, at + 7)?;
    let mut rest = usize::from(u16_at(packet, at + 9)?);
    let mut option = at + 11;
    let end = option + rest;
    if extended != 0 || version != 0 || end > packet.len() {
        return None;
    }
    while rest > 0 {
        let length = 4 + usize::from(u16_at(packet, option + 2)?);
        rest = rest.checked_sub(length)?;
        option += length;
    }
    Some((Edns { payload, version, dnssec_ok: flags & 0x8000 != 0 }, end))
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// An answer without records.
impl Answer {
    /// Only a code.
    pub fn of(rcode: super::record::Rcode) -> Answer {
        Answer { rcode, answer: Vec::new(), authority: Vec::new(), additional: Vec::new() }
    }
}
