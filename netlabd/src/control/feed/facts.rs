// SPDX-License-Identifier: GPL-3.0-or-later
//! What the feed keeps of a pod, a node and the cluster's modes, read from what the store holds.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use netlab_api::pod::PodPhase;
use netlab_api::resource::Kind;
use netlab_api::view::{PodName, Routing, ViewNode};
use netlab_api::{ClusterSettings, DnsSettings, Node, ProxyMode};
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::control::draft::decode_entry;
use crate::control::liveness::is_lost;
use crate::control::network::{NETWORK_KEY, StoredNetwork};
use crate::memory::Alike;
use crate::store::Entry;

/// What the feed knows of a pod.
#[derive(Debug, Clone)]
pub(super) struct PodFacts {
    pub(super) uid: Arc<str>,
    pub(super) node: Option<Arc<str>>,
    /// Those under which it is found: none once it has finished.
    pub(super) addresses: SmallVec<[IpAddr; 2]>,
    pub(super) hostname: Option<String>,
    pub(super) subdomain: Option<String>,
    /// Fingerprint of all that a node acts on: everything but the status.
    pub(super) wish: u64,
    /// Shares its bytes with the store.
    pub(super) entry: Entry,
}

/// What the feed knows of a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NodeFacts {
    pub(super) view: ViewNode,
    pub(super) ready: bool,
    pub(super) lost: bool,
    /// It is being deleted.
    pub(super) going: bool,
}

/// What a change was about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// By the key of its record, as services and slices are: these share it with the store.
    Pod {
        key: Arc<str>,
        uid: Arc<str>,
        node: Option<Arc<str>>,
    },
    Node(String),
    Service(Arc<str>),
    Slice(Arc<str>),
    Namespace(String),
    Routing,
    ProxyMode,
    Settings,
    Dns,
}

impl Key {
    pub(super) fn of(facts: &PodFacts) -> Key {
        let key = Arc::clone(&facts.entry.key);
        Key::Pod { key, uid: facts.uid.clone(), node: facts.node.clone() }
    }
}

impl PodFacts {
    /// `None` when the record does not have the form of a pod, which whoever reads it says.
    pub(super) fn of(entry: Entry, alike: &mut Alike<str>) -> Option<PodFacts> {
        #[derive(Deserialize)]
        struct Record<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
            #[serde(borrow)]
            spec: &'a RawValue,
            #[serde(default)]
            status: Status,
        }
        #[derive(Deserialize, Default)]
        struct Status {
            #[serde(default)]
            phase: PodPhase,
            #[serde(default, rename = "podIPs")]
            pod_ips: Vec<PodIp>,
        }
        #[derive(Deserialize)]
        struct PodIp {
            ip: IpAddr,
        }
        #[derive(Deserialize)]
        struct Metadata {
            #[serde(default)]
            uid: Arc<str>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            node_name: Option<String>,
            hostname: Option<String>,
            subdomain: Option<String>,
        }
        let record: Record<'_> = serde_json::from_slice(&entry.value).ok()?;
        let metadata: Metadata = serde_json::from_str(record.metadata.get()).ok()?;
        let spec: Spec = serde_json::from_str(record.spec.get()).ok()?;
        let mut hasher = DefaultHasher::new();
        (record.metadata.get(), record.spec.get()).hash(&mut hasher);
        let Status { phase, pod_ips } = record.status;
        // As CoreDNS and hosts files have it: whoever has finished is not to be found.
        let found = pod_ips.iter().map(|pod_ip| pod_ip.ip).filter(|_| !phase.is_finished());
        let addresses = found.collect();
        Some(PodFacts {
            uid: metadata.uid,
            node: spec.node_name.map(|node| alike.share(node)),
            addresses,
            hostname: spec.hostname,
            subdomain: spec.subdomain,
            wish: hasher.finish(),
            entry,
        })
    }

    /// Whether only the status is another, which the pod's own node said itself, and the pod has
    /// not finished with it.
    pub(super) fn concerns_nobody_after(&self, after: &PodFacts) -> bool {
        self.wish == after.wish && self.uid == after.uid && self.addresses == after.addresses
    }

    pub(super) fn name(&self, name: &str) -> PodName {
        PodName {
            name: name.to_owned(),
            addresses: self.addresses.to_vec(),
            hostname: self.hostname.clone().filter(|hostname| hostname != name),
            subdomain: self.subdomain.clone(),
        }
    }
}

impl NodeFacts {
    pub(super) fn of(entry: &Entry) -> Option<NodeFacts> {
        let node: Node = decode_entry(entry).ok()?;
        Some(NodeFacts {
            view: ViewNode::of(&node),
            ready: node.is_ready(),
            lost: is_lost(&node),
            going: node.metadata.deletion_timestamp.is_some(),
        })
    }
}

/// What a key of the store names.
pub(super) enum Parsed<'a> {
    Pod { namespace: &'a str, name: &'a str },
    Node(&'a str),
    Namespace(&'a str),
    Service { namespace: &'a str, name: &'a str },
    Slice { namespace: &'a str, name: &'a str },
    Network,
}

/// Prefixes of the keys that [`parse_key`] knows.
pub(super) const PREFIXES: [&str; 6] =
    ["endpointslices/", "namespaces/", "nodes/", "pods/", "services/", NETWORK_KEY];

/// What a key of the store is about, if nodes are concerned.
pub(super) fn parse_key(key: &str) -> Option<Parsed<'_>> {
    if key == NETWORK_KEY {
        return Some(Parsed::Network);
    }
    let (plural, rest) = key.split_once('/')?;
    if plural == Kind::Node.plural() {
        return Some(Parsed::Node(rest));
    }
    if plural == Kind::Namespace.plural() {
        return Some(Parsed::Namespace(rest));
    }
    let (namespace, name) = rest.split_once('/')?;
    let kinds = [Kind::Pod, Kind::Service, Kind::EndpointSlice];
    Some(match kinds.into_iter().find(|kind| kind.plural() == plural)? {
        Kind::Service => Parsed::Service { namespace, name },
        Kind::EndpointSlice => Parsed::Slice { namespace, name },
        _ => Parsed::Pod { namespace, name },
    })
}

/// What holds for all nodes as a record says; the defaults for one that cannot be read.
pub(super) fn common_of(entry: &Entry) -> Common {
    let stored: Option<StoredNetwork> = serde_json::from_slice(&entry.value).ok();
    let stored = stored.unwrap_or_default();
    let StoredNetwork { routing, proxy_mode, settings, dns, .. } = stored;
    Common { routing, proxy_mode, settings, dns }
}

/// What holds for all nodes.
#[derive(Default)]
pub(super) struct Common {
    pub(super) routing: Routing,
    pub(super) proxy_mode: ProxyMode,
    pub(super) settings: ClusterSettings,
    pub(super) dns: Option<DnsSettings>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_all_that_nodes_are_concerned_with() {
        let others = ["applied/pods/shop/a", "events/shop/a", "allocations/nodeport/tcp/30000"];
        let kinds = [Kind::Namespace, Kind::Node, Kind::Pod, Kind::Service, Kind::EndpointSlice];
        let objects = kinds.map(|kind| format!("{}/shop/a", kind.plural()));
        let concerning = objects.iter().map(String::as_str).chain([NETWORK_KEY]);
        for (key, concerns) in
            concerning.map(|key| (key, true)).chain(others.map(|key| (key, false)))
        {
            assert_eq!(parse_key(key).is_some(), concerns, "{key}");
            let is_listed = PREFIXES.iter().any(|prefix| key.starts_with(prefix));
            assert_eq!(is_listed, concerns, "{key}");
        }
    }
}
