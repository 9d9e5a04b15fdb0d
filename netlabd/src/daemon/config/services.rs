// SPDX-License-Identifier: GPL-3.0-or-later
//! The sections `[services]` and `[load-balancer]` of the configuration, and what they must keep
//! to.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use netlab_api::service::IpMode;
use serde::Deserialize;

use super::networks::check_set_apart;
use crate::control::config::{ServiceConfig, default_service_networks};

/// The smallest networks of services: below 16 addresses little is left beside those that are
/// never given.
const LONGEST_PREFIX: (u8, u8) = (28, 124);

/// The largest, as in Kubernetes: 2^20 addresses.
const SHORTEST_PREFIX: (u8, u8) = (12, 108);

/// The section `[services]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Services {
    /// Where services get their cluster IPs from: at most one network a family. Unless given,
    /// 10.43.0.0/16 and fd43::/112, of the families that pods have.
    pub networks: Option<Vec<IpNet>>,
    /// Ports of nodes that services may have: `30000-32767`.
    #[serde(deserialize_with = "ports")]
    pub node_ports: RangeInclusive<u16>,
    /// Networks of whose addresses node ports are served; of all when empty.
    pub node_port_addresses: Vec<IpNet>,
    /// Gives every connection to a cluster IP the node's address.
    pub masquerade_all: bool,
}

impl Default for Services {
    fn default() -> Services {
        let ServiceConfig { node_ports, .. } = ServiceConfig::default();
        Services {
            networks: None,
            node_ports,
            node_port_addresses: Vec::new(),
            masquerade_all: false,
        }
    }
}

/// The section `[load-balancer]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LoadBalancer {
    /// Where services of type `LoadBalancer` get addresses from: networks, or ranges `A-B`. All
    /// addresses of them are given.
    #[serde(deserialize_with = "pools")]
    pub pools: Vec<IpNet>,
    /// What is written into services about these addresses: whether nodes take a short cut.
    pub ip_mode: IpMode,
}

/// What both sections say, for a cluster with these pod networks and DNS addresses.
///
/// # Errors
/// When networks have host bits, are too small or too large, of the same family or overlap, or
/// when the cluster's DNS lies outside.
pub(super) fn service_config(
    services: &Services,
    load_balancer: &LoadBalancer,
    pod_networks: &[IpNet],
    cluster_dns: &[IpAddr],
) -> anyhow::Result<ServiceConfig> {
    let has_family = |network: &IpNet| pod_networks.iter().any(|pods| same_family(pods, network));
    let mut networks = match &services.networks {
        Some(networks) => networks.clone(),
        None => default_service_networks().into_iter().filter(has_family).collect(),
    };
    networks.sort_by_key(|network| network.addr().is_ipv6());
    anyhow::ensure!(
        !networks.is_empty(),
        "services.networks is empty: services need a network, such as 10.43.0.0/16"
    );
    for network in &networks {
        check_host_bits("service network", network)?;
        check_set_apart("service network", network)?;
        check_size(network)?;
        let family = if network.addr().is_ipv4() { "IPv4" } else { "IPv6" };
        anyhow::ensure!(
            has_family(network),
            "service network `{network}` is {family}, but pods have no {family} addresses: add an \
             {family} network to pod-networks"
        );
        if let Some(pods) = pod_networks.iter().find(|pods| overlap(pods, network)) {
            anyhow::bail!(
                "service network `{network}` overlaps with the pod network `{pods}`: give \
                 services.networks others"
            );
        }
    }
    if let [first, second] = &networks[..] {
        anyhow::ensure!(
            !same_family(first, second),
            "service networks `{first}` and `{second}` are of the same family: give one of each"
        );
    }
    anyhow::ensure!(networks.len() <= 2, "services.networks are at most two: one of each family");
    // Where a network was left to the default, an address elsewhere is a server of somebody's own.
    if services.networks.is_some() {
        for address in cluster_dns {
            anyhow::ensure!(
                networks.iter().any(|network| network.contains(address)),
                "cluster-dns `{address}` is in no service network: choose one in {}",
                networks.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" or ")
            );
        }
    }
    for network in &services.node_port_addresses {
        check_host_bits("network of services.node-port-addresses", network)?;
    }
    for (index, pool) in load_balancer.pools.iter().enumerate() {
        check_host_bits("load balancer pool", pool)?;
        let others = pod_networks.iter().map(|n| ("pod network", n));
        let others = others.chain(networks.iter().map(|n| ("service network", n)));
        let earlier = load_balancer.pools[..index].iter().map(|n| ("pool", n));
        if let Some((what, other)) = others.chain(earlier).find(|(_, other)| overlap(other, pool)) {
            anyhow::bail!(
                "load balancer pool `{pool}` overlaps with the {what} `{other}`: an address can \
                 only be one thing"
            );
        }
    }
    Ok(ServiceConfig {
        networks,
        node_ports: services.node_ports.clone(),
        node_port_addresses: services.node_port_addresses.clone(),
        load_balancer_pools: load_balancer.pools.clone(),
        load_balancer_ip_mode: load_balancer.ip_mode,
        masquerade_all: services.masquerade_all,
    })
}

fn same_family(one: &IpNet, other: &IpNet) -> bool {
    one.addr().is_ipv4() == other.addr().is_ipv4()
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn check_host_bits(what: &str, network: &IpNet) -> anyhow::Result<()> {
    anyhow::ensure!(
        network.trunc() == *network,
        "{what} `{network}` has host bits: write `{}`",
        network.trunc()
    );
    Ok(())
}

fn check_size(network: &IpNet) -> anyhow::Result<()> {
    let of = |(v4, v6): (u8, u8)| if network.addr().is_ipv4() { v4 } else { v6 };
    let (longest, shortest) = (of(LONGEST_PREFIX), of(SHORTEST_PREFIX));
    anyhow::ensure!(
        network.prefix_len() <= longest,
        "service network `{network}` is too small: give it at least a /{longest}"
    );
    anyhow::ensure!(
        network.prefix_len() >= shortest,
        "service network `{network}` is too large: give it at most a /{shortest}"
    );
    Ok(())
}

/// Reads `30000-32767`.
fn ports<'de, D: serde::Deserializer<'de>>(d: D) -> Result<RangeInclusive<u16>, D::Error> {
    use serde::de::Error;
    let text = String::deserialize(d)?;
    let range = text.split_once('-').and_then(|(first, last)| {
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (0 < first && first <= last).then_some(first..=last)
    });
    range.ok_or_else(|| {
        D::Error::custom(format!("`{text}` is no range of ports: write `30000-32767`"))
    })
}

/// Reads networks, and ranges of addresses as the networks that they consist of.
fn pools<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<IpNet>, D::Error> {
    use serde::de::Error;
    let mut networks = Vec::new();
    for text in Vec::<String>::deserialize(d)? {
        let pool = pool(&text).ok_or_else(|| {
            let cure = "write a network such as `192.0.2.0/28`, or `192.0.2.10-192.0.2.20`";
            D::Error::custom(format!("`{text}` is no pool of addresses: {cure}"))
        })?;
        networks.extend(pool);
    }
    Ok(networks)
}

fn pool(text: &str) -> Option<Vec<IpNet>> {
    let Some((first, last)) = text.split_once('-') else {
        return text.trim().parse().ok().map(|network| vec![network]);
    };
    match (first.trim().parse().ok()?, last.trim().parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Some(Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Some(Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn services(text: &str) -> anyhow::Result<ServiceConfig> {
        let config: Config = toml::from_str(text)?;
        Ok(config.cluster()?.services)
    }

    #[track_caller]
    fn refuse(text: &str, why: &str) {
        let error = services(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn all_that_can_be_said_of_services_is_taken_over() {
        let text = "
            [services]
            networks = ['fd44::/112', '10.44.0.0/16']
            node-ports = '20000-20100'
            node-port-addresses = ['192.0.2.0/24']
            masquerade-all = true
            [load-balancer]
            pools = ['198.51.100.0/28', '203.0.113.10-203.0.113.12']
            ip-mode = 'Proxy'";
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let pools = ["198.51.100.0/28", "203.0.113.10/31", "203.0.113.12/32"].map(net);
        let expected = ServiceConfig {
            networks: vec![net("10.44.0.0/16"), net("fd44::/112")],
            node_ports: 20_000..=20_100,
            node_port_addresses: vec![net("192.0.2.0/24")],
            load_balancer_pools: pools.to_vec(),
            load_balancer_ip_mode: IpMode::Proxy,
            masquerade_all: true,
        };
        assert_eq!(services(text).unwrap(), expected);
    }

    #[test]
    fn without_a_word_services_have_the_families_of_pods() {
        assert_eq!(services("").unwrap(), ServiceConfig::default());
        let networks = services("pod-networks = ['fd42::/48']").unwrap().networks;
        assert_eq!(networks, [default_service_networks()[1]]);
    }

    #[test]
    fn networks_of_services_that_cannot_work_are_refused_with_the_reason() {
        let networks = |list: &str| format!("[services]\nnetworks = {list}");
        refuse(&networks("[]"), "is empty");
        refuse(&networks("['10.44.0.1/16']"), "write `10.44.0.0/16`");
        refuse(&networks("['10.44.0.0/29']"), "too small");
        refuse(&networks("['fd44::/64']"), "at most a /108");
        refuse(&networks("['10.42.128.0/20']"), "overlaps with the pod network `10.42.0.0/16`");
        refuse(&networks("['10.44.0.0/16', '10.45.0.0/16']"), "same family");
        refuse("pod-networks = ['10.0.0.0/8']", "overlaps with the pod network");
        let dns = format!("cluster-dns = ['10.96.0.10']\n{}", networks("['10.44.0.0/16']"));
        refuse(&dns, "cluster-dns `10.96.0.10` is in no service network");
        let one = format!("pod-networks = ['10.42.0.0/16']\n{}", networks("['fd44::/112']"));
        refuse(&one, "pods have no IPv6 addresses");
    }

    #[test]
    fn ports_and_pools_that_mean_nothing_are_refused_with_an_example() {
        refuse("[services]\nnode-ports = '32767-30000'", "write `30000-32767`");
        refuse("[services]\nnode-ports = '0-10'", "write `30000-32767`");
        refuse("[load-balancer]\npools = ['192.0.2.9-192.0.2.3']", "is no pool");
        refuse("[load-balancer]\npools = ['10.43.5.0/24']", "overlaps with the service network");
        refuse(
            "[load-balancer]\npools = ['192.0.2.0/28', '192.0.2.8/30']",
            "overlaps with the pool `192.0.2.0/28`",
        );
    }
}
