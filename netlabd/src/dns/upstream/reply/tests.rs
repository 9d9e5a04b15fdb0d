// SPDX-License-Identifier: GPL-3.0-or-later

use proptest::prelude::*;

use super::*;
use crate::dns::upstream::tests::played::{address, code, cut, no_such_name, opt};
use crate::dns::upstream::tests::{query, read, with_edns};

const PLAIN: Form = Form { ttl: None, authoritative: false };

fn asked(name: &str) -> Asked {
    Asked::of(&query(name, RecordType::A), false)
}

fn reply(packet: &[u8]) -> Reply {
    Reply::read(packet, &asked("www.example"), 5).expect("an answer")
}

fn packet() -> Vec<u8> {
    asked("www.example").write(5)
}

#[test]
fn messages_are_told_apart_as_in_coredns() {
    let mut delegation = code(&packet(), 0);
    delegation[9] = 1;
    delegation.extend_from_slice(&[0, 0, 2, 0, 1, 0, 0, 0, 9, 0, 1, 0]);
    for (answer, class, ttl) in [
        (address(&packet(), 70, &[1]), Class::Success, 70),
        (address(&packet(), 0, &[1]), Class::Success, 0),
        (address(&packet(), 7000, &[1]), Class::Success, 3600),
        (address(&packet(), 0x8000_0001, &[1]), Class::Success, 0),
        (no_such_name(&packet(), 900, 60), Class::Denial, 60),
        (no_such_name(&packet(), 30, 60), Class::Denial, 30),
        (code(&packet(), 0), Class::Success, 5),
        (delegation, Class::Success, 9),
        (code(&packet(), 2), Class::Failure, 5),
        (code(&packet(), 4), Class::Failure, 5),
        (code(&packet(), 3), Class::Other, 5),
        (code(&packet(), 5), Class::Other, 5),
        (cut(address(&packet(), 70, &[1])), Class::Other, 5),
        (opt(code(&packet(), 0), 1), Class::Other, 5),
    ] {
        let reply = reply(&answer);
        assert_eq!((reply.class(), reply.ttl()), (class, ttl), "{answer:x?}");
    }
    let mut no_data = no_such_name(&packet(), 30, 60);
    no_data[3] &= 0xf0;
    assert_eq!(reply(&no_data).class(), Class::Denial);
}

#[test]
fn opt_of_the_upstream_goes_and_the_client_gets_its_own() {
    let query = query("www.example", RecordType::A);
    let mut behind = opt(address(&packet(), 70, &[1]), 0);
    behind[11] += 1;
    behind.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 192, 0, 2, 8]);
    for answer in [address(&packet(), 70, &[1]), opt(address(&packet(), 70, &[1]), 0), behind] {
        let reply = reply(&answer);
        assert_eq!(reply.ttl(), 70);
        let mut out = Vec::new();
        reply.write(&query, PLAIN, 512, &mut out);
        let message = read(&out);
        assert!(message.edns.is_none());
        assert_eq!((message.answers.len(), message.additionals.len()), (1, 0));
        reply.write(&with_edns(query.clone(), 1232, true), PLAIN, 1232, &mut out);
        let message = read(&out);
        assert!(message.edns.as_ref().unwrap().flags().dnssec_ok);
        assert_eq!(message.answers.len(), 1);
    }
}

#[test]
fn a_code_with_more_than_four_bits_needs_edns() {
    let query = query("www.example", RecordType::A);
    let reply = reply(&opt(code(&packet(), 0), 1));
    assert_eq!(reply.rcode(), 16);
    let mut out = Vec::new();
    reply.write(&query, PLAIN, 512, &mut out);
    assert_eq!(out[3] & 0x0f, 2);
    reply.write(&with_edns(query, 512, false), PLAIN, 512, &mut out);
    assert_eq!(u16::from(read(&out).metadata.response_code), 16);
}

#[test]
fn authenticated_data_is_told_to_those_who_asked_for_it() {
    let mut answer = address(&packet(), 70, &[1]);
    answer[3] |= 0x20;
    let query = query("www.example", RecordType::A);
    let mut out = Vec::new();
    reply(&answer).write(&query, PLAIN, 512, &mut out);
    assert!(!read(&out).metadata.authentic_data);
    let knows = Query { authentic_data: true, ..query.clone() };
    reply(&answer).write(&knows, PLAIN, 512, &mut out);
    assert!(read(&out).metadata.authentic_data);
    assert!(read(&Asked::of(&knows, false).write(5)).metadata.authentic_data);
    assert!(!read(&packet()).metadata.authentic_data);
    reply(&answer).write(&with_edns(query, 512, true), PLAIN, 512, &mut out);
    assert!(read(&out).metadata.authentic_data);
}

#[test]
fn whole_records_are_left_out_of_what_is_too_long() {
    let many: Vec<u8> = (0..60).collect();
    let reply = reply(&opt(address(&packet(), 70, &many), 0));
    let query = with_edns(query("www.example", RecordType::A), 600, false);
    for limit in [0, 512, 600, 601, 1000, 1001] {
        let mut out = Vec::new();
        reply.write(&query, Form { ttl: Some(3), authoritative: true }, limit, &mut out);
        assert!(out.len() <= limit.max(512), "{} of {limit}", out.len());
        assert!(out.len() + 16 > limit.clamp(512, 12 + 17 + 60 * 16 + 11), "as many as fit");
        let message = read(&out);
        assert_eq!(message.metadata.truncation, message.answers.len() < 60);
        assert!(message.metadata.authoritative && message.edns.is_some());
        assert!(message.answers.iter().all(|record| record.ttl == 3));
    }
}

proptest! {
    /// Whatever is believed can be written for any client, and be read by others.
    #[test]
    fn mutated_messages_are_refused_or_harmless(
        changes in proptest::collection::vec((0usize..400, any::<u8>()), 0..6),
        length in 0usize..400,
        which in 0usize..3,
        limit in 0usize..700,
        edns in any::<bool>(),
    ) {
        let mut packet = match which {
            0 => opt(address(&packet(), 70, &[1, 2, 3, 4, 5, 6, 7, 8, 9]), 0),
            1 => no_such_name(&packet(), 70, 60),
            _ => opt(code(&packet(), 2), 0),
        };
        for (at, value) in changes {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
        }
        packet.truncate(packet.len().min(length.max(30)));
        if let Ok(reply) = Reply::read(&packet, &asked("www.example"), 5) {
            let mut query = query("WWW.example", RecordType::A);
            if edns {
                query = with_edns(query, 600, true);
            }
            let mut out = Vec::new();
            reply.write(&query, Form { ttl: Some(9), authoritative: true }, limit, &mut out);
            prop_assert!(out.len() <= limit.max(512));
            prop_assert_eq!(&out[..2], &query.id.to_be_bytes());
            // What we wrote ourselves is whole: counts fit the records.
            let mut asked = Asked::of(&query, false);
            asked.edns = None;
            prop_assert!(Reply::read(&out, &asked, query.id).is_ok());
        }
    }

    #[test]
    fn bytes_are_no_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        // Only an id and a question by chance would be; six bytes of the name are too many.
        prop_assert!(Reply::read(&bytes, &asked("www.example"), 5).is_err());
    }
}
