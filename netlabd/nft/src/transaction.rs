// SPDX-License-Identifier: GPL-3.0-or-later
//! What to do to the ruleset, as a value: steps that the kernel takes all together or not at all.
//!
//! A transaction prints as a file that `nft -f` accepts and that has the same effect. It opens no
//! socket: [`crate::Socket::commit`] carries it out.

use std::fmt;

use rustables::{MsgType, ProtocolFamily, sys};

use crate::instruction;
use crate::message::{Batch, comment_userdata, put_attribute, put_nested, put_text};
use crate::rule::{Chain, ChainName, ChainType, Comment, Family, Policy, Rule, Table, TableName};

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
        }
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
        self.steps.is_empty()
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
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
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
            instruction::encode(&instruction::compile(expressions), &mut list);
            let flags = sys::NLM_F_CREATE | sys::NLM_F_APPEND;
            batch.message(sys::NFT_MSG_NEWRULE, flags, chain.table.family.number(), |out| {
                put_text(out, sys::NFTA_RULE_TABLE, &chain.table.name);
                put_text(out, sys::NFTA_RULE_CHAIN, &chain.name);
                put_nested(out, sys::NFTA_RULE_EXPRESSIONS, |out| out.extend_from_slice(&list));
                let userdata = comment_userdata(comment.as_str());
                put_attribute(out, sys::NFTA_RULE_USERDATA, &userdata);
            });
        }
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
