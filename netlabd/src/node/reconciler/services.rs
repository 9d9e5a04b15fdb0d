// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeps the rules for services as the cluster's services and endpoints ask for.

use std::time::{Duration, Instant};

use netlab_api::event::EventKind;
use netlab_api::{EndpointSlice, ProxyMode, Service, Time};

use super::{Input, Reconciler};
use crate::error::chain;
use crate::node::proxy::metrics::Sync;
use crate::node::proxy::port::NodeFacts;

/// How long to rest after the kernel refused rules.
const REST: Duration = Duration::from_secs(1);
/// Why services may not work here.
const NOT_PROGRAMMED: &str = "ServicesNotProgrammed";

impl Reconciler {
    /// Takes in all services there are.
    pub(super) fn take_services(
        &mut self,
        mode: ProxyMode,
        services: Vec<Service>,
        slices: Vec<EndpointSlice>,
    ) {
        self.proxy_mode = mode;
        self.services.reset(services, slices);
        self.services_are_new = true;
    }

    /// What of this node decides which endpoints it uses.
    pub(super) fn note_place(&mut self) {
        let name = self.machine.options.name.clone();
        let zone = self.nodes.get(&name).and_then(|node| node.zone.clone());
        self.services.set_node(NodeFacts { name, zone });
    }

    /// Writes what changed of services.
    pub(super) async fn program_services(&mut self) {
        self.note_place();
        let Some(rules) = &mut self.rules else { return };
        let mode = self.proxy_mode;
        let is_new = std::mem::take(&mut self.services_are_new);
        let switches = rules.services().mode() != mode;
        if !is_new && !switches && !self.services.is_dirty() && !self.retry_services {
            if self.services_failure.is_none() {
                self.machine.proxy.settled(self.seen.0);
            }
            return;
        }
        self.retry_services = false;
        let plans = self.services.plan();
        let proxy = &self.machine.proxy;
        proxy.planned(&plans, is_new);
        let began = Instant::now();
        let written = if is_new {
            rules.set_services(mode, plans).map(|_| true)
        } else {
            let changed = rules.change_services(plans).map(|programmed| programmed.full);
            if switches { rules.set_mode(mode).map(|_| true) } else { changed }
        };
        let families: Vec<_> = rules.services().config().families().collect();
        match written {
            Ok(full) => {
                let now = Instant::now();
                let revision = self.seen.0;
                let sync = Sync { revision, families, took: now - began, full };
                proxy.programmed(&sync, now, Time::now());
                if self.services_failure.take().is_some() {
                    self.retell = true;
                    tracing::info!("the rules for services are programmed again");
                }
            }
            Err(error) => {
                let message = chain(&error);
                proxy.failed(&families, &message);
                tracing::error!(error = %message, "the rules for services are not programmed");
                if self.services_failure.as_ref() != Some(&message) {
                    let text = format!("The rules for services are not programmed: {message}");
                    self.machine.node_event(EventKind::Warning, NOT_PROGRAMMED, text);
                    self.services_failure = Some(message);
                }
                let input = self.input.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(REST).await;
                    // The loop ends only with the daemon.
                    let _ = input.send(Input::RetryServices);
                });
            }
        }
    }
}
