// SPDX-License-Identifier: GPL-3.0-or-later
//! What stands in netlab's tables now.
//!
//! Reads the tables [`crate::TABLE`], their sets, chains and rules, and on request the elements of
//! sets; the kernel sends no rule of another table. Chains it can only list by family, so the names of foreign chains pass by.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod replay;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use nix::errno::Errno;
use rustables::sys;

use crate::element::Element;
use crate::element::encoding::{Decoder, join};
use crate::instruction::{self, Instruction};
use crate::message::{Attributes, Message, UDATA_COMMENT, comment_of, put_text, request};
use crate::rule::{Family, TableName};
use crate::set::SetName;
use crate::set::encoding::{self, Shape};
use crate::socket::{Error, Socket};

/// How often a listing that was interrupted by a change is begun anew.
const ATTEMPTS: usize = 16;
/// Set in an answer when the ruleset changed underneath (`NLM_F_DUMP_INTR`).
const INTERRUPTED: u16 = sys::NLM_F_DUMP_INTR as u16;

/// netlab's tables as the kernel has them, to compare with by [`crate::diff()`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    pub(crate) tables: BTreeMap<TableName, ObservedTable>,
}

impl Observed {
    /// The same with the elements of a set, such as those of [`observe_elements`]. They count only
    /// if the set is there.
    #[must_use]
    pub fn with_elements(mut self, name: &SetName, mut elements: Vec<Element>) -> Self {
        let table = self.tables.get_mut(&name.table);
        if let Some(set) = table.and_then(|table| table.sets.get_mut(&name.name)) {
            elements.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            set.elements = Elements::Known(elements);
        }
        self
    }

    /// Whether netlab has no table here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ObservedTable {
    /// `dormant` switches all chains off. netlab sets no flag.
    pub(crate) flags: u32,
    pub(crate) sets: BTreeMap<String, ObservedSet>,
    pub(crate) chains: BTreeMap<String, ObservedChain>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ObservedSet {
    pub(crate) shape: Shape,
    pub(crate) comment: Option<String>,
    pub(crate) elements: Elements,
}

/// What is known of a set's elements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Elements {
    /// Nobody asked.
    #[default]
    Unknown,
    /// All of them, ordered by their keys.
    Known(Vec<Element>),
    /// Among them are some that netlab cannot describe.
    Foreign,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ObservedChain {
    pub(crate) base: Option<ObservedBase>,
    pub(crate) comment: Option<String>,
    pub(crate) rules: Vec<ObservedRule>,
}

/// A base as the kernel writes it, which may be one that netlab cannot describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObservedBase {
    pub(crate) kind: String,
    pub(crate) hook: u32,
    pub(crate) priority: i32,
    pub(crate) policy: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObservedRule {
    pub(crate) program: Vec<Instruction>,
    pub(crate) comment: Option<String>,
}

/// Lists netlab's tables as they were at one moment, and their sets without elements.
///
/// # Errors
/// [`Error::List`] when the kernel refuses, [`Error::Unsteady`] when others never stop changing
/// the ruleset.
pub fn observe(socket: &mut Socket) -> Result<Observed, Error> {
    observe_with_elements(socket, |_| false)
}

/// The same, with the elements of the sets that are wanted: some tens of milliseconds for ten
/// thousands of them. What packets add to dynamic sets is never listed.
///
/// # Errors
/// Those of [`observe`].
pub fn observe_with_elements(
    socket: &mut Socket,
    wanted: impl Fn(&SetName) -> bool,
) -> Result<Observed, Error> {
    steadily(|listing| {
        Family::ALL
            .into_iter()
            .try_for_each(|family| listing.table(socket, TableName::own(family), &wanted))
    })
    .map(|listing| listing.observed)
}

/// Lists the elements of a set that exists, ordered by their keys; of a dynamic set, those that
/// packets added and whose time is not over.
///
/// # Errors
/// Those of [`observe`], and [`Error::ForeignElements`].
pub fn observe_elements(socket: &mut Socket, name: &SetName) -> Result<Vec<Element>, Error> {
    let mut found = Elements::Unknown;
    steadily(|listing| {
        let mut shape = None;
        let question = request(sys::NFT_MSG_GETSET, 0, 1, name.table.family.number(), |out| {
            put_text(out, sys::NFTA_SET_TABLE, &name.table.name);
            put_text(out, sys::NFTA_SET_NAME, &name.name);
        });
        socket.ask("sets", &question, |message| {
            listing.check(message);
            shape = Shape::read(message.attributes());
        })?;
        found = match shape {
            Some(shape) => listing.elements(socket, name, &shape)?,
            None => Elements::Foreign,
        };
        Ok(())
    })?;
    match found {
        Elements::Known(elements) => Ok(elements),
        Elements::Unknown | Elements::Foreign => Err(Error::ForeignElements { set: name.clone() }),
    }
}

/// Asks until all answers are about one ruleset.
fn steadily(mut ask: impl FnMut(&mut Listing) -> Result<(), Error>) -> Result<Listing, Error> {
    for _ in 0..ATTEMPTS {
        let mut listing = Listing::default();
        ask(&mut listing)?;
        if listing.in_one_piece {
            return Ok(listing);
        }
    }
    Err(Error::Unsteady)
}

/// A listing in the making. It takes several questions, between which the ruleset may change.
struct Listing {
    observed: Observed,
    generation: Option<u16>,
    in_one_piece: bool,
}

impl Default for Listing {
    fn default() -> Self {
        Self { observed: Observed::default(), generation: None, in_one_piece: true }
    }
}

impl Listing {
    fn table(
        &mut self,
        socket: &mut Socket,
        name: TableName,
        wanted: &impl Fn(&SetName) -> bool,
    ) -> Result<(), Error> {
        let family = name.family.number();
        let question = request(sys::NFT_MSG_GETTABLE, 0, 1, family, |out| {
            put_text(out, sys::NFTA_TABLE_NAME, &name.name);
        });
        let mut table = ObservedTable::default();
        match socket.ask("tables", &question, |message| {
            self.check(message);
            table.flags = message.attributes().get_u32(sys::NFTA_TABLE_FLAGS).unwrap_or(0);
        }) {
            Ok(()) => {}
            Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error),
        }

        let question = request(sys::NFT_MSG_GETCHAIN, sys::NLM_F_DUMP, 2, family, |_| {});
        socket.ask("chains", &question, |message| {
            self.check(message);
            if let Some((chain, observed)) = chain_of(message, &name) {
                table.chains.insert(chain, observed);
            }
        })?;

        let question = request(sys::NFT_MSG_GETRULE, sys::NLM_F_DUMP, 3, family, |out| {
            put_text(out, sys::NFTA_RULE_TABLE, &name.name);
        });
        socket.ask("rules", &question, |message| {
            self.check(message);
            if let Some((chain, rule)) = rule_of(message, &name) {
                table.chains.entry(chain).or_default().rules.push(rule);
            }
        })?;

        let question = request(sys::NFT_MSG_GETSET, sys::NLM_F_DUMP, 4, family, |out| {
            put_text(out, sys::NFTA_SET_TABLE, &name.name);
        });
        socket.ask("sets", &question, |message| {
            self.check(message);
            if let Some((set, observed)) = set_of(message, &name) {
                table.sets.insert(set, observed);
            }
        })?;
        for (set, observed) in &mut table.sets {
            let set = name.set(set);
            if !observed.shape.is_dynamic() && wanted(&set) {
                observed.elements = self.elements(socket, &set, &observed.shape)?;
            }
        }
        self.observed.tables.insert(name, table);
        Ok(())
    }

    fn elements(
        &mut self,
        socket: &mut Socket,
        name: &SetName,
        shape: &Shape,
    ) -> Result<Elements, Error> {
        let family = name.table.family.number();
        let question = request(sys::NFT_MSG_GETSETELEM, sys::NLM_F_DUMP, 5, family, |out| {
            put_text(out, sys::NFTA_SET_ELEM_LIST_TABLE, &name.table.name);
            put_text(out, sys::NFTA_SET_ELEM_LIST_SET, &name.name);
        });
        let decoder = Decoder::new(shape);
        let mut parts = Some(Vec::new());
        socket.ask("elements", &question, |message| {
            self.check(message);
            let list = message.attributes().get(sys::NFTA_SET_ELEM_LIST_ELEMENTS);
            for (_, element) in Attributes::new(list.unwrap_or_default()) {
                let part = decoder.as_ref().and_then(|it| it.read(Attributes::new(element)));
                match (part, &mut parts) {
                    (Some(part), Some(parts)) => parts.push(part),
                    _ => parts = None,
                }
            }
        })?;
        Ok(parts.and_then(join).map_or(Elements::Foreign, |mut elements| {
            elements.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Elements::Known(elements)
        }))
    }

    /// Notes whether this answer is about the same ruleset as those before it.
    fn check(&mut self, message: &Message<'_>) {
        let generation = *self.generation.get_or_insert(message.generation());
        self.in_one_piece &= generation == message.generation() && message.flags & INTERRUPTED == 0;
    }
}

fn chain_of(message: &Message<'_>, table: &TableName) -> Option<(String, ObservedChain)> {
    let attributes = message.attributes();
    if attributes.get_text(sys::NFTA_CHAIN_TABLE) != Some(&table.name) {
        return None;
    }
    let base = attributes.get_nested(sys::NFTA_CHAIN_HOOK).map(|hook| ObservedBase {
        kind: attributes.get_text(sys::NFTA_CHAIN_TYPE).unwrap_or_default().to_owned(),
        hook: hook.get_u32(sys::NFTA_HOOK_HOOKNUM).unwrap_or(u32::MAX),
        priority: hook.get_u32(sys::NFTA_HOOK_PRIORITY).unwrap_or_default().cast_signed(),
        policy: attributes.get_u32(sys::NFTA_CHAIN_POLICY).unwrap_or(u32::MAX),
    });
    let name = attributes.get_text(sys::NFTA_CHAIN_NAME)?.to_owned();
    let comment = comment(attributes.get(sys::NFTA_CHAIN_USERDATA));
    Some((name, ObservedChain { base, comment, rules: Vec::new() }))
}

fn set_of(message: &Message<'_>, table: &TableName) -> Option<(String, ObservedSet)> {
    let attributes = message.attributes();
    if attributes.get_text(sys::NFTA_SET_TABLE) != Some(&table.name) {
        return None;
    }
    let shape = Shape::read(attributes).filter(|shape| !shape.is_anonymous())?;
    let comment = encoding::comment(attributes).map(str::to_owned);
    let name = attributes.get_text(sys::NFTA_SET_NAME)?.to_owned();
    Some((name, ObservedSet { shape, comment, elements: Elements::Unknown }))
}

fn rule_of(message: &Message<'_>, table: &TableName) -> Option<(String, ObservedRule)> {
    let attributes = message.attributes();
    // Kernels before 4.10 do not filter by table.
    if attributes.get_text(sys::NFTA_RULE_TABLE) != Some(&table.name) {
        return None;
    }
    let rule = ObservedRule {
        program: instruction::decode(
            attributes.get(sys::NFTA_RULE_EXPRESSIONS).unwrap_or_default(),
        ),
        comment: comment(attributes.get(sys::NFTA_RULE_USERDATA)),
    };
    Some((attributes.get_text(sys::NFTA_RULE_CHAIN)?.to_owned(), rule))
}

fn comment(userdata: Option<&[u8]>) -> Option<String> {
    userdata.and_then(|data| comment_of(data, UDATA_COMMENT)).map(str::to_owned)
}
