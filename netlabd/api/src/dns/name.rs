// SPDX-License-Identifier: GPL-3.0-or-later
//! Domain names in wire form (RFC 1035 section 3.1): labels with their lengths, the root at the
//! end, no compression. Case is kept as written, and does not matter to comparisons.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use thiserror::Error;

/// The longest name, in bytes of its wire form.
pub const MAX_NAME: usize = 255;

/// The longest label.
pub const MAX_LABEL: usize = 63;

/// Why something is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// A label is empty, as in `a..b`.
    #[error("`{name}` has an empty label")]
    EmptyLabel {
        /// What was read.
        name: String,
    },
    /// A label is longer than 63 bytes.
    #[error("a label of `{name}` is longer than 63 bytes")]
    LongLabel {
        /// What was read.
        name: String,
    },
    /// The name is longer than 255 bytes.
    #[error("`{name}` is longer than 255 bytes")]
    LongName {
        /// What was read.
        name: String,
    },
    /// Bytes that are no uncompressed name.
    #[error("bytes that are no domain name")]
    Malformed,
}

/// A domain name. Always absolute.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root, `.`.
    pub fn root() -> Name {
        Name(Box::new([0]))
    }

    /// A name of labels, most specific first.
    ///
    /// # Errors
    /// When a label is empty or too long, or the whole is.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Name, NameError> {
        let mut wire = Vec::with_capacity(64);
        let text = |wire: &[u8]| String::from_utf8_lossy(wire).into_owned();
        for label in labels {
            if label.is_empty() {
                return Err(NameError::EmptyLabel { name: text(&wire) });
            }
            if label.len() > MAX_LABEL {
                return Err(NameError::LongLabel { name: text(label) });
            }
            // Cannot be cut: the length was compared.
            wire.push(u8::try_from(label.len()).expect("at most 63"));
            wire.extend_from_slice(label);
        }
        wire.push(0);
        if wire.len() > MAX_NAME {
            return Err(NameError::LongName { name: text(&wire) });
        }
        Ok(Name(wire.into()))
    }

    /// A name from its wire form, which must be all of `wire`.
    ///
    /// # Errors
    /// When it is none, or compressed.
    pub fn from_wire(wire: &[u8]) -> Result<Name, NameError> {
        match name_length(wire) {
            Some(length) if length == wire.len() => Ok(Name(wire.into())),
            _ => Err(NameError::Malformed),
        }
    }

    /// The wire form.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels, most specific first, without the root.
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether this is `other`, or below it.
    pub fn is_within(&self, other: &Name) -> bool {
        self.strip_suffix(other).is_some()
    }

    /// What stands before `suffix`: labels without the root, in wire form; empty when both are the
    /// same.
    pub fn strip_suffix(&self, suffix: &Name) -> Option<&[u8]> {
        let mut rest = Labels(&self.0);
        loop {
            if rest.0.len() == suffix.0.len() {
                let before = self.0.len() - rest.0.len();
                return rest.0.eq_ignore_ascii_case(&suffix.0).then(|| &self.0[..before]);
            }
            if rest.0.len() < suffix.0.len() {
                return None;
            }
            rest.next()?;
        }
    }

    /// The same name in lower case.
    pub fn to_lowercase(&self) -> Name {
        Name(self.0.to_ascii_lowercase().into())
    }

    /// `label` before this name.
    ///
    /// # Errors
    /// When the label or the whole is too long.
    pub fn prefixed(&self, label: &[u8]) -> Result<Name, NameError> {
        Name::from_labels(std::iter::once(label).chain(self.labels()))
    }
}

/// Labels of a name, most specific first.
#[derive(Debug, Clone)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Labels<'a> {
    /// Reads labels in wire form, with or without the root at the end.
    pub fn of(wire: &'a [u8]) -> Labels<'a> {
        Labels(wire)
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.0.split_first()?;
        if length == 0 || rest.len() < usize::from(length) {
            return None;
        }
        let (label, rest) = rest.split_at(usize::from(length));
        self.0 = rest;
        Some(label)
    }
}

/// Bytes that the name at the beginning of `wire` has, the root included. `None` when it does not
/// end, is too long or is compressed.
pub fn name_length(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = usize::from(*wire.get(at)?);
        if length == 0 {
            return Some(at + 1);
        }
        if length > MAX_LABEL {
            return None;
        }
        at += 1 + length;
        if at + 1 > MAX_NAME {
            return None;
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in &self.0 {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Reads the presentation form (RFC 1035 section 5.1), with or without the dot at the end;
    /// `\.` and `\DDD` are bytes of a label.
    fn from_str(text: &str) -> Result<Name, NameError> {
        if text == "." {
            return Ok(Name::root());
        }
        let mut labels: Vec<Vec<u8>> = vec![Vec::new()];
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'.' => labels.push(Vec::new()),
                b'\\' => {
                    let escaped = bytes.next().ok_or(NameError::Malformed)?;
                    let byte = if escaped.is_ascii_digit() {
                        let digits = [Some(escaped), bytes.next(), bytes.next()];
                        let mut value = 0u16;
                        for digit in digits {
                            let digit = digit.filter(u8::is_ascii_digit);
                            value =
                                value * 10 + u16::from(digit.ok_or(NameError::Malformed)? - b'0');
                        }
                        u8::try_from(value).map_err(|_| NameError::Malformed)?
                    } else {
                        escaped
                    };
                    labels.last_mut().expect("there is always one").push(byte);
                }
                byte => labels.last_mut().expect("there is always one").push(byte),
            }
        }
        if labels.len() > 1 && labels.last().is_some_and(Vec::is_empty) {
            labels.pop();
        }
        Name::from_labels(labels.iter().map(Vec::as_slice)).map_err(|error| match error {
            NameError::EmptyLabel { .. } => NameError::EmptyLabel { name: text.to_owned() },
            NameError::LongLabel { .. } => NameError::LongLabel { name: text.to_owned() },
            NameError::LongName { .. } => NameError::LongName { name: text.to_owned() },
            NameError::Malformed => NameError::Malformed,
        })
    }
}

impl fmt::Display for Name {
    /// The presentation form, with the dot at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(byte))?;
                    }
                    0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                    byte => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_reads_as_it_was_written() {
        for text in [".", "a.", "web.default.svc.cluster.local.", "a\\.b.c.", "\\032x\\200."] {
            assert_eq!(name(text).to_string(), text);
            assert_eq!(Name::from_wire(name(text).wire()).unwrap(), name(text));
        }
        assert_eq!(name("a.b").to_string(), "a.b.");
    }

    #[test]
    fn case_is_kept_and_does_not_matter() {
        assert_eq!(name("WeB.Default"), name("wEb.dEFAULT"));
        assert_eq!(name("WeB.").to_string(), "WeB.");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert!("a..b".parse::<Name>().is_err());
        assert!(".a".parse::<Name>().is_err());
        assert!("a\\".parse::<Name>().is_err());
        assert!("a\\25".parse::<Name>().is_err());
        assert!("a\\999".parse::<Name>().is_err());
        assert!("x".repeat(64).parse::<Name>().is_err());
        assert!(vec!["x".repeat(60); 5].join(".").parse::<Name>().is_err());
        for wire in [&b"\x01a"[..], b"", b"\xc0\x0c", b"\x01a\0x", b"\x05abc\0"] {
            assert!(Name::from_wire(wire).is_err(), "{wire:?}");
        }
        assert!(Name::from_wire(&[0u8; 1]).unwrap().is_root());
    }

    #[test]
    fn a_suffix_counts_whole_labels() {
        let zone = name("Cluster.Local.");
        assert_eq!(name("a.b.cluster.local.").strip_suffix(&zone).unwrap(), b"\x01a\x01b");
        assert_eq!(name("cluster.local.").strip_suffix(&zone).unwrap(), b"");
        assert!(name("xcluster.local.").strip_suffix(&zone).is_none());
        assert!(name("local.").strip_suffix(&zone).is_none());
        assert!(name("local.").is_within(&Name::root()));
        assert_eq!(name("b.").prefixed(b"a").unwrap(), name("a.b."));
    }
}
