// SPDX-License-Identifier: GPL-3.0-or-later
//! `diff` leads from any sets and elements to any others, and a refused element is named.

use std::collections::BTreeMap;
use std::time::Instant;

use netlab_nft::{
    Chain, Comment, Datatype, Element, Expression, Family, Field, MapData, Protocol, Rule, Set,
    Side, Step, Table, TableName, Transaction, Tuple, Value, Verdict, diff, diff_into, observe,
    observe_with_elements,
};
use nix::errno::Errno;
use proptest::prelude::*;

use crate::change::listing;
use crate::namespace::Namespace;
use crate::socket;

/// Sets of these have some keys in common from one ruleset to the next.
const SETS: usize = 4;
const KEYS: u8 = 6;
/// Verdicts lead here.
const CHAINS: usize = 2;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Set,
    Networks,
    Verdicts,
    Values,
}

#[derive(Debug, Clone)]
struct SetDraft {
    kind: Kind,
    comment: bool,
    sized: bool,
    used: bool,
    /// By key: the data and whether there is a comment.
    elements: Option<BTreeMap<u8, (u8, bool)>>,
}

#[derive(Debug, Clone)]
struct Draft {
    sets: Vec<Option<SetDraft>>,
    /// Which comment a chain has: with another one it is made anew.
    chains: Vec<bool>,
}

fn set() -> impl Strategy<Value = SetDraft> {
    let kind = prop::sample::select(vec![Kind::Set, Kind::Networks, Kind::Verdicts, Kind::Values]);
    let elements = prop::collection::btree_map(0..KEYS, (0..4_u8, any::<bool>()), 0..6);
    (kind, any::<[bool; 2]>(), prop::bool::weighted(0.8), elements).prop_map(
        |(kind, [comment, sized], used, elements)| SetDraft {
            kind,
            comment,
            sized,
            used,
            elements: Some(elements),
        },
    )
}

fn draft() -> impl Strategy<Value = Draft> {
    let sets = prop::collection::vec(prop::option::weighted(0.85, set()), SETS);
    (sets, prop::collection::vec(any::<bool>(), CHAINS))
        .prop_map(|(sets, chains)| Draft { sets, chains })
}

/// Two rulesets, of which some sets have the same type, or are the same.
fn drafts() -> impl Strategy<Value = (Draft, Draft)> {
    (draft(), draft(), prop::collection::vec(0..4_u8, SETS)).prop_map(
        |(first, mut second, alike)| {
            for ((old, new), alike) in first.sets.iter().zip(&mut second.sets).zip(alike) {
                match (old, new) {
                    (old, new) if alike == 0 => *new = old.clone(),
                    (Some(old), Some(new)) if alike < 3 => {
                        let elements = new.elements.take();
                        *new = SetDraft { elements, used: new.used, ..old.clone() };
                    }
                    _ => {}
                }
            }
            (first, second)
        },
    )
}

fn write_out(draft: &Draft) -> Transaction {
    let table = TableName::own(Family::Ip);
    let comment = |first| Comment::new(if first { "for a test" } else { "another" });
    let mut steps = vec![Step::AddTable(Table { name: table.clone(), comment: comment(true) })];
    let user = table.chain("user");
    steps.push(Step::AddChain(Chain { name: user.clone(), base: None, comment: comment(true) }));
    for (i, first) in draft.chains.iter().enumerate() {
        let name = table.chain(&format!("chain-{i}"));
        steps.push(Step::AddChain(Chain { name, base: None, comment: comment(*first) }));
    }
    let source = Field::Address(Family::Ip, Side::Source);
    let mut rules = Vec::new();
    for (i, set) in draft.sets.iter().enumerate() {
        let Some(SetDraft { kind, comment: first, sized, used, elements }) = set else { continue };
        let name = format!("set-{i}");
        let (key, fields) = match kind {
            Kind::Set | Kind::Networks => (vec![Datatype::Ipv4Addr], vec![source]),
            Kind::Verdicts | Kind::Values => (
                vec![Datatype::Ipv4Addr, Datatype::InetService],
                vec![source, Field::DestinationPort],
            ),
        };
        steps.push(Step::AddSet(Set {
            data: match kind {
                Kind::Set | Kind::Networks => None,
                Kind::Verdicts => Some(MapData::Verdict),
                Kind::Values => Some(MapData::Values(vec![Datatype::ClassId])),
            },
            interval: matches!(kind, Kind::Networks),
            size: sized.then_some(64),
            ..Set::new(table.set(&name), key, comment(*first))
        }));
        let elements = elements.iter().flatten().map(|(&key, &(data, comment))| {
            let host = [10, 0, 0, key].into();
            let pair = [Value::Address(host), Value::Port(80 + u16::from(key))];
            let element = match kind {
                Kind::Set => Element::new(Value::Address(host)),
                Kind::Networks => {
                    let net = ipnet::IpNet::new([10, key, 0, 0].into(), 16 + data).unwrap();
                    Element::new(Value::Network(net))
                }
                Kind::Verdicts => {
                    let chain = format!("chain-{}", usize::from(data) % CHAINS);
                    Element::to_verdict(
                        pair,
                        match data {
                            0 | 1 => Verdict::Goto(chain),
                            2 => Verdict::Jump(chain),
                            _ => Verdict::Accept,
                        },
                    )
                }
                Kind::Values => Element::to_values(pair, Value::Class(u32::from(data) + 1)),
            };
            if comment { element.with_comment(Comment::new("one")) } else { element }
        });
        let elements = elements.collect();
        steps.push(Step::AddElements(table.set(&name), elements));
        if *used {
            rules.push(match kind {
                Kind::Set | Kind::Networks => {
                    Expression::InSet { key: fields, set: name, negated: false }
                }
                Kind::Verdicts => Expression::VerdictMap { key: fields, map: name },
                Kind::Values => Expression::SetPriorityFrom { key: fields, map: name },
            });
        }
    }
    steps.extend(rules.into_iter().map(|expression| {
        let expressions = vec![expression];
        Step::AddRule(Rule { chain: user.clone(), expressions, comment: comment(true) })
    }));
    Transaction { steps }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_elements_become_any_others((first, second) in drafts()) {
        let (first, second) = (write_out(&first), write_out(&second));
        let (changed, fresh) = (Namespace::new(), Namespace::new());
        let mut socket = socket(&changed);
        socket.commit(&first).unwrap();
        let observed = observe_with_elements(&mut socket, |_| true).unwrap();
        prop_assert!(diff(&first, &observed).is_empty(), "{}", diff(&first, &observed));
        let change = diff(&second, &observed);
        changed.sh_with("nft -c -f -", &change.to_string());
        socket.commit(&change).map_err(|error| TestCaseError::fail(format!("{error}\n{change}")))?;
        fresh.sh_with("nft -f -", &second.to_string());
        prop_assert_eq!(listing(&changed), listing(&fresh), "{}", change);
        let rest = diff(&second, &observe_with_elements(&mut socket, |_| true).unwrap());
        prop_assert!(rest.is_empty(), "{}", rest);
    }
}

/// A map of verdicts and one of values, with elements.
fn maps() -> Transaction {
    let elements = Some((0..KEYS).map(|key| (key, (key % 4, false))).collect());
    let set = |kind| {
        Some(SetDraft { kind, comment: true, sized: false, used: true, elements: elements.clone() })
    };
    let sets = vec![set(Kind::Verdicts), set(Kind::Values), set(Kind::Networks), set(Kind::Set)];
    write_out(&Draft { sets, chains: vec![true; CHAINS] })
}

#[test]
fn one_changed_element_is_replaced_and_nothing_else_is_touched() {
    let namespace = Namespace::new();
    let mut socket = socket(&namespace);
    let mut desired = maps();
    socket.commit(&desired).unwrap();
    let values = TableName::own(Family::Ip).set("set-1");
    for step in &mut desired.steps {
        match step {
            Step::AddElements(set, elements) if *set == values => {
                let key = elements[3].key.clone();
                elements[3] = Element::to_values(key, Value::Class(0x2a));
            }
            _ => {}
        }
    }
    let observed = observe_with_elements(&mut socket, |set| *set == values).unwrap();
    assert_eq!(
        diff(&desired, &observed).to_string(),
        "delete element ip netlab set-1 { 10.0.0.3 . 83 }\n\
         add element ip netlab set-1 { 10.0.0.3 . 83 : 0:2a }\n"
    );
    // Nobody looked, so nobody knows.
    assert!(diff(&desired, &observe(&mut socket).unwrap()).is_empty());
}

#[test]
fn a_set_stays_while_it_has_room_and_what_fills_it_makes_it_anew() {
    let namespace = Namespace::new();
    let mut socket = socket(&namespace);
    let table = TableName::own(Family::Ip);
    let comment = Comment::new("for a test");
    let desired = |room, count: u8| Transaction {
        steps: vec![
            Step::AddTable(Table { name: table.clone(), comment: comment.clone() }),
            Step::AddSet(Set {
                room: Some(room),
                ..Set::new(table.set("s"), vec![Datatype::Ipv4Addr], comment.clone())
            }),
            Step::AddElements(
                table.set("s"),
                (0..count)
                    .map(|last| Element::new(Value::Address([10, 0, 0, last].into())))
                    .collect(),
            ),
        ],
    };
    socket.commit(&desired(4, 3)).unwrap();
    assert!(namespace.sh("nft list set ip netlab s").contains("size 4"));
    let change = |socket: &mut _, room, count| {
        let observed = observe_with_elements(socket, |_| true).unwrap();
        let change = diff(&desired(room, count), &observed);
        assert_eq!(diff_into(desired(room, count), &observed), change);
        change
    };
    // More room is no reason, and less is none.
    for room in [0, 1, 64] {
        assert!(change(&mut socket, room, 3).is_empty(), "{room}");
    }
    let one_more = change(&mut socket, 64, 4);
    assert_eq!(one_more.to_string(), "add element ip netlab s { 10.0.0.3 }\n");
    socket.commit(&one_more).unwrap();
    let too_many = Transaction { steps: vec![desired(4, 5).steps.pop().unwrap()] };
    assert_eq!(socket.commit(&too_many).unwrap_err().errno(), Some(Errno::ENFILE));
    let anew = change(&mut socket, 64, 5);
    socket.commit(&anew).unwrap();
    assert!(namespace.sh("nft list set ip netlab s").contains("size 64"));
    assert!(change(&mut socket, 0, 5).is_empty());
}

#[test]
fn a_map_that_nobody_looked_into_lets_go_of_a_chain_that_is_made_anew() {
    let namespace = Namespace::new();
    let mut socket = socket(&namespace);
    let mut desired = maps();
    socket.commit(&desired).unwrap();
    for step in &mut desired.steps {
        if let Step::AddChain(chain) = step
            && chain.name.name == "chain-1"
        {
            chain.comment = Comment::new("of another object");
        }
    }
    let change = diff(&desired, &observe(&mut socket).unwrap());
    socket.commit(&change).unwrap_or_else(|error| panic!("{error}\n{change}"));
    let fresh = Namespace::new();
    fresh.sh_with("nft -f -", &desired.to_string());
    assert_eq!(listing(&namespace), listing(&fresh), "{change}");
    let rest = diff(&desired, &observe_with_elements(&mut socket, |_| true).unwrap());
    assert!(rest.is_empty(), "{rest}");
}

#[test]
fn what_others_put_into_our_sets_goes() {
    for sabotage in [
        "add element ip netlab set-3 { 10.9.9.9 }",
        "delete element ip netlab set-3 { 10.0.0.3 }",
        "flush map ip netlab set-0",
        "delete element ip netlab set-1 { 10.0.0.2 . 82 }; add element ip netlab set-1 { 10.0.0.2 . 82 : 0:1 }",
        "delete element ip netlab set-0 { 10.0.0.2 . 82 }; add element ip netlab set-0 { 10.0.0.2 . 82 : drop }",
        "add element ip netlab set-0 { 10.0.0.2 . 99 : continue }",
        "add element ip netlab set-2 { 10.77.0.3-10.77.0.9 }",
        "add element ip netlab set-2 { 10.77.0.0/16 comment \"mine\" }",
        "add set ip netlab extra { type ether_addr; }; add rule ip netlab user ether saddr @extra",
        "add rule ip netlab user ip saddr { 10.1.1.1, 10.1.1.2 } drop",
        "flush chain ip netlab user; delete set ip netlab set-1; add map ip netlab set-1 { \
         type ipv4_addr . inet_service : mark; }",
    ] {
        let namespace = Namespace::new();
        let mut socket = socket(&namespace);
        socket.commit(&maps()).unwrap();
        let good = listing(&namespace);
        namespace.sh_with("nft -f -", sabotage);
        assert_ne!(listing(&namespace), good, "{sabotage}");
        let repair = diff(&maps(), &observe_with_elements(&mut socket, |_| true).unwrap());
        socket.commit(&repair).unwrap_or_else(|error| panic!("{sabotage}: {error}\n{repair}"));
        assert_eq!(listing(&namespace), good, "{sabotage}\n{repair}");
        let rest = diff(&maps(), &observe_with_elements(&mut socket, |_| true).unwrap());
        assert!(rest.is_empty(), "{sabotage}\n{rest}");
    }
}

#[test]
fn a_refused_element_is_named_among_thousands() {
    let namespace = Namespace::new();
    let mut socket = socket(&namespace);
    socket.commit(&maps()).unwrap();
    let name = TableName::own(Family::Ip).set("set-1");
    let key = |i: u16| [Value::Address([10, 1, (i >> 8) as u8, i as u8].into()), Value::Port(i)];
    let mut elements: Vec<_> =
        (0..5000).map(|i| Element::to_values(key(i), Value::Class(7))).collect();
    // It is there already, and leads elsewhere.
    elements.insert(
        4321,
        Element::to_values(
            [Value::Address([10, 0, 0, 2].into()), Value::Port(82)],
            Value::Class(9),
        ),
    );
    let before = namespace.sh("nft list ruleset");
    let steps = vec![
        Step::FlushChain(TableName::own(Family::Ip).chain("user")),
        Step::AddElements(name.clone(), elements),
        Step::FlushChain(TableName::own(Family::Ip).chain("user")),
    ];
    let error = socket.commit(&Transaction { steps }).unwrap_err();
    let netlab_nft::Error::Refused { step, index, .. } = &error else { panic!("{error:?}") };
    assert_eq!(step, "add element ip netlab set-1 { 10.0.0.2 . 82 : 0:9 }");
    assert_eq!(*index, Some(1));
    assert_eq!(namespace.sh("nft list ruleset"), before);

    let missing = (100..140).map(|i| key(i).into()).collect();
    let steps = vec![Step::DeleteElements(name, missing)];
    let error = socket.commit(&Transaction { steps }).unwrap_err();
    let netlab_nft::Error::Refused { step, errno, .. } = &error else { panic!("{error:?}") };
    assert_eq!(step, "delete element ip netlab set-1 { 10.1.0.100 . 100 }");
    assert_eq!(*errno, Errno::ENOENT);
}

#[test]
fn steps_on_sets_mean_to_nft_what_they_mean_to_the_kernel() {
    let table = TableName::own(Family::Ip);
    let pair =
        |i: u8| [Value::Address([10, 0, 0, i].into()), Value::Port(80 + u16::from(i))].into();
    let mut transaction = maps();
    transaction.steps.extend([
        Step::FlushChain(table.chain("user")),
        Step::DeleteElements(table.set("set-1"), vec![pair(2), pair(4)]),
        Step::DeleteElements(
            table.set("set-2"),
            vec![Value::Network("10.5.0.0/17".parse().unwrap()).into()],
        ),
        Step::DeleteElements(table.set("set-1"), Vec::new()),
        Step::AddElements(table.set("set-1"), Vec::new()),
        Step::FlushMap(table.set("set-0")),
        Step::FlushSet(table.set("set-3")),
        Step::AddSet(Set::new(
            table.set("gone"),
            vec![Datatype::Mark],
            Comment::new("not for long"),
        )),
        Step::DeleteSet(table.set("gone")),
    ]);
    let (by_us, by_nft) = (Namespace::new(), Namespace::new());
    by_nft.sh_with("nft -f -", &transaction.to_string());
    socket(&by_us).commit(&transaction).unwrap();
    let ours = by_us.sh("nft list ruleset");
    assert_eq!(ours, by_nft.sh("nft list ruleset"));
    assert!(ours.contains("10.0.0.3 . 83 :") && !ours.contains("10.0.0.2"), "{ours}");

    let nothing = Transaction { steps: vec![Step::AddElements(table.set("missing"), Vec::new())] };
    assert!(nothing.is_empty() && nothing.to_string().is_empty());
    socket(&by_us).commit(&nothing).unwrap();
}

#[test]
fn ten_thousand_services_are_one_transaction_and_one_more_is_two_elements() {
    const SERVICES: u32 = 10_000;
    const ENDPOINTS: u32 = 3;
    let namespace = Namespace::new();
    let mut socket = socket(&namespace);
    let table = TableName::own(Family::Ip);
    let comment = Comment::new("for a test");
    let mut types = vec![Datatype::Ipv4Addr, Datatype::InetProto, Datatype::InetService];
    let counts = Set {
        size: Some(2 * SERVICES),
        ..Set::new(table.set("counts"), types.clone(), comment.clone())
            .with_data(MapData::Values(vec![Datatype::ClassId]))
    };
    types.push(Datatype::Index);
    let endpoint = vec![Datatype::Ipv4Addr, Datatype::InetService];
    let endpoints = Set {
        size: Some(2 * SERVICES * ENDPOINTS),
        ..Set::new(table.set("endpoints"), types, comment.clone())
            .with_data(MapData::Values(endpoint))
    };
    let key = |service: u32| {
        let address = std::net::Ipv4Addr::from_bits(0x0a2b_0000 + service);
        [Value::Address(address.into()), Value::Protocol(Protocol::Tcp), Value::Port(80)]
    };
    let count = |service| Element::to_values(key(service), Value::Class(ENDPOINTS));
    let target = |service, i| {
        let address = std::net::Ipv4Addr::from_bits(0x0a2a_0000 + service * ENDPOINTS + i);
        let key = key(service).into_iter().chain([Value::Number(i)]);
        let to = [Value::Address(address.into()), Value::Port(8080)];
        Element::to_values(key.collect::<Tuple>(), to)
    };
    let (one, other) = (counts.name.clone(), endpoints.name.clone());
    let all = |services: u32| Transaction {
        steps: vec![
            Step::AddTable(Table { name: table.clone(), comment: comment.clone() }),
            Step::AddSet(counts.clone()),
            Step::AddSet(endpoints.clone()),
            Step::AddElements(one.clone(), (0..services).map(count).collect()),
            Step::AddElements(
                other.clone(),
                (0..services * ENDPOINTS).map(|i| target(i / ENDPOINTS, i % ENDPOINTS)).collect(),
            ),
        ],
    };
    let time = |what: &str, start: Instant| println!("{what}: {:?}", start.elapsed());
    let desired = all(SERVICES);
    let start = Instant::now();
    socket.commit(&desired).unwrap();
    time("create", start);
    let text = namespace.sh("nft list table ip netlab");
    assert_eq!(text.matches(" . tcp . 80 : 0:3").count(), SERVICES as usize);
    assert_eq!(text.matches(" . 8080").count(), (SERVICES * ENDPOINTS) as usize);

    let start = Instant::now();
    let observed = observe_with_elements(&mut socket, |_| true).unwrap();
    time("observe", start);
    let start = Instant::now();
    assert!(diff(&desired, &observed).is_empty());
    time("diff", start);
    let change = diff(&all(SERVICES + 1), &observed);
    let added = |step: &Step| match step {
        Step::AddElements(_, elements) => elements.len(),
        step => panic!("{step}"),
    };
    assert_eq!(change.steps.iter().map(added).collect::<Vec<_>>(), [1, ENDPOINTS as usize]);
    let start = Instant::now();
    socket.commit(&change).unwrap();
    time("add one", start);
    let observed = observe_with_elements(&mut socket, |_| true).unwrap();
    assert!(diff(&all(SERVICES + 1), &observed).is_empty());
}
