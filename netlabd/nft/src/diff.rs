// SPDX-License-Identifier: GPL-3.0-or-later
//! What leads from the observed tables to the desired ones.
//!
//! Pure: no socket. The unit of repair is the chain and the element. A chain in which one rule
//! differs is written anew as a whole: it is short, rules have an order, and the kernel applies the
//! change at once. Of a set, only the elements that differ are written.

mod sets;

use std::collections::{BTreeMap, BTreeSet};

use sets::SetsDiff;

use crate::element::Element;
use crate::instruction::{Instruction, compile};
use crate::observe::{Observed, ObservedBase, ObservedChain, ObservedRule, ObservedTable};
use crate::rule::{Base, Chain, ChainName, Policy, Rule, Table, TableName};
use crate::set::{Set, SetName};
use crate::transaction::{Step, Transaction};

/// Plans the changes after which netlab's tables are as desired; nothing when they are.
///
/// `desired` is all that netlab wants: planners that share a table are joined before. What it adds
/// is wanted, its other steps say nothing. What stands in netlab's tables and is not wanted goes,
/// whoever made it: chains, rules, sets, whole tables. Comments of tables are not compared, for
/// only a new table could have another one.
///
/// The elements of a set that stays are compared if they were observed and if `desired` adds some
/// to it, be it an empty list; of other sets they are left alone, and always of those that packets
/// change. A set that has another type, size or timeout than it should is made anew, with all
/// desired elements.
#[must_use]
pub fn diff(desired: &Transaction, observed: &Observed) -> Transaction {
    let mut difference = outline(desired, observed);
    let mut wanted: BTreeMap<&SetName, Vec<&[Element]>> = BTreeMap::new();
    for step in &desired.steps {
        if let Step::AddElements(set, elements) = step {
            wanted.entry(set).or_default().push(elements);
        }
    }
    fill(&mut difference, |set| wanted.get(set).map(|lists| lists.concat()));
    difference
}

/// The same for whoever needs the desired no more: what is not there at all is not copied.
#[must_use]
pub fn diff_into(desired: Transaction, observed: &Observed) -> Transaction {
    let mut difference = outline(&desired, observed);
    let mut wanted: BTreeMap<SetName, Vec<Element>> = BTreeMap::new();
    for step in desired.steps {
        if let Step::AddElements(set, mut elements) = step {
            let list = wanted.entry(set).or_default();
            if list.is_empty() {
                *list = elements;
            } else {
                list.append(&mut elements);
            }
        }
    }
    fill(&mut difference, |set| wanted.remove(set));
    difference
}

/// Puts all elements that are wanted of a set where [`outline`] left them out.
fn fill(difference: &mut Transaction, mut wanted: impl FnMut(&SetName) -> Option<Vec<Element>>) {
    for step in &mut difference.steps {
        if let Step::AddElements(set, elements) = step
            && elements.is_empty()
        {
            *elements = wanted(set).unwrap_or_default();
        }
    }
}

/// The changes, where an empty list of elements stands for all that are wanted of its set.
fn outline(desired: &Transaction, observed: &Observed) -> Transaction {
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
    sets: Vec<&'a Set>,
    /// Of each set whose elements are wanted, even if none are.
    elements: BTreeMap<&'a SetName, Vec<&'a Element>>,
    chains: Vec<&'a Chain>,
    rules: BTreeMap<&'a ChainName, Vec<&'a Rule>>,
}

impl<'a> Desired<'a> {
    fn of(transaction: &'a Transaction) -> Self {
        let mut desired = Self::default();
        let mut known = BTreeSet::new();
        let mut known_sets = BTreeSet::new();
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
                Step::AddSet(set) => {
                    if known_sets.insert(&set.name) {
                        desired.sets.push(set);
                    }
                }
                Step::AddElements(set, elements) => {
                    desired.elements.entry(set).or_default().extend(elements);
                }
                Step::AddRule(rule) => desired.rules.entry(&rule.chain).or_default().push(rule),
                Step::DeleteTable(_)
                | Step::FlushChain(_)
                | Step::DeleteChain(_)
                | Step::DeleteSet(_)
                | Step::FlushSet(_)
                | Step::FlushMap(_)
                | Step::DeleteElements(..) => {}
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
    let nothing = ObservedTable::default();
    let ObservedTable { sets, chains: observed, .. } = observed.unwrap_or(&nothing);
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
    let sets = SetsDiff::of(desired, &table.name, sets, &deleted);
    // A chain that stays and gets its rules anew: because they differ, or because they hold a
    // chain or a set that can only be deleted when nothing does.
    let rewritten: BTreeSet<&str> = observed
        .iter()
        .filter(|(name, _)| !deleted.contains(name.as_str()))
        .filter(|(name, now)| {
            !same_rules(desired.rules(&table.name.chain(name)), &now.rules)
                || now.rules.iter().any(|rule| holds(rule, &deleted, &sets.deleted))
        })
        .map(|(name, _)| name.as_str())
        .collect();

    // What holds another goes before it and comes after it: rules hold chains and sets, verdicts
    // in maps hold chains.
    for name in observed.keys().map(String::as_str) {
        if deleted.contains(name) || rewritten.contains(name) {
            steps.push(Step::FlushChain(table.name.chain(name)));
        }
    }
    steps.extend(sets.removals);
    for name in &deleted {
        steps.push(Step::DeleteChain(table.name.chain(name)));
    }
    steps.extend(sets.additions);
    let added = |name: &str| !observed.contains_key(name) || deleted.contains(name);
    for chain in desired.chains.iter().filter(|chain| chain.name.table == table.name) {
        if added(&chain.name.name) {
            steps.push(Step::AddChain((*chain).clone()));
        }
    }
    steps.extend(sets.elements);
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

/// Whether a rule keeps one of these chains or sets from being deleted.
fn holds(rule: &ObservedRule, chains: &BTreeSet<&str>, sets: &BTreeSet<&str>) -> bool {
    rule.program.iter().any(|instruction| match instruction {
        Instruction::Verdict(verdict) => verdict.chain().is_some_and(|to| chains.contains(to)),
        Instruction::Lookup { set, .. } | Instruction::Update { set } => {
            sets.contains(set.as_str())
        }
        _ => false,
    })
}
