// SPDX-License-Identifier: GPL-3.0-or-later
//! A file's contents as a tree whose nodes know their place in the text.

use std::ops::Range;

use serde_json::Number;

use super::path::{Path, Segment};

/// Deepest nesting that is read; deeper files are an attack on the stack, not a manifest.
pub(super) const MOST_DEPTH: usize = 64;

/// A value and the bytes of the text that it was read from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key of a mapping with its value. Keys of one mapping differ; the readers see to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn new(value: Value, span: Range<usize>) -> Node {
        Node { value, span }
    }

    pub(super) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entry of `key`, unless it is absent or null.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.key == key && entry.value.value != Value::Null)
    }

    /// The entry of `max-fails`, which may be written `max_fails`.
    fn entry_of(&self, key: &str) -> Option<&Entry> {
        self.entry(key).or_else(|| self.entry(&key.replace('-', "_")))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Nodes of the whole tree.
    pub(super) fn size(&self) -> usize {
        match &self.value {
            Value::Sequence(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Value::Mapping(entries) => 1 + entries.iter().map(|e| e.value.size()).sum::<usize>(),
            _ => 1,
        }
    }

    /// The place of `path`, or of the nearest thing around it that was written. The place of a
    /// mapping is the key that it belongs to, as its text may run over many lines.
    pub(super) fn place(&self, path: &Path) -> Range<usize> {
        let mut node = self;
        let mut place = self.span.clone();
        for segment in path.segments() {
            let next = match (segment, &node.value) {
                (Segment::Key(key), Value::Mapping(_)) => node.entry_of(key).map(|entry| {
                    let holds_entries = matches!(entry.value.value, Value::Mapping(_));
                    let span = if holds_entries { &entry.key_span } else { &entry.value.span };
                    (&entry.value, span.clone())
                }),
                (Segment::Index(index), Value::Sequence(items)) => {
                    items.get(*index).map(|item| (item, item.span.clone()))
                }
                _ => None,
            };
            match next {
                Some((inner, span)) => (node, place) = (inner, span),
                None => break,
            }
        }
        place
    }

    /// The place of the key that `path` ends in.
    pub(super) fn key_place(&self, path: &Path) -> Range<usize> {
        let Some((Segment::Key(key), parent)) = path.segments().split_last() else {
            return self.place(path);
        };
        let mut node = self;
        for segment in parent {
            let next = match segment {
                Segment::Key(key) => node.get(key),
                Segment::Index(_) => None,
            };
            match next {
                Some(inner) => node = inner,
                None => return self.place(path),
            }
        }
        node.entry(key).map_or_else(|| self.place(path), |entry| entry.key_span.clone())
    }

    /// What it is, for a message: ``the text `web` ``.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Number(number) => format!("the number `{number}`"),
            Value::Text(text) => {
                let short: String = text.chars().take(40).collect();
                let more = if short.len() < text.len() { "…" } else { "" };
                format!("the text `{}{more}`", short.escape_debug())
            }
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a table of fields".to_owned(),
        }
    }
}
