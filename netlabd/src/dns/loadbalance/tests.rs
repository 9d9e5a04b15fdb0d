// SPDX-License-Identifier: GPL-3.0-or-later
use std::collections::BTreeSet;

use super::*;
use crate::dns::record::Rcode;

fn shuffler(prefer: &[&str]) -> Shuffler {
    let prefer = prefer.iter().map(|network| network.parse().unwrap()).collect();
    Shuffler::new(&LoadBalance { enabled: true, prefer })
}

fn a(owner: Owner, last: u8) -> Record {
    Record { owner, ttl: 5, data: RecordData::A([192, 0, 2, last].into()) }
}

fn cname(owner: Owner, to: &str) -> Record {
    Record { owner, ttl: 5, data: RecordData::Cname(to.parse().unwrap()) }
}

fn named(text: &str) -> Owner {
    Owner::Name(text.parse().unwrap())
}

fn answer(records: Vec<Record>) -> Answer {
    Answer { rcode: Rcode::NOERROR, answer: records, authority: vec![], additional: vec![] }
}

/// A response about `a.` with records of it (type, data), owners as pointers.
fn message(records: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = vec![0, 1, 0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
    message.extend(b"\x01a\0\0\x01\0\x01");
    for (kind, data) in records {
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 9, 0, data.len() as u8]);
        message.extend(*data);
    }
    message
}

fn addresses(message: &[u8]) -> Vec<String> {
    let message = Message::from_vec(message).unwrap();
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn every_order_of_addresses_comes() {
    let mut shuffler = shuffler(&[]);
    let (mut values, mut wires) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..500 {
        let mut value = answer((1..=3).map(|last| a(Owner::Asked, last)).collect());
        shuffler.shuffle(&mut value);
        values.insert(format!("{:?}", value.answer));
        let mut wire = message(&[(1, &[192, 0, 2, 1]), (1, &[192, 0, 2, 2]), (1, &[192, 0, 2, 3])]);
        shuffler.shuffle_wire(&mut wire);
        wires.insert(addresses(&wire));
    }
    assert_eq!(values.len(), 6);
    assert_eq!(wires.len(), 6);
    assert!(wires.iter().all(|order| order.iter().collect::<BTreeSet<_>>().len() == 3));
}

#[test]
fn aliases_stay_first_and_in_order() {
    let mut shuffler = shuffler(&[]);
    for _ in 0..50 {
        let mut value = answer(vec![
            a(named("c."), 1),
            cname(named("b."), "c."),
            a(named("c."), 2),
            cname(Owner::Asked, "b."),
        ]);
        shuffler.shuffle(&mut value);
        assert_eq!(value.answer[0], cname(Owner::Asked, "b."));
        assert_eq!(value.answer[1], cname(named("b."), "c."));
        assert_eq!(value.answer.len(), 4);
    }
    let late = message(&[(1, &[192, 0, 2, 1]), (5, b"\x01b\0")]);
    let first = aliases_first_wire(&late).unwrap();
    assert_eq!(addresses(&first), ["b.", "192.0.2.1"]);
    assert_eq!(aliases_first_wire(&first), None);
}

#[test]
fn preferred_networks_come_first_in_their_order() {
    let mut shuffler = shuffler(&["192.0.2.3/32", "192.0.2.0/31"]);
    for _ in 0..50 {
        let mut value = answer((0..5).map(|last| a(Owner::Asked, last)).collect());
        shuffler.shuffle(&mut value);
        assert_eq!(value.answer[0], a(Owner::Asked, 3));
        let next: BTreeSet<_> = value.answer[1..3].iter().map(|r| format!("{r:?}")).collect();
        assert!(next.contains(&format!("{:?}", a(Owner::Asked, 0))));
        assert!(next.contains(&format!("{:?}", a(Owner::Asked, 1))));

        let data: Vec<[u8; 4]> = (0..5).map(|last| [192, 0, 2, last]).collect();
        let records: Vec<(u16, &[u8])> = data.iter().map(|data| (1, &data[..])).collect();
        let mut wire = message(&records);
        shuffler.shuffle_wire(&mut wire);
        let order = addresses(&wire);
        assert_eq!(order[0], "192.0.2.3");
        assert!(order[1..3].contains(&"192.0.2.0".to_owned()), "{order:?}");
    }
}

#[test]
fn data_stays_with_its_owner_and_everything_else_where_it_is() {
    let mut shuffler = shuffler(&[]);
    let mut wire =
        message(&[(5, b"\x01b\0"), (1, &[1; 4]), (28, &[2; 16]), (1, &[3; 4]), (16, b"\x01t")]);
    // The first address gets another owner, written in full.
    let full = message(&[(1, &[1; 4])]);
    let before = wire.clone();
    for _ in 0..20 {
        shuffler.shuffle_wire(&mut wire);
        assert_eq!(wire, before, "an A record apart from the others is a set of its own");
    }
    assert_eq!(addresses(&full), ["1.1.1.1"]);
    let mut off = Shuffler::new(&LoadBalance { enabled: false, prefer: vec![] });
    let mut same = message(&[(1, &[1; 4]), (1, &[2; 4])]);
    let before = same.clone();
    for _ in 0..20 {
        off.shuffle_wire(&mut same);
        assert_eq!(same, before);
    }
}

#[test]
fn what_is_of_another_class_keeps_its_address() {
    let mut shuffler = shuffler(&[]);
    let mut wire = message(&[(1, &[1; 4]), (1, &[2; 4]), (1, &[3; 4])]);
    // The second of them: 19 bytes in front, 16 each, and its class behind owner and type.
    let second = 19 + 16;
    wire[second + 5] = 3;
    let before = wire.clone();
    let mut moved = false;
    for _ in 0..50 {
        shuffler.shuffle_wire(&mut wire);
        assert_eq!(wire[second..second + 16], before[second..second + 16]);
        moved |= wire != before;
    }
    assert!(moved, "the others change places");
}

proptest::proptest! {
    #[test]
    fn hostile_bytes_do_no_harm(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let mut shuffler = shuffler(&["0.0.0.0/1", "::/1"]);
        let mut message = bytes.clone();
        shuffler.shuffle_wire(&mut message);
        proptest::prop_assert_eq!(message.len(), bytes.len());
        aliases_first_wire(&bytes);
    }
}
