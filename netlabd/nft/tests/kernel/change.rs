// SPDX-License-Identifier: GPL-3.0-or-later
//! `diff` leads from any ruleset to any other, in the kernel's judgement and as `nft` sees it.

use std::collections::BTreeMap;

use netlab_nft::{
    Base, Chain, ChainType, Comment, Expression, Family, Hook, Operator, Policy, Rule, Side, Step,
    Table, TableName, Transaction, Verdict, diff, observe,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::namespace::Namespace;
use crate::socket;

/// Only the first may be a base chain, for nothing may jump to one; and each jumps to later ones
/// only, for the kernel refuses circles.
const CHAINS: usize = 4;

#[derive(Debug, Clone)]
struct ChainDraft {
    comment: bool,
    base: Option<(bool, bool)>,
    /// Which chain to jump to, or which network to match and accept.
    rules: Vec<(usize, u8)>,
}

fn draft() -> impl Strategy<Value = ChainDraft> {
    let rules = proptest::collection::vec((0..CHAINS + 2, 0..4_u8), 0..4);
    (any::<bool>(), proptest::option::of(any::<(bool, bool)>()), rules)
        .prop_map(|(comment, base, rules)| ChainDraft { comment, base, rules })
}

/// Two rulesets that have some chains in common: what stays the same matters as much.
fn rulesets() -> impl Strategy<Value = (Transaction, Transaction)> {
    let chain = || proptest::option::weighted(0.8, draft());
    proptest::collection::vec((chain(), chain(), any::<bool>()), CHAINS).prop_map(|drafts| {
        let first: Vec<_> = drafts.iter().map(|(first, _, _)| first.clone()).collect();
        let second: Vec<_> = drafts
            .into_iter()
            .map(|(first, second, same)| if same { first } else { second })
            .collect();
        (write_out(&first), write_out(&second))
    })
}

fn write_out(drafts: &[Option<ChainDraft>]) -> Transaction {
    let table = TableName::own(Family::Ip);
    let comment = Comment::new("for a test");
    let mut steps = vec![Step::AddTable(Table { name: table.clone(), comment: comment.clone() })];
    let mut rules = Vec::new();
    for (i, draft) in drafts.iter().enumerate() {
        let Some(draft) = draft else { continue };
        let name = table.chain(&format!("chain-{i}"));
        let base = draft.base.filter(|_| i == 0).map(|(forward, drop)| Base {
            kind: ChainType::Filter,
            hook: if forward { Hook::Forward } else { Hook::Input },
            priority: Base::FILTER,
            policy: if drop { Policy::Drop } else { Policy::Accept },
        });
        let comment = if draft.comment { comment.clone() } else { Comment::new("another") };
        steps.push(Step::AddChain(Chain { name: name.clone(), base, comment: comment.clone() }));
        for &(target, network) in &draft.rules {
            let jump = target > i && drafts.get(target).is_some_and(Option::is_some);
            let expressions = vec![
                Expression::Address {
                    side: Side::Source,
                    operator: if target == 0 { Operator::Is } else { Operator::IsNot },
                    network: format!("10.{network}.0.0/{}", 8 + network).parse().unwrap(),
                },
                Expression::Verdict(match jump {
                    true => Verdict::Jump(format!("chain-{target}")),
                    false => Verdict::Accept,
                }),
            ];
            let chain = name.clone();
            rules.push(Step::AddRule(Rule { chain, expressions, comment: comment.clone() }));
        }
    }
    steps.append(&mut rules);
    Transaction { steps }
}

/// Every chain with its rules and every set with its elements, without handles and without the
/// order of creation.
pub(crate) fn listing(namespace: &Namespace) -> BTreeMap<String, Vec<Value>> {
    let json: Value = serde_json::from_str(&namespace.sh("nft -j list ruleset")).unwrap();
    let mut chains: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for object in json["nftables"].as_array().unwrap() {
        for (kind, name) in [("chain", "name"), ("rule", "chain"), ("set", "name"), ("map", "name")]
        {
            if let Some(object) = object.get(kind) {
                let mut object = object.clone();
                object.as_object_mut().unwrap().remove("handle");
                chains.entry(object[name].as_str().unwrap().to_owned()).or_default().push(object);
            }
        }
    }
    chains
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_ruleset_becomes_any_other((first, second) in rulesets()) {
        let (changed, fresh) = (Namespace::new(), Namespace::new());
        let mut socket = socket(&changed);
        socket.commit(&first).unwrap();
        let change = diff(&second, &observe(&mut socket).unwrap());
        changed.sh_with("nft -c -f -", &change.to_string());
        socket.commit(&change).unwrap();
        fresh.sh_with("nft -f -", &second.to_string());
        prop_assert_eq!(listing(&changed), listing(&fresh), "{}", change);
        let rest = diff(&second, &observe(&mut socket).unwrap());
        prop_assert!(rest.is_empty(), "{}", rest);
    }
}
