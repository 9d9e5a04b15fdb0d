// SPDX-License-Identifier: GPL-3.0-or-later
//! This crate against the kernel: it acts, `nft` and real packets observe. Needs root.
#![allow(clippy::unwrap_used, reason = "what is unexpected fails the test")]

mod antispoof_packets;
mod change;
mod conntrack;
mod elements;
mod layout;
mod namespace;
mod packets;
mod repair;
mod service_packets;

use namespace::Namespace;
use netlab_nft::{
    Base, Chain, ChainType, Comment, Expression, Family, Hook, Operator, Policy, Rule, Side,
    Socket, Step, Table, TableName, Transaction, Verdict, antispoof, diff, masquerade, observe,
    teardown,
};
use nix::errno::Errno;
use proptest::prelude::*;

/// The group that stands for links of pods.
const GROUP: u32 = 77;

fn pod_networks() -> [ipnet::IpNet; 2] {
    ["10.42.0.0/16".parse().unwrap(), "fd42::/48".parse().unwrap()]
}

fn masquerade_plan() -> Transaction {
    masquerade::plan(&pod_networks())
}

fn antispoof_plan() -> Transaction {
    antispoof::plan(&pod_networks(), GROUP)
}

/// All rules that a node has.
fn node_plan() -> Transaction {
    let mut plan = masquerade_plan();
    plan.append(antispoof_plan());
    plan
}

fn socket(namespace: &Namespace) -> Socket {
    namespace.within(|| Socket::open().unwrap())
}

/// Every step and every expression that there is.
fn everything() -> Transaction {
    let table = TableName { family: Family::Ip, name: "everything".to_owned() };
    let base = |kind, hook, priority, policy| Some(Base { kind, hook, priority, policy });
    let chains = [
        ("plain", None),
        ("gone", None),
        ("in", base(ChainType::Filter, Hook::Input, Base::FILTER, Policy::Drop)),
        ("pre", base(ChainType::Nat, Hook::Prerouting, Base::DSTNAT, Policy::Accept)),
        ("raw", base(ChainType::Filter, Hook::Prerouting, Base::RAW, Policy::Accept)),
        ("out", base(ChainType::Nat, Hook::Output, Base::DSTNAT, Policy::Accept)),
        ("passing", base(ChainType::Filter, Hook::Forward, -7, Policy::Accept)),
        ("post", base(ChainType::Nat, Hook::Postrouting, Base::SRCNAT, Policy::Accept)),
    ];
    let address = |side, operator, network: &str| Expression::Address {
        side,
        operator,
        network: network.parse().unwrap(),
    };
    let rules = [
        ("in", vec![Expression::Verdict(Verdict::Jump("plain".to_owned()))]),
        ("in", vec![Expression::Verdict(Verdict::Goto("plain".to_owned()))]),
        (
            "plain",
            vec![
                address(Side::Source, Operator::Is, "192.0.2.1/32"),
                address(Side::Destination, Operator::IsNot, "10.1.2.0/23"),
                Expression::Verdict(Verdict::Accept),
            ],
        ),
        ("plain", vec![Expression::Verdict(Verdict::Return)]),
        ("passing", vec![Expression::Verdict(Verdict::Drop)]),
        ("post", vec![Expression::Masquerade { fully_random: false }]),
        (
            "post",
            vec![
                address(Side::Source, Operator::IsNot, "10.1.2.3/30"),
                Expression::Masquerade { fully_random: true },
            ],
        ),
        ("out", vec![Expression::Verdict(Verdict::Accept)]),
        (
            "raw",
            vec![
                Expression::ArrivedByGroup(28268),
                Expression::SourceUnreachableThere,
                Expression::Counter,
                Expression::Verdict(Verdict::Drop),
            ],
        ),
    ];
    let comment = Comment::new("pod \"a\"\n'b' \\ $c #d; ü");
    let other = TableName { family: Family::Ip6, name: "other".to_owned() };
    let mut steps = vec![Step::AddTable(Table { name: table.clone(), comment: comment.clone() })];
    steps.extend(chains.map(|(name, base)| {
        Step::AddChain(Chain { name: table.chain(name), base, comment: comment.clone() })
    }));
    steps.extend(rules.map(|(chain, expressions)| {
        Step::AddRule(Rule { chain: table.chain(chain), expressions, comment: comment.clone() })
    }));
    steps.extend([
        Step::FlushChain(table.chain("out")),
        Step::DeleteChain(table.chain("gone")),
        Step::AddTable(Table { name: other.clone(), comment }),
        Step::DeleteTable(other),
    ]);
    Transaction { steps }
}

#[test]
fn what_a_transaction_prints_means_to_nft_what_it_means_to_the_kernel() {
    for transaction in [everything(), node_plan(), teardown()] {
        let (by_us, by_nft) = (Namespace::new(), Namespace::new());
        by_nft.sh_with("nft -c -f -", &transaction.to_string());
        by_nft.sh_with("nft -f -", &transaction.to_string());
        socket(&by_us).commit(&transaction).unwrap();
        let (ours, theirs) = (by_us.sh("nft list ruleset"), by_nft.sh("nft list ruleset"));
        assert_eq!(ours, theirs, "{transaction}");
        assert_eq!(ours.is_empty(), transaction == teardown());
    }
}

#[test]
fn nft_shows_the_comment_of_every_object() {
    let namespace = Namespace::new();
    let plan = masquerade_plan();
    socket(&namespace).commit(&plan).unwrap();
    let mut comments = Vec::new();
    for family in Family::ALL {
        let listing = namespace.sh(&format!("nft -j list table {family} netlab"));
        let listing: serde_json::Value = serde_json::from_str(&listing).unwrap();
        for object in listing["nftables"].as_array().unwrap() {
            // nft 1.0.6 leaves the comments of tables and chains out of its JSON.
            if let Some(rule) = object.get("rule") {
                comments.push(rule["comment"].as_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(
        comments,
        [
            "pods of 10.42.0.0/16 leave the cluster as their node: no route leads back to a pod",
            "pods of fd42::/48 leave the cluster as their node: no route leads back to a pod",
        ]
    );
    let text = namespace.sh("nft list table ip netlab");
    for comment in [
        "comment \"netlabd keeps this table as it needs it\"",
        "comment \"source addresses of packets that leave this node\"",
    ] {
        assert!(text.contains(comment), "{text}");
    }
}

#[test]
fn a_long_comment_is_cut_and_read_back() {
    let namespace = Namespace::new();
    let name = TableName::own(Family::Ip);
    let comment = Comment::new(&"ü".repeat(100));
    assert_eq!(comment.as_str().len(), 126);
    let steps = vec![Step::AddTable(Table { name, comment: comment.clone() })];
    socket(&namespace).commit(&Transaction { steps }).unwrap();
    assert!(namespace.sh("nft list ruleset").contains(comment.as_str()));
}

#[test]
fn one_bad_step_and_nothing_is_applied() {
    let namespace = Namespace::new();
    let mut transaction = masquerade_plan();
    let bad = Step::AddRule(Rule {
        chain: TableName::own(Family::Ip).chain("missing"),
        expressions: vec![Expression::Verdict(Verdict::Accept)],
        comment: Comment::new("in a chain that is not there"),
    });
    transaction.steps.insert(3, bad.clone());
    let error = socket(&namespace).commit(&transaction).unwrap_err();

    assert_eq!(namespace.sh("nft list ruleset"), "");
    assert!(error.is_not_found() && !error.is_exists(), "{error:?}");
    let netlab_nft::Error::Refused { step, index, offset, errno, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((step, index, errno), (bad.to_string(), Some(3), Errno::ENOENT));
    // The name of the chain: headers of 20 bytes and the attribute with the name of the table.
    assert_eq!(offset, Some(20 + 12));
}

#[test]
fn an_object_that_exists_and_differs_is_refused_as_existing() {
    let namespace = Namespace::new();
    namespace.sh("nft add table ip netlab
        nft 'add chain ip netlab postrouting { type filter hook postrouting priority 100; }'");
    let error = socket(&namespace).commit(&masquerade_plan()).unwrap_err();
    assert!(error.is_exists(), "{error:?}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "EEXIST: File exists");
}

#[test]
fn the_refusal_of_a_commit_names_the_step_and_not_the_confirmed_last_one() {
    let namespace = Namespace::new();
    let mut transaction = masquerade_plan();
    let missing = TableName { family: Family::Ip, name: "missing".to_owned() };
    transaction.steps.insert(0, Step::DeleteTable(missing));
    let error = socket(&namespace).commit(&transaction).unwrap_err();
    assert_eq!(error.to_string(), "nf_tables refused `delete table ip missing`");
    assert_eq!(namespace.sh("nft list ruleset"), "");
}

#[test]
fn teardown_leaves_nothing_of_ours_and_all_of_others() {
    let namespace = Namespace::new();
    let mut socket = socket(&namespace);
    let foreign = "add table inet netlab
        add chain inet netlab c { type filter hook input priority 0; }
        add table ip netlab2
        add chain ip netlab2 postrouting
        add rule ip netlab2 postrouting ip saddr 10.42.0.0/16 drop
        add table ip6 nat";
    namespace.sh_with("nft -f -", foreign);
    let before = namespace.sh("nft list ruleset");
    socket.commit(&masquerade_plan()).unwrap();
    assert_ne!(namespace.sh("nft list ruleset"), before);
    for _ in 0..2 {
        socket.commit(&teardown()).unwrap();
        assert_eq!(namespace.sh("nft list ruleset"), before);
    }
}

#[test]
fn a_transaction_of_ten_thousand_chains_and_rules_is_one_answer() {
    const COUNT: usize = 10_000;
    let namespace = Namespace::new();
    let mut socket = socket(&namespace);
    let table = TableName::own(Family::Ip);
    let comment = Comment::new("one of many");
    let mut steps = vec![Step::AddTable(Table { name: table.clone(), comment: comment.clone() })];
    let names: Vec<_> = (0..COUNT).map(|i| table.chain(&format!("chain-{i}"))).collect();
    steps.extend(names.iter().map(|name| {
        Step::AddChain(Chain { name: name.clone(), base: None, comment: comment.clone() })
    }));
    steps.extend(names.iter().map(|name| {
        let network = "10.0.0.0/9".parse().unwrap();
        Step::AddRule(Rule {
            chain: name.clone(),
            expressions: vec![
                Expression::Address { side: Side::Source, operator: Operator::Is, network },
                Expression::Verdict(Verdict::Accept),
            ],
            comment: comment.clone(),
        })
    }));
    let mut transaction = Transaction { steps };
    socket.commit(&transaction).unwrap();
    let text = namespace.sh("nft list table ip netlab");
    assert_eq!(text.matches("ip saddr 10.0.0.0/9 accept").count(), COUNT);
    let observed = observe(&mut socket).unwrap();
    assert!(diff(&transaction, &observed).is_empty());

    // One of them changes: the cost is that of one.
    let Some(Step::AddRule(rule)) = transaction.steps.last_mut() else { unreachable!() };
    rule.expressions.remove(0);
    let change = diff(&transaction, &observed).to_string();
    assert_eq!(
        change,
        "flush chain ip netlab chain-9999\n\
         add rule ip netlab chain-9999 accept comment \"one of many\"\n"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn after_any_plan_is_applied_nothing_is_left_to_do(
        v4 in proptest::collection::vec((any::<[u8; 4]>(), 0..=32_u8), 0..4),
        v6 in proptest::collection::vec((any::<[u8; 16]>(), 0..=128_u8), 0..4),
    ) {
        let v4 = v4.into_iter().map(|(a, len)| ipnet::IpNet::new(a.into(), len).unwrap());
        let v6 = v6.into_iter().map(|(a, len)| ipnet::IpNet::new(a.into(), len).unwrap());
        let desired = masquerade::plan(&v4.chain(v6).collect::<Vec<_>>());
        let namespace = Namespace::new();
        let mut socket = socket(&namespace);
        let first = diff(&desired, &observe(&mut socket).unwrap());
        prop_assert_eq!(&first, &desired);
        socket.commit(&first).unwrap();
        let second = diff(&desired, &observe(&mut socket).unwrap());
        prop_assert!(second.is_empty(), "{}", second);
        namespace.sh_with("nft -c -f -", &desired.to_string());
    }
}
