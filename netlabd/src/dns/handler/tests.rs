// SPDX-License-Identifier: GPL-3.0-or-later
use proptest::prelude::*;

use super::*;

const NAME: &[u8] = b"\x03WeB\x05local\0";
const OPT: &[u8] = b"\0\0\x29\x10\0\0\0\x80\0\0\0";

/// A message with this second line of flags and these counts; then a question, then `rest`.
fn message(flags: [u8; 2], counts: [u8; 4], kind: u8, class: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, flags[0], flags[1]];
    for count in counts {
        bytes.extend_from_slice(&[0, count]);
    }
    bytes.extend_from_slice(NAME);
    bytes.extend_from_slice(&[0, kind, 0, class]);
    bytes.extend_from_slice(rest);
    bytes
}

fn refused(packet: &[u8]) -> (Rcode, Vec<u8>) {
    let mut out = b"old".to_vec();
    match read(packet, &mut out) {
        Unusual::Refused(rcode) => (rcode, out),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_query_is_met_with_silence() {
    let mut out = Vec::new();
    assert_eq!(read(b"", &mut out), Unusual::Silent);
    assert_eq!(read(&[0; 11], &mut out), Unusual::Silent);
    let response = message([0x81, 0], [1, 0, 0, 0], 1, 1, b"");
    assert_eq!(read(&response, &mut out), Unusual::Silent);
}

#[test]
fn errors_in_the_header_are_answered_with_a_header() {
    for (counts, flags) in [
        ([0, 0, 0, 0], [1, 0]),
        ([2, 0, 0, 0], [1, 0]),
        ([1, 2, 0, 0], [1, 0]),
        ([1, 0, 2, 0], [1, 0]),
        ([1, 0, 0, 3], [1, 0]),
    ] {
        let (rcode, out) = refused(&message(flags, counts, 1, 1, b""));
        assert_eq!(rcode, Rcode::FORMERR);
        assert_eq!(out, [0x12, 0x34, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    for opcode in (1..16).filter(|&opcode| opcode != 4) {
        let (rcode, out) = refused(&message([opcode << 3, 0], [1, 0, 0, 0], 1, 1, b""));
        assert_eq!(rcode, Rcode::NOTIMP);
        assert_eq!(out[..4], [0x12, 0x34, 0x80 | opcode << 3, 4]);
        assert_eq!(out.len(), HEADER);
    }
    let alone = &message([1, 0], [1, 0, 0, 0], 1, 1, b"")[..HEADER];
    assert_eq!(refused(alone).0, Rcode::SERVFAIL);
}

#[test]
fn bad_names_and_records_are_form_errors() {
    let mut long = message([1, 0], [1, 0, 0, 0], 1, 1, b"");
    long[HEADER] = 64;
    assert_eq!(refused(&long).0, Rcode::FORMERR);
    let whole = message([1, 0], [1, 0, 0, 0], 1, 1, b"");
    for end in HEADER + 1..whole.len() {
        assert_eq!(refused(&whole[..end]).0, Rcode::FORMERR, "{end}");
    }
    for rest in [&b"\0"[..], b"\0\0\x29\x10\0\0\0\0\0\0", b"\0\0\x29\x10\0\0\0\0\0\0\x01"] {
        let (rcode, out) = refused(&message([1, 0], [1, 0, 0, 1], 1, 1, rest));
        assert_eq!(rcode, Rcode::FORMERR);
        assert_eq!(&out[HEADER..], &whole[HEADER..]);
    }
}

#[test]
fn classes_and_versions_that_are_not_served_are_refused() {
    let chaos = message([1, 0], [1, 0, 0, 1], 16, 3, OPT);
    let (rcode, out) = refused(&chaos);
    assert_eq!(rcode, Rcode::REFUSED);
    // Question and EDNS come back as they were.
    assert_eq!(out[HEADER..], chaos[HEADER..]);
    let version = message([1, 0], [1, 0, 0, 1], 1, 1, b"\0\0\x29\x10\0\0\x01\0\0\0\0");
    let (rcode, out) = refused(&version);
    assert_eq!(rcode, Rcode::BADVERS);
    assert_eq!(out[3] & 0xf, 0);
    assert_eq!(&out[out.len() - 11..], b"\0\0\x29\x10\0\x01\0\0\0\0\0");
}

#[test]
fn what_is_only_unusual_is_read_as_a_query() {
    let mut out = Vec::new();
    for packet in [
        message([1, 0], [1, 0, 0, 0], 1, 1, b"trailing"),
        message([1, 0], [1, 0, 0, 2], 1, 1, b""),
        message([1, 0x40], [1, 0, 0, 0], 1, 1, b""),
    ] {
        let Unusual::Plain(query) = read(&packet, &mut out) else { panic!("{packet:?}") };
        assert_eq!(query.id, 0x1234);
        assert_eq!(query.question.name.to_string(), "WeB.local.");
        assert!(query.recursion_desired && query.edns.is_none());
    }
    let soa = [NAME, b"\0\x06\0\x01\0\0\0\0\0\x16\0\0", &[0, 0, 1, 2], &[0; 16]].concat();
    let ixfr = message([0, 0], [1, 0, 1, 0], 251, 1, &soa);
    let Unusual::Transfer { serial, .. } = read(&ixfr, &mut out) else { panic!() };
    assert_eq!(serial, Some(0x102));
    let notify = message([4 << 3, 0], [1, 1, 0, 0], 6, 1, &soa);
    assert!(matches!(read(&notify, &mut out), Unusual::Notify(_)));
}

/// Plain queries do not come here, but were they to, they would be read alike: with the zone that
/// makes the same sections of both.
#[test]
fn plain_queries_are_read_as_on_the_direct_path() {
    use crate::dns::message::read_query;

    let mut out = Vec::new();
    for (flags, kind, additional, opt) in [
        ([1, 0], 1, 0, &b""[..]),
        ([0, 0x20], 28, 0, b""),
        ([1, 0x10], 33, 1, OPT),
        ([1, 0x30], 255, 1, b"\0\0\x29\x02\0\0\0\0\0\0\x06\0\x0a\0\x02ab"),
        ([1, 0], 16, 1, b"\0\0\x29\x02\0\0\0\0\0\0\0"),
        // A payload that means 512 comes back as it was said.
        ([1, 0], 1, 1, b"\0\0\x29\0\x64\0\0\0\0\0\0"),
        ([1, 0], 1, 1, b"\0\0\x29\0\0\0\0\0\0\0\0"),
    ] {
        let packet = message(flags, [1, 0, 0, additional], kind, 1, opt);
        let direct = read_query(&packet).expect("a plain query");
        assert_eq!(read(&packet, &mut out), Unusual::Plain(direct));
    }
}

#[test]
fn two_opt_records_are_a_form_error() {
    let twice = message([1, 0], [1, 0, 0, 2], 1, 1, &[OPT, OPT].concat());
    assert_eq!(refused(&twice).0, Rcode::FORMERR);
}

proptest! {
    #[test]
    fn no_bytes_do_harm_and_no_answer_is_longer(
        flags: u8, counts in proptest::array::uniform4(0u8..4), kind: u8, class in 0u8..4,
        rest in proptest::collection::vec(any::<u8>(), 0..64),
        cut in 0usize..120,
        change in proptest::option::of((0usize..80, any::<u8>())),
    ) {
        let mut packet = message([flags, 0], counts, kind, class, &rest);
        packet.truncate(cut.max(1));
        if let Some((at, byte)) = change && at < packet.len() {
            packet[at] = byte;
        }
        let mut out = Vec::new();
        if let Unusual::Refused(rcode) = read(&packet, &mut out) {
            prop_assert!(out.len() <= packet.len());
            prop_assert_eq!(u16::from(out[3] & 0xf), rcode.0 & 0xf);
            prop_assert_eq!(out[2] & QR, QR);
        }
        write_error(&packet, Rcode::REFUSED, &mut out);
        prop_assert!(out.len() <= packet.len());
    }
}
