// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions and answers as values: what the zone is asked, and what it says.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::name::Name;

/// A type of records, by its number (RFC 1035 section 3.2.2 and IANA's registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

impl RecordType {
    /// An IPv4 address.
    pub const A: RecordType = RecordType(1);
    /// A name server of a zone.
    pub const NS: RecordType = RecordType(2);
    /// Another name for this one.
    pub const CNAME: RecordType = RecordType(5);
    /// The start of a zone.
    pub const SOA: RecordType = RecordType(6);
    /// The name of an address.
    pub const PTR: RecordType = RecordType(12);
    /// Text.
    pub const TXT: RecordType = RecordType(16);
    /// An IPv6 address.
    pub const AAAA: RecordType = RecordType(28);
    /// Where a service is served.
    pub const SRV: RecordType = RecordType(33);
    /// EDNS(0).
    pub const OPT: RecordType = RecordType(41);
    /// What is new in a zone.
    pub const IXFR: RecordType = RecordType(251);
    /// A whole zone.
    pub const AXFR: RecordType = RecordType(252);
    /// All types.
    pub const ANY: RecordType = RecordType(255);
}

/// A response code (RFC 1035 section 4.1.1, RFC 2136, RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

impl Rcode {
    /// No error; perhaps no data either.
    pub const NOERROR: Rcode = Rcode(0);
    /// The query cannot be read.
    pub const FORMERR: Rcode = Rcode(1);
    /// The answer cannot be had now.
    pub const SERVFAIL: Rcode = Rcode(2);
    /// There is no such name.
    pub const NXDOMAIN: Rcode = Rcode(3);
    /// Not done here.
    pub const NOTIMP: Rcode = Rcode(4);
    /// Not for this client.
    pub const REFUSED: Rcode = Rcode(5);
    /// An unknown version of EDNS.
    pub const BADVERS: Rcode = Rcode(16);
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("NOERROR"),
            1 => f.write_str("FORMERR"),
            2 => f.write_str("SERVFAIL"),
            3 => f.write_str("NXDOMAIN"),
            4 => f.write_str("NOTIMP"),
            5 => f.write_str("REFUSED"),
            16 => f.write_str("BADVERS"),
            other => write!(f, "RCODE{other}"),
        }
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordData {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name of an address.
    Ptr(Name),
    /// Another name for this one.
    Cname(Name),
    /// A name server.
    Ns(Name),
    /// Text: strings of at most 255 bytes.
    Txt(Vec<Vec<u8>>),
    /// Where a service is served (RFC 2782).
    Srv {
        /// Lower is preferred.
        priority: u16,
        /// Share among those of one priority.
        weight: u16,
        /// The port.
        port: u16,
        /// Who serves.
        target: Name,
    },
    /// The start of a zone.
    Soa {
        /// Primary name server.
        primary: Name,
        /// Mailbox of who is responsible.
        mailbox: Name,
        /// Version of the zone.
        serial: u32,
        /// Seconds.
        refresh: u32,
        /// Seconds.
        retry: u32,
        /// Seconds.
        expire: u32,
        /// Seconds for which it may be remembered that something is not there.
        minimum: u32,
    },
}

impl RecordData {
    /// The type of a record that says this.
    pub fn kind(&self) -> RecordType {
        match self {
            RecordData::A(_) => RecordType::A,
            RecordData::Aaaa(_) => RecordType::AAAA,
            RecordData::Ptr(_) => RecordType::PTR,
            RecordData::Cname(_) => RecordType::CNAME,
            RecordData::Ns(_) => RecordType::NS,
            RecordData::Txt(_) => RecordType::TXT,
            RecordData::Srv { .. } => RecordType::SRV,
            RecordData::Soa { .. } => RecordType::SOA,
        }
    }
}

/// Whose record it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The name that was asked, in the case in which it was asked.
    Asked,
    /// Another one.
    Name(Name),
}

/// One record of an answer; its class is IN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub owner: Owner,
    /// Seconds for which it may be remembered.
    pub ttl: u32,
    /// What it says.
    pub data: RecordData,
}

/// What is asked; the class is IN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// In the case in which it was asked.
    pub name: Name,
    /// The type.
    pub kind: RecordType,
}

/// What the zone says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The code.
    pub rcode: Rcode,
    /// Records that answer.
    pub answer: Vec<Record>,
    /// The SOA when there are none.
    pub authority: Vec<Record>,
    /// Addresses of those whom the answer names.
    pub additional: Vec<Record>,
}

/// What comes of asking the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The answer, with authority.
    Answer(Answer),
    /// An alias of a name outside: these records first, then what upstream says about `target`.
    Alias {
        /// CNAMEs so far.
        chain: Vec<Record>,
        /// Who is to be asked for.
        target: Name,
    },
    /// No zone of ours has this name, or the one that has lets others answer what it does not know.
    Elsewhere,
}
