// SPDX-License-Identifier: GPL-3.0-or-later
//! Sets and their elements: what of them is to go and to come.

use std::collections::{BTreeMap, BTreeSet};

use super::Desired;
use crate::element::{Data, Element};
use crate::observe::{Elements, ObservedSet};
use crate::rule::TableName;
use crate::set::encoding::Shape;
use crate::set::{Set, SetName};
use crate::transaction::Step;

/// The changes to the sets of one table, in the order in which they have to happen.
#[derive(Default)]
pub(super) struct SetsDiff<'a> {
    /// Sets that are there and are to go, for good or to come back with another type.
    pub(super) deleted: BTreeSet<&'a str>,
    /// Elements and sets that go; before chains, which verdicts may hold.
    pub(super) removals: Vec<Step>,
    /// Sets that come.
    pub(super) additions: Vec<Step>,
    /// Elements that come; after chains, to which verdicts may lead. A list without any stands for
    /// all that are wanted.
    pub(super) elements: Vec<Step>,
}

impl<'a> SetsDiff<'a> {
    pub(super) fn of(
        desired: &Desired<'_>,
        table: &TableName,
        observed: &'a BTreeMap<String, ObservedSet>,
        deleted_chains: &BTreeSet<&str>,
    ) -> Self {
        let mut diff = Self::default();
        let sets = desired.sets.iter().copied().filter(|set| set.name.table == *table);
        let sets: Vec<&Set> = sets.collect();
        let wanted: BTreeMap<&str, &Set> =
            sets.iter().map(|set| (set.name.name.as_str(), *set)).collect();
        diff.deleted = observed
            .iter()
            .filter(|(name, now)| {
                let want = wanted.get(name.as_str());
                want.is_none_or(|want| !same(want, desired.elements.get(&want.name), now))
            })
            .map(|(name, _)| name.as_str())
            .collect();
        for set in sets {
            let elements = desired.elements.get(&set.name).map(Vec::as_slice);
            match observed.get(&set.name.name) {
                Some(now) if !diff.deleted.contains(set.name.name.as_str()) => {
                    diff.elements(set, elements, now, deleted_chains);
                }
                _ => {
                    diff.additions.push(Step::AddSet(set.clone()));
                    diff.add_all(&set.name, elements.unwrap_or_default());
                }
            }
        }
        diff.removals.extend(diff.deleted.iter().map(|name| Step::DeleteSet(table.set(name))));
        diff
    }

    /// A set that stays.
    fn elements(
        &mut self,
        set: &Set,
        desired: Option<&[&Element]>,
        observed: &ObservedSet,
        deleted_chains: &BTreeSet<&str>,
    ) {
        let Some(desired) = desired.filter(|_| !observed.shape.is_dynamic()) else { return };
        let anew = match &observed.elements {
            Elements::Known(elements) => {
                self.compare(set, desired, elements, deleted_chains);
                return;
            }
            Elements::Foreign => true,
            // What nobody looked at stays, unless it may lead to a chain that goes.
            Elements::Unknown => observed.shape.holds_verdicts() && !deleted_chains.is_empty(),
        };
        if anew {
            let name = set.name.clone();
            self.removals.push(match set.data {
                Some(_) => Step::FlushMap(name),
                None => Step::FlushSet(name),
            });
            self.add_all(&set.name, desired);
        }
    }

    fn compare(
        &mut self,
        set: &Set,
        desired: &[&Element],
        observed: &[Element],
        deleted_chains: &BTreeSet<&str>,
    ) {
        let wanted: BTreeMap<_, _> =
            desired.iter().map(|element| (&element.key, *element)).collect();
        let mut kept = BTreeSet::new();
        let mut removed = Vec::new();
        for now in observed {
            let stays = wanted.get(&now.key).is_some_and(|want| *want == now)
                && !leads_to(now, deleted_chains);
            if stays {
                kept.insert(&now.key);
            } else {
                // An element with other data or another comment can only be replaced.
                removed.push(now.key.clone());
            }
        }
        if !removed.is_empty() {
            self.removals.push(Step::DeleteElements(set.name.clone(), removed));
        }
        let added: Vec<&Element> =
            wanted.into_values().filter(|want| !kept.contains(&want.key)).collect();
        self.add(&set.name, &added);
    }

    /// All that are wanted, which may be many: whoever has them need not have them twice.
    fn add_all(&mut self, name: &SetName, wanted: &[&Element]) {
        if !wanted.is_empty() {
            self.elements.push(Step::AddElements(name.clone(), Vec::new()));
        }
    }

    fn add(&mut self, name: &SetName, elements: &[&Element]) {
        if !elements.is_empty() {
            let elements = elements.iter().copied().cloned().collect();
            self.elements.push(Step::AddElements(name.clone(), elements));
        }
    }
}

/// The comment of a set that packets fill is not worth what they put there, and the room in a set
/// not worth to make it anew, as long as there is enough.
fn same(desired: &Set, elements: Option<&Vec<&Element>>, observed: &ObservedSet) -> bool {
    let mut shape = Shape::of(desired);
    let size = observed.shape.size;
    let count = elements.map_or(0, Vec::len);
    if desired.room.is_some() && size.is_none_or(|size| count <= size as usize) {
        shape.size = size;
    }
    observed.shape == shape
        && (observed.shape.is_dynamic()
            || observed.comment.as_deref() == Some(desired.comment.as_str()))
}

fn leads_to(element: &Element, chains: &BTreeSet<&str>) -> bool {
    match &element.data {
        Some(Data::Verdict(verdict)) => verdict.chain().is_some_and(|to| chains.contains(to)),
        Some(Data::Values(_)) | None => false,
    }
}
