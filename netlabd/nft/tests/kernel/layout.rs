// SPDX-License-Identifier: GPL-3.0-or-later
//! Every set, element and expression that services need, in both families: what `nft` shows of
//! them, and what it makes of their text.

use std::net::IpAddr;
use std::time::Duration;

use expect_test::expect_file;
use netlab_nft::{
    Base, Chain, ChainType, Comment, ConntrackStates, Datatype, Element, Expression, Family, Field,
    Hook, MapData, Observed, Operator, Policy, Protocol, Rule, Set, Side, Step, Table, TableName,
    Transaction, Value, Verdict, diff, observe, observe_elements, observe_with_elements,
};

use crate::namespace::Namespace;
use crate::socket;

/// What differs between the families.
pub(crate) struct Addresses {
    pub(crate) family: Family,
    pub(crate) datatype: Datatype,
    pub(crate) service: IpAddr,
    pub(crate) endpoints: [IpAddr; 2],
}

impl Addresses {
    pub(crate) fn of(family: Family) -> Self {
        let (datatype, service, endpoints) = match family {
            Family::Ip => (Datatype::Ipv4Addr, "10.43.0.1", ["10.42.0.2", "10.42.1.2"]),
            Family::Ip6 => (Datatype::Ipv6Addr, "fd43::1", ["fd42::2", "fd42:0:0:1::2"]),
        };
        let endpoints = endpoints.map(|it| it.parse().unwrap());
        Self { family, datatype, service: service.parse().unwrap(), endpoints }
    }

    pub(crate) fn service_key(&self) -> Vec<Field> {
        vec![
            Field::Address(self.family, Side::Destination),
            Field::Protocol,
            Field::DestinationPort,
        ]
    }

    pub(crate) fn service_types(&self) -> Vec<Datatype> {
        vec![self.datatype, Datatype::InetProto, Datatype::InetService]
    }

    pub(crate) fn service_values(&self, port: u16) -> [Value; 3] {
        [Value::Address(self.service), Value::Protocol(Protocol::Tcp), Value::Port(port)]
    }
}

pub(crate) fn comment() -> Comment {
    Comment::new("service default/web (shop.toml:7)")
}

pub(crate) fn verdict(verdict: Verdict) -> Expression {
    Expression::Verdict(verdict)
}

fn sets(of: &Addresses) -> Vec<Set> {
    let table = TableName::own(of.family);
    let set = |name: &str, key: Vec<Datatype>| Set::new(table.set(name), key, comment());
    let endpoint = || MapData::Values(vec![of.datatype, Datatype::InetService]);
    let mut indexed = of.service_types();
    indexed.push(Datatype::Index);
    let mut ranges = of.service_types();
    ranges.push(of.datatype);
    vec![
        set("reject-services", of.service_types()),
        Set {
            size: Some(1000),
            ..set("service-counts", of.service_types())
                .with_data(MapData::Values(vec![Datatype::ClassId]))
        },
        set("service-chains", of.service_types()).with_data(MapData::Verdict),
        set("balance", vec![Datatype::ClassId]).with_data(MapData::Verdict),
        set("endpoints", indexed).with_data(endpoint()),
        set("choice", vec![Datatype::Index]).with_data(MapData::Verdict),
        set("local", vec![Datatype::Index]).with_data(endpoint()),
        Set {
            dynamic: true,
            timeout: Some(Duration::from_secs(3 * 3600)),
            size: Some(100),
            ..set("affinity-1", vec![of.datatype])
        },
        Set { interval: true, ..set("ranges", vec![of.datatype]) },
        Set { interval: true, ..set("service-ranges", ranges) },
        set("marks", vec![Datatype::Mark]).with_data(MapData::Values(vec![of.datatype])),
        set("ports", vec![Datatype::InetService])
            .with_data(MapData::Values(vec![Datatype::InetProto, Datatype::Mark])),
    ]
}

fn elements(of: &Addresses) -> Vec<(&'static str, Vec<Element>)> {
    let with_source = |port, source: &str| -> netlab_nft::Tuple {
        let [service, protocol, port] = of.service_values(port);
        let Value::Address(service) = service else { unreachable!() };
        let source = Value::Network(source.parse().unwrap());
        [Value::Network(service.into()), protocol, port, source].into()
    };
    let indexed = |port, index| -> netlab_nft::Tuple {
        of.service_values(port).into_iter().chain([Value::Number(index)]).collect()
    };
    let endpoint = |i: usize| [Value::Address(of.endpoints[i]), Value::Port(8080)];
    let (near, far) = match of.family {
        Family::Ip => ("10.0.0.0/8", "192.0.2.4/30"),
        Family::Ip6 => ("2001:db9::/32", "2001:db8::4/126"),
    };
    let last = if of.family == Family::Ip { "224.0.0.0/3" } else { "8000::/1" };
    let network = |text: &str| Value::Network(text.parse().unwrap());
    vec![
        ("reject-services", vec![Element::new(of.service_values(81)).with_comment(comment())]),
        (
            "service-counts",
            vec![
                Element::to_values(of.service_values(80), Value::Class(2)).with_comment(comment()),
                Element::to_values(of.service_values(82), Value::Class(0x1_000a)),
            ],
        ),
        (
            "service-chains",
            vec![
                Element::to_verdict(of.service_values(83), Verdict::Goto("svc-1".to_owned()))
                    .with_comment(comment()),
                Element::to_verdict(of.service_values(84), Verdict::Drop),
            ],
        ),
        (
            "balance",
            vec![
                Element::to_verdict(Value::Class(2), Verdict::Goto("balance-2".to_owned())),
                Element::to_verdict(Value::Class(0x1_000a), Verdict::Jump("svc-1".to_owned())),
            ],
        ),
        (
            "endpoints",
            vec![
                Element::to_values(indexed(80, 0), endpoint(0)),
                Element::to_values(indexed(80, 1), endpoint(1)).with_comment(comment()),
            ],
        ),
        ("choice", vec![Element::to_verdict(Value::Number(1), Verdict::Return)]),
        ("local", vec![Element::to_values(Value::Number(0), endpoint(0))]),
        ("affinity-1", vec![]),
        (
            "ranges",
            vec![
                Element::new(network(near)).with_comment(comment()),
                Element::new(network(far)),
                Element::new(network(last)),
            ],
        ),
        (
            "service-ranges",
            vec![
                Element::new(with_source(80, near)).with_comment(comment()),
                Element::new(with_source(80, far)),
            ],
        ),
        ("marks", vec![Element::to_values(Value::Number(0x4000), Value::Address(of.endpoints[0]))]),
        (
            "ports",
            vec![Element::to_values(
                Value::Port(53),
                [Value::Protocol(Protocol::Udp), Value::Number(7)],
            )],
        ),
    ]
}

fn chains() -> Vec<(&'static str, Option<Base>)> {
    let base = |kind, hook, priority| Some(Base { kind, hook, priority, policy: Policy::Accept });
    vec![
        ("prerouting", base(ChainType::Nat, Hook::Prerouting, Base::DSTNAT - 10)),
        ("output", base(ChainType::Nat, Hook::Output, -100)),
        ("forward", base(ChainType::Filter, Hook::Forward, -110)),
        ("services", None),
        ("balance-2", None),
        ("svc-1", None),
        ("matches", None),
        ("changes", None),
    ]
}

fn rules(of: &Addresses) -> Vec<(&'static str, Vec<Expression>)> {
    let key = || of.service_key();
    let name = |name: &str| name.to_owned();
    let mut indexed = key();
    indexed.push(Field::Random(2));
    let source = || vec![Field::Address(of.family, Side::Source)];
    let mut with_source = key();
    with_source.extend(source());
    let accept = || verdict(Verdict::Accept);
    let local = |side, operator| Expression::LocalAddress { side, operator };
    let in_set = |key, set, negated| Expression::InSet { key, set: name(set), negated };
    let mark = |mask, operator, value| Expression::Mark { mask, operator, value };
    let (is, is_not) = (Operator::Is, Operator::IsNot);
    let tcp = || Expression::Protocol(Protocol::Tcp);
    let map = |key, map| Expression::DnatMap { family: of.family, key, map: name(map) };
    let established = ConntrackStates::ESTABLISHED | ConntrackStates::RELATED;
    vec![
        ("prerouting", vec![verdict(Verdict::Jump(name("services")))]),
        ("output", vec![verdict(Verdict::Jump(name("services")))]),
        (
            "forward",
            vec![
                Expression::ConntrackState(ConntrackStates::NEW),
                in_set(key(), "reject-services", false),
                Expression::Reject,
            ],
        ),
        ("forward", vec![tcp(), in_set(key(), "reject-services", false), Expression::Reset]),
        ("services", vec![Expression::SetPriorityFrom { key: key(), map: name("service-counts") }]),
        (
            "services",
            vec![Expression::VerdictMap { key: vec![Field::Priority], map: name("balance") }],
        ),
        ("services", vec![Expression::VerdictMap { key: key(), map: name("service-chains") }]),
        ("balance-2", vec![Expression::SetPriority(0)]),
        ("balance-2", vec![map(indexed, "endpoints")]),
        (
            "svc-1",
            vec![Expression::VerdictMap { key: vec![Field::Random(2)], map: name("choice") }],
        ),
        (
            "svc-1",
            vec![
                in_set(source(), "affinity-1", true),
                Expression::UpdateSet { key: source(), set: name("affinity-1") },
            ],
        ),
        ("svc-1", vec![tcp(), map(vec![Field::Random(1)], "local")]),
        (
            "svc-1",
            vec![
                Expression::Random { modulus: 3, equals: 1 },
                Expression::Dnat { to: of.endpoints[0], port: None },
            ],
        ),
        ("svc-1", vec![tcp(), Expression::Dnat { to: of.endpoints[0], port: Some(8080) }]),
        (
            "matches",
            vec![Expression::Protocol(Protocol::Udp), Expression::DestinationPort(30080), accept()],
        ),
        ("matches", vec![Expression::Protocol(Protocol::Sctp), accept()]),
        ("matches", vec![local(Side::Destination, is), accept()]),
        ("matches", vec![local(Side::Source, is_not), accept()]),
        ("matches", vec![in_set(source(), "ranges", false), accept()]),
        ("matches", vec![in_set(with_source, "service-ranges", true), accept()]),
        ("matches", vec![mark(0x4000, is, 0x4000), accept()]),
        ("matches", vec![mark(0x4000, is_not, 0x4000), accept()]),
        ("matches", vec![mark(u32::MAX, is, 7), accept()]),
        ("matches", vec![Expression::ConntrackState(established), accept()]),
        ("matches", vec![Expression::ConntrackState(ConntrackStates::INVALID), accept()]),
        ("matches", vec![Expression::ConntrackDnat, accept()]),
        ("changes", vec![Expression::OrMark(0x4000), Expression::Counter]),
        ("changes", vec![Expression::XorMark(0x4000)]),
        ("changes", vec![Expression::SetPriority(0x1_000a)]),
    ]
}

/// All of it, as a planner would write it.
fn layout(family: Family) -> Transaction {
    let of = Addresses::of(family);
    let table = TableName::own(family);
    let mut steps = vec![Step::AddTable(Table { name: table.clone(), comment: comment() })];
    steps.extend(sets(&of).into_iter().map(Step::AddSet));
    steps.extend(chains().into_iter().map(|(name, base)| {
        Step::AddChain(Chain { name: table.chain(name), base, comment: comment() })
    }));
    steps.extend(
        elements(&of)
            .into_iter()
            .map(|(set, elements)| Step::AddElements(table.set(set), elements)),
    );
    steps.extend(rules(&of).into_iter().map(|(chain, expressions)| {
        Step::AddRule(Rule { chain: table.chain(chain), expressions, comment: comment() })
    }));
    Transaction { steps }
}

fn both() -> Transaction {
    let mut both = layout(Family::Ip);
    both.append(layout(Family::Ip6));
    both
}

/// Says where two differ: as a whole they are long.
fn assert_same(left: &Observed, right: &Observed) {
    let (ours, theirs) = (format!("{left:#?}"), format!("{right:#?}"));
    let mut lines = ours.lines().zip(theirs.lines());
    assert_eq!(lines.find(|(ours, theirs)| ours != theirs), None);
    assert!(left == right);
}

#[test]
fn nft_lists_services_as_they_are_meant() {
    let namespace = Namespace::new();
    socket(&namespace).commit(&both()).unwrap();
    expect_file!["layout.ip.nft"].assert_eq(&namespace.sh("nft list table ip netlab"));
    expect_file!["layout.ip6.nft"].assert_eq(&namespace.sh("nft list table ip6 netlab"));
}

#[test]
fn what_services_print_means_to_nft_what_it_means_to_the_kernel() {
    let (by_us, by_nft) = (Namespace::new(), Namespace::new());
    by_nft.sh_with("nft -c -f -", &both().to_string());
    by_nft.sh_with("nft -f -", &both().to_string());
    let (mut ours, mut theirs) = (socket(&by_us), socket(&by_nft));
    ours.commit(&both()).unwrap();
    let ours = observe_with_elements(&mut ours, |_| true).unwrap();
    let theirs = observe_with_elements(&mut theirs, |_| true).unwrap();
    assert_same(&ours, &theirs);
    let rest = diff(&both(), &theirs);
    assert!(rest.is_empty(), "{rest}");
}

#[test]
fn elements_are_read_back_and_attached_to_what_was_observed() {
    let namespace = Namespace::new();
    let mut socket = socket(&namespace);
    socket.commit(&both()).unwrap();
    let mut observed = observe(&mut socket).unwrap();
    for family in Family::ALL {
        for (set, mut elements) in elements(&Addresses::of(family)) {
            let name = TableName::own(family).set(set);
            elements.sort_by(|a, b| a.key.cmp(&b.key));
            let read = observe_elements(&mut socket, &name).unwrap();
            assert_eq!(read, elements, "{name}");
            if set != "affinity-1" {
                observed = observed.with_elements(&name, read);
            }
        }
    }
    assert_same(&observed, &observe_with_elements(&mut socket, |_| true).unwrap());
    let missing = observe_elements(&mut socket, &TableName::own(Family::Ip).set("missing"));
    assert!(missing.unwrap_err().is_not_found());
}
