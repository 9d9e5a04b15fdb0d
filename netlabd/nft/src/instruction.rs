// SPDX-License-Identifier: GPL-3.0-or-later
//! What the kernel runs: each [`Expression`] as instructions of the nf_tables virtual machine.
//!
//! [`compile`] and [`encode()`] lead from a rule to the kernel, [`decode()`] leads from a rule of the
//! kernel back to instructions. Rules are compared as instructions, since that is the form which
//! the kernel keeps.

mod decode;
mod encode;

pub(crate) use decode::{decode, decode_verdict};
pub(crate) use encode::{encode, encode_verdict};

use ipnet::IpNet;
use rustables::sys;

use crate::expression::{Expression, Field, Operator, Side, Verdict};
use crate::rule::Family;

/// Full randomisation of the source port, `NF_NAT_RANGE_PROTO_RANDOM_FULLY` of
/// `linux/netfilter/nf_nat.h`.
const RANDOM_FULLY: u32 = 1 << 4;
/// `fib saddr . iif oif present`: by the source, over the arriving link, as a yes or no.
const SOURCE_IF_REACHABLE: u32 =
    sys::NFTA_FIB_F_SADDR | sys::NFTA_FIB_F_IIF | sys::NFTA_FIB_F_PRESENT;
/// The type of an address of this network namespace, of `linux/rtnetlink.h`.
const RTN_LOCAL: u32 = libc::RTN_LOCAL as u32;
/// The destination is translated, `IPS_DST_NAT` of `linux/netfilter/nf_conntrack_common.h`.
const IPS_DST_NAT: u32 = 1 << 5;
/// Where the source port is in the headers of TCP, UDP and SCTP.
const SOURCE_PORT: u32 = 0;
/// Where the destination port is in the headers of TCP, UDP and SCTP.
const DESTINATION_PORT: u32 = 2;

/// A register of 32 bits: the first of those that a value fills, counted from 0. The kernel's
/// older registers of 128 bits lie over them, four over each.
pub(crate) type Register = u32;
/// The register in which everything begins. A match leaves nothing in it that is needed later.
const FIRST: Register = 0;
/// Where `nft` puts the port of a `dnat` to a constant.
const PORT: Register = 4;

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// Loads what the packet has, or what is chosen for it.
    Load { source: Source, to: Register },
    /// Loads a constant.
    Immediate { value: Vec<u8>, to: Register },
    /// In the first register: keeps the bits of a mask, then turns those of `xor` over.
    Bits { mask: Vec<u8>, xor: Vec<u8> },
    /// Leaves the rule unless the comparison with the first register holds.
    Compare { operator: Operator, value: Vec<u8> },
    /// Looks up what begins in the first register.
    Lookup { set: String, result: Found },
    /// Adds what begins in the first register to a set.
    Update { set: String },
    /// Sets meta data of the packet to what is in the first register.
    SetMeta { key: u32 },
    /// Translates the destination: to the address in the first register, and the port in another.
    /// The flags are without those that say which of the two there are.
    Dnat { family: u8, port: Option<Register>, flags: u32 },
    /// Counts. What was counted so far is not part of what the rule says.
    Count,
    /// Masquerades, with the kernel's flags.
    Masquerade { flags: u32 },
    /// Keeps connection tracking away.
    Untrack,
    /// Drops and tells by ICMP, with a code of the family's.
    Reject { code: u8 },
    /// Drops and tells by a reset of TCP.
    Reset,
    /// Decides.
    Verdict(Verdict),
    /// Something that netlab never writes. It equals nothing desired, so its rule is replaced.
    Foreign(String),
}

/// What can be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Bytes of the packet, from the beginning of a header (`nft_payload_bases`).
    Payload { base: u32, offset: u32, len: u32 },
    /// Meta data (`nft_meta_keys`).
    Meta(u32),
    /// What connection tracking knows (`nft_ct_keys`), of no direction.
    Conntrack(u32),
    /// What the routing table says (`nft_fib_result`, `nft_fib_flags`).
    Fib { result: u32, flags: u32 },
    /// A number below this one.
    Random(u32),
}

/// What becomes of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Goes on if the key is there.
    Match,
    /// Goes on if the key is not there.
    NoMatch,
    /// Does what the map says.
    Verdict,
    /// Puts what the map says into the first register and those after it.
    Values,
}

/// Translates the expressions of a rule in a table of this family.
pub(crate) fn compile(family: Family, expressions: &[Expression]) -> Vec<Instruction> {
    let mut program = Program(Vec::new());
    for expression in expressions {
        program.add(family, expression);
    }
    program.0
}

struct Program(Vec<Instruction>);

impl Program {
    fn add(&mut self, family: Family, expression: &Expression) {
        match expression {
            Expression::Address { side, operator, network } => {
                self.address(*side, *operator, network);
            }
            Expression::LocalAddress { side, operator } => {
                let flags = match side {
                    Side::Source => sys::NFTA_FIB_F_SADDR,
                    Side::Destination => sys::NFTA_FIB_F_DADDR,
                };
                self.load(Source::Fib { result: sys::NFT_FIB_RESULT_ADDRTYPE, flags });
                self.compare(*operator, RTN_LOCAL.to_ne_bytes());
            }
            Expression::Protocol(protocol) => {
                self.load(Field::Protocol.source());
                self.compare(Operator::Is, [protocol.number()]);
            }
            Expression::DestinationPort(port) => {
                self.load(Field::DestinationPort.source());
                self.compare(Operator::Is, port.to_be_bytes());
            }
            Expression::SourcePort(port) => {
                let base = sys::NFT_PAYLOAD_TRANSPORT_HEADER;
                self.load(Source::Payload { base, offset: SOURCE_PORT, len: 2 });
                self.compare(Operator::Is, port.to_be_bytes());
            }
            Expression::ArrivedByGroup(group) => {
                self.load(Source::Meta(sys::NFT_META_IIFGROUP));
                self.compare(Operator::Is, group.to_ne_bytes());
            }
            Expression::SourceUnreachableThere => {
                let result = sys::NFT_FIB_RESULT_OIF;
                self.load(Source::Fib { result, flags: SOURCE_IF_REACHABLE });
                // The answer fills the register, so all of it is compared.
                self.compare(Operator::Is, [0; 4]);
            }
            Expression::Mark { mask, operator, value } => {
                self.load(Source::Meta(sys::NFT_META_MARK));
                if *mask != u32::MAX {
                    self.bits(*mask, 0);
                }
                self.compare(*operator, value.to_ne_bytes());
            }
            Expression::ConntrackState(states) => {
                self.load(Source::Conntrack(sys::NFT_CT_STATE));
                self.bits(states.bits(), 0);
                self.compare(Operator::IsNot, [0; 4]);
            }
            Expression::ConntrackDnat => {
                self.load(Source::Conntrack(sys::NFT_CT_STATUS));
                self.bits(IPS_DST_NAT, 0);
                self.compare(Operator::IsNot, [0; 4]);
            }
            Expression::Random { modulus, equals } => {
                self.load(Source::Random(*modulus));
                self.compare(Operator::Is, equals.to_ne_bytes());
            }
            Expression::InSet { key, set, negated } => {
                let result = if *negated { Found::NoMatch } else { Found::Match };
                self.look_up(key, set, result);
            }
            Expression::VerdictMap { key, map } => self.look_up(key, map, Found::Verdict),
            Expression::SetPriorityFrom { key, map } => {
                self.look_up(key, map, Found::Values);
                self.0.push(Instruction::SetMeta { key: sys::NFT_META_PRIORITY });
            }
            Expression::SetPriority(class) => {
                self.immediate(class.to_ne_bytes(), FIRST);
                self.0.push(Instruction::SetMeta { key: sys::NFT_META_PRIORITY });
            }
            Expression::OrMark(bits) => self.mark(!bits, *bits),
            Expression::XorMark(bits) => self.mark(u32::MAX, *bits),
            Expression::UpdateSet { key, set } => {
                self.load_key(key);
                self.0.push(Instruction::Update { set: set.clone() });
            }
            Expression::Counter => self.0.push(Instruction::Count),
            Expression::Dnat { to, port } => {
                match to {
                    std::net::IpAddr::V4(to) => self.immediate(to.octets(), FIRST),
                    std::net::IpAddr::V6(to) => self.immediate(to.octets(), FIRST),
                }
                if let Some(port) = port {
                    self.immediate(port.to_be_bytes(), PORT);
                }
                let family = Family::of(&IpNet::from(*to)).number();
                self.0.push(Instruction::Dnat { family, port: port.map(|_| PORT), flags: 0 });
            }
            Expression::DnatMap { family, key, map } => {
                self.look_up(key, map, Found::Values);
                // The port follows the address in what the map holds.
                let port = Some(address_len(*family) / 4);
                self.0.push(Instruction::Dnat { family: family.number(), port, flags: 0 });
            }
            Expression::Untracked => self.0.push(Instruction::Untrack),
            Expression::Masquerade { fully_random } => {
                let flags = u32::from(*fully_random) * RANDOM_FULLY;
                self.0.push(Instruction::Masquerade { flags });
            }
            Expression::Reject => {
                self.0.push(Instruction::Reject { code: port_unreachable(family) })
            }
            Expression::Reset => self.0.push(Instruction::Reset),
            Expression::Verdict(verdict) => self.0.push(Instruction::Verdict(verdict.clone())),
        }
    }

    fn load(&mut self, source: Source) {
        self.0.push(Instruction::Load { source, to: FIRST });
    }

    fn immediate(&mut self, value: impl Into<Vec<u8>>, to: Register) {
        self.0.push(Instruction::Immediate { value: value.into(), to });
    }

    fn compare(&mut self, operator: Operator, value: impl Into<Vec<u8>>) {
        self.0.push(Instruction::Compare { operator, value: value.into() });
    }

    /// Marks, priorities and numbers are in the host's byte order, as the kernel keeps them.
    fn bits(&mut self, mask: u32, xor: u32) {
        let (mask, xor) = (mask.to_ne_bytes().to_vec(), xor.to_ne_bytes().to_vec());
        self.0.push(Instruction::Bits { mask, xor });
    }

    fn mark(&mut self, mask: u32, xor: u32) {
        self.load(Source::Meta(sys::NFT_META_MARK));
        self.bits(mask, xor);
        self.0.push(Instruction::SetMeta { key: sys::NFT_META_MARK });
    }

    /// Loads the fields side by side, each from a register of its own on.
    fn load_key(&mut self, key: &[Field]) {
        let mut to = FIRST;
        for field in key {
            self.0.push(Instruction::Load { source: field.source(), to });
            to += field.registers();
        }
    }

    fn look_up(&mut self, key: &[Field], set: &str, result: Found) {
        self.load_key(key);
        self.0.push(Instruction::Lookup { set: set.to_owned(), result });
    }

    fn address(&mut self, side: Side, operator: Operator, network: &IpNet) {
        let network = network.trunc();
        let (value, mask) = match network {
            IpNet::V4(v4) => (v4.network().octets().to_vec(), v4.netmask().octets().to_vec()),
            IpNet::V6(v6) => (v6.network().octets().to_vec(), v6.netmask().octets().to_vec()),
        };
        self.load(Field::Address(Family::of(&network), side).source());
        if network.prefix_len() < network.max_prefix_len() {
            let xor = vec![0; mask.len()];
            self.0.push(Instruction::Bits { mask, xor });
        }
        self.compare(operator, value);
    }
}

impl Field {
    fn source(self) -> Source {
        match self {
            Self::Address(family, side) => Source::Payload {
                base: sys::NFT_PAYLOAD_NETWORK_HEADER,
                // RFC 791 section 3.1, RFC 8200 section 3.
                offset: match (family, side) {
                    (Family::Ip, Side::Source) => 12,
                    (Family::Ip, Side::Destination) => 16,
                    (Family::Ip6, Side::Source) => 8,
                    (Family::Ip6, Side::Destination) => 24,
                },
                len: address_len(family),
            },
            Self::Protocol => Source::Meta(sys::NFT_META_L4PROTO),
            Self::DestinationPort => Source::Payload {
                base: sys::NFT_PAYLOAD_TRANSPORT_HEADER,
                offset: DESTINATION_PORT,
                len: 2,
            },
            Self::Random(modulus) => Source::Random(modulus),
            Self::Priority => Source::Meta(sys::NFT_META_PRIORITY),
        }
    }

    /// How many registers it fills.
    fn registers(self) -> u32 {
        match self {
            Self::Address(family, _) => address_len(family) / 4,
            Self::Protocol | Self::DestinationPort | Self::Random(_) | Self::Priority => 1,
        }
    }
}

fn address_len(family: Family) -> u32 {
    match family {
        Family::Ip => 4,
        Family::Ip6 => 16,
    }
}

/// The ICMP code for a port at which nothing listens: RFC 792, RFC 4443 section 3.1.
fn port_unreachable(family: Family) -> u8 {
    match family {
        Family::Ip => 3,
        Family::Ip6 => 4,
    }
}
