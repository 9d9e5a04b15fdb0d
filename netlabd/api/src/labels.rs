// SPDX-License-Identifier: GPL-3.0-or-later
//! Labels, and selectors over them: `app=web,tier!=db,env in (a,b),!old`.
//!
//! The grammar and its meaning are Kubernetes' (apimachinery, `pkg/labels/selector.go`), without
//! its two comparisons of numbers, `<` and `>`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::names::{self, NameError};

/// Conditions on labels, all of which must hold; the default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Equals {
        key: String,
        value: String,
    },
    /// Holds too when the label is absent, as in Kubernetes.
    NotEquals {
        key: String,
        value: String,
    },
    In {
        key: String,
        values: BTreeSet<String>,
    },
    /// Holds too when the label is absent, as in Kubernetes.
    NotIn {
        key: String,
        values: BTreeSet<String>,
    },
    Exists {
        key: String,
    },
    Absent {
        key: String,
    },
}

/// Why a text is no label selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The text breaks the grammar.
    #[error(
        "cannot read label selector `{selector}` at column {column}: expected {expected}, found \
         {found}: write for example `app=web,tier!=db,env in (dev,test),!old`"
    )]
    Syntax {
        /// The whole text.
        selector: String,
        /// Where, in characters from 1.
        column: usize,
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A key is no label key.
    #[error("label selector `{selector}` has a key that no label can have: {source}")]
    Key {
        /// The whole text.
        selector: String,
        /// What is wrong with the key.
        #[source]
        source: NameError,
    },
    /// A value is no label value.
    #[error("label selector `{selector}` has a value that no label can have: {source}")]
    Value {
        /// The whole text.
        selector: String,
        /// What is wrong with the value.
        #[source]
        source: NameError,
    },
}

impl Selector {
    /// Reads a selector as kubectl's `-l` takes it; the empty text selects everything.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        let mut parser = Parser::new(text);
        let mut requirements = Vec::new();
        if parser.peek() == &Token::End {
            return Ok(Selector::default());
        }
        loop {
            requirements.push(parser.requirement()?);
            match parser.next() {
                (_, Token::End) => return Ok(Selector { requirements }),
                (_, Token::Comma) => {}
                found => return Err(parser.fail(found, "`,` or the end")),
            }
        }
    }

    /// Labels that must each have one value; what `spec.selector` of a service is.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Selector {
        let requirements = labels
            .iter()
            .map(|(key, value)| Requirement::Equals { key: key.clone(), value: value.clone() })
            .collect();
        Selector { requirements }
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether it has no condition.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Selector, SelectorError> {
        Selector::parse(text)
    }
}

/// What [`Selector::parse`] reads back as an equal selector.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Requirement::Equals { key, value } => labels.get(key) == Some(value),
            Requirement::NotEquals { key, value } => labels.get(key) != Some(value),
            Requirement::In { key, values } => labels.get(key).is_some_and(|v| values.contains(v)),
            Requirement::NotIn { key, values } => {
                !labels.get(key).is_some_and(|v| values.contains(v))
            }
            Requirement::Exists { key } => labels.contains_key(key),
            Requirement::Absent { key } => !labels.contains_key(key),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| {
            values.iter().map(String::as_str).collect::<Vec<_>>().join(",")
        };
        match self {
            Requirement::Equals { key, value } => write!(f, "{key}={value}"),
            Requirement::NotEquals { key, value } => write!(f, "{key}!={value}"),
            Requirement::In { key, values } => write!(f, "{key} in ({})", list(values)),
            Requirement::NotIn { key, values } => write!(f, "{key} notin ({})", list(values)),
            Requirement::Exists { key } => f.write_str(key),
            Requirement::Absent { key } => write!(f, "!{key}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Equals,
    NotEquals,
    Not,
    Comma,
    Open,
    Close,
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Token::Word(word) => word,
            Token::Equals => "=",
            Token::NotEquals => "!=",
            Token::Not => "!",
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::End => return f.write_str("the end"),
        };
        write!(f, "`{text}`")
    }
}

/// A token with the byte at which it starts.
type Placed<'a> = (usize, Token<'a>);

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed<'a>>,
    position: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        Parser { text, tokens: tokens(text), position: 0 }
    }

    fn peek(&self) -> &Token<'a> {
        &self.tokens[self.position].1
    }

    /// The end is never passed.
    fn next(&mut self) -> Placed<'a> {
        let token = self.tokens[self.position].clone();
        self.position = (self.position + 1).min(self.tokens.len() - 1);
        token
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let negated = *self.peek() == Token::Not;
        if negated {
            self.next();
        }
        let key = match self.next() {
            (_, Token::Word(word)) => self.key(word)?,
            found => return Err(self.fail(found, "the key of a label")),
        };
        if negated {
            return Ok(Requirement::Absent { key });
        }
        match self.peek() {
            Token::End | Token::Comma => return Ok(Requirement::Exists { key }),
            _ => {}
        }
        match self.next() {
            (_, Token::Equals) => Ok(Requirement::Equals { key, value: self.value()? }),
            (_, Token::NotEquals) => Ok(Requirement::NotEquals { key, value: self.value()? }),
            (_, Token::Word("in")) => Ok(Requirement::In { key, values: self.values()? }),
            (_, Token::Word("notin")) => Ok(Requirement::NotIn { key, values: self.values()? }),
            found => Err(self.fail(found, "`=`, `!=`, `in`, `notin`, `,` or the end")),
        }
    }

    /// One value; nothing at all is the empty value, as in `app=`.
    fn value(&mut self) -> Result<String, SelectorError> {
        match *self.peek() {
            Token::Word(word) => {
                self.next();
                names::label_value(word).map_err(|source| SelectorError::Value {
                    selector: self.text.into(),
                    source,
                })?;
                Ok(word.to_owned())
            }
            _ => Ok(String::new()),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        match self.next() {
            (_, Token::Open) => {}
            found => return Err(self.fail(found, "`(` and values")),
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            match self.next() {
                (_, Token::Comma) => {}
                (_, Token::Close) => return Ok(values),
                found => return Err(self.fail(found, "`,` or `)`")),
            }
        }
    }

    fn key(&self, word: &str) -> Result<String, SelectorError> {
        names::label_key(word)
            .map_err(|source| SelectorError::Key { selector: self.text.into(), source })?;
        Ok(word.to_owned())
    }

    fn fail(&self, (at, found): Placed<'_>, expected: &'static str) -> SelectorError {
        SelectorError::Syntax {
            selector: self.text.to_owned(),
            column: self.text[..at].chars().count() + 1,
            expected,
            found: found.to_string(),
        }
    }
}

/// Ends in [`Token::End`], always.
fn tokens(text: &str) -> Vec<Placed<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (length, token) = match first {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '=' if rest.starts_with("==") => (2, Token::Equals),
            '=' => (1, Token::Equals),
            '!' if rest.starts_with("!=") => (2, Token::NotEquals),
            '!' => (1, Token::Not),
            ',' => (1, Token::Comma),
            '(' => (1, Token::Open),
            ')' => (1, Token::Close),
            _ => {
                let ends = |c: char| c.is_whitespace() || "=!,()".contains(c);
                let length = rest.find(ends).unwrap_or(rest.len());
                (length, Token::Word(&rest[..length]))
            }
        };
        tokens.push((at, token));
        at += length;
    }
    tokens.push((text.len(), Token::End));
    tokens
}

#[cfg(test)]
mod tests;
