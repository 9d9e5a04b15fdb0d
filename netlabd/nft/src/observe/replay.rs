// SPDX-License-Identifier: GPL-3.0-or-later
//! Bytes as if the kernel had sent them, through every decoder: for tests, and for the fuzzer.

use std::collections::BTreeMap;

use rustables::sys;

use super::{Decoder, Elements, ObservedSet, chain_of, join, rule_of, set_of};
use crate::element::encoding::Part;
use crate::message::{Attributes, Message, messages};
use crate::observe::{Observed, ObservedTable};
use crate::rule::{Family, TableName};

/// Reads a batch as if the kernel had sent it, and gives all of it to every decoder besides.
pub(crate) fn read(bytes: &[u8]) -> Observed {
    let name = TableName::own(Family::Ip6);
    let mut table = ObservedTable::default();
    let mut parts: BTreeMap<String, Vec<Option<Part>>> = BTreeMap::new();
    for message in messages(bytes) {
        let (set, chain, rule) =
            (set_of(&message, &name), chain_of(&message, &name), rule_of(&message, &name));
        let decoder = |set: &str| {
            let shape = table.sets.get(set).map(|set: &ObservedSet| set.shape);
            Decoder::new(&shape.unwrap_or_default())
        };
        let elements = elements_of(&message).map(|(set, list)| {
            let decoder = decoder(set);
            let parts = list.map(|(_, it)| decoder.as_ref()?.read(Attributes::new(it)));
            (set.to_owned(), parts.collect::<Vec<_>>())
        });
        match u32::from(message.kind & 0xff) {
            sys::NFT_MSG_NEWSET => table.sets.extend(set),
            sys::NFT_MSG_NEWCHAIN => table.chains.extend(chain),
            sys::NFT_MSG_NEWRULE => {
                let Some((chain, rule)) = rule else { continue };
                table.chains.entry(chain).or_default().rules.push(rule);
            }
            sys::NFT_MSG_NEWSETELEM => {
                let Some((set, mut elements)) = elements else { continue };
                parts.entry(set).or_default().append(&mut elements);
            }
            _ => {}
        }
    }
    for (set, observed) in &mut table.sets {
        let parts: Option<Vec<_>> = parts.remove(set).unwrap_or_default().into_iter().collect();
        observed.elements = parts.and_then(join).map_or(Elements::Foreign, |mut known| {
            known.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Elements::Known(known)
        });
    }
    Observed { tables: [(name, table)].into() }
}

fn elements_of<'a>(message: &Message<'a>) -> Option<(&'a str, Attributes<'a>)> {
    let attributes = message.attributes();
    let list = attributes.get_nested(sys::NFTA_SET_ELEM_LIST_ELEMENTS)?;
    Some((attributes.get_text(sys::NFTA_SET_ELEM_LIST_SET)?, list))
}
