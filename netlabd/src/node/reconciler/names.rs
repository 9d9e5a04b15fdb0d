// SPDX-License-Identifier: GPL-3.0-or-later
//! Keeps the zone as the cluster's services, namespaces and pods are: before a revision is reported
//! as programmed, so that a name is there when the command that made it returns.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use netlab_api::{DnsSettings, EndpointSlice, ObjectMeta, Service};
use tokio::task::JoinHandle;

use super::Reconciler;
use crate::error::chain;
use crate::node::names::Zone;

/// What the zone was told, as far as that must be known to take it back.
#[derive(Debug, Default)]
pub(super) struct Told {
    namespaces: BTreeSet<String>,
    /// Pods by namespace.
    pods: BTreeMap<String, BTreeSet<String>>,
}

fn name_of(metadata: &ObjectMeta) -> (&str, &str) {
    (metadata.namespace.as_deref().unwrap_or_default(), &metadata.name)
}

impl Told {
    /// All services, slices and namespaces there are; what else the zone has is gone.
    fn all(
        &mut self,
        zone: &mut dyn Zone,
        services: &[Arc<Service>],
        slices: &[Arc<EndpointSlice>],
        namespaces: Vec<String>,
    ) {
        let namespaces: BTreeSet<String> = namespaces.into_iter().collect();
        self.namespaces.difference(&namespaces).for_each(|gone| zone.remove_namespace(gone));
        namespaces.difference(&self.namespaces).for_each(|new| zone.put_namespace(new));
        self.namespaces = namespaces;
        // There may be many of these, and the zone knows itself which it has.
        let now: HashSet<_> = services.iter().map(|service| name_of(&service.metadata)).collect();
        zone.keep_services(&|namespace, name| now.contains(&(namespace, name)));
        let now: HashSet<_> = slices.iter().map(|slice| name_of(&slice.metadata)).collect();
        zone.keep_slices(&|namespace, name| now.contains(&(namespace, name)));
        services.iter().for_each(|service| zone.put_service(service));
        slices.iter().for_each(|slice| zone.put_slice(slice));
    }
}

/// All that names are made of, but for pods, until the zone is told of it.
pub(super) struct Untold {
    pub(super) services: Vec<Arc<Service>>,
    pub(super) slices: Vec<Arc<EndpointSlice>>,
    pub(super) namespaces: Vec<String>,
}

impl Reconciler {
    /// What tells the zone of all there is, on another thread. From here until
    /// [`Reconciler::note_told`] nothing else may be told.
    pub(super) fn telling(&mut self, untold: Untold) -> impl FnOnce() -> JoinHandle<Told> + use<> {
        let machine = self.machine.clone();
        let mut told = std::mem::take(&mut self.told);
        let tell = move || {
            let Untold { services, slices, namespaces } = untold;
            machine.names.tell(|zone| told.all(zone, &services, &slices, namespaces));
            told
        };
        move || tokio::task::spawn_blocking(tell)
    }

    /// Waits until the zone was told.
    pub(super) async fn note_told(&mut self, telling: JoinHandle<Told>) {
        let told = telling.await;
        self.told = told.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    }

    pub(super) fn name_service(&self, service: &Service) {
        self.machine.names.tell(|zone| zone.put_service(service));
    }

    pub(super) fn unname_service(&self, namespace: &str, name: &str) {
        self.machine.names.tell(|zone| zone.remove_service(namespace, name));
    }

    pub(super) fn name_slice(&self, slice: &EndpointSlice) {
        self.machine.names.tell(|zone| zone.put_slice(slice));
    }

    pub(super) fn unname_slice(&self, namespace: &str, name: &str) {
        self.machine.names.tell(|zone| zone.remove_slice(namespace, name));
    }

    pub(super) fn name_namespace(&mut self, name: String) {
        self.machine.names.tell(|zone| zone.put_namespace(&name));
        self.told.namespaces.insert(name);
    }

    pub(super) fn unname_namespace(&mut self, name: &str) {
        self.machine.names.tell(|zone| zone.remove_namespace(name));
        self.told.namespaces.remove(name);
    }

    /// A pod, here or elsewhere, has these addresses.
    pub(super) fn name_pod(&mut self, namespace: &str, name: &str, addresses: &[IpAddr]) {
        let pods = self.told.pods.entry(namespace.to_owned()).or_default();
        pods.insert(name.to_owned());
        self.machine.names.tell(|zone| zone.put_pod(namespace, name, addresses));
    }

    pub(super) fn unname_pod(&mut self, namespace: &str, name: &str) {
        let Some(pods) = self.told.pods.get_mut(namespace) else { return };
        if !pods.remove(name) {
            return;
        }
        if pods.is_empty() {
            self.told.pods.remove(namespace);
        }
        self.machine.names.tell(|zone| zone.remove_pod(namespace, name));
    }

    /// Forgets pods of a namespace other than these.
    pub(super) fn keep_pod_names(&mut self, namespace: &str, kept: &BTreeSet<&str>) {
        let pods = self.told.pods.get(namespace).into_iter().flatten();
        let gone: Vec<String> = pods.filter(|it| !kept.contains(it.as_str())).cloned().collect();
        gone.iter().for_each(|name| self.unname_pod(namespace, name));
    }

    /// Forgets pods of namespaces of which the cluster tells no more.
    pub(super) fn keep_pod_namespaces(&mut self, kept: impl Fn(&str) -> bool) {
        let known = self.told.pods.keys();
        let gone: Vec<String> = known.filter(|it| !kept(it)).cloned().collect();
        gone.iter().for_each(|namespace| self.keep_pod_names(namespace, &BTreeSet::new()));
    }

    /// Gives the node the addresses at which it answers, and keeps tracking from them.
    pub(super) fn follow_names(&mut self) {
        let Some(rules) = &mut self.rules else { return };
        rules.set_names(&self.machine.names.plan().addresses);
        match rules.ensure() {
            Ok(None) => {}
            Ok(Some(difference)) => tracing::debug!("wrote rules for names:\n{difference}"),
            Err(error) => tracing::error!(error = %chain(&error), "questions are tracked"),
        }
        self.ensure_anchor();
    }

    /// Notes who the cluster's nodes are.
    pub(super) fn see_nodes(&self) {
        let addresses = self.nodes.values().flat_map(|node| node.addresses.iter().copied());
        self.machine.names.see_nodes(addresses);
    }

    /// Takes over what the cluster says of names.
    pub(super) fn take_dns(&mut self, settings: &DnsSettings) {
        self.knows_all_pods = settings.all_pods;
        self.machine.names.hear(settings);
        // What is no longer told of goes when hosts files are looked at.
        self.stale_hosts.extend(self.told.pods.keys().cloned());
    }
}
