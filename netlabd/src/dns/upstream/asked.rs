// SPDX-License-Identifier: GPL-3.0-or-later
//! What of a client's query goes on to an upstream, and how it is written. Pure.

use crate::dns::message::{HEADER, IN, Query};
use crate::dns::name::Name;
use crate::dns::record::{Question, RecordType};

/// The smallest answer that every client takes over UDP (RFC 1035 section 4.2.1).
pub(super) const SMALLEST_PAYLOAD: u16 = 512;

/// What is asked of an upstream: all that can make its answer another one.
///
/// Two that are equal are asked once. The case of the name does not count there, and is that of
/// the client that was first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// The name, as the client wrote it: what comes back must be written the same.
    pub(super) name: Name,
    /// The type.
    pub(super) kind: u16,
    /// RD.
    pub(super) recursion_desired: bool,
    /// AD.
    pub(super) authentic_data: bool,
    /// CD.
    pub(super) checking_disabled: bool,
    /// Whether the client speaks EDNS, and then the payload it takes and its DO bit.
    pub(super) edns: Option<(u16, bool)>,
    /// Over TCP from the beginning.
    pub(super) over_tcp: bool,
}

impl Asked {
    /// What `query` asks.
    pub(super) fn of(query: &Query, over_tcp: bool) -> Asked {
        Asked {
            name: query.question.name.clone(),
            kind: query.question.kind.0,
            recursion_desired: query.recursion_desired,
            authentic_data: query.authentic_data,
            checking_disabled: query.checking_disabled,
            edns: query.edns.as_ref().map(|edns| (edns.payload, edns.dnssec_ok)),
            over_tcp,
        }
    }

    /// A question of our own, such as whether an upstream is there.
    pub(super) fn own(name: Name, kind: RecordType) -> Asked {
        Asked {
            name,
            kind: kind.0,
            recursion_desired: true,
            authentic_data: false,
            checking_disabled: false,
            edns: None,
            over_tcp: false,
        }
    }

    /// The same, without EDNS: for upstreams that do not know it.
    pub(super) fn without_edns(&self) -> Asked {
        Asked { edns: None, ..self.clone() }
    }

    /// Whether records of DNSSEC are wanted.
    pub(super) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|(_, dnssec_ok)| dnssec_ok)
    }

    /// The message, with `id`.
    pub(super) fn write(&self, id: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.name.wire().len() + 4 + OPT_SIZE);
        out.extend_from_slice(&id.to_be_bytes());
        out.push(u8::from(self.recursion_desired));
        out.push(u8::from(self.authentic_data) << 5 | u8::from(self.checking_disabled) << 4);
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())]);
        out.extend_from_slice(self.name.wire());
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&IN.to_be_bytes());
        if let Some((payload, dnssec_ok)) = self.edns {
            write_opt(&mut out, payload.max(SMALLEST_PAYLOAD), 0, dnssec_ok);
        }
        out
    }

    /// Bytes of the question's section.
    pub(super) fn question_length(&self) -> usize {
        self.name.wire().len() + 4
    }
}

/// Bytes of an OPT record without options.
pub(super) const OPT_SIZE: usize = 11;

/// Writes an OPT record (RFC 6891 section 6.1.2) with the upper bits of a response code.
pub(super) fn write_opt(out: &mut Vec<u8>, payload: u16, extended: u8, dnssec_ok: bool) {
    out.push(0);
    out.extend_from_slice(&RecordType::OPT.0.to_be_bytes());
    out.extend_from_slice(&payload.to_be_bytes());
    out.extend_from_slice(&[extended, 0, if dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
}

/// Writes a response without records: for what goes wrong here.
pub(super) fn write_failure(query: &Query, rcode: u8, out: &mut Vec<u8>) {
    let Question { name, kind } = &query.question;
    out.clear();
    out.extend_from_slice(&query.id.to_be_bytes());
    out.push(0x80 | u8::from(query.recursion_desired));
    // RA: there is recursion to be had here, even if not now.
    out.push(0x80 | if query.checking_disabled { 0x10 } else { 0 } | (rcode & 0x0f));
    out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(query.edns.is_some())]);
    out.extend_from_slice(name.wire());
    out.extend_from_slice(&kind.0.to_be_bytes());
    out.extend_from_slice(&IN.to_be_bytes());
    if let Some(edns) = &query.edns {
        write_opt(out, edns.payload, 0, edns.dnssec_ok);
    }
}
