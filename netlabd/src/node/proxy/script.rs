// SPDX-License-Identifier: GPL-3.0-or-later
//! What one service adds to the rules of a node, as lines for a shell. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use netlab_api::ProxyMode;
use netlab_nft::{Family, Transaction};

use super::desired::{Desired, ServiceName};
use super::maps::base::BaseConfig;
use super::piece::Difference;
use super::port::PortPlan;

/// Lines that make something, and lines that take it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// Those that make it.
    pub make: String,
    /// Those that take it away.
    pub remove: String,
}

/// The lines of a service, where all others are there: what it shares with them stays when it
/// goes, and an address that another has is not among them.
pub fn script(
    mode: ProxyMode,
    config: BaseConfig,
    mut all: BTreeMap<ServiceName, Vec<PortPlan>>,
    service: &ServiceName,
) -> Lines {
    let plans = all.remove(service).unwrap_or_default();
    let mut desired = Desired::of(mode, config, all);
    let come = desired.replace(BTreeMap::from([(service.clone(), plans)]));
    let go = desired.replace(BTreeMap::from([(service.clone(), Vec::new())]));
    Lines { make: lines(come), remove: lines(go) }
}

fn lines(differences: BTreeMap<Family, Difference>) -> String {
    let mut text = String::new();
    for difference in differences.into_values() {
        let (change, leftovers) = difference.split();
        text.push_str(&fed_to_nft(&change));
        text.push_str(&fed_to_nft(&leftovers));
    }
    text
}

/// A transaction as one call of `nft`; nothing when there is nothing to do.
pub fn fed_to_nft(transaction: &Transaction) -> String {
    let mut text = String::new();
    if !transaction.is_empty() {
        // No step has a line break in it, so none can be the word that ends them.
        write!(text, "nft -f - <<'RULES'\n{transaction}RULES\n")
            .expect("writing to a string never fails");
    }
    text
}
