// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages in wire form (RFC 1035 section 4): reads a plain query, writes an answer. Pure.
//!
//! Only what resolvers ask every day is read here; what it does not read goes to `handler`.

use super::name::{Name, name_length};
use super::record::{Answer, Question, Rcode, Record, RecordType};

pub mod wire;
mod write;

pub use write::{Section, Writer};

/// Bytes of a header.
pub const HEADER: usize = 12;

/// The largest answer over UDP to a client that says nothing else (RFC 1035 section 4.2.1).
pub const PLAIN_LIMIT: usize = 512;

/// The largest answer that a datagram has room for: 65535 bytes without the headers of IPv4 and of
/// UDP (RFC 791, RFC 768). IPv6 has a little more, which nobody needs.
pub const DATAGRAM_LIMIT: usize = 65_507;

/// Class IN.
pub(crate) const IN: u16 = 1;

/// What a client says in an OPT record (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The largest answer over UDP that it takes, as it says.
    pub payload: u16,
    /// The version that it speaks: 0 in a plain query.
    pub version: u8,
    /// DO: it wants DNSSEC's records. Passed on, and back.
    pub dnssec_ok: bool,
}

/// A plain query: one question of class IN, and perhaps an OPT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The number by which the client knows the answer.
    pub id: u16,
    /// What is asked.
    pub question: Question,
    /// RD.
    pub recursion_desired: bool,
    /// AD: the client knows what it means (RFC 6840 section 5.7).
    pub authentic_data: bool,
    /// CD.
    pub checking_disabled: bool,
    /// What the client says in an OPT record, if there is one.
    pub edns: Option<Edns>,
}

impl Query {
    /// The most bytes that an answer over UDP may have: what the client takes, at least 512, and no
    /// more than a datagram has room for.
    pub fn udp_limit(&self) -> usize {
        let taken = self.edns.map_or(PLAIN_LIMIT, |edns| usize::from(edns.payload));
        taken.clamp(PLAIN_LIMIT, DATAGRAM_LIMIT)
    }
}

/// Reads a plain query. `None` for anything else, well formed or not: another operation, several
/// questions, other sections, a transfer, another version of EDNS, bytes after the end.
pub fn read_query(packet: &[u8]) -> Option<Query> {
    let header: &[u8; HEADER] = packet.first_chunk()?;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (flags, more_flags) = (header[2], header[3]);
    // QR, the operation and TC are 0; what stands in AA, RA, Z and the code means nothing here.
    let is_plain = flags & !0b101 == 0 && [count(4), count(6), count(8)] == [1, 0, 0];
    if !is_plain {
        return None;
    }
    let rest = &packet[HEADER..];
    let length = name_length(rest)?;
    let (name, rest) = rest.split_at(length);
    let (fixed, rest) = rest.split_first_chunk::<4>()?;
    let [kind, class] = [[fixed[0], fixed[1]], [fixed[2], fixed[3]]].map(u16::from_be_bytes);
    let is_odd = matches!(RecordType(kind), RecordType::AXFR | RecordType::IXFR | RecordType::OPT);
    if class != IN || is_odd {
        return None;
    }
    let edns = match count(10) {
        0 if rest.is_empty() => None,
        1 => Some(read_edns(rest)?),
        _ => return None,
    };
    Some(Query {
        id: count(0),
        question: Question { name: Name::from_wire(name).ok()?, kind: RecordType(kind) },
        recursion_desired: flags & 1 != 0,
        authentic_data: more_flags & 0b0010_0000 != 0,
        checking_disabled: more_flags & 0b0001_0000 != 0,
        edns,
    })
}

/// An OPT record that is all there is left, of a version that is known. Its options need no answer
/// from a server that does not know them.
fn read_edns(record: &[u8]) -> Option<Edns> {
    let (fixed, options) = record.split_first_chunk::<11>()?;
    let number = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let is_opt = fixed[0] == 0 && number(1) == RecordType::OPT.0;
    // The extended code and the version.
    let is_known = fixed[5] == 0 && fixed[6] == 0;
    if !is_opt || !is_known || options.len() != usize::from(number(9)) || !are_options(options) {
        return None;
    }
    Some(Edns { payload: number(3), version: 0, dnssec_ok: fixed[7] & 0x80 != 0 })
}

/// Whether bytes are options of whole lengths.
pub(crate) fn are_options(mut options: &[u8]) -> bool {
    while !options.is_empty() {
        let Some((fixed, rest)) = options.split_first_chunk::<4>() else { return false };
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        let Some(after) = rest.get(length..) else { return false };
        options = after;
    }
    true
}

/// Writes the response to a query after what `out` has, in at most `limit` bytes: what does not fit
/// is left out, and TC says so.
pub fn write_answer(
    query: &Query,
    answer: &Answer,
    authoritative: bool,
    limit: usize,
    out: &mut Vec<u8>,
) {
    let mut writer = Writer::new(query, limit, out);
    writer.set_rcode(answer.rcode);
    writer.set_authoritative(authoritative);
    let sections = [
        (Section::Answer, &answer.answer),
        (Section::Authority, &answer.authority),
        (Section::Additional, &answer.additional),
    ];
    for (section, records) in sections {
        records.iter().for_each(|record| writer.put(section, record));
    }
    writer.finish();
}

/// Writes a response without records.
pub fn write_code(query: &Query, rcode: Rcode, limit: usize, out: &mut Vec<u8>) {
    let mut writer = Writer::new(query, limit, out);
    writer.set_rcode(rcode);
    writer.finish();
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Answer {
    /// Only a code.
    pub fn of(rcode: Rcode) -> Answer {
        Answer { rcode, answer: Vec::new(), authority: Vec::new(), additional: Vec::new() }
    }
}

/// What of an answer a record is, for those who write records one by one.
pub trait Sink {
    /// Says what the code is; NOERROR unless said.
    fn code(&mut self, rcode: Rcode);
    /// Adds a record. Sections come in order.
    fn add(&mut self, section: Section, record: Record);
}

impl Sink for Answer {
    fn code(&mut self, rcode: Rcode) {
        self.rcode = rcode;
    }

    fn add(&mut self, section: Section, record: Record) {
        match section {
            Section::Answer => self.answer.push(record),
            Section::Authority => self.authority.push(record),
            Section::Additional => self.additional.push(record),
        }
    }
}

impl Sink for Writer<'_> {
    fn code(&mut self, rcode: Rcode) {
        self.set_rcode(rcode);
    }

    fn add(&mut self, section: Section, record: Record) {
        self.put(section, &record);
    }
}

#[cfg(test)]
mod tests;
