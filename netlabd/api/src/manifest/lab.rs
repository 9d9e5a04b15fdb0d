// SPDX-License-Identifier: GPL-3.0-or-later
//! Lab files: sections of objects, each with the fields of `metadata` and `spec` side by side.

use std::ops::Range;

use serde_json::Value as Json;

use super::Format;
use super::container;
use super::document::{Draft, Found};
use super::path::Path;
use super::read::Reader;
use super::suggest::{closest, either};
use super::tree::{Entry, Node, Value};
use crate::lab::{self, Lab};
use crate::resource::Kind;

/// Sections that hold objects.
const SECTIONS: [(&str, Kind); 4] = [
    ("namespace", Kind::Namespace),
    ("pod", Kind::Pod),
    ("service", Kind::Service),
    ("endpointslice", Kind::EndpointSlice),
];

/// Sections that this version knows and does not carry out.
const LATER: [&str; 1] = ["policy"];

/// Fields of a section that belong to `metadata`.
pub(super) const METADATA: [&str; 4] = ["name", "namespace", "labels", "annotations"];

/// What was read, or the path of the field that cannot be and words.
type Read<T> = Result<T, (String, String)>;

/// A section that describes the lab itself.
struct Part {
    section: &'static str,
    /// Whether there may be several.
    many: bool,
    /// Name of its schema.
    definition: &'static str,
    /// Puts what was read into the lab.
    put: fn(&mut Lab, Json) -> Read<()>,
}

const PARTS: [Part; 6] = [
    Part {
        section: "lab",
        many: false,
        definition: "LabSettings",
        put: |lab, value| typed(value).map(|settings| lab.settings = settings),
    },
    Part {
        section: "node",
        many: true,
        definition: "LabNode",
        put: |lab, value| typed(value).map(|it| lab.nodes.push(it)),
    },
    Part {
        section: "host",
        many: true,
        definition: "LabHost",
        put: |lab, value| typed(value).map(|it| lab.hosts.push(it)),
    },
    Part {
        section: "network",
        many: true,
        definition: "LabNetwork",
        put: |lab, value| typed(value).map(|it| lab.networks.push(it)),
    },
    Part {
        section: "link",
        many: true,
        definition: "LabLink",
        put: |lab, value| typed(value).map(|it| lab.links.push(it)),
    },
    Part {
        section: "test",
        many: true,
        definition: "LabTest",
        put: |lab, value| typed(value).map(|it| lab.tests.push(it)),
    },
];

fn typed<T: serde::de::DeserializeOwned>(value: Json) -> Read<T> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| (error.path().to_string(), error.inner().to_string()))
}

/// ``node `n1` ``, or what else a section is called in messages.
fn about(section: &str, node: &Node) -> String {
    let name = ["name", "of"].into_iter().find_map(|key| node.get(key)?.as_text());
    match name {
        Some(name) if section != "lab" => format!("{section} `{}`", name.escape_debug()),
        _ if section == "lab" => "`lab`".to_owned(),
        _ => format!("this {section}"),
    }
}

/// Most pods that one section makes; more is a slip rather than a lab.
pub(crate) const MOST_REPLICAS: u32 = 1000;

fn known_sections() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|part| part.section).chain(SECTIONS.iter().map(|(section, _)| *section))
}

impl Found<'_, '_> {
    /// Takes up a lab.
    pub(super) fn lab(&mut self, node: &Node) {
        for Entry { key, key_span, value } in node.entries().unwrap_or_default() {
            if let Some(part) = PARTS.iter().find(|part| part.section == key) {
                self.lab_part(part, key_span, value);
            } else if let Some((_, kind)) = SECTIONS.iter().find(|(section, _)| section == key) {
                self.section(*kind, key, key_span, value);
            } else if LATER.contains(&key.as_str()) {
                let what = format!("section `{key}`");
                let supported = either(known_sections());
                self.unsupported_section(what, key_span.clone(), key, &supported);
            } else {
                self.unknown_section(key, key_span.clone());
            }
        }
    }

    fn unknown_section(&mut self, key: &str, span: Range<usize>) {
        let is_field = METADATA.contains(&key) || container::is_pod_field(key);
        let label = match closest(key, known_sections().chain(LATER)) {
            None if is_field && self.format == Format::Toml => {
                "a field of a pod: write `[[pod]]` above it".to_owned()
            }
            Some(meant) => format!("did you mean `{meant}`?"),
            None => {
                format!(
                    "a file has the sections {}, or one object with its `kind`",
                    either(known_sections())
                )
            }
        };
        let message = format!("unknown section `{}`", key.escape_debug());
        self.report.error(span, message).field(key).label(label);
    }

    /// Takes up one of the sections that describe the lab itself.
    fn lab_part(&mut self, part: &Part, key_span: &Range<usize>, node: &Node) {
        let items = match (&node.value, part.many) {
            (Value::Sequence(items), true) => items.as_slice(),
            (Value::Mapping(_), false) => std::slice::from_ref(node),
            (_, true) => return self.no_list(part.section, key_span, node),
            (_, false) => {
                let message = format!("`lab` must be a table of fields, not {}", node.describe());
                self.report.error(node.span.clone(), message).field("lab");
                return;
            }
        };
        for item in items {
            if item.entries().is_none() {
                let section = part.section;
                let message =
                    format!("a {section} must be a table of fields, not {}", item.describe());
                self.report.error(item.span.clone(), message).field(section);
                continue;
            }
            let before = self.report.error_count();
            let about = about(part.section, item);
            let value = Reader {
                report: &mut *self.report,
                format: self.format,
                ignore_unsupported: self.options.ignore_unsupported,
                about: &about,
                flat: false,
            }
            .definition(item, part.definition, &Path::default());
            if self.report.error_count() > before {
                continue;
            }
            let lab = self.lab.get_or_insert_default();
            match (part.put)(lab, value) {
                Ok(()) => self.lab_sections.push((part.section, item.clone())),
                Err((path, message)) => {
                    let path = Path::parse(&path);
                    let message = format!("`{path}` of {about} cannot be read: {message}");
                    self.report.error(item.place(&path), message).field(path.to_string());
                }
            }
        }
    }

    /// Looks at what must hold between the sections of a lab.
    pub(super) fn finish_lab(&mut self) {
        let Some(lab) = &self.lab else { return };
        // With a section missing, its name would be missed by others.
        if self.report.has_errors() {
            return;
        }
        for fault in lab::validate(lab) {
            let of_section = self.lab_sections.iter().filter(|(name, _)| *name == fault.section);
            let Some((_, node)) = of_section.clone().nth(fault.index) else { continue };
            let path = Path::parse(&fault.field);
            let message =
                format!("`{}` of {} {}", fault.field, about(fault.section, node), fault.message);
            let meant = fault.meant.as_ref().map(|(word, known)| {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                match closest(word, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("there is {}", either(known.into_iter().take(10))),
                }
            });
            let place = if fault.in_key { node.key_place(&path) } else { node.place(&path) };
            let diagnostic = self.report.error(place, message);
            diagnostic.field(format!("{}.{}", fault.section, fault.field));
            diagnostic.label = fault.hint.or(meant);
        }
    }

    fn no_list(&mut self, key: &str, key_span: &Range<usize>, node: &Node) {
        let message = format!("section `{key}` must be a list, not {}", node.describe());
        let label = match self.format {
            Format::Toml => format!("write `[[{key}]]`, with two brackets"),
            Format::Yaml => format!("write `{key}:` and a `-` in front of each {key}"),
            Format::Json => format!("write `\"{key}\": [{{ … }}]`"),
        };
        self.report.error(key_span.clone(), message).field(key).label(label);
    }

    fn section(&mut self, kind: Kind, key: &str, key_span: &Range<usize>, node: &Node) {
        let Value::Sequence(items) = &node.value else {
            self.no_list(key, key_span, node);
            return;
        };
        for item in items {
            let Some(entries) = item.entries() else {
                let message = format!("a {key} must be a table of fields, not {}", item.describe());
                self.report.error(item.span.clone(), message).field(key);
                continue;
            };
            let before = self.report.error_count();
            let draft = self.flattened(kind, item, entries);
            if self.report.error_count() == before {
                self.take(draft);
            }
        }
    }

    fn flattened(&mut self, kind: Kind, item: &Node, entries: &[Entry]) -> Draft {
        let mut replicas = None;
        let (mut metadata, mut spec, mut outside) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            match entry.key.as_str() {
                "replicas" if kind == Kind::Pod => replicas = self.replicas(&entry.value),
                key if METADATA.contains(&key) => metadata.push(entry.clone()),
                // A slice has its fields beside its metadata.
                _ if matches!(kind, Kind::Pod | Kind::Service) => spec.push(entry.clone()),
                _ => outside.push(entry.clone()),
            }
        }
        let part = |key: &str, entries: Vec<Entry>| Entry {
            key: key.to_owned(),
            key_span: item.span.clone(),
            value: Node::new(Value::Mapping(entries), item.span.clone()),
        };
        let mut parts = vec![part("metadata", metadata)];
        parts.extend((!spec.is_empty()).then(|| part("spec", spec)));
        parts.extend(outside);
        let node = Node::new(Value::Mapping(parts), item.span.clone());
        let default_labels = kind == Kind::Pod && item.entry("labels").is_none();
        Draft { kind, node, flat: true, default_labels, replicas }
    }

    fn replicas(&mut self, node: &Node) -> Option<u32> {
        let count = match &node.value {
            Value::Null => return None,
            Value::Number(number) => number.as_u64().and_then(|count| u32::try_from(count).ok()),
            _ => None,
        };
        let count = count.filter(|count| *count <= MOST_REPLICAS);
        if count.is_none() {
            let message = format!(
                "`replicas` must be a whole number from 0 to {MOST_REPLICAS}, not {}",
                node.describe()
            );
            self.report.error(node.span.clone(), message).field("replicas");
        }
        count
    }
}
