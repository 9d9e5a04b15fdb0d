// SPDX-License-Identifier: GPL-3.0-or-later
//! What one service adds to the rules of a node, as lines for a shell. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use netlab_api::ProxyMode;
use netlab_nft::{Family, Step, Transaction};

use super::desired::{Desired, ServiceName};
use super::maps::{self, Shared, base::BaseConfig};
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
///
/// Chains for a number of endpoints are for all services that have so many. They are comments:
/// `nft` takes their rules only together with the maps that these look things up in, which it
/// cannot read back with the type that they have.
pub fn script(
    mode: ProxyMode,
    config: BaseConfig,
    mut all: BTreeMap<ServiceName, Vec<PortPlan>>,
    service: &ServiceName,
) -> Lines {
    let plans = all.remove(service).unwrap_or_default();
    let classes = plans.iter().flat_map(|plan| {
        let shared = maps::shared(plan);
        let classes = shared.into_iter().filter(|it| matches!(it, Shared::Class(..)));
        classes.flat_map(|class| maps::plan_shared(plan.id.family, &class).chains.into_keys())
    });
    let classes: BTreeSet<String> = classes.collect();
    let mut desired = Desired::of(mode, config, all);
    let come = desired.replace(BTreeMap::from([(service.clone(), plans)]));
    let go = desired.replace(BTreeMap::from([(service.clone(), Vec::new())]));
    Lines { make: lines(come, &classes), remove: lines(go, &classes) }
}

fn lines(differences: BTreeMap<Family, Difference>, classes: &BTreeSet<String>) -> String {
    let mut text = String::new();
    for difference in differences.into_values() {
        let (change, leftovers) = difference.split();
        for Transaction { steps } in [change, leftovers] {
            let (of_all, own): (Vec<Step>, Vec<Step>) =
                steps.into_iter().partition(|step| is_of_class(step, classes));
            for step in of_all {
                writeln!(text, "# for all with so many endpoints: {step}")
                    .expect("writing to a string never fails");
            }
            text.push_str(&fed_to_nft(&Transaction { steps: own }));
        }
    }
    text
}

fn is_of_class(step: &Step, classes: &BTreeSet<String>) -> bool {
    match step {
        Step::AddChain(chain) => classes.contains(&chain.name.name),
        Step::AddRule(rule) => classes.contains(&rule.chain.name),
        Step::FlushChain(name) | Step::DeleteChain(name) => classes.contains(&name.name),
        Step::AddElements(set, _) | Step::DeleteElements(set, _) => set.name == maps::BALANCE,
        _ => false,
    }
}

/// The steps that make everything from nothing, in an order that `nft` takes: what rules and
/// elements name comes before all of them. The daemon's socket does not need it so.
pub fn in_order(mut whole: Transaction) -> Transaction {
    whole.steps.sort_by_key(|step| match step {
        Step::AddTable(_) => 0,
        Step::AddRule(_) => 2,
        Step::AddElements(..) => 3,
        _ => 1,
    });
    whole
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
