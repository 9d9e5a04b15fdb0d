// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the networks of pods and services are free on this machine.

use netlab_api::wire::{DoctorCheck, DoctorOutcome};
use netlab_link::{RouteSocket, SocketError};

use super::{check, failed};
use crate::error::chain;
use crate::node::machine::Machine;
use crate::node::overlap::{ClusterNetwork, Covered, Surroundings, covered, observe, taken};

const NAME: &str = "networks";

/// Looks for addresses and routes of the machine in the cluster's networks. Blocking.
pub(super) fn examine(machine: &Machine) -> DoctorCheck {
    let around = match look(machine) {
        Ok(around) => around,
        Err(error) => return failed(NAME, chain(&error), None),
    };
    let networks = ClusterNetwork::all(&machine.config());
    if let Some(taken) = taken(&networks, &around) {
        return failed(NAME, taken.to_string(), None);
    }
    let findings = covered(&networks, &around).iter().map(ToString::to_string).collect();
    let good = format!("{} networks, of which the machine uses nothing else", networks.len());
    match check(NAME, findings, good, Covered::CURE) {
        // Until a pod is there, and for nobody but this machine.
        found if found.outcome == DoctorOutcome::Failed => {
            DoctorCheck { outcome: DoctorOutcome::Warning, ..found }
        }
        good => good,
    }
}

fn look(machine: &Machine) -> Result<Surroundings, SocketError> {
    observe(&mut RouteSocket::open_in(&machine.netns)?)
}
