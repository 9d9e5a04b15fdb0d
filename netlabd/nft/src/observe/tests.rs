// SPDX-License-Identifier: GPL-3.0-or-later
//! What is encoded is decoded again, and no bytes whatever make a decoder panic.

use std::time::Duration;

use proptest::prelude::*;

use super::replay::read;
use super::{Decoder, Elements, comment, join};
use crate::diff;
use crate::element::{Element, Protocol, Tuple, Value};
use crate::expression::{ConntrackStates, Expression, Field, Operator, Side, Verdict};
use crate::message::Attributes;
use crate::rule::{Base, Chain, ChainType, Comment, Family, Hook, Policy, Rule, Table, TableName};
use crate::set::encoding::Shape;
use crate::set::{Datatype, MapData, Set};
use crate::transaction::{Step, Transaction, encode};

/// One of each kind, in little space.
fn example() -> Transaction {
    let table = TableName::own(Family::Ip6);
    let remark = || Comment::new("an example");
    let source = || vec![Field::Address(Family::Ip6, Side::Source)];
    let set = |name: &str, key: &[Datatype]| Set::new(table.set(name), key.to_vec(), remark());
    let key = || vec![Field::Address(Family::Ip6, Side::Destination), Field::Random(2)];
    let name = |name: &str| name.to_owned();
    let address = "fd42::2".parse().unwrap();
    let sets = [
        set("plain", &[Datatype::Ipv6Addr]),
        Set { interval: true, ..set("nets", &[Datatype::Ipv6Addr]) },
        Set { interval: true, ..set("pairs", &[Datatype::Ipv6Addr, Datatype::InetService]) },
        set("verdicts", &[Datatype::InetProto, Datatype::ClassId]).with_data(MapData::Verdict),
        set("values", &[Datatype::Ipv6Addr, Datatype::Index])
            .with_data(MapData::Values(vec![Datatype::Ipv6Addr, Datatype::InetService])),
        Set {
            dynamic: true,
            timeout: Some(Duration::from_millis(1500)),
            size: Some(9),
            ..set("dynamic", &[Datatype::Ipv6Addr])
        },
    ];
    let network = Value::Network("fd00::/8".parse().unwrap());
    let last = Value::Network("fe00::/7".parse().unwrap());
    let elements = [
        ("plain", Element::new(Value::Address(address)).with_comment(remark())),
        ("nets", Element::new(network).with_comment(remark())),
        ("nets", Element::new(last)),
        ("pairs", Element::new([network, Value::Port(80)])),
        (
            "verdicts",
            Element::to_verdict(
                [Value::Protocol(Protocol::Udp), Value::Class(7)],
                Verdict::Jump(name("other")),
            ),
        ),
        (
            "values",
            Element::to_values(
                [Value::Address(address), Value::Number(1)],
                [Value::Address(address), Value::Port(8080)],
            ),
        ),
    ];
    let local = |operator| Expression::LocalAddress { side: Side::Destination, operator };
    let expressions = vec![
        Expression::Protocol(Protocol::Tcp),
        Expression::DestinationPort(80),
        Expression::SourcePort(53),
        Expression::Untracked,
        local(Operator::IsNot),
        Expression::Mark { mask: 0xf0, operator: Operator::Is, value: 0x10 },
        Expression::ConntrackState(ConntrackStates::NEW | ConntrackStates::RELATED),
        Expression::ConntrackDnat,
        Expression::Random { modulus: 3, equals: 2 },
        Expression::InSet { key: source(), set: name("plain"), negated: true },
        Expression::SetPriority(3),
        Expression::OrMark(0x4000),
        Expression::XorMark(0x4000),
        Expression::UpdateSet { key: source(), set: name("dynamic") },
        Expression::VerdictMap {
            key: vec![Field::Protocol, Field::Priority],
            map: name("verdicts"),
        },
        Expression::DnatMap { family: Family::Ip6, key: key(), map: name("values") },
        Expression::Dnat { to: address, port: Some(8080) },
        Expression::Masquerade { fully_random: true },
        Expression::Counter,
        Expression::SourceUnreachableThere,
        Expression::ArrivedByGroup(7),
        Expression::Reject,
        Expression::Reset,
        Expression::Verdict(Verdict::Goto(name("other"))),
    ];
    let base = Base {
        kind: ChainType::Nat,
        hook: Hook::Output,
        priority: Base::DSTNAT,
        policy: Policy::Accept,
    };
    let chain = |name: &str, base| {
        Step::AddChain(Chain { name: table.chain(name), base, comment: remark() })
    };
    let mut steps = vec![Step::AddTable(Table { name: table.clone(), comment: remark() })];
    steps.extend(sets.into_iter().map(Step::AddSet));
    steps.extend([chain("base", Some(base)), chain("other", None)]);
    steps.extend(elements.map(|(set, element)| Step::AddElements(table.set(set), vec![element])));
    steps.push(Step::AddRule(Rule { chain: table.chain("base"), expressions, comment: remark() }));
    Transaction { steps }
}

#[test]
fn what_is_encoded_is_decoded_as_it_was() {
    let example = example();
    let observed = read(&encode(&example).bytes);
    let rest = diff(&example, &observed);
    assert!(rest.is_empty(), "{rest}");
    let table = &observed.tables[&TableName::own(Family::Ip6)];
    assert_eq!((table.sets.len(), table.chains.len()), (6, 2));
    for (name, count) in [("plain", 1), ("nets", 2), ("pairs", 1), ("verdicts", 1), ("values", 1)] {
        let Elements::Known(elements) = &table.sets[name].elements else { panic!("{name}") };
        assert_eq!(elements.len(), count, "{name}");
    }
}

/// Types that have a number, and numbers that are of no type.
fn shape() -> impl Strategy<Value = Shape> {
    let types = proptest::collection::vec(0..26_u32, 0..6)
        .prop_map(|types| types.into_iter().fold(0, |number, it| number << 6 | it));
    let number = prop_oneof![types, any::<u32>(), Just(0xffff_ff00)];
    let data = proptest::option::of((number.clone(), any::<u32>()));
    (any::<u32>(), number, any::<u32>(), data).prop_map(|(flags, key_type, key_len, data)| Shape {
        flags,
        key_type,
        key_len,
        data,
        ..Shape::default()
    })
}

/// Attributes in attributes, of few types and with lengths that are mostly right.
fn attributes() -> impl Strategy<Value = Vec<u8>> {
    let leaf = proptest::collection::vec(any::<u8>(), 0..24);
    leaf.prop_recursive(5, 64, 4, |inner| {
        proptest::collection::vec((0..12_u16, inner, prop::bool::weighted(0.05)), 0..4).prop_map(
            |list| {
                let mut out = Vec::new();
                for (kind, value, broken) in list {
                    let start = out.len();
                    crate::message::put_attribute(&mut out, kind, &value);
                    out[start] ^= u8::from(broken) * 9;
                }
                out
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes: Vec<u8>, inside in attributes(), shape in shape()) {
        read(&bytes);
        crate::socket::first_refusal(&bytes);
        for bytes in [&bytes, &inside] {
            crate::instruction::decode(bytes);
            comment(Some(bytes));
            let attributes = Attributes::new(bytes);
            let _ = Shape::read(attributes).map(|shape| Decoder::new(&shape).is_some());
            if let Some(decoder) = Decoder::new(&shape) {
                let parts = [attributes, attributes].into_iter().map(|it| decoder.read(it));
                let _ = parts.collect::<Option<Vec<_>>>().and_then(join);
            }
        }
    }

    #[test]
    fn no_change_to_a_message_makes_a_decoder_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut: prop::sample::Index,
    ) {
        let mut bytes = encode(&example()).bytes;
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        crate::socket::first_refusal(&bytes);
        let observed = read(&bytes);
        let _ = diff(&example(), &observed);
        bytes.truncate(cut.index(bytes.len()));
        read(&bytes);
    }

    #[test]
    fn tuples_keep_their_values_and_the_order_of_them(
        a in proptest::collection::vec(value(), 0..5),
        b in proptest::collection::vec(value(), 0..5),
    ) {
        let (x, y): (Tuple, Tuple) = (a.iter().copied().collect(), b.iter().copied().collect());
        prop_assert_eq!(x.values().collect::<Vec<_>>(), a.clone());
        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        prop_assert_eq!(x == y, a == b);
    }
}

/// Every kind of value, in the order of the kinds.
fn value() -> impl Strategy<Value = Value> {
    let network = (any::<[u8; 4]>(), 0..=32_u8);
    let protocol = prop::sample::select(Protocol::ALL.to_vec());
    prop_oneof![
        any::<[u8; 4]>().prop_map(|it| Value::Address(it.into())),
        any::<[u8; 16]>().prop_map(|it| Value::Address(it.into())),
        network.prop_map(|(it, len)| {
            Value::Network(
                ipnet::IpNet::new(it.into(), len).expect("a length of 32 at most").trunc(),
            )
        }),
        protocol.prop_map(Value::Protocol),
        any::<u16>().prop_map(Value::Port),
        any::<u32>().prop_map(Value::Number),
        any::<u32>().prop_map(Value::Class),
    ]
}
