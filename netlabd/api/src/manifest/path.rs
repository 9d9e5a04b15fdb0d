// SPDX-License-Identifier: GPL-3.0-or-later
//! Paths of fields: `spec.env[2].name`, `metadata.labels["example.com/tier"]`.

use std::fmt;

/// A way from an object to one of its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    /// Reads what [`Path`]'s `Display` writes, and keys as TOML quotes them: `stub."corp.example"`.
    pub(crate) fn parse(text: &str) -> Path {
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix("[\"") {
                let (key, after) = inner.split_once("\"]").unwrap_or((inner, ""));
                segments.push(Segment::Key(key.to_owned()));
                rest = after;
            } else if let Some(inner) = rest.strip_prefix(".\"") {
                let (key, after) = inner.split_once('"').unwrap_or((inner, ""));
                segments.push(Segment::Key(key.to_owned()));
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('[') {
                let (index, after) = inner.split_once(']').unwrap_or((inner, ""));
                segments.extend(index.parse().map(Segment::Index));
                rest = after;
            } else {
                rest = rest.strip_prefix('.').unwrap_or(rest);
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                segments.push(Segment::Key(rest[..end].to_owned()));
                rest = &rest[end..];
            }
        }
        Path(segments)
    }

    pub(crate) fn key(&self, key: &str) -> Path {
        self.with(Segment::Key(key.to_owned()))
    }

    pub(crate) fn index(&self, index: usize) -> Path {
        self.with(Segment::Index(index))
    }

    fn with(&self, segment: Segment) -> Path {
        let mut segments = self.0.clone();
        segments.push(segment);
        Path(segments)
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The last key on the way.
    pub(crate) fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            Segment::Index(_) => None,
        })
    }

    /// The same without its first key, if that is `key`.
    pub(crate) fn without_first(&self, key: &str) -> Path {
        match self.0.split_first() {
            Some((Segment::Key(first), rest)) if first == key => Path(rest.to_vec()),
            _ => self.clone(),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if key.is_empty() || key.contains(['.', '/', '[', '"']) => {
                    write!(f, "[\"{key}\"]")?;
                }
                Segment::Key(key) if index == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_back_what_they_print() {
        for text in ["spec", "spec.env[2].name", "metadata.labels[\"a.b/c\"]", "", "a[\"\"].b"] {
            assert_eq!(Path::parse(text).to_string(), text);
        }
        let quoted = "dns.stub.\"corp.example\".to[1]";
        assert_eq!(Path::parse(quoted).to_string(), "dns.stub[\"corp.example\"].to[1]");
        assert_eq!(Path::default().key("a").index(1).key("b.c").to_string(), "a[1][\"b.c\"]");
    }
}
