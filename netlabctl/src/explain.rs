// SPDX-License-Identifier: GPL-3.0-or-later
//! `explain`: what the fields of an object mean, from the schema of the Rust types.

use clap::Args;
use netlab_api::resource::{API_VERSION, Kind};
use netlab_api::{EndpointSlice, Event, IpamBlock, Namespace, Node, Pod, Service};
use schemars::schema_for;
use serde_json::Value;

use crate::failure::{FAILED, Failure};
use crate::{output, target};

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// TYPE or TYPE.FIELD.FIELD, as in pod.spec.readinessProbe
    #[arg(value_name = "PATH")]
    path: String,
    /// All fields below, as a tree
    #[arg(long)]
    recursive: bool,
}

pub(crate) fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let mut parts = args.path.split('.');
    let kind = target::kind(parts.next().unwrap_or_default())?;
    let fields: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    output::text(&page(kind, &fields, args.recursive)?);
    Ok(())
}

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Namespace => schema_for!(Namespace),
        Kind::Node => schema_for!(Node),
        Kind::Pod => schema_for!(Pod),
        Kind::Service => schema_for!(Service),
        Kind::EndpointSlice => schema_for!(EndpointSlice),
        Kind::Event => schema_for!(Event),
        Kind::IpamBlock => schema_for!(IpamBlock),
    }
    .to_value()
}

fn page(kind: Kind, fields: &[&str], recursive: bool) -> Result<String, Failure> {
    let root = schema(kind);
    let mut here = &root;
    let mut description = text_of(here);
    for (depth, field) in fields.iter().enumerate() {
        let inner = resolve(&root, here);
        let Some(found) = inner["properties"].get(field) else {
            let path = std::iter::once(kind.singular()).chain(fields[..depth].iter().copied());
            return Err(unknown(field, inner, &path.collect::<Vec<_>>().join(".")));
        };
        here = found;
        description = text_of(here).or_else(|| text_of(resolve(&root, here)));
    }
    let mut text = format!("KIND:       {}\nVERSION:    {API_VERSION}\n\n", kind.name());
    if let Some(last) = fields.last() {
        text += &format!("FIELD: {last} <{}>\n\n", type_of(&root, here));
    }
    text += &format!("DESCRIPTION:\n{}\n", indented(&description.unwrap_or_default(), 4));
    let inner = resolve(&root, here);
    if inner["properties"].as_object().is_some_and(|properties| !properties.is_empty()) {
        text += "\nFIELDS:\n";
        list(&root, inner, recursive, 2, &mut text);
    }
    Ok(text)
}

fn list(root: &Value, object: &Value, recursive: bool, indent: usize, text: &mut String) {
    let required = object["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in object["properties"].as_object().into_iter().flatten() {
        let needed = if required.iter().any(|r| r == name) { " -required-" } else { "" };
        *text += &format!("{:indent$}{name}\t<{}>{needed}\n", "", type_of(root, field));
        if recursive {
            list(root, resolve(root, field), recursive, indent + 2, text);
        } else {
            let description = text_of(field).or_else(|| text_of(resolve(root, field)));
            *text += &format!("{}\n\n", indented(&description.unwrap_or_default(), indent + 2));
        }
    }
}

/// The object behind references, options and lists.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.trim_start_matches('#');
        return root.pointer(pointer).map_or(schema, |found| resolve(root, found));
    }
    for key in ["anyOf", "allOf", "oneOf"] {
        let first = schema[key].as_array().and_then(|options| {
            options
                .iter()
                .find(|option| option["$ref"].is_string() || option["properties"].is_object())
        });
        if let Some(first) = first {
            return resolve(root, first);
        }
    }
    match schema.get("items") {
        Some(items) if items.is_object() => resolve(root, items),
        _ => schema,
    }
}

/// `string`, `[]string`, `Probe`, `map[string]string`.
fn type_of(root: &Value, schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        let target = resolve(root, schema);
        return match values_of(target).is_empty() {
            // A named text or number is that to whoever writes it.
            true if target["properties"].is_object() => name.to_owned(),
            true => type_of_plain(root, target),
            false => "string".to_owned(),
        };
    }
    for key in ["anyOf", "allOf", "oneOf"] {
        let first = schema[key].as_array().and_then(|o| o.iter().find(|o| o["type"] != "null"));
        if let Some(first) = first {
            return type_of(root, first);
        }
    }
    type_of_plain(root, schema)
}

fn type_of_plain(root: &Value, schema: &Value) -> String {
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|k| *k != "null"),
        kind => kind.as_str(),
    };
    match kind {
        Some("array") => format!("[]{}", type_of(root, &schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map[string]{}", type_of(root, &schema["additionalProperties"]))
        }
        Some("object") => "Object".to_owned(),
        Some(kind) => kind.to_owned(),
        None => "any".to_owned(),
    }
}

/// The words that an enumeration allows.
fn values_of(schema: &Value) -> Vec<String> {
    let listed = schema["enum"].as_array().cloned().unwrap_or_default();
    let options = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let constants = options.iter().flat_map(|option| {
        let several = option["enum"].as_array().cloned().unwrap_or_default();
        several.into_iter().chain(option.get("const").cloned())
    });
    let words = listed.into_iter().chain(constants);
    words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

fn text_of(schema: &Value) -> Option<String> {
    let text = schema["description"].as_str()?;
    // Rust's links are for Rust's readers.
    Some(text.replace("[`", "`").replace("`]", "`"))
}

fn indented(text: &str, by: usize) -> String {
    let lines: Vec<_> =
        text.lines().map(|line| format!("{:by$}{line}", "").trim_end().to_owned()).collect();
    lines.join("\n")
}

fn unknown(field: &str, object: &Value, path: &str) -> Failure {
    let known: Vec<&str> =
        object["properties"].as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
    let near = known.iter().map(|k| (strsim::damerau_levenshtein(field, k), *k)).min();
    let hint = match near {
        Some((distance, near)) if distance <= 2 => format!("did you mean `{path}.{near}`?"),
        _ if known.is_empty() => format!("`{path}` has no fields"),
        _ => format!("fields of `{path}`: {}", known.join(", ")),
    };
    Failure::new(FAILED, format!("error: field \"{field}\" does not exist")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_explained_with_those_below_it() {
        let text = page(Kind::Pod, &["spec", "readinessProbe"], false).unwrap();
        assert!(
            text.starts_with("KIND:       Pod\nVERSION:    v1\n\nFIELD: readinessProbe <Probe>"),
            "{text}"
        );
        assert!(text.contains("  httpGet\t<HttpGetAction>\n    Asks over HTTP"), "{text}");
        let text =
            page(Kind::Pod, &["spec", "readinessProbe", "httpGet", "httpHeaders"], false).unwrap();
        assert!(text.contains("FIELD: httpHeaders <[]HttpHeader>"), "{text}");
        assert!(text.contains("name\t<string> -required-"), "{text}");
    }

    #[test]
    fn a_whole_kind_can_be_seen_as_a_tree() {
        let text = page(Kind::Pod, &[], true).unwrap();
        assert!(text.contains("\n    restartPolicy\t<string>\n"), "{text}");
        assert!(text.contains("\n    labels\t<map[string]string>\n"), "{text}");
    }

    #[test]
    fn a_field_that_is_not_there_suggests_one_that_is() {
        let failure = page(Kind::Pod, &["spec", "comand"], false).unwrap_err();
        assert_eq!(failure.message, "error: field \"comand\" does not exist");
        assert_eq!(failure.hints, ["did you mean `pod.spec.command`?"]);
    }

    #[test]
    fn every_field_of_every_kind_has_a_description() {
        for kind in Kind::ALL {
            let root = schema(kind);
            for (name, field) in root["properties"].as_object().unwrap() {
                let text = text_of(field).or_else(|| text_of(resolve(&root, field)));
                assert!(text.is_some(), "{}.{name}", kind.singular());
            }
        }
    }
}
