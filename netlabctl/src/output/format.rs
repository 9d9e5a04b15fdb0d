// SPDX-License-Identifier: GPL-3.0-or-later
//! Forms of output (`-o`): what the flag means, and objects in each form but the table's.

use std::cmp::Ordering;
use std::str::FromStr;

use netlab_api::Object;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::jsonpath::{Template, plain};
use crate::output::table::Table;

/// A form of output.
#[derive(Debug, Clone)]
pub(crate) enum Format {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
    JsonPath(Template),
    CustomColumns(Vec<(String, Template)>),
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let (word, rest) = text.split_once('=').map_or((text, None), |(w, r)| (w, Some(r)));
        let missing = || {
            format!(
                "{word} needs what to show: `-o jsonpath='{{.metadata.name}}'`, `-o custom-columns=NAME:.metadata.name`"
            )
        };
        Ok(match word {
            "" => Format::Table,
            "wide" => Format::Wide,
            "json" => Format::Json,
            "yaml" => Format::Yaml,
            "name" => Format::Name,
            "jsonpath" => Format::JsonPath(Template::parse(rest.ok_or_else(missing)?)?),
            "custom-columns" => Format::CustomColumns(custom_columns(rest.ok_or_else(missing)?)?),
            _ => {
                return Err(
                    "allowed: wide, json, yaml, name, jsonpath=…, custom-columns=…".to_owned()
                );
            }
        })
    }
}

fn custom_columns(text: &str) -> Result<Vec<(String, Template)>, String> {
    text.split(',')
        .map(|column| {
            let (header, path) = column.split_once(':').ok_or_else(|| {
                format!("`{column}` is no column: write `NAME:.metadata.name`, several with commas")
            })?;
            Ok((header.to_owned(), Template::parse(path)?))
        })
        .collect()
}

/// Objects in a form that is no table. `single` when they asked for one object by its name: then
/// it stands alone rather than in a list.
pub(crate) fn text(format: &Format, objects: &[Object], single: bool) -> String {
    match format {
        Format::Name => objects.iter().map(|object| object.slash_name() + "\n").collect(),
        Format::Yaml => yaml(&whole(objects, single)),
        Format::JsonPath(template) => template.fill(&whole(objects, single)),
        Format::Json | Format::Table | Format::Wide | Format::CustomColumns(_) => {
            json_text(&whole(objects, single))
        }
    }
}

/// The table of `-o custom-columns`.
pub(crate) fn custom_table(columns: &[(String, Template)], objects: &[Object]) -> Table {
    let headers: Vec<_> = columns.iter().map(|(header, _)| header.as_str()).collect();
    let mut table = Table::new(&headers);
    for object in objects {
        let value = to_value(object);
        let cells = columns.iter().map(|(_, template)| {
            let values: Vec<_> = template.values(&value).into_iter().map(plain).collect();
            if values.is_empty() { "<none>".to_owned() } else { values.join(",") }
        });
        table.rows.push(cells.collect());
    }
    table
}

/// Orders objects by what a path leads to (`--sort-by`); those without come first.
pub(crate) fn sort(objects: &mut [Object], path: &str) -> Result<(), Failure> {
    let template = Template::parse(path).map_err(Failure::usage)?;
    let mut found = objects.is_empty();
    objects.sort_by_cached_key(|object| {
        let value = to_value(object);
        let key = template.values(&value).first().map(|value| (*value).clone());
        found |= key.is_some();
        Key(key)
    });
    if found {
        return Ok(());
    }
    // Not an order that was asked for: a misspelt path must not look like one.
    Err(Failure::usage(format!(
        "couldn't find any field with path \"{path}\" in the list of objects"
    ))
    .with_hint(
        "`netlabctl explain pod --recursive` lists the fields; -o yaml shows those that are set",
    ))
}

#[derive(PartialEq)]
struct Key(Option<Value>);

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (&self.0, &other.0) {
            (Some(Value::Number(a)), Some(Value::Number(b))) => {
                let (a, b) = (a.as_f64().unwrap_or_default(), b.as_f64().unwrap_or_default());
                a.total_cmp(&b)
            }
            (Some(a), Some(b)) => plain(a).cmp(&plain(b)),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
    }
}

fn whole(objects: &[Object], single: bool) -> Value {
    match objects {
        [object] if single => to_value(object),
        objects => json!({
            "apiVersion": "v1",
            "kind": "List",
            "metadata": { "resourceVersion": "" },
            "items": objects.iter().map(to_value).collect::<Vec<_>>(),
        }),
    }
}

/// An object as JSON, with its kind.
pub(crate) fn to_value(object: &Object) -> Value {
    serde_json::to_value(object).expect("objects have string keys")
}

/// What is no object as JSON.
pub(crate) fn value(answer: &impl serde::Serialize) -> Value {
    serde_json::to_value(answer).expect("answers have string keys")
}

/// JSON as kubectl indents it.
pub(crate) fn json_text(value: &Value) -> String {
    use serde::Serialize;
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    value.serialize(&mut serializer).expect("values serialise");
    String::from_utf8(text).expect("JSON is UTF-8") + "\n"
}

/// YAML.
pub(crate) fn yaml(value: &Value) -> String {
    serde_yaml_ng::to_string(value).expect("values serialise")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::output::table::Look;

    fn pods() -> Vec<Object> {
        [("b", Some("10.42.0.9")), ("a", None)]
            .into_iter()
            .map(|(name, ip)| {
                let status = ip.map_or(json!({}), |ip| json!({ "podIP": ip }));
                let pod = json!({ "kind": "Pod", "metadata": { "name": name }, "status": status });
                serde_json::from_value(pod).unwrap()
            })
            .collect()
    }

    #[test]
    fn forms_are_known_by_kubectls_names() {
        for form in ["wide", "json", "yaml", "name", "jsonpath={.a}", "custom-columns=A:.a,B:.b"] {
            assert!(form.parse::<Format>().is_ok(), "{form}");
        }
        for form in ["xml", "jsonpath", "custom-columns=NAME", "jsonpath={.a"] {
            assert!(form.parse::<Format>().is_err(), "{form}");
        }
    }

    #[test]
    fn one_object_stands_alone_and_several_stand_in_a_list() {
        let pods = pods();
        let alone = text(&Format::Json, &pods[..1], true);
        assert!(
            alone.starts_with("{\n    \"apiVersion\": \"v1\",\n    \"kind\": \"Pod\""),
            "{alone}"
        );
        let list: Value = serde_json::from_str(&text(&Format::Json, &pods, false)).unwrap();
        assert_eq!(
            (&list["kind"], &list["items"][1]["metadata"]["name"]),
            (&json!("List"), &json!("a"))
        );
        assert_eq!(text(&Format::Name, &pods, false), "pod/b\npod/a\n");
        assert!(text(&Format::Yaml, &pods[..1], true).starts_with("apiVersion: v1\nkind: Pod\n"));
    }

    #[test]
    fn columns_of_ones_own_show_what_is_missing() {
        let Ok(Format::CustomColumns(columns)) =
            "custom-columns=NAME:.metadata.name,IP:{.status.podIP}".parse()
        else {
            panic!("not custom columns");
        };
        let table = custom_table(&columns, &pods());
        expect![[r#"
            NAME   IP
            b      10.42.0.9
            a      <none>
        "#]]
        .assert_eq(&table.render(Look { headers: true, colour: false }, &mut Vec::new()));
    }

    #[test]
    fn objects_are_sorted_by_a_path() {
        let mut pods = pods();
        sort(&mut pods, ".metadata.name").unwrap();
        assert_eq!(text(&Format::Name, &pods, false), "pod/a\npod/b\n");
        sort(&mut pods, "{.status.podIP}").unwrap();
        assert_eq!(text(&Format::Name, &pods, false), "pod/a\npod/b\n");
        let failure = sort(&mut pods, ".status.podIp").expect_err("no such field");
        assert!(failure.message.contains("\".status.podIp\""), "{}", failure.message);
    }
}
