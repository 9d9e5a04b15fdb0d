// SPDX-License-Identifier: GPL-3.0-or-later
//! What a schema says that a value may be.

use serde_json::{Map, Value as Json};

use super::tree::{Node, Value};
use crate::schema;

/// A schema that is no reference, with the name under which it is defined.
pub(super) struct Resolved<'a> {
    pub(super) schema: &'a Json,
    pub(super) name: Option<&'a str>,
}

pub(super) fn resolve(schema: &Json) -> Resolved<'_> {
    let mut resolved = Resolved { schema, name: None };
    loop {
        let schema = resolved.schema;
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let name = reference.rsplit('/').next().unwrap_or(reference);
            let definition = schema::definitions().get(name).unwrap_or(&Json::Null);
            resolved = Resolved { schema: definition, name: Some(name) };
        } else if let [only] = not_null(schema).as_slice() {
            resolved = Resolved { schema: only, name: None };
        } else {
            return resolved;
        }
    }
}

/// The alternatives of an `anyOf` that are not null.
fn not_null(schema: &Json) -> Vec<&Json> {
    let alternatives = schema.get("anyOf").and_then(Json::as_array);
    let is_null = |schema: &&Json| schema.get("type").is_some_and(|name| name == "null");
    alternatives.into_iter().flatten().filter(|schema| !is_null(schema)).collect()
}

impl<'a> Resolved<'a> {
    /// Itself, or what it may be.
    pub(super) fn alternatives(&self) -> Vec<Resolved<'a>> {
        let alternatives = not_null(self.schema);
        if alternatives.is_empty() {
            return vec![Resolved { schema: self.schema, name: self.name }];
        }
        alternatives.into_iter().map(resolve).collect()
    }

    /// The texts that it may be, when it is an enumeration.
    pub(super) fn choices(&self) -> Vec<&'a str> {
        let constants = self.schema.get("oneOf").and_then(Json::as_array).into_iter().flatten();
        let constants = constants.filter_map(|schema| schema.get("const"));
        let listed = self.schema.get("enum").and_then(Json::as_array).into_iter().flatten();
        constants.chain(listed).filter_map(Json::as_str).collect()
    }

    pub(super) fn types(&self) -> Vec<&'a str> {
        match self.schema.get("type") {
            Some(Json::String(name)) => vec![name],
            Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn has_type(&self, name: &str) -> bool {
        self.types().contains(&name)
    }

    pub(super) fn properties(&self) -> impl Iterator<Item = &'a str> {
        let properties = self.schema.get("properties").and_then(Json::as_object);
        properties.into_iter().flat_map(Map::keys).map(String::as_str)
    }

    pub(super) fn accepts(&self, node: &Node) -> bool {
        let names = self.types();
        let accepts = |name: &&str| match &node.value {
            Value::Null => *name == "null",
            Value::Bool(_) => *name == "boolean",
            Value::Text(_) => *name == "string",
            Value::Sequence(_) => *name == "array",
            Value::Mapping(_) => *name == "object",
            Value::Number(number) => {
                let whole = number.as_f64().is_some_and(|number| number.fract() == 0.0);
                *name == "number" || (*name == "integer" && whole)
            }
        };
        names.is_empty() || names.iter().any(accepts)
    }
}
