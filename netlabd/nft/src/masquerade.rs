// SPDX-License-Identifier: GPL-3.0-or-later
//! The desired rules for pods that leave the cluster.
//!
//! Nothing outside the cluster has a route to a pod, so a pod's packet leaves with the address of
//! its node, and the answer finds its way back. Between pods addresses stay as they are: that is
//! what policies and logs rely on.
//!
//! ```text
//!   10.42.0.7 ──► nl… ──► routing ──► postrouting ──► eth0 ──► 192.0.2.9
//!                                        │  to a pod network: as it is
//!                                        │  to a multicast group: as it is
//!                                        └─ elsewhere: from the address of eth0
//! ```

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::expression::{Expression, Operator, Side};
use crate::rule::{Base, Chain, ChainType, Comment, Family, Hook, Policy, Rule, Table, TableName};
use crate::transaction::{Step, Transaction};

/// The chain that rewrites the source of leaving packets.
pub const CHAIN: &str = "postrouting";

/// Multicast groups (RFC 5771, RFC 4291 section 2.7). Members must see who really sends, and no
/// answer comes back that could be translated.
fn multicast(family: Family) -> IpNet {
    match family {
        Family::Ip => Ipv4Net::new_assert([224, 0, 0, 0].into(), 4).into(),
        Family::Ip6 => Ipv6Net::new_assert([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8).into(),
    }
}

/// Plans the rules for pods in these networks, in a table of each family that has one.
///
/// Each source network gets a rule of its own that matches every destination which is to be left
/// alone: with one pod network per family that is one short rule, and no set to keep.
#[must_use]
pub fn plan(pod_networks: &[IpNet]) -> Transaction {
    let mut steps = Vec::new();
    for family in Family::ALL {
        let mut networks: Vec<IpNet> = pod_networks
            .iter()
            .filter(|network| Family::of(network) == family)
            .map(IpNet::trunc)
            .collect();
        // Equal input in another order is the same plan, so that it is no difference either.
        networks.sort_unstable();
        networks.dedup();
        if networks.is_empty() {
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
                kind: ChainType::Nat,
                hook: Hook::Postrouting,
                priority: Base::SRCNAT,
                policy: Policy::Accept,
            }),
            comment: Comment::new("source addresses of packets that leave this node"),
        }));
        for source in &networks {
            let outside = networks.iter().copied().chain([multicast(family)]);
            let mut expressions = vec![Expression::Address {
                side: Side::Source,
                operator: Operator::Is,
                network: *source,
            }];
            expressions.extend(outside.map(|network| Expression::Address {
                side: Side::Destination,
                operator: Operator::IsNot,
                network,
            }));
            expressions.push(Expression::Masquerade { fully_random: true });
            steps.push(Step::AddRule(Rule {
                chain: chain.clone(),
                expressions,
                comment: Comment::new(&format!(
                    "pods of {source} leave the cluster as their node: no route leads back to a pod"
                )),
            }));
        }
    }
    Transaction { steps }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::plan;

    fn text(networks: &[&str]) -> String {
        let networks: Vec<_> = networks.iter().map(|n| n.parse().unwrap()).collect();
        plan(&networks).to_string()
    }

    #[test]
    fn pods_of_both_families_are_masqueraded_outside_of_the_pod_network() {
        expect![[r#"
            add table ip netlab { comment "netlabd keeps this table as it needs it"; }
            add chain ip netlab postrouting { type nat hook postrouting priority srcnat; policy accept; comment "source addresses of packets that leave this node"; }
            add rule ip netlab postrouting ip saddr 10.42.0.0/16 ip daddr != 10.42.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment "pods of 10.42.0.0/16 leave the cluster as their node: no route leads back to a pod"
            add table ip6 netlab { comment "netlabd keeps this table as it needs it"; }
            add chain ip6 netlab postrouting { type nat hook postrouting priority srcnat; policy accept; comment "source addresses of packets that leave this node"; }
            add rule ip6 netlab postrouting ip6 saddr fd42::/48 ip6 daddr != fd42::/48 ip6 daddr != ff00::/8 masquerade fully-random comment "pods of fd42::/48 leave the cluster as their node: no route leads back to a pod"
        "#]]
        .assert_eq(&text(&["10.42.0.0/16", "fd42::/48"]));
    }

    #[test]
    fn between_two_pod_networks_nothing_is_masqueraded() {
        expect![[r#"
            add table ip netlab { comment "netlabd keeps this table as it needs it"; }
            add chain ip netlab postrouting { type nat hook postrouting priority srcnat; policy accept; comment "source addresses of packets that leave this node"; }
            add rule ip netlab postrouting ip saddr 10.42.0.0/16 ip daddr != 10.42.0.0/16 ip daddr != 10.44.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment "pods of 10.42.0.0/16 leave the cluster as their node: no route leads back to a pod"
            add rule ip netlab postrouting ip saddr 10.44.0.0/16 ip daddr != 10.42.0.0/16 ip daddr != 10.44.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment "pods of 10.44.0.0/16 leave the cluster as their node: no route leads back to a pod"
        "#]]
        .assert_eq(&text(&["10.42.0.0/16", "10.44.0.0/16"]));
    }

    #[test]
    fn a_family_without_pods_gets_no_table() {
        assert!(text(&["fd42::/48"]).lines().all(|line| line.contains(" ip6 netlab")));
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn order_repetition_and_host_bits_make_no_difference() {
        assert_eq!(
            text(&["10.44.0.0/16", "10.42.0.9/16", "10.42.0.0/16"]),
            text(&["10.42.0.0/16", "10.44.0.0/16"])
        );
    }
}
