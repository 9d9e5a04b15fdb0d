// SPDX-License-Identifier: GPL-3.0-or-later
//! Answers to one name made of answers to another: aliases, rewrites, search paths. Pure.
//!
//! These are rare and may have records of any type, so messages are read and written as a whole.

use hickory_proto::op::Message;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name as WireName, RData};

use crate::dns::autopath::alias_wire;
use crate::dns::message::Query;
use crate::dns::message::wire::{set_payload, truncate};
use crate::dns::name::Name;
use crate::dns::record::{Owner, Rcode, Record, RecordData};
use crate::dns::rewrite::{Rewritten, restore_wire};

/// How records of another name become those of the one that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join<'a> {
    /// The other name is called as the one that was asked.
    Rename(&'a Rewritten),
    /// The one that was asked is an alias of the other.
    Alias,
}

/// What aliases lead to in a message's answer (addresses, text, other aliases), and whether it is cut
/// short.
pub(super) fn targets(message: &[u8]) -> (Vec<Record>, bool) {
    let Ok(message) = Message::from_vec(message) else { return (Vec::new(), false) };
    let records = message.answers.iter().filter_map(|record| {
        let data = match &record.data {
            RData::A(address) => RecordData::A(address.0),
            RData::AAAA(address) => RecordData::Aaaa(address.0),
            RData::CNAME(CNAME(name)) => RecordData::Cname(from_proto(name)?),
            RData::TXT(text) => {
                RecordData::Txt(text.txt_data.iter().map(|string| string.to_vec()).collect())
            }
            _ => return None,
        };
        Some(Record { owner: Owner::Name(from_proto(&record.name)?), ttl: record.ttl, data })
    });
    (records.collect(), message.metadata.truncation)
}

/// Makes the response `message` to a query for another name one to `query`, in at most `limit` bytes.
/// `None` when it cannot be read.
pub(super) fn joined(
    message: &[u8],
    query: &Query,
    how: Join<'_>,
    limit: usize,
) -> Option<Vec<u8>> {
    let asked = &query.question.name;
    let mut message = match how {
        Join::Rename(rewritten) => restore_wire(message, rewritten, asked)?,
        Join::Alias => alias_wire(message, asked)?,
    };
    truncate(&mut message, limit);
    if let Some(edns) = &query.edns {
        // Whoever read and wrote it makes at least 512 of the client's own size.
        set_payload(&mut message, edns.payload);
    }
    Some(message)
}

/// Whether a response says that there is no such name.
pub(super) fn is_nxdomain(message: &[u8]) -> bool {
    message.get(3).is_some_and(|flags| u16::from(flags & 0xf) == Rcode::NXDOMAIN.0)
}

fn from_proto(name: &WireName) -> Option<Name> {
    Name::from_labels(name.iter()).ok()
}
