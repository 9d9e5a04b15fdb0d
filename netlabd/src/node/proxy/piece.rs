// SPDX-License-Identifier: GPL-3.0-or-later
//! What one port of a service adds to the rules of a family, and the difference of two such. Pure.
//!
//! A piece owns its chains and sets; elements that it puts into sets of all are its own by their
//! keys, which no other piece has.

use std::collections::{BTreeMap, BTreeSet};

use netlab_nft::{
    Chain, Comment, Data, Element, Expression, MapData, Rule, Set, Step, TableName, Transaction,
    Tuple,
};

/// Chains, sets and elements of one table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Piece {
    /// Own sets and maps, by name.
    pub sets: BTreeMap<String, Set>,
    /// Own chains, by name.
    pub chains: BTreeMap<String, OwnChain>,
    /// Elements, by the name of their set.
    pub elements: BTreeMap<String, BTreeMap<Tuple, Value>>,
}

/// A chain and its rules.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnChain {
    /// What it is for.
    pub comment: Comment,
    /// Its rules, in order.
    pub rules: Vec<OwnRule>,
}

/// A rule of a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnRule {
    /// Matches and what to do.
    pub expressions: Vec<Expression>,
    /// What it is for.
    pub comment: Comment,
}

/// What a key leads to, and its comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// What it leads to.
    pub data: Option<Data>,
    /// What it is for.
    pub comment: Option<Comment>,
}

impl Piece {
    /// Adds an element to a set.
    pub fn put(&mut self, set: &str, element: Element) {
        let Element { key, data, comment } = element;
        let value = Value { data, comment };
        match self.elements.get_mut(set) {
            Some(elements) => drop(elements.insert(key, value)),
            None => drop(self.elements.insert(set.to_owned(), BTreeMap::from([(key, value)]))),
        }
    }

    /// Adds a chain.
    pub fn chain(&mut self, name: &str, comment: &str, rules: Vec<OwnRule>) {
        let chain = OwnChain { comment: Comment::new(comment), rules };
        self.chains.insert(name.to_owned(), chain);
    }

    /// Adds a set or map.
    pub fn set(&mut self, set: Set) {
        self.sets.insert(set.name.name.clone(), set);
    }

    /// The steps that make all of these from nothing, in a table that has the sets of all. The same
    /// as [`diff`] from an empty piece, without a copy of everything.
    pub fn build_all(pieces: impl IntoIterator<Item = Piece>, table: &TableName) -> Transaction {
        let (mut sets, mut chains) = (BTreeMap::new(), BTreeMap::new());
        // Lists, and sorted at the end: a tree of so many takes twice the time.
        let mut elements: BTreeMap<String, Vec<Element>> = BTreeMap::new();
        for piece in pieces {
            sets.extend(piece.sets);
            chains.extend(piece.chains);
            for (set, own) in piece.elements {
                let own = own.into_iter().map(|(key, Value { data, comment })| Element {
                    key,
                    data,
                    comment,
                });
                match elements.get_mut(&set) {
                    Some(all) => all.extend(own),
                    None => drop(elements.insert(set, own.collect())),
                }
            }
        }
        let mut steps: Vec<Step> = sets.into_values().map(Step::AddSet).collect();
        let mut rules = Vec::new();
        for (name, OwnChain { comment, rules: own }) in chains {
            let name = table.chain(&name);
            rules.extend(own.into_iter().map(|OwnRule { expressions, comment }| {
                Step::AddRule(Rule { chain: name.clone(), expressions, comment })
            }));
            steps.push(Step::AddChain(Chain { name, base: None, comment }));
        }
        steps.append(&mut rules);
        for (set, mut elements) in elements {
            elements.sort_unstable_by(|one, other| one.key.cmp(&other.key));
            steps.push(Step::AddElements(table.set(&set), elements));
        }
        Transaction { steps }
    }
}

/// A rule.
pub fn rule(comment: &str, expressions: Vec<Expression>) -> OwnRule {
    OwnRule { expressions, comment: Comment::new(comment) }
}

/// Steps from one piece to another, by when they must be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Difference {
    /// Elements that go or get other data, and rules that go.
    before: Vec<Step>,
    /// Sets and chains that come.
    objects: Vec<Step>,
    /// Rules that come.
    rules: Vec<Step>,
    /// Elements that come: last, for verdicts lead to chains.
    elements: Vec<Step>,
    /// Chains and sets that nothing uses any more.
    leftovers: Vec<Step>,
}

impl Difference {
    /// Joins another difference in the same table to this one.
    pub fn append(&mut self, mut other: Difference) {
        self.before.append(&mut other.before);
        self.objects.append(&mut other.objects);
        self.rules.append(&mut other.rules);
        self.elements.append(&mut other.elements);
        self.leftovers.append(&mut other.leftovers);
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        [&self.before, &self.objects, &self.rules, &self.elements, &self.leftovers]
            .iter()
            .all(|steps| steps.is_empty())
    }

    /// The change itself, and what can be deleted after it. Kernels before 6.2 notice only after a
    /// transaction that its elements and rules use a chain no more (Linux commit 4c905f6740a3).
    pub fn split(self) -> (Transaction, Transaction) {
        let mut steps = self.before;
        steps.extend(self.objects);
        steps.extend(self.rules);
        steps.extend(self.elements);
        (Transaction { steps }, Transaction { steps: self.leftovers })
    }

    /// All of it in one.
    pub fn whole(self) -> Transaction {
        let (mut change, leftovers) = self.split();
        change.append(leftovers);
        change
    }
}

/// What leads from `old` to `new`.
pub fn diff(table: &TableName, old: &Piece, new: &Piece) -> Difference {
    let mut difference = Difference::default();
    diff_elements(table, old, new, &mut difference);
    let replaced = diff_sets(table, old, new, &mut difference);
    diff_chains(table, old, new, &replaced, &mut difference);
    difference
}

fn diff_elements(table: &TableName, old: &Piece, new: &Piece, difference: &mut Difference) {
    let none = BTreeMap::new();
    let sets: BTreeSet<&String> = old.elements.keys().chain(new.elements.keys()).collect();
    for set in sets {
        // A set of its own that goes takes its elements along, unless they are verdicts: chains
        // that these lead to could not go before it.
        let stays = match old.sets.get(set) {
            Some(own) => new.sets.get(set) == Some(own) || own.data == Some(MapData::Verdict),
            None => true,
        };
        let was = old.elements.get(set).filter(|_| stays).unwrap_or(&none);
        let is = new.elements.get(set).unwrap_or(&none);
        let gone: Vec<Tuple> = was
            .iter()
            .filter(|(key, value)| is.get(*key) != Some(value))
            .map(|(key, _)| key.clone())
            .collect();
        let come: Vec<Element> = is
            .iter()
            .filter(|(key, value)| was.get(*key) != Some(value))
            .map(|(key, value)| element(key, value))
            .collect();
        let name = table.set(set);
        if !gone.is_empty() {
            difference.before.push(Step::DeleteElements(name.clone(), gone));
        }
        if !come.is_empty() {
            difference.elements.push(Step::AddElements(name, come));
        }
    }
}

/// The element of a key and what it leads to.
pub fn element(key: &Tuple, value: &Value) -> Element {
    Element { key: key.clone(), data: value.data.clone(), comment: value.comment.clone() }
}

/// Answers the sets that are replaced by others of their name.
fn diff_sets<'a>(
    table: &TableName,
    old: &Piece,
    new: &'a Piece,
    difference: &mut Difference,
) -> BTreeSet<&'a str> {
    let mut replaced = BTreeSet::new();
    for (name, set) in &new.sets {
        match old.sets.get(name) {
            Some(same) if same == set => continue,
            Some(_) => {
                replaced.insert(name.as_str());
                difference.objects.push(Step::DeleteSet(table.set(name)));
            }
            None => {}
        }
        difference.objects.push(Step::AddSet(set.clone()));
    }
    for name in old.sets.keys().filter(|name| !new.sets.contains_key(*name)) {
        difference.leftovers.push(Step::DeleteSet(table.set(name)));
    }
    replaced
}

fn diff_chains(
    table: &TableName,
    old: &Piece,
    new: &Piece,
    replaced: &BTreeSet<&str>,
    difference: &mut Difference,
) {
    let uses_replaced = |chain: &OwnChain| {
        let expressions = chain.rules.iter().flat_map(|rule| &rule.expressions);
        expressions.filter_map(set_of).any(|set| replaced.contains(set))
    };
    let mut chains_that_go = Vec::new();
    for (name, chain) in &old.chains {
        match new.chains.get(name) {
            Some(same) if same.rules == chain.rules && !uses_replaced(chain) => {}
            Some(_) => difference.before.push(Step::FlushChain(table.chain(name))),
            None => {
                difference.before.push(Step::FlushChain(table.chain(name)));
                chains_that_go.push(Step::DeleteChain(table.chain(name)));
            }
        }
    }
    // Before the sets, which their rules used.
    difference.leftovers.splice(0..0, chains_that_go);
    for (name, chain) in &new.chains {
        let before = old.chains.get(name);
        if before.is_none() {
            difference.objects.push(Step::AddChain(Chain {
                name: table.chain(name),
                base: None,
                comment: chain.comment.clone(),
            }));
        }
        let stays =
            before.is_some_and(|before| before.rules == chain.rules && !uses_replaced(before));
        if !stays {
            difference.rules.extend(chain.rules.iter().map(|rule| {
                Step::AddRule(Rule {
                    chain: table.chain(name),
                    expressions: rule.expressions.clone(),
                    comment: rule.comment.clone(),
                })
            }));
        }
    }
}

/// The set or map that an expression uses.
fn set_of(expression: &Expression) -> Option<&str> {
    match expression {
        Expression::InSet { set, .. } | Expression::UpdateSet { set, .. } => Some(set),
        Expression::VerdictMap { map, .. }
        | Expression::SetPriorityFrom { map, .. }
        | Expression::DnatMap { map, .. } => Some(map),
        _ => None,
    }
}
