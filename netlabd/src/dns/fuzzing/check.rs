// SPDX-License-Identifier: GPL-3.0-or-later
//! What must hold of every response, whatever was asked and whoever said it.

use crate::dns::message::wire::{WireRecord, records};
use crate::dns::message::{HEADER, Query, Section, u16_at};
use crate::dns::record::RecordType;

/// A response to what has the id of `asked`: whole to its last byte, in at most `limit` bytes.
pub(super) fn response(asked: &[u8], response: &[u8], limit: usize) {
    assert!(response.len() <= limit, "{} bytes, of {limit}", response.len());
    assert_eq!(response.get(..2), asked.get(..2), "the id");
    assert!(response[2] & 0x80 != 0, "no response");
    let mut found = records(response).expect("a response has a header and questions");
    let all: Vec<WireRecord> = found.by_ref().collect();
    assert!(found.is_complete(), "fewer records than the header says");
    if let Some(last) = all.last() {
        assert_eq!(last.end, response.len(), "bytes behind the last record");
    }
    let opts = all.iter().filter(|record| record.kind == RecordType::OPT);
    let sections: Vec<Section> = opts.map(|opt| opt.section).collect();
    assert!(matches!(sections[..], [] | [Section::Additional]), "OPT in {sections:?}");
}

/// The response to a query: the same question, and as much of EDNS as there was in that.
pub(super) fn answer(query: &Query, response: &[u8]) {
    let mut question = query.question.name.wire().to_vec();
    question.extend_from_slice(&query.question.kind.0.to_be_bytes());
    question.extend_from_slice(&[0, 1]);
    assert_eq!(u16_at(response, 4), Some(1), "questions");
    let place = HEADER..HEADER + question.len();
    assert_eq!(response.get(place), Some(&question[..]), "the question");
    assert_eq!(response[2] & 1 != 0, query.recursion_desired, "RD");
    assert_eq!(response[3] & 0x10 != 0, query.checking_disabled, "CD");
    let opt = records(response)
        .into_iter()
        .flatten()
        .find(|record| record.kind == RecordType::OPT)
        .map(|opt| (opt.class, opt.ttl & 0x00ff_8000));
    let edns = query.edns.map(|edns| (edns.payload, u32::from(edns.dnssec_ok) << 15));
    assert_eq!(opt, edns, "EDNS: payload, version and DO");
}

/// All records have this TTL.
pub(super) fn ttls(response: &[u8], ttl: u32) {
    for record in records(response).into_iter().flatten() {
        assert!(record.kind == RecordType::OPT || record.ttl == ttl, "{record:?}, not {ttl}");
    }
}

/// The same records in each section, in any order.
pub(super) fn same_records(before: &[u8], after: &[u8]) {
    let all = |message: &[u8]| {
        let found = records(message).into_iter().flatten();
        let mut all: Vec<_> = found
            .map(|record| {
                let data = message[record.data..record.end].to_vec();
                (record.section, record.kind, record.class, record.ttl, data)
            })
            .collect();
        all.sort_unstable();
        all
    };
    assert_eq!(before.len(), after.len(), "bytes of a message that was shuffled");
    assert_eq!(all(before), all(after), "records of a message that was shuffled");
}
