// SPDX-License-Identifier: GPL-3.0-or-later
//! What the kernel runs: each [`Expression`] as instructions of the nf_tables virtual machine.
//!
//! Both directions live here, because they must agree: [`compile`] and [`encode`] lead from a rule
//! to the kernel, [`decode`] leads from a rule of the kernel back to instructions. Rules are
//! compared as instructions, since that is the form which the kernel keeps.
//!
//! rustables encodes each instruction it can express. What it cannot is encoded here: `masq` with
//! flags, `fib`, `meta iifgroup`; and so will be the 32-bit registers, `numgen` and `nat` with
//! flags.

use ipnet::IpNet;
use rustables::expr::{
    Bitwise, Cmp, CmpOp, ExpressionList, Immediate, Payload, RawExpression, Register, VerdictKind,
};
use rustables::sys;

use crate::message::{Attributes, put_attribute, put_nested, put_text};
use crate::rule::{Expression, Operator, Side, Verdict};

/// Full randomisation of the source port, `NF_NAT_RANGE_PROTO_RANDOM_FULLY` of
/// `linux/netfilter/nf_nat.h`.
const RANDOM_FULLY: u32 = 1 << 4;

/// `fib saddr . iif oif present`: by the source, over the arriving link, as a yes or no.
const SOURCE_IF_REACHABLE: u32 =
    sys::NFTA_FIB_F_SADDR | sys::NFTA_FIB_F_IIF | sys::NFTA_FIB_F_PRESENT;

/// One instruction. Matches use register 1 throughout, which the next match may overwrite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// Loads bytes of the network header.
    Load { offset: u32, len: u32 },
    /// Loads the group of the link that the packet arrived by.
    LoadArrivingGroup,
    /// Loads whether the routing table leads back over the arriving link to the source.
    LoadSourceReachable,
    /// Counts. What was counted so far is not part of what the rule says.
    Count,
    /// Keeps the bits of a mask.
    Mask(Vec<u8>),
    /// Leaves the rule unless the comparison holds.
    Compare { operator: Operator, value: Vec<u8> },
    /// Masquerades, with the kernel's flags.
    Masquerade { flags: u32 },
    /// Decides.
    Verdict(Verdict),
    /// Something that netlab never writes. It equals nothing desired, so its rule is replaced.
    Foreign(String),
}

/// Translates the expressions of a rule.
pub(crate) fn compile(expressions: &[Expression]) -> Vec<Instruction> {
    let mut program = Vec::new();
    for expression in expressions {
        match expression {
            Expression::Address { side, operator, network } => {
                compile_address(*side, *operator, network, &mut program);
            }
            Expression::ArrivedByGroup(group) => {
                program.push(Instruction::LoadArrivingGroup);
                // In the host's byte order, as the kernel keeps it.
                let value = group.to_ne_bytes().to_vec();
                program.push(Instruction::Compare { operator: Operator::Is, value });
            }
            Expression::SourceUnreachableThere => {
                program.push(Instruction::LoadSourceReachable);
                // The answer fills the register, so all of it is compared.
                program.push(Instruction::Compare { operator: Operator::Is, value: vec![0; 4] });
            }
            Expression::Counter => program.push(Instruction::Count),
            Expression::Masquerade { fully_random } => program
                .push(Instruction::Masquerade { flags: u32::from(*fully_random) * RANDOM_FULLY }),
            Expression::Verdict(verdict) => program.push(Instruction::Verdict(verdict.clone())),
        }
    }
    program
}

fn compile_address(side: Side, operator: Operator, net: &IpNet, program: &mut Vec<Instruction>) {
    let net = net.trunc();
    // Offsets of the addresses in the headers: RFC 791 section 3.1, RFC 8200 section 3.
    let (offset, value, mask) = match (net, side) {
        (IpNet::V4(v4), side) => (
            if side == Side::Source { 12 } else { 16 },
            v4.network().octets().to_vec(),
            v4.netmask().octets().to_vec(),
        ),
        (IpNet::V6(v6), side) => (
            if side == Side::Source { 8 } else { 24 },
            v6.network().octets().to_vec(),
            v6.netmask().octets().to_vec(),
        ),
    };
    let len = value.len() as u32;
    program.push(Instruction::Load { offset, len });
    if net.prefix_len() < net.max_prefix_len() {
        program.push(Instruction::Mask(mask));
    }
    program.push(Instruction::Compare { operator, value });
}

/// Appends the list of instructions of one rule (the content of `NFTA_RULE_EXPRESSIONS`).
pub(crate) fn encode(program: &[Instruction], out: &mut Vec<u8>) {
    // Runs of what rustables knows go through it at once; their encoding is spliced in between
    // the instructions that it does not know.
    let mut run = ExpressionList::default();
    for instruction in program {
        match known_to_rustables(instruction) {
            Some(expression) => run.add_value(expression),
            None => {
                splice(std::mem::take(&mut run), out);
                encode_by_hand(instruction, out);
            }
        }
    }
    splice(run, out);
}

fn known_to_rustables(instruction: &Instruction) -> Option<RawExpression> {
    Some(match instruction {
        Instruction::Load { offset, len } => Payload::default()
            .with_dreg(Register::Reg1)
            .with_base(sys::NFT_PAYLOAD_NETWORK_HEADER)
            .with_offset(*offset)
            .with_len(*len)
            .into(),
        Instruction::Mask(mask) => Bitwise::new(mask.clone(), vec![0; mask.len()])
            .expect("mask and xor are of one length")
            .into(),
        Instruction::Compare { operator, value } => Cmp::new(
            match operator {
                Operator::Is => CmpOp::Eq,
                Operator::IsNot => CmpOp::Neq,
            },
            value.clone(),
        )
        .into(),
        Instruction::Verdict(verdict) => Immediate::new_verdict(match verdict {
            Verdict::Accept => VerdictKind::Accept,
            Verdict::Drop => VerdictKind::Drop,
            Verdict::Jump(chain) => VerdictKind::Jump { chain: chain.clone() },
            Verdict::Goto(chain) => VerdictKind::Goto { chain: chain.clone() },
            Verdict::Return => VerdictKind::Return,
        })
        .into(),
        Instruction::LoadArrivingGroup
        | Instruction::LoadSourceReachable
        | Instruction::Count
        | Instruction::Masquerade { .. }
        | Instruction::Foreign(_) => return None,
    })
}

/// rustables gives whole batches only: encodes a rule that has nothing but `run` and takes the
/// list out of it.
fn splice(run: ExpressionList, out: &mut Vec<u8>) {
    if run.iter().next().is_none() {
        return;
    }
    let mut batch = rustables::Batch::new();
    batch.add(&rustables::Rule::default().with_expressions(run), rustables::MsgType::Add);
    let bytes = batch.finalize();
    for message in crate::message::messages(&bytes) {
        if let Some(list) = message.attributes().get(sys::NFTA_RULE_EXPRESSIONS) {
            out.extend_from_slice(list);
        }
    }
}

fn encode_by_hand(instruction: &Instruction, out: &mut Vec<u8>) {
    let number = |out: &mut Vec<u8>, kind, value: u32| {
        put_attribute(out, kind, &value.to_be_bytes());
    };
    match instruction {
        Instruction::Masquerade { flags } => element(out, "masq", |out| {
            // Without flags there is nothing to say, and the kernel omits it as well.
            if *flags != 0 {
                number(out, sys::NFTA_MASQ_FLAGS, *flags);
            }
        }),
        Instruction::LoadArrivingGroup => element(out, "meta", |out| {
            number(out, sys::NFTA_META_DREG, sys::NFT_REG_1);
            number(out, sys::NFTA_META_KEY, sys::NFT_META_IIFGROUP);
        }),
        Instruction::LoadSourceReachable => element(out, "fib", |out| {
            number(out, sys::NFTA_FIB_DREG, sys::NFT_REG_1);
            number(out, sys::NFTA_FIB_RESULT, sys::NFT_FIB_RESULT_OIF);
            number(out, sys::NFTA_FIB_FLAGS, SOURCE_IF_REACHABLE);
        }),
        Instruction::Count => element(out, "counter", |_| {}),
        _ => {}
    }
}

fn element(out: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut Vec<u8>)) {
    put_nested(out, sys::NFTA_LIST_ELEM, |out| {
        put_text(out, sys::NFTA_EXPR_NAME, name);
        put_nested(out, sys::NFTA_EXPR_DATA, data);
    });
}

/// Reads the content of `NFTA_RULE_EXPRESSIONS`.
pub(crate) fn decode(list: &[u8]) -> Vec<Instruction> {
    Attributes::new(list)
        .map(|(_, element)| {
            let element = Attributes::new(element);
            let name = element.get_text(sys::NFTA_EXPR_NAME).unwrap_or_default();
            let data = Attributes::new(element.get(sys::NFTA_EXPR_DATA).unwrap_or_default());
            decode_one(name, data).unwrap_or_else(|| Instruction::Foreign(name.to_owned()))
        })
        .collect()
}

fn decode_one(name: &str, data: Attributes<'_>) -> Option<Instruction> {
    let register_1 = |attribute| data.get_u32(attribute) == Some(sys::NFT_REG_1);
    match name {
        "payload" => (register_1(sys::NFTA_PAYLOAD_DREG)
            && data.get_u32(sys::NFTA_PAYLOAD_BASE) == Some(sys::NFT_PAYLOAD_NETWORK_HEADER))
        .then_some(Instruction::Load {
            offset: data.get_u32(sys::NFTA_PAYLOAD_OFFSET)?,
            len: data.get_u32(sys::NFTA_PAYLOAD_LEN)?,
        }),
        "bitwise" => {
            let xor = data.get_nested(sys::NFTA_BITWISE_XOR)?.get(sys::NFTA_DATA_VALUE)?;
            // Kernels since 5.6 say which operation, 0 is mask and xor; older ones know no other.
            let masks = data.get_u32(sys::NFTA_BITWISE_OP).unwrap_or(0) == 0;
            let ours = register_1(sys::NFTA_BITWISE_SREG) && register_1(sys::NFTA_BITWISE_DREG);
            (ours && masks && xor.iter().all(|byte| *byte == 0)).then_some(Instruction::Mask(
                data.get_nested(sys::NFTA_BITWISE_MASK)?.get(sys::NFTA_DATA_VALUE)?.to_vec(),
            ))
        }
        "cmp" => {
            let operator = match data.get_u32(sys::NFTA_CMP_OP)? {
                sys::NFT_CMP_EQ => Operator::Is,
                sys::NFT_CMP_NEQ => Operator::IsNot,
                _ => return None,
            };
            let value = data.get_nested(sys::NFTA_CMP_DATA)?.get(sys::NFTA_DATA_VALUE)?.to_vec();
            register_1(sys::NFTA_CMP_SREG).then_some(Instruction::Compare { operator, value })
        }
        "meta" => (register_1(sys::NFTA_META_DREG)
            && data.get_u32(sys::NFTA_META_KEY) == Some(sys::NFT_META_IIFGROUP))
        .then_some(Instruction::LoadArrivingGroup),
        "fib" => (register_1(sys::NFTA_FIB_DREG)
            && data.get_u32(sys::NFTA_FIB_RESULT) == Some(sys::NFT_FIB_RESULT_OIF)
            && data.get_u32(sys::NFTA_FIB_FLAGS) == Some(SOURCE_IF_REACHABLE))
        .then_some(Instruction::LoadSourceReachable),
        "counter" => Some(Instruction::Count),
        "masq" => {
            let to_ports = data.get(sys::NFTA_MASQ_REG_PROTO_MIN).is_some();
            let flags = data.get_u32(sys::NFTA_MASQ_FLAGS).unwrap_or(0);
            (!to_ports).then_some(Instruction::Masquerade { flags })
        }
        "immediate" => {
            let verdict =
                data.get_nested(sys::NFTA_IMMEDIATE_DATA)?.get_nested(sys::NFTA_DATA_VERDICT)?;
            let chain = || verdict.get_text(sys::NFTA_VERDICT_CHAIN).map(str::to_owned);
            Some(Instruction::Verdict(
                match verdict.get_u32(sys::NFTA_VERDICT_CODE)?.cast_signed() {
                    libc::NF_ACCEPT => Verdict::Accept,
                    libc::NF_DROP => Verdict::Drop,
                    sys::NFT_JUMP => Verdict::Jump(chain()?),
                    sys::NFT_GOTO => Verdict::Goto(chain()?),
                    sys::NFT_RETURN => Verdict::Return,
                    _ => return None,
                },
            ))
        }
        _ => None,
    }
}
