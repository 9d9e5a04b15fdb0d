// SPDX-License-Identifier: GPL-3.0-or-later
//! Rules that keep connection tracking from a server of the node itself.
//!
//! ```text
//!   chain untracked-prerouting { type filter hook prerouting priority raw
//!       ip daddr 10.43.0.10 meta l4proto udp th dport 53 notrack accept
//!       ip saddr 10.43.0.10 meta l4proto udp th sport 53 notrack accept    answers to the node itself
//!   }
//!   chain untracked-output { the same, for what the node sends }
//! ```
//!
//! A server of names is asked in a flow of its own each time: tracked, each would stay in the table
//! for half a minute and more, and a busy node would run out of entries. Such packets have nothing
//! to be translated either.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::element::Protocol;
use crate::expression::{Expression, Operator, Side, Verdict};
use crate::rule::{Base, Chain, ChainType, Comment, Family, Hook, Policy, Rule, Table, TableName};
use crate::transaction::{Step, Transaction};

/// The chains, by their hooks.
const CHAINS: [(&str, Hook); 2] =
    [("untracked-prerouting", Hook::Prerouting), ("untracked-output", Hook::Output)];

/// Plans the rules for a port of these addresses, which are the node's own, over UDP and TCP: in a
/// table of each family that they are of.
#[must_use]
pub fn plan(addresses: &[IpAddr], port: u16) -> Transaction {
    let mut steps = Vec::new();
    for family in Family::ALL {
        let networks = addresses.iter().copied().map(IpNet::from);
        let networks: Vec<IpNet> = networks.filter(|it| Family::of(it) == family).collect();
        if networks.is_empty() {
            continue;
        }
        let table = TableName::own(family);
        steps.push(Step::AddTable(Table {
            name: table.clone(),
            comment: Comment::new("netlabd keeps this table as it needs it"),
        }));
        for (chain, hook) in CHAINS {
            let base =
                Base { kind: ChainType::Filter, hook, priority: Base::RAW, policy: Policy::Accept };
            steps.push(Step::AddChain(Chain {
                name: table.chain(chain),
                base: Some(base),
                comment: Comment::new("questions to this node's own DNS and its answers"),
            }));
        }
        for (chain, _) in CHAINS {
            for (network, protocol, side) in of_each(&networks) {
                let at_port = match side {
                    Side::Source => Expression::SourcePort(port),
                    Side::Destination => Expression::DestinationPort(port),
                };
                steps.push(Step::AddRule(Rule {
                    chain: table.chain(chain),
                    expressions: vec![
                        Expression::Address { side, operator: Operator::Is, network },
                        Expression::Protocol(protocol),
                        at_port,
                        Expression::Untracked,
                        // No other rule of the chain is about it.
                        Expression::Verdict(Verdict::Accept),
                    ],
                    comment: Comment::new(match side {
                        Side::Source => "answers",
                        Side::Destination => "questions",
                    }),
                }));
            }
        }
    }
    Transaction { steps }
}

fn of_each(networks: &[IpNet]) -> impl Iterator<Item = (IpNet, Protocol, Side)> + '_ {
    networks.iter().flat_map(|network| {
        // The most frequent first.
        [Protocol::Udp, Protocol::Tcp].into_iter().flat_map(move |protocol| {
            [Side::Destination, Side::Source].map(|side| (*network, protocol, side))
        })
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn questions_and_answers_are_not_tracked_in_either_direction() {
        let addresses = ["10.43.0.10".parse().unwrap()];
        expect![[r#"
            add table ip netlab { comment "netlabd keeps this table as it needs it"; }
            add chain ip netlab untracked-prerouting { type filter hook prerouting priority raw; policy accept; comment "questions to this node's own DNS and its answers"; }
            add chain ip netlab untracked-output { type filter hook output priority raw; policy accept; comment "questions to this node's own DNS and its answers"; }
            add rule ip netlab untracked-prerouting ip daddr 10.43.0.10/32 meta l4proto udp th dport 53 notrack accept comment "questions"
            add rule ip netlab untracked-prerouting ip saddr 10.43.0.10/32 meta l4proto udp th sport 53 notrack accept comment "answers"
            add rule ip netlab untracked-prerouting ip daddr 10.43.0.10/32 meta l4proto tcp th dport 53 notrack accept comment "questions"
            add rule ip netlab untracked-prerouting ip saddr 10.43.0.10/32 meta l4proto tcp th sport 53 notrack accept comment "answers"
            add rule ip netlab untracked-output ip daddr 10.43.0.10/32 meta l4proto udp th dport 53 notrack accept comment "questions"
            add rule ip netlab untracked-output ip saddr 10.43.0.10/32 meta l4proto udp th sport 53 notrack accept comment "answers"
            add rule ip netlab untracked-output ip daddr 10.43.0.10/32 meta l4proto tcp th dport 53 notrack accept comment "questions"
            add rule ip netlab untracked-output ip saddr 10.43.0.10/32 meta l4proto tcp th sport 53 notrack accept comment "answers"
        "#]]
        .assert_eq(&plan(&addresses, 53).to_string());
        assert!(plan(&[], 53).steps.is_empty());
    }
}
