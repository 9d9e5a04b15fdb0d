// SPDX-License-Identifier: GPL-3.0-or-later
//! What was decided about a lab that is up: written before it is done, so that whatever a command
//! left half done is finished by the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use netlab_api::Object;
use netlab_api::client::ObjectRef;
use netlab_api::lab::{Faults, Lab};
use serde::{Deserialize, Serialize};

use super::plan::{Pair, Plan};
use super::uplink::Uplink;

/// A lab that is up, or on its way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    /// Machines and networks.
    pub(crate) plan: Plan,
    /// The file that it was built from.
    pub(crate) file: Option<PathBuf>,
    /// What the file says.
    pub(crate) lab: Lab,
    /// Objects of the file, as it has them.
    pub(crate) objects: Vec<Object>,
    /// What was made on this machine's own network.
    #[serde(default)]
    pub(crate) uplink: Option<Uplink>,
    /// What a limit of the machine was before it was raised, see [`super::limit`].
    #[serde(default)]
    pub(crate) inotify_before: Option<u64>,
    /// Whether all of it was built.
    pub(crate) is_built: bool,
    /// What the command line said of links, by machine and network.
    pub(crate) links: Vec<LinkWish>,
    /// What the command line said of pairs of machines.
    pub(crate) pairs: Vec<PairWish>,
    /// What was done to links, by machine and network: written before it is done.
    pub(crate) done_links: BTreeMap<String, Faults>,
    /// Pairs that were parted.
    pub(crate) done_pairs: BTreeSet<Pair>,
}

/// Something that the command line said about a link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkWish {
    pub(crate) machine: String,
    pub(crate) network: String,
    pub(crate) faults: Faults,
    /// Until when, in seconds since 1970; for good unless given.
    pub(crate) until: Option<u64>,
}

/// Something that the command line said about two machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PairWish {
    pub(crate) pair: Pair,
    pub(crate) is_parted: bool,
    pub(crate) until: Option<u64>,
}

impl State {
    /// Objects of the file that was before and of this one no more, those first that were made
    /// last; and pods that must be made anew, as their spec changed.
    pub(crate) fn gone(&self, before: &[Object]) -> Vec<ObjectRef> {
        let now: BTreeMap<String, &Object> =
            self.objects.iter().map(|object| (ObjectRef::of(object).path(), object)).collect();
        let is_gone = |object: &&Object| match (now.get(&ObjectRef::of(object).path()), object) {
            (None, _) => true,
            (Some(Object::Pod(now)), Object::Pod(then)) => now.spec != then.spec,
            _ => false,
        };
        before.iter().rev().filter(is_gone).map(ObjectRef::of).collect()
    }
}
