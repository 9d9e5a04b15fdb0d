// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages that `message::read_query` does not take: what is wrong with them, and what of them can
//! be answered all the same. Pure.
//!
//! CoreDNS's server is the measure. It reads generously: sections may end early, and bytes after
//! the last record do not matter. And it tells little: errors in the header are answered with a
//! header alone, so that no answer is longer than its question.

use super::message::{Edns, HEADER, Query};
use super::name::{MAX_NAME, Name, name_length};
use super::record::{Question, Rcode, RecordType};

#[cfg(test)]
mod tests;

const CLASS_IN: u16 = 1;
const OPCODE_QUERY: u8 = 0;
const OPCODE_NOTIFY: u8 = 4;

/// Bits of the two bytes of flags.
const QR: u8 = 0x80;
const OPCODE: u8 = 0x78;
const AA: u8 = 0x04;
const RD: u8 = 0x01;
const AD: u8 = 0x20;
const CD: u8 = 0x10;

/// What an unusual message is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusual {
    /// Not to be answered: no message, or a response.
    Silent,
    /// It cannot be answered; the response that says so is written.
    Refused(Rcode),
    /// A query after all.
    Plain(Query),
    /// Somebody says that a zone changed.
    Notify(Query),
    /// Somebody wants a zone (AXFR, IXFR).
    Transfer {
        /// Which.
        query: Query,
        /// What the client has already.
        serial: Option<u32>,
    },
}

/// Reads an unusual message; errors are written to `out`.
pub(super) fn read(packet: &[u8], out: &mut Vec<u8>) -> Unusual {
    let Some(header) = Header::read(packet) else { return Unusual::Silent };
    if header.flags[0] & QR != 0 {
        return Unusual::Silent;
    }
    let opcode = header.opcode();
    if opcode != OPCODE_QUERY && opcode != OPCODE_NOTIFY {
        return header.reject(opcode, Rcode::NOTIMP, out);
    }
    // A NOTIFY may bring an SOA as its answer (RFC 1996 section 3.7), an IXFR has one in its
    // authority (RFC 1995 section 3), and two records are additional: OPT and a signature.
    if header.questions != 1 || header.answer > 1 || header.authority > 1 || header.additional > 2 {
        return header.reject(OPCODE_QUERY, Rcode::FORMERR, out);
    }
    if packet.len() == HEADER {
        return header.reject(opcode, Rcode::SERVFAIL, out);
    }
    let Some(question) = question(packet) else {
        return header.reject(OPCODE_QUERY, Rcode::FORMERR, out);
    };
    let Some(records) = Records::read(packet, &header, question.end) else {
        write_error(packet, Rcode::FORMERR, out);
        return Unusual::Refused(Rcode::FORMERR);
    };
    if question.class != CLASS_IN {
        write_error(packet, Rcode::REFUSED, out);
        return Unusual::Refused(Rcode::REFUSED);
    }
    if records.opt.is_some_and(|opt| opt.version != 0) {
        write_error(packet, Rcode::BADVERS, out);
        return Unusual::Refused(Rcode::BADVERS);
    }
    let Some(query) = plain(packet, records.opt) else {
        write_error(packet, Rcode::FORMERR, out);
        return Unusual::Refused(Rcode::FORMERR);
    };
    if opcode == OPCODE_NOTIFY {
        return Unusual::Notify(query);
    }
    if [RecordType::AXFR, RecordType::IXFR].contains(&query.question.kind) {
        return Unusual::Transfer { query, serial: records.serial };
    }
    Unusual::Plain(query)
}

/// Writes a response without records and with this code: the question, and EDNS if it has that.
/// Never longer than `packet`, which must have a header.
pub(super) fn write_error(packet: &[u8], rcode: Rcode, out: &mut Vec<u8>) {
    out.clear();
    let Some(header) = Header::read(packet) else { return };
    let question = if header.questions == 0 { None } else { question(packet) };
    let records =
        question.as_ref().and_then(|question| Records::read(packet, &header, question.end));
    let opt = records.and_then(|records| records.opt);
    header.write(header.opcode(), rcode, question.is_some(), opt.is_some(), out);
    if let Some(question) = question {
        out.extend_from_slice(&packet[HEADER..question.end]);
    }
    if let Some(opt) = opt {
        opt.write(rcode, out);
    }
}

/// What a packet asks for, in wire form, if that can be read.
pub(super) fn asked(packet: &[u8]) -> Option<(&[u8], RecordType, u16)> {
    let question = question(packet)?;
    let (name, fixed) = packet[HEADER..question.end].split_at(question.end - HEADER - 4);
    Some((name, RecordType(u16::from_be_bytes([fixed[0], fixed[1]])), question.class))
}

/// Makes a response to a query one to a NOTIFY.
pub(super) fn as_notify(response: &mut [u8]) {
    if let Some(flags) = response.get_mut(2) {
        *flags = (*flags & !OPCODE & !RD) | OPCODE_NOTIFY << 3;
    }
}

struct Header {
    id: [u8; 2],
    flags: [u8; 2],
    questions: u16,
    answer: u16,
    authority: u16,
    additional: u16,
}

impl Header {
    fn read(packet: &[u8]) -> Option<Header> {
        let bytes: &[u8; HEADER] = packet.first_chunk()?;
        let count = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Some(Header {
            id: [bytes[0], bytes[1]],
            flags: [bytes[2], bytes[3]],
            questions: count(4),
            answer: count(6),
            authority: count(8),
            additional: count(10),
        })
    }

    fn opcode(&self) -> u8 {
        (self.flags[0] & OPCODE) >> 3
    }

    /// A response that is a header alone, with the flags of the question.
    fn reject(&self, opcode: u8, rcode: Rcode, out: &mut Vec<u8>) -> Unusual {
        out.clear();
        let first = (self.flags[0] & !OPCODE & !AA) | QR | opcode << 3;
        // The bit that must be zero becomes so.
        let second = (self.flags[1] & 0xb0) | low(rcode);
        out.extend_from_slice(&[self.id[0], self.id[1], first, second]);
        out.extend_from_slice(&[0; 8]);
        Unusual::Refused(rcode)
    }

    fn write(&self, opcode: u8, rcode: Rcode, question: bool, opt: bool, out: &mut Vec<u8>) {
        let is_query = opcode == OPCODE_QUERY;
        let kept = |flags: u8, bit: u8| if is_query { flags & bit } else { 0 };
        let first = QR | opcode << 3 | kept(self.flags[0], RD);
        let second = kept(self.flags[1], CD) | low(rcode);
        out.extend_from_slice(&[self.id[0], self.id[1], first, second]);
        out.extend_from_slice(&[0, question.into(), 0, 0, 0, 0, 0, opt.into()]);
    }
}

fn low(rcode: Rcode) -> u8 {
    // Cut on purpose: what is above has its place in EDNS.
    (rcode.0 & 0xf) as u8
}

struct QuestionAt {
    class: u16,
    /// Where it ends.
    end: usize,
}

fn question(packet: &[u8]) -> Option<QuestionAt> {
    let rest = packet.get(HEADER..)?;
    let name = name_length(rest)?;
    let &[_, _, high, low] = rest.get(name..)?.first_chunk()?;
    Some(QuestionAt { class: u16::from_be_bytes([high, low]), end: HEADER + name + 4 })
}

#[derive(Clone, Copy)]
struct Opt {
    payload: [u8; 2],
    version: u8,
    dnssec_ok: bool,
}

impl Opt {
    fn write(self, rcode: Rcode, out: &mut Vec<u8>) {
        // Cut on purpose: eight bits of a code are here (RFC 6891 section 6.1.3).
        let high = (rcode.0 >> 4) as u8;
        let flags = if self.dnssec_ok { 0x80 } else { 0 };
        out.extend_from_slice(&[
            0,
            0,
            41,
            self.payload[0],
            self.payload[1],
            high,
            0,
            flags,
            0,
            0,
            0,
        ]);
    }
}

/// What of a message's records matters.
struct Records {
    opt: Option<Opt>,
    serial: Option<u32>,
}

impl Records {
    /// `None`: they are malformed.
    fn read(packet: &[u8], header: &Header, mut at: usize) -> Option<Records> {
        let mut records = Records { opt: None, serial: None };
        let counts = [header.answer, header.authority, header.additional];
        for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                // A section may end early.
                if at == packet.len() {
                    return Some(records);
                }
                let name = at;
                at = skip_name(packet, at)?;
                let fixed: &[u8; 10] = packet.get(at..)?.first_chunk()?;
                let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
                let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
                let data = packet.get(at + 10..at + 10 + length)?;
                if kind == RecordType::OPT.0 && section == 2 && records.opt.is_none() {
                    // Its name is the root, and its data are options.
                    if packet[name] != 0 || !are_options(data) {
                        return None;
                    }
                    records.opt = Some(Opt {
                        payload: [fixed[2], fixed[3]],
                        version: fixed[5],
                        dnssec_ok: fixed[6] & 0x80 != 0,
                    });
                }
                if kind == RecordType::SOA.0 && section == 1 {
                    records.serial = Some(serial(packet, at + 10, length)?);
                }
                at += 10 + length;
            }
        }
        Some(records)
    }
}

/// Where the name at `at` ends; it may be compressed.
fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        let length = *packet.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            // Points to where a name was before, which is not followed: nobody reads it.
            0xc0.. => return packet.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
        if at - start > MAX_NAME {
            return None;
        }
    }
}

fn are_options(mut data: &[u8]) -> bool {
    while let Some(&[_, _, high, low]) = data.first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        match data.get(4 + length..) {
            Some(rest) => data = rest,
            None => return false,
        }
    }
    data.is_empty()
}

/// The serial of an SOA's data.
fn serial(packet: &[u8], at: usize, length: usize) -> Option<u32> {
    let data = packet.get(..at + length)?;
    let at = skip_name(data, skip_name(data, at)?)?;
    Some(u32::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

/// The query that a message is without what is unusual of it.
fn plain(packet: &[u8], opt: Option<Opt>) -> Option<Query> {
    let (name, kind, _) = asked(packet)?;
    Some(Query {
        id: u16::from_be_bytes([packet[0], packet[1]]),
        question: Question { name: Name::from_wire(name).ok()?, kind },
        recursion_desired: packet[2] & RD != 0,
        authentic_data: packet[3] & AD != 0,
        checking_disabled: packet[3] & CD != 0,
        edns: opt.map(|opt| Edns {
            payload: u16::from_be_bytes(opt.payload),
            version: opt.version,
            dnssec_ok: opt.dnssec_ok,
        }),
    })
}
