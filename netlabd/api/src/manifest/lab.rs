// SPDX-License-Identifier: GPL-3.0-or-later
//! Lab files: sections of objects, each with the fields of `metadata` and `spec` side by side.

use std::ops::Range;

use super::container;
use super::document::{Draft, Found};
use super::suggest::{closest, either};
use super::tree::{Entry, Node, Value};
use super::{Format, Lab};
use crate::resource::Kind;

/// Sections that hold objects.
const SECTIONS: [(&str, Kind); 2] = [("namespace", Kind::Namespace), ("pod", Kind::Pod)];

/// Sections that this version knows and does not carry out.
const LATER: [&str; 6] = ["node", "host", "network", "service", "policy", "test"];

/// Fields of a section that belong to `metadata`.
pub(super) const METADATA: [&str; 4] = ["name", "namespace", "labels", "annotations"];

/// Fields of `[lab]`.
const LAB: [&str; 2] = ["name", "network"];

/// Most pods that one section makes; more is a slip rather than a lab.
pub(crate) const MOST_REPLICAS: u32 = 1000;

fn known_sections() -> impl Iterator<Item = &'static str> {
    ["lab"].into_iter().chain(SECTIONS.iter().map(|(section, _)| *section))
}

impl Found<'_, '_> {
    /// Takes up a lab.
    pub(super) fn lab(&mut self, node: &Node) {
        for Entry { key, key_span, value } in node.entries().unwrap_or_default() {
            if key == "lab" {
                self.lab_section(value);
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

    fn lab_section(&mut self, node: &Node) {
        let mut lab = Lab::default();
        let Some(entries) = node.entries() else {
            let message = format!("`lab` must be a table of fields, not {}", node.describe());
            self.report.error(node.span.clone(), message).field("lab");
            return;
        };
        for Entry { key, key_span, value } in entries {
            let field = match key.as_str() {
                "name" => &mut lab.name,
                "network" => &mut lab.network,
                _ => {
                    let message = format!("unknown field `{}` in `lab`", key.escape_debug());
                    let label = match closest(key, LAB) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!("here may stand {}", either(LAB)),
                    };
                    self.report.error(key_span.clone(), message).field("lab").label(label);
                    continue;
                }
            };
            match value.as_text() {
                Some(text) => *field = Some(text.to_owned()),
                None => {
                    let message =
                        format!("`{key}` of `lab` must be a text, not {}", value.describe());
                    self.report.error(value.span.clone(), message).field(format!("lab.{key}"));
                }
            }
        }
        if let Some(name) = &lab.name
            && let Err(error) = crate::names::dns_label(name)
        {
            let span = node.get("name").map_or_else(|| node.span.clone(), |n| n.span.clone());
            let message = format!("`name` of `lab`: {}", error.message);
            self.report.error(span, message).field("lab.name").label = error.hint;
        }
        const NETWORKS: [&str; 3] = ["auto", "host-gw", "vxlan"];
        if let Some(network) = &lab.network
            && !NETWORKS.contains(&network.as_str())
        {
            let span = node.get("network").map_or_else(|| node.span.clone(), |n| n.span.clone());
            let network = network.escape_debug();
            let message =
                format!("`network` of `lab` must be {}, not `{network}`", either(NETWORKS));
            let meant = closest(&network.to_string(), NETWORKS);
            self.report.error(span, message).field("lab.network").label =
                meant.map(|meant| format!("did you mean `{meant}`?"));
        }
        self.lab = Some(lab);
    }

    fn section(&mut self, kind: Kind, key: &str, key_span: &Range<usize>, node: &Node) {
        let Value::Sequence(items) = &node.value else {
            let message = format!("section `{key}` must be a list, not {}", node.describe());
            let label = match self.format {
                Format::Toml => format!("write `[[{key}]]`, with two brackets"),
                Format::Yaml => format!("write `{key}:` and a `-` in front of each {key}"),
                Format::Json => format!("write `\"{key}\": [{{ … }}]`"),
            };
            self.report.error(key_span.clone(), message).field(key).label(label);
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
                _ if kind == Kind::Pod => spec.push(entry.clone()),
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
