// SPDX-License-Identifier: GPL-3.0-or-later
use proptest::prelude::*;

use super::*;

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

#[test]
fn the_format_is_told_by_the_extension_and_else_by_the_text() {
    let cases = [
        ("a.toml", "{}", Format::Toml),
        ("a.b.yml", "{}", Format::Yaml),
        ("a.json", "a = 1", Format::Json),
        ("stdin", "# c\n[lab]\n", Format::Toml),
        ("stdin", "[[pod]]\n", Format::Toml),
        ("stdin", "name = 1", Format::Toml),
        ("stdin", "[{\"kind\": \"Pod\"}]", Format::Json),
        ("stdin", "[\n{}]", Format::Json),
        ("stdin", "\n {\"kind\": \"Pod\"}", Format::Json),
        ("stdin", "---\nkind: Pod", Format::Yaml),
        ("stdin", "a: b = c", Format::Yaml),
        ("stdin", "", Format::Yaml),
    ];
    for (name, text, format) in cases {
        assert_eq!(source(name, text).format(), format, "{name}: {text:?}");
    }
}

#[test]
fn a_format_that_is_given_wins() {
    let options = Options { format: Some(Format::Json), ..Options::default() };
    let text = "{\"kind\": \"Namespace\", \"metadata\": {\"name\": \"a\"}}";
    let manifest = parse(&source("a.toml", text), &options).expect("is good");
    assert_eq!(manifest.objects.len(), 1);
}

#[test]
fn objects_know_where_they_were_written_and_in_which_namespace() {
    let text = "[[pod]]\nname = \"a\"\n\n[[pod]]\nname = \"b\"\nnamespace = \"x\"\n";
    let options = Options { default_namespace: "shop".to_owned(), ..Options::default() };
    let manifest = parse(&source("dir/web.toml", text), &options).expect("is good");
    let told: Vec<_> = manifest
        .objects
        .iter()
        .map(|object| {
            let metadata = object.value.metadata();
            let source = metadata.annotations[SOURCE_ANNOTATION].as_str();
            (object.line, source, metadata.namespace.as_deref().expect("one is set"))
        })
        .collect();
    assert_eq!(told, [(1, "dir/web.toml:1", "shop"), (4, "dir/web.toml:4", "x")]);
}

#[test]
fn a_diagnostic_carries_the_path_of_its_field() {
    let text = "[[pod]]\nname = \"a\"\nreadinessProbe = { httpGet = { port = \"x\" } }\n";
    let found = parse(&source("a.toml", text), &Options::default()).expect_err("is refused");
    let [fault] = found.items.as_slice() else { panic!("{found}") };
    assert_eq!(fault.field.as_deref(), Some("spec.readinessProbe.httpGet.port"));
    assert_eq!((fault.place.line, fault.place.column, fault.place.length), (3, 39, 3));
}

#[test]
fn the_form_of_the_api_reads_back_what_it_wrote() {
    let text =
        "[[pod]]\nname = \"a\"\ncommand = [\"sleep\", \"1\"]\n[[pod.ports]]\ncontainerPort = 1\n";
    let manifest = parse(&source("a.toml", text), &Options::default()).expect("is good");
    let mut object = manifest.objects[0].value.clone();
    object.metadata_mut().uid = "1234".to_owned();
    object.metadata_mut().creation_timestamp = Some(crate::Time::now());
    let json = serde_json::to_string_pretty(&object).expect("serialises");
    let again = parse(&source("a.json", &json), &Options::default()).expect("is good");
    let mut expected = object;
    let metadata = expected.metadata_mut();
    // The server's own fields are not for a file to say.
    metadata.uid.clear();
    metadata.creation_timestamp = None;
    metadata.annotations.insert(SOURCE_ANNOTATION.to_owned(), "a.json:1".to_owned());
    assert_eq!(again.objects[0].value, expected);
}

#[test]
fn an_alias_of_an_alias_is_what_it_names() {
    let text = "kind: Pod\nmetadata: &m\n  name: &n web\n  labels: {a: *n, b: *n}\nspec:\n  \
                command: [*n]\n";
    let manifest = parse(&source("a.yaml", text), &Options::default()).expect("is good");
    assert_eq!(manifest.objects[0].value.metadata().labels["b"], "web");
}

#[test]
fn every_example_that_a_message_gives_is_good_in_each_format() {
    let fields = ["command", "args", "env", "ports", "readinessProbe", "livenessProbe"];
    for field in fields.into_iter().chain(["resources", "dnsConfig"]) {
        let value = example::example(field).expect("the field has an example");
        let written = |format| example::assignment(field, &value, format);
        // Arguments alone are no command.
        let (toml, yaml, json) = match field {
            "args" => ("command = [\"a\"]\n", "  command: [a]\n", "\"command\": [\"a\"], "),
            _ => ("", "", ""),
        };
        let texts = [
            (Format::Toml, format!("[[pod]]\nname = \"a\"\n{toml}{}\n", written(Format::Toml))),
            (
                Format::Yaml,
                format!(
                    "kind: Pod\nmetadata: {{name: a}}\nspec:\n{yaml}  {}\n",
                    written(Format::Yaml)
                ),
            ),
            (
                Format::Json,
                format!(
                    "{{\"kind\": \"Pod\", \"metadata\": {{\"name\": \"a\"}}, \"spec\": {{{json}{}}}}}",
                    written(Format::Json)
                ),
            ),
        ];
        for (format, text) in texts {
            let options = Options { format: Some(format), ..Options::default() };
            let manifest = parse(&source("a", &text), &options);
            let manifest = manifest.unwrap_or_else(|found| panic!("{text}\n{found}"));
            let json = serde_json::to_value(&manifest.objects[0].value).expect("serialises");
            assert!(!json["spec"][field].is_null(), "{text}");
        }
    }
}

#[test]
fn what_is_supported_is_not_called_unsupported() {
    for (name, definition) in crate::schema::definitions() {
        let properties = definition.get("properties").and_then(|fields| fields.as_object());
        for field in properties.into_iter().flat_map(|fields| fields.keys()) {
            assert_eq!(unsupported::field(name, field), None, "{name}.{field}");
        }
    }
    for kind in Kind::ALL {
        assert!(!unsupported::is_kubernetes_kind(kind.name()), "{}", kind.name());
    }
}

#[test]
fn a_container_has_no_field_that_a_pod_lacks() {
    let spec = &crate::schema::definitions()["PodSpec"]["properties"];
    for field in CONTAINER_FIELDS {
        assert!(spec.get(field).is_some(), "{field}");
    }
}

/// Good files, as seeds of bad ones.
const SEEDS: [(&str, &str); 3] = [
    ("a.toml", include_str!("../../tests/manifests/good/lab.toml")),
    ("a.yaml", include_str!("../../tests/manifests/good/kubernetes.yaml")),
    ("a.json", include_str!("../../tests/manifests/good/list.json")),
];

/// Reads `text` in every way there is. What matters is that it returns, and that what it says can
/// be shown.
fn survives(text: &str) -> Result<(), TestCaseError> {
    for format in [Format::Toml, Format::Yaml, Format::Json] {
        for ignore_unsupported in [false, true] {
            let options =
                Options { format: Some(format), ignore_unsupported, ..Options::default() };
            match parse(&source("a", text), &options) {
                Err(found) => {
                    prop_assert!(!found.to_string().is_empty());
                    for item in &found.items {
                        prop_assert!(item.place.line <= text.lines().count().max(1) + 1);
                    }
                }
                Ok(manifest) => {
                    for object in manifest.objects {
                        let faults = crate::validate::validate(&object.value);
                        prop_assert!(faults.is_empty(), "{:?}", faults);
                    }
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        match Source::from_bytes("a", bytes) {
            Ok(source) => survives(&source.text)?,
            Err(error) => prop_assert!(error.to_string().contains("UTF-8")),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(
        text in "(\\PC|[\\[\\]{}:,=#&*!|>'\"%@` \n\t\r\\-\\\\.0-9a-eé日]){0,120}",
    ) {
        survives(&text)?;
    }

    #[test]
    fn no_damage_to_a_good_file_makes_the_reader_panic(
        seed in 0..SEEDS.len(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..12usize), 1..4),
        inserts in prop::collection::vec(
            (any::<prop::sample::Index>(), "[\\[\\]{}:,=#&*!|>'\" \n\t\\-0-9a-zé]{0,6}"),
            0..4,
        ),
    ) {
        let mut text: Vec<char> = SEEDS[seed].1.chars().collect();
        for (at, length) in cuts {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.drain(at..end);
        }
        for (at, insert) in inserts {
            let at = at.index(text.len() + 1);
            text.splice(at..at, insert.chars());
        }
        survives(&text.into_iter().collect::<String>())?;
    }
}
