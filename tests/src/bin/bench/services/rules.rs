// SPDX-License-Identifier: GPL-3.0-or-later
//! The rules alone: the daemon's own planning and writing, called in this process.

use std::time::{Duration, Instant};

use anyhow::Context;
use netlab_api::ProxyMode;
use netlabd::daemon::config::Config;
use netlabd::node::proxy::port::NodeFacts;
use netlabd::node::proxy::view::Services;
use netlabd::node::rules::Rules;

use super::Sizes;
use super::fleet::{Fleet, service, slice};

/// What the rules of a node took.
pub(super) struct OurRules {
    rules: Rules,
    services: Services,
    fleet: Fleet,
}

/// Times of one kind of change: planning, and what came of it in the kernel.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) planned: Vec<Duration>,
    pub(super) written: Vec<Duration>,
}

impl OurRules {
    /// Writes the rules of a fleet from nothing; answers how long planning and writing took.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn build(fleet: Fleet) -> anyhow::Result<(OurRules, Duration)> {
        let objects: (Vec<_>, Vec<_>) = (0..fleet.count)
            .map(|number| (service(number), slice(number, &fleet.endpoints(number))))
            .unzip();
        let mut rules = Rules::open(&Config::default().cluster()?)?;
        rules.ensure()?;
        let mut services = Services::default();
        services.set_node(NodeFacts { name: "bench".to_owned(), zone: None });
        let began = Instant::now();
        services.reset(&objects.0, &objects.1);
        let plans = services.plan();
        rules.set_services(ProxyMode::Nftables, plans)?;
        Ok((OurRules { rules, services, fleet }, began.elapsed()))
    }

    /// Changes an endpoint of a service, again and again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn change(&mut self, sizes: &Sizes) -> anyhow::Result<Changes> {
        let mut changes = Changes::default();
        for turn in 0..sizes.rounds {
            let number = self.fleet.pick(turn);
            let changed = slice(number, &self.fleet.changed(number, turn));
            self.write(|services| services.put_slice(&changed), &mut changes)?;
        }
        Ok(changes)
    }

    /// Adds a service and removes it, again and again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn add_and_remove(&mut self, sizes: &Sizes) -> anyhow::Result<(Changes, Changes)> {
        let (mut added, mut removed) = (Changes::default(), Changes::default());
        for turn in 0..sizes.rounds {
            let number = self.fleet.count + turn;
            let name = ("default".to_owned(), Fleet::name(number));
            let (new, endpoints) =
                (service(number), slice(number, &self.fleet.changed(number, turn)));
            self.write(
                |services| {
                    services.put(&new);
                    services.put_slice(&endpoints);
                },
                &mut added,
            )?;
            self.write(
                |services| {
                    services.remove(name.clone());
                    services.remove_slice(name);
                },
                &mut removed,
            )?;
        }
        Ok((added, removed))
    }

    fn write(
        &mut self,
        change: impl FnOnce(&mut Services),
        changes: &mut Changes,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        change(&mut self.services);
        let plans = self.services.plan();
        changes.planned.push(began.elapsed());
        let programmed = self.rules.change_services(plans)?;
        anyhow::ensure!(!programmed.full, "BUG: all rules were compared for a change of one");
        changes.written.push(programmed.took);
        Ok(())
    }

    /// Removes the tables.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn remove(mut self) -> anyhow::Result<()> {
        self.rules.teardown().context("failed to remove netlab's tables")
    }
}
