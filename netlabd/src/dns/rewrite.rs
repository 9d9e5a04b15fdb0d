// SPDX-License-Identifier: GPL-3.0-or-later
//! Names that are asked for as others, `[[dns.rewrite]]`, as CoreDNS's plugin `rewrite` does with
//! `answer auto`: who asked sees the name that he asked for. Pure.

use hickory_proto::op::Message;
use hickory_proto::rr::{Name as WireName, RData};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use regex::Regex;
use thiserror::Error;

use super::config::{self, Rewrite, RewriteKind};
use super::name::Name;

/// A rewrite that cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rewrite {index}: {error}")]
pub struct RewriteError {
    /// Which of them, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub error: config::RewriteError,
}

#[derive(Debug, Clone)]
enum From {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Substring(String),
    Regex(Regex),
}

/// What is asked for instead of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The name.
    pub name: Name,
    /// What names of the answer end with, and with what instead for who asked.
    suffixes: Option<(String, String)>,
}

/// The rewrites, in order.
#[derive(Debug, Clone, Default)]
pub struct Rewriter {
    rules: Vec<(From, String)>,
}

impl Rewriter {
    /// Reads them.
    ///
    /// # Errors
    /// When a regular expression is none, names a group that it does not have, or an exact name is
    /// none.
    pub fn new(rewrites: &[Rewrite]) -> Result<Rewriter, RewriteError> {
        let mut rules = Vec::with_capacity(rewrites.len());
        for (index, rewrite) in rewrites.iter().enumerate() {
            let regex = rewrite.check().map_err(|error| RewriteError { index, error })?;
            let from = rewrite.from.to_ascii_lowercase();
            // Names are compared with the dot at their end.
            let dots = |from, to: &String| (from, dotted(to.clone()));
            let (from, to) = match (regex, rewrite.kind) {
                (Some(regex), _) => (From::Regex(regex), rewrite.to.clone()),
                (None, RewriteKind::Exact) => dots(From::Exact(dotted(from)), &rewrite.to),
                (None, RewriteKind::Suffix) => dots(From::Suffix(dotted(from)), &rewrite.to),
                (None, RewriteKind::Prefix) => (From::Prefix(from), rewrite.to.clone()),
                (None, RewriteKind::Substring | RewriteKind::Regex) => {
                    (From::Substring(from), rewrite.to.clone())
                }
            };
            rules.push((from, to));
        }
        Ok(Rewriter { rules })
    }

    /// Whether there are none, so that nobody needs to look.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What is asked for instead of `name`; `None`: itself. The first rewrite that fits counts; one
    /// whose result is no name changes nothing.
    pub fn rewrite(&self, name: &Name) -> Option<Rewritten> {
        if self.is_empty() {
            return None;
        }
        let text = name.to_string().to_ascii_lowercase();
        let (new, suffixes) = self.rules.iter().find_map(|(from, to)| {
            let new = match from {
                From::Exact(from) => (text == *from).then(|| to.clone()),
                From::Prefix(from) => {
                    text.strip_prefix(from.as_str()).map(|rest| format!("{to}{rest}"))
                }
                From::Suffix(from) => {
                    text.strip_suffix(from.as_str()).map(|rest| format!("{rest}{to}"))
                }
                From::Substring(from) => {
                    text.contains(from.as_str()).then(|| text.replace(from, to))
                }
                From::Regex(regex) => regex.captures(&text).map(|found| {
                    let mut new = to.clone();
                    for group in 0..found.len() {
                        let part = found.get(group).map_or("", |part| part.as_str());
                        new = new.replace(&format!("{{{group}}}"), part);
                    }
                    new
                }),
            }?;
            let suffixes = match from {
                From::Suffix(from) => Some((to.to_ascii_lowercase(), from.clone())),
                _ => None,
            };
            Some((new, suffixes))
        })?;
        Some(Rewritten { name: new.parse().ok()?, suffixes })
    }
}

impl std::convert::From<Name> for Rewritten {
    /// Another name, of which no other names follow.
    fn from(name: Name) -> Rewritten {
        Rewritten { name, suffixes: None }
    }
}

impl Rewritten {
    /// A name of the answer as who asked for `asked` sees it; `None`: as it is.
    fn restored(&self, name: &Name, asked: &Name) -> Option<Name> {
        if let Some(before) = name.strip_suffix(&self.name) {
            return Name::from_wire(&[before, asked.wire()].concat()).ok();
        }
        let (suffix, instead) = self.suffixes.as_ref()?;
        let mut text = name.to_string();
        let rest = text.to_ascii_lowercase().strip_suffix(suffix.as_str())?.len();
        text.truncate(rest);
        text.push_str(instead);
        text.parse().ok()
    }
}

fn dotted(mut text: String) -> String {
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

/// Makes a response to a query for what was rewritten one to the query for `asked`: its question, and
/// names in all records, owners and those that they lead to. `None` when it cannot be read.
pub fn restore_wire(message: &[u8], rewritten: &Rewritten, asked: &Name) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(message).ok()?;
    let restore = |name: &mut WireName| {
        let own = Name::from_labels(name.iter()).ok();
        let restored = own.and_then(|own| rewritten.restored(&own, asked));
        if let Some(restored) = restored.as_ref().and_then(wire_name) {
            *name = restored;
        }
    };
    if let Some(query) = message.queries.first_mut() {
        query.set_name(wire_name(asked)?);
    }
    let sections = [&mut message.answers, &mut message.authorities, &mut message.additionals];
    for record in sections.into_iter().flatten() {
        restore(&mut record.name);
        match &mut record.data {
            RData::CNAME(target) => restore(&mut target.0),
            RData::NS(target) => restore(&mut target.0),
            RData::PTR(target) => restore(&mut target.0),
            RData::SRV(srv) => restore(&mut srv.target),
            RData::MX(mx) => restore(&mut mx.exchange),
            RData::NAPTR(naptr) => restore(&mut naptr.replacement),
            RData::SOA(soa) => restore(&mut soa.mname),
            _ => {}
        }
    }
    message.to_vec().ok()
}

/// The name in the type that reads and writes whole messages.
pub(super) fn wire_name(name: &Name) -> Option<WireName> {
    WireName::read(&mut BinDecoder::new(name.wire())).ok()
}

#[cfg(test)]
mod tests;
