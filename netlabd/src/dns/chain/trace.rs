// SPDX-License-Identifier: GPL-3.0-or-later
//! A question that a person asks on behalf of somebody: answered as ever, and noted nowhere.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Arrival, Chain};
use crate::dns::answered::AnsweredBy;
use crate::dns::log::Protocol;
use crate::dns::message::Query;
use crate::dns::record::Question;

/// A response, and how it came about.
#[derive(Debug, Clone)]
pub struct Traced {
    /// The response, in wire form.
    pub message: Vec<u8>,
    /// Who answered.
    pub by: AnsweredBy,
    /// Why there is no answer, where that is known.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Chain {
    /// What a client is told. Whether it may ask does not matter; which pod it is does.
    pub async fn trace(&self, question: Question, client: IpAddr) -> Traced {
        let query = Query {
            id: 0,
            question,
            recursion_desired: true,
            checking_disabled: false,
            authentic_data: false,
            edns: None,
        };
        let started = Instant::now();
        let peer = SocketAddr::new(client, 0);
        // Whole, as over TCP.
        let arrival = Arrival { peer, protocol: Protocol::Tcp, started, size: 0 };
        let made = self.rewritten(&query, arrival).await;
        Traced { message: made.message, by: made.by, error: made.error, took: started.elapsed() }
    }
}
