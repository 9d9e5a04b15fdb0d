// SPDX-License-Identifier: GPL-3.0-or-later
//! TOML into a tree.

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Source;
use super::diagnostic::Report;
use super::tree::{Entry, Node, Value};

pub(super) fn read(source: &Source, report: &mut Report<'_>) -> Vec<Node> {
    let (table, mut errors) = DeTable::parse_recoverable(&source.text);
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let mut broken = false;
    for error in errors {
        let end = source.text.len();
        let span = error.span().unwrap_or(end..end);
        let found = source.text.get(span.clone()).unwrap_or_default();
        if error.message() == "duplicate key" {
            let message = format!("key `{}` stands here a second time", found.escape_debug());
            report.error(span, message).label("remove one of the two");
        } else if !broken {
            // What the parser says after its first fault is mostly about that fault.
            broken = true;
            let message = format!("not valid TOML: {}", lower_first(error.message()));
            let diagnostic = report.error(span, message);
            if found.starts_with(':') {
                diagnostic.label("TOML writes `key = value`");
            }
        }
    }
    let span = table.span();
    vec![mapping(table.get_ref(), span)]
}

fn lower_first(message: &str) -> String {
    let message = message.replace('\n', ": ");
    let mut chars = message.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

fn mapping(table: &DeTable<'_>, span: std::ops::Range<usize>) -> Node {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            value: node(value),
        })
        .collect();
    // The parser keeps tables in the order of their keys; people read from the top.
    entries.sort_by_key(|entry| entry.key_span.start);
    Node::new(Value::Mapping(entries), span)
}

fn node(value: &Spanned<DeValue<'_>>) -> Node {
    let span = value.span();
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Integer(number) => {
            let whole = i64::from_str_radix(number.as_str(), number.radix());
            // Larger numbers are no TOML (it has 64 bits), and no field wants one.
            Value::Number(whole.map_or_else(|_| Number::from(i64::MAX), Number::from))
        }
        DeValue::Float(number) => match number.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => Value::Number(number),
            None => Value::Text(number.as_str().to_owned()),
        },
        DeValue::Array(items) => Value::Sequence(items.iter().map(node).collect()),
        DeValue::Table(table) => return mapping(table, span),
    };
    Node::new(value, span)
}
