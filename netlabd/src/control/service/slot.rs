// SPDX-License-Identifier: GPL-3.0-or-later
//! What only one service may have: an address or a port, as a record of the store that names its
//! holder.
//!
//! ```text
//!   allocations/clusterip/10.43.0.7      {"service":"default/web","uid":"…"}
//!   allocations/nodeport/tcp/30080
//!   allocations/lbip/192.0.2.1
//! ```
//!
//! A record is made on the condition that there is none, so nothing is given twice, and a look
//! whether something is free costs the same however many services there are.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use netlab_api::pod::Protocol;
use netlab_api::{ApiError, Service};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::control::draft::Draft;

/// Numbers that are tried at random before all are tried in turn.
const TRIES: usize = 24;

/// Most numbers of a range that are tried in turn: a network of services has no more.
const MOST_SCANNED: u128 = 1 << 20;

/// Where it stands who has addresses of load balancers.
pub(super) const LOAD_BALANCER_IPS: &str = "allocations/lbip/";

/// Something that one service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// A cluster IP.
    ClusterIp(IpAddr),
    /// A port of every node.
    NodePort(Protocol, u16),
    /// An address of a load balancer.
    LoadBalancerIp(IpAddr),
}

/// Who has a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    /// `default/web`.
    pub(super) service: String,
    /// The service's uid.
    pub(super) uid: String,
}

impl Holder {
    pub(super) fn of(service: &Service) -> Holder {
        let metadata = &service.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        Holder { service: format!("{namespace}/{}", metadata.name), uid: metadata.uid.clone() }
    }
}

impl Slot {
    /// What a service has by its spec and status.
    pub(super) fn of(service: &Service) -> BTreeSet<Slot> {
        let spec = &service.spec;
        let ports =
            spec.ports.iter().filter_map(|p| Some(Slot::NodePort(p.protocol, p.node_port?)));
        let health = spec.health_check_node_port.map(|port| Slot::NodePort(Protocol::Tcp, port));
        let ingress = service.status.load_balancer.ingress.iter();
        let mut slots: BTreeSet<Slot> = service.cluster_ips().map(Slot::ClusterIp).collect();
        slots.extend(ports.chain(health));
        slots.extend(ingress.map(|ingress| Slot::LoadBalancerIp(ingress.ip)));
        slots
    }

    pub(super) fn path(self) -> String {
        match self {
            Slot::ClusterIp(ip) => format!("allocations/clusterip/{ip}"),
            Slot::NodePort(protocol, port) => {
                format!("allocations/nodeport/{}/{port}", protocol_name(protocol).to_lowercase())
            }
            Slot::LoadBalancerIp(ip) => format!("{LOAD_BALANCER_IPS}{ip}"),
        }
    }

    /// Takes it for `holder`, or says who has it.
    pub(super) async fn take(
        self,
        draft: &mut Draft<'_>,
        holder: &Holder,
    ) -> Result<Result<(), Holder>, ApiError> {
        let path = self.path();
        if let Some(value) = draft.get_raw(&path).await? {
            let unknown = || Holder { service: "?".to_owned(), uid: String::new() };
            return Ok(Err(serde_json::from_value(value).unwrap_or_else(|_| unknown())));
        }
        let record = serde_json::to_value(holder).expect("a record is plain data");
        draft.put_raw(path, Some(&record));
        Ok(Ok(()))
    }

    /// Gives it back, if `holder` has it.
    pub(super) async fn give_back(
        self,
        draft: &mut Draft<'_>,
        holder: &Holder,
    ) -> Result<(), ApiError> {
        let path = self.path();
        let record = draft.get_raw(&path).await?;
        let uid = record.as_ref().and_then(|record| record.get("uid")?.as_str());
        if uid == Some(&holder.uid) {
            draft.put_raw(path, None);
        }
        Ok(())
    }

    /// Takes the first of these that is free.
    pub(super) async fn take_first(
        slots: impl Iterator<Item = Slot>,
        draft: &mut Draft<'_>,
        holder: &Holder,
    ) -> Result<Option<Slot>, ApiError> {
        for slot in slots {
            // A look at those that are taken does not tie the decision to them.
            if !draft.is_taken(&slot.path()).await? && slot.take(draft, holder).await?.is_ok() {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::ClusterIp(ip) | Slot::LoadBalancerIp(ip) => write!(f, "{ip}"),
            Slot::NodePort(protocol, port) => write!(f, "{port}/{}", protocol_name(*protocol)),
        }
    }
}

/// `TCP`.
pub(super) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

/// Cluster IPs of a network in the order in which they are tried: never its own address and, with
/// IPv4, never the broadcast address.
pub(super) fn cluster_ips(
    network: IpNet,
    reserved: &[IpAddr],
    random: impl FnMut() -> u64,
) -> impl Iterator<Item = Slot> {
    let size = usable(network);
    let addresses = order(size, band(size, 16, 256), random).map(move |at| nth(network, at + 1));
    addresses.filter(|ip| !reserved.contains(ip)).map(Slot::ClusterIp)
}

/// Whether a network gives this address to services.
pub(super) fn is_usable(network: IpNet, address: IpAddr) -> bool {
    let is_broadcast = address.is_ipv4() && address == network.broadcast();
    network.contains(&address) && address != network.network() && !is_broadcast
}

/// Node ports in the order in which they are tried.
pub(super) fn node_ports(
    range: &RangeInclusive<u16>,
    random: impl FnMut() -> u64,
) -> impl Iterator<Item = u16> {
    let (first, size) = (*range.start(), range.len() as u128);
    let numbers = order(size, band(size, 32, 128), random);
    numbers.map(move |at| first + u16::try_from(at).expect("is below the size of the range"))
}

/// Addresses of a pool, lowest first: people know their pools and expect that.
pub(super) fn pool(network: IpNet) -> impl Iterator<Item = Slot> {
    let host_bits = u32::from(network.max_prefix_len() - network.prefix_len());
    let size = 1_u128.checked_shl(host_bits).unwrap_or(u128::MAX).min(MOST_SCANNED);
    (0..size).map(move |at| Slot::LoadBalancerIp(nth(network, at)))
}

/// A random number.
pub(super) fn random() -> u64 {
    // The lowest bits of a random UUID are all random.
    Uuid::new_v4().as_u64_pair().1 & (u64::MAX >> 2)
}

fn usable(network: IpNet) -> u128 {
    let host_bits = u32::from(network.max_prefix_len() - network.prefix_len());
    let size = 1_u128.checked_shl(host_bits).unwrap_or(u128::MAX);
    size.saturating_sub(if network.addr().is_ipv4() { 2 } else { 1 })
}

/// How many of the lowest numbers are left to those who ask for one by name, as long as there are
/// others: one in `share`, from 16 to `most`; none of a range that is that small.
fn band(size: u128, share: u128, most: u128) -> u128 {
    if size <= 16 { 0 } else { (size / share).clamp(16, most) }
}

/// All numbers below `size`: some at random, then all in turn, those of the band last.
fn order(size: u128, band: u128, mut random: impl FnMut() -> u64) -> impl Iterator<Item = u128> {
    let (upper, lower) = ((size - band).min(MOST_SCANNED), band);
    let mut below = move |limit: u128| u128::from(random()) % limit.max(1);
    let tried: Vec<u128> = (0..TRIES).map(|_| band + below(size - band)).collect();
    let (start, low_start) = (below(upper), below(lower));
    let above = (0..upper).map(move |at| band + (start + at) % upper);
    let within = (0..lower).map(move |at| (low_start + at) % lower);
    tried.into_iter().chain(above).chain(within)
}

fn nth(network: IpNet, at: u128) -> IpAddr {
    match network {
        IpNet::V4(net) => {
            let at = u32::try_from(at).expect("is below the size of the network");
            Ipv4Addr::from_bits(net.network().to_bits() + at).into()
        }
        IpNet::V6(net) => Ipv6Addr::from_bits(net.network().to_bits() + at).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(network: &str) -> Vec<IpAddr> {
        let slots = cluster_ips(network.parse().unwrap(), &[], || 7);
        let ip = |slot| if let Slot::ClusterIp(ip) = slot { ip } else { panic!("{slot:?}") };
        slots.skip(TRIES).map(ip).collect()
    }

    #[test]
    fn each_address_is_tried_but_those_that_nobody_may_have() {
        let tried: BTreeSet<IpAddr> = all("10.43.0.0/28").into_iter().collect();
        assert_eq!(tried.len(), 14);
        assert!(!tried.contains(&IpAddr::from([10, 43, 0, 0])));
        assert!(!tried.contains(&IpAddr::from([10, 43, 0, 15])));
        let tried: BTreeSet<IpAddr> = all("fd43::/124").into_iter().collect();
        assert_eq!(tried.len(), 15);
        assert!(tried.contains(&"fd43::f".parse().unwrap()));
    }

    #[test]
    fn the_lowest_addresses_come_last() {
        // 254 addresses: one in 16 would be 15, and 16 are the least.
        let tried = all("10.43.0.0/24");
        let band: BTreeSet<IpAddr> = (1..=16).map(|byte| [10, 43, 0, byte].into()).collect();
        let last: BTreeSet<IpAddr> = tried[tried.len() - 16..].iter().copied().collect();
        assert_eq!(last, band);
        assert!(tried[..tried.len() - 16].iter().all(|ip| !band.contains(ip)));
    }

    #[test]
    fn bands_are_as_large_as_in_kubernetes() {
        assert_eq!(band(65_534, 16, 256), 256);
        assert_eq!(band(1022, 16, 256), 63);
        assert_eq!(band(14, 16, 256), 0);
        assert_eq!(band(2768, 32, 128), 86);
    }

    #[test]
    fn random_tries_stay_above_the_band() {
        for seed in 0..1000_u64 {
            let mut number = seed;
            let mut random = || {
                number = number.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                number >> 2
            };
            let range = 30_000..=32_767;
            let tried: Vec<u16> = node_ports(&range, &mut random).take(TRIES).collect();
            assert!(tried.iter().all(|port| (30_086..=32_767).contains(port)), "{tried:?}");
        }
    }

    #[test]
    fn a_pool_is_used_from_its_first_address_to_its_last() {
        let slots: Vec<String> =
            pool("192.0.2.8/30".parse().unwrap()).map(|slot| slot.to_string()).collect();
        assert_eq!(slots, ["192.0.2.8", "192.0.2.9", "192.0.2.10", "192.0.2.11"]);
        assert_eq!(pool("fd00::/64".parse().unwrap()).count(), 1 << 20);
    }
}
