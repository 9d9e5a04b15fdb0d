// SPDX-License-Identifier: GPL-3.0-or-later
//! Transactions as the kernel takes them.

use std::collections::BTreeMap;

use rustables::{MsgType, ProtocolFamily, sys};

use super::{Step, Transaction};
use crate::element::encoding::{LIST, put_element, put_key};
use crate::instruction;
use crate::message::{
    Attributes, Batch, comment_userdata, messages, put_attribute, put_nested, put_text,
};
use crate::rule::{Chain, ChainName, ChainType, Family, Policy, Rule, Table, TableName};
use crate::set::SetName;
use crate::set::encoding::put_set;

/// A transaction as the kernel takes it.
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    /// The index of the step that a message belongs to, by the message's sequence number.
    owners: Vec<Option<usize>>,
    /// Which element of its step a message begins with, by its sequence number, where a step has
    /// elements.
    first_items: BTreeMap<u32, usize>,
}

pub(crate) fn encode(transaction: &Transaction) -> Encoded {
    let mut batch = Batch::new();
    let mut owners = Vec::with_capacity(transaction.steps.len() + 1);
    let mut first_items = BTreeMap::new();
    for (index, step) in transaction.steps.iter().enumerate() {
        // BEGIN and whatever comes before the first step's message belong to no step.
        owners.resize(batch.next_sequence() as usize, None);
        encode_step(step, &mut batch, &mut first_items);
        owners.resize(batch.next_sequence() as usize, Some(index));
    }
    Encoded { bytes: batch.finish_batch(), owners, first_items }
}

impl Encoded {
    /// Which step a message belongs to.
    pub(crate) fn owner(&self, sequence: u32) -> Option<usize> {
        self.owners.get(sequence as usize).copied().flatten()
    }

    /// Which element of its step stands at an offset of a message.
    pub(crate) fn item(&self, sequence: u32, offset: u32) -> Option<usize> {
        let first = *self.first_items.get(&sequence)?;
        let message = messages(&self.bytes).find(|message| message.sequence == sequence)?;
        let list = message.attributes().get(sys::NFTA_SET_ELEM_LIST_ELEMENTS)?;
        let start = message.offset_of(list)?;
        let within = (offset as usize).checked_sub(start)?;
        let mut at = 0;
        let mut index = None;
        for (_, element) in Attributes::new(list) {
            // The end of a network is no element of the step's.
            if Attributes::new(element).get(sys::NFTA_SET_ELEM_FLAGS).is_none() {
                index = Some(index.map_or(first, |index| index + 1));
            }
            at += 4 + element.len().next_multiple_of(4);
            if within < at {
                return index;
            }
        }
        None
    }
}

fn encode_step(step: &Step, batch: &mut Batch, first_items: &mut BTreeMap<u32, usize>) {
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
        Step::FlushSet(name) | Step::FlushMap(name) => {
            let family = name.table.family.number();
            batch.message(sys::NFT_MSG_DELSETELEM, 0, family, |out| put_list_of(name, out));
        }
        Step::AddElements(name, elements) => {
            let message = (sys::NFT_MSG_NEWSETELEM, sys::NLM_F_CREATE);
            encode_elements(batch, name, message, elements, put_element, first_items);
        }
        Step::DeleteElements(name, keys) => {
            let message = (sys::NFT_MSG_DELSETELEM, 0);
            encode_elements(batch, name, message, keys, put_key, first_items);
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
    first_items: &mut BTreeMap<u32, usize>,
) {
    let mut done = 0;
    while done < items.len() {
        first_items.insert(batch.next_sequence(), done);
        batch.message(kind, flags, name.table.family.number(), |out| {
            put_list_of(name, out);
            put_nested(out, sys::NFTA_SET_ELEM_LIST_ELEMENTS, |out| {
                let start = out.len();
                while done < items.len() && out.len() - start < LIST {
                    put(&items[done], out);
                    done += 1;
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
