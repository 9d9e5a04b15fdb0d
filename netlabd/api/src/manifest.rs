// SPDX-License-Identifier: GPL-3.0-or-later
//! Files that say what a cluster should hold: lab files, and Kubernetes manifests.
//!
//! A file is TOML, YAML or JSON. Each is read into one tree whose nodes know their place in the
//! text; the tree is walked against the JSON Schema of the objects' Rust types, so that all faults
//! of a file are found at once, each with its place; what passes is deserialised and validated.
//!
//! ```text
//! text ─► toml | yaml | json ─► Node ─► object | lab ─► read (schema) ─► Object ─► validate
//!                                └──────────── places of faults ◄──────────────────────┘
//! ```
//!
//! Nothing here opens a file: texts come in as [`Source`].

mod container;
mod diagnostic;
mod document;
mod example;
mod expected;
mod json;
mod lab;
mod path;
mod read;
mod suggest;
mod toml;
mod tree;
mod unsupported;
mod yaml;

use std::collections::BTreeMap;

pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
pub use suggest::closest;

use crate::lab::Lab;
use crate::resource::{Kind, Object};
pub(crate) use container::CONTAINER_FIELDS;
use diagnostic::Report;
pub(crate) use lab::MOST_REPLICAS;
use path::Path;

/// Annotation that says where an object was written: `web.toml:12`.
pub const SOURCE_ANNOTATION: &str = "netlab.io/source";

/// Namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A file's name and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name for messages; its extension tells the format.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Forms of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `*.toml`.
    Toml,
    /// `*.yaml`, `*.yml`.
    Yaml,
    /// `*.json`.
    Json,
}

/// How to read a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The format; without it the file's extension or else its text tells.
    pub format: Option<Format>,
    /// Whether fields and kinds that netlab does not carry out are warnings instead of errors.
    pub ignore_unsupported: bool,
    /// Namespace of objects that name none.
    pub default_namespace: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            format: None,
            ignore_unsupported: false,
            default_namespace: DEFAULT_NAMESPACE.to_owned(),
        }
    }
}

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    /// The lab that the file describes, when it has a section of one.
    pub lab: Option<Lab>,
    /// The objects, in the file's order, namespaces first.
    pub objects: Vec<Located<Object>>,
    /// What somebody should know, although the file can be carried out.
    pub warnings: Vec<Diagnostic>,
}

/// Something with the place where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The thing.
    pub value: T,
    /// Name of the file.
    pub file: String,
    /// Line of its first character, from 1.
    pub line: usize,
}

impl Source {
    /// A file of `bytes`, which must be UTF-8.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Source, Diagnostics> {
        let name = name.into();
        let error = match String::from_utf8(bytes) {
            Ok(text) => return Ok(Source { name, text }),
            Err(error) => error,
        };
        let good = error.utf8_error().valid_up_to();
        let byte = error.as_bytes()[good];
        let source = Source { name, text: String::from_utf8_lossy(error.as_bytes()).into_owned() };
        let mut report = Report::new(&source);
        report
            .error(good..good + 1, format!("byte {byte:#04x} is not UTF-8 text"))
            .label("save the file as UTF-8");
        Err(report.into_diagnostics())
    }

    /// The format that the name's extension tells, or else what the text looks like.
    pub fn format(&self) -> Format {
        match self.name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("toml") => return Format::Toml,
            Some("yaml" | "yml") => return Format::Yaml,
            Some("json") => return Format::Json,
            _ => {}
        }
        let mut lines =
            self.text.lines().map(str::trim).filter(|line| {
                !line.is_empty() && !line.starts_with('#') && !line.starts_with("---")
            });
        match lines.next() {
            Some(line) if line.starts_with('{') => Format::Json,
            Some(line) if line.starts_with('[') => {
                // `[{` and a lone `[` open a JSON array; `[lab]` and `[[pod]]` are TOML tables.
                let inner = line.trim_start_matches('[').trim_start();
                let table = inner.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                if table { Format::Toml } else { Format::Json }
            }
            Some(line) => {
                let key = line.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
                let rest = key.map(|end| line[end..].trim_start()).unwrap_or_default();
                if rest.starts_with('=') { Format::Toml } else { Format::Yaml }
            }
            None => Format::Yaml,
        }
    }
}

/// Reads a file. Either all of it is good, or every fault that was found is told.
pub fn parse(source: &Source, options: &Options) -> Result<Manifest, Diagnostics> {
    let format = options.format.unwrap_or_else(|| source.format());
    let mut report = Report::new(source);
    let documents = match format {
        Format::Toml => toml::read(source, &mut report),
        Format::Yaml => yaml::read(source, &mut report),
        Format::Json => json::read(source, &mut report),
    };
    let mut found = document::Found::new(source, format, options, &mut report);
    // Half a tree would show up as missing fields, which says nothing new.
    if !found.report.has_errors() {
        for node in &documents {
            found.document(node);
        }
    }
    found.finish_lab();
    let document::Found { lab, mut objects, .. } = found;
    if report.has_errors() {
        return Err(report.into_diagnostics());
    }
    objects.sort_by_key(|object| object.value.kind() != Kind::Namespace);
    Ok(Manifest { lab, objects, warnings: report.into_warnings() })
}

/// What is wrong with a TOML file by somebody's own rules: each with the path of a value, words, and
/// what to do about it.
pub(crate) fn diagnose(
    source: &Source,
    faults: impl IntoIterator<Item = (String, String, String)>,
) -> Diagnostics {
    let mut report = Report::new(source);
    let tree = toml::read(source, &mut report);
    for (field, message, cure) in faults {
        let path = Path::parse(&field);
        let place = tree.first().map_or(0..0, |node| node.place(&path));
        report.error(place, message).field(field).label(cure);
    }
    report.into_diagnostics()
}

/// The first line of each object of one kind, namespace and name.
type Names = BTreeMap<(Kind, Option<String>, String), usize>;

#[cfg(test)]
mod tests;
