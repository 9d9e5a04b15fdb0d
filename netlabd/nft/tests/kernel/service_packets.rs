// SPDX-License-Identifier: GPL-3.0-or-later
//! Connections through a service: where they arrive, and what is left in their packets.
//!
//! ```text
//!   pod 0 ──► node: prerouting ──► services ──► balance-3 ──► pod 1, at one of three addresses
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use netlab_nft::{
    Base, Chain, ChainType, Datatype, Element, Expression, Family, Field, Hook, MapData, Operator,
    Policy, Protocol, Rule, Set, Side, Step, Table, TableName, Transaction, Value, Verdict,
    observe_elements,
};

use crate::layout::{Addresses, comment, verdict};
use crate::packets::{DEADLINE, Lab};
use crate::socket;

const ENDPOINTS: usize = 3;
const CONNECTIONS: usize = 300;
/// The service's port, that of its endpoints, and one of a service without endpoints.
const PORT: u16 = 80;
const TARGET: u16 = 8080;
const NOBODY: u16 = 81;
/// Another one, which is refused by a reset.
const NOBODY_EITHER: u16 = 82;
/// Our bit of the mark, and bits of others.
const OURS: u32 = 0x4000;
const THEIRS: u32 = 0x8000_0001;

/// Addresses of pod 1.
fn endpoints(family: Family) -> [IpAddr; ENDPOINTS] {
    let endpoints = match family {
        Family::Ip => ["10.42.1.2", "10.42.1.3", "10.42.1.4"],
        Family::Ip6 => ["fd42:0:0:1::2", "fd42:0:0:1::3", "fd42:0:0:1::4"],
    };
    endpoints.map(|it| it.parse().unwrap())
}

fn balancing(family: Family) -> Transaction {
    let of = Addresses::of(family);
    let table = TableName::own(family);
    let name = |name: &str| name.to_owned();
    let mut indexed = of.service_types();
    indexed.push(Datatype::Index);
    let mut key = of.service_key();
    key.push(Field::Random(ENDPOINTS as u32));
    let source = || vec![Field::Address(family, Side::Source)];
    let set = |name: &str, key| Set::new(table.set(name), key, comment());
    let sets = [
        set("service-counts", of.service_types())
            .with_data(MapData::Values(vec![Datatype::ClassId])),
        set("balance", vec![Datatype::ClassId]).with_data(MapData::Verdict),
        set("endpoints", indexed)
            .with_data(MapData::Values(vec![of.datatype, Datatype::InetService])),
        set("reject-services", of.service_types()),
        set("reset-services", of.service_types()),
        Set {
            dynamic: true,
            timeout: Some(Duration::from_secs(3600)),
            size: Some(100),
            ..set("affinity", vec![of.datatype])
        },
    ];
    let chain = |name: &str, base| {
        Step::AddChain(Chain { name: table.chain(name), base, comment: comment() })
    };
    let base = |kind, hook, priority| Some(Base { kind, hook, priority, policy: Policy::Accept });
    let rule = |chain: &str, expressions| {
        Step::AddRule(Rule { chain: table.chain(chain), expressions, comment: comment() })
    };
    let in_set =
        |set: &str| Expression::InSet { key: of.service_key(), set: name(set), negated: false };
    let add = |set: &str, elements| Step::AddElements(table.set(set), elements);
    let mut steps = vec![Step::AddTable(Table { name: table.clone(), comment: comment() })];
    steps.extend(sets.into_iter().map(Step::AddSet));
    steps.extend([
        chain("prerouting", base(ChainType::Nat, Hook::Prerouting, Base::DSTNAT)),
        chain("forward", base(ChainType::Filter, Hook::Forward, Base::FILTER)),
        chain("marked", base(ChainType::Filter, Hook::Postrouting, Base::FILTER)),
        chain("balance-3", None),
        add("service-counts", vec![Element::to_values(of.service_values(PORT), Value::Class(3))]),
        add(
            "balance",
            vec![Element::to_verdict(Value::Class(3), Verdict::Goto(name("balance-3")))],
        ),
        add("reject-services", vec![Element::new(of.service_values(NOBODY))]),
        add("reset-services", vec![Element::new(of.service_values(NOBODY_EITHER))]),
        add(
            "endpoints",
            endpoints(family)
                .into_iter()
                .zip(0..)
                .map(|(endpoint, index)| {
                    let key = of.service_values(PORT).into_iter().chain([Value::Number(index)]);
                    Element::to_values(
                        key.collect::<netlab_nft::Tuple>(),
                        [Value::Address(endpoint), Value::Port(TARGET)],
                    )
                })
                .collect(),
        ),
        rule(
            "prerouting",
            vec![Expression::SetPriorityFrom {
                key: of.service_key(),
                map: name("service-counts"),
            }],
        ),
        rule(
            "prerouting",
            vec![Expression::VerdictMap { key: vec![Field::Priority], map: name("balance") }],
        ),
        rule("balance-3", vec![Expression::SetPriority(0), Expression::OrMark(OURS)]),
        rule("balance-3", vec![Expression::UpdateSet { key: source(), set: name("affinity") }]),
        rule("balance-3", vec![Expression::DnatMap { family, key, map: name("endpoints") }]),
        rule("forward", vec![in_set("reject-services"), Expression::Reject]),
        rule(
            "forward",
            vec![Expression::Protocol(Protocol::Tcp), in_set("reset-services"), Expression::Reset],
        ),
        rule(
            "marked",
            vec![
                Expression::Mark { mask: OURS, operator: Operator::Is, value: OURS },
                Expression::ConntrackDnat,
                Expression::XorMark(OURS),
                Expression::Counter,
                verdict(Verdict::Accept),
            ],
        ),
    ]);
    Transaction { steps }
}

/// A foreign table that sets bits of marks, and counts packets by their mark before and after our
/// rules at postrouting. What the node itself sends, such as its search for neighbours, has no mark
/// and is not TCP.
fn foreign(family: Family) -> String {
    let chain = |name: &str, hook: &str, priority: i32, rule: &str| {
        format!("chain {name} {{ type filter hook {hook} priority {priority}; {rule}; }};")
    };
    format!(
        "table {family} foreign {{ {} {} {} }}",
        chain("sets", "prerouting", -150, &format!("meta mark set {THEIRS:#x}")),
        chain("before", "postrouting", -1, &format!("meta mark {:#x} counter", THEIRS | OURS)),
        chain(
            "after",
            "postrouting",
            1,
            &format!("meta l4proto tcp meta mark != {THEIRS:#x} counter")
        ),
    )
}

fn counted(lab: &Lab, family: Family, chain: &str) -> usize {
    let listing = lab.node.sh(&format!("nft list chain {family} {chain}"));
    let (_, count) = listing.split_once("counter packets ").unwrap();
    count.split(' ').next().unwrap().parse().unwrap()
}

/// Connects to the service; a link that came up just now may refuse for some milliseconds.
fn connect(lab: &Lab, to: SocketAddr) -> TcpStream {
    let start = Instant::now();
    loop {
        match lab.pods[0].within(|| TcpStream::connect_timeout(&to, DEADLINE)) {
            Ok(stream) => break stream,
            Err(error) if start.elapsed() > DEADLINE => panic!("{to}: {error}"),
            Err(_) => thread::yield_now(),
        }
    }
}

#[test]
fn connections_spread_evenly_and_marks_of_others_stay() {
    for family in Family::ALL {
        let lab = Lab::new();
        lab.pods[1].sh(
            "ip addr add 10.42.1.3/24 dev eth0; ip addr add 10.42.1.4/24 dev eth0
             ip addr add fd42:0:0:1::3/64 dev eth0 nodad; ip addr add fd42:0:0:1::4/64 dev eth0 nodad",
        );
        let any: IpAddr = match family {
            Family::Ip => [0; 4].into(),
            Family::Ip6 => [0_u16; 8].into(),
        };
        let listener = lab.pods[1].within(|| TcpListener::bind((any, TARGET)).unwrap());
        // Before there are rules to count by: a first packet that is lost would be sent again.
        for endpoint in endpoints(family) {
            drop(connect(&lab, SocketAddr::new(endpoint, TARGET)));
            listener.accept().unwrap();
        }
        lab.node.sh_with("nft -f -", &foreign(family));
        socket(&lab.node).commit(&balancing(family)).unwrap();

        let service = Addresses::of(family).service;
        let mut arrived: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for _ in 0..CONNECTIONS {
            let client = connect(&lab, SocketAddr::new(service, PORT));
            let (server, _) = listener.accept().unwrap();
            *arrived.entry(server.local_addr().unwrap().ip()).or_default() += 1;
            drop((client, server));
        }
        // A hundred each, and five standard deviations of eight.
        assert!(arrived.values().all(|count| (60..=140).contains(count)), "{arrived:?}");
        assert_eq!(arrived.keys().copied().collect::<Vec<_>>(), endpoints(family));

        // Our bit came to the first packet of each connection, and went again at the end.
        assert_eq!(counted(&lab, family, "foreign before"), CONNECTIONS);
        assert_eq!(counted(&lab, family, "netlab marked"), CONNECTIONS);
        assert_eq!(counted(&lab, family, "foreign after"), 0);
        let client = if family == Family::Ip { "10.42.0.2" } else { "fd42::2" };
        let affinity = lab.node.sh(&format!("nft list set {family} netlab affinity"));
        assert!(affinity.contains(&format!("elements = {{ {client} expires ")), "{affinity}");
        let name = TableName::own(family).set("affinity");
        let read = observe_elements(&mut socket(&lab.node), &name).unwrap();
        assert_eq!(read, [Element::new(Value::Address(client.parse().unwrap()))]);

        // What is not translated is forwarded only where there is a route.
        lab.node.sh("ip route add 10.43.0.0/16 dev uplink; ip route add fd43::/112 dev uplink");
        for nobody in [NOBODY, NOBODY_EITHER] {
            let to = SocketAddr::new(service, nobody);
            let refused = lab.pods[0].within(|| TcpStream::connect_timeout(&to, DEADLINE));
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
    }
}
