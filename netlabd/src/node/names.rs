// SPDX-License-Identifier: GPL-3.0-or-later
//! What this node goes by when it answers for the cluster's names, and who keeps them.
//!
//! ```text
//!   netlabd.toml [dns] ──► own ──┐
//!                                ├──► plan ──► reconciler: addresses of the node, resolv.conf of pods
//!   view of the cluster ► heard ─┘       └───► daemon: the server, its settings
//! ```
//!
//! A section of the node's own counts; without one, what the cluster's server has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ipnet::IpNet;
use netlab_api::{DnsSettings, EndpointSlice, Service};
use tokio::sync::watch;

use crate::control::config::ClusterConfig;
use crate::dns::chain::{Chain, Notes};
use crate::dns::config::{DnsConfig, PodNames};
use crate::dns::log::PodName;

/// Who answers for the cluster's names, as seen by those who know what there is.
pub trait Zone: Send + Sync {
    /// A service is new, or otherwise.
    fn put_service(&mut self, service: &Service);
    /// A service is gone.
    fn remove_service(&mut self, namespace: &str, name: &str);
    /// Services are gone, but for those of which `kept` says so by namespace and name.
    fn keep_services(&mut self, kept: &dyn Fn(&str, &str) -> bool);
    /// A slice of endpoints is new, or otherwise.
    fn put_slice(&mut self, slice: &EndpointSlice);
    /// A slice of endpoints is gone.
    fn remove_slice(&mut self, namespace: &str, name: &str);
    /// Slices are gone, but for those of which `kept` says so.
    fn keep_slices(&mut self, kept: &dyn Fn(&str, &str) -> bool);
    /// A namespace is there.
    fn put_namespace(&mut self, name: &str);
    /// A namespace is gone.
    fn remove_namespace(&mut self, name: &str);
    /// A pod has these addresses.
    fn put_pod(&mut self, namespace: &str, name: &str, addresses: &[IpAddr]);
    /// A pod is gone.
    fn remove_pod(&mut self, namespace: &str, name: &str);
    /// All that there is has been told.
    fn set_synced(&mut self);
}

/// What listens at a plan's addresses, and answers.
#[async_trait::async_trait]
pub trait NameServer: Send + Sync {
    /// Answers as a plan says from now on; no query is lost on the way. What is refused leaves it
    /// as it was.
    ///
    /// # Errors
    /// When an address cannot be had, with who has it and the cure.
    async fn follow(&mut self, plan: &NamesPlan) -> anyhow::Result<()>;
    /// Stops, after it answered for so long still.
    async fn stop(&mut self, lameduck: std::time::Duration);
}

/// A zone that threads read which answer.
pub type SharedZone = Arc<RwLock<dyn Zone>>;

/// What a node goes by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NamesPlan {
    /// The section `[dns]` that counts here.
    pub config: DnsConfig,
    /// Addresses at which this node answers: the cluster's DNS. None when it does not answer.
    pub addresses: Vec<IpAddr>,
    /// Whom pods ask. Without any, they ask the servers of the node.
    pub pod_servers: Vec<IpAddr>,
}

/// What is known, of which the plan is made.
#[derive(Debug, Default)]
struct Known {
    cluster: Vec<IpAddr>,
    service_networks: Vec<IpNet>,
    own: Option<DnsConfig>,
    heard: Option<DnsConfig>,
}

impl Known {
    fn plan(&self) -> NamesPlan {
        let config = self.own.clone().or_else(|| self.heard.clone()).unwrap_or_default();
        let is_ours = |address: &&IpAddr| {
            self.service_networks.iter().any(|network| network.contains(*address))
        };
        let (ours, others): (Vec<IpAddr>, Vec<IpAddr>) =
            self.cluster.iter().partition(|address| is_ours(address));
        let others_answer = self.heard.as_ref().is_some_and(|heard| heard.enabled);
        let (addresses, pod_servers) = match config.enabled {
            // One elsewhere is a server of somebody's own.
            true => (ours, self.cluster.clone()),
            // The nodes around answer for themselves, and this one does not.
            false if others_answer => (Vec::new(), others),
            // In the whole cluster it is somebody else's, perhaps as a service.
            false => (Vec::new(), self.cluster.clone()),
        };
        NamesPlan { config, addresses, pod_servers }
    }
}

/// What answers now, for those who want to see how.
#[derive(Clone)]
pub struct Answers {
    /// The order of things.
    pub chain: Arc<Chain>,
    /// The cluster's names.
    pub zone: Arc<RwLock<crate::dns::zone::Zone>>,
    /// What was asked.
    pub notes: Arc<Notes>,
}

/// The names of this node's cluster.
pub struct Names {
    known: Mutex<Known>,
    plan: watch::Sender<Arc<NamesPlan>>,
    zone: RwLock<Option<SharedZone>>,
    nodes: watch::Sender<Vec<IpAddr>>,
    answers: RwLock<Option<Answers>>,
    pods: RwLock<HashMap<IpAddr, Arc<PodName>>>,
}

impl Names {
    /// As a cluster's configuration says, with nothing of this node's own.
    pub fn of(cluster: &ClusterConfig) -> Names {
        let known = Known {
            cluster: cluster.cluster_dns.clone(),
            service_networks: cluster.services.networks.clone(),
            ..Known::default()
        };
        let plan = watch::Sender::new(Arc::new(known.plan()));
        Names {
            known: Mutex::new(known),
            plan,
            zone: RwLock::default(),
            nodes: watch::Sender::default(),
            answers: RwLock::default(),
            pods: RwLock::default(),
        }
    }

    /// Addresses of the cluster's nodes, which may ask.
    pub fn nodes(&self) -> watch::Receiver<Vec<IpAddr>> {
        self.nodes.subscribe()
    }

    /// The cluster's nodes have these addresses.
    pub(super) fn see_nodes(&self, addresses: impl Iterator<Item = IpAddr>) {
        let mut addresses: Vec<IpAddr> = addresses.collect();
        addresses.sort_unstable();
        addresses.dedup();
        self.nodes.send_if_modified(|before| {
            let is_news = *before != addresses;
            *before = addresses;
            is_news
        });
    }

    /// What this node goes by now.
    pub fn plan(&self) -> Arc<NamesPlan> {
        self.plan.borrow().clone()
    }

    /// Told whenever the plan is another.
    pub fn plans(&self) -> watch::Receiver<Arc<NamesPlan>> {
        self.plan.subscribe()
    }

    /// Takes over what the node's own configuration says; none if it says nothing.
    pub fn configure(&self, own: Option<DnsConfig>) {
        self.change(|known| known.own = own);
    }

    /// Takes over what the cluster says.
    pub fn hear(&self, settings: &DnsSettings) {
        let config = serde_json::from_value(settings.config.clone());
        self.change(|known| {
            known.cluster.clone_from(&settings.addresses);
            match config {
                Ok(config) => known.heard = Some(config),
                // That of a server that knows more than this node.
                Err(error) => {
                    tracing::error!(%error, "the cluster's configuration of names is not understood: \
                        keeping the one before; is this node's netlabd older than the server's?");
                }
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        let plan = Arc::new(known.plan());
        self.plan.send_if_modified(|before| {
            let is_news = **before != *plan;
            if is_news {
                *before = plan;
            }
            is_news
        });
    }

    /// Keeps all that there is in `zone`. To be called before the node is followed.
    pub fn keep_in(&self, zone: SharedZone) {
        *self.zone.write().unwrap_or_else(PoisonError::into_inner) = Some(zone);
    }

    /// What answers from now on; nothing when this node answers no names.
    pub fn show(&self, answers: Option<Answers>) {
        *self.answers.write().unwrap_or_else(PoisonError::into_inner) = answers;
    }

    /// What answers now.
    pub fn answers(&self) -> Option<Answers> {
        self.answers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there is a zone to tell.
    pub fn has_zone(&self) -> bool {
        self.zone.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Tells the zone something, if there is one.
    pub fn tell(&self, news: impl FnOnce(&mut dyn Zone)) {
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(zone) = &*zone {
            // A panic in between leaves a name out, and the next change of it puts that right.
            news(&mut *zone.write().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The pod of this node that has an address.
    pub fn pod_at(&self, address: IpAddr) -> Option<Arc<PodName>> {
        let pods = self.pods.read().unwrap_or_else(PoisonError::into_inner);
        pods.get(&address).cloned()
    }

    /// A pod of this node has these addresses.
    pub(super) fn place(&self, namespace: &str, name: &str, addresses: &[IpAddr]) {
        let mut pods = self.pods.write().unwrap_or_else(PoisonError::into_inner);
        let pod = PodName { namespace: namespace.to_owned(), name: name.to_owned() };
        let pod = Arc::new(pod);
        for address in addresses {
            pods.insert(*address, pod.clone());
        }
    }

    /// A pod of this node is gone, or another has its addresses already.
    pub(super) fn displace(&self, namespace: &str, name: &str, addresses: &[IpAddr]) {
        let mut pods = self.pods.write().unwrap_or_else(PoisonError::into_inner);
        for address in addresses {
            if pods.get(address).is_some_and(|it| it.namespace == namespace && it.name == name) {
                pods.remove(address);
            }
        }
    }
}

/// What a server tells its nodes of its section `[dns]`.
pub fn settings(cluster: &ClusterConfig, config: &DnsConfig) -> DnsSettings {
    DnsSettings {
        addresses: cluster.cluster_dns.clone(),
        all_pods: config.enabled && config.pods == PodNames::Verified,
        config: serde_json::to_value(config).expect("a configuration is plain data"),
    }
}

#[cfg(test)]
mod tests;
