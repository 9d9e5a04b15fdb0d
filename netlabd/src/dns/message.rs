// SPDX-License-Identifier: GPL-3.0-or-later
//! Messages in wire form (RFC 1035 section 4): reads a plain query, writes an answer. Pure.
//!
//! Only what resolvers ask every day is read here; what it does not read goes to `handler`.
