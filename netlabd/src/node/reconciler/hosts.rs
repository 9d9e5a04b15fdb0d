// SPDX-License-Identifier: GPL-3.0-or-later
//! Who is in the hosts file of which namespace: pods of this node and of others.
//!
//! The zone hears of the same pods from here. What a file says is planned by `node::hosts`.

use std::collections::{BTreeMap, BTreeSet};

use netlab_api::Pod;
use netlab_api::view::{PodName, ViewNames};

use super::Reconciler;
use crate::node::hosts::{HostsEntry, plan_hosts};

impl Reconciler {
    /// Rebuilds who is in which hosts file from nothing.
    pub(super) fn forget_hosts(&mut self, pods: &[Pod]) {
        self.stale_hosts.extend(self.hosts.keys().cloned());
        self.stale_hosts.extend(self.machine.hosts.list().unwrap_or_default());
        self.hosts.clear();
        self.stale_hosts.extend(pods.iter().filter_map(|pod| pod.metadata.namespace.clone()));
    }

    /// Takes in who is in a namespace on other nodes; who is not named is not there.
    pub(super) fn take_names(&mut self, names: ViewNames) {
        let ViewNames { namespace, pods } = names;
        let here: BTreeSet<&str> = self
            .entries
            .values()
            .filter(|entry| entry.pod.namespace() == namespace)
            .map(|entry| &*entry.pod.name)
            .collect();
        if let Some(known) = self.hosts.get_mut(&namespace) {
            known.retain(|name, _| here.contains(name.as_str()));
        }
        let here: BTreeSet<String> = here.into_iter().map(str::to_owned).collect();
        let kept = here.iter().chain(pods.iter().map(|pod| &pod.name)).map(String::as_str);
        self.keep_pod_names(&namespace, &kept.collect());
        self.stale_hosts.insert(namespace.clone());
        for pod in pods {
            self.note_hosts(&namespace, pod);
        }
    }

    /// A pod is no more.
    pub(super) fn forget_name(&mut self, namespace: &str, name: &str) {
        self.unname_pod(namespace, name);
        if let Some(pods) = self.hosts.get_mut(namespace)
            && pods.remove(name).is_some()
        {
            self.stale_hosts.insert(namespace.to_owned());
        }
    }

    /// Takes in which names and addresses a pod has.
    pub(super) fn note_hosts(&mut self, namespace: &str, pod: PodName) {
        let PodName { addresses, hostname, subdomain, .. } = pod;
        let entry = HostsEntry { addresses: addresses.into(), hostname, subdomain };
        if entry.addresses.is_empty() {
            return;
        }
        let pods = self.hosts.entry(namespace.to_owned()).or_default();
        if pods.get(&pod.name) != Some(&entry) {
            pods.insert(pod.name.clone(), entry.clone());
            self.name_pod(namespace, &pod.name, &entry.addresses);
            self.stale_hosts.insert(namespace.to_owned());
        }
    }

    /// Writes the files that are not as they must be; one that fails stays so until the next time.
    pub(super) async fn write_hosts(&mut self) {
        if self.stale_hosts.is_empty() {
            return;
        }
        let local: BTreeSet<&str> =
            self.entries.values().map(|entry| entry.pod.namespace()).collect();
        let nobody = BTreeMap::new();
        let mut failed = BTreeSet::new();
        // Once nothing of a namespace is here, the cluster tells no more of it.
        self.hosts.retain(|namespace, _| local.contains(namespace.as_str()));
        let local: BTreeSet<String> = local.into_iter().map(str::to_owned).collect();
        if !self.knows_all_pods {
            self.keep_pod_namespaces(|namespace| local.contains(namespace));
        }
        for namespace in &self.stale_hosts {
            let written = if local.contains(namespace) {
                let pods = self.hosts.get(namespace).unwrap_or(&nobody);
                let domain = &self.machine.options.cluster.domain;
                self.machine.hosts.put(namespace, &plan_hosts(namespace, domain, pods))
            } else {
                self.machine.hosts.remove(namespace)
            };
            if let Err(error) = written {
                tracing::error!(namespace, %error, "failed to write the hosts file of pods");
                failed.insert(namespace.clone());
            }
        }
        self.stale_hosts = failed;
    }
}
