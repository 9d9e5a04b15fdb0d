// SPDX-License-Identifier: GPL-3.0-or-later
//! The rules of a service as a packet meets them, each with what it does. Pure.
//!
//! ```text
//!   Desired::whole ──► Ruleset ──► Walk: PREROUTING ► … ► POSTROUTING ──► rules, and what comes of it
//! ```
//!
//! The rules are those that the planner makes, whichever layout is in use. A packet is led through
//! them as the kernel would lead it, so that whatever a layout does is told without another word
//! about it here: once with an unknown sender, for the rules, and once for each kind of client, for
//! what becomes of its addresses.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use netlab_api::proxy::{
    ClientOutcome, FrontKind, FrontRules, HookRules, ProxyRules, ProxyService, ShownRule,
};
use netlab_api::service::ServiceType;
use netlab_api::{EndpointSlice, ProxyMode, Service, pod};
use netlab_nft::{Family, Hook, Protocol, TableName, Transaction};

use super::desired::{Desired, ServiceName};
use super::maps::base::BaseConfig;
use super::port::{NodeFacts, PortPlan, plan_service};
use super::select::Endpoints;
use ruleset::{HOOKS, Ruleset};
use walk::{Answer, Client, Packet, Place, Walk, one_of};

mod ruleset;
mod walk;

/// What of a node its rules depend on.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The node.
    pub node: NodeFacts,
    /// The configuration.
    pub config: BaseConfig,
    /// The layout in use.
    pub in_use: ProxyMode,
}

impl Scene {
    fn answer(&self, mode: ProxyMode) -> ProxyRules {
        ProxyRules {
            node: self.node.name.clone(),
            mode,
            mode_in_use: self.in_use,
            service: None,
            notes: Vec::new(),
            fronts: Vec::new(),
            base: Vec::new(),
            services: Vec::new(),
        }
    }
}

/// The rules that there are whatever services there are, and the services.
pub fn show_base(
    mode: ProxyMode,
    scene: &Scene,
    services: &[Service],
    slices: &[EndpointSlice],
) -> ProxyRules {
    let mut answer = scene.answer(mode);
    let whole = Desired::new(mode, scene.config.clone()).whole();
    for family in scene.config.families() {
        let sections = Ruleset::of(of_family(&whole, family)).everything();
        answer.base.extend(sections.into_iter().map(|section| HookRules {
            hooks: section.hooks.into_iter().map(|hook| format!("{family} {hook}")).collect(),
            ..section
        }));
    }
    let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(service) = slice.service() {
            by_service.entry((namespace, service)).or_default().push(slice);
        }
    }
    for service in services {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let own = by_service.get(&(namespace, service.metadata.name.as_str()));
        let endpoints = Endpoints::of(own.into_iter().flatten().copied());
        let plans = plan_service(service, &endpoints, &scene.node);
        if plans.is_empty() {
            continue;
        }
        let mut used: Vec<_> =
            plans.iter().flat_map(|plan| plan.cluster.iter().chain(&plan.local)).copied().collect();
        used.sort();
        used.dedup();
        answer.services.push(ProxyService {
            namespace: namespace.to_owned(),
            name: service.metadata.name.clone(),
            fronts: plans
                .iter()
                .flat_map(|plan| {
                    fronts_of(plan).into_iter().map(|(_, at)| {
                        let at =
                            if at.ip.is_none() { format!("*:{}", at.port) } else { at.to_string() };
                        format!("{at}/{}", word(plan.id.protocol))
                    })
                })
                .collect(),
            endpoints: used,
        });
    }
    answer
}

/// The rules that packets to a service meet, among the plans of all services: what two of them want
/// one has.
pub fn show_service(
    mode: ProxyMode,
    scene: &Scene,
    service: &Service,
    mut all: BTreeMap<ServiceName, Vec<PortPlan>>,
) -> ProxyRules {
    let mut answer = scene.answer(mode);
    let namespace = service.metadata.namespace.clone().unwrap_or_default();
    let name = service.metadata.name.clone();
    answer.service = Some(format!("{namespace}/{name}"));
    let plans = all.get(&(namespace, name)).cloned().unwrap_or_default();
    if plans.is_empty() {
        answer.notes.push(why_none(service).to_owned());
        return answer;
    }
    // Rules of services that want nothing of this one's do not matter to its packets.
    let own: BTreeSet<_> = plans.iter().flat_map(claims_of).collect();
    all.retain(|_, plans| plans.iter().flat_map(claims_of).any(|claim| own.contains(&claim)));
    let desired = Desired::of(mode, scene.config.clone(), all);
    let whole = desired.whole();
    for family in scene.config.families() {
        let rules = Ruleset::of(of_family(&whole, family));
        let pods: Vec<IpNet> = scene
            .config
            .pod_networks
            .iter()
            .copied()
            .filter(|network| Family::of(network) == family)
            .collect();
        for plan in plans.iter().filter(|plan| plan.id.family == family) {
            for (kind, at) in fronts_of(plan) {
                let holder = desired.holder(family, at.ip, plan.id.protocol, at.port);
                let holder = holder.filter(|holder| holder.id != plan.id);
                if let Some(PortPlan { id, .. }) = holder {
                    answer.notes.push(format!(
                        "{} {at}/{} is that of service {}/{}, the first by name of those that want \
                         it: its packets go there",
                        kind.as_str(),
                        word(plan.id.protocol),
                        id.namespace,
                        id.service
                    ));
                }
                answer.fronts.push(front(&rules, &pods, holder.unwrap_or(plan), kind, at));
            }
        }
    }
    answer
}

fn why_none(service: &Service) -> &'static str {
    if service.spec.kind == ServiceType::ExternalName {
        return "it is an alias in DNS: packets go where that name leads, and no rule is about it";
    }
    if service.spec.ports.is_empty() {
        return "it has no port, so no rule is about it";
    }
    "it is headless: DNS answers with the addresses of its endpoints, and no rule is about it"
}

fn of_family(whole: &Transaction, family: Family) -> Transaction {
    use netlab_nft::Step;
    let of = |table: &TableName| table.family == family;
    let steps = whole.steps.iter().filter(|step| match step {
        Step::AddChain(chain) => of(&chain.name.table),
        Step::AddRule(rule) => of(&rule.chain.table),
        Step::AddElements(set, _) => of(&set.table),
        _ => false,
    });
    Transaction { steps: steps.cloned().collect() }
}

/// What a port wants for itself alone.
fn claims_of(plan: &PortPlan) -> impl Iterator<Item = (Family, Protocol, Place)> {
    let (family, protocol) = (plan.id.family, plan.id.protocol);
    fronts_of(plan).into_iter().map(move |(_, at)| (family, protocol, at))
}

/// The addresses of a port, and what they are.
fn fronts_of(plan: &PortPlan) -> Vec<(FrontKind, Place)> {
    let at = |ip| Place { ip: Some(ip), port: plan.port };
    let mut fronts: Vec<_> =
        plan.cluster_ip.iter().map(|ip| (FrontKind::ClusterIp, at(*ip))).collect();
    fronts.extend(plan.external_ips.iter().map(|ip| {
        let kind = match plan.balancer_ips.contains(ip) {
            true => FrontKind::LoadBalancer,
            false => FrontKind::ExternalIp,
        };
        (kind, at(*ip))
    }));
    fronts.extend(plan.node_port.map(|port| (FrontKind::NodePort, Place { ip: None, port })));
    fronts
}

/// Kinds of clients, and what they are called.
const CLIENTS: [(Client, &str); 4] = [
    (Client::Pod, "a pod"),
    (Client::Itself, "an endpoint that gets itself"),
    (Client::Node, "this node"),
    (Client::Outside, "a machine outside"),
];

fn front(
    rules: &Ruleset,
    pods: &[IpNet],
    plan: &PortPlan,
    kind: FrontKind,
    at: Place,
) -> FrontRules {
    let packet = |client| Packet::new(client, plan.id.protocol, at);
    let (hooks, _) = journey(rules, pods, kind, packet(Client::Any));
    let clients = CLIENTS.iter().filter(|(client, _)| {
        // Only a pod of this node meets these rules on both ways.
        *client != Client::Itself || !plan.own.is_empty()
    });
    let outcomes = clients.filter_map(|(client, name)| {
        let (_, packet) = journey(rules, pods, kind, packet(*client));
        let result = match client {
            Client::Itself if packet.masqueraded == Answer::No => return None,
            Client::Itself => {
                "the source becomes this node's address, or the answer would miss it".to_owned()
            }
            _ => result_of(&packet),
        };
        Some(ClientOutcome { client: (*name).to_owned(), result })
    });
    FrontRules {
        kind,
        address: at.ip,
        port: at.port,
        protocol: match plan.id.protocol {
            Protocol::Tcp => pod::Protocol::Tcp,
            Protocol::Udp => pod::Protocol::Udp,
            Protocol::Sctp => pod::Protocol::Sctp,
        },
        family: plan.id.family.to_string(),
        outcomes: outcomes.collect(),
        hooks,
    }
}

/// The rules that a packet meets on its way, and what became of it.
fn journey(
    rules: &Ruleset,
    pods: &[IpNet],
    kind: FrontKind,
    packet: Packet,
) -> (Vec<HookRules>, Packet) {
    let mut walk = Walk::new(rules, pods, packet);
    let client = walk.packet.client;
    let is_of_node = client == Client::Node;
    // Where addresses are translated, and checked before that.
    let early = |priority: i32| priority < 0;
    let mut sections: Vec<HookRules> = Vec::new();
    let any = client == Client::Any;
    let start = walk.packet.clone();
    let mut merged: Vec<(Hook, Vec<ShownRule>)> = Vec::new();
    let mut after = walk.packet.clone();
    for hook in [Hook::Prerouting, Hook::Output] {
        if any || (hook == Hook::Output) == is_of_node {
            walk.packet = start.clone();
            let chains: Vec<_> = rules.at(hook).filter(|(_, base)| early(base.priority)).collect();
            chains.iter().for_each(|(chain, _)| walk.base(chain));
            merged.push((hook, walk.take_met()));
            after = walk.packet.clone();
        }
    }
    sections.extend(join(std::mem::take(&mut merged)));
    for hook in [Hook::Forward, Hook::Input, Hook::Output] {
        if any || (hook == Hook::Output) == is_of_node {
            walk.packet = after.clone();
            let chains: Vec<_> = rules.at(hook).filter(|(_, base)| !early(base.priority)).collect();
            if comes_by(hook, &after, kind, pods) {
                chains.iter().for_each(|(chain, _)| walk.base(chain));
                merged.push((hook, walk.take_met()));
                after.dropped = after.dropped.max(walk.packet.dropped);
                after.refused = after.refused.max(walk.packet.refused);
            }
        }
    }
    sections.extend(join(merged));
    walk.packet = after;
    // What was thrown away leaves nowhere.
    if walk.packet.dropped != Answer::Yes && walk.packet.refused != Answer::Yes {
        let chains: Vec<_> = rules.at(Hook::Postrouting).collect();
        chains.iter().for_each(|(chain, _)| walk.base(chain));
        sections.extend(join(vec![(Hook::Postrouting, walk.take_met())]));
    }
    (sections, walk.packet)
}

/// Whether a packet may come by a hook after routing. What is for the node itself comes in, all
/// else goes on; endpoints that are no pods may be the node's own, and so may external addresses.
fn comes_by(hook: Hook, packet: &Packet, kind: FrontKind, pods: &[IpNet]) -> bool {
    packet.to.iter().any(|at| match (hook, at.ip) {
        (Hook::Forward, ip) => ip.is_some(),
        (Hook::Input, None) => true,
        (Hook::Input, Some(_)) if *at == packet.front => kind != FrontKind::ClusterIp,
        (Hook::Input, Some(ip)) => !pods.iter().any(|network| network.contains(&ip)),
        _ => true,
    })
}

/// Hooks whose rules differ only in the chain that the kernel calls are one section.
fn join(hooks: Vec<(Hook, Vec<ShownRule>)>) -> Vec<HookRules> {
    let mut sections: Vec<HookRules> = Vec::new();
    for (hook, rules) in hooks.into_iter().filter(|(_, rules)| !rules.is_empty()) {
        let title = HOOKS.iter().find(|(it, _)| *it == hook).map_or("", |(_, title)| title);
        let alike =
            sections.iter_mut().find(|section| {
                section.rules.len() == rules.len()
                    && section.rules.iter().zip(&rules).all(|(one, other)| {
                        (&one.rule, &one.effect) == (&other.rule, &other.effect)
                    })
            });
        match alike {
            Some(section) => {
                section.hooks.push(title.to_owned());
                for (one, other) in section.rules.iter_mut().zip(rules) {
                    if !one.chain.split(", ").any(|chain| chain == other.chain) {
                        one.chain += &format!(", {}", other.chain);
                    }
                }
            }
            None => sections.push(HookRules { hooks: vec![title.to_owned()], rules }),
        }
    }
    sections
}

fn result_of(packet: &Packet) -> String {
    let Packet { front, .. } = packet;
    match (packet.dropped, packet.refused) {
        (Answer::Yes, _) => return format!("{front} is dropped: the client waits"),
        (_, Answer::Yes) => return format!("{front} is refused: the client hears so at once"),
        _ => {}
    }
    let to: Vec<Place> = packet
        .to
        .iter()
        .copied()
        .filter(|at| packet.translated == Answer::No || at != front)
        .collect();
    let destination = match packet.translated {
        Answer::No => format!("{front} stays: no rule leads it anywhere"),
        _ => format!("{front} becomes {}", one_of(&to)),
    };
    let source = match packet.masqueraded {
        Answer::No => "the source stays",
        Answer::Maybe => "the source may become this node's address",
        Answer::Yes => "the source becomes this node's address",
    };
    let unless = match packet.dropped.max(packet.refused) {
        Answer::No => "",
        _ => "; or it is dropped, by the conditions above",
    };
    format!("{destination}; {source}{unless}")
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

#[cfg(test)]
mod tests;
