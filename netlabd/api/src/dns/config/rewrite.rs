// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether a rewrite can be done.

use regex::Regex;
use thiserror::Error;

use super::{Rewrite, RewriteKind};
use crate::dns::name::Name;

/// A rewrite that cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{problem}")]
pub struct RewriteError {
    /// The key in it: `from` or `to`.
    pub key: &'static str,
    /// What is wrong with its value.
    pub problem: String,
}

impl Rewrite {
    /// Whether this can be done; a regular expression comes back ready for use.
    ///
    /// # Errors
    /// When a regular expression is none, `to` names a group that it does not have, or an exact
    /// name is none.
    pub fn check(&self) -> Result<Option<Regex>, RewriteError> {
        let error = |key, problem: String| RewriteError { key, problem };
        if self.from.is_empty() {
            return Err(error("from", "is empty".to_owned()));
        }
        match self.kind {
            RewriteKind::Exact => {
                for (key, text) in [("from", &self.from), ("to", &self.to)] {
                    text.parse::<Name>()
                        .map_err(|e| error(key, format!("is no domain name: {e}")))?;
                }
                Ok(None)
            }
            RewriteKind::Prefix | RewriteKind::Suffix | RewriteKind::Substring => Ok(None),
            RewriteKind::Regex => {
                let regex = super::check::regular_expression(&self.from)
                    .map_err(|problem| error("from", problem))?;
                let unknown = groups(&self.to).find(|group| *group >= regex.captures_len());
                match unknown {
                    Some(group) => {
                        let problem = format!("names group {group}, which `{}` has not", self.from);
                        Err(error("to", problem))
                    }
                    None => Ok(Some(regex)),
                }
            }
        }
    }
}

/// Numbers in braces.
fn groups(to: &str) -> impl Iterator<Item = usize> {
    to.split('{').skip(1).filter_map(|rest| rest.split_once('}')?.0.parse().ok())
}
