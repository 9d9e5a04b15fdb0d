// SPDX-License-Identifier: GPL-3.0-or-later
//! What the layout has whatever services there are: base chains, rules that look up, empty maps.
//!
//! Names, hooks and priorities are those of kube-proxy's nftables mode.

use ipnet::IpNet;
use netlab_nft::{
    Base, Chain, ChainType, Comment, ConntrackStates, Datatype, Expression, Family, Field, Hook,
    MapData, Operator, Policy, Rule, Set, Side, Step, Table, TableName, Transaction, Verdict,
};

use super::{
    BALANCE, CLUSTER_IPS, DROPPED, DROPPED_NODEPORTS, ENDPOINTS, FIREWALLS, HAIRPINS,
    MASQUERADE_MARK, NODEPORT_CHAINS, NODEPORT_COUNTS, NODEPORT_ENDPOINTS, REJECTED,
    REJECTED_NODEPORTS, SERVICE_CHAINS, SERVICE_COUNTS, address_type, front_key,
};
use crate::node::proxy::piece::{OwnRule, rule};

/// What of the configuration the rules depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseConfig {
    /// Where pods have their addresses.
    pub pod_networks: Vec<IpNet>,
    /// Where services have theirs.
    pub service_networks: Vec<IpNet>,
    /// Networks of whose addresses node ports are served; of all when empty.
    pub node_port_addresses: Vec<IpNet>,
    /// Gives every connection to a cluster IP the node's address.
    pub masquerade_all: bool,
}

impl BaseConfig {
    fn of(networks: &[IpNet], family: Family) -> impl Iterator<Item = IpNet> + '_ {
        networks.iter().copied().filter(move |network| Family::of(network) == family)
    }

    /// Families in which there are pods or services.
    pub fn families(&self) -> impl Iterator<Item = Family> + '_ {
        Family::ALL.into_iter().filter(|family| {
            let all = self.pod_networks.iter().chain(&self.service_networks);
            all.map(Family::of).any(|of| of == *family)
        })
    }

    /// Matches connections from outside of the pod network.
    pub fn not_from_pods(&self, family: Family) -> Vec<Expression> {
        let networks = BaseConfig::of(&self.pod_networks, family);
        networks
            .map(|network| Expression::Address {
                side: Side::Source,
                operator: Operator::IsNot,
                network,
            })
            .collect()
    }

    /// Rules that lead packets to node ports to `target`.
    pub fn to_node_ports(&self, family: Family, target: &Verdict) -> Vec<OwnRule> {
        let local = Expression::LocalAddress { side: Side::Destination, operator: Operator::Is };
        let to =
            |operator, network| Expression::Address { side: Side::Destination, operator, network };
        if self.node_port_addresses.is_empty() {
            let loopback = match family {
                Family::Ip => IpNet::V4(ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8)),
                Family::Ip6 => {
                    IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128))
                }
            };
            let other = to(Operator::IsNot, loopback);
            let to = Expression::Verdict(target.clone());
            return vec![rule("node ports, at any address of this node", vec![local, other, to])];
        }
        BaseConfig::of(&self.node_port_addresses, family)
            .map(|network| {
                let verdict = Expression::Verdict(target.clone());
                let at = vec![local.clone(), to(Operator::Is, network), verdict];
                rule("node ports, at chosen addresses of this node", at)
            })
            .collect()
    }
}

/// A transaction in the making.
pub struct Draft {
    table: TableName,
    steps: Vec<Step>,
}

impl Draft {
    /// Begins with the table of a family.
    pub fn new(family: Family) -> Draft {
        let table = TableName::own(family);
        let comment = Comment::new("netlabd keeps this table as it needs it");
        let steps = vec![Step::AddTable(Table { name: table.clone(), comment })];
        Draft { table, steps }
    }

    /// The steps.
    pub fn finish(self) -> Transaction {
        Transaction { steps: self.steps }
    }

    fn map(&mut self, name: &str, key: &[Datatype], data: Option<MapData>, comment: &str) {
        let set = Set::new(self.table.set(name), key.to_vec(), Comment::new(comment));
        self.steps.push(Step::AddSet(Set { data, ..set }));
    }

    /// A chain that others lead to.
    pub fn chain(&mut self, name: &str, comment: &str, rules: Vec<OwnRule>) {
        self.any_chain(name, None, comment, rules);
    }

    /// A chain that the kernel calls.
    pub fn base_chain(
        &mut self,
        name: &str,
        (kind, hook, priority): (ChainType, Hook, i32),
        comment: &str,
        rules: Vec<OwnRule>,
    ) {
        let base = Base { kind, hook, priority, policy: Policy::Accept };
        self.any_chain(name, Some(base), comment, rules);
    }

    fn any_chain(&mut self, name: &str, base: Option<Base>, comment: &str, rules: Vec<OwnRule>) {
        let name = self.table.chain(name);
        let comment = Comment::new(comment);
        // All chains stand before the rules that lead to them.
        let at = self.steps.iter().position(|step| matches!(step, Step::AddRule(_)));
        let at = at.unwrap_or(self.steps.len());
        self.steps.insert(at, Step::AddChain(Chain { name: name.clone(), base, comment }));
        self.steps.extend(rules.into_iter().map(|rule| {
            let OwnRule { expressions, comment } = rule;
            Step::AddRule(Rule { chain: name.clone(), expressions, comment })
        }));
    }
}

fn jump(chain: &str) -> Expression {
    Expression::Verdict(Verdict::Jump(chain.to_owned()))
}

fn of_new(chain: &str, comment: &str) -> OwnRule {
    rule(comment, vec![Expression::ConntrackState(ConntrackStates::NEW), jump(chain)])
}

/// Priority of destination NAT at hook output, where it has no name.
pub const NAT_OUTPUT: i32 = -100;
/// Filters that must see a packet before its address is translated.
const BEFORE_DNAT: i32 = Base::DSTNAT - 10;

/// Tables, sets, chains and rules of a family.
pub fn base(family: Family, config: &BaseConfig) -> Transaction {
    let mut draft = Draft::new(family);
    sets(&mut draft, family);
    draft.chain("services", "what leads to endpoints", services(family, config));
    let by_door = vec![Field::Protocol, Field::DestinationPort];
    draft.chain(
        "nodeports",
        "the same, by port alone",
        lookups(by_door, NODEPORT_CHAINS, NODEPORT_COUNTS),
    );
    checks(&mut draft, family, config);
    let marked =
        Expression::Mark { mask: MASQUERADE_MARK, operator: Operator::Is, value: MASQUERADE_MARK };
    let masquerade = Expression::Masquerade { fully_random: true };
    let itself = vec![
        Field::Address(family, Side::Source),
        Field::Address(family, Side::Destination),
        Field::Protocol,
        Field::DestinationPort,
    ];
    let hairpin = Expression::InSet { key: itself, set: HAIRPINS.to_owned(), negated: false };
    draft.chain(
        "masquerading",
        "connections whose answers must come back to this node",
        vec![
            rule(
                "marked on their way to a service",
                vec![marked, Expression::XorMark(MASQUERADE_MARK), masquerade.clone()],
            ),
            rule(
                "a pod that reached itself through a service",
                vec![Expression::ConntrackDnat, hairpin, masquerade],
            ),
        ],
    );
    let nat = ChainType::Nat;
    let services = || vec![rule("is it a service?", vec![jump("services")])];
    draft.base_chain(
        "nat-prerouting",
        (nat, Hook::Prerouting, Base::DSTNAT),
        "packets of pods and from outside",
        services(),
    );
    draft.base_chain(
        "nat-output",
        (nat, Hook::Output, NAT_OUTPUT),
        "packets of this node",
        services(),
    );
    draft.base_chain(
        "nat-postrouting",
        (nat, Hook::Postrouting, Base::SRCNAT),
        "source addresses of connections to services",
        vec![rule("whose answers must come back?", vec![jump("masquerading")])],
    );
    draft.finish()
}

fn sets(draft: &mut Draft, family: Family) {
    let address = address_type(family);
    let front = [address, Datatype::InetProto, Datatype::InetService];
    let door = &front[1..];
    let numbered = |key: &[Datatype]| [key, &[Datatype::Index]].concat();
    let class = || Some(MapData::Values(vec![Datatype::ClassId]));
    let place = || Some(MapData::Values(vec![address, Datatype::InetService]));
    let verdict = || Some(MapData::Verdict);
    draft.map(SERVICE_COUNTS, &front, class(), "how many endpoints, and for whom");
    draft.map(ENDPOINTS, &numbered(&front), place(), "which endpoints");
    draft.map(NODEPORT_COUNTS, door, class(), "how many endpoints, of node ports");
    draft.map(NODEPORT_ENDPOINTS, &numbered(door), place(), "which endpoints, of node ports");
    draft.map(BALANCE, &[Datatype::ClassId], verdict(), "chains that choose among endpoints");
    draft.map(SERVICE_CHAINS, &front, verdict(), "services with chains of their own");
    draft.map(NODEPORT_CHAINS, door, verdict(), "node ports with chains of their own");
    draft.map(FIREWALLS, &front, verdict(), "load balancers with source ranges");
    draft.map(CLUSTER_IPS, &[address], None, "cluster IPs in use");
    draft.map(REJECTED, &front, None, "services without endpoints");
    draft.map(DROPPED, &front, None, "services whose endpoints are all elsewhere");
    draft.map(REJECTED_NODEPORTS, door, None, "node ports without endpoints");
    draft.map(DROPPED_NODEPORTS, door, None, "node ports whose endpoints are all elsewhere");
    let hairpin = [address, address, Datatype::InetProto, Datatype::InetService];
    draft.map(HAIRPINS, &hairpin, None, "endpoints of this node, from and to themselves");
}

fn services(family: Family, config: &BaseConfig) -> Vec<OwnRule> {
    let is_cluster_ip = Expression::InSet {
        key: vec![Field::Address(family, Side::Destination)],
        set: CLUSTER_IPS.to_owned(),
        negated: false,
    };
    let (comment, mut from) = match config.masquerade_all {
        true => ("answers must come back here", Vec::new()),
        false => ("no pod: answers must come back here", config.not_from_pods(family)),
    };
    from.extend([is_cluster_ip, Expression::OrMark(MASQUERADE_MARK)]);
    let mut rules = vec![rule(comment, from)];
    rules.extend(lookups(front_key(family), SERVICE_CHAINS, SERVICE_COUNTS));
    rules.extend(config.to_node_ports(family, &Verdict::Goto("nodeports".to_owned())));
    rules
}

fn lookups(key: Vec<Field>, chains: &str, counts: &str) -> Vec<OwnRule> {
    let own = Expression::VerdictMap { key: key.clone(), map: chains.to_owned() };
    let count = Expression::SetPriorityFrom { key, map: counts.to_owned() };
    let balance = Expression::VerdictMap { key: vec![Field::Priority], map: BALANCE.to_owned() };
    vec![
        rule("a chain of its own?", vec![own]),
        rule("how many endpoints?", vec![count]),
        rule("choose one of so many", vec![balance]),
    ]
}

fn checks(draft: &mut Draft, family: Family, config: &BaseConfig) {
    let in_set = |key: Vec<Field>, set: &str, what: Expression| {
        vec![Expression::InSet { key, set: set.to_owned(), negated: false }, what]
    };
    let drop = || Expression::Verdict(Verdict::Drop);
    let check = |key: &[Field], dropped: &str, rejected: &str| {
        let none =
            Expression::InSet { key: key.to_vec(), set: rejected.to_owned(), negated: false };
        let mut rules =
            vec![rule("the endpoints are elsewhere", in_set(key.to_vec(), dropped, drop()))];
        rules.extend(refuse(family, "there are none", &[none]));
        rules
    };
    let front = front_key(family);
    draft.chain(
        "service-endpoints-check",
        "services that cannot be reached",
        check(&front, DROPPED, REJECTED),
    );
    draft.chain(
        "nodeport-endpoints-check",
        "node ports that cannot be reached",
        check(&front[1..], DROPPED_NODEPORTS, REJECTED_NODEPORTS),
    );
    let cluster_ip =
        Expression::InSet { key: front[..1].to_vec(), set: CLUSTER_IPS.to_owned(), negated: false };
    let mut unserved = refuse(family, "no port of the service", &[cluster_ip]);
    unserved.extend(config.unallocated(family));
    draft.chain("cluster-ips-check", "cluster IPs with nothing there", unserved);
    let firewalls = Expression::VerdictMap { key: front, map: FIREWALLS.to_owned() };
    let firewalls = vec![rule("source ranges?", vec![firewalls])];
    draft.chain("firewall-check", "load balancers with source ranges", firewalls);
    let filter = |hook, priority| (ChainType::Filter, hook, priority);
    let services = || of_new("service-endpoints-check", "is there an endpoint?");
    let addresses = || of_new("cluster-ips-check", "is there a service?");
    let guard = || vec![of_new("firewall-check", "may the client?")];
    let before = "before addresses are translated";
    draft.base_chain(
        "filter-prerouting-pre-dnat",
        filter(Hook::Prerouting, BEFORE_DNAT),
        before,
        guard(),
    );
    draft.base_chain("filter-output-pre-dnat", filter(Hook::Output, BEFORE_DNAT), before, guard());
    let doors = of_new("nodeport-endpoints-check", "is there an endpoint?");
    let input = [config.to_node_ports_check(family, doors), vec![services()]].concat();
    draft.base_chain(
        "filter-input",
        filter(Hook::Input, Base::FILTER),
        "packets for this node",
        input,
    );
    let both = || vec![services(), addresses()];
    let forward = [drop_untracked(family, config), both()].concat();
    draft.base_chain(
        "filter-forward",
        filter(Hook::Forward, Base::FILTER),
        "packets on their way",
        forward,
    );
    draft.base_chain(
        "filter-output",
        filter(Hook::Output, Base::FILTER),
        "packets of this node",
        both(),
    );
}

impl BaseConfig {
    /// Rules that drop packets to addresses of the service network that no service has.
    pub fn unallocated(&self, family: Family) -> Vec<OwnRule> {
        BaseConfig::of(&self.service_networks, family)
            .map(|network| {
                let side = Side::Destination;
                let inside = Expression::Address { side, operator: Operator::Is, network };
                // The cluster's DNS is at an address of the node itself.
                let foreign = Expression::LocalAddress { side, operator: Operator::IsNot };
                let drop = Expression::Verdict(Verdict::Drop);
                rule("no service has this address", vec![inside, foreign, drop])
            })
            .collect()
    }

    /// The check of node ports at the addresses where they are served.
    fn to_node_ports_check(&self, family: Family, check: OwnRule) -> Vec<OwnRule> {
        if self.node_port_addresses.is_empty() {
            return vec![check];
        }
        let networks = BaseConfig::of(&self.node_port_addresses, family);
        networks
            .map(|network| {
                let side = Side::Destination;
                let to = Expression::Address { side, operator: Operator::Is, network };
                let mut expressions = check.expressions.clone();
                expressions.insert(0, to);
                OwnRule { expressions, comment: check.comment.clone() }
            })
            .collect()
    }
}

/// Rules that refuse what matches. A client of TCP over IPv6 believes an ICMP error only at its
/// next try, a second later, so it is told by a reset; over IPv4 it is told as kube-proxy does.
pub fn refuse(family: Family, comment: &str, matches: &[Expression]) -> Vec<OwnRule> {
    let with = |what: &[Expression]| rule(comment, [matches, what].concat());
    let mut rules = Vec::new();
    if family == Family::Ip6 {
        let tcp = Expression::Protocol(netlab_nft::Protocol::Tcp);
        rules.push(with(&[tcp, Expression::Reset]));
    }
    rules.push(with(&[Expression::Reject]));
    rules
}

/// Drops answers of pods that connection tracking cannot place: they would reach the client with
/// the endpoint's address, and the client, which knows nothing of it, would reset the connection
/// that it has (Kubernetes issue 74839). Only TCP resets, and only what comes from pods was
/// translated, so nothing else is touched: asymmetric routes through the node go on.
pub fn drop_untracked(family: Family, config: &BaseConfig) -> Vec<OwnRule> {
    BaseConfig::of(&config.pod_networks, family)
        .map(|network| {
            let from = Expression::Address { side: Side::Source, operator: Operator::Is, network };
            let invalid = Expression::ConntrackState(ConntrackStates::INVALID);
            let tcp = Expression::Protocol(netlab_nft::Protocol::Tcp);
            let drop = Expression::Verdict(Verdict::Drop);
            rule("an answer that nobody could translate", vec![invalid, from, tcp, drop])
        })
        .collect()
}
