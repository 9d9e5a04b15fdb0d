// SPDX-License-Identifier: GPL-3.0-or-later
//! The layout of mode `iptables`: the chains that kube-proxy makes with iptables, as chains of
//! nf_tables. Pure.
//!
//! ```text
//!  PREROUTING, OUTPUT ──► KUBE-SERVICES ──► KUBE-SVC-… ──► KUBE-SEP-… (dnat)
//!                          │   one rule a service, in a row    one rule an endpoint, by chance
//!                          ├─► KUBE-EXT-… ──► KUBE-SVC-…, KUBE-SVL-…
//!                          └─► KUBE-NODEPORTS ──► KUBE-EXT-…
//!  POSTROUTING ──► KUBE-POSTROUTING: what KUBE-MARK-MASQ marked is masqueraded
//! ```
//!
//! A packet meets the rules of all services before its own, which is what this layout teaches.
//! iptables has a table for each purpose and nf_tables has one for all here: chains of its table
//! `filter` have `filter/` in front of their names.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use netlab_nft::{
    Base, ChainType, Comment, Expression, Family, Field, Hook, Operator, Set, Side, TableName,
    Transaction, Verdict,
};

use super::maps::base::{BaseConfig, Draft, NAT_OUTPUT, drop_untracked, refuse};
use super::maps::{MASQUERADE_MARK, MOST_CLIENTS, address_type};
use super::names::{Classic, classic, classic_endpoint};
use super::piece::{Piece, rule};
use super::port::PortPlan;

const SERVICES: &str = "KUBE-SERVICES";
const NODEPORTS: &str = "KUBE-NODEPORTS";
const MARK_MASQ: &str = "KUBE-MARK-MASQ";
const POSTROUTING: &str = "KUBE-POSTROUTING";
const FILTER_SERVICES: &str = "filter/KUBE-SERVICES";
const FILTER_EXTERNAL: &str = "filter/KUBE-EXTERNAL-SERVICES";
const FILTER_FIREWALL: &str = "filter/KUBE-PROXY-FIREWALL";

fn jump(chain: impl Into<String>) -> Expression {
    Expression::Verdict(Verdict::Jump(chain.into()))
}

fn drop() -> Expression {
    Expression::Verdict(Verdict::Drop)
}

fn from(network: IpNet) -> Expression {
    Expression::Address { side: Side::Source, operator: Operator::Is, network }
}

fn to(address: IpAddr) -> Expression {
    Expression::Address {
        side: Side::Destination,
        operator: Operator::Is,
        network: IpNet::from(address),
    }
}

fn new() -> Expression {
    Expression::ConntrackState(netlab_nft::ConntrackStates::NEW)
}

/// Chains that are there whatever services there are.
pub fn base(family: Family, config: &BaseConfig) -> Transaction {
    let mut draft = Draft::new(family);
    let mark = vec![rule("to be masqueraded", vec![Expression::OrMark(MASQUERADE_MARK)])];
    draft.chain(MARK_MASQ, "marks packets for KUBE-POSTROUTING", mark);
    let unmarked = Expression::Mark {
        mask: MASQUERADE_MARK,
        operator: Operator::IsNot,
        value: MASQUERADE_MARK,
    };
    let masquerade = Expression::Masquerade { fully_random: true };
    draft.chain(
        POSTROUTING,
        "connections whose answers must come back to this node",
        vec![
            rule("not marked", vec![unmarked, Expression::Verdict(Verdict::Return)]),
            rule("the mark has done its work", vec![Expression::XorMark(MASQUERADE_MARK)]),
            rule("kubernetes service traffic requiring SNAT", vec![masquerade]),
        ],
    );
    let nat = ChainType::Nat;
    let services = || vec![rule("kubernetes service portals", vec![jump(SERVICES)])];
    draft.base_chain(
        "PREROUTING",
        (nat, Hook::Prerouting, Base::DSTNAT),
        "packets of pods and from outside",
        services(),
    );
    draft.base_chain("OUTPUT", (nat, Hook::Output, NAT_OUTPUT), "packets of this node", services());
    draft.base_chain(
        "POSTROUTING",
        (nat, Hook::Postrouting, Base::SRCNAT),
        "source addresses of connections to services",
        vec![rule("kubernetes postrouting rules", vec![jump(POSTROUTING)])],
    );
    let firewall = || rule("kubernetes load balancer firewall", vec![new(), jump(FILTER_FIREWALL)]);
    let inside = || rule("kubernetes service portals", vec![new(), jump(FILTER_SERVICES)]);
    let outside = || {
        let what = vec![new(), jump(FILTER_EXTERNAL)];
        rule("kubernetes externally-visible service portals", what)
    };
    let filter = |hook| (ChainType::Filter, hook, Base::FILTER);
    draft.base_chain(
        "filter/INPUT",
        filter(Hook::Input),
        "packets for this node",
        vec![firewall(), outside()],
    );
    let mut forward = drop_untracked(family, config);
    forward.extend([firewall(), inside(), outside()]);
    draft.base_chain("filter/FORWARD", filter(Hook::Forward), "packets on their way", forward);
    draft.base_chain(
        "filter/OUTPUT",
        filter(Hook::Output),
        "packets of this node",
        vec![firewall(), inside(), outside()],
    );
    draft.finish()
}

/// The chains that all services are in, in which a packet meets one after the other.
pub fn trunk(family: Family, ports: &[PortPlan], config: &BaseConfig) -> Piece {
    let (mut services, mut nodeports) = (Vec::new(), Vec::new());
    let (mut inside, mut outside, mut firewall) = (Vec::new(), Vec::new(), Vec::new());
    let mut cluster_ips = Vec::new();
    for plan in ports {
        let name = plan.about();
        let external = classic(Classic::External, &plan.id);
        let at = |address: IpAddr| {
            let protocol = Expression::Protocol(plan.id.protocol);
            vec![to(address), protocol, Expression::DestinationPort(plan.port)]
        };
        let with = |mut matches: Vec<Expression>, what: Expression| {
            matches.push(what);
            matches
        };
        let unreachable = |matches: Vec<Expression>| match plan.has_endpoints {
            true => vec![rule(&format!("{name} has no local endpoints"), with(matches, drop()))],
            false => refuse(family, &format!("{name} has no endpoints"), &matches),
        };
        if let Some(address) = plan.cluster_ip {
            cluster_ips.push(address);
            let kind = if plan.internal_local { Classic::Local } else { Classic::Service };
            if plan.internal().is_empty() {
                inside.extend(unreachable(at(address)));
            } else {
                let what = with(at(address), jump(classic(kind, &plan.id)));
                services.push(rule(&format!("{name} cluster IP"), what));
            }
        }
        let reached = external_endpoints(plan);
        let wanted = if plan.external_local { &plan.local } else { &plan.cluster };
        for address in &plan.external_ips {
            let guarded = plan.guarded_ips.contains(address);
            let chain =
                if guarded { classic(Classic::Firewall, &plan.id) } else { external.clone() };
            if reached {
                let what = with(at(*address), jump(chain));
                services.push(rule(&format!("{name} external IP"), what));
            }
            if guarded {
                let what = with(at(*address), drop());
                firewall.push(rule(
                    &format!(
                        "{name} traffic not accepted by {}",
                        classic(Classic::Firewall, &plan.id)
                    ),
                    what,
                ));
            }
            if wanted.is_empty() {
                outside.extend(unreachable(at(*address)));
            }
        }
        if let Some(port) = plan.node_port {
            let at =
                vec![Expression::Protocol(plan.id.protocol), Expression::DestinationPort(port)];
            if reached {
                nodeports.push(rule(&name, with(at.clone(), jump(external.clone()))));
            }
            if wanted.is_empty() {
                let side = Side::Destination;
                let local = Expression::LocalAddress { side, operator: Operator::Is };
                let mut here = vec![local];
                here.extend(at);
                outside.extend(unreachable(here));
            }
        }
    }
    // The last rule: whatever is no service's address may be a node's.
    services.extend(config.to_node_ports(family, &Verdict::Jump(NODEPORTS.to_owned())));
    cluster_ips.sort();
    cluster_ips.dedup();
    inside.extend(
        cluster_ips
            .into_iter()
            .flat_map(|address| refuse(family, "no port of the service", &[to(address)])),
    );
    inside.extend(config.unallocated(family));
    let mut piece = Piece::default();
    piece.chain(SERVICES, "all services, one after the other", services);
    piece.chain(NODEPORTS, "all node ports, one after the other", nodeports);
    piece.chain(FILTER_SERVICES, "cluster IPs that cannot be reached", inside);
    piece.chain(FILTER_EXTERNAL, "other addresses that cannot be reached", outside);
    piece.chain(FILTER_FIREWALL, "load balancers with source ranges", firewall);
    piece
}

/// Whether clients outside, pods among them, reach any endpoint by an address for clients outside.
fn external_endpoints(plan: &PortPlan) -> bool {
    plan.is_external() && !(plan.cluster.is_empty() && plan.local.is_empty())
}

/// Chains of one port.
pub fn plan(plan: &PortPlan, config: &BaseConfig) -> Piece {
    let mut piece = Piece::default();
    let port = Port { plan, config };
    let uses_cluster = plan.cluster_ip.is_some() && !plan.internal_local || plan.is_external();
    let uses_local = plan.cluster_ip.is_some() && plan.internal_local
        || plan.is_external() && plan.external_local;
    if uses_cluster && !plan.cluster.is_empty() {
        port.balance(&mut piece, Classic::Service, &plan.cluster);
    }
    if uses_local && !plan.local.is_empty() {
        port.balance(&mut piece, Classic::Local, &plan.local);
    }
    if external_endpoints(plan) {
        port.external(&mut piece);
    }
    piece
}

struct Port<'a> {
    plan: &'a PortPlan,
    config: &'a BaseConfig,
}

impl Port<'_> {
    /// A chain that chooses among endpoints, and their chains.
    fn balance(&self, piece: &mut Piece, kind: Classic, endpoints: &[SocketAddr]) {
        let plan = self.plan;
        let name = plan.about();
        let mut rules = Vec::new();
        let is_internal = plan.internal_local == (kind == Classic::Local);
        if let Some(address) = plan.cluster_ip.filter(|_| is_internal) {
            let (id, port) = (&plan.id, plan.port);
            let mut matches = match self.config.masquerade_all {
                true => Vec::new(),
                false => self.config.not_from_pods(id.family),
            };
            matches.extend([
                to(address),
                Expression::Protocol(id.protocol),
                Expression::DestinationPort(port),
                jump(MARK_MASQ),
            ]);
            rules.push(rule(&format!("{name} cluster IP"), matches));
        }
        let chains = endpoints.iter().map(|endpoint| self.endpoint(piece, *endpoint));
        let chains: Vec<String> = chains.collect();
        let arrow = |endpoint: &SocketAddr| format!("{name} -> {endpoint}");
        if plan.affinity.is_some() {
            for (endpoint, chain) in endpoints.iter().zip(&chains) {
                let key = vec![Field::Address(plan.id.family, Side::Source)];
                let came = Expression::InSet { key, set: chain.clone(), negated: false };
                rules.push(rule(&arrow(endpoint), vec![came, jump(chain.clone())]));
            }
        }
        for (index, (endpoint, chain)) in endpoints.iter().zip(&chains).enumerate() {
            let rest = endpoints.len() - index;
            let mut what = Vec::new();
            let mut comment = arrow(endpoint);
            if rest > 1 {
                what.push(Expression::Random { modulus: rest as u32, equals: 0 });
                comment += &format!(", probability {:.10}", 1.0 / rest as f64);
            }
            what.push(jump(chain.clone()));
            rules.push(rule(&comment, what));
        }
        piece.chain(&classic(kind, &plan.id), &plan.id.to_string(), rules);
    }

    /// The chain of an endpoint, by name.
    fn endpoint(&self, piece: &mut Piece, endpoint: SocketAddr) -> String {
        let plan = self.plan;
        let (name, chain) = (plan.about(), classic_endpoint(&plan.id, endpoint));
        if piece.chains.contains_key(&chain) {
            return chain;
        }
        let itself = vec![from(IpNet::from(endpoint.ip())), jump(MARK_MASQ)];
        let mut rules = vec![rule(&name, itself)];
        if let Some(timeout) = plan.affinity {
            let set = Set {
                dynamic: true,
                timeout: Some(timeout),
                size: Some(MOST_CLIENTS),
                ..Set::new(
                    TableName::own(plan.id.family).set(&chain),
                    vec![address_type(plan.id.family)],
                    Comment::new(&plan.id.to_string()),
                )
            };
            piece.set(set);
            let key = vec![Field::Address(plan.id.family, Side::Source)];
            let remember = Expression::UpdateSet { key, set: chain.clone() };
            rules.push(rule(&name, vec![remember]));
        }
        let protocol = Expression::Protocol(plan.id.protocol);
        let dnat = Expression::Dnat { to: endpoint.ip(), port: Some(endpoint.port()) };
        rules.push(rule(&name, vec![protocol, dnat]));
        piece.chain(&chain, &format!("{} -> {endpoint}", plan.id), rules);
        chain
    }

    /// The chain of clients outside, and the one with source ranges before it.
    fn external(&self, piece: &mut Piece) {
        let plan = self.plan;
        let name = plan.about();
        let service = || jump(classic(Classic::Service, &plan.id));
        let mut rules = Vec::new();
        if !plan.external_local {
            let comment = format!("masquerade traffic for {name} external destinations");
            rules.push(rule(&comment, vec![jump(MARK_MASQ)]));
            rules.push(rule(&name, vec![service()]));
        } else {
            if !plan.cluster.is_empty() {
                let networks = self.config.pod_networks.iter();
                let networks = networks.filter(|network| Family::of(network) == plan.id.family);
                for network in networks {
                    let comment = format!("pod traffic for {name} external destinations");
                    rules.push(rule(&comment, vec![from(*network), service()]));
                }
                let side = Side::Source;
                let local = Expression::LocalAddress { side, operator: Operator::Is };
                let comment = format!("masquerade LOCAL traffic for {name} external destinations");
                rules.push(rule(&comment, vec![local.clone(), jump(MARK_MASQ)]));
                let comment = format!("route LOCAL traffic for {name} external destinations");
                rules.push(rule(&comment, vec![local, service()]));
            }
            if !plan.local.is_empty() {
                rules.push(rule(&name, vec![jump(classic(Classic::Local, &plan.id))]));
            }
        }
        let chain = classic(Classic::External, &plan.id);
        piece.chain(&chain, &format!("{} external destinations", plan.id), rules);
        let Some(ranges) = plan.source_ranges.as_ref().filter(|_| !plan.guarded_ips.is_empty())
        else {
            return;
        };
        let rules = ranges.iter().map(|range| {
            rule(&format!("{name} loadbalancer IP"), vec![from(*range), jump(chain.clone())])
        });
        let rules = rules.collect();
        piece.chain(
            &classic(Classic::Firewall, &plan.id),
            &format!("{} source ranges", plan.id),
            rules,
        );
    }
}
