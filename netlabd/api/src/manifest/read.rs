// SPDX-License-Identifier: GPL-3.0-or-later
//! A tree against the schema of what it should be: what passes comes out as JSON.
//!
//! All faults are told, not only the first. Fields that are null are left out, as in Kubernetes.

use std::net::IpAddr;

use serde_json::{Map, Value as Json};

use super::Format;
use super::diagnostic::Report;
use super::example::{assignment, example, rendered};
use super::expected::{Resolved, resolve};
use super::lab::METADATA;
use super::path::Path;
use super::suggest::{closest, either};
use super::tree::{Entry, Node, Value};
use super::unsupported::{self, Unsupported};
use crate::schema;

/// Reads one object.
pub(super) struct Reader<'a, 's> {
    pub(super) report: &'a mut Report<'s>,
    pub(super) format: Format,
    pub(super) ignore_unsupported: bool,
    /// The object, for messages: ``pod `web` ``.
    pub(super) about: &'a str,
    /// Whether the file has the fields of `metadata` and `spec` side by side, as lab files do.
    pub(super) flat: bool,
}

impl Reader<'_, '_> {
    /// Reads `node` as the definition `name`.
    pub(super) fn definition(&mut self, node: &Node, name: &str, path: &Path) -> Json {
        let definition = schema::definitions().get(name).unwrap_or(&Json::Null);
        self.read(node, &Resolved { schema: definition, name: Some(name) }, path)
    }

    fn read(&mut self, node: &Node, expected: &Resolved<'_>, path: &Path) -> Json {
        let choices = expected.choices();
        if !choices.is_empty() {
            return self.choice(node, &choices, path);
        }
        let alternatives = expected.alternatives();
        let Some(expected) = alternatives.iter().find(|schema| schema.accepts(node)) else {
            self.wrong_type(node, &alternatives, path);
            return Json::Null;
        };
        match &node.value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Text(text) => {
                self.check_address(node, text, expected, path);
                Json::String(text.clone())
            }
            Value::Number(number) => {
                self.check_range(node, number, expected, path);
                // `8080.0` is a whole number to the schema, and none to serde.
                let whole = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15);
                match whole {
                    Some(whole) if number.is_f64() && expected.has_type("integer") => {
                        Json::from(whole as i64)
                    }
                    _ => Json::Number(number.clone()),
                }
            }
            Value::Sequence(items) => {
                let schema = expected.schema.get("items").unwrap_or(&Json::Null);
                let inner = resolve(schema);
                let read = |(i, item)| self.read(item, &inner, &path.index(i));
                Json::Array(items.iter().enumerate().map(read).collect())
            }
            Value::Mapping(entries) => self.mapping(node, entries, expected, path),
        }
    }

    fn mapping(
        &mut self,
        node: &Node,
        entries: &[Entry],
        expected: &Resolved<'_>,
        path: &Path,
    ) -> Json {
        let mut fields = Map::new();
        let properties = expected.schema.get("properties").and_then(Json::as_object);
        let additional = expected.schema.get("additionalProperties");
        // A table of which somebody else knows the fields: so is all that is in it.
        let is_free = expected.schema.is_null() || additional == Some(&Json::Bool(true));
        let free = is_free.then_some(&Json::Null);
        let additional = additional.filter(|schema| schema.is_object()).or(free);
        for Entry { key, key_span, value } in entries {
            let inner = path.key(key);
            // `max_fails` in `[lab.dns]` is CoreDNS's word for `max-fails`.
            let known = properties
                .and_then(|known| known.get(key).or_else(|| known.get(&key.replace('_', "-"))))
                .or(additional);
            let Some(schema) = known else {
                match expected.name.and_then(|name| unsupported::field(name, key)) {
                    Some(field) => self.unsupported(key, key_span.clone(), &field, &inner),
                    None => self.unknown(key, key_span.clone(), expected, path),
                }
                continue;
            };
            if value.value == Value::Null {
                continue;
            }
            let read = self.read(value, &resolve(schema), &inner);
            fields.insert(key.clone(), read);
        }
        let required = expected.schema.get("required").and_then(Json::as_array);
        for field in required.into_iter().flatten().filter_map(Json::as_str) {
            if node.entry(field).is_none() {
                let field_path = path.key(field);
                let message = format!("{} lacks `{field}`", self.place_name(path));
                let diagnostic = self.report.error(node.span.clone(), message);
                diagnostic.field(field_path.to_string());
                if let Some(example) = example(field) {
                    let example = assignment(field, &example, self.format);
                    diagnostic.label(format!("for example `{example}`"));
                }
            }
        }
        Json::Object(fields)
    }

    fn choice(&mut self, node: &Node, choices: &[&str], path: &Path) -> Json {
        if let Some(text) = node.as_text()
            && choices.contains(&text)
        {
            return Json::String(text.to_owned());
        }
        let either = either(choices.iter().copied());
        let message =
            format!("{} must be {either}, not {}", self.place_name(path), node.describe());
        let meant = node.as_text().and_then(|text| closest(text, choices.iter().copied()));
        let diagnostic = self.report.error(node.span.clone(), message);
        diagnostic.field(path.to_string());
        if let Some(meant) = meant {
            diagnostic.label(format!("did you mean `{meant}`?"));
        }
        Json::Null
    }

    fn wrong_type(&mut self, node: &Node, expected: &[Resolved<'_>], path: &Path) {
        let mut words: Vec<&str> = Vec::new();
        for name in expected.iter().flat_map(Resolved::types).filter(|name| *name != "null") {
            words.push(match name {
                "string" => "a text",
                "integer" => "a whole number",
                "number" => "a number",
                "boolean" => "`true` or `false`",
                "array" => "a list",
                _ => "a table of fields",
            });
        }
        let allows = |name: &str| expected.iter().any(|schema| schema.has_type(name));
        let cure = match &node.value {
            Value::Text(text) if allows("integer") && text.trim().parse::<i64>().is_ok() => {
                Some(format!("write `{}` without quotes", text.trim()))
            }
            Value::Text(text) if allows("boolean") && matches!(text.as_str(), "true" | "false") => {
                Some(format!("write `{text}` without quotes"))
            }
            Value::Number(_) | Value::Bool(_) if allows("string") => {
                // As it was written: the number 1.10 is 1.1, and the text is not.
                Some(format!("write `\"{}\"`", self.report.text(&node.span)))
            }
            Value::Text(text) if allows("array") && text.len() <= 40 => {
                path.last_key().filter(|key| matches!(*key, "command" | "args")).map(|_| {
                    let words = text.split_whitespace().map(Json::from).collect();
                    format!("write `{}`", rendered(&Json::Array(words), self.format))
                })
            }
            _ => None,
        };
        let cure = cure.or_else(|| {
            let key = path.last_key()?;
            let mut example = example(key)?;
            if path.to_string().ends_with(']') {
                example = example.get(0)?.clone();
                return Some(format!("for example `{}`", rendered(&example, self.format)));
            }
            Some(format!("for example `{}`", assignment(key, &example, self.format)))
        });
        let message = format!(
            "{} must be {}, not {}",
            self.place_name(path),
            words.join(" or "),
            self.found(node)
        );
        let diagnostic = self.report.error(node.span.clone(), message);
        diagnostic.field(path.to_string()).label = cure;
    }

    fn check_range(
        &mut self,
        node: &Node,
        number: &serde_json::Number,
        expected: &Resolved<'_>,
        path: &Path,
    ) {
        let bound = |key| expected.schema.get(key).and_then(Json::as_f64);
        let most = bound("maximum").or_else(|| {
            match expected.schema.get("format").and_then(Json::as_str) {
                Some("uint32") => Some(f64::from(u32::MAX)),
                Some("int32") => Some(f64::from(i32::MAX)),
                _ => None,
            }
        });
        let Some(value) = number.as_f64() else { return };
        let (least, most) = (bound("minimum"), most);
        if least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most) {
            return;
        }
        let range = match (least, most) {
            (Some(least), Some(most)) if most < f64::from(u32::MAX) => {
                format!("from {least} to {most}")
            }
            (Some(least), _) if value < least => format!("of at least {least}"),
            (_, Some(most)) => format!("of at most {most}"),
            _ => "in range".to_owned(),
        };
        let place = self.place_name(path);
        let message = format!("{place} must be a whole number {range}, not {}", self.found(node));
        self.report.error(node.span.clone(), message).field(path.to_string());
    }

    fn check_address(&mut self, node: &Node, text: &str, expected: &Resolved<'_>, path: &Path) {
        let wanted = expected.schema.get("format").is_some_and(|format| format == "ip");
        if wanted && text.parse::<IpAddr>().is_err() {
            let place = self.place_name(path);
            let message = format!("{place} must be an IP address, not {}", node.describe());
            let diagnostic = self.report.error(node.span.clone(), message);
            diagnostic.field(path.to_string()).label("for example `10.43.0.10` or `fd43::a`");
        }
    }

    /// What stands there, for a message; numbers as they were written.
    fn found(&self, node: &Node) -> String {
        match &node.value {
            Value::Number(_) => format!("the number `{}`", self.report.text(&node.span)),
            _ => node.describe(),
        }
    }

    fn unsupported(
        &mut self,
        key: &str,
        span: std::ops::Range<usize>,
        field: &Unsupported,
        path: &Path,
    ) {
        let message = format!("field `{key}` of {} is not supported by netlab", self.about);
        let diagnostic = if self.ignore_unsupported {
            self.report.warning(span, format!("{message} and is ignored"))
        } else {
            self.report.error(span, message)
        };
        diagnostic.field(path.to_string());
        match (field.instead, self.ignore_unsupported) {
            (Some(instead), true) => diagnostic.label(instead),
            (Some(instead), false) => {
                diagnostic.label(format!("{instead}; --ignore-unsupported goes on without it"))
            }
            (None, false) => diagnostic.label("--ignore-unsupported goes on without it"),
            (None, true) => diagnostic,
        };
    }

    fn unknown(
        &mut self,
        key: &str,
        span: std::ops::Range<usize>,
        expected: &Resolved<'_>,
        path: &Path,
    ) {
        let mut known: Vec<&str> = expected.properties().filter(|name| *name != "status").collect();
        if self.flat && self.shown(path).is_none() {
            known.retain(|name| !matches!(*name, "metadata" | "spec"));
            known.extend(METADATA);
            known.extend((expected.name == Some("PodSpec")).then_some("replicas"));
        }
        let elsewhere = |name: &str| {
            let definition = schema::definitions().get(name);
            definition.is_some_and(|d| d.pointer(&format!("/properties/{key}")).is_some())
        };
        let is_section = expected.name.is_some_and(|name| name.starts_with("Lab"));
        let label = if let Some(meant) = closest(key, known.iter().copied()) {
            Some(format!("did you mean `{meant}`?"))
        } else if is_section {
            Some(format!("here may stand {}", either(known)))
        } else if self.flat && matches!(key, "metadata" | "spec") {
            Some("in a lab file its fields stand here, without it".to_owned())
        } else if !self.flat && expected.name != Some("ObjectMeta") && elsewhere("ObjectMeta") {
            Some("it belongs under `metadata`".to_owned())
        } else if !self.flat && path.segments().is_empty() && elsewhere("PodSpec") {
            Some("it belongs under `spec`".to_owned())
        } else if known.len() <= 12 && !known.is_empty() {
            Some(format!("here may stand {}", either(known)))
        } else {
            None
        };
        let key = key.escape_debug();
        let message = match self.shown(path) {
            Some(path) => format!("unknown field `{key}` in `{path}` of {}", self.about),
            None => format!("unknown field `{key}` in {}", self.about),
        };
        let diagnostic = self.report.error(span, message);
        diagnostic.field(path.key(&key.to_string()).to_string()).label = label;
    }

    /// ``` `ports[0]` of pod `web` ```, or only ``pod `web` ``.
    fn place_name(&self, path: &Path) -> String {
        match self.shown(path) {
            Some(path) => format!("`{path}` of {}", self.about),
            None => self.about.to_owned(),
        }
    }

    /// The path as the file has it; `None` is the object itself.
    fn shown(&self, path: &Path) -> Option<String> {
        shown(path, self.flat)
    }
}

/// `path` as the file has it; `None` is the object itself.
pub(super) fn shown(path: &Path, flat: bool) -> Option<String> {
    let shown = match flat {
        true => path.without_first("spec").without_first("metadata"),
        false => path.clone(),
    };
    (!shown.segments().is_empty()).then(|| shown.to_string())
}
