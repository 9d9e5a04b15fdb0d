// SPDX-License-Identifier: GPL-3.0-or-later
//! Which paths a source names: its `use` trees, flattened, and the paths in its code.

/// All paths, as `crate::store::Revision`. Tests inside the file, comments and strings are not
/// looked at.
pub(crate) fn named(text: &str) -> Vec<String> {
    let text = match text.find("#[cfg(test)]\nmod ") {
        Some(tests) => &text[..tests],
        None => text,
    };
    let mut tokens = tokens(text).into_iter().peekable();
    let mut paths = Vec::new();
    while let Some(token) = tokens.next() {
        if !is_name(&token) {
            continue;
        }
        // `use<'a>` is a bound, not an import.
        if token == "use" && tokens.peek().is_none_or(|token| token != "<") {
            let tree: Vec<String> = tokens.by_ref().take_while(|token| token != ";").collect();
            flatten("", &tree, &mut paths);
            continue;
        }
        let mut path = token;
        while tokens.next_if(|token| token == "::").is_some() {
            match tokens.next_if(|token| is_name(token)) {
                Some(name) => path = format!("{path}::{name}"),
                None => break,
            }
        }
        paths.push(path);
    }
    paths
}

/// Whether `path` starts with `wanted`. A type's name, which starts with a capital, counts
/// anywhere in it; the name of a crate counts where more follows, or all of it is that.
pub(crate) fn is_in(wanted: &str, path: &str) -> bool {
    if wanted.starts_with(char::is_uppercase) {
        return path.split("::").any(|name| name == wanted);
    }
    let is_crate = !wanted.contains("::");
    match path.strip_prefix(wanted) {
        // In code a lone name is a variable; in a `use` it would be of no use.
        Some("") => !is_crate,
        Some(rest) => rest.starts_with("::"),
        None => false,
    }
}

/// Expands the braces of a `use` tree.
fn flatten(prefix: &str, tree: &[String], paths: &mut Vec<String>) {
    let mut depth = 0;
    for part in tree.split(|token| {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        token == "," && depth == 0
    }) {
        let names: Vec<&str> = part
            .iter()
            .map(String::as_str)
            .take_while(|token| *token != "{" && *token != "as")
            .filter(|token| *token != "::")
            .collect();
        let mut path = prefix.to_owned();
        for name in names {
            path = if path.is_empty() { name.to_owned() } else { format!("{path}::{name}") };
        }
        match part.iter().position(|token| token == "{") {
            Some(open) => {
                let close = part.iter().rposition(|token| token == "}").unwrap_or(part.len());
                flatten(&path, &part[open + 1..close], paths);
            }
            None => paths.push(path),
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and other signs, without comments, strings and spaces.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if first == '"' {
            string_length(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("::") {
            found.push("::".to_owned());
            2
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            found.push(name.to_owned());
            name.len()
        } else {
            if !first.is_whitespace() {
                found.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (place, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return place + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}
