// SPDX-License-Identifier: GPL-3.0-or-later
//! Paths with queries, escaped.

use std::fmt::Write as _;

/// A path that grows a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    path: String,
    started: bool,
}

impl Query {
    /// A path, whose segments are escaped already.
    pub fn new(path: impl Into<String>) -> Query {
        Query { path: path.into(), started: false }
    }

    /// Adds `name=value`; a name may come more than once.
    pub fn set(mut self, name: &str, value: impl AsRef<str>) -> Query {
        self.path.push(if self.started { '&' } else { '?' });
        self.started = true;
        self.path.push_str(name);
        self.path.push('=');
        self.path.push_str(&escape(value.as_ref()));
        self
    }

    /// Adds `name=true`, or nothing.
    pub fn flag(self, name: &str, on: bool) -> Query {
        if on { self.set(name, "true") } else { self }
    }

    /// Path and query.
    pub fn into_path(self) -> String {
        self.path
    }
}

/// Escapes everything but the unreserved characters of RFC 3986.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => write!(escaped, "%{byte:02X}").expect("writing to a string never fails"),
        }
    }
    escaped
}
