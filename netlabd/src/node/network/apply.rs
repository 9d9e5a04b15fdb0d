// SPDX-License-Identifier: GPL-3.0-or-later
//! The kernel side of pod links: claims, looks, mends, removes. Blocking; every call is short.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::path::PathBuf;
use std::sync::Arc;

use netlab_link::netns::{is_pin, prepare_pin_dir};
use netlab_link::pod_link::list_pod_links;
use netlab_link::{
    Batch, Families, IfIndex, KernelError, LinkChange, Netns, NodeLinks, PodAddresses, PodLink,
    PodLinkId, PodLinkPool, PodLinkPoolOptions, PodNetwork, RouteSocket, observe_node, observe_pod,
    remove_pod_links,
};

use crate::error::chain;

use super::record::Records;

pub use error::NetworkError;
pub use mend::{HostLinks, host_links};

mod error;
mod mend;

/// What the links of a node have in common.
#[derive(Debug)]
pub struct NetworkOptions {
    /// The node's namespace.
    pub node: Netns,
    /// Holds `netns` and `pins`.
    pub run_dir: PathBuf,
    /// Links to keep ready.
    pub pool_size: usize,
    /// MTU of both ends.
    pub mtu: u32,
    /// The families that pods have.
    pub families: Families,
    /// Links that pods are known to have, by `namespace/name`, in case their records are lost.
    pub known: BTreeMap<String, PodLinkId>,
}

/// A pod that wants a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `namespace/name`.
    pub pod: String,
    /// Its addresses.
    pub addresses: PodAddresses,
}

/// The pod links of this node.
#[derive(Debug)]
pub struct Network {
    node: Arc<Netns>,
    socket: RouteSocket,
    pool: PodLinkPool,
    records: Records,
    pin_dir: PathBuf,
    mtu: u32,
    families: Families,
}

impl Network {
    /// Takes over the node's links. What a killed daemon left half made, or made for nobody, is
    /// removed.
    ///
    /// # Errors
    /// When folders cannot be made or the kernel refuses: is CAP_NET_ADMIN missing?
    pub fn open(options: NetworkOptions) -> Result<Network, NetworkError> {
        let NetworkOptions { node, run_dir, pool_size, mtu, families, known } = options;
        let pin_dir = super::pin_dir(&run_dir);
        let netns_dir = super::netns_dir(&run_dir);
        prepare_pin_dir(&pin_dir).map_err(|source| NetworkError::PreparePins { source })?;
        let records = Records::open(netns_dir.clone())
            .map_err(|source| NetworkError::PrepareRecords { path: netns_dir, source })?;
        let observe = |source| NetworkError::Observe { source };
        let mut socket = RouteSocket::open_in(&node).map_err(observe)?;
        // Links that nobody claimed before the last daemon went.
        let mut recorded = list_records(&records)?;
        for (pod, id) in known {
            if let btree_map::Entry::Vacant(lost) = recorded.entry(pod) {
                let pod = lost.key().clone();
                tracing::warn!(pod, "putting back the record of a pod's link");
                let set = records.set(&pod, id);
                set.map_err(|source| NetworkError::Record { pod, source })?;
                lost.insert(id);
            }
        }
        let recorded: BTreeSet<PodLinkId> = recorded.into_values().collect();
        let mut stale: BTreeSet<PodLinkId> = list_pod_links(&pin_dir)?.into_iter().collect();
        stale.extend(host_links(&observe_node(&mut socket).map_err(observe)?).into_keys());
        let stale: Vec<_> = stale.difference(&recorded).copied().collect();
        if !stale.is_empty() {
            tracing::info!(
                count = stale.len(),
                "removing the links that the last netlabd kept ready for new pods"
            );
            for error in remove_pod_links(&mut socket, &pin_dir, &stale).err().into_iter().flatten()
            {
                tracing::warn!(error = %chain(&error), "an unclaimed pod link stays");
            }
        }
        let pool = PodLinkPool::start(PodLinkPoolOptions {
            node: node.try_clone().map_err(|source| NetworkError::PreparePins { source })?,
            pin_dir: pin_dir.clone(),
            size: pool_size,
            mtu,
            families,
        })?;
        Ok(Network { node: Arc::new(node), socket, pool, records, pin_dir, mtu, families })
    }

    /// The records of which pod has which link.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn records(&self) -> Result<BTreeMap<String, PodLinkId>, NetworkError> {
        list_records(&self.records)
    }

    /// The pin of a link's namespace.
    fn pin_path(&self, id: PodLinkId) -> PathBuf {
        id.pin(&self.pin_dir)
    }

    /// Gives each pod a link with its addresses and routes; the node's side of all goes to the
    /// kernel in one batch.
    pub fn claim(&mut self, wanted: &[Wanted]) -> Vec<Result<PodLink, NetworkError>> {
        let mut node_side = Batch::new();
        let mut results = Vec::with_capacity(wanted.len());
        // For each request of the batch, the pod that it is for.
        let mut owners = Vec::new();
        for (place, Wanted { pod, addresses }) in wanted.iter().enumerate() {
            let claimed = self.claim_pod_side(pod, *addresses);
            if let Ok(link) = &claimed {
                // Without the alias, which costs more than all the rest: see `name_links`.
                link.plan_node_claim(*addresses, None, &mut node_side);
                owners.resize(node_side.len(), place);
            }
            results.push(claimed);
        }
        let claimed: Vec<_> = results
            .iter()
            .map(|result| result.as_ref().ok().map(|link: &PodLink| link.id))
            .collect();
        match self.socket.send(&node_side) {
            Ok(outcome) => {
                for (request, error) in outcome.refused() {
                    let place = owners[*request];
                    results[place] = Err(NetworkError::Program {
                        pod: wanted[place].pod.clone(),
                        source: error.clone(),
                    });
                }
            }
            Err(source) => {
                let text = chain(&source);
                tracing::error!(error = %text, "the node's side of new pods was not sent");
                let mut source = Some(source);
                for result in results.iter_mut().filter(|result| result.is_ok()) {
                    if let Some(source) = source.take() {
                        *result = Err(NetworkError::Send { source });
                    }
                }
            }
        }
        for (place, id) in claimed.into_iter().enumerate() {
            if let (Some(id), Err(_)) = (id, &results[place]) {
                self.give_up(&wanted[place].pod, id);
            }
        }
        results
    }

    fn claim_pod_side(
        &mut self,
        pod: &str,
        addresses: PodAddresses,
    ) -> Result<PodLink, NetworkError> {
        // A link that could not be kept: its record is about to name another.
        if let Some(before) = self.records.get(pod) {
            self.remove(&[(pod.to_owned(), before)]).map_err(|mut errors| errors.remove(0))?;
        }
        let mut prepared = self.pool.claim()?;
        let id = prepared.id();
        // Before the addresses: from here on a crash is found and finished, not leaked.
        let claimed = self
            .records
            .set(pod, id)
            .map_err(|source| NetworkError::Record { pod: pod.to_owned(), source })
            .and_then(|()| Ok(prepared.assign(addresses)?));
        let link = prepared.link();
        // Its sockets would keep the namespace.
        drop(prepared);
        if let Err(error) = claimed {
            self.give_up(pod, id);
            return Err(error);
        }
        Ok(link)
    }

    /// Removes a link whose pod did not get it. The error that led here is the one to tell.
    fn give_up(&mut self, pod: &str, id: PodLinkId) {
        for error in self.remove(&[(pod.to_owned(), id)]).err().into_iter().flatten() {
            tracing::warn!(pod, error = %chain(&error), "what was made of a pod's link stays");
        }
    }

    /// The link that is recorded for a pod.
    pub fn record(&self, pod: &str) -> Option<PodLinkId> {
        self.records.get(pod)
    }

    /// Puts back records that somebody removed; answers whose they were.
    ///
    /// # Errors
    /// When the records cannot be read or written.
    pub fn put_back_records(
        &self,
        links: &[(String, PodLinkId)],
    ) -> Result<Vec<String>, NetworkError> {
        let present = self.records()?;
        let mut missing = Vec::new();
        for (pod, id) in links.iter().filter(|(pod, id)| present.get(pod) != Some(id)) {
            self.records
                .set(pod, *id)
                .map_err(|source| NetworkError::Record { pod: pod.clone(), source })?;
            missing.push(pod.clone());
        }
        Ok(missing)
    }

    /// Gives the node's ends of these links an alias, so that `ip link` says whose they are. The
    /// kernel tells every namespace of it, so it takes up to 0.3 ms a link among 1,000: to be
    /// done when nobody waits.
    ///
    /// # Errors
    /// When they could not be sent; a link that is gone is fine.
    pub fn name_links(&mut self, links: &[(IfIndex, String)]) -> Result<(), NetworkError> {
        let mut batch = Batch::new();
        for (index, pod) in links {
            let alias = Some(pod.clone());
            batch.set_link(LinkChange { alias, ..LinkChange::of(*index) });
        }
        let sent = self.socket.send(&batch).map(drop);
        sent.map_err(|source| NetworkError::Send { source })
    }

    /// What the node's namespace has.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn observe(&mut self) -> Result<NodeLinks, NetworkError> {
        observe_node(&mut self.socket).map_err(|source| NetworkError::Observe { source })
    }

    /// The MTU of the links.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Gives these links, and those that are claimed from now on, an MTU on both ends: the node's
    /// ends in one batch, then the pods', of which each is entered (0.1 ms). With the MTU that they
    /// have it is only the batch, so a caller that knows of no change need not call.
    ///
    /// # Errors
    /// All links whose MTU could not be changed, by pod; the others are. A link that is gone is
    /// fine: whoever mends it gives it the new MTU.
    pub fn set_mtu(
        &mut self,
        links: &[(String, PodLinkId, IfIndex)],
        mtu: u32,
    ) -> Result<(), Vec<NetworkError>> {
        self.mtu = mtu;
        let mut errors = Vec::new();
        let pool = self.pool.set_mtu(&mut self.socket, mtu);
        errors.extend(pool.err().into_iter().flatten().map(NetworkError::Link));
        let links: Vec<_> =
            links.iter().map(|(pod, id, index)| (pod, self.link(*id, *index))).collect();
        let batch: Batch = links.iter().map(|(_, link)| link.plan_node_mtu()).collect();
        match self.socket.send(&batch) {
            Ok(outcome) => {
                let outcome = outcome.ignore(KernelError::is_not_found);
                errors.extend(outcome.refused().iter().map(|(place, error)| {
                    let pod = links[*place].0.clone();
                    NetworkError::Program { pod, source: error.clone() }
                }));
            }
            Err(source) => errors.push(NetworkError::Send { source }),
        }
        for (pod, link) in links {
            let done = self.pod_socket(pod, link.id).and_then(|mut socket| {
                let sent = socket.request(link.plan_pod_mtu());
                sent.map_err(|source| NetworkError::Send { source })
            });
            errors.extend(done.err());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// What a link must be, given the node's end that was observed.
    pub fn link(&self, id: PodLinkId, host_index: IfIndex) -> PodLink {
        PodLink { id, host_index, mtu: self.mtu, families: self.families }
    }

    /// Looks inside a pod's namespace.
    ///
    /// # Errors
    /// When its pin is gone or the kernel cannot be asked.
    pub fn observe_inside(&self, pod: &str, id: PodLinkId) -> Result<PodNetwork, NetworkError> {
        let mut socket = self.pod_socket(pod, id)?;
        observe_pod(&mut socket).map_err(|source| NetworkError::Observe { source })
    }

    /// Whether a link's namespace is pinned.
    pub fn is_pinned(&self, id: PodLinkId) -> bool {
        is_pin(&self.pin_path(id))
    }

    /// Removes links, pins and records of these pods; what is gone already is fine.
    ///
    /// # Errors
    /// All that could not be removed; the rest is gone.
    pub fn remove(&mut self, pods: &[(String, PodLinkId)]) -> Result<(), Vec<NetworkError>> {
        let ids: Vec<_> = pods.iter().map(|(_, id)| *id).collect();
        let mut errors: Vec<NetworkError> = Vec::new();
        if let Err(failed) = remove_pod_links(&mut self.socket, &self.pin_dir, &ids) {
            errors.extend(failed.into_iter().map(NetworkError::Link));
        }
        if errors.is_empty() {
            // Last: as long as anything is left, the record says whose it is.
            for (pod, _) in pods {
                if let Err(source) = self.records.remove(pod) {
                    errors.push(NetworkError::Record { pod: pod.clone(), source });
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The number that a pod's namespace has in the node's, under which the monitor speaks of it.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn nsid(&mut self, pod: &str, id: PodLinkId) -> Result<Option<i32>, NetworkError> {
        let netns = self.pod_netns(pod, id)?;
        self.socket.netns_id(&netns).map_err(|source| NetworkError::Observe { source })
    }

    fn pod_netns(&self, pod: &str, id: PodLinkId) -> Result<Netns, NetworkError> {
        Netns::open(&self.pin_path(id))
            .map_err(|source| NetworkError::Enter { pod: pod.to_owned(), source })
    }

    fn pod_socket(&self, pod: &str, id: PodLinkId) -> Result<RouteSocket, NetworkError> {
        let netns = self.pod_netns(pod, id)?;
        RouteSocket::open_in(&netns).map_err(|source| NetworkError::Observe { source })
    }
}

fn list_records(records: &Records) -> Result<BTreeMap<String, PodLinkId>, NetworkError> {
    records.list().map_err(|source| NetworkError::Record { pod: "*".to_owned(), source })
}
