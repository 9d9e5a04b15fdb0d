// SPDX-License-Identifier: GPL-3.0-or-later
//! Names that are asked for as others, `[[dns.rewrite]]`, as CoreDNS's plugin `rewrite` does with
//! `answer auto`: who asked sees the name that he asked for. Pure.

use hickory_proto::op::Message;
use hickory_proto::rr::Name as WireName;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use regex::Regex;
use thiserror::Error;

use super::config::{self, Rewrite, RewriteKind};
use super::name::Name;
use super::record::{Answer, Owner};

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
    pub fn rewrite(&self, name: &Name) -> Option<Name> {
        if self.is_empty() {
            return None;
        }
        let text = name.to_string().to_ascii_lowercase();
        let new = self.rules.iter().find_map(|(from, to)| match from {
            From::Exact(from) => (text == *from).then(|| to.clone()),
            From::Prefix(from) => {
                text.strip_prefix(from.as_str()).map(|rest| format!("{to}{rest}"))
            }
            From::Suffix(from) => {
                text.strip_suffix(from.as_str()).map(|rest| format!("{rest}{to}"))
            }
            From::Substring(from) => text.contains(from.as_str()).then(|| text.replace(from, to)),
            From::Regex(regex) => regex.captures(&text).map(|found| {
                let mut new = to.clone();
                for group in 0..found.len() {
                    let part = found.get(group).map_or("", |part| part.as_str());
                    new = new.replace(&format!("{{{group}}}"), part);
                }
                new
            }),
        })?;
        new.parse().ok()
    }
}

fn dotted(mut text: String) -> String {
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

/// Turns `rewritten` back in an answer, which is then one to the name that was asked.
pub fn restore(answer: &mut Answer, rewritten: &Name) {
    for section in [&mut answer.answer, &mut answer.authority, &mut answer.additional] {
        for record in section {
            if matches!(&record.owner, Owner::Name(owner) if owner == rewritten) {
                record.owner = Owner::Asked;
            }
        }
    }
}

/// The same in a message: its question is `asked`, and so are owners that were `rewritten`. `None`
/// when the message cannot be read.
pub fn restore_wire(message: &[u8], rewritten: &Name, asked: &Name) -> Option<Vec<u8>> {
    let (rewritten, asked) = (wire_name(rewritten)?, wire_name(asked)?);
    let mut message = Message::from_vec(message).ok()?;
    if let Some(query) = message.queries.first_mut() {
        query.set_name(asked.clone());
    }
    let sections = [&mut message.answers, &mut message.authorities, &mut message.additionals];
    for record in sections.into_iter().flatten() {
        if record.name == rewritten {
            record.name = asked.clone();
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
