// SPDX-License-Identifier: GPL-3.0-or-later
//! kubectl's JSONPath templates: text with `{.metadata.name}`, `{range .items[*]}…{end}` and
//! `{"\n"}`, over RFC 9535 paths.

use serde_json::Value;
use serde_json_path::JsonPath;

/// A template, ready to be filled.
#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Path(Paths),
    Range(Paths, Vec<Piece>),
}

/// What one pair of braces leads to: several paths where kubectl's union of names
/// (`['metadata.name','status.podIP']`) stands for several.
#[derive(Debug, Clone)]
struct Paths(Vec<JsonPath>);

impl Paths {
    fn values<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        self.0.iter().flat_map(|path| path.query(value).all()).collect()
    }
}

impl Template {
    /// Reads a template. As in kubectl, a path alone needs no braces.
    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        if !text.contains('{') {
            return Ok(Template(vec![Piece::Path(path(text)?)]));
        }
        // Ranges that are open, each with its path and the pieces before it.
        let mut open: Vec<(Paths, Vec<Piece>)> = Vec::new();
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            if start > 0 {
                pieces.push(Piece::Text(rest[..start].to_owned()));
            }
            let inside = &rest[start + 1..];
            let end = closing_brace(inside)
                .ok_or_else(|| format!("`{text}` has a `{{` without its `}}`"))?;
            let action = inside[..end].trim();
            rest = &inside[end + 1..];
            if action == "end" {
                let (over, before) =
                    open.pop().ok_or_else(|| format!("`{text}` has an {{end}} without a range"))?;
                let body = std::mem::replace(&mut pieces, before);
                pieces.push(Piece::Range(over, body));
            } else if let Some(over) = action.strip_prefix("range ") {
                open.push((path(over)?, std::mem::take(&mut pieces)));
            } else if action.starts_with('"') || action.starts_with('\'') {
                pieces.push(Piece::Text(literal(action)?));
            } else {
                pieces.push(Piece::Path(path(action)?));
            }
        }
        if !open.is_empty() {
            return Err(format!("`{text}` has a {{range}} without its {{end}}"));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Template(pieces))
    }

    /// Fills the template. A path that leads nowhere gives nothing; several values stand apart by
    /// a blank.
    pub(crate) fn fill(&self, value: &Value) -> String {
        let mut out = String::new();
        fill(&self.0, value, &mut out);
        out
    }

    /// The values that the template's paths lead to.
    pub(crate) fn values<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        let paths = self.0.iter().filter_map(|piece| match piece {
            Piece::Path(paths) => Some(paths),
            _ => None,
        });
        paths.flat_map(|paths| paths.values(value)).collect()
    }
}

fn fill(pieces: &[Piece], value: &Value, out: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Path(paths) => {
                let values: Vec<_> = paths.values(value).into_iter().map(plain).collect();
                out.push_str(&values.join(" "));
            }
            Piece::Range(over, body) => {
                for item in over.values(value) {
                    fill(body, item, out);
                }
            }
        }
    }
}

/// A value as it stands in a line: texts without quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if character == '"' || character == '\'' => quote = Some(character),
            None if character == '}' => return Some(index),
            None => {}
        }
    }
    None
}

fn literal(action: &str) -> Result<String, String> {
    let inner = action
        .strip_prefix('"')
        .and_then(|a| a.strip_suffix('"'))
        .or_else(|| action.strip_prefix('\'').and_then(|a| a.strip_suffix('\'')))
        .ok_or_else(|| format!("{action} has a quote without its other"))?;
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.push(match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(other) => other,
                None => '\\',
            },
            (other, false) => other,
        });
    }
    Ok(text)
}

/// A kubectl path (`.metadata.labels.app\.kubernetes\.io/name`, `$`, `@` and the leading dot may
/// be left out) as RFC 9535 writes it.
fn path(text: &str) -> Result<Paths, String> {
    let text = text.trim();
    let bare = text.strip_prefix(['$', '@']).unwrap_or(text);
    let dotted = match bare.starts_with(['.', '[']) || bare.is_empty() {
        true => bare.to_owned(),
        false => format!(".{bare}"),
    };
    let parse = |path: String| {
        JsonPath::parse(&translate(&path)).map_err(|error| {
            format!("`{text}` is no JSONPath: {error}: write for example `{{.metadata.name}}`")
        })
    };
    unions(&dotted).into_iter().map(parse).collect::<Result<_, _>>().map(Paths)
}

/// A path for each name of a union of names: kubectl reads `['metadata.name','status.podIP']` as
/// two paths, and gives all the values of the first before those of the second.
fn unions(path: &str) -> Vec<String> {
    let mut from = 0;
    while let Some(start) = path[from..].find('[').map(|at| from + at) {
        let end = closing_bracket(&path[start..]).map_or(path.len(), |end| start + end + 1);
        if let Some(names) = names(&path[start..end]).filter(|names| names.len() > 1) {
            let paths = names.into_iter();
            return paths
                .map(|name| format!("{}.{name}{}", &path[..start], &path[end..]))
                .flat_map(|path| unions(&path))
                .collect();
        }
        from = end;
    }
    vec![path.to_owned()]
}

/// The names in `['a','b']`; nothing when the brackets hold something else.
fn names(brackets: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = brackets.strip_prefix('[')?.strip_suffix(']')?.trim();
    loop {
        let quote = rest.chars().next().filter(|first| ['"', '\''].contains(first))?;
        let (name, after) = rest[1..].split_once(quote)?;
        names.push(name.to_owned());
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => return rest.is_empty().then_some(names),
        }
    }
}

/// Writes each `.name` as `['name']`, so that names with `-`, `/` and escaped dots are names;
/// leaves what stands in brackets as it is.
fn translate(path: &str) -> String {
    let mut out = "$".to_owned();
    let mut rest = path;
    while let Some(character) = rest.chars().next() {
        if character == '[' {
            let end = closing_bracket(rest).map_or(rest.len(), |end| end + 1);
            // `['kubernetes\\.io/x']`: kubectl wants the dot escaped, RFC 9535 knows no such escape.
            match names(&rest[..end]).is_some() {
                true => out.push_str(&rest[..end].replace("\\.", ".")),
                false => out.push_str(&rest[..end]),
            }
            rest = &rest[end..];
        } else if character == '.' {
            rest = &rest[1..];
            if let Some(after) = rest.strip_prefix('.') {
                out.push_str("..");
                rest = after;
            }
            if let Some(after) = rest.strip_prefix('*') {
                out.push_str("[*]");
                rest = after;
                continue;
            }
            let mut name = String::new();
            let mut characters = rest.chars();
            while let Some(character) = characters.clone().next() {
                match character {
                    '.' | '[' => break,
                    '\\' => {
                        characters.next();
                        name.extend(characters.next());
                        continue;
                    }
                    other => name.push(other),
                }
                characters.next();
            }
            rest = characters.as_str();
            if !name.is_empty() {
                let name = name.replace('\\', "\\\\").replace('\'', "\\'");
                out.push_str(&format!("['{name}']"));
            }
        } else {
            out.push_str(rest);
            break;
        }
    }
    out
}

fn closing_bracket(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut quote = None;
    for (index, character) in text.char_indices() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None => match character {
                '"' | '\'' => quote = Some(character),
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            },
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let list = json!({ "items": [
            { "metadata": { "name": "a", "labels": { "app.kubernetes.io/name": "x", "my-key": "k" } },
              "status": { "podIP": "10.42.0.1", "restarts": 3,
                          "conditions": [{ "type": "Ready", "status": "True" }] } },
            { "metadata": { "name": "b" }, "status": {} },
        ]});
        let template = Template::parse(template).unwrap_or_else(|e| panic!("{template}: {e}"));
        assert_eq!(template.fill(&list), expected);
    }

    #[test]
    fn templates_mean_what_they_mean_in_kubectl() {
        check("{.items[*].metadata.name}", "a b");
        check(".items[0].metadata.name", "a");
        check("items[0].metadata.name", "a");
        check("{.items[-1:].metadata.name}", "b");
        check("{$.items[0].status.restarts}", "3");
        check("{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "x");
        check("{.items[0].metadata.labels.my-key}", "k");
        check("{.items[0].metadata['labels']['my-key']}", "k");
        check(
            "{range .items[*]}{.metadata.name}{\"\\t\"}{.status.podIP}{\"\\n\"}{end}",
            "a\t10.42.0.1\nb\t\n",
        );
        check("{.items[?(@.metadata.name==\"b\")].metadata.name}", "b");
        check("{.items[0].status.conditions[?(@.type==\"Ready\")].status}", "True");
        check("{.items[0].metadata.labels['app\\.kubernetes\\.io/name']}", "x");
        check("{.items[*]['metadata.name', 'status.podIP']}", "a b 10.42.0.1");
        check("{.items[*]['metadata.name',\"metadata.labels['my-key']\"]}", "a b k");
        check("{.items[0]['metadata','status']['name','podIP']}", "a 10.42.0.1");
        check("{..podIP}", "10.42.0.1");
        check("{.items[*].nothing}", "");
        check("name: {.items[0].metadata.name}!", "name: a!");
        check("{.items[1].status}", "{}");
        check("{\"}\"}", "}");
    }

    #[test]
    fn broken_templates_are_refused() {
        for template in ["{.a", "{range .items[*]}{.a}", "{end}", "{.a[}", "{\"x}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}
