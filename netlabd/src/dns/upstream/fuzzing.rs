// SPDX-License-Identifier: GPL-3.0-or-later
//! What a fuzzer may say in an upstream's place.

use std::sync::Arc;

use super::Upstreams;
use super::asked::Asked;
use super::reply::{Form, Reply};
use crate::dns::message::Query;

/// What an upstream said.
pub(in super::super) struct Heard {
    reply: Arc<Reply>,
    /// Whether it is an answer for those who ask later, too.
    pub(in super::super) is_remembered: bool,
}

impl Upstreams {
    /// Takes a message for what an upstream says to `query`; `None` when it is no answer to that.
    pub(in super::super) fn hear(&self, packet: &[u8], query: &Query) -> Option<Heard> {
        let asked = Asked::of(query, false);
        let reply = Arc::new(Reply::read(packet, &asked, query.id).ok()?);
        self.remember(&asked, &reply);
        let ttl = self.cache.as_ref().and_then(|cache| cache.ttl(&reply));
        Some(Heard { reply, is_remembered: ttl.is_some_and(|ttl| ttl > 0) })
    }
}

impl Heard {
    /// The response to a client, with all times replaced if so said.
    pub(in super::super) fn write(
        &self,
        query: &Query,
        ttl: Option<u32>,
        limit: usize,
        out: &mut Vec<u8>,
    ) {
        self.reply.write(query, Form { ttl, authoritative: false }, limit, out);
    }
}

/// Reads bytes in which nothing was put right.
pub(in super::super) fn read_as_it_is(bytes: &[u8], query: &Query) {
    let asked = Asked::of(query, true);
    let _ = Reply::read(bytes, &asked, query.id);
    let _ = Reply::read_in_any_case(bytes.to_vec(), &asked, query.id);
}

/// A query as bytes.
pub(in super::super) fn packet(query: &Query) -> Vec<u8> {
    Asked::of(query, false).write(query.id)
}
