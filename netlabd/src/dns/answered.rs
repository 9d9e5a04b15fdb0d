// SPDX-License-Identifier: GPL-3.0-or-later
//! Who answered a query, for people: in the log of queries and in `netlabctl dns query`.

use std::fmt;
use std::net::SocketAddr;

/// Who answered a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnsweredBy {
    /// The cluster's zone.
    Zone,
    /// `[dns.hosts]`.
    Hosts,
    /// What an upstream said before.
    Cache,
    /// What an upstream said before, and too long ago.
    Stale,
    /// This upstream.
    Upstream(SocketAddr),
    /// Nobody: this client, or so many queries, are not served.
    Refused,
    /// The server itself, such as with SERVFAIL or FORMERR.
    Server,
}

impl fmt::Display for AnsweredBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnsweredBy::Zone => f.write_str("zone"),
            AnsweredBy::Hosts => f.write_str("hosts"),
            AnsweredBy::Cache => f.write_str("cache"),
            AnsweredBy::Stale => f.write_str("stale cache"),
            AnsweredBy::Upstream(address) => write!(f, "{address}"),
            AnsweredBy::Refused => f.write_str("refused"),
            AnsweredBy::Server => f.write_str("server"),
        }
    }
}
