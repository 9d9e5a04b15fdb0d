// SPDX-License-Identifier: GPL-3.0-or-later
//! The way in for a fuzzer: whatever bytes a client or an upstream might send. Only with feature
//! `fuzzing`, and in tests; nothing else is to be built on it.
//!
//! ```text
//!  query:  bytes ─► raw readers ─► both readers of queries ─► zone, twice ─► chains ─► check
//!  reply:  bytes ─► an upstream's reply ─► written ─► shuffled, renamed, cut ─► check
//!                            └► remembered ─► chains: as it is, rewritten, searched, aliased ─► check
//! ```

use std::ptr;
use std::sync::PoisonError;
use std::time::Instant;

use hickory_proto::op::Message;

use super::autopath::alias_wire;
use super::chain::{Chain, Protocol, Step};
use super::config::LoadBalance;
use super::handler::{self, Unusual};
use super::loadbalance::{Shuffler, aliases_first_wire};
use super::message::{DATAGRAM_LIMIT, Edns, HEADER, Query, read_query, wire, write_answer};
use super::name::Name;
use super::record::{Found, Question, Rcode, RecordType};
use super::rewrite::restore_wire;
use super::upstream;
use super::zone::Direct;

mod check;
mod seeds;
mod stage;

pub use seeds::{queries, replies};
pub use stage::Prepared;

/// Bytes that one over TCP may have.
const MOST: usize = u16::MAX as usize;

/// A name outside, whose answer is remembered.
const OUTSIDE: &str = "www.example.";

/// Names that lead to it: by a rewrite, by a search path, and as an alias in the zone.
const RENAMED: &str = "Www.old.example.";
const SEARCHED: &str = "www.example.a.svc.cluster.local.";
const ALIAS: &str = "x.a.svc.cluster.local.";

impl Prepared {
    /// Gives bytes to all that reads clients' messages. Nothing may panic, and what is written must
    /// be a message that the client can read, knows by its id, and has room for.
    pub fn query(&self, bytes: &[u8]) {
        raw(bytes);
        let plain = read_query(bytes);
        let mut out = Vec::new();
        let unusual = handler::read(bytes, &mut out);
        if let Unusual::Refused(rcode) = &unusual {
            check::response(bytes, &out, bytes.len());
            assert_eq!(u16::from(out[3] & 0xf), rcode.0 & 0xf, "the code");
        }
        handler::write_error(bytes, Rcode::REFUSED, &mut out);
        assert_eq!(out.is_empty(), bytes.len() < HEADER, "an error for what has a header");
        if !out.is_empty() {
            check::response(bytes, &out, bytes.len());
        }
        let query = match (plain, unusual) {
            (Some(plain), Unusual::Plain(query)) => {
                assert_eq!(plain, query, "a plain query reads the same both ways");
                Some(plain)
            }
            // It knows of options what they must look like, and refuses others.
            (Some(plain), Unusual::Refused(_)) => Some(plain),
            (Some(plain), other) => panic!("{plain:?} is {other:?}"),
            (None, Unusual::Plain(query)) => Some(query),
            (None, _) => None,
        };
        if let Some(query) = &query {
            self.zone_says_the_same_twice(query);
        }
        for chain in [&self.plain, &self.busy] {
            for protocol in [Protocol::Udp, Protocol::Tcp] {
                if let Some(response) = self.ask(chain, bytes, protocol, query.as_ref()) {
                    Message::from_vec(&response).expect("a message that others can read");
                }
            }
        }
        if let Step::Answered =
            self.plain.now(bytes, stage::STRANGER, Protocol::Udp, Instant::now(), &mut out)
        {
            check::response(bytes, &out, bytes.len());
        }
    }

    /// Takes bytes for what an upstream says. The first says how it is asked; then come the flags,
    /// the numbers of records, and the records. What clients get must be a message that is whole,
    /// with their id and question and no more than they have room for, whatever it says.
    pub fn reply(&self, bytes: &[u8]) {
        raw(bytes);
        let Some((query, packet)) = said(bytes) else { return };
        upstream::fuzzing::read_as_it_is(bytes, &query);
        let Some(heard) = self.upstreams.hear(&packet, &query) else { return };
        for limit in [query.udp_limit(), MOST] {
            for ttl in [None, Some(5)] {
                let mut out = Vec::new();
                heard.write(&query, ttl, limit, &mut out);
                check::response(&packet, &out, limit);
                check::answer(&query, &out);
                if let Some(ttl) = ttl {
                    check::ttls(&out, ttl);
                }
                changed(&query, &out, limit);
            }
        }
        if heard.is_remembered {
            self.ask_for_what_is_remembered(&query);
        }
    }

    /// All ways in which what an upstream said once reaches clients.
    fn ask_for_what_is_remembered(&self, query: &Query) {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let mut out = Vec::new();
            let packet = upstream::fuzzing::packet(query);
            let step = self.busy.now(&packet, stage::POD, protocol, Instant::now(), &mut out);
            assert!(matches!(step, Step::Answered), "nobody else is asked");
            for name in [OUTSIDE, RENAMED, SEARCHED, ALIAS] {
                let query = Query {
                    question: Question { name: name.parse().expect("a name"), ..query.question },
                    ..query.clone()
                };
                let packet = upstream::fuzzing::packet(&query);
                self.ask(&self.busy, &packet, protocol, Some(&query)).expect("an answer");
            }
        }
    }

    /// As values and as bytes, the zone says the same.
    fn zone_says_the_same_twice(&self, query: &Query) {
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        for limit in [query.udp_limit(), MOST] {
            let mut out = Vec::new();
            let direct = zone.answer_into(query, limit, &mut out);
            match (direct, zone.answer(&query.question)) {
                (Direct::Answered, Found::Answer(answer)) => {
                    let mut other = Vec::new();
                    write_answer(query, &answer, true, limit, &mut other);
                    assert_eq!(out, other, "bytes and values");
                }
                (Direct::Alias, Found::Alias { .. }) | (Direct::Elsewhere, Found::Elsewhere) => {
                    assert!(out.is_empty(), "something was written");
                }
                (direct, found) => panic!("{direct:?}, and {found:?}"),
            }
        }
    }

    /// What a pod is told; `query` is what its bytes ask, if that is plain.
    fn ask(
        &self,
        chain: &Chain,
        bytes: &[u8],
        protocol: Protocol,
        query: Option<&Query>,
    ) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let response = match chain.now(bytes, stage::POD, protocol, Instant::now(), &mut out) {
            Step::Answered => out,
            Step::Silent => return None,
            Step::Later(pending) => {
                chain.overloaded(&pending, &mut out);
                check::response(bytes, &out, MOST);
                self.runtime.block_on(chain.later(pending))
            }
            Step::Transfer(transfer) => {
                let mut messages = transfer.messages();
                while messages.next(&mut out) {
                    check::response(bytes, &out, MOST);
                }
                return None;
            }
        };
        let query = query.map(|query| self.as_answered(query, chain));
        let limit = match (protocol, &query) {
            (Protocol::Udp, Some(query)) => query.udp_limit(),
            (Protocol::Udp, None) => DATAGRAM_LIMIT,
            (Protocol::Tcp, _) => MOST,
        };
        check::response(bytes, &response, limit);
        if let Some(query) = &query {
            check::answer(query, &response);
        }
        Some(response)
    }

    /// A query with the payload that its answer gives back.
    fn as_answered(&self, query: &Query, chain: &Chain) -> Query {
        let mut query = query.clone();
        if let Some(edns) = query.edns.as_mut().filter(|_| ptr::eq(chain, &self.busy)) {
            edns.payload = edns.payload.min(stage::BUFSIZE);
        }
        query
    }
}

/// A query, and the message that these bytes are as an upstream's reply to it.
fn said(bytes: &[u8]) -> Option<(Query, Vec<u8>)> {
    let (&how, bytes) = bytes.split_first()?;
    let (head, records) = bytes.split_first_chunk::<8>()?;
    let query = asked(how);
    let mut packet = query.id.to_be_bytes().to_vec();
    packet.extend_from_slice(&[0x80 | (head[0] & 0x07), head[1], 0, 1]);
    packet.extend_from_slice(&head[2..]);
    packet.extend_from_slice(query.question.name.wire());
    packet.extend_from_slice(&query.question.kind.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(records);
    Some((query, packet))
}

/// What the first byte of a reply says of the query: its type, its EDNS and its flags.
fn asked(how: u8) -> Query {
    const HTTPS: RecordType = RecordType(65);
    const MX: RecordType = RecordType(15);
    let kinds = [
        RecordType::A,
        RecordType::AAAA,
        RecordType::CNAME,
        RecordType::TXT,
        RecordType::SOA,
        MX,
        HTTPS,
        RecordType::ANY,
    ];
    let edns = |payload, dnssec_ok| Some(Edns { payload, version: 0, dnssec_ok });
    Query {
        id: 0x4e4c,
        question: Question {
            name: OUTSIDE.parse().expect("a name"),
            kind: kinds[usize::from(how & 7)],
        },
        // Without it, nothing is remembered.
        recursion_desired: true,
        authentic_data: how & 0x20 != 0,
        checking_disabled: how & 0x40 != 0,
        edns: [None, edns(512, false), edns(1232, true), edns(4096, false)]
            [usize::from(how >> 3 & 3)],
    }
}

/// Walks through and changes what may be no message at all.
fn raw(bytes: &[u8]) {
    if let Ok(name) = Name::from_wire(bytes) {
        assert_eq!(name.to_string().parse(), Ok(name), "a name reads as it was written");
    }
    let count = wire::records(bytes).map_or(0, Iterator::count);
    let mut changed = bytes.to_vec();
    wire::set_payload(&mut changed, 512);
    assert_eq!(wire::records(&changed).map_or(0, Iterator::count), count, "records");
    for limit in [HEADER, 40, 512] {
        let mut cut = bytes.to_vec();
        wire::truncate(&mut cut, limit);
        assert!(cut.len() <= limit, "{} bytes, of {limit}", cut.len());
    }
    Shuffler::new(&LoadBalance::default()).shuffle_wire(&mut changed);
    let _ = aliases_first_wire(&changed);
}

/// Makes of a response what is made of responses.
fn changed(query: &Query, response: &[u8], limit: usize) {
    let mut shuffled = response.to_vec();
    let prefer = vec!["10.42.0.0/16".parse().expect("a network")];
    Shuffler::new(&LoadBalance { prefer, ..LoadBalance::default() }).shuffle_wire(&mut shuffled);
    check::same_records(response, &shuffled);
    let name: Name = RENAMED.parse().expect("a name");
    let renamed = restore_wire(response, &query.question.name.clone().into(), &name);
    for other in [renamed, alias_wire(response, &name)].into_iter().flatten() {
        let mut other = other;
        wire::truncate(&mut other, limit);
        check::response(response, &other, limit);
        Message::from_vec(&other).expect("a message that others can read");
    }
}

#[cfg(test)]
mod tests;
