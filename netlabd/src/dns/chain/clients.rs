// SPDX-License-Identifier: GPL-3.0-or-later
//! Who may ask: pods, nodes, networks that the configuration lists, and the machine itself. And
//! which pod asks, for the log and for search paths.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;

use crate::dns::log::PodName;

/// How long it is believed that the machine has an address.
const BELIEVED: Duration = Duration::from_secs(10);

/// How long it is believed that it has not. Strangers make it look no more often.
const DOUBTED: Duration = Duration::from_secs(1);

/// Tells the pod that has an address.
pub type PodAt = dyn Fn(IpAddr) -> Option<Arc<PodName>> + Send + Sync;

/// Clients. What changes with the cluster is told to it and counts at once; a change of the
/// configuration does not touch it.
pub struct Clients {
    known: RwLock<Known>,
    pod_at: Box<PodAt>,
    own: RwLock<Own>,
}

#[derive(Debug, Default)]
struct Known {
    networks: Vec<IpNet>,
    nodes: HashSet<IpAddr>,
}

/// Addresses of the machine, as they were lately.
#[derive(Debug, Default)]
struct Own {
    addresses: HashSet<IpAddr>,
    looked: Option<Instant>,
}

impl Clients {
    /// Nobody but the machine itself, until it is told. `pod_at` knows the pods of this node.
    pub fn new(pod_at: impl Fn(IpAddr) -> Option<Arc<PodName>> + Send + Sync + 'static) -> Clients {
        Clients { known: RwLock::default(), pod_at: Box::new(pod_at), own: RwLock::default() }
    }

    /// Networks of pods, of all nodes.
    pub fn set_pod_networks(&self, networks: Vec<IpNet>) {
        self.change().networks = networks;
    }

    /// Addresses of the cluster's nodes.
    pub fn set_nodes(&self, nodes: impl IntoIterator<Item = IpAddr>) {
        let nodes = nodes.into_iter().collect();
        self.change().nodes = nodes;
    }

    /// The pod of this node that has an address.
    pub fn pod(&self, address: IpAddr) -> Option<Arc<PodName>> {
        (self.pod_at)(address)
    }

    /// Whether a client may ask, besides those of `allow`.
    pub fn may_ask(&self, client: IpAddr, allow: &[IpNet]) -> bool {
        {
            let known = self.known();
            if known.networks.iter().chain(allow).any(|network| network.contains(&client))
                || client.is_loopback()
                || known.nodes.contains(&client)
            {
                return true;
            }
        }
        self.is_own(client)
    }

    /// Whether an address is the machine's.
    fn is_own(&self, address: IpAddr) -> bool {
        {
            let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
            let here = own.addresses.contains(&address);
            let believed = if here { BELIEVED } else { DOUBTED };
            if own.looked.is_some_and(|looked| looked.elapsed() < believed) {
                return here;
            }
        }
        // Said before it looks, so that the other threads need not.
        self.own.write().unwrap_or_else(PoisonError::into_inner).looked = Some(Instant::now());
        let Ok(found) = getifaddrs() else { return false };
        let addresses: HashSet<_> = found.filter_map(|entry| address_of(&entry.address?)).collect();
        let here = addresses.contains(&address);
        self.own.write().unwrap_or_else(PoisonError::into_inner).addresses = addresses;
        here
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn address_of(name: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    name.as_sockaddr_in()
        .map(|v4| v4.ip().into())
        .or_else(|| name.as_sockaddr_in6().map(|v6| v6.ip().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn members_of_the_cluster_may_ask_and_strangers_may_not() {
        let clients = Clients::new(|_| None);
        clients
            .set_pod_networks(vec!["10.42.0.0/16".parse().unwrap(), "fd42::/48".parse().unwrap()]);
        clients.set_nodes([ip("192.0.2.1")]);
        let allow = ["198.51.100.0/24".parse().unwrap()];
        for known in ["10.42.3.9", "fd42::7", "192.0.2.1", "198.51.100.7", "127.0.0.1", "::1"] {
            assert!(clients.may_ask(ip(known), &allow), "{known}");
        }
        for stranger in ["203.0.113.77", "10.43.0.1", "fd43::1", "198.51.101.1"] {
            assert!(!clients.may_ask(ip(stranger), &allow), "{stranger}");
        }
        assert!(!clients.may_ask(ip("198.51.100.7"), &[]));
        clients.set_nodes([]);
        assert!(!clients.may_ask(ip("192.0.2.1"), &allow));
    }
}
