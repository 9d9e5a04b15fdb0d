// SPDX-License-Identifier: GPL-3.0-or-later
//! What to do to the ruleset, as a value: steps that the kernel takes all together or not at all.
//!
//! A transaction prints as a file that `nft -f` accepts and that has the same effect. It opens no
//! socket: [`crate::Socket::commit`] carries it out.

mod encode;

pub(crate) use encode::encode;

use std::fmt;

use crate::element::{Element, Tuple};
use crate::rule::{Chain, ChainName, Comment, Family, Rule, Table, TableName};
use crate::set::{Set, SetName};

/// One step of a transaction: a verb and its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Adds a table. If it exists it stays, with its old comment, and is woken if it is dormant.
    AddTable(Table),
    /// Deletes a table with all that is in it.
    DeleteTable(TableName),
    /// Adds a chain. If it exists with the same hook it stays, with its old comment.
    AddChain(Chain),
    /// Deletes the rules of a chain, not the chain.
    FlushChain(ChainName),
    /// Deletes a chain, to which no rule may jump.
    DeleteChain(ChainName),
    /// Adds a rule at the end of its chain.
    AddRule(Rule),
    /// Adds a set or map. If it exists with the same types it stays, with its old comment.
    AddSet(Set),
    /// Deletes a set with what is in it. No rule may use it.
    DeleteSet(SetName),
    /// Deletes all that is in a set, not the set.
    FlushSet(SetName),
    /// Deletes all that is in a map, not the map. To the kernel it is the same, to `nft` it is not.
    FlushMap(SetName),
    /// Adds elements to a set, which may have them already, but not with other data. What is
    /// desired of a set that is to be empty is a step of this kind without elements.
    AddElements(SetName, Vec<Element>),
    /// Deletes the elements with these keys, all of which exist.
    DeleteElements(SetName, Vec<Tuple>),
}

impl Step {
    /// Its text for an error: of a long list only one element, the refused one if that is known.
    pub(crate) fn summary(&self, item: Option<usize>) -> String {
        let one = |count: usize| item.filter(|item| *item < count).unwrap_or(0);
        let rest = |count: usize| match item {
            None if count > 1 => format!(" (the first of {count})"),
            _ => String::new(),
        };
        match self {
            Self::AddElements(name, elements) if !elements.is_empty() => {
                let element = elements[one(elements.len())].clone();
                format!(
                    "{}{}",
                    Self::AddElements(name.clone(), vec![element]),
                    rest(elements.len())
                )
            }
            Self::DeleteElements(name, keys) if !keys.is_empty() => {
                let key = keys[one(keys.len())].clone();
                format!("{}{}", Self::DeleteElements(name.clone(), vec![key]), rest(keys.len()))
            }
            step => step.to_string(),
        }
    }

    /// Whether it does nothing, as long lists that turned out empty.
    fn is_idle(&self) -> bool {
        match self {
            Self::AddElements(_, elements) => elements.is_empty(),
            Self::DeleteElements(_, keys) => keys.is_empty(),
            _ => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddTable(Table { name, comment }) => {
                write!(f, "add table {name} {{ {comment}; }}")
            }
            Self::DeleteTable(name) => write!(f, "delete table {name}"),
            Self::AddChain(Chain { name, base, comment }) => {
                write!(f, "add chain {name} {{ ")?;
                if let Some(base) = base {
                    write!(f, "{base} ")?;
                }
                write!(f, "{comment}; }}")
            }
            Self::FlushChain(name) => write!(f, "flush chain {name}"),
            Self::DeleteChain(name) => write!(f, "delete chain {name}"),
            Self::AddRule(Rule { chain, expressions, comment }) => {
                write!(f, "add rule {chain}")?;
                for expression in expressions {
                    write!(f, " {expression}")?;
                }
                write!(f, " {comment}")
            }
            Self::AddSet(set) => write!(f, "add {set}"),
            Self::DeleteSet(name) => write!(f, "delete set {name}"),
            Self::FlushSet(name) => write!(f, "flush set {name}"),
            Self::FlushMap(name) => write!(f, "flush map {name}"),
            _ if self.is_idle() => Ok(()),
            Self::AddElements(name, elements) => {
                write!(f, "add element {name} {{ {} }}", List(elements))
            }
            Self::DeleteElements(name, keys) => {
                write!(f, "delete element {name} {{ {} }}", List(keys))
            }
        }
    }
}

struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, item)| {
            f.write_str(if i == 0 { "" } else { ", " })?;
            item.fmt(f)
        })
    }
}

/// Steps that take effect together, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// The steps. A step sees what the steps before it did.
    pub steps: Vec<Step>,
}

impl Transaction {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(Step::is_idle)
    }

    /// Joins the steps of another transaction to the end of this one.
    pub fn append(&mut self, mut other: Self) {
        self.steps.append(&mut other.steps);
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().filter(|step| !step.is_idle()).try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// The transaction that removes netlab's tables, whether they exist or not: adding a table that
/// exists changes nothing, so the deletion after it always finds one.
#[must_use]
pub fn teardown() -> Transaction {
    let steps = Family::ALL.into_iter().map(TableName::own).flat_map(|name| {
        let comment = Comment::new("about to be deleted");
        [Step::AddTable(Table { name: name.clone(), comment }), Step::DeleteTable(name)]
    });
    Transaction { steps: steps.collect() }
}
