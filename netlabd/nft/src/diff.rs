// SPDX-License-Identifier: GPL-3.0-or-later
//! What leads from the observed tables to the desired ones.
//!
//! Pure: no socket. The unit of repair is the chain. A chain in which one rule differs is written
//! anew as a whole: it is short, rules have an order, and the kernel applies the change at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::expression::Verdict;
use crate::instruction::{Instruction, compile};
use crate::observe::{Observed, ObservedBase, ObservedChain, ObservedRule, ObservedTable};
use crate::rule::{Base, Chain, ChainName, Policy, Rule, Table, TableName};
use crate::transaction::{Step, Transaction};

/// Plans the changes after which netlab's tables are as desired; nothing when they are.
///
/// `desired` is all that netlab wants: planners that share a table are joined before. What it adds
/// is wanted, its other steps say nothing. What stands in netlab's tables and is not wanted goes,
/// whoever made it: chains, rules, whole tables. Comments of tables are not compared, for only a
/// new table could have another one.
#[must_use]
pub fn diff(desired: &Transaction, observed: &Observed) -> Transaction {
    let desired = Desired::of(desired);
    let mut steps = Vec::new();
    for name in observed.tables.keys() {
        if !desired.tables.contains_key(name) {
            steps.push(Step::DeleteTable(name.clone()));
        }
    }
    for (name, table) in &desired.tables {
        diff_table(&desired, table, observed.tables.get(*name), &mut steps);
    }
    Transaction { steps }
}

/// The wanted objects, in the order in which they are wanted.
#[derive(Default)]
struct Desired<'a> {
    tables: BTreeMap<&'a TableName, &'a Table>,
    chains: Vec<&'a Chain>,
    rules: BTreeMap<&'a ChainName, Vec<&'a Rule>>,
}

impl<'a> Desired<'a> {
    fn of(transaction: &'a Transaction) -> Self {
        let mut desired = Self::default();
        let mut known = BTreeSet::new();
        for step in &transaction.steps {
            match step {
                Step::AddTable(table) => {
                    desired.tables.entry(&table.name).or_insert(table);
                }
                Step::AddChain(chain) => {
                    // Planners that share a chain each add it.
                    if known.insert(&chain.name) {
                        desired.chains.push(chain);
                    }
                }
                Step::AddRule(rule) => desired.rules.entry(&rule.chain).or_default().push(rule),
                _ => {}
            }
        }
        desired
    }

    fn rules(&self, chain: &ChainName) -> &[&'a Rule] {
        self.rules.get(chain).map_or(&[], Vec::as_slice)
    }
}

fn diff_table(
    desired: &Desired<'_>,
    table: &Table,
    observed: Option<&ObservedTable>,
    steps: &mut Vec<Step>,
) {
    if observed.is_none_or(|observed| observed.flags != 0) {
        steps.push(Step::AddTable(table.clone()));
    }
    let none = BTreeMap::new();
    let observed = observed.map_or(&none, |observed| &observed.chains);
    let chains: BTreeMap<&str, &Chain> = desired
        .chains
        .iter()
        .filter(|chain| chain.name.table == table.name)
        .map(|chain| (chain.name.name.as_str(), *chain))
        .collect();

    // A chain that is there and is to go, for good or to come back with another hook.
    let deleted: BTreeSet<&str> = observed
        .iter()
        .filter(|(name, now)| chains.get(name.as_str()).is_none_or(|want| !same_chain(want, now)))
        .map(|(name, _)| name.as_str())
        .collect();
    // A chain that stays and gets its rules anew: because they differ, or because they jump to a
    // chain that can only be deleted when nothing does.
    let rewritten: BTreeSet<&str> = observed
        .iter()
        .filter(|(name, _)| !deleted.contains(name.as_str()))
        .filter(|(name, now)| {
            !same_rules(desired.rules(&table.name.chain(name)), &now.rules)
                || now.rules.iter().any(|rule| leads_to(rule, &deleted))
        })
        .map(|(name, _)| name.as_str())
        .collect();

    // Rules go before chains, since a rule holds the chain that it jumps to; and they come after
    // chains for the same reason.
    for name in observed.keys().map(String::as_str) {
        if deleted.contains(name) || rewritten.contains(name) {
            steps.push(Step::FlushChain(table.name.chain(name)));
        }
    }
    for name in &deleted {
        steps.push(Step::DeleteChain(table.name.chain(name)));
    }
    let added = |name: &str| !observed.contains_key(name) || deleted.contains(name);
    for chain in desired.chains.iter().filter(|chain| chain.name.table == table.name) {
        if added(&chain.name.name) {
            steps.push(Step::AddChain((*chain).clone()));
        }
    }
    for chain in desired.chains.iter().filter(|chain| chain.name.table == table.name) {
        if added(&chain.name.name) || rewritten.contains(chain.name.name.as_str()) {
            let rules = desired.rules(&chain.name).iter();
            steps.extend(rules.map(|rule| Step::AddRule((*rule).clone())));
        }
    }
}

fn same_chain(desired: &Chain, observed: &ObservedChain) -> bool {
    observed.comment.as_deref() == Some(desired.comment.as_str())
        && observed.base == desired.base.as_ref().map(kernel_base)
}

fn kernel_base(base: &Base) -> ObservedBase {
    ObservedBase {
        kind: base.kind.to_string(),
        hook: base.hook as u32,
        priority: base.priority,
        policy: match base.policy {
            Policy::Accept => libc::NF_ACCEPT,
            Policy::Drop => libc::NF_DROP,
        }
        .cast_unsigned(),
    }
}

fn same_rules(desired: &[&Rule], observed: &[ObservedRule]) -> bool {
    desired.len() == observed.len()
        && desired.iter().zip(observed).all(|(want, now)| {
            now.comment.as_deref() == Some(want.comment.as_str())
                && now.program == compile(want.chain.table.family, &want.expressions)
        })
}

fn leads_to(rule: &ObservedRule, chains: &BTreeSet<&str>) -> bool {
    rule.program.iter().any(|instruction| {
        matches!(instruction, Instruction::Verdict(Verdict::Jump(to) | Verdict::Goto(to))
            if chains.contains(to.as_str()))
    })
}
