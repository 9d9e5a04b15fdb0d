// SPDX-License-Identifier: GPL-3.0-or-later
//! Instructions as the kernel takes them.
//!
//! rustables encodes each instruction it can express. What it cannot is encoded here: the
//! registers of 32 bits, which it does not know, `numgen`, `nat` with flags, `masq` with flags,
//! `fib`, `dynset`, most of `meta` and `ct`, and `reject` with codes of a family.

use rustables::expr::{
    Bitwise, Cmp, CmpOp, ExpressionList, Immediate, Payload, RawExpression, VerdictKind,
};
use rustables::sys;

use super::{FIRST, Found, Instruction, Register, Source};
use crate::expression::{Operator, Verdict};
use crate::message::{put_attribute, put_nested, put_text, put_u32};

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
        Instruction::Load { source: Source::Payload { base, offset, len }, to: FIRST } => {
            Payload::default()
                .with_dreg(rustables::expr::Register::Reg1)
                .with_base(*base)
                .with_offset(*offset)
                .with_len(*len)
                .into()
        }
        Instruction::Bits { mask, xor } => {
            Bitwise::new(mask.clone(), xor.clone()).expect("mask and xor are of one length").into()
        }
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
        _ => return None,
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
    match instruction {
        Instruction::Load { source, to } => encode_load(*source, *to, out),
        Instruction::Immediate { value, to } => element(out, "immediate", |out| {
            put_register(out, sys::NFTA_IMMEDIATE_DREG, *to);
            put_nested(out, sys::NFTA_IMMEDIATE_DATA, |out| {
                put_attribute(out, sys::NFTA_DATA_VALUE, value);
            });
        }),
        Instruction::Lookup { set, result } => element(out, "lookup", |out| {
            put_text(out, sys::NFTA_LOOKUP_SET, set);
            put_register(out, sys::NFTA_LOOKUP_SREG, FIRST);
            match result {
                Found::Match => {}
                Found::NoMatch => put_u32(out, sys::NFTA_LOOKUP_FLAGS, sys::NFT_LOOKUP_F_INV),
                Found::Verdict => put_u32(out, sys::NFTA_LOOKUP_DREG, sys::NFT_REG_VERDICT),
                Found::Values => put_register(out, sys::NFTA_LOOKUP_DREG, FIRST),
            }
        }),
        Instruction::Update { set } => element(out, "dynset", |out| {
            put_text(out, sys::NFTA_DYNSET_SET_NAME, set);
            put_u32(out, sys::NFTA_DYNSET_OP, sys::NFT_DYNSET_OP_UPDATE);
            put_register(out, sys::NFTA_DYNSET_SREG_KEY, FIRST);
        }),
        Instruction::SetMeta { key } => element(out, "meta", |out| {
            put_u32(out, sys::NFTA_META_KEY, *key);
            put_register(out, sys::NFTA_META_SREG, FIRST);
        }),
        Instruction::Dnat { family, port, flags } => element(out, "nat", |out| {
            put_u32(out, sys::NFTA_NAT_TYPE, sys::NFT_NAT_DNAT);
            put_u32(out, sys::NFTA_NAT_FAMILY, u32::from(*family));
            put_register(out, sys::NFTA_NAT_REG_ADDR_MIN, FIRST);
            if let Some(port) = port {
                put_register(out, sys::NFTA_NAT_REG_PROTO_MIN, *port);
            }
            if *flags != 0 {
                put_u32(out, sys::NFTA_NAT_FLAGS, *flags);
            }
        }),
        Instruction::Count => element(out, "counter", |_| {}),
        // It has nothing to say, not even that (`nft_notrack_type` has no attributes).
        Instruction::Untrack => put_nested(out, sys::NFTA_LIST_ELEM, |out| {
            put_text(out, sys::NFTA_EXPR_NAME, "notrack");
        }),
        Instruction::Masquerade { flags } => element(out, "masq", |out| {
            // Without flags there is nothing to say, and the kernel omits it as well.
            if *flags != 0 {
                put_u32(out, sys::NFTA_MASQ_FLAGS, *flags);
            }
        }),
        Instruction::Reject { code } => element(out, "reject", |out| {
            put_u32(out, sys::NFTA_REJECT_TYPE, sys::NFT_REJECT_ICMP_UNREACH);
            put_attribute(out, sys::NFTA_REJECT_ICMP_CODE, &[*code]);
        }),
        Instruction::Reset => element(out, "reject", |out| {
            put_u32(out, sys::NFTA_REJECT_TYPE, sys::NFT_REJECT_TCP_RST);
        }),
        // Through rustables, or from the kernel only.
        Instruction::Bits { .. }
        | Instruction::Compare { .. }
        | Instruction::Verdict(_)
        | Instruction::Foreign(_) => {}
    }
}

fn encode_load(source: Source, to: Register, out: &mut Vec<u8>) {
    match source {
        Source::Payload { base, offset, len } => element(out, "payload", |out| {
            put_register(out, sys::NFTA_PAYLOAD_DREG, to);
            put_u32(out, sys::NFTA_PAYLOAD_BASE, base);
            put_u32(out, sys::NFTA_PAYLOAD_OFFSET, offset);
            put_u32(out, sys::NFTA_PAYLOAD_LEN, len);
        }),
        Source::Meta(key) => element(out, "meta", |out| {
            put_u32(out, sys::NFTA_META_KEY, key);
            put_register(out, sys::NFTA_META_DREG, to);
        }),
        Source::Conntrack(key) => element(out, "ct", |out| {
            put_u32(out, sys::NFTA_CT_KEY, key);
            put_register(out, sys::NFTA_CT_DREG, to);
        }),
        Source::Fib { result, flags } => element(out, "fib", |out| {
            put_register(out, sys::NFTA_FIB_DREG, to);
            put_u32(out, sys::NFTA_FIB_RESULT, result);
            put_u32(out, sys::NFTA_FIB_FLAGS, flags);
        }),
        Source::Random(modulus) => element(out, "numgen", |out| {
            put_register(out, sys::NFTA_NG_DREG, to);
            put_u32(out, sys::NFTA_NG_MODULUS, modulus);
            put_u32(out, sys::NFTA_NG_TYPE, sys::NFT_NG_RANDOM);
            put_u32(out, sys::NFTA_NG_OFFSET, 0);
        }),
    }
}

fn put_register(out: &mut Vec<u8>, kind: u16, register: Register) {
    put_u32(out, kind, sys::NFT_REG32_00 + register);
}

fn element(out: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut Vec<u8>)) {
    put_nested(out, sys::NFTA_LIST_ELEM, |out| {
        put_text(out, sys::NFTA_EXPR_NAME, name);
        put_nested(out, sys::NFTA_EXPR_DATA, data);
    });
}

/// Appends a verdict as data: of an element, where rustables has none.
pub(crate) fn encode_verdict(verdict: &Verdict, out: &mut Vec<u8>) {
    let code = match verdict {
        Verdict::Accept => libc::NF_ACCEPT,
        Verdict::Drop => libc::NF_DROP,
        Verdict::Jump(_) => sys::NFT_JUMP,
        Verdict::Goto(_) => sys::NFT_GOTO,
        Verdict::Return => sys::NFT_RETURN,
    };
    put_nested(out, sys::NFTA_DATA_VERDICT, |out| {
        put_u32(out, sys::NFTA_VERDICT_CODE, code.cast_unsigned());
        if let Some(chain) = verdict.chain() {
            put_text(out, sys::NFTA_VERDICT_CHAIN, chain);
        }
    });
}
