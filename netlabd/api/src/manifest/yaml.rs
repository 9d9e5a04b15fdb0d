// SPDX-License-Identifier: GPL-3.0-or-later
//! YAML into trees, one for each document.
//!
//! Scalars are resolved by YAML 1.2's core schema; anchors, aliases and merge keys (`<<`) work.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::Number;

use super::Source;
use super::diagnostic::Report;
use super::json::duplicate;
use super::tree::{Entry, MOST_DEPTH, Node, Value};

/// Nodes that aliases may add to a file. A few lines of aliases of aliases can stand for more
/// nodes than any machine can hold.
const MOST_ALIASED_NODES: usize = 100_000;

pub(super) fn read(source: &Source, report: &mut Report<'_>) -> Vec<Node> {
    let text = source.text.as_str();
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        bytes: text.char_indices().map(|(at, _)| at).chain([text.len()]).collect(),
        text,
        anchors: HashMap::new(),
        aliased: 0,
        report,
    };
    let mut documents = Vec::new();
    while let Some((event, span)) = reader.next() {
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            Event::DocumentEnd => reader.anchors.clear(),
            Event::StreamEnd => break,
            event => match reader.node(event, span, 0) {
                Some(Node { value: Value::Null, .. }) => {}
                Some(node) => documents.push(node),
                None => break,
            },
        }
    }
    documents
}

struct Reader<'a, 'r, 's> {
    events: Parser<'a, StrInput<'a>>,
    /// The byte of each character: the parser counts characters.
    bytes: Vec<usize>,
    text: &'a str,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    report: &'r mut Report<'s>,
}

impl<'a> Reader<'a, '_, '_> {
    /// The next event; `None` after the last, and after a fault, which is told.
    fn next(&mut self) -> Option<(Event<'a>, Range<usize>)> {
        match self.events.next_event()? {
            Ok((event, span)) => Some((event, self.span(&span))),
            Err(error) => {
                let marked = self.byte(error.marker().index());
                // Within a scalar the parser names its first line, which may be right.
                let found = error.info().contains("found a tab");
                let at = found.then(|| self.tab_after(marked)).flatten().unwrap_or(marked);
                let tab = self.line_starts_with_tab(at);
                let message = format!("not valid YAML: {}", error.info());
                let diagnostic = self.report.error(at..at + 1, message);
                if tab {
                    diagnostic.label("YAML is indented with spaces, not with tabs");
                }
                None
            }
        }
    }

    fn line_starts_with_tab(&self, at: usize) -> bool {
        let start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        self.text[start..].trim_start_matches(' ').starts_with('\t')
    }

    /// The first tab after a place that indents something.
    fn tab_after(&self, at: usize) -> Option<usize> {
        let mut start = at;
        self.text[at..].split_inclusive('\n').find_map(|line| {
            let indent = line.len() - line.trim_start_matches(' ').len();
            let tab = start + indent;
            start += line.len();
            let is_meant = line[indent..].starts_with('\t') && !line.trim().is_empty();
            is_meant.then_some(tab)
        })
    }

    fn byte(&self, character: usize) -> usize {
        self.bytes.get(character).copied().unwrap_or(self.text.len())
    }

    fn span(&self, span: &Span) -> Range<usize> {
        let start = self.byte(span.start.index());
        start..self.byte(span.end.index()).max(start)
    }

    fn node(&mut self, event: Event<'a>, span: Range<usize>, depth: usize) -> Option<Node> {
        if depth > MOST_DEPTH {
            self.report.error(span, format!("nested deeper than {MOST_DEPTH} levels"));
            return None;
        }
        let (anchor, node) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                let value = self.scalar(&text, style, tag.as_deref(), &span);
                (anchor, Node::new(value, span))
            }
            Event::SequenceStart(anchor, _) => (anchor, self.sequence(span.start, depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping(span.start, depth)?),
            _ => return Some(Node::new(Value::Null, span)),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Some(node)
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>) -> Option<Node> {
        let Some(node) = self.anchors.get(&anchor) else {
            self.report.error(span, "this alias stands inside of what it names".to_owned());
            return None;
        };
        self.aliased += node.size();
        if self.aliased > MOST_ALIASED_NODES {
            let message = format!("aliases stand for more than {MOST_ALIASED_NODES} values");
            self.report.error(span, message);
            return None;
        }
        Some(node.clone())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: &Range<usize>,
    ) -> Value {
        match tag {
            None if style == ScalarStyle::Plain => resolve(text),
            None => Value::Text(text.to_owned()),
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
                Value::Text(text.to_owned())
            }
            Some(tag) if tag.is_yaml_core_schema() => resolve(text),
            Some(tag) => {
                let message = format!("tag `{}{}` means nothing here", tag.handle, tag.suffix);
                self.report.error(span.clone(), message).label("write the value alone");
                Value::Text(text.to_owned())
            }
        }
    }

    fn sequence(&mut self, start: usize, depth: usize) -> Option<Node> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, span) => {
                    return Some(Node::new(Value::Sequence(items), start..span.end.max(start)));
                }
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, start: usize, depth: usize) -> Option<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (key, key_span) = match self.next()? {
                (Event::MappingEnd, span) => {
                    for entry in merged {
                        let Entry { key, .. } = &entry;
                        if !entries.iter().any(|own| own.key == *key) {
                            entries.push(entry);
                        }
                    }
                    return Some(Node::new(Value::Mapping(entries), start..span.end.max(start)));
                }
                (Event::Scalar(text, style, ..), span) => {
                    let merge = style == ScalarStyle::Plain && text == "<<";
                    (if merge { None } else { Some(text.into_owned()) }, span)
                }
                (_, span) => {
                    self.report.error(span, "a key must be a text".to_owned());
                    return None;
                }
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let Some(key) = key else {
                self.merge(value, &mut merged, key_span);
                continue;
            };
            match entries.iter().find(|entry| entry.key == key) {
                Some(first) => duplicate(self.report, &key, key_span, first.key_span.start),
                None => entries.push(Entry { key, key_span, value }),
            }
        }
    }

    /// What `<<: value` adds: the entries of one mapping, or of several of which the first wins.
    fn merge(&mut self, value: Node, merged: &mut Vec<Entry>, place: Range<usize>) {
        let sources = match value.value {
            Value::Sequence(items) => items,
            _ => vec![value],
        };
        for source in sources {
            let Value::Mapping(entries) = source.value else {
                let message = "`<<` takes a mapping, or a list of mappings".to_owned();
                self.report.error(place.clone(), message);
                continue;
            };
            for entry in entries {
                if !merged.iter().any(|own| own.key == entry.key) {
                    merged.push(entry);
                }
            }
        }
    }
}

/// YAML 1.2.2 §10.3.2, the core schema.
fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let number = if let Some(digits) = text.strip_prefix("0x") {
        u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')).map(Number::from)
    } else if let Some(digits) = text.strip_prefix("0o") {
        u64::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with('+')).map(Number::from)
    } else if text.contains(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
    {
        let whole = text.parse::<i64>().ok().map(Number::from);
        whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64))
    } else {
        None
    };
    number.map_or_else(|| Value::Text(text.to_owned()), Value::Number)
}
