// SPDX-License-Identifier: GPL-3.0-or-later
//! What a lab consists of, with every name and address decided. Pure: the file and the addresses
//! that machines have already go in, the plan comes out.
//!
//! ```text
//!   n1 eth0 ── to-n1 ┐                          ┌ to-n3 ── eth0 n3
//!   n2 eth0 ── to-n2 ┤ br-rack1  router  br-rack2 ┤
//!                    └──────── 172.30.0.1 / 172.30.1.1 ── to-laptop ── eth0 laptop
//! ```
//!
//! One namespace, `router`, holds the bridges of all networks and routes between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlab_api::lab::{Family, Faults, Lab, LabNetwork};
use netlab_api::{ProxyMode, RouteMode};
use netlab_link::{IfIndex, IfName, LinkAddr};
use serde::{Deserialize, Serialize};

/// Name of the namespace that holds the bridges.
pub(crate) const ROUTER: &str = "router";

/// MTU of networks that name none.
const DEFAULT_MTU: u32 = 1500;

/// Number of the first port of a machine, and of the first bridge of the router. Chosen by us so
/// that one batch can make a link and use it; far from those that the kernel gives out.
const FIRST_INDEX: u32 = 100;

/// Numbers of the router's ends of cables: a hundred thousand for each network.
const FIRST_PEER_INDEX: u32 = 100_000;

/// The lab's machines and networks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// Its name.
    pub(crate) lab: String,
    /// How packets go from node to node.
    pub(crate) route_mode: RouteMode,
    /// Networks of pods; empty for netlabd's own choice.
    pub(crate) pod_networks: Vec<IpNet>,
    /// Where load balancers get addresses from.
    #[serde(default)]
    pub(crate) load_balancer_pools: Vec<IpNet>,
    /// Which layout of rules carries services, where the file says so.
    #[serde(default)]
    pub(crate) proxy_mode: Option<ProxyMode>,
    /// The section `[dns]` of the server's configuration.
    #[serde(default)]
    pub(crate) dns: serde_json::Map<String, serde_json::Value>,
    /// Whether the router leads to this machine's network.
    pub(crate) uplink: bool,
    /// Networks, in the file's order.
    pub(crate) networks: Vec<Network>,
    /// Nodes, in the file's order, and then hosts.
    pub(crate) machines: Vec<Machine>,
}

/// A network: a bridge, with an address of the router on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Network {
    pub(crate) name: String,
    /// The bridge in the router's namespace.
    pub(crate) bridge: String,
    /// The bridge's number.
    pub(crate) index: u32,
    /// Addresses of the router, with the lengths of the network's prefixes.
    pub(crate) router: Vec<IpNet>,
    pub(crate) mtu: u32,
}

/// A node or a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) kind: MachineKind,
    /// Its links, `eth0` first.
    pub(crate) ports: Vec<Port>,
    /// Labels of the Node object.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MachineKind {
    Node,
    Host,
}

/// A link of a machine, plugged into a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    /// `eth0`.
    pub(crate) dev: String,
    /// Its number in the machine.
    pub(crate) index: u32,
    pub(crate) network: String,
    /// The other end, in the router's namespace.
    pub(crate) peer: String,
    /// The other end's number.
    pub(crate) peer_index: u32,
    pub(crate) mac: String,
    /// Addresses with the lengths of the network's prefixes, IPv4 first.
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) mtu: u32,
    /// What the file says is wrong with it.
    #[serde(default)]
    pub(crate) faults: Faults,
}

/// Two machines that the file parts, in alphabetical order.
pub(crate) type Pair = (String, String);

impl Plan {
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(|machine| machine.kind == MachineKind::Node)
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(|machine| machine.kind == MachineKind::Host)
    }

    pub(crate) fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name == name)
    }

    pub(crate) fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name == name)
    }
}

impl Machine {
    /// Its addresses, those of `eth0` first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ports.iter().flat_map(|port| &port.addresses).map(IpNet::addr)
    }

    /// The port in a network, or the first one.
    pub(crate) fn port(&self, network: Option<&str>) -> Option<&Port> {
        match network {
            Some(name) => self.ports.iter().find(|port| port.network == name),
            None => self.ports.first(),
        }
    }
}

impl Port {
    pub(crate) fn index(&self) -> IfIndex {
        IfIndex::new(self.index)
    }
}

/// A name that the kernel takes for an interface; anything longer becomes a number.
pub(crate) fn if_name(prefix: &str, name: &str) -> String {
    let plain = format!("{prefix}{name}");
    match IfName::new(plain.as_str()) {
        Ok(_) => plain,
        Err(_) => format!("{prefix}{:08x}", checksum(name)),
    }
}

/// FNV-1a over the name: the same name is the same number, in every run.
fn checksum(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Decides names and addresses. Machines keep the addresses that they have in `before`.
pub(crate) fn plan(name: &str, lab: &Lab, before: Option<&Plan>) -> Result<Plan, String> {
    let lab = lab.clone().completed();
    let families = match lab.settings.families.is_empty() {
        true => BTreeSet::from([Family::Ipv4, Family::Ipv6]),
        false => lab.settings.families.iter().copied().collect(),
    };
    let mut networks = Vec::new();
    let mut taken: Vec<IpNet> = lab.networks.iter().flat_map(|n| n.subnets.clone()).collect();
    for (at, network) in lab.networks.iter().enumerate() {
        let subnets = subnets(network, at, &families, &mut taken);
        networks.push(Network {
            name: network.name.clone(),
            bridge: if_name("br-", &network.name),
            index: FIRST_INDEX + at as u32,
            router: subnets.iter().map(|subnet| host(*subnet, 1)).collect(),
            mtu: network.mtu.unwrap_or(DEFAULT_MTU),
        });
    }
    let nodes = lab.nodes.iter().map(|node| {
        let of = lab.networks_of(&node.network, &node.networks);
        (&node.name, MachineKind::Node, of, node.labels.clone())
    });
    let hosts = lab.hosts.iter().map(|host| {
        let of = lab.networks_of(&host.network, &host.networks);
        (&host.name, MachineKind::Host, of, BTreeMap::new())
    });
    let wished: Vec<_> = nodes.chain(hosts).collect();
    let mut numbers = numbers(&wished, &networks, before);
    let mut machines = Vec::new();
    for (name, kind, of, labels) in wished {
        let mut ports = Vec::new();
        for (at, network) in of.into_iter().enumerate() {
            let (place, network) = networks
                .iter()
                .enumerate()
                .find(|(_, known)| known.name == network)
                .ok_or_else(|| format!("BUG: network `{network}` was not checked"))?;
            let number = numbers.number(name, network)?;
            let faults = lab
                .links
                .iter()
                .filter(|link| link.of.as_deref() == Some(name))
                .find(|link| link.network.as_deref().map_or(at == 0, |of| of == network.name));
            ports.push(Port {
                dev: format!("eth{at}"),
                index: FIRST_INDEX + at as u32,
                network: network.name.clone(),
                peer: if_name("to-", &peer_name(name, at)),
                peer_index: FIRST_PEER_INDEX * (1 + place as u32) + number,
                mac: mac(place, number).to_string(),
                addresses: network.router.iter().map(|own| host(own.trunc(), number)).collect(),
                mtu: network.mtu,
                faults: faults.map(|link| link.faults()).unwrap_or_default(),
            });
        }
        machines.push(Machine { name: name.clone(), kind, ports, labels });
    }
    let pod_networks = match lab.settings.pod_networks.is_empty() && families.len() == 2 {
        true => Vec::new(),
        false => pod_networks(&lab.settings.pod_networks, &families),
    };
    Ok(Plan {
        lab: name.to_owned(),
        route_mode: lab.settings.network.unwrap_or(RouteMode::Auto),
        pod_networks,
        load_balancer_pools: lab.settings.load_balancer_pools.clone(),
        proxy_mode: lab.settings.proxy_mode,
        dns: lab.settings.dns.clone(),
        uplink: lab.settings.uplink.unwrap_or_default(),
        networks,
        machines,
    })
}

/// Pairs that the file parts.
pub(crate) fn partitions(lab: &Lab) -> BTreeSet<Pair> {
    let parted = lab.links.iter().filter_map(|link| match &link.between[..] {
        [one, other] => Some(pair(one, other)),
        _ => None,
    });
    parted.collect()
}

pub(crate) fn pair(one: &str, other: &str) -> Pair {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    (first.to_owned(), second.to_owned())
}

/// `n1` for its first port, `n1-1` for the second.
fn peer_name(machine: &str, at: usize) -> String {
    if at == 0 { machine.to_owned() } else { format!("{machine}-{at}") }
}

/// Netlab's own networks of pods, of these families, unless the file has some.
fn pod_networks(given: &[IpNet], families: &BTreeSet<Family>) -> Vec<IpNet> {
    let all = match given.is_empty() {
        true => vec![
            Ipv4Net::new_assert(Ipv4Addr::new(10, 42, 0, 0), 16).into(),
            Ipv6Net::new_assert(Ipv6Addr::new(0xfd42, 0, 0, 0, 0, 0, 0, 0), 48).into(),
        ],
        false => given.to_vec(),
    };
    let is_wanted = |network: &IpNet| {
        families.contains(if network.addr().is_ipv4() { &Family::Ipv4 } else { &Family::Ipv6 })
    };
    all.into_iter().filter(is_wanted).collect()
}

/// The prefixes of a network: those of the file, and `172.30.N.0/24` and `fd44:0:0:N::/64`.
fn subnets(
    network: &LabNetwork,
    at: usize,
    families: &BTreeSet<Family>,
    taken: &mut Vec<IpNet>,
) -> Vec<IpNet> {
    let mut subnets = network.subnets.clone();
    if subnets.is_empty() {
        for family in families {
            // The first that is free, from the network's own place on.
            let candidate = (at..at + 256).map(|number| match family {
                Family::Ipv4 => {
                    let [high, low] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
                    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(172, 30 + high, low, 0), 24))
                }
                Family::Ipv6 => {
                    let number = u16::try_from(number).unwrap_or(u16::MAX);
                    let prefix = Ipv6Addr::new(0xfd44, 0, 0, number, 0, 0, 0, 0);
                    IpNet::V6(Ipv6Net::new_assert(prefix, 64))
                }
            });
            let is_free =
                |new: &IpNet| !taken.iter().any(|old| old.contains(new) || new.contains(old));
            if let Some(free) = candidate.into_iter().find(is_free) {
                taken.push(free);
                subnets.push(free);
            }
        }
    }
    subnets.sort_by_key(|subnet| subnet.addr().is_ipv6());
    subnets
}

/// The address with this number in a prefix.
fn host(prefix: IpNet, number: u32) -> IpNet {
    match prefix {
        IpNet::V4(net) => {
            let address = u32::from(net.network()) + number;
            IpNet::V4(Ipv4Net::new_assert(address.into(), net.prefix_len()))
        }
        IpNet::V6(net) => {
            let address = u128::from(net.network()) + u128::from(number);
            IpNet::V6(Ipv6Net::new_assert(address.into(), net.prefix_len()))
        }
    }
}

/// Locally administered, and readable: 02, "nl", the network, the number.
fn mac(network: usize, number: u32) -> LinkAddr {
    let [.., high, low] = number.to_be_bytes();
    LinkAddr::new([0x02, 0x6e, 0x6c, network as u8, high, low])
}

/// Which numbers are taken in each network, and by whom.
struct Numbers {
    kept: BTreeMap<(String, String), u32>,
    used: BTreeSet<(String, u32)>,
}

type Wished<'a> = (&'a String, MachineKind, Vec<&'a str>, BTreeMap<String, String>);

fn numbers(wished: &[Wished<'_>], networks: &[Network], before: Option<&Plan>) -> Numbers {
    let mut numbers = Numbers { kept: BTreeMap::new(), used: BTreeSet::new() };
    let Some(before) = before else { return numbers };
    for (name, _, of, _) in wished {
        let Some(machine) = before.machine(name) else { continue };
        for port in machine.ports.iter().filter(|port| of.contains(&port.network.as_str())) {
            let now = networks.iter().find(|network| network.name == port.network);
            // A network with other prefixes has none of the addresses that there were.
            let same = |now: &&Network| {
                before.network(&port.network).is_some_and(|then| then.router == now.router)
            };
            let (Some(_), Some(address)) = (now.filter(same), port.addresses.first()) else {
                continue;
            };
            let number = match address {
                IpNet::V4(net) => u32::from(net.addr()) - u32::from(net.network()),
                IpNet::V6(net) => {
                    let number = u128::from(net.addr()) - u128::from(net.network());
                    u32::try_from(number).unwrap_or_default()
                }
            };
            numbers.kept.insert(((*name).clone(), port.network.clone()), number);
            numbers.used.insert((port.network.clone(), number));
        }
    }
    numbers
}

impl Numbers {
    /// The number that a machine has, or else the lowest that is free.
    fn number(&mut self, machine: &str, network: &Network) -> Result<u32, String> {
        if let Some(number) = self.kept.get(&(machine.to_owned(), network.name.clone())) {
            return Ok(*number);
        }
        let bits = network.router.iter().map(|own| own.max_prefix_len() - own.prefix_len());
        let bits = bits.min().unwrap_or(16).min(16);
        // The last one is the broadcast address of IPv4.
        let last = (1u32 << bits) - 2;
        let number = (2..=last)
            .find(|number| !self.used.contains(&(network.name.clone(), *number)))
            .ok_or_else(|| {
                format!(
                    "network `{}` is full: {last} addresses are not enough for its machines; \
                     give it larger `subnets`",
                    network.name
                )
            })?;
        self.used.insert((network.name.clone(), number));
        Ok(number)
    }
}

#[cfg(test)]
mod tests;
