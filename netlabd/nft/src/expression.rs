// SPDX-License-Identifier: GPL-3.0-or-later
//! What rules consist of: matches, changes to the packet, verdicts. Each prints the way `nft`
//! writes it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::element::{Protocol, fmt_class};
use crate::rule::Family;

/// One part of a rule, as fine as `nft` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Matches packets by one of their addresses. The network's family must be the table's.
    Address {
        /// Which of the two addresses.
        side: Side,
        /// Inside or outside.
        operator: Operator,
        /// Of which network; host bits are ignored.
        network: IpNet,
    },
    /// Matches packets by whether an address is one of this network namespace, by the routing
    /// table.
    LocalAddress {
        /// Which of the two addresses.
        side: Side,
        /// Whether it is to be one.
        operator: Operator,
    },
    /// Matches packets of a transport protocol.
    Protocol(Protocol),
    /// Matches packets to a port, whatever the transport protocol is: [`Self::Protocol`] goes
    /// before it.
    DestinationPort(u16),
    /// The same, by the port that they come from.
    SourcePort(u16),
    /// Matches packets that arrived by a link of this group (`IFLA_GROUP`).
    ArrivedByGroup(u32),
    /// Matches packets whose source address is not reached over the link they arrived by: an
    /// answer would go elsewhere, or nowhere. The routing table is asked for each packet.
    SourceUnreachableThere,
    /// Matches packets by bits of their mark.
    Mark {
        /// Which bits are compared; all for the whole mark.
        mask: u32,
        /// Equal or not.
        operator: Operator,
        /// What those bits are.
        value: u32,
    },
    /// Matches packets whose connection is in one of these states.
    ConntrackState(ConntrackStates),
    /// Matches packets of connections whose destination is translated.
    ConntrackDnat,
    /// Matches one packet in so many, at random.
    Random {
        /// How many numbers there are to choose from.
        modulus: u32,
        /// Which of them matches, below the modulus.
        equals: u32,
    },
    /// Matches packets whose key is in a set.
    InSet {
        /// What is looked up.
        key: Vec<Field>,
        /// In which set of the table.
        set: String,
        /// Matches those that are not in it.
        negated: bool,
    },
    /// Decides by a map of verdicts; goes on to the next rule when the key is not in it.
    VerdictMap {
        /// What is looked up.
        key: Vec<Field>,
        /// In which map of the table.
        map: String,
    },
    /// Sets the packet's priority to what a map holds, of type [`crate::Datatype::ClassId`]. Leaves
    /// the rule when the key is not in it.
    ///
    /// Between two lookups a value has to stay somewhere. Here it costs the queueing class of this
    /// one packet, where a mark would cost what other programs keep in it. (The kernel could also
    /// hand it on inside of one rule; `nft` 1.0.6 aborts when it lists such a rule.)
    SetPriorityFrom {
        /// What is looked up.
        key: Vec<Field>,
        /// In which map of the table.
        map: String,
    },
    /// Sets the packet's priority; 0 is none.
    SetPriority(u32),
    /// Sets these bits of the packet's mark and leaves the others.
    OrMark(u32),
    /// Turns these bits of the packet's mark over and leaves the others.
    XorMark(u32),
    /// Adds the packet's key to a dynamic set, or begins its time there anew.
    UpdateSet {
        /// What is added.
        key: Vec<Field>,
        /// To which set of the table.
        set: String,
    },
    /// Counts the packets that came so far, and their bytes.
    Counter,
    /// Sends the connection elsewhere. Valid in chains of type nat at hooks prerouting and
    /// output, and below them.
    Dnat {
        /// To which address, of the table's family.
        to: IpAddr,
        /// To which port; none for the one it has. [`Self::Protocol`] goes before it.
        port: Option<u16>,
    },
    /// Sends the connection where a map of addresses and ports says. Leaves the rule when the key
    /// is not in it. The key has the transport protocol in it, or [`Self::Protocol`] goes before.
    DnatMap {
        /// The table's.
        family: Family,
        /// What is looked up.
        key: Vec<Field>,
        /// In which map of the table.
        map: String,
    },
    /// Gives the packet the address of the interface it leaves by, and undoes that for the
    /// answers. Valid in base chains of type nat at hook postrouting, and below them.
    Masquerade {
        /// Chooses the source port at random (`NF_NAT_RANGE_PROTO_RANDOM_FULLY`) and not by
        /// counting up, so that connections made at the same moment do not run for the same port,
        /// where the loser's first packet is dropped.
        fully_random: bool,
    },
    /// Keeps connection tracking from the packet, and with it every translation. Valid in base
    /// chains of hooks prerouting and output before connections are looked up, and below them.
    Untracked,
    /// Drops the packet and tells the sender that nothing listens at the port, by ICMP. Valid at
    /// hooks input, forward and output, and in chains below them.
    ///
    /// A client over IPv6 that is still inside its `connect` when this arrives, as over a veth
    /// pair, believes it only when it comes again, a second later.
    Reject,
    /// The same for TCP, by a reset, which clients believe at once. [`Self::Protocol`] goes before
    /// it.
    Reset,
    /// Decides where the packet goes next.
    Verdict(Verdict),
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { side, operator, network } => {
                let (family, network) = (Family::of(network), network.trunc());
                write!(f, "{family} {side} {}{network}", operator.prefix())
            }
            Self::LocalAddress { side, operator } => {
                write!(f, "fib {side} type {}local", operator.prefix())
            }
            Self::Protocol(protocol) => write!(f, "meta l4proto {protocol}"),
            Self::DestinationPort(port) => write!(f, "th dport {port}"),
            Self::SourcePort(port) => write!(f, "th sport {port}"),
            Self::ArrivedByGroup(group) => write!(f, "iifgroup {group}"),
            Self::SourceUnreachableThere => f.write_str("fib saddr . iif oif missing"),
            Self::Mark { mask: u32::MAX, operator, value } => {
                write!(f, "meta mark {}{value:#010x}", operator.prefix())
            }
            Self::Mark { mask, operator, value } => {
                let operator = match operator {
                    Operator::Is => "==",
                    Operator::IsNot => "!=",
                };
                write!(f, "meta mark & {mask:#010x} {operator} {value:#010x}")
            }
            Self::ConntrackState(states) => write!(f, "ct state {states}"),
            Self::ConntrackDnat => f.write_str("ct status dnat"),
            Self::Random { modulus, equals } => write!(f, "numgen random mod {modulus} {equals}"),
            Self::InSet { key, set, negated: false } => write!(f, "{} @{set}", Key(key)),
            Self::InSet { key, set, negated: true } => write!(f, "{} != @{set}", Key(key)),
            Self::VerdictMap { key, map } => write!(f, "{} vmap @{map}", Key(key)),
            Self::SetPriorityFrom { key, map } => {
                write!(f, "meta priority set {} map @{map}", Key(key))
            }
            Self::SetPriority(class) => {
                f.write_str("meta priority set ")?;
                fmt_class(*class, f)
            }
            Self::OrMark(bits) => write!(f, "meta mark set meta mark | {bits:#010x}"),
            Self::XorMark(bits) => write!(f, "meta mark set meta mark ^ {bits:#010x}"),
            Self::UpdateSet { key, set } => write!(f, "update @{set} {{ {} }}", Key(key)),
            Self::Counter => f.write_str("counter"),
            Self::Dnat { to, port: None } => write!(f, "dnat to {to}"),
            Self::Dnat { to, port: Some(port) } => {
                write!(f, "dnat to {}", SocketAddr::new(*to, *port))
            }
            Self::DnatMap { family, key, map } => {
                write!(f, "dnat {family} to {} map @{map}", Key(key))
            }
            Self::Masquerade { fully_random: true } => f.write_str("masquerade fully-random"),
            Self::Masquerade { fully_random: false } => f.write_str("masquerade"),
            Self::Untracked => f.write_str("notrack"),
            Self::Reject => f.write_str("reject"),
            Self::Reset => f.write_str("reject with tcp reset"),
            Self::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

/// Which address of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "saddr",
            Self::Destination => "daddr",
        })
    }
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Equal, or inside of a network.
    Is,
    /// Not equal, or outside of a network.
    IsNot,
}

impl Operator {
    fn prefix(self) -> &'static str {
        match self {
            Self::Is => "",
            Self::IsNot => "!= ",
        }
    }
}

/// Something that a packet has, or that is chosen for it: a part of what is looked up in sets and
/// maps. A key is a list of these, of the types that the set's key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// An address of the packet, of the table's family.
    Address(Family, Side),
    /// The transport protocol.
    Protocol,
    /// The port that the packet goes to.
    DestinationPort,
    /// A number below this one, chosen at random for each packet.
    Random(u32),
    /// The packet's priority, as left by [`Expression::SetPriorityFrom`].
    Priority,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(family, side) => write!(f, "{family} {side}"),
            Self::Protocol => f.write_str("meta l4proto"),
            Self::DestinationPort => f.write_str("th dport"),
            Self::Random(modulus) => write!(f, "numgen random mod {modulus}"),
            Self::Priority => f.write_str("meta priority"),
        }
    }
}

struct Key<'a>(&'a [Field]);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, field)| {
            f.write_str(if i == 0 { "" } else { " . " })?;
            field.fmt(f)
        })
    }
}

/// States of a connection, as connection tracking sees it. The bits are those of
/// `NF_CT_STATE_BIT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConntrackStates(u32);

impl ConntrackStates {
    /// The packet belongs to no connection that could be.
    pub const INVALID: Self = Self(1);
    /// Packets went both ways.
    pub const ESTABLISHED: Self = Self(2);
    /// Another connection announced this one, or the packet is an error about one.
    pub const RELATED: Self = Self(4);
    /// Packets went one way only, so far.
    pub const NEW: Self = Self(8);

    /// In the order in which `nft` writes them.
    const NAMES: [(Self, &str); 4] = [
        (Self::INVALID, "invalid"),
        (Self::ESTABLISHED, "established"),
        (Self::RELATED, "related"),
        (Self::NEW, "new"),
    ];

    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

impl std::ops::BitOr for ConntrackStates {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for ConntrackStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(state, _)| self.0 & state.0 != 0);
        f.write_str(&names.map(|(_, name)| *name).collect::<Vec<_>>().join(","))
    }
}

/// Where a packet goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// On, past the rest of this hook's chain.
    Accept,
    /// Nowhere.
    Drop,
    /// To another chain of the table, and back here.
    Jump(String),
    /// To another chain of the table, without coming back.
    Goto(String),
    /// Back to where the chain was called.
    Return,
}

impl Verdict {
    /// The chain that it leads to.
    #[must_use]
    pub fn chain(&self) -> Option<&str> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            Self::Accept | Self::Drop | Self::Return => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Return => f.write_str("return"),
        }
    }
}
