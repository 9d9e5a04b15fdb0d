// SPDX-License-Identifier: GPL-3.0-or-later
//! The rules of one family as they would stand in the kernel, to be read.

use std::collections::{BTreeMap, BTreeSet};

use netlab_api::proxy::{HookRules, ShownRule};
use netlab_nft::{Base, Comment, Data, Expression, Hook, Step, Transaction, Tuple, Verdict};

/// A rule as it stands in its chain.
#[derive(Debug)]
pub(super) struct ReadRule {
    pub(super) expressions: Vec<Expression>,
    pub(super) comment: Comment,
}

impl ReadRule {
    /// As `nft` writes it, without its comment.
    pub(super) fn text(&self) -> String {
        let parts: Vec<String> = self.expressions.iter().map(ToString::to_string).collect();
        parts.join(" ")
    }
}

/// The rules of one family.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    bases: Vec<(String, Base)>,
    rules: BTreeMap<String, Vec<ReadRule>>,
    elements: BTreeMap<String, BTreeMap<Tuple, Option<Data>>>,
}

impl Ruleset {
    /// What a transaction makes from nothing.
    pub(super) fn of(made: Transaction) -> Ruleset {
        let mut set = Ruleset::default();
        for step in made.steps {
            match step {
                Step::AddChain(chain) => {
                    set.rules.entry(chain.name.name.clone()).or_default();
                    set.bases.extend(chain.base.map(|base| (chain.name.name, base)));
                }
                Step::AddRule(rule) => {
                    let read = ReadRule { expressions: rule.expressions, comment: rule.comment };
                    set.rules.entry(rule.chain.name).or_default().push(read);
                }
                Step::AddElements(name, elements) => {
                    let known = set.elements.entry(name.name).or_default();
                    known.extend(elements.into_iter().map(|it| (it.key, it.data)));
                }
                _ => {}
            }
        }
        // The kernel calls them in this order.
        set.bases.sort_by_key(|(_, base)| base.priority);
        set
    }

    /// The chains that the kernel calls at a hook, in its order.
    pub(super) fn at(&self, hook: Hook) -> impl Iterator<Item = (&str, Base)> {
        let at = self.bases.iter().filter(move |(_, base)| base.hook == hook);
        at.map(|(name, base)| (name.as_str(), *base))
    }

    /// The rules of a chain.
    pub(super) fn rules(&self, chain: &str) -> &[ReadRule] {
        self.rules.get(chain).map_or(&[], Vec::as_slice)
    }

    /// The verdict or values of a key; none when it is not there.
    pub(super) fn look_up(&self, set: &str, key: &Tuple) -> Option<Option<&Data>> {
        self.elements.get(set)?.get(key).map(Option::as_ref)
    }

    /// All rules by hook, whatever the packet is: each chain where it is first led to.
    pub(super) fn everything(&self) -> Vec<HookRules> {
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for (hook, title) in HOOKS {
            let mut rules = Vec::new();
            for (chain, _) in self.at(hook) {
                self.list(chain, &mut seen, &mut rules);
            }
            if !rules.is_empty() {
                all.push(HookRules { hooks: vec![title.to_owned()], rules });
            }
        }
        all
    }

    fn list(&self, chain: &str, seen: &mut BTreeSet<String>, rules: &mut Vec<ShownRule>) {
        if !seen.insert(chain.to_owned()) {
            return;
        }
        for rule in self.rules(chain) {
            rules.push(shown(chain, rule, String::new()));
        }
        for rule in self.rules(chain) {
            for expression in &rule.expressions {
                if let Expression::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) = expression {
                    self.list(to, seen, rules);
                }
            }
        }
    }
}

/// Hooks with their names, in the order in which a packet may meet them.
pub(super) const HOOKS: [(Hook, &str); 5] = [
    (Hook::Prerouting, "PREROUTING (packets of pods and from outside)"),
    (Hook::Output, "OUTPUT (packets of this node)"),
    (Hook::Forward, "FORWARD (packets on their way)"),
    (Hook::Input, "INPUT (packets for this node)"),
    (Hook::Postrouting, "POSTROUTING (packets that leave for wherever they go)"),
];

/// A rule with what it does.
pub(super) fn shown(chain: &str, rule: &ReadRule, effect: String) -> ShownRule {
    ShownRule {
        chain: chain.to_owned(),
        rule: rule.text(),
        comment: rule.comment.as_str().to_owned(),
        effect,
    }
}
