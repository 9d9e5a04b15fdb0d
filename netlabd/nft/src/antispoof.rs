// SPDX-License-Identifier: GPL-3.0-or-later
//! The desired rules against forged source addresses.
//!
//! A pod may send with the addresses that lead back to it, and with no other: else it could speak
//! for another pod, which policies and logs believe, or for a machine that then gets the answers.
//!
//! ```text
//!   pod ──► nl… ──► prerouting, before connection tracking ──► routing ──► …
//!                      │  the route to the source leads over this nl…: go on
//!                      └─ it does not: counted and dropped
//! ```
//!
//! The routing table is the list of who may use which address, so there is no other to keep in
//! step with it: a pod's route and its right to send come and go together. IPv4's `rp_filter` does
//! the same on pod links; it does not count, and there is none for IPv6.
//!
//! Links are told by their group and not by their names: a pod that comes or goes changes no rule.

use ipnet::{IpNet, Ipv6Net};

use crate::expression::{Expression, Operator, Side, Verdict};
use crate::rule::{Base, Chain, ChainType, Comment, Family, Hook, Policy, Rule, Table, TableName};
use crate::transaction::{Step, Transaction};

/// The chain that drops packets with forged sources.
pub const CHAIN: &str = "antispoof";

/// Plans the rules for the links of this group, in a table of each family that these networks are
/// of.
///
/// IPv6's link-local addresses and `::` pass, which neighbour and group discovery use: the kernel
/// never forwards them (`ip6_forward`), so they say nothing beyond the pod's own link. IPv4's
/// `0.0.0.0` passes with a broadcast only, which is never forwarded either (`nft_fib4_eval`).
#[must_use]
pub fn plan(pod_networks: &[IpNet], link_group: u32) -> Transaction {
    let mut steps = Vec::new();
    for family in Family::ALL {
        if !pod_networks.iter().any(|network| Family::of(network) == family) {
            continue;
        }
        let table = TableName::own(family);
        let chain = table.chain(CHAIN);
        steps.push(Step::AddTable(Table {
            name: table,
            comment: Comment::new("netlabd keeps this table as it needs it"),
        }));
        steps.push(Step::AddChain(Chain {
            name: chain.clone(),
            base: Some(Base {
                kind: ChainType::Filter,
                hook: Hook::Prerouting,
                priority: Base::RAW,
                policy: Policy::Accept,
            }),
            comment: Comment::new("source addresses of packets that come from pods"),
        }));
        let mut expressions = vec![Expression::ArrivedByGroup(link_group)];
        expressions.extend(link_local(family).map(|network| Expression::Address {
            side: Side::Source,
            operator: Operator::IsNot,
            network,
        }));
        expressions.extend([
            Expression::SourceUnreachableThere,
            Expression::Counter,
            Expression::Verdict(Verdict::Drop),
        ]);
        let comment = Comment::new("forged source: not an address of the pod that it comes from");
        steps.push(Step::AddRule(Rule { chain, expressions, comment }));
    }
    Transaction { steps }
}

/// Sources that no router forwards (RFC 4291 sections 2.5.2 and 2.5.6).
fn link_local(family: Family) -> impl Iterator<Item = IpNet> {
    let networks = match family {
        Family::Ip => [None, None],
        Family::Ip6 => {
            let fe80 = Ipv6Net::new_assert([0xfe80, 0, 0, 0, 0, 0, 0, 0].into(), 10);
            let unspecified = Ipv6Net::new_assert([0; 8].into(), 128);
            [Some(fe80), Some(unspecified)]
        }
    };
    networks.into_iter().flatten().map(IpNet::V6)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::plan;

    #[test]
    fn packets_from_pods_need_a_source_that_leads_back_to_their_link() {
        let networks = ["10.42.0.0/16".parse().unwrap(), "fd42::/48".parse().unwrap()];
        expect![[r#"
            add table ip netlab { comment "netlabd keeps this table as it needs it"; }
            add chain ip netlab antispoof { type filter hook prerouting priority raw; policy accept; comment "source addresses of packets that come from pods"; }
            add rule ip netlab antispoof iifgroup 28268 fib saddr . iif oif missing counter drop comment "forged source: not an address of the pod that it comes from"
            add table ip6 netlab { comment "netlabd keeps this table as it needs it"; }
            add chain ip6 netlab antispoof { type filter hook prerouting priority raw; policy accept; comment "source addresses of packets that come from pods"; }
            add rule ip6 netlab antispoof iifgroup 28268 ip6 saddr != fe80::/10 ip6 saddr != ::/128 fib saddr . iif oif missing counter drop comment "forged source: not an address of the pod that it comes from"
        "#]]
        .assert_eq(&plan(&networks, 28268).to_string());
    }

    #[test]
    fn a_family_without_pods_gets_no_table() {
        let text = plan(&["10.42.0.0/16".parse().unwrap()], 1).to_string();
        assert!(!text.is_empty() && text.lines().all(|line| line.contains(" ip netlab")));
        assert!(plan(&[], 1).is_empty());
    }
}
