// SPDX-License-Identifier: GPL-3.0-or-later
//! The parts of a `[[test]]`: who asks, who is asked, and what is expected.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::quantity::text_form;

/// Where a question comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestSource {
    /// A pod; without a namespace, of `default`.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A machine outside the cluster.
    Host(String),
    /// A node.
    Node(String),
}

impl FromStr for TestSource {
    type Err = String;

    fn from_str(text: &str) -> Result<TestSource, String> {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(unknown_source(text));
        }
        match parts[..] {
            ["pod", name] => {
                Ok(TestSource::Pod { namespace: "default".to_owned(), name: name.to_owned() })
            }
            ["pod", namespace, name] => {
                Ok(TestSource::Pod { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            ["host", name] => Ok(TestSource::Host(name.to_owned())),
            ["node", name] => Ok(TestSource::Node(name.to_owned())),
            _ => Err(unknown_source(text)),
        }
    }
}

fn unknown_source(text: &str) -> String {
    format!("`{text}` names no machine: write `pod/client`, `host/laptop` or `node/n1`")
}

impl fmt::Display for TestSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TestSource::Pod { namespace, name } if namespace == "default" => {
                write!(f, "pod/{name}")
            }
            TestSource::Pod { namespace, name } => write!(f, "pod/{namespace}/{name}"),
            TestSource::Host(name) => write!(f, "host/{name}"),
            TestSource::Node(name) => write!(f, "node/{name}"),
        }
    }
}

text_form!(TestSource, "TestSource");

/// Who is asked, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTarget {
    /// A GET, whose status counts.
    Http {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Path with its query.
        path: String,
    },
    /// A connection.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A datagram, and any answer to it.
    Udp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// An echo request, and its reply.
    Icmp {
        /// Name or address.
        host: String,
    },
}

impl ProbeTarget {
    /// The name or address that is asked.
    pub fn host(&self) -> &str {
        match self {
            ProbeTarget::Http { host, .. }
            | ProbeTarget::Tcp { host, .. }
            | ProbeTarget::Udp { host, .. }
            | ProbeTarget::Icmp { host } => host,
        }
    }
}

impl FromStr for ProbeTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<ProbeTarget, String> {
        let wrong = || {
            format!(
                "`{text}` is nothing to ask: write `http://web:8080/`, `tcp://web:80`, \
                 `udp://web:53` or `icmp://web`"
            )
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let (authority, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "/"),
        };
        let (host, port) = split_port(authority).ok_or_else(wrong)?;
        // A request is a line: what would end it early is no part of a path.
        let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_graphic());
        if host.is_empty() || !is_plain(host) || !is_plain(path) {
            return Err(wrong());
        }
        let host = host.to_owned();
        let needs_port = || format!("`{text}` names no port: write `{scheme}://{host}:PORT`");
        match scheme {
            "http" => {
                Ok(ProbeTarget::Http { port: port.unwrap_or(80), path: path.to_owned(), host })
            }
            _ if path != "/" || rest.ends_with('/') && scheme != "http" => Err(wrong()),
            "tcp" => Ok(ProbeTarget::Tcp { port: port.ok_or_else(needs_port)?, host }),
            "udp" => Ok(ProbeTarget::Udp { port: port.ok_or_else(needs_port)?, host }),
            "icmp" | "ping" if port.is_none() => Ok(ProbeTarget::Icmp { host }),
            _ => Err(wrong()),
        }
    }
}

/// `web:80`, `[fd42::1]:80`, `web`, `fd42::1`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let parse = |port: &str| port.parse::<u16>().ok().filter(|port| *port > 0);
    if let Some(inner) = authority.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(parse(port)?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.matches(':').count() {
        0 => Some((authority, None)),
        1 => {
            let (host, port) = authority.split_once(':')?;
            Some((host, Some(parse(port)?)))
        }
        _ => Some((authority, None)),
    }
}

impl fmt::Display for ProbeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.host() {
            host if host.contains(':') => format!("[{host}]"),
            host => host.to_owned(),
        };
        match self {
            ProbeTarget::Http { port: 80, path, .. } => write!(f, "http://{host}{path}"),
            ProbeTarget::Http { port, path, .. } => write!(f, "http://{host}:{port}{path}"),
            ProbeTarget::Tcp { port, .. } => write!(f, "tcp://{host}:{port}"),
            ProbeTarget::Udp { port, .. } => write!(f, "udp://{host}:{port}"),
            ProbeTarget::Icmp { .. } => write!(f, "icmp://{host}"),
        }
    }
}

text_form!(ProbeTarget, "ProbeTarget");

/// What is expected of a question, and what came of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expectation {
    /// An answer; for HTTP, a status from 200 to 399.
    #[default]
    Ok,
    /// This HTTP status.
    Status(u16),
    /// Silence.
    Timeout,
    /// Somebody says that nobody listens.
    Refused,
    /// Somebody says that there is no way.
    Unreachable,
    /// The name leads nowhere.
    UnknownName,
}

const WORDS: [(&str, Expectation); 5] = [
    ("ok", Expectation::Ok),
    ("timeout", Expectation::Timeout),
    ("refused", Expectation::Refused),
    ("unreachable", Expectation::Unreachable),
    ("unknown-name", Expectation::UnknownName),
];

impl Expectation {
    /// Whether `found` is what was expected.
    pub fn is_met_by(self, found: Expectation) -> bool {
        match (self, found) {
            (Expectation::Ok, Expectation::Status(status)) => (200..400).contains(&status),
            (expected, found) => expected == found,
        }
    }
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Expectation, String> {
        if let Some((_, found)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*found);
        }
        match text.parse::<u16>() {
            Ok(status) if (100..600).contains(&status) => Ok(Expectation::Status(status)),
            _ => Err(format!(
                "`{text}` is no outcome: write an HTTP status such as `200`, or {}",
                WORDS.map(|(word, _)| format!("`{word}`")).join(", ")
            )),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Expectation::Status(status) = self {
            return write!(f, "{status}");
        }
        let word = WORDS.iter().find(|(_, found)| found == self).map(|(word, _)| *word);
        f.write_str(word.unwrap_or("ok"))
    }
}

text_form!(Expectation, "Expectation");
