// SPDX-License-Identifier: GPL-3.0-or-later
//! One part of a rule and a packet: whether it matches, what it does, and how to say so.

use ipnet::IpNet;
use netlab_nft::{ConntrackStates, Data, Expression, Field, Operator, Side, Tuple, Value, Verdict};

use super::{Answer, Client, Place, Walk};
use crate::node::proxy::maps::MASQUERADE_MARK;

/// Endpoints that a sentence names; of more it says how many there are.
const NAMED: usize = 4;

/// What comes of a part of a rule.
pub(super) enum Met {
    /// It does not match.
    No,
    /// It matches, and there is nothing to say.
    Yes,
    /// It matches on a condition.
    If(String),
    /// It does something, and the rule goes on.
    Says(String),
    /// The packet goes to one of these.
    Goes(String, Vec<Verdict>),
    /// The hook is through with it.
    Ends(String),
}

impl Walk<'_> {
    pub(super) fn meet(&mut self, expression: &Expression, sure: bool) -> Met {
        match expression {
            Expression::Address { side: Side::Source, operator, network } => {
                self.source(*operator, *network)
            }
            Expression::Address { side: Side::Destination, operator, network } => {
                self.destination(*operator, *network)
            }
            Expression::LocalAddress { side, operator } => self.local(*side, *operator),
            Expression::Protocol(protocol) => yes(*protocol == self.packet.protocol),
            Expression::DestinationPort(port) => self.of_all(|at| at.port == *port),
            // It is the first packet of its connection, and nothing is wrong with it.
            Expression::ConntrackState(states) => yes(*states == ConntrackStates::NEW),
            Expression::ConntrackDnat => yes(self.packet.translated != Answer::No),
            Expression::Random { modulus, .. } => Met::If(format!("it is one in {modulus}")),
            Expression::Mark { operator, value, .. } => self.mark(*operator, *value),
            Expression::InSet { key, set, negated } => self.in_set(key, set, *negated),
            Expression::VerdictMap { key, map } => self.verdict_map(key, map),
            Expression::SetPriorityFrom { key, map } => self.class(key, map),
            Expression::SetPriority(_) => Met::Says("the class is taken off again".to_owned()),
            Expression::OrMark(bits) if *bits == MASQUERADE_MARK => {
                self.packet.marked.raise(sure);
                Met::Says(format!("marked {bits:#x}: POSTROUTING will change its source"))
            }
            Expression::OrMark(bits) => Met::Says(format!("marked {bits:#x}")),
            Expression::XorMark(bits) => Met::Says(format!("the mark {bits:#x} is taken off")),
            Expression::UpdateSet { set, .. } => {
                Met::Says(format!("the client is remembered in @{set}"))
            }
            Expression::Counter => Met::Yes,
            Expression::Dnat { to, port } => {
                let port = port.unwrap_or(self.packet.front.port);
                self.lead(vec![Place { ip: Some(*to), port }])
            }
            Expression::DnatMap { key, map, .. } => {
                let found = self.found(map, key);
                let places = found.iter().filter_map(|(_, data)| place(data.as_ref()));
                let places = places.collect::<Vec<_>>();
                if places.is_empty() { Met::No } else { self.lead(places) }
            }
            Expression::Masquerade { .. } => {
                self.packet.masqueraded.raise(sure);
                Met::Ends("the source becomes this node's address".to_owned())
            }
            Expression::Reject | Expression::Reset => {
                self.packet.refused.raise(sure);
                Met::Ends("refused: the client hears at once that nothing is there".to_owned())
            }
            Expression::Verdict(verdict) => self.verdict(verdict, sure),
            // No rule for services asks these.
            Expression::ArrivedByGroup(_)
            | Expression::SourceUnreachableThere
            | Expression::SourcePort(_)
            | Expression::Untracked => Met::If(expression.to_string()),
        }
    }

    fn verdict(&mut self, verdict: &Verdict, sure: bool) -> Met {
        let text = match verdict {
            Verdict::Accept => "goes on".to_owned(),
            Verdict::Drop => {
                self.packet.dropped.raise(sure);
                "dropped: the client hears nothing".to_owned()
            }
            Verdict::Jump(chain) => format!("through {chain}"),
            Verdict::Goto(chain) => format!("on to {chain}"),
            Verdict::Return => "back".to_owned(),
        };
        Met::Goes(text, vec![verdict.clone()])
    }

    fn source(&self, operator: Operator, network: IpNet) -> Met {
        let pods = self.pod_networks.contains(&network);
        let within = self.pod_networks.iter().any(|pods| pods.contains(&network));
        let around = self.pod_networks.iter().any(|pods| network.contains(pods));
        let is_one = network.prefix_len() == network.max_prefix_len();
        let known = match self.packet.client {
            _ if network.prefix_len() == 0 => Some(true),
            Client::Pod | Client::Itself if around => Some(true),
            Client::Pod | Client::Itself if !within => Some(false),
            Client::Pod if is_one => Some(false),
            Client::Node | Client::Outside if within => Some(false),
            _ => None,
        };
        let wanted = operator == Operator::Is;
        match known {
            Some(is_in) => yes(is_in == wanted),
            None => Met::If(match (pods, wanted) {
                (true, true) => "the client is a pod".to_owned(),
                (true, false) => "the client is no pod".to_owned(),
                (false, true) if is_one => format!("the client is {}", network.addr()),
                (false, true) => format!("the client is in {network}"),
                (false, false) => format!("the client is not in {network}"),
            }),
        }
    }

    fn destination(&self, operator: Operator, network: IpNet) -> Met {
        let wanted = operator == Operator::Is;
        if wanted && self.packet.to.iter().all(|at| at.ip.is_none()) {
            return Met::If(format!("it came to an address in {network}"));
        }
        // Some address of this node is in no network that is meant otherwise.
        self.of_all(|at| at.ip.is_some_and(|ip| network.contains(&ip)) == wanted)
    }

    /// Whether something holds wherever the packet may go by now.
    fn of_all(&self, holds: impl Fn(&Place) -> bool) -> Met {
        let to = &self.packet.to;
        let those: Vec<Place> = to.iter().copied().filter(|at| holds(at)).collect();
        match those.len() {
            0 => Met::No,
            count if count == to.len() => Met::Yes,
            _ => Met::If(format!("it goes to {}", one_of(&those))),
        }
    }

    fn local(&self, side: Side, operator: Operator) -> Met {
        let wanted = operator == Operator::Is;
        match (side, self.packet.client) {
            // Addresses of services and pods are not the node's own, node ports are at those.
            (Side::Destination, _) => self.of_all(|at| at.ip.is_none() == wanted),
            (Side::Source, Client::Node) => yes(wanted),
            (Side::Source, Client::Any) => Met::If(match wanted {
                true => "the client is this node".to_owned(),
                false => "the client is not this node".to_owned(),
            }),
            (Side::Source, _) => yes(!wanted),
        }
    }

    fn mark(&self, operator: Operator, value: u32) -> Met {
        if value != MASQUERADE_MARK {
            return Met::If(format!("its mark is {value:#x}"));
        }
        match (self.packet.marked, operator) {
            (Answer::Yes, Operator::Is) | (Answer::No, Operator::IsNot) => Met::Yes,
            (Answer::No, Operator::Is) | (Answer::Yes, Operator::IsNot) => Met::No,
            (Answer::Maybe, Operator::Is) => Met::If("it was marked".to_owned()),
            (Answer::Maybe, Operator::IsNot) => Met::If("it was not marked".to_owned()),
        }
    }

    fn in_set(&self, fields: &[Field], set: &str, negated: bool) -> Met {
        let of_source = fields.iter().any(|field| matches!(field, Field::Address(_, Side::Source)));
        if fields.len() == 1 && of_source {
            // Filled by packets: who came before.
            return Met::If(format!("@{set} remembers the client"));
        }
        let is_in = |at: &Place| {
            let keys = self.keys_of(at, fields);
            keys.iter().any(|key| self.rules.look_up(set, key).is_some())
        };
        if of_source {
            // The set has addresses that are source and destination at once.
            return match (self.packet.to.iter().any(is_in), self.packet.client) {
                (true, Client::Any | Client::Itself) => {
                    Met::If("the client is the endpoint itself".to_owned())
                }
                _ => yes(negated),
            };
        }
        self.of_all(|at| is_in(at) != negated)
    }

    fn verdict_map(&mut self, fields: &[Field], map: &str) -> Met {
        let found = self.found(map, fields);
        let verdicts: Vec<Verdict> = found
            .iter()
            .filter_map(|(_, data)| match data {
                Some(Data::Verdict(verdict)) => Some(verdict.clone()),
                _ => None,
            })
            .collect();
        let Some((key, _)) = found.first() else { return Met::No };
        let chains: Vec<&str> = verdicts.iter().filter_map(Verdict::chain).collect();
        let goes = match chains.as_slice() {
            [only] => format!("{key} is in @{map}: on to {only}"),
            several => format!("on to {}", one_of(several)),
        };
        Met::Goes(goes, verdicts)
    }

    fn class(&mut self, fields: &[Field], map: &str) -> Met {
        let found = self.found(map, fields);
        let Some((key, Some(Data::Values(values)))) = found.first() else { return Met::No };
        let Some(Value::Class(class)) = values.values().next() else { return Met::No };
        self.packet.priority = Some(class);
        let count = match class & 0xffff {
            1 => "one endpoint".to_owned(),
            count => format!("{count} endpoints"),
        };
        Met::Says(format!("{key} is in @{map}: class {values}, {count}"))
    }

    /// Leads the packet to one of these endpoints.
    fn lead(&mut self, places: Vec<Place>) -> Met {
        let front = self.packet.front;
        let text = match places.as_slice() {
            [only] => format!("{front} becomes {only}"),
            several => format!("{front} becomes {}", one_of(several)),
        };
        self.led.extend(places);
        Met::Ends(text)
    }
}

/// `one of a, b, … (5)`.
pub(in crate::node::proxy::show) fn one_of<T: std::fmt::Display>(all: &[T]) -> String {
    let named: Vec<String> = all.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let one = if all.len() > 1 { "one of " } else { "" };
    format!("{one}{}{more}", named.join(", "))
}

fn place(data: Option<&Data>) -> Option<Place> {
    let Some(Data::Values(values)) = data else { return None };
    let mut values = Tuple::values(values);
    match (values.next()?, values.next()?) {
        (Value::Address(ip), Value::Port(port)) => Some(Place { ip: Some(ip), port }),
        _ => None,
    }
}

fn yes(matches: bool) -> Met {
    if matches { Met::Yes } else { Met::No }
}
