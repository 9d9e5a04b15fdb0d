// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole zones (RFC 5936, RFC 1995), as CoreDNS's plugin `transfer` sends them: to those whom the
//! configuration names, over TCP alone, and what is new always as a whole.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use ipnet::IpNet;

use crate::dns::message::{Query, write_answer};
use crate::dns::record::{Answer, Owner, Rcode, Record, RecordData, RecordType};
use crate::dns::zone::Zone;

/// Bytes of records per message, before names are compressed. Far below what a message may have.
const MESSAGE: usize = 32 * 1024;

/// Bytes of a record besides its name and data.
const FIXED: usize = 10;

/// Whether a client may have zones.
pub(super) fn is_allowed(client: IpAddr, to: &[String]) -> bool {
    to.iter().any(|to| {
        to == "*"
            || to.parse::<IpNet>().is_ok_and(|network| network.contains(&client))
            || to.parse::<IpAddr>().is_ok_and(|address| address == client)
    })
}

/// Whether this is a transfer that says what it should: what is new needs the serial of the client's
/// zone (RFC 1995 section 3).
pub(super) fn is_whole(query: &Query, serial: Option<u32>) -> bool {
    query.question.kind != RecordType::IXFR || serial.is_some()
}

/// A zone that somebody may have.
pub struct Transfer {
    pub(super) query: Query,
    pub(super) zone: Arc<RwLock<Zone>>,
    /// What the client has already.
    pub(super) serial: Option<u32>,
}

impl Transfer {
    /// Takes a copy of the zone as it is now; from then on it may change.
    pub fn messages(self) -> Messages {
        let mut records = {
            let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
            zone.transfer()
        };
        let current = records.first().and_then(|record| match record.data {
            RecordData::Soa { serial, .. } => Some(serial),
            _ => None,
        });
        // Serials go around (RFC 1982): what is ahead of us by less than half is no older.
        let is_known = |known: u32, current: u32| known.wrapping_sub(current) < 1 << 31;
        if self.serial.zip(current).is_some_and(|(known, current)| is_known(known, current)) {
            records.truncate(1);
        }
        Messages { query: self.query, records, sent: 0 }
    }
}

/// The messages of a zone, one after the other.
pub struct Messages {
    query: Query,
    records: Vec<Record>,
    sent: usize,
}

impl Messages {
    /// Writes the next message; false when there is none.
    pub fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let rest = &self.records[self.sent..];
        if rest.is_empty() {
            return false;
        }
        let mut size = 0;
        let mut count = 0;
        for record in rest {
            size += size_of(record, &self.query);
            if size > MESSAGE && count > 0 {
                break;
            }
            count += 1;
        }
        let answer = Answer {
            rcode: Rcode::NOERROR,
            answer: rest[..count].to_vec(),
            authority: Vec::new(),
            additional: Vec::new(),
        };
        self.sent += count;
        out.clear();
        write_answer(&self.query, &answer, true, usize::from(u16::MAX), out);
        true
    }
}

/// Bytes of a record, at most.
fn size_of(record: &Record, query: &Query) -> usize {
    let owner = match &record.owner {
        Owner::Asked => query.question.name.wire().len(),
        Owner::Name(name) => name.wire().len(),
    };
    let data = match &record.data {
        RecordData::A(_) => 4,
        RecordData::Aaaa(_) => 16,
        RecordData::Ptr(name) | RecordData::Cname(name) | RecordData::Ns(name) => name.wire().len(),
        RecordData::Txt(texts) => texts.iter().map(|text| text.len() + 1).sum(),
        RecordData::Srv { target, .. } => 6 + target.wire().len(),
        RecordData::Soa { primary, mailbox, .. } => {
            20 + primary.wire().len() + mailbox.wire().len()
        }
    };
    owner + FIXED + data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_go_to_whom_the_configuration_names() {
        let to = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let client: IpAddr = "192.0.2.7".parse().unwrap();
        assert!(is_allowed(client, &to(&["*"])));
        assert!(is_allowed(client, &to(&["198.51.100.0/24", "192.0.2.0/24"])));
        assert!(is_allowed(client, &to(&["192.0.2.7"])));
        assert!(!is_allowed(client, &to(&["192.0.2.8", "2001:db8::/32"])));
        assert!(!is_allowed(client, &[]));
    }
}
