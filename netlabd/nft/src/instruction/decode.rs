// SPDX-License-Identifier: GPL-3.0-or-later
//! Instructions as the kernel tells them, which may be any.

use rustables::sys;

use super::{FIRST, Found, Instruction, Register, Source};
use crate::expression::{Operator, Verdict};
use crate::message::Attributes;

/// The registers of 128 bits and how many of 32 bits lie under each.
const WIDE: u32 = 4;
/// `NF_NAT_RANGE_MAP_IPS` and `NF_NAT_RANGE_PROTO_SPECIFIED`: that there is an address, a port.
const PARTS: u32 = 0b11;

/// Reads the content of `NFTA_RULE_EXPRESSIONS`.
pub(crate) fn decode(list: &[u8]) -> Vec<Instruction> {
    Attributes::new(list)
        .filter_map(|(_, element)| {
            let element = Attributes::new(element);
            let name = element.get_text(sys::NFTA_EXPR_NAME).unwrap_or_default();
            let data = Attributes::new(element.get(sys::NFTA_EXPR_DATA).unwrap_or_default());
            let foreign = || Instruction::Foreign(name.to_owned());
            (!does_nothing(name, data)).then(|| decode_one(name, data).unwrap_or_else(foreign))
        })
        .collect()
}

/// `nft` turns the bytes of a protocol around before it looks one up among networks: units of two
/// bytes in a length of one, so none.
fn does_nothing(name: &str, data: Attributes<'_>) -> bool {
    let number = |attribute| data.get_u32(attribute);
    name == "byteorder"
        && matches!(
            (number(sys::NFTA_BYTEORDER_LEN), number(sys::NFTA_BYTEORDER_SIZE)),
            (Some(len), Some(size)) if len < size
        )
}

fn decode_one(name: &str, data: Attributes<'_>) -> Option<Instruction> {
    let first = |attribute| register(data, attribute) == Some(FIRST);
    match name {
        "payload" => load(
            data,
            sys::NFTA_PAYLOAD_DREG,
            Source::Payload {
                base: data.get_u32(sys::NFTA_PAYLOAD_BASE)?,
                offset: data.get_u32(sys::NFTA_PAYLOAD_OFFSET)?,
                len: data.get_u32(sys::NFTA_PAYLOAD_LEN)?,
            },
        ),
        "bitwise" => {
            // Kernels since 5.6 say which operation, 0 is mask and xor; older ones know no other.
            let masks = data.get_u32(sys::NFTA_BITWISE_OP).unwrap_or(0) == 0;
            let ours = first(sys::NFTA_BITWISE_SREG) && first(sys::NFTA_BITWISE_DREG);
            (ours && masks).then_some(Instruction::Bits {
                mask: value(data, sys::NFTA_BITWISE_MASK)?,
                xor: value(data, sys::NFTA_BITWISE_XOR)?,
            })
        }
        "cmp" => {
            let operator = match data.get_u32(sys::NFTA_CMP_OP)? {
                sys::NFT_CMP_EQ => Operator::Is,
                sys::NFT_CMP_NEQ => Operator::IsNot,
                _ => return None,
            };
            let value = value(data, sys::NFTA_CMP_DATA)?;
            first(sys::NFTA_CMP_SREG).then_some(Instruction::Compare { operator, value })
        }
        "meta" => {
            let key = data.get_u32(sys::NFTA_META_KEY)?;
            if data.get(sys::NFTA_META_SREG).is_some() {
                return first(sys::NFTA_META_SREG).then_some(Instruction::SetMeta { key });
            }
            load(data, sys::NFTA_META_DREG, Source::Meta(key))
        }
        "ct" => {
            let plain = data.get(sys::NFTA_CT_SREG).or(data.get(sys::NFTA_CT_DIRECTION)).is_none();
            let source = Source::Conntrack(data.get_u32(sys::NFTA_CT_KEY)?);
            load(data, sys::NFTA_CT_DREG, source).filter(|_| plain)
        }
        "fib" => load(
            data,
            sys::NFTA_FIB_DREG,
            Source::Fib {
                result: data.get_u32(sys::NFTA_FIB_RESULT)?,
                flags: data.get_u32(sys::NFTA_FIB_FLAGS)?,
            },
        ),
        "numgen" => {
            let random = data.get_u32(sys::NFTA_NG_TYPE) == Some(sys::NFT_NG_RANDOM)
                && data.get_u32(sys::NFTA_NG_OFFSET).unwrap_or(0) == 0;
            let source = Source::Random(data.get_u32(sys::NFTA_NG_MODULUS)?);
            load(data, sys::NFTA_NG_DREG, source).filter(|_| random)
        }
        "lookup" => decode_lookup(data),
        "dynset" => decode_update(data),
        "nat" => decode_nat(data),
        "counter" => Some(Instruction::Count),
        "notrack" => Some(Instruction::Untrack),
        "masq" => {
            let to_ports = data.get(sys::NFTA_MASQ_REG_PROTO_MIN).is_some();
            let flags = data.get_u32(sys::NFTA_MASQ_FLAGS).unwrap_or(0);
            (!to_ports).then_some(Instruction::Masquerade { flags })
        }
        "reject" => match data.get_u32(sys::NFTA_REJECT_TYPE)? {
            sys::NFT_REJECT_ICMP_UNREACH => {
                let &[code] = data.get(sys::NFTA_REJECT_ICMP_CODE)? else { return None };
                Some(Instruction::Reject { code })
            }
            sys::NFT_REJECT_TCP_RST => Some(Instruction::Reset),
            _ => None,
        },
        "immediate" => {
            if let Some(value) = value(data, sys::NFTA_IMMEDIATE_DATA) {
                let to = register(data, sys::NFTA_IMMEDIATE_DREG)?;
                return Some(Instruction::Immediate { value, to });
            }
            let data = data.get_nested(sys::NFTA_IMMEDIATE_DATA)?;
            decode_verdict(data).map(Instruction::Verdict)
        }
        _ => None,
    }
}

fn decode_lookup(data: Attributes<'_>) -> Option<Instruction> {
    let inverted = data.get_u32(sys::NFTA_LOOKUP_FLAGS).unwrap_or(0) & sys::NFT_LOOKUP_F_INV != 0;
    let result = match (data.get_u32(sys::NFTA_LOOKUP_DREG), inverted) {
        (None, false) => Found::Match,
        (None, true) => Found::NoMatch,
        (Some(sys::NFT_REG_VERDICT), false) => Found::Verdict,
        (Some(_), false) if register(data, sys::NFTA_LOOKUP_DREG) == Some(FIRST) => Found::Values,
        _ => return None,
    };
    let set = data.get_text(sys::NFTA_LOOKUP_SET)?.to_owned();
    (register(data, sys::NFTA_LOOKUP_SREG) == Some(FIRST))
        .then_some(Instruction::Lookup { set, result })
}

fn decode_update(data: Attributes<'_>) -> Option<Instruction> {
    let plain = data.get_u32(sys::NFTA_DYNSET_OP) == Some(sys::NFT_DYNSET_OP_UPDATE)
        && register(data, sys::NFTA_DYNSET_SREG_KEY) == Some(FIRST)
        && data.get_u32(sys::NFTA_DYNSET_FLAGS).unwrap_or(0) == 0
        && data
            .get(sys::NFTA_DYNSET_TIMEOUT)
            .is_none_or(|timeout| timeout.iter().all(|byte| *byte == 0));
    let set = data.get_text(sys::NFTA_DYNSET_SET_NAME)?.to_owned();
    let more = [sys::NFTA_DYNSET_SREG_DATA, sys::NFTA_DYNSET_EXPR, sys::NFTA_DYNSET_EXPRESSIONS];
    (plain && more.iter().all(|it| data.get(*it).is_none())).then_some(Instruction::Update { set })
}

fn decode_nat(data: Attributes<'_>) -> Option<Instruction> {
    // The kernel tells the end of a range even where it is the beginning.
    let single = |min, max| data.get(max).is_none() || register(data, min) == register(data, max);
    let ours = data.get_u32(sys::NFTA_NAT_TYPE) == Some(sys::NFT_NAT_DNAT)
        && register(data, sys::NFTA_NAT_REG_ADDR_MIN) == Some(FIRST)
        && single(sys::NFTA_NAT_REG_ADDR_MIN, sys::NFTA_NAT_REG_ADDR_MAX)
        && single(sys::NFTA_NAT_REG_PROTO_MIN, sys::NFTA_NAT_REG_PROTO_MAX);
    let family = u8::try_from(data.get_u32(sys::NFTA_NAT_FAMILY)?).ok()?;
    let port = register(data, sys::NFTA_NAT_REG_PROTO_MIN);
    let flags = data.get_u32(sys::NFTA_NAT_FLAGS).unwrap_or(0) & !PARTS;
    ours.then_some(Instruction::Dnat { family, port, flags })
}

/// Reads a verdict, of a rule or of an element: the content of the attribute with its data.
pub(crate) fn decode_verdict(data: Attributes<'_>) -> Option<Verdict> {
    let verdict = data.get_nested(sys::NFTA_DATA_VERDICT)?;
    let chain = || verdict.get_text(sys::NFTA_VERDICT_CHAIN).map(str::to_owned);
    Some(match verdict.get_u32(sys::NFTA_VERDICT_CODE)?.cast_signed() {
        libc::NF_ACCEPT => Verdict::Accept,
        libc::NF_DROP => Verdict::Drop,
        sys::NFT_JUMP => Verdict::Jump(chain()?),
        sys::NFT_GOTO => Verdict::Goto(chain()?),
        sys::NFT_RETURN => Verdict::Return,
        _ => return None,
    })
}

fn load(data: Attributes<'_>, register_attribute: u16, source: Source) -> Option<Instruction> {
    Some(Instruction::Load { source, to: register(data, register_attribute)? })
}

/// The kernel tells a register by its wide name where it has one, whoever wrote it how.
fn register(data: Attributes<'_>, attribute: u16) -> Option<Register> {
    match data.get_u32(attribute)? {
        wide @ sys::NFT_REG_1..=sys::NFT_REG_4 => Some((wide - sys::NFT_REG_1) * WIDE),
        narrow @ sys::NFT_REG32_00..=sys::NFT_REG32_15 => Some(narrow - sys::NFT_REG32_00),
        _ => None,
    }
}

fn value(data: Attributes<'_>, attribute: u16) -> Option<Vec<u8>> {
    Some(data.get_nested(attribute)?.get(sys::NFTA_DATA_VALUE)?.to_vec())
}
