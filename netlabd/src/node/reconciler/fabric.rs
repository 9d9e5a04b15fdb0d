// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeps the ways to other nodes as the cluster's nodes and its route mode ask for.

use std::time::{Duration, Instant};

use netlab_api::event::EventKind;

use super::{Input, Reconciler};
use crate::error::chain;
use crate::node::network::fabric::{Fabric, FabricError, FabricWish, Outcome, plan};

/// Why a node's pods are out of reach, or others' out of its own.
const UNREACHABLE: &str = "RouteUnreachable";

/// How long the ways to other nodes rest before they are tried again.
const RETRY: Duration = Duration::from_secs(2);

impl Reconciler {
    /// Programs the ways to other nodes. A failure is told and tried again soon.
    pub(super) async fn ensure_fabric(&mut self) {
        let wish = match self.wish() {
            Ok(wish) => wish,
            Err(error) => return self.fabric_failed(&error),
        };
        // Packets must fit before they are sent another way, and may grow only after.
        let mtu = plan(&wish).pod_mtu;
        if mtu < self.mtu {
            self.set_mtu(mtu).await;
        }
        let Some(fabric) = &mut self.fabric else { return };
        match fabric.ensure(&wish, Instant::now()) {
            Ok(outcome) => {
                if outcome.changed {
                    tracing::debug!("routes between nodes:\n{}", fabric.plan());
                }
                // Whoever waits must hear that it is well again.
                self.retell |= self.fabric_failure.take().is_some();
                self.tell_problems(outcome);
            }
            Err(error) => self.fabric_failed(&error),
        }
        if mtu > self.mtu {
            self.set_mtu(mtu).await;
        }
    }

    /// Puts back what somebody else took away between nodes.
    pub(super) fn repair_fabric(&mut self) {
        // The node's own addresses may be others by now.
        self.fabric_is_stale = true;
        let Some(fabric) = &mut self.fabric else { return };
        match fabric.repair(Instant::now()) {
            Ok(missing) if missing.is_empty() => {}
            Ok(missing) => {
                let message = format!("Put back what was missing: {}", missing.join(", "));
                tracing::warn!("{message}");
                self.machine.node_event(EventKind::Warning, "NetworkRepaired", message);
            }
            Err(error) => self.fabric_failed(&error),
        }
    }

    fn wish(&mut self) -> Result<FabricWish, FabricError> {
        let options = &self.machine.options;
        let fabric = match &mut self.fabric {
            Some(fabric) => fabric,
            none => none.insert(Fabric::open(&self.machine.netns)?),
        };
        let networks = &options.cluster.pod_networks;
        let underlay = fabric.underlay()?;
        let nodes = self.nodes.values();
        let wish =
            FabricWish::of(&options.name, nodes, self.routing, networks, underlay, options.mtu);
        Ok(wish)
    }

    async fn set_mtu(&mut self, mtu: u32) {
        tracing::info!(before = self.mtu, mtu, "pod links get another MTU");
        // What is heard of it from now on is no drift.
        self.mtu = mtu;
        self.ensure_anchor();
        let links: Vec<_> = self
            .entries
            .values()
            .filter(|entry| !entry.removing)
            .filter_map(|entry| {
                let link = entry.link?;
                Some((entry.pod.full_name(), link.id, link.host_index))
            })
            .collect();
        let changed = self.machine.with_network(move |network| network.set_mtu(&links, mtu)).await;
        for error in changed.err().into_iter().flatten() {
            tracing::error!(error = %chain(&error), "a pod link keeps its old MTU");
        }
        for entry in self.entries.values_mut() {
            entry.set_mtu(mtu);
        }
        self.touched.extend(self.entries.keys().map(|uid| uid.to_string()));
    }

    /// Tells what cannot be reached, when that is news.
    fn tell_problems(&mut self, outcome: Outcome) {
        let problems: Vec<String> = outcome.problems.iter().map(ToString::to_string).collect();
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!("{problem}");
            self.machine.node_event(EventKind::Warning, UNREACHABLE, problem.clone());
        }
        self.problems = problems;
    }

    fn fabric_failed(&mut self, error: &FabricError) {
        let message = chain(error);
        if !std::mem::replace(&mut self.retries_fabric, true) {
            let input = self.input.clone();
            tokio::spawn(async move {
                tokio::time::sleep(RETRY).await;
                // The loop ends only with the daemon.
                let _ = input.send(Input::RetryFabric);
            });
        }
        // What is reported as programmed from now on is so but for this.
        let before = self.fabric_failure.replace(message.clone());
        if before.as_ref() == Some(&message) {
            return;
        }
        self.retell = true;
        tracing::error!(error = %message, "other nodes may be out of reach");
        self.machine.node_event(EventKind::Warning, UNREACHABLE, message);
    }
}
