// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages in wire form (RFC 1035 section 4): reads a plain query, writes an answer. Pure.
//!
//! Only what resolvers ask every day is read here; what it does not read goes to `handler`.

use super::record::Question;

/// A plain query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What the answer is told apart by.
    pub id: u16,
    /// What is asked.
    pub question: Question,
    /// RD: others are to be asked if need be.
    pub recursion_desired: bool,
    /// AD: the client knows what this means in an answer (RFC 6840 section 5.7).
    pub authentic_data: bool,
    /// CD: signatures are not to be checked.
    pub checking_disabled: bool,
    /// What the client says of itself (RFC 6891).
    pub edns: Option<Edns>,
}

/// EDNS(0) of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// Bytes that the client takes over UDP.
    pub payload: u16,
    /// The version that it speaks.
    pub version: u8,
    /// DO: records of DNSSEC are wanted.
    pub dnssec_ok: bool,
}
