// SPDX-License-Identifier: GPL-3.0-or-later
//! Writes a response record by record, with names compressed (RFC 1035 section 4.1.4), and stops
//! where the client's limit is.

use crate::dns::message::{Edns, HEADER, IN, Query};
use crate::dns::name::Name;
use crate::dns::record::{Owner, Rcode, Record, RecordData, RecordType};

/// A section of a message that has records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Records that answer.
    Answer,
    /// The SOA when there are none.
    Authority,
    /// Records that come along.
    Additional,
}

/// Bytes of an OPT record without options.
const OPT: usize = 11;

/// A pointer to the name of the question, which stands right after the header.
const ASKED: [u8; 2] = [0xc0, HEADER as u8];

/// The furthest that a pointer reaches.
const FURTHEST: usize = 0x3fff;

/// Places of names that later ones may point to; more are not remembered, which costs bytes only.
const PLACES: usize = 32;

/// A response that is being written.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Where the message starts in `out`.
    start: usize,
    /// Where it must end.
    end: usize,
    edns: Option<Edns>,
    counts: [u16; 3],
    /// Something did not fit.
    truncated: bool,
    places: [u16; PLACES],
    known: usize,
    rcode: Rcode,
}

impl<'a> Writer<'a> {
    /// Begins the response to a query after what `out` has; no more than `limit` bytes.
    pub fn new(query: &Query, limit: usize, out: &'a mut Vec<u8>) -> Writer<'a> {
        let start = out.len();
        let name = query.question.name.wire();
        let flags = 0x80 | u8::from(query.recursion_desired);
        let more_flags = if query.checking_disabled { 0x10 } else { 0 };
        out.extend_from_slice(&query.id.to_be_bytes());
        out.extend_from_slice(&[flags, more_flags, 0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(name);
        out.extend_from_slice(&query.question.kind.0.to_be_bytes());
        out.extend_from_slice(&IN.to_be_bytes());
        let room_for_opt = if query.edns.is_some() { OPT } else { 0 };
        let end = (start + limit.min(usize::from(u16::MAX))).saturating_sub(room_for_opt);
        let mut writer = Writer {
            out,
            start,
            end,
            edns: query.edns,
            counts: [0; 3],
            truncated: false,
            places: [0; PLACES],
            known: 0,
            rcode: Rcode::NOERROR,
        };
        writer.remember(HEADER, name);
        writer
    }

    /// The code of the response; NOERROR unless set.
    pub fn set_rcode(&mut self, rcode: Rcode) {
        self.rcode = rcode;
    }

    /// Whether the server is one of the zone's own.
    pub fn set_authoritative(&mut self, authoritative: bool) {
        let flags = &mut self.out[self.start + 2];
        *flags = (*flags & !0x04) | if authoritative { 0x04 } else { 0 };
    }

    /// Whether recursion is to be had.
    pub fn set_recursion_available(&mut self, available: bool) {
        let flags = &mut self.out[self.start + 3];
        *flags = (*flags & !0x80) | if available { 0x80 } else { 0 };
    }

    /// Adds a record, if it fits. Sections must come in order.
    pub fn put(&mut self, section: Section, record: &Record) {
        if self.truncated {
            return;
        }
        let (before, known) = (self.out.len(), self.known);
        match &record.owner {
            Owner::Asked => self.out.extend_from_slice(&ASKED),
            Owner::Name(name) => self.name(name),
        }
        self.out.extend_from_slice(&record.data.kind().0.to_be_bytes());
        self.out.extend_from_slice(&IN.to_be_bytes());
        self.out.extend_from_slice(&record.ttl.to_be_bytes());
        let length_at = self.out.len();
        self.out.extend_from_slice(&[0, 0]);
        self.data(&record.data);
        let length = self.out.len() - length_at - 2;
        if self.out.len() > self.end || length > usize::from(u16::MAX) {
            self.out.truncate(before);
            self.known = known;
            self.truncated = true;
            return;
        }
        let length = u16::try_from(length).expect("compared above").to_be_bytes();
        self.out[length_at..length_at + 2].copy_from_slice(&length);
        self.counts[section as usize] += 1;
    }

    /// Ends the message.
    pub fn finish(mut self) {
        if let Some(edns) = self.edns {
            // As CoreDNS does: the client's own size and DO come back.
            self.out.push(0);
            self.out.extend_from_slice(&RecordType::OPT.0.to_be_bytes());
            self.out.extend_from_slice(&edns.payload.to_be_bytes());
            let extended = u8::try_from(self.rcode.0 >> 4).unwrap_or_default();
            let flags = if edns.dnssec_ok { 0x80 } else { 0 };
            self.out.extend_from_slice(&[extended, 0, flags, 0, 0, 0]);
            self.counts[Section::Additional as usize] += 1;
        }
        let header = &mut self.out[self.start..self.start + HEADER];
        if self.truncated {
            header[2] |= 0x02;
        }
        header[3] |= u8::try_from(self.rcode.0 & 0x0f).expect("four bits");
        for (section, count) in self.counts.iter().enumerate() {
            header[6 + 2 * section..8 + 2 * section].copy_from_slice(&count.to_be_bytes());
        }
    }

    fn data(&mut self, data: &RecordData) {
        match data {
            RecordData::A(address) => self.out.extend_from_slice(&address.octets()),
            RecordData::Aaaa(address) => self.out.extend_from_slice(&address.octets()),
            RecordData::Ptr(name) | RecordData::Cname(name) | RecordData::Ns(name) => {
                self.name(name);
            }
            RecordData::Txt(strings) => {
                for string in strings {
                    let string = &string[..string.len().min(255)];
                    self.out.push(u8::try_from(string.len()).expect("cut to 255"));
                    self.out.extend_from_slice(string);
                }
            }
            RecordData::Srv { priority, weight, port, target } => {
                for number in [priority, weight, port] {
                    self.out.extend_from_slice(&number.to_be_bytes());
                }
                // RFC 2782: the target is not compressed. Others may point to it.
                self.remember(self.out.len() - self.start, target.wire());
                self.out.extend_from_slice(target.wire());
            }
            RecordData::Soa { primary, mailbox, serial, refresh, retry, expire, minimum } => {
                self.name(primary);
                self.name(mailbox);
                for number in [serial, refresh, retry, expire, minimum] {
                    self.out.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
    }

    /// Writes a name, the end of it as a pointer when it was written before, in the same case.
    fn name(&mut self, name: &Name) {
        let wire = name.wire();
        let mut at = 0;
        while wire[at] != 0 {
            if let Some(place) = self.place_of(&wire[at..]) {
                self.remember(self.out.len() - self.start, &wire[..at]);
                self.out.extend_from_slice(&wire[..at]);
                self.out.extend_from_slice(&(0xc000 | place).to_be_bytes());
                return;
            }
            at += 1 + usize::from(wire[at]);
        }
        self.remember(self.out.len() - self.start, wire);
        self.out.extend_from_slice(wire);
    }

    /// Notes the places of all labels of a name that is written at `at`.
    fn remember(&mut self, at: usize, wire: &[u8]) {
        let mut label = 0;
        while label < wire.len() && wire[label] != 0 && self.known < PLACES {
            let place = at + label;
            if place > FURTHEST {
                return;
            }
            self.places[self.known] = u16::try_from(place).expect("compared with 14 bits");
            self.known += 1;
            label += 1 + usize::from(wire[label]);
        }
    }

    /// Where these labels stand already.
    fn place_of(&self, wire: &[u8]) -> Option<u16> {
        let message = &self.out[self.start..];
        self.places[..self.known]
            .iter()
            .copied()
            .find(|place| same(message, usize::from(*place), wire))
    }
}

/// Whether the name at `at` in a message that we wrote is `wire`, case and all.
fn same(message: &[u8], mut at: usize, mut wire: &[u8]) -> bool {
    loop {
        let Some(&length) = message.get(at) else { return false };
        if length & 0xc0 == 0xc0 {
            let Some(&low) = message.get(at + 1) else { return false };
            // Pointers that we write lead backwards.
            at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
            continue;
        }
        let label = 1 + usize::from(length);
        let (Some(theirs), Some(ours)) = (message.get(at..at + label), wire.get(..label)) else {
            return false;
        };
        if theirs != ours {
            return false;
        }
        if length == 0 {
            return true;
        }
        at += label;
        wire = &wire[label..];
    }
}
