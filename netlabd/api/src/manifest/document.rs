// SPDX-License-Identifier: GPL-3.0-or-later
//! Documents into objects: Kubernetes' form, with `kind`, `metadata` and `spec`.

use std::ops::Range;

use serde_json::Value as Json;

use super::container;
use super::diagnostic::Report;
use super::path::Path;
use super::read::{Reader, shown};
use super::suggest::{closest, either};
use super::tree::{Entry, Node, Value};
use super::unsupported;
use super::{Format, Located, Names, Options, SOURCE_ANNOTATION, Source};
use crate::lab::Lab;
use crate::names;
use crate::resource::{API_VERSION, Kind, Object};
use crate::validate::validate;
use crate::{EndpointSlice, Namespace, Node as NodeObject, Pod, Service};

/// Kinds that a file may hold; netlab makes the others itself.
const WRITABLE: [Kind; 5] =
    [Kind::Namespace, Kind::Node, Kind::Pod, Kind::Service, Kind::EndpointSlice];

/// Fields of `metadata` that the server writes; a file made by `get -o yaml` has them.
const SERVER_METADATA: [&str; 5] =
    ["creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "uid"];

/// What was found in a file so far.
pub(super) struct Found<'a, 's> {
    pub(super) source: &'s Source,
    pub(super) format: Format,
    pub(super) options: &'a Options,
    pub(super) report: &'a mut Report<'s>,
    pub(super) lab: Option<Lab>,
    /// The sections of the lab as the file has them, by name and in order.
    pub(super) lab_sections: Vec<(&'static str, Node)>,
    pub(super) objects: Vec<Located<Object>>,
    names: Names,
}

/// An object as the file has it, with `metadata` and `spec` apart.
pub(super) struct Draft {
    pub(super) kind: Kind,
    pub(super) node: Node,
    /// Whether the file has the fields of both side by side.
    pub(super) flat: bool,
    /// Whether it gets the labels that services look for in the simplest lab.
    pub(super) default_labels: bool,
    /// How many there are to be, when they are counted.
    pub(super) replicas: Option<u32>,
}

impl<'a, 's> Found<'a, 's> {
    pub(super) fn new(
        source: &'s Source,
        format: Format,
        options: &'a Options,
        report: &'a mut Report<'s>,
    ) -> Found<'a, 's> {
        let (lab, lab_sections, objects, names) = (None, Vec::new(), Vec::new(), Names::new());
        Found { source, format, options, report, lab, lab_sections, objects, names }
    }

    /// Takes up one document: an object, a list of them, or a lab.
    pub(super) fn document(&mut self, node: &Node) {
        match &node.value {
            Value::Sequence(items) => items.iter().for_each(|item| self.document(item)),
            Value::Mapping(_) if is_object(node) => self.object(node),
            Value::Mapping(_) => self.lab(node),
            _ => {
                let message =
                    format!("an object must be a table of fields, not {}", node.describe());
                let example = "for example `kind: Pod` with `metadata: { name: web }`";
                self.report.error(node.span.clone(), message).label(example);
            }
        }
    }

    fn object(&mut self, node: &Node) {
        let Some(kind) = node.get("kind") else {
            let message = "this object does not say its `kind`".to_owned();
            let diagnostic = self.report.error(node.span.clone(), message);
            diagnostic.field("kind").label("for example `kind: Pod`");
            return;
        };
        let Some(word) = kind.as_text() else {
            let message = format!("`kind` must be a text, not {}", kind.describe());
            self.report.error(kind.span.clone(), message).field("kind");
            return;
        };
        if word == "List" || (word.ends_with("List") && node.get("items").is_some()) {
            return self.list(node, word);
        }
        let Some(known) = WRITABLE.into_iter().find(|known| known.name() == word) else {
            return self.foreign_kind(word, kind.span.clone());
        };
        self.check_version(node, known);
        let entries = node.entries().unwrap_or_default().iter();
        // What the server says of an object is not for a file to say.
        let entries =
            entries.filter(|e| !["apiVersion", "kind", "status"].contains(&e.key.as_str()));
        let entries = entries.filter_map(|entry| match entry.key.as_str() {
            "metadata" => Some(without_server_fields(entry.clone())),
            "spec" if known == Kind::Pod => container::fold(self.report, entry.clone()),
            _ => Some(entry.clone()),
        });
        let node = Node::new(Value::Mapping(entries.collect()), node.span.clone());
        self.take(Draft { kind: known, node, flat: false, default_labels: false, replicas: None });
    }

    fn list(&mut self, node: &Node, word: &str) {
        match node.get("items").map(|items| (&items.value, &items.span)) {
            Some((Value::Sequence(items), _)) => items.iter().for_each(|item| self.document(item)),
            other => {
                let span = other.map_or_else(|| node.span.clone(), |(_, span)| span.clone());
                let message = format!("`items` of a `{word}` must be a list of objects");
                self.report.error(span, message).field("items");
            }
        }
    }

    fn check_version(&mut self, node: &Node, kind: Kind) {
        let Some(version) = node.get("apiVersion") else { return };
        let known = kind.kubernetes_version();
        let text = version.as_text();
        if text != Some(API_VERSION) && text != Some(known) {
            let kind = kind.name();
            let message = format!(
                "`apiVersion` of kind `{kind}` must be `{known}`, not {}",
                version.describe()
            );
            let diagnostic = self.report.error(version.span.clone(), message);
            diagnostic.field("apiVersion").label(format!("write `{known}`"));
        }
    }

    fn foreign_kind(&mut self, word: &str, span: Range<usize>) {
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == word) {
            let message = format!("{} are made by netlab itself, not by files", kind.plural());
            self.report.error(span, message).field("kind");
            return;
        }
        let supported = either(WRITABLE.map(Kind::name));
        if unsupported::is_kubernetes_kind(word) {
            return self.unsupported_section(format!("kind `{word}`"), span, "kind", &supported);
        }
        let meant = closest(word, WRITABLE.map(Kind::name));
        let message = format!("unknown kind `{}`", word.escape_debug());
        let label = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("supported are {supported}"),
        };
        self.report.error(span, message).field("kind").label(label);
    }

    /// Tells of something that Kubernetes or a later netlab knows.
    pub(super) fn unsupported_section(
        &mut self,
        what: String,
        span: Range<usize>,
        field: &str,
        supported: &str,
    ) {
        if self.options.ignore_unsupported {
            let message = format!("{what} is not supported yet and is ignored");
            self.report.warning(span, message).field(field);
        } else {
            let message = format!("{what} is not supported yet");
            let label =
                format!("supported are {supported}; --ignore-unsupported goes on without it");
            self.report.error(span, message).field(field).label(label);
        }
    }

    /// Takes up an object: reads it, validates it, and keeps it unless it is faulty.
    pub(super) fn take(&mut self, draft: Draft) {
        let Draft { kind, node, flat, default_labels, replicas } = draft;
        let before = self.report.error_count();
        let name = node.get("metadata").and_then(|m| m.get("name"));
        let name_span = name.map_or_else(|| node.span.clone(), |name| name.span.clone());
        let about = match name.and_then(Node::as_text) {
            Some(name) => format!("{} `{}`", kind.singular(), name.escape_debug()),
            None => format!("this {}", kind.singular()),
        };
        if name.is_none() {
            let path = if flat { "name" } else { "metadata.name" };
            let diagnostic = self.report.error(node.span.clone(), format!("{about} has no name"));
            diagnostic.field("metadata.name").label(format!("write its `{path}`"));
        }
        let value = Reader {
            report: &mut *self.report,
            format: self.format,
            ignore_unsupported: self.options.ignore_unsupported,
            about: &about,
            flat,
        }
        .definition(&node, kind.name(), &Path::default());
        if self.report.error_count() > before {
            return;
        }
        let mut object = match object_of(kind, value) {
            Ok(object) => object,
            Err((path, message)) => {
                let path = Path::parse(&path);
                let shown = shown(&path, flat).unwrap_or_else(|| "object".to_owned());
                let message = format!("`{shown}` of {about} cannot be read: {message}");
                let diagnostic = self.report.error(node.place(&path), message);
                diagnostic.field(path.to_string());
                return;
            }
        };
        let line = self.report.line(node.span.start);
        let source = format!("{}:{line}", self.source.name);
        let metadata = object.metadata_mut();
        metadata.annotations.insert(SOURCE_ANNOTATION.to_owned(), source);
        if kind.is_namespaced() && metadata.namespace.is_none() {
            metadata.namespace = Some(self.options.default_namespace.clone());
        }
        for fault in validate(&object) {
            let path = Path::parse(&fault.field);
            let shown = shown(&path, flat).unwrap_or_else(|| "object".to_owned());
            let message = format!("`{shown}` of {about} {}", fault.message);
            let place = if fault.in_key { node.key_place(&path) } else { node.place(&path) };
            self.report.error(place, message).field(fault.field).label = fault.hint;
        }
        if self.report.error_count() > before {
            return;
        }
        if default_labels {
            let metadata = object.metadata_mut();
            metadata.labels = Pod::default_labels(&metadata.name);
        }
        for object in copies(object, replicas) {
            if !self.keep(object, line, &name_span) {
                break;
            }
        }
    }

    /// Whether it could be kept: no other has its name.
    fn keep(&mut self, object: Object, line: usize, place: &Range<usize>) -> bool {
        let metadata = object.metadata();
        let singular = object.kind().singular();
        // The number of a replica may make a name too long that was not.
        if object.kind() == Kind::Pod
            && let Err(error) = names::dns_label(&metadata.name)
        {
            let message = format!("the name of the replica {}", error.message);
            let diagnostic = self.report.error(place.clone(), message);
            diagnostic.field("metadata.name").label("the number of the replica counts too");
            return false;
        }
        let key = (object.kind(), metadata.namespace.clone(), metadata.name.clone());
        if let Some(first) = self.names.insert(key, line) {
            let name = &metadata.name;
            let within = metadata.namespace.as_ref().map(|ns| format!(" of namespace `{ns}`"));
            let message = format!(
                "{singular} `{name}`{} is defined twice, in line {first} and in line {line}",
                within.unwrap_or_default()
            );
            let diagnostic = self.report.error(place.clone(), message);
            diagnostic.field("metadata.name").label("give one of them another name");
            return false;
        }
        self.objects.push(Located { value: object, file: self.source.name.clone(), line });
        true
    }
}

/// Whether a document is one object rather than a lab.
fn is_object(node: &Node) -> bool {
    ["kind", "apiVersion", "metadata", "spec"].into_iter().any(|key| node.entry(key).is_some())
}

fn without_server_fields(mut metadata: Entry) -> Entry {
    if let Value::Mapping(entries) = &mut metadata.value.value {
        entries.retain(|entry| !SERVER_METADATA.contains(&entry.key.as_str()));
    }
    metadata
}

/// `web`, or `web-0`, `web-1`, …
fn copies(object: Object, replicas: Option<u32>) -> Vec<Object> {
    let Some(count) = replicas else { return vec![object] };
    let copy = |number| {
        let mut copy = object.clone();
        let name = &mut copy.metadata_mut().name;
        *name = format!("{name}-{number}");
        copy
    };
    (0..count).map(copy).collect()
}

/// Deserialises what passed the schema; what fails nevertheless is told with its path.
fn object_of(kind: Kind, value: Json) -> Result<Object, (String, String)> {
    fn typed<T: serde::de::DeserializeOwned>(value: Json) -> Result<T, (String, String)> {
        serde_path_to_error::deserialize(value)
            .map_err(|error| (error.path().to_string(), error.inner().to_string()))
    }
    match kind {
        Kind::Namespace => typed::<Namespace>(value).map(Object::Namespace),
        Kind::Node => typed::<NodeObject>(value).map(Object::Node),
        Kind::Pod => typed::<Pod>(value).map(Object::Pod),
        Kind::Service => typed::<Service>(value).map(Object::Service),
        Kind::EndpointSlice => typed::<EndpointSlice>(value).map(Object::EndpointSlice),
        _ => Err((String::new(), format!("BUG: kind {} is not written in files", kind.name()))),
    }
}
