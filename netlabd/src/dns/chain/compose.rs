// SPDX-License-Identifier: GPL-3.0-or-later
//! Answers to one name made of answers to another: aliases, rewrites, search paths. Pure.
//!
//! These are rare and may have records of any type, so messages are read and written as a whole.

use hickory_proto::op::{Message, Query as ProtoQuery, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name as ProtoName, RData, Record as ProtoRecord};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::dns::message::Query;
use crate::dns::name::Name;
use crate::dns::record::{Owner, Record, RecordData};

/// How records of another name become those of the one that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// The other name is called as the one that was asked.
    Rename,
    /// The one that was asked is an alias of the other.
    Alias,
}

/// Addresses and aliases in a message's answer, and whether it is cut short.
pub(super) fn addresses(message: &[u8]) -> (Vec<Record>, bool) {
    let Ok(message) = Message::from_vec(message) else { return (Vec::new(), false) };
    let records = message.answers.iter().filter_map(|record| {
        let data = match &record.data {
            RData::A(address) => RecordData::A(address.0),
            RData::AAAA(address) => RecordData::Aaaa(address.0),
            RData::CNAME(CNAME(name)) => RecordData::Cname(from_proto(name)?),
            _ => return None,
        };
        Some(Record { owner: Owner::Name(from_proto(&record.name)?), ttl: record.ttl, data })
    });
    (records.collect(), message.metadata.truncation)
}

/// Makes the response `message` to a query for `other` one to `query`, in at most `limit` bytes.
/// `None` when it cannot be read.
pub(super) fn joined(
    message: &[u8],
    query: &Query,
    other: &Name,
    how: Join,
    limit: usize,
) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(message).ok()?;
    let asked = to_proto(&query.question.name)?;
    let other = to_proto(other)?;
    message.metadata.id = query.id;
    for question in &mut message.queries {
        let (kind, class) = (question.query_type(), question.query_class());
        let mut own = ProtoQuery::query(asked.clone(), kind);
        own.set_query_class(class);
        *question = own;
    }
    match how {
        Join::Rename => {
            let sections =
                [&mut message.answers, &mut message.authorities, &mut message.additionals];
            for record in sections.into_iter().flatten().filter(|record| record.name == other) {
                record.name = asked.clone();
            }
        }
        Join::Alias => {
            // Without records there is nothing of which the name could be an alias.
            if let Some(first) = message.answers.first() {
                let ttl = first.ttl;
                let alias = RData::CNAME(CNAME(other));
                message.answers.insert(0, ProtoRecord::from_rdata(asked, ttl, alias));
            }
        }
    }
    fitted(message, limit)
}

/// The code of a response.
pub(super) fn is_nxdomain(message: &[u8]) -> bool {
    let code = u16::from(ResponseCode::NXDomain);
    message.get(3).is_some_and(|flags| u16::from(flags & 0xf) == code)
}

/// Writes a message; what does not fit is left out from the end, and then it is cut short.
fn fitted(mut message: Message, limit: usize) -> Option<Vec<u8>> {
    loop {
        let wire = message.to_vec().ok()?;
        if wire.len() <= limit {
            return Some(wire);
        }
        // Additional records are a courtesy; without others the client has to ask over TCP.
        if message.additionals.pop().is_some() {
            continue;
        }
        message.metadata.truncation = true;
        let half = message.answers.len() / 2;
        if message.authorities.pop().is_none() {
            if message.answers.is_empty() {
                return None;
            }
            message.answers.truncate(half);
        }
    }
}

fn to_proto(name: &Name) -> Option<ProtoName> {
    ProtoName::read(&mut BinDecoder::new(name.wire())).ok()
}

fn from_proto(name: &ProtoName) -> Option<Name> {
    Name::from_labels(name.iter()).ok()
}
