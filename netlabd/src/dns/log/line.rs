// SPDX-License-Identifier: GPL-3.0-or-later
//! The lines of CoreDNS's plugin `log`, in its common format.

use thiserror::Error;

use super::{Protocol, Query, bracketed};
use crate::dns::config::Log;
use crate::dns::mnemonic::{class_name, type_name};
use crate::dns::name::{Name, NameError};
use crate::dns::record::Rcode;

/// What kind of response it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Records.
    Success,
    /// No such name, or no data.
    Denial,
    /// Anything else.
    Error,
}

/// A value of `[dns.log]` that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogLinesError {
    /// An unknown class.
    #[error("is not one of all, success, denial, error")]
    Class {
        /// Which of them, from 0.
        index: usize,
    },
    /// No name.
    #[error("{error}")]
    Name {
        /// Which of them, from 0.
        index: usize,
        /// Why it is none.
        error: NameError,
    },
}

/// Which queries are logged.
#[derive(Debug, Clone, Default)]
pub struct LogLines {
    success: bool,
    denial: bool,
    error: bool,
    names: Vec<Name>,
}

impl LogLines {
    /// As configured.
    ///
    /// # Errors
    /// When a class or name is none.
    pub fn new(config: &Log) -> Result<LogLines, LogLinesError> {
        let mut lines = LogLines::default();
        for (index, class) in config.class.iter().enumerate() {
            match class.as_str() {
                "all" => (lines.success, lines.denial, lines.error) = (true, true, true),
                "success" => lines.success = true,
                "denial" => lines.denial = true,
                "error" => lines.error = true,
                _ => return Err(LogLinesError::Class { index }),
            }
        }
        for (index, name) in config.names.iter().enumerate() {
            let error = |error| LogLinesError::Name { index, error };
            lines.names.push(name.parse().map_err(error)?);
        }
        if !config.enabled {
            (lines.success, lines.denial, lines.error) = (false, false, false);
        }
        Ok(lines)
    }

    /// Whether there are any, so that nobody needs to look.
    pub fn is_on(&self) -> bool {
        self.success || self.denial || self.error
    }

    /// The line of a query, if it is to be logged.
    pub fn line<N: AsRef<[u8]>>(&self, query: &Query<N>) -> Option<String> {
        let wanted = match query.class_of_response() {
            Class::Success => self.success,
            Class::Denial => self.denial,
            Class::Error => self.error,
        };
        if !wanted {
            return None;
        }
        let name = Name::from_wire(query.name.as_ref()).unwrap_or_else(|_| Name::root());
        if !self.names.is_empty() && !self.names.iter().any(|zone| name.is_within(zone)) {
            return None;
        }
        Some(common(query, &name))
    }

    /// Writes the line of a query to the daemon's log, if it is to be logged.
    pub fn write<N: AsRef<[u8]>>(&self, query: &Query<N>) {
        if self.is_on()
            && let Some(line) = self.line(query)
        {
            tracing::info!(target: "dns::log", "{line}");
        }
    }
}

impl<N> Query<N> {
    /// What kind of response it got.
    pub fn class_of_response(&self) -> Class {
        match self.rcode {
            Rcode::NOERROR if self.empty => Class::Denial,
            Rcode::NOERROR => Class::Success,
            Rcode::NXDOMAIN => Class::Denial,
            _ => Class::Error,
        }
    }
}

/// `{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" {rcode}
/// {>rflags} {rsize} {duration}`
fn common<N>(query: &Query<N>, name: &Name) -> String {
    // What the client takes; over TCP anything.
    let room = match query.protocol {
        Protocol::Tcp => u16::MAX,
        Protocol::Udp => query.payload.max(512),
    };
    format!(
        "{}:{} - {} \"{} {} {} {} {} {} {room}\" {} {} {} {}s",
        bracketed(query.peer.ip()),
        query.peer.port(),
        query.id,
        type_name(query.kind),
        class_name(query.class),
        name.to_string().to_ascii_lowercase(),
        query.protocol.as_str(),
        query.size,
        query.dnssec_ok,
        query.rcode,
        flags(query.flags),
        query.response_size,
        seconds(query.took.as_nanos()),
    )
}

/// The flags that are set, in the order of the header.
fn flags(bits: u16) -> String {
    const NAMES: [(u16, &str); 8] = [
        (1 << 15, "qr"),
        (1 << 10, "aa"),
        (1 << 9, "tc"),
        (1 << 8, "rd"),
        (1 << 7, "ra"),
        (1 << 6, "z"),
        (1 << 5, "ad"),
        (1 << 4, "cd"),
    ];
    let set = NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
    set.collect::<Vec<_>>().join(",")
}

/// Seconds with as many digits as are needed.
fn seconds(nanos: u128) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
