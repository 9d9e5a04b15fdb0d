// SPDX-License-Identifier: GPL-3.0-or-later
//! Upstreams are played with sockets on the loopback, and what comes of it is read by hickory.

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;

use super::{Uncounted, Upstreams};
use crate::dns::config::{DnsConfig, Forward};
use crate::dns::message::{Edns, Query};
use crate::dns::record::{Question, RecordType};

mod caching;
mod choice;
mod forwarding;
mod health;
mod looping;
pub(super) mod played;

/// A query as clients send it.
pub(super) fn query(name: &str, kind: RecordType) -> Query {
    Query {
        id: 0x1234,
        question: Question { name: name.parse().unwrap(), kind },
        recursion_desired: true,
        authentic_data: false,
        checking_disabled: false,
        edns: None,
    }
}

/// The same of a client that speaks EDNS.
pub(super) fn with_edns(mut query: Query, payload: u16, dnssec_ok: bool) -> Query {
    query.edns = Some(Edns { payload, version: 0, dnssec_ok });
    query
}

/// Asks these, and looks for no loops.
fn forward(to: &[&played::Played]) -> DnsConfig {
    let mut config = DnsConfig { forward: group(to), ..DnsConfig::default() };
    config.loop_detection.enabled = false;
    config
}

fn group(to: &[&played::Played]) -> Forward {
    let to = to.iter().map(|played| played.address.to_string()).collect();
    Forward { to: Some(to), ..Forward::default() }
}

fn start(config: &DnsConfig) -> Arc<Upstreams> {
    Upstreams::new(config, &[], Arc::new(Uncounted))
}

/// Reads a response.
pub(super) fn read(message: &[u8]) -> Message {
    Message::from_vec(message).expect("a message that can be read")
}

/// Waits for something that has to happen soon.
async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while !happened() {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
