// SPDX-License-Identifier: GPL-3.0-or-later
//! Leads a packet through rules, as the kernel would, and notes those that it meets.
//!
//! What is not known of the packet, such as its sender, or which number a rule chooses, stays open:
//! the rule is noted with its condition, and both ways are followed.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use netlab_api::proxy::ShownRule;
use netlab_nft::{Data, Field, Protocol, Tuple, Value, Verdict};

use super::ruleset::{Ruleset, shown};
use meet::Met;
pub(super) use meet::one_of;

mod meet;

/// Who sends a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// Whoever.
    Any,
    /// A pod.
    Pod,
    /// A pod that is an endpoint, and is led to itself.
    Itself,
    /// This node.
    Node,
    /// A machine outside of the cluster.
    Outside,
}

/// Whether something is so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    #[default]
    No,
    Maybe,
    Yes,
}

impl Answer {
    /// It became so for sure, or perhaps.
    fn raise(&mut self, sure: bool) {
        *self = (*self).max(if sure { Answer::Yes } else { Answer::Maybe });
    }
}

/// An address with a port; without the address where it is any of the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) ip: Option<IpAddr>,
    pub(super) port: u16,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ip {
            Some(ip) => write!(f, "{}", SocketAddr::new(ip, self.port)),
            None => write!(f, "NODE:{}", self.port),
        }
    }
}

/// A packet on its way, and what has become of it.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) client: Client,
    pub(super) protocol: Protocol,
    /// Where it was sent.
    pub(super) front: Place,
    /// Where it may go by now.
    pub(super) to: Vec<Place>,
    /// Whether it was led to an endpoint.
    pub(super) translated: Answer,
    pub(super) marked: Answer,
    pub(super) masqueraded: Answer,
    pub(super) dropped: Answer,
    pub(super) refused: Answer,
    priority: Option<u32>,
}

impl Packet {
    pub(super) fn new(client: Client, protocol: Protocol, front: Place) -> Packet {
        Packet {
            client,
            protocol,
            front,
            to: vec![front],
            translated: Answer::No,
            marked: Answer::No,
            masqueraded: Answer::No,
            dropped: Answer::No,
            refused: Answer::No,
            priority: None,
        }
    }
}

/// A walk through the rules of one family.
pub(super) struct Walk<'a> {
    pub(super) rules: &'a Ruleset,
    pub(super) pod_networks: &'a [IpNet],
    pub(super) packet: Packet,
    pub(super) met: Vec<ShownRule>,
    /// Where rules of the present hook led it.
    led: BTreeSet<Place>,
    /// Rules that are noted already.
    seen: BTreeSet<(String, usize)>,
    /// How many rules matched, also those that are noted already.
    matched: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(rules: &'a Ruleset, pod_networks: &'a [IpNet], packet: Packet) -> Walk<'a> {
        let (met, led, seen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        Walk { rules, pod_networks, packet, met, led, seen, matched: 0 }
    }

    /// What was met since the last time.
    pub(super) fn take_met(&mut self) -> Vec<ShownRule> {
        self.seen.clear();
        std::mem::take(&mut self.met)
    }

    /// Through a chain that the kernel calls.
    pub(super) fn base(&mut self, chain: &str) {
        self.led.clear();
        let ended = self.chain(chain, true);
        if self.led.is_empty() {
            return;
        }
        let mut to: Vec<Place> = std::mem::take(&mut self.led).into_iter().collect();
        let sure = ended == Answer::Yes;
        if !sure {
            to.extend(self.packet.to.iter().copied().filter(|at| *at == self.packet.front));
        }
        self.packet.translated.raise(sure);
        self.packet.to = to;
    }

    /// Whether the walk through the whole hook ends in it.
    fn chain(&mut self, chain: &str, sure: bool) -> Answer {
        let (mut may_end, mut may_be_back) = (false, false);
        let rest = |may_end| if may_end { Answer::Maybe } else { Answer::No };
        for index in 0..self.rules.rules(chain).len() {
            match self.rule(chain, index, sure && !may_end && !may_be_back) {
                Flow::On => {}
                Flow::Back => return rest(may_end),
                Flow::MayBeBack => may_be_back = true,
                Flow::MayEnd => may_end = true,
                Flow::Ends if may_be_back => return Answer::Maybe,
                Flow::Ends => return Answer::Yes,
            }
        }
        rest(may_end)
    }

    fn rule(&mut self, chain: &str, index: usize, sure: bool) -> Flow {
        let rule = &self.rules.rules(chain)[index];
        let priority = self.packet.priority;
        let (mut conditions, mut says, mut verdicts) = (Vec::new(), Vec::new(), Vec::new());
        for expression in &rule.expressions {
            let sure = sure && conditions.is_empty();
            match self.meet(expression, sure) {
                Met::No => {
                    self.packet.priority = priority;
                    return Flow::On;
                }
                Met::Yes => {}
                Met::If(condition) => conditions.push(condition),
                Met::Says(text) => says.push(text),
                Met::Goes(text, to) => {
                    says.push(text);
                    verdicts = to;
                }
                Met::Ends(text) => {
                    says.push(text);
                    verdicts.push(Verdict::Accept);
                }
            }
        }
        let place = self.met.len();
        self.matched += 1;
        let matched = self.matched;
        let is_new = self.seen.insert((chain.to_owned(), index));
        if is_new {
            let effect = sentence(&conditions, &says);
            self.met.push(shown(chain, rule, effect));
        }
        let always = conditions.is_empty();
        let several = verdicts.len() > 1;
        let (mut ends, mut all_end) = (false, !verdicts.is_empty());
        let mut may_be_back = false;
        for verdict in &verdicts {
            let sure = sure && always && !several;
            let ended = match verdict {
                Verdict::Accept | Verdict::Drop => Answer::Yes,
                Verdict::Return if always && !several => return Flow::Back,
                Verdict::Return => {
                    may_be_back = true;
                    Answer::No
                }
                Verdict::Jump(to) => self.chain(to, sure),
                // Those that come back from it come back to where this chain was called.
                Verdict::Goto(to) => match self.chain(to, sure) {
                    Answer::No if always && !several => return Flow::Back,
                    ended => {
                        may_be_back |= ended != Answer::Yes;
                        ended
                    }
                },
            };
            ends |= ended != Answer::No;
            all_end &= ended == Answer::Yes;
        }
        let leads = verdicts.iter().any(|verdict| verdict.chain().is_some());
        if is_new && leads && self.met.len() == place + 1 {
            self.met[place].effect += match self.matched == matched {
                true => ", where nothing is about such packets",
                false => ", as above",
            };
        }
        match (ends, all_end && always) {
            (_, true) => Flow::Ends,
            (true, false) => Flow::MayEnd,
            (false, false) if may_be_back => Flow::MayBeBack,
            (false, false) => Flow::On,
        }
    }

    /// The keys that the packet may have. A random number is each of those that it may be; a source
    /// is none that is known.
    fn keys(&self, fields: &[Field]) -> Vec<Tuple> {
        self.packet.to.iter().flat_map(|at| self.keys_of(at, fields)).collect()
    }

    fn keys_of(&self, at: &Place, fields: &[Field]) -> Vec<Tuple> {
        let mut keys: Vec<Vec<Value>> = vec![Vec::new()];
        for field in fields {
            let may_be: Vec<Value> = match field {
                // Of sources, only an endpoint that is led to itself is told apart by its address.
                Field::Address(..) => at.ip.map(Value::Address).into_iter().collect(),
                Field::Protocol => vec![Value::Protocol(self.packet.protocol)],
                Field::DestinationPort => vec![Value::Port(at.port)],
                Field::Random(most) => (0..*most).map(Value::Number).collect(),
                Field::Priority => self.packet.priority.map(Value::Class).into_iter().collect(),
            };
            let longer = keys.iter().flat_map(|key| {
                may_be.iter().map(move |value| [key.as_slice(), &[*value]].concat())
            });
            keys = longer.collect();
        }
        keys.into_iter().map(|key| key.into_iter().collect()).collect()
    }

    /// What is found in a map under the keys that the packet may have, each thing once.
    fn found(&self, map: &str, fields: &[Field]) -> Vec<(Tuple, Option<Data>)> {
        let mut found: Vec<(Tuple, Option<Data>)> = Vec::new();
        for key in self.keys(fields) {
            if let Some(data) = self.rules.look_up(map, &key)
                && !found.iter().any(|(_, known)| data.is_some() && known.as_ref() == data)
            {
                found.push((key, data.cloned()));
            }
        }
        found
    }
}

/// Where a packet is after a rule.
enum Flow {
    /// At the next rule.
    On,
    /// Where the chain was called.
    Back,
    /// At the next rule, or where the chain was called.
    MayBeBack,
    /// At the next rule, or through.
    MayEnd,
    /// Through.
    Ends,
}

/// `if the client is a pod: goes to …; …`.
fn sentence(conditions: &[String], says: &[String]) -> String {
    let says = says.join(", ");
    match (conditions.is_empty(), says.is_empty()) {
        (true, _) => says,
        (false, true) => format!("if {}", conditions.join(" and ")),
        (false, false) => format!("if {}: {says}", conditions.join(" and ")),
    }
}
