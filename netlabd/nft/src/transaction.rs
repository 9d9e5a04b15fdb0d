// SPDX-License-Identifier: GPL-3.0-or-later
//! What to do to the ruleset, as a value: steps that the kernel takes all together or not at all.
//!
//! A transaction prints as a file that `nft -f` accepts and that has the same effect. It opens no
//! socket: [`crate::Socket::commit`] carries it out.

use std::fmt;

use rustables::{MsgType, ProtocolFamily, sys};

use crate::element::encoding::{LIST, put_element, put_key};
use crate::element::{Element, Tuple};
use crate::instruction;
use crate::message::{Batch, comment_userdata, put_attribute, put_nested, put_text};
use crate::rule::{Chain, ChainName, ChainType, Comment, Family, Policy, Rule, Table, TableName};
use crate::set::encoding::put_set;
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
    /// Adds elements to a set, which may have them already, but not with other data. What is
    /// desired of a set that is to be empty is a step of this kind without elements.
    AddElements(SetName, Vec<Element>),
    /// Deletes the elements with these keys, all of which exist.
    DeleteElements(SetName, Vec<Tuple>),
}

impl Step {
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

    pub(crate) fn encode(&self) -> Encoded {
        let mut batch = Batch::new();
        let mut owners = Vec::with_capacity(self.steps.len() + 1);
        for (index, step) in self.steps.iter().enumerate() {
            // BEGIN and whatever comes before the first step's message belong to no step.
            owners.resize(batch.next_sequence() as usize, None);
            encode_step(step, &mut batch);
            owners.resize(batch.next_sequence() as usize, Some(index));
        }
        Encoded { bytes: batch.finish_batch(), owners }
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

/// A transaction as the kernel takes it.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// The index of the step that a message belongs to, by the message's sequence number.
    pub(crate) owners: Vec<Option<usize>>,
}

fn encode_step(step: &Step, batch: &mut Batch) {
    match step {
        Step::AddTable(Table { name, comment }) => {
            // Flags of 0 wake a dormant table.
            let table =
                table(name).with_flags(0_u32).with_userdata(comment_userdata(comment.as_str()));
            splice(batch, |b| b.add(&table, MsgType::Add));
        }
        Step::DeleteTable(name) => splice(batch, |b| b.add(&table(name), MsgType::Del)),
        Step::AddChain(chain) => splice(batch, |b| b.add(&full_chain(chain), MsgType::Add)),
        Step::DeleteChain(name) => splice(batch, |b| b.add(&bare_chain(name), MsgType::Del)),
        // Deleting a rule without saying which means every rule of the chain.
        Step::FlushChain(name) => {
            let any = rustables::Rule::new(&bare_chain(name)).expect("the chain has a name");
            splice(batch, |b| b.add(&any, MsgType::Del));
        }
        Step::AddRule(Rule { chain, expressions, comment }) => {
            let mut list = Vec::new();
            instruction::encode(&instruction::compile(chain.table.family, expressions), &mut list);
            let flags = sys::NLM_F_CREATE | sys::NLM_F_APPEND;
            batch.message(sys::NFT_MSG_NEWRULE, flags, chain.table.family.number(), |out| {
                put_text(out, sys::NFTA_RULE_TABLE, &chain.table.name);
                put_text(out, sys::NFTA_RULE_CHAIN, &chain.name);
                put_nested(out, sys::NFTA_RULE_EXPRESSIONS, |out| out.extend_from_slice(&list));
                let userdata = comment_userdata(comment.as_str());
                put_attribute(out, sys::NFTA_RULE_USERDATA, &userdata);
            });
        }
        Step::AddSet(set) => {
            // Any number that no other set of the transaction has.
            let id = batch.next_sequence();
            let family = set.name.table.family.number();
            batch.message(sys::NFT_MSG_NEWSET, sys::NLM_F_CREATE, family, |out| {
                put_set(set, id, out);
            });
        }
        Step::DeleteSet(name) => {
            batch.message(sys::NFT_MSG_DELSET, 0, name.table.family.number(), |out| {
                put_text(out, sys::NFTA_SET_TABLE, &name.table.name);
                put_text(out, sys::NFTA_SET_NAME, &name.name);
            });
        }
        // Deleting elements without saying which means every one.
        Step::FlushSet(name) => {
            let family = name.table.family.number();
            batch.message(sys::NFT_MSG_DELSETELEM, 0, family, |out| put_list_of(name, out));
        }
        Step::AddElements(name, elements) => encode_elements(
            batch,
            name,
            (sys::NFT_MSG_NEWSETELEM, sys::NLM_F_CREATE),
            elements,
            put_element,
        ),
        Step::DeleteElements(name, keys) => {
            encode_elements(batch, name, (sys::NFT_MSG_DELSETELEM, 0), keys, put_key);
        }
    }
}

fn put_list_of(name: &SetName, out: &mut Vec<u8>) {
    put_text(out, sys::NFTA_SET_ELEM_LIST_TABLE, &name.table.name);
    put_text(out, sys::NFTA_SET_ELEM_LIST_SET, &name.name);
}

/// Writes as many messages as it takes.
fn encode_elements<T>(
    batch: &mut Batch,
    name: &SetName,
    (kind, flags): (u32, u32),
    items: &[T],
    put: fn(&T, &mut Vec<u8>),
) {
    let mut items = items.iter().peekable();
    while items.peek().is_some() {
        batch.message(kind, flags, name.table.family.number(), |out| {
            put_list_of(name, out);
            put_nested(out, sys::NFTA_SET_ELEM_LIST_ELEMENTS, |out| {
                let start = out.len();
                while out.len() - start < LIST
                    && let Some(item) = items.next()
                {
                    put(item, out);
                }
            });
        });
    }
}

/// Never `rustables::Batch::send`: with a thousand messages it reports an error although the
/// kernel has committed, because it wants an acknowledgement of each.
fn splice(batch: &mut Batch, fill: impl FnOnce(&mut rustables::Batch)) {
    let mut theirs = rustables::Batch::new();
    fill(&mut theirs);
    batch.splice(theirs);
}

fn family(family: Family) -> ProtocolFamily {
    match family {
        Family::Ip => ProtocolFamily::Ipv4,
        Family::Ip6 => ProtocolFamily::Ipv6,
    }
}

fn table(name: &TableName) -> rustables::Table {
    rustables::Table::new(family(name.family)).with_name(name.name.clone())
}

fn bare_chain(name: &ChainName) -> rustables::Chain {
    rustables::Chain::new(&table(&name.table)).with_name(name.name.clone())
}

fn full_chain(Chain { name, base, comment }: &Chain) -> rustables::Chain {
    let mut chain = bare_chain(name).with_userdata(comment_userdata(comment.as_str()));
    if let Some(base) = base {
        chain.set_type(match base.kind {
            ChainType::Filter => rustables::ChainType::Filter,
            ChainType::Nat => rustables::ChainType::Nat,
        });
        chain.set_hook(
            rustables::Hook::default()
                .with_class(base.hook as u32)
                .with_priority(base.priority.cast_unsigned()),
        );
        chain.set_policy(match base.policy {
            Policy::Accept => rustables::ChainPolicy::Accept,
            Policy::Drop => rustables::ChainPolicy::Drop,
        });
    }
    chain
}
