// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes responses, with compressed names (RFC 1035 section 4.1.4).

use super::{HEADER, IN, Query};
use crate::dns::name::{Labels, Name};
use crate::dns::record::{Answer, Owner, Rcode, Record, RecordData, RecordType};

/// Suffixes that are remembered for pointers. More are rare, and cost time.
const SUFFIXES: usize = 48;

/// A pointer to the question's name.
const ASKED: u16 = 0xc000 | HEADER as u16;

/// Names that can be pointed to: their bytes, and where they stand.
struct Suffixes<'a> {
    known: [(&'a [u8], u16); SUFFIXES],
    count: usize,
}

impl<'a> Suffixes<'a> {
    fn note(&mut self, suffix: &'a [u8], at: usize) {
        if let (true, Ok(at @ 0..0x4000)) = (self.count < SUFFIXES, u16::try_from(at)) {
            self.known[self.count] = (suffix, at);
            self.count += 1;
        }
    }

    /// Writes a name at the end of `out`; `start` is where the message begins there.
    fn write(&mut self, name: &'a Name, start: usize, out: &mut Vec<u8>) {
        let mut rest = name.wire();
        while rest.len() > 1 {
            let known = self.known[..self.count].iter().find(|(suffix, _)| *suffix == rest);
            if let Some((_, at)) = known {
                out.extend_from_slice(&(0xc000 | at).to_be_bytes());
                return;
            }
            self.note(rest, out.len() - start);
            let (label, after) = rest.split_at(1 + usize::from(rest[0]));
            out.extend_from_slice(label);
            rest = after;
        }
        out.push(0);
    }
}

/// Writes the header with the counts 1, 0, 0, 0 and the question.
pub(crate) fn write_head(query: &Query, rcode: Rcode, authoritative: bool, out: &mut Vec<u8>) {
    let flags = 0x80 | u8::from(authoritative) << 2 | u8::from(query.recursion_desired);
    let low = (rcode.0 & 0xf) as u8 | u8::from(query.checking_disabled) << 4;
    let [high_id, low_id] = query.id.to_be_bytes();
    out.extend_from_slice(&[high_id, low_id, flags, low, 0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(query.question.name.wire());
    out.extend_from_slice(&query.question.kind.0.to_be_bytes());
    out.extend_from_slice(&IN.to_be_bytes());
}

/// Bytes of the record OPT.
pub(crate) const OPT_LENGTH: usize = 11;

/// Writes OPT if the query has one, with its size, as CoreDNS does; returns how many that are.
pub(crate) fn write_edns(query: &Query, rcode: Rcode, out: &mut Vec<u8>) -> u16 {
    let Some(edns) = query.edns else { return 0 };
    out.push(0);
    out.extend_from_slice(&RecordType::OPT.0.to_be_bytes());
    out.extend_from_slice(&edns.payload.to_be_bytes());
    let extended = (rcode.0 >> 4) as u8;
    out.extend_from_slice(&[extended, 0, u8::from(edns.dnssec_ok) << 7, 0, 0, 0]);
    1
}

/// Appends the response to `out`. What does not fit into `limit` bytes is left out from the end,
/// and TC says so.
pub fn write_answer(
    query: &Query,
    answer: &Answer,
    authoritative: bool,
    limit: usize,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    write_head(query, answer.rcode, authoritative, out);
    let room = limit.saturating_sub(if query.edns.is_some() { OPT_LENGTH } else { 0 });
    let mut names = Suffixes { known: [(&[], 0); SUFFIXES], count: 0 };
    let mut rest = query.question.name.wire();
    let mut at = HEADER;
    while rest.len() > 1 {
        names.note(rest, at);
        let length = 1 + usize::from(rest[0]);
        rest = &rest[length..];
        at += length;
    }
    let mut counts = [0u16; 3];
    'sections: for (section, records) in
        [&answer.answer, &answer.authority, &answer.additional].into_iter().enumerate()
    {
        for record in records {
            let (before, known) = (out.len(), names.count);
            write_record(query, record, &mut names, start, out);
            if out.len() - start > room || counts[section] == u16::MAX {
                out.truncate(before);
                names.count = known;
                out[start + 2] |= 0x02;
                break 'sections;
            }
            counts[section] += 1;
        }
    }
    counts[2] += write_edns(query, answer.rcode, out);
    for (index, count) in counts.into_iter().enumerate() {
        let at = start + 6 + 2 * index;
        out[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }
}

fn write_record<'a>(
    query: &Query,
    record: &'a Record,
    names: &mut Suffixes<'a>,
    start: usize,
    out: &mut Vec<u8>,
) {
    match &record.owner {
        Owner::Asked if query.question.name.is_root() => out.push(0),
        Owner::Asked => out.extend_from_slice(&ASKED.to_be_bytes()),
        Owner::Name(name) => names.write(name, start, out),
    }
    out.extend_from_slice(&record.data.kind().0.to_be_bytes());
    out.extend_from_slice(&IN.to_be_bytes());
    out.extend_from_slice(&record.ttl.to_be_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0, 0]);
    match &record.data {
        RecordData::A(address) => out.extend_from_slice(&address.octets()),
        RecordData::Aaaa(address) => out.extend_from_slice(&address.octets()),
        RecordData::Ptr(name) | RecordData::Cname(name) | RecordData::Ns(name) => {
            names.write(name, start, out);
        }
        RecordData::Txt(strings) => {
            for string in strings {
                let string = &string[..string.len().min(255)];
                out.push(string.len() as u8);
                out.extend_from_slice(string);
            }
        }
        RecordData::Srv { priority, weight, port, target } => {
            for number in [priority, weight, port] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            // Never compressed (RFC 2782), but later names may point here.
            let mut rest = Labels::of(target.wire());
            let mut left = target.wire();
            let base = out.len() - start;
            out.extend_from_slice(left);
            while let Some(label) = rest.next() {
                names.note(left, base + target.wire().len() - left.len());
                left = &left[1 + label.len()..];
            }
        }
        RecordData::Soa { primary, mailbox, serial, refresh, retry, expire, minimum } => {
            names.write(primary, start, out);
            names.write(mailbox, start, out);
            for number in [serial, refresh, retry, expire, minimum] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
    }
    let length = u16::try_from(out.len() - length_at - 2).unwrap_or(u16::MAX);
    out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
}
