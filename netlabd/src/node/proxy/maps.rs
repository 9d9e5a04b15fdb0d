// SPDX-License-Identifier: GPL-3.0-or-later
//! The layout of mode `nftables`: a few rules that look up maps. Pure.
//!
//! ```text
//!  prerouting, output ──► services
//!                           │ address . protocol . port in service-chains?  ──► a chain of its own
//!                           │   … in service-counts? its class says how many endpoints
//!                           │ balance: class ──► balance-3 ──► dnat to endpoints[… . 0 … 2]
//!                           └ an address of this node? ──► nodeports, the same by port alone
//!  input, forward, output ──► checks: refused, dropped, or nothing of ours
//!  postrouting ──► masquerading: marked packets, and pods that reached themselves
//! ```
//!
//! A service costs elements of plain data: the kernel checks verdicts of a map whenever one is
//! added, all of them, but values never. Only what needs more than choosing at random has chains
//! of its own: affinity, source ranges, `externalTrafficPolicy` `Local`.
//!
//! The number of endpoints has to pass from one rule to the next. It does in the packet's priority,
//! whose class nobody else has, and not in its mark, which is other programs' too.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlab_nft::{
    Datatype, Element, Expression, Family, Field, MapData, Operator, Protocol, Set, Side,
    TableName, Tuple, Value, Verdict,
};

use super::names::{readable, readable_endpoint};
use super::piece::{OwnRule, Piece, rule};
use super::port::{PortId, PortPlan};

pub mod base;

/// The mark of packets that are to be masqueraded: kube-proxy's, bit 14.
pub const MASQUERADE_MARK: u32 = 0x4000;

/// Address, protocol and port to the class of the service there.
pub const SERVICE_COUNTS: &str = "service-counts";
/// The same and a number to an endpoint.
pub const ENDPOINTS: &str = "endpoints";
/// Protocol and port to the class of the service there.
pub const NODEPORT_COUNTS: &str = "nodeport-counts";
/// The same and a number to an endpoint.
pub const NODEPORT_ENDPOINTS: &str = "nodeport-endpoints";
/// Class to the chain that chooses an endpoint.
pub const BALANCE: &str = "balance";
/// Address, protocol and port to a chain of its own.
pub const SERVICE_CHAINS: &str = "service-chains";
/// Protocol and port to a chain of its own.
pub const NODEPORT_CHAINS: &str = "nodeport-chains";
/// Address, protocol and port to the chain with its source ranges.
pub const FIREWALLS: &str = "firewalls";
/// Cluster IPs in use.
pub const CLUSTER_IPS: &str = "cluster-ips";
/// Address, protocol and port of services without endpoints.
pub const REJECTED: &str = "reject-services";
/// The same, of services whose endpoints are all elsewhere.
pub const DROPPED: &str = "drop-services";
/// Protocol and port of services without endpoints.
pub const REJECTED_NODEPORTS: &str = "reject-nodeports";
/// The same, of services whose endpoints are all elsewhere.
pub const DROPPED_NODEPORTS: &str = "drop-nodeports";
/// Source, destination, protocol and port of connections of an endpoint to itself.
pub const HAIRPINS: &str = "hairpin-connections";

/// How a packet came to a service: what its class says besides the number of endpoints. The major
/// numbers are letters, `NL` and the next ones: nobody makes traffic classes of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// To a cluster IP.
    Cluster,
    /// To an address for clients outside.
    External,
    /// To a node port.
    NodePort,
}

impl Way {
    /// The class of a service with so many endpoints.
    pub fn class(self, endpoints: u32) -> u32 {
        let major = match self {
            Way::Cluster => 0x4e4c,
            Way::External => 0x4e4d,
            Way::NodePort => 0x4e4e,
        };
        major << 16 | endpoints
    }

    fn chain(self, endpoints: u32) -> String {
        match self {
            Way::Cluster => format!("balance-{endpoints}"),
            Way::External => format!("external-{endpoints}"),
            Way::NodePort => format!("nodeport-{endpoints}"),
        }
    }
}

/// More endpoints than this are left out: what a class can say.
const MOST_ENDPOINTS: usize = 0xffff;

/// Address, protocol and port of a packet to a service.
pub(super) fn front_key(family: Family) -> Vec<Field> {
    vec![Field::Address(family, Side::Destination), Field::Protocol, Field::DestinationPort]
}

pub(super) fn address_type(family: Family) -> Datatype {
    match family {
        Family::Ip => Datatype::Ipv4Addr,
        Family::Ip6 => Datatype::Ipv6Addr,
    }
}

fn front(address: IpAddr, protocol: Protocol, port: u16) -> Tuple {
    [Value::Address(address), Value::Protocol(protocol), Value::Port(port)].into()
}

fn door(protocol: Protocol, port: u16) -> Tuple {
    [Value::Protocol(protocol), Value::Port(port)].into()
}

fn numbered(key: &Tuple, number: u32) -> Tuple {
    key.values().chain([Value::Number(number)]).collect()
}

fn place(endpoint: SocketAddr) -> Tuple {
    [Value::Address(endpoint.ip()), Value::Port(endpoint.port())].into()
}

pub(super) fn goto(chain: impl Into<String>) -> Expression {
    Expression::Verdict(Verdict::Goto(chain.into()))
}

/// What several ports may need, of one service or of many: it is there once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shared {
    /// The chain for a class, and the way to it.
    Class(Way, u32),
    /// That the address is a cluster IP.
    ClusterIp(IpAddr),
    /// That an endpoint of this node may reach itself.
    Hairpin(Protocol, SocketAddr),
}

/// What a port needs of what is shared.
pub fn shared(plan: &PortPlan) -> Vec<Shared> {
    let mut shared = Vec::new();
    let mut add = |way, endpoints: &[SocketAddr]| {
        if !endpoints.is_empty() {
            shared.push(Shared::Class(way, count(endpoints)));
        }
    };
    if plan.affinity.is_none() {
        if plan.cluster_ip.is_some() {
            add(Way::Cluster, plan.internal());
        }
        if !plan.external_local && !plan.external_ips.is_empty() {
            add(Way::External, &plan.cluster);
            // Which goes on where the cluster IP's go.
            add(Way::Cluster, &plan.cluster);
        }
        if !plan.external_local && plan.node_port.is_some() {
            add(Way::NodePort, &plan.cluster);
        }
    }
    shared.extend(plan.cluster_ip.map(Shared::ClusterIp));
    shared.extend(plan.own.iter().map(|own| Shared::Hairpin(plan.id.protocol, *own)));
    shared.sort();
    shared.dedup();
    shared
}

/// Something shared, as rules.
pub fn plan_shared(family: Family, shared: &Shared) -> Piece {
    let mut piece = Piece::default();
    match shared {
        Shared::Class(way, endpoints) => return balance(family, *way, *endpoints),
        Shared::ClusterIp(address) => {
            piece.put(CLUSTER_IPS, Element::new(Value::Address(*address)));
        }
        Shared::Hairpin(protocol, own) => {
            let address = Value::Address(own.ip());
            let key = [address, address, Value::Protocol(*protocol), Value::Port(own.port())];
            piece.put(HAIRPINS, Element::new(key));
        }
    }
    piece
}

fn count(endpoints: &[SocketAddr]) -> u32 {
    endpoints.len().min(MOST_ENDPOINTS) as u32
}

/// The chain for a class, and the way to it.
fn balance(family: Family, way: Way, endpoints: u32) -> Piece {
    let mut piece = Piece::default();
    let chain = way.chain(endpoints);
    let dnat = |key: Vec<Field>, map: &str, choices: u32| Expression::DnatMap {
        family,
        key: key.into_iter().chain([Field::Random(choices)]).collect(),
        map: map.to_owned(),
    };
    // The second rule is for the packet that looked up the number a moment before it changed.
    let choose = |key: Vec<Field>, map: &str| {
        let mut rules = vec![
            rule("the class has done its work", vec![Expression::SetPriority(0)]),
            rule("any endpoint", vec![dnat(key.clone(), map, endpoints)]),
        ];
        if endpoints > 1 {
            rules.push(rule("that one is gone just now", vec![dnat(key, map, 1)]));
        }
        rules
    };
    let mark = || rule("answers must come back here", vec![Expression::OrMark(MASQUERADE_MARK)]);
    let (comment, rules) = match way {
        Way::Cluster => {
            (format!("one of {endpoints} endpoints"), choose(front_key(family), ENDPOINTS))
        }
        Way::External => {
            let on = rule("any endpoint", vec![goto(Way::Cluster.chain(endpoints))]);
            (format!("clients outside, one of {endpoints} endpoints"), vec![mark(), on])
        }
        Way::NodePort => {
            let key = vec![Field::Protocol, Field::DestinationPort];
            let mut rules = vec![mark()];
            rules.extend(choose(key, NODEPORT_ENDPOINTS));
            (format!("clients of a node port, one of {endpoints} endpoints"), rules)
        }
    };
    piece.chain(&chain, &comment, rules);
    let class = Value::Class(way.class(endpoints));
    piece.put(BALANCE, Element::to_verdict(class, Verdict::Goto(chain)));
    piece
}

/// What a port adds to the rules of its family.
pub fn plan(plan: &PortPlan, pod_networks: &[ipnet::IpNet]) -> Piece {
    let mut piece = Piece::default();
    let port = Port { plan, table: TableName::own(plan.id.family), networks: pod_networks };
    port.inside(&mut piece);
    port.outside(&mut piece);
    port.firewall(&mut piece);
    piece
}

struct Port<'a> {
    plan: &'a PortPlan,
    table: TableName,
    networks: &'a [ipnet::IpNet],
}

impl Port<'_> {
    fn id(&self) -> &PortId {
        &self.plan.id
    }

    fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", readable(self.id()))
    }

    fn comment(&self) -> netlab_nft::Comment {
        netlab_nft::Comment::new(&self.plan.about())
    }

    /// For chains and sets, whose comment cannot change while they live: a line of a file does.
    fn name_only(&self) -> netlab_nft::Comment {
        netlab_nft::Comment::new(&self.id().to_string())
    }

    /// Clients inside the cluster.
    fn inside(&self, piece: &mut Piece) {
        let Some(address) = self.plan.cluster_ip else { return };
        let key = front(address, self.id().protocol, self.plan.port);
        let endpoints = self.plan.internal();
        if endpoints.is_empty() {
            self.nowhere(piece, key, REJECTED, DROPPED);
        } else if self.plan.affinity.is_some() {
            let kind = if self.plan.internal_local { "local" } else { "service" };
            let chain = self.choice(piece, kind, endpoints);
            self.lead(piece, SERVICE_CHAINS, key, chain);
        } else {
            self.spread(piece, Way::Cluster, SERVICE_COUNTS, ENDPOINTS, &key, endpoints);
        }
    }

    /// Clients outside of it.
    fn outside(&self, piece: &mut Piece) {
        let plan = self.plan;
        if !plan.is_external() {
            return;
        }
        let protocol = self.id().protocol;
        let fronts = plan.external_ips.iter().map(|ip| front(*ip, protocol, plan.port));
        let door = plan.node_port.map(|port| door(protocol, port));
        let wanted = if plan.external_local { &plan.local } else { &plan.cluster };
        if wanted.is_empty() {
            // With a policy of `Local` pods and the node itself still get there, below.
            fronts.clone().for_each(|key| self.nowhere(piece, key, REJECTED, DROPPED));
            door.iter().for_each(|key| {
                self.nowhere(piece, key.clone(), REJECTED_NODEPORTS, DROPPED_NODEPORTS);
            });
        }
        if plan.cluster.is_empty() && plan.local.is_empty() {
            return;
        }
        if plan.affinity.is_none() && !plan.external_local {
            for key in fronts {
                self.spread(piece, Way::External, SERVICE_COUNTS, ENDPOINTS, &key, wanted);
            }
            if let Some(key) = &door {
                let (counts, endpoints) = (NODEPORT_COUNTS, NODEPORT_ENDPOINTS);
                self.spread(piece, Way::NodePort, counts, endpoints, key, wanted);
            }
            return;
        }
        let chain = self.external_chain(piece);
        fronts.for_each(|key| self.lead(piece, SERVICE_CHAINS, key, chain.clone()));
        if let Some(key) = door {
            self.lead(piece, NODEPORT_CHAINS, key, chain);
        }
    }

    /// The chain for clients outside of a service that needs one. With a policy of `Local`, clients
    /// of this node take the short cut that the cluster IP is.
    fn external_chain(&self, piece: &mut Piece) -> String {
        let plan = self.plan;
        let mark = Expression::OrMark(MASQUERADE_MARK);
        let mut rules = Vec::new();
        if plan.external_local {
            if !plan.cluster.is_empty() {
                let service = self.choice(piece, "service", &plan.cluster);
                for network in self.own_networks() {
                    let from = Expression::Address {
                        side: Side::Source,
                        operator: Operator::Is,
                        network: *network,
                    };
                    rules.push(rule("pods: any endpoint", vec![from, goto(service.clone())]));
                }
                let from = Expression::LocalAddress { side: Side::Source, operator: Operator::Is };
                let comment = "this node: any endpoint, by the node's address";
                rules.push(rule(comment, vec![from, mark, goto(service)]));
            }
            if !plan.local.is_empty() {
                let local = self.choice(piece, "local", &plan.local);
                let comment = "others: endpoints of this node, which see the client's address";
                rules.push(rule(comment, vec![goto(local)]));
            }
        } else {
            let service = self.choice(piece, "service", &plan.cluster);
            rules.push(rule("answers must come back here", vec![mark]));
            rules.push(rule("any endpoint", vec![goto(service)]));
        }
        let name = self.name("external");
        piece.chain(&name, &format!("{}: clients outside", plan.id), rules);
        name
    }

    fn own_networks(&self) -> impl Iterator<Item = &ipnet::IpNet> {
        self.networks.iter().filter(|network| Family::of(network) == self.id().family)
    }

    /// No endpoint: refused when there is none at all, dropped when they are elsewhere.
    fn nowhere(&self, piece: &mut Piece, key: Tuple, rejected: &str, dropped: &str) {
        let set = if self.plan.has_endpoints { dropped } else { rejected };
        piece.put(set, Element::new(key).with_comment(self.comment()));
    }

    /// Endpoints by number, and how many there are.
    fn spread(
        &self,
        piece: &mut Piece,
        way: Way,
        counts: &str,
        map: &str,
        key: &Tuple,
        endpoints: &[SocketAddr],
    ) {
        let class = Value::Class(way.class(count(endpoints)));
        let element = Element::to_values(key.clone(), class).with_comment(self.comment());
        piece.put(counts, element);
        for (number, endpoint) in (0..).zip(endpoints.iter().take(MOST_ENDPOINTS)) {
            piece.put(map, Element::to_values(numbered(key, number), place(*endpoint)));
        }
    }

    /// A verdict for a key.
    fn lead(&self, piece: &mut Piece, map: &str, key: Tuple, chain: String) {
        let element = Element::to_verdict(key, Verdict::Goto(chain));
        piece.put(map, element.with_comment(self.comment()));
    }

    /// A chain of its own that chooses among endpoints.
    fn choice(&self, piece: &mut Piece, kind: &str, endpoints: &[SocketAddr]) -> String {
        let chain = self.name(kind);
        if piece.chains.contains_key(&chain) {
            return chain;
        }
        let what = format!("{}: any endpoint", self.id());
        let rules = match self.plan.affinity {
            Some(timeout) => self.sticky(piece, kind, endpoints, timeout),
            None => self.random(piece, kind, endpoints),
        };
        piece.chain(&chain, &what, rules);
        chain
    }

    fn random(&self, piece: &mut Piece, kind: &str, endpoints: &[SocketAddr]) -> Vec<OwnRule> {
        let map = format!("{}-endpoints", self.name(kind));
        let data = MapData::Values(vec![address_type(self.id().family), Datatype::InetService]);
        let set = Set::new(self.table.set(&map), vec![Datatype::Index], self.name_only());
        piece.set(set.with_data(data));
        for (number, endpoint) in (0..).zip(endpoints) {
            piece.put(&map, Element::to_values(Value::Number(number), place(*endpoint)));
        }
        let dnat = |choices| Expression::DnatMap {
            family: self.id().family,
            key: vec![Field::Random(choices)],
            map: map.clone(),
        };
        // The map is no part of what the protocol is matched by.
        let protocol = Expression::Protocol(self.id().protocol);
        vec![rule("any endpoint", vec![protocol, dnat(count(endpoints))])]
    }

    /// Clients that came before go where they went, and are remembered from then on.
    fn sticky(
        &self,
        piece: &mut Piece,
        kind: &str,
        endpoints: &[SocketAddr],
        timeout: Duration,
    ) -> Vec<OwnRule> {
        let family = self.id().family;
        let client = || vec![Field::Address(family, Side::Source)];
        let choices = format!("{}-choices", self.name(kind));
        let set = Set::new(self.table.set(&choices), vec![Datatype::Index], self.name_only());
        piece.set(set.with_data(MapData::Verdict));
        let mut rules = Vec::new();
        for (number, endpoint) in (0..).zip(endpoints) {
            let name = readable_endpoint(self.id(), *endpoint);
            let (known, chain) = (format!("affinity-{name}"), format!("endpoint-{name}"));
            if !piece.chains.contains_key(&chain) {
                let set = Set {
                    dynamic: true,
                    timeout: Some(timeout),
                    size: Some(MOST_CLIENTS),
                    ..Set::new(self.table.set(&known), vec![address_type(family)], self.name_only())
                };
                piece.set(set);
                let protocol = Expression::Protocol(self.id().protocol);
                let to = Expression::Dnat { to: endpoint.ip(), port: Some(endpoint.port()) };
                let remember = Expression::UpdateSet { key: client(), set: known.clone() };
                let there = vec![
                    rule("the client stays here from now on", vec![remember]),
                    rule("this endpoint", vec![protocol, to]),
                ];
                piece.chain(&chain, &format!("{}: {endpoint}", self.id()), there);
            }
            let came = Expression::InSet { key: client(), set: known, negated: false };
            rules.push(rule("came before", vec![came, goto(chain.clone())]));
            piece.put(&choices, Element::to_verdict(Value::Number(number), Verdict::Goto(chain)));
        }
        let any =
            Expression::VerdictMap { key: vec![Field::Random(count(endpoints))], map: choices };
        rules.push(rule("new: any endpoint", vec![any]));
        rules
    }

    /// Source ranges of the load balancer's addresses.
    fn firewall(&self, piece: &mut Piece) {
        let Some(ranges) = &self.plan.source_ranges else { return };
        if self.plan.guarded_ips.is_empty() {
            return;
        }
        let chain = self.name("firewall");
        let mut rules: Vec<_> = ranges
            .iter()
            .map(|network| {
                let (side, operator) = (Side::Source, Operator::Is);
                let from = Expression::Address { side, operator, network: *network };
                rule("may", vec![from, Expression::Verdict(Verdict::Return)])
            })
            .collect();
        rules.push(rule("others may not", vec![Expression::Verdict(Verdict::Drop)]));
        piece.chain(&chain, &format!("{}: source ranges", self.id()), rules);
        for address in &self.plan.guarded_ips {
            let key = front(*address, self.id().protocol, self.plan.port);
            self.lead(piece, FIREWALLS, key, chain.clone());
        }
    }
}

/// Clients that an endpoint remembers at once.
pub(super) const MOST_CLIENTS: u32 = 65_536;

#[cfg(test)]
mod tests;
