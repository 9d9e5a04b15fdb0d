// SPDX-License-Identifier: GPL-3.0-or-later
//! JSON into trees: one value, or several one after the other.

use std::ops::Range;

use serde_json::Value as Json;

use super::Source;
use super::diagnostic::Report;
use super::tree::{Entry, MOST_DEPTH, Node, Value};

pub(super) fn read(source: &Source, report: &mut Report<'_>) -> Vec<Node> {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let skipped = source.text.len() - text.len();
    // serde_json tells exactly what is wrong with text that is no JSON, but no places of what is
    // right; the reader below tells those, and may rely on the text being JSON.
    for value in serde_json::Deserializer::from_str(text).into_iter::<Json>() {
        if let Err(error) = value {
            let at = skipped + byte_of(text, error.line(), error.column());
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or(&message);
            let diagnostic = report.error(at..at + 1, format!("not valid JSON: {message}"));
            if error.is_eof() {
                diagnostic.label("the text ends here, too early");
            }
            return Vec::new();
        }
    }
    let mut reader = Reader { text: &source.text, at: skipped, report };
    let mut nodes = Vec::new();
    while reader.peek().is_some() {
        match reader.node(0) {
            Some(node) => nodes.push(node),
            None => break,
        }
    }
    nodes
}

/// The byte of a place as serde_json tells it: lines from 1, columns in bytes from 1.
fn byte_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (start + column.saturating_sub(1)).min(text.len())
}

/// Reads valid JSON; what is not valid ends in `None`.
struct Reader<'a, 'r, 's> {
    text: &'a str,
    at: usize,
    report: &'r mut Report<'s>,
}

impl Reader<'_, '_, '_> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.text.as_bytes().get(self.at).copied()
    }

    fn node(&mut self, depth: usize) -> Option<Node> {
        let first = self.peek()?;
        let start = self.at;
        if depth > MOST_DEPTH {
            self.report.error(start..start + 1, format!("nested deeper than {MOST_DEPTH} levels"));
            return None;
        }
        let value = match first {
            b'{' => Value::Mapping(self.entries(depth)?),
            b'[' => Value::Sequence(self.items(depth)?),
            b'"' => Value::Text(self.string()?.0),
            _ => self.word()?,
        };
        Some(Node::new(value, start..self.at))
    }

    fn items(&mut self, depth: usize) -> Option<Vec<Node>> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            match self.peek()? {
                b']' => break,
                b',' => self.at += 1,
                _ => items.push(self.node(depth + 1)?),
            }
        }
        self.at += 1;
        Some(items)
    }

    fn entries(&mut self, depth: usize) -> Option<Vec<Entry>> {
        self.at += 1;
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            match self.peek()? {
                b'}' => break,
                b',' => self.at += 1,
                _ => {
                    let (key, key_span) = self.string()?;
                    self.peek().filter(|byte| *byte == b':')?;
                    self.at += 1;
                    let value = self.node(depth + 1)?;
                    match entries.iter().find(|entry| entry.key == key) {
                        Some(first) => {
                            duplicate(self.report, &key, key_span, first.key_span.start);
                        }
                        None => entries.push(Entry { key, key_span, value }),
                    }
                }
            }
        }
        self.at += 1;
        Some(entries)
    }

    fn string(&mut self) -> Option<(String, Range<usize>)> {
        let start = self.at;
        let mut escaped = false;
        let length = self.text[start..].bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        self.at = start + length + 2;
        let span = start..self.at;
        Some((serde_json::from_str(&self.text[span.clone()]).ok()?, span))
    }

    fn word(&mut self) -> Option<Value> {
        let rest = &self.text[self.at..];
        let ends = |c: char| c.is_ascii_whitespace() || ",]}[{\":".contains(c);
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        match serde_json::from_str(word).ok()? {
            Json::Null => Some(Value::Null),
            Json::Bool(flag) => Some(Value::Bool(flag)),
            Json::Number(number) => Some(Value::Number(number)),
            _ => None,
        }
    }
}

/// Tells that `key` stands twice in one mapping.
pub(super) fn duplicate(report: &mut Report<'_>, key: &str, span: Range<usize>, first: usize) {
    let line = report.line(first);
    report
        .error(span, format!("key `{}` stands here a second time", key.escape_debug()))
        .label(format!("first given in line {line}: remove one of the two"));
}
