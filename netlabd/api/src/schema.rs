// SPDX-License-Identifier: GPL-3.0-or-later
//! JSON Schemas of the objects and of the files that hold them, made from the Rust types.
//!
//! `docs/schema/manifest.json` is for Kubernetes manifests (YAML, JSON), `docs/schema/lab.json` for
//! lab files (TOML); editors check and complete with them. They accept what
//! [`crate::manifest::parse`] accepts.

use std::borrow::Cow;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::lab::{LabHost, LabLink, LabNetwork, LabNode, LabSettings, LabTest};
use crate::manifest::MOST_REPLICAS;
use crate::resource::API_VERSION;
use crate::resource::Kind;
use crate::{EndpointSlice, Namespace, Node, Pod, Service};

/// The dialect that the schemas are written in.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Stands in schemas for an address of either family.
pub(crate) struct IpText;

impl JsonSchema for IpText {
    fn schema_name() -> Cow<'static, str> {
        "IpText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "ip" })
    }
}

static DEFINITIONS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    generator.subschema_for::<Namespace>();
    generator.subschema_for::<Node>();
    generator.subschema_for::<Pod>();
    generator.subschema_for::<Service>();
    generator.subschema_for::<EndpointSlice>();
    generator.subschema_for::<LabSettings>();
    generator.subschema_for::<LabNode>();
    generator.subschema_for::<LabHost>();
    generator.subschema_for::<LabNetwork>();
    generator.subschema_for::<LabLink>();
    generator.subschema_for::<LabTest>();
    generator.take_definitions(true)
});

/// The schema of each type that a manifest's objects are made of, by its name.
pub(crate) fn definitions() -> &'static Map<String, Value> {
    &DEFINITIONS
}

/// The schema of a Kubernetes manifest: one object, a `List`, or an array of them.
pub fn manifest_schema() -> Value {
    let mut definitions = definitions().clone();
    let mut objects = Vec::new();
    for kind in [Kind::Namespace, Kind::Node, Kind::Pod, Kind::Service, Kind::EndpointSlice] {
        let (kind, version) = (kind.name(), kind.kubernetes_version());
        let mut object = definitions.remove(kind).unwrap_or_default();
        if let Some(properties) = object.pointer_mut("/properties").and_then(Value::as_object_mut) {
            let versions = match version {
                API_VERSION => json!({ "const": API_VERSION }),
                other => json!({ "enum": [API_VERSION, other] }),
            };
            properties.insert("apiVersion".to_owned(), versions);
            properties.insert("kind".to_owned(), json!({ "const": kind }));
            // The server writes it; a file may hold what the server wrote and nobody reads it.
            properties.insert("status".to_owned(), json!(true));
        }
        object["required"] = json!(["kind", "metadata"]);
        definitions.insert(kind.to_owned(), object);
        objects.push(json!({ "$ref": format!("#/$defs/{kind}") }));
    }
    let container = container(&definitions);
    definitions.insert("Container".to_owned(), container);
    if let Some(spec) = properties_of(&mut definitions, "PodSpec") {
        spec.insert(
            "containers".to_owned(),
            json!({
                "description": "As Kubernetes writes it: the fields of the one container.",
                "type": "array",
                "maxItems": 1,
                "items": { "$ref": "#/$defs/Container" },
            }),
        );
    }
    require_name(&mut definitions);
    definitions.insert("Object".to_owned(), json!({ "oneOf": objects }));
    definitions.insert(
        "List".to_owned(),
        json!({
            "type": "object",
            "properties": {
                "apiVersion": { "const": "v1" },
                "kind": { "type": "string", "pattern": "List$" },
                "metadata": true,
                "items": { "type": "array", "items": { "$ref": "#/$defs/Object" } },
            },
            "required": ["kind", "items"],
        }),
    );
    prune(&mut definitions);
    let item = json!({ "anyOf": [{ "$ref": "#/$defs/Object" }, { "$ref": "#/$defs/List" }] });
    json!({
        "$schema": DIALECT,
        "title": "netlab manifest",
        "anyOf": [item, { "type": "array", "items": item }],
        "$defs": definitions,
    })
}

/// The schema of a lab file.
pub fn lab_schema() -> Value {
    let mut definitions = definitions().clone();
    require_name(&mut definitions);
    let metadata = ["name", "namespace", "labels", "annotations"];
    let fields = |from: &str, wanted: &dyn Fn(&str) -> bool| -> Map<String, Value> {
        let properties = definitions.get(from).and_then(|d| d.get("properties"));
        let properties = properties.and_then(Value::as_object).cloned().unwrap_or_default();
        properties.into_iter().filter(|(name, _)| wanted(name)).collect()
    };
    let mut pod = fields("ObjectMeta", &|name| metadata.contains(&name));
    pod.extend(fields("PodSpec", &|_| true));
    pod.insert(
        "replicas".to_owned(),
        json!({
            "description": "Makes so many pods, named `name-0`, `name-1` and so on.",
            "type": "integer",
            "minimum": 0,
            "maximum": MOST_REPLICAS,
        }),
    );
    let mut service = fields("ObjectMeta", &|name| metadata.contains(&name));
    service.extend(fields("ServiceSpec", &|_| true));
    let mut slice = fields("ObjectMeta", &|name| metadata.contains(&name));
    slice.extend(fields("EndpointSlice", &|name| name != "metadata"));
    // A namespace lives in no namespace.
    let namespace = fields("ObjectMeta", &|name| metadata.contains(&name) && name != "namespace");
    let section = |description: &str, properties: Map<String, Value>| {
        json!({
            "description": description,
            "type": "array",
            "items": {
                "type": "object",
                "properties": properties,
                "required": ["name"],
                "additionalProperties": false,
            },
        })
    };
    let lab_section = |description: &str, name: &str| {
        json!({
            "description": description,
            "type": "array",
            "items": { "$ref": format!("#/$defs/{name}") },
        })
    };
    let sections = json!({
        "lab": { "$ref": "#/$defs/LabSettings" },
        "node": lab_section("Nodes, each with a daemon; the first one is the server.", "LabNode"),
        "host": lab_section("Machines outside the cluster.", "LabHost"),
        "network": lab_section("Networks between machines.", "LabNetwork"),
        "link": lab_section("What is wrong with links.", "LabLink"),
        "test": lab_section("What must be true.", "LabTest"),
        "namespace": section("Sets of names.", namespace),
        "pod": section("Processes with a network of their own.", pod),
        "service": section("One name and one address for many pods.", service),
        "endpointslice": section("Where the connections of services without selector end.", slice),
    });
    let mut schema = json!({
        "$schema": DIALECT,
        "title": "netlab lab",
        "type": "object",
        "properties": sections,
        "additionalProperties": false,
    });
    let flattened = [
        "Namespace",
        "Node",
        "Pod",
        "Service",
        "EndpointSlice",
        "ObjectMeta",
        "PodSpec",
        "ServiceSpec",
    ];
    for kind in flattened {
        definitions.remove(kind);
    }
    let mut used = json!({ "$defs": definitions, "root": schema["properties"] });
    prune_from(&mut used);
    schema["$defs"] = used["$defs"].take();
    schema
}

/// The schema of a container: those of a pod's fields that Kubernetes has there.
fn container(definitions: &Map<String, Value>) -> Value {
    let spec = definitions.get("PodSpec").and_then(|d| d.get("properties"));
    let spec = spec.and_then(Value::as_object).cloned().unwrap_or_default();
    let mut properties: Map<String, Value> = spec
        .into_iter()
        .filter(|(name, _)| crate::manifest::CONTAINER_FIELDS.contains(&name.as_str()))
        .collect();
    properties.insert(
        "name".to_owned(),
        json!({ "description": "Of no effect: a pod has one container.", "type": "string" }),
    );
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn require_name(definitions: &mut Map<String, Value>) {
    if let Some(metadata) = definitions.get_mut("ObjectMeta") {
        metadata["required"] = json!(["name"]);
    }
}

fn properties_of<'a>(
    definitions: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    definitions.get_mut(name)?.get_mut("properties")?.as_object_mut()
}

/// Drops the definitions that nothing refers to, over and over until none is left.
fn prune(definitions: &mut Map<String, Value>) {
    let root = json!(["#/$defs/Object", "#/$defs/List"]);
    let mut whole = json!({ "$defs": Value::Object(std::mem::take(definitions)), "root": root });
    prune_from(&mut whole);
    if let Value::Object(kept) = whole["$defs"].take() {
        *definitions = kept;
    }
}

fn prune_from(whole: &mut Value) {
    loop {
        let text = whole.to_string();
        let Some(definitions) = whole["$defs"].as_object_mut() else { return };
        let before = definitions.len();
        definitions.retain(|name, _| text.contains(&format!("\"#/$defs/{name}\"")));
        if definitions.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_SCHEMA=1` writes the files anew.
    #[track_caller]
    fn check(file: &str, schema: &Value) {
        let path = format!("{}/../../docs/schema/{file}", env!("CARGO_MANIFEST_DIR"));
        let made = serde_json::to_string_pretty(schema).expect("serialises") + "\n";
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &made).expect("the schema can be written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "{file} is out of date: run the tests with UPDATE_SCHEMA=1");
    }

    #[test]
    fn the_schemas_in_the_docs_are_those_of_the_types() {
        check("manifest.json", &manifest_schema());
        check("lab.json", &lab_schema());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        for schema in [manifest_schema(), lab_schema()] {
            let text = schema.to_string();
            for reference in text.split("\"#/$defs/").skip(1) {
                let name = reference.split('"').next().expect("a reference ends");
                assert!(schema["$defs"].get(name).is_some(), "{name}");
            }
        }
    }
}
