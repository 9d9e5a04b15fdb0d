// SPDX-License-Identifier: GPL-3.0-or-later
//! What is read and written, as another library sees it.

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, ResponseCode};
use proptest::prelude::*;

use super::*;
use crate::dns::record::{Owner, RecordData};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn packet(id: u16, asked: &str, kind: u16, opt: Option<&[u8]>) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())]);
    packet.extend(name(asked).wire());
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(opt.unwrap_or_default());
    packet
}

const OPT: &[u8] = &[0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0];

#[test]
fn a_plain_query_is_read() {
    let query = read_query(&packet(7, "WeB.default.", 1, Some(OPT))).unwrap();
    assert_eq!((query.id, query.question.kind), (7, RecordType::A));
    assert_eq!(query.question.name.to_string(), "WeB.default.");
    assert_eq!(query.edns, Some(Edns { payload: 1232, version: 0, dnssec_ok: true }));
    assert!(query.recursion_desired && !query.checking_disabled);
    assert_eq!(query.udp_limit(), 1232);
    assert_eq!(read_query(&packet(7, "a.", 1, None)).unwrap().udp_limit(), 512);
}

#[test]
fn what_is_not_plain_is_left_to_others() {
    let plain = packet(7, "web.", 1, None);
    assert!(read_query(&plain).is_some());
    let changed = |at: usize, to: u8| {
        let mut packet = plain.clone();
        packet[at] = to;
        packet
    };
    let with_opt = |at: usize, to: u8| {
        let mut opt = OPT.to_vec();
        opt[at] = to;
        packet(7, "web.", 1, Some(&opt))
    };
    let wrong: Vec<(&str, Vec<u8>)> = vec![
        ("a response", changed(2, 0x81)),
        ("NOTIFY", changed(2, 0x20)),
        ("no question", changed(5, 0)),
        ("two questions", changed(5, 2)),
        ("an answer", changed(7, 1)),
        ("an authority", changed(9, 1)),
        ("a record that is missing", changed(11, 1)),
        ("a transfer", packet(7, "web.", 252, None)),
        ("class CH", changed(plain.len() - 1, 3)),
        ("bytes after the end", [plain.clone(), vec![0]].concat()),
        ("a short one", plain[..plain.len() - 1].to_vec()),
        ("a compressed name", changed(12, 0xc0)),
        ("version 1 of EDNS", with_opt(6, 1)),
        ("an OPT that is no root's", with_opt(0, 1)),
        ("an option that is missing", with_opt(10, 4)),
        ("nothing", Vec::new()),
    ];
    for (what, packet) in wrong {
        assert!(read_query(&packet).is_none(), "{what}");
    }
}

fn srv(target: &str) -> Record {
    let data = RecordData::Srv { priority: 0, weight: 100, port: 80, target: name(target) };
    Record { owner: Owner::Asked, ttl: 5, data }
}

fn address(owner: Owner, last: u8) -> Record {
    Record { owner, ttl: 5, data: RecordData::A(Ipv4Addr::new(10, 0, 0, last)) }
}

#[test]
fn an_answer_is_what_another_library_reads() {
    let query = read_query(&packet(9, "_http._tcp.wEb.svc.", 33, Some(OPT))).unwrap();
    let answer = Answer {
        rcode: Rcode::NOERROR,
        answer: vec![srv("a.web.svc."), srv("b.web.svc.")],
        authority: Vec::new(),
        additional: vec![
            address(Owner::Name(name("a.web.svc.")), 1),
            address(Owner::Name(name("b.web.svc.")), 2),
        ],
    };
    let mut out = b"before".to_vec();
    write_answer(&query, &answer, true, 4096, &mut out);
    let message = Message::from_vec(&out[6..]).unwrap();
    assert_eq!((message.metadata.id, message.metadata.authoritative), (9, true));
    assert_eq!(message.queries[0].name().to_string(), "_http._tcp.wEb.svc.");
    assert_eq!(message.answers.len(), 2);
    let text: Vec<String> = message.answers.iter().map(ToString::to_string).collect();
    assert!(text[1].contains("0 100 80 b.web.svc."), "{text:?}");
    assert_eq!(message.additionals[1].name.to_string(), "b.web.svc.");
    assert!(message.edns.as_ref().unwrap().flags().dnssec_ok);
    // Additional names are pointers to the targets.
    let full = 12 + 25 + 2 * (2 + 10 + 6 + 11) + 2 * (2 + 10 + 4) + 11;
    assert!(out.len() - 6 <= full, "{} > {full}", out.len() - 6);
}

#[test]
fn codes_beyond_four_bits_need_edns() {
    let query = read_query(&packet(9, "a.", 1, Some(OPT))).unwrap();
    let mut out = Vec::new();
    write_code(&query, Rcode::BADVERS, 512, &mut out);
    let message = Message::from_vec(&out).unwrap();
    assert_eq!(u16::from(message.metadata.response_code), u16::from(ResponseCode::BADVERS));
}

#[test]
fn a_payload_comes_back_as_it_was_said() {
    for (payload, limit) in
        [(0u16, 512), (100, 512), (512, 512), (1232, 1232), (4096, 4096), (65535, 65507)]
    {
        let [high, low] = payload.to_be_bytes();
        let opt = [0, 0, 41, high, low, 0, 0, 0, 0, 0, 0];
        let query = read_query(&packet(9, "a.", 1, Some(&opt))).unwrap();
        let mut out = Vec::new();
        write_code(&query, Rcode::NOERROR, 512, &mut out);
        assert_eq!(out[out.len() - opt.len()..], opt);
        assert_eq!(query.udp_limit(), limit);
    }
}

#[test]
fn what_is_cut_keeps_opt_while_there_is_room_for_it() {
    let query = read_query(&packet(9, "web.svc.", 1, Some(OPT))).unwrap();
    let records = |count| (1..=count).map(|last| address(Owner::Asked, last)).collect();
    let answer = Answer { answer: records(3), ..Answer::of(Rcode::NOERROR) };
    let mut whole = Vec::new();
    write_answer(&query, &answer, true, 4096, &mut whole);
    let questions = HEADER + name("web.svc.").wire().len() + 4;
    for (limit, answers, has_opt) in [
        (whole.len(), 3, true),
        (whole.len() - 1, 2, true),
        (questions + OPT.len() + 16, 1, true),
        (questions + OPT.len() + 15, 0, true),
        (questions + OPT.len() - 1, 0, false),
        (questions, 0, false),
    ] {
        let mut cut = whole.clone();
        wire::truncate(&mut cut, limit);
        assert!(cut.len() <= limit, "{} > {limit}", cut.len());
        let message = Message::from_vec(&cut).unwrap();
        assert_eq!((message.answers.len(), message.edns.is_some()), (answers, has_opt), "{limit}");
        assert_eq!(message.metadata.truncation, answers < 3);
        assert_eq!(message.queries.len(), 1);
    }
    let mut cut = whole.clone();
    wire::truncate(&mut cut, questions - 1);
    assert_eq!(cut, [0, 9, 0x87, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

proptest! {
    #[test]
    fn no_bytes_are_longer_than_they_were_cut_to(
        bytes in prop::collection::vec(any::<u8>(), 0..600), limit in 12usize..600,
    ) {
        let mut cut = bytes.clone();
        wire::truncate(&mut cut, limit);
        prop_assert!(cut.len() <= limit, "{} > {limit}", cut.len());
        prop_assert!(cut == bytes || bytes.len() > limit);
    }

    #[test]
    fn no_bytes_make_reading_fail(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read_query(&bytes);
    }

    #[test]
    fn a_mutated_query_is_read_as_another_library_reads_it(
        at in 0usize..60, to in any::<u8>(), kind in any::<u16>(),
    ) {
        let mut packet = packet(1, "web.default.svc.cluster.local.", kind, Some(OPT));
        let at = at % packet.len();
        packet[at] = to;
        if let Some(query) = read_query(&packet) {
            let message = Message::from_vec(&packet).unwrap();
            prop_assert_eq!(message.metadata.id, query.id);
            prop_assert_eq!(u16::from(message.queries[0].query_type()), query.question.kind.0);
        }
    }

    #[test]
    fn an_answer_keeps_to_its_limit_and_stays_readable(
        limit in 60usize..1500, count in 0u8..100, edns in any::<bool>(),
    ) {
        let query = read_query(&packet(1, "web.svc.", 1, edns.then_some(OPT))).unwrap();
        let names = ["a.web.svc.", "b.web.svc.", "web.svc.", "other."];
        let records = (0..count).map(|number| {
            let owner = name(names[usize::from(number) % names.len()]);
            address(Owner::Name(owner), number)
        });
        let answer = Answer {
            rcode: Rcode::NOERROR,
            answer: records.collect(),
            authority: Vec::new(),
            additional: Vec::new(),
        };
        let mut out = Vec::new();
        write_answer(&query, &answer, true, limit, &mut out);
        prop_assert!(out.len() <= limit, "{} > {limit}", out.len());
        let message = Message::from_vec(&out).unwrap();
        let is_whole = message.answers.len() == usize::from(count);
        prop_assert_eq!(message.metadata.truncation, !is_whole);
        prop_assert_eq!(message.edns.is_some(), edns);
    }
}
