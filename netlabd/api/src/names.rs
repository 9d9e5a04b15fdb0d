// SPDX-License-Identifier: GPL-3.0-or-later
//! What may be a name, a label, a variable or a port's name, in Kubernetes' own words.
//!
//! The rules and their wording are Kubernetes' (apimachinery, `pkg/util/validation/validation.go`);
//! each error adds the character that breaks the rule, and a name that would do.

/// Longest RFC 1123 label, and longest value of a label.
pub const MAX_LABEL: usize = 63;

/// Longest RFC 1123 subdomain.
pub const MAX_SUBDOMAIN: usize = 253;

/// Longest name of a port.
pub const MAX_PORT_NAME: usize = 15;

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric \
     characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  \
     or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case \
     alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character \
     (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const KEY_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and \
     must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or \
     '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

const PREFIX_COUNT_RULE: &str = "a qualified name must consist of alphanumeric characters, '-', \
     '_' or '.', with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";

const VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric \
     characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. \
     'MyValue',  or 'my_value',  or '12345', regex used for validation is \
     '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

const ENV_RULE: &str = "a valid environment variable name must consist of alphabetic characters, \
     digits, '_', '-', or '.', and must not start with a digit (e.g. 'my.env-name',  or \
     'MY_ENV.NAME',  or 'MyEnvName1', regex used for validation is \
     '[-._a-zA-Z][-._a-zA-Z0-9]*')";

const PORT_RULE: &str = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";

/// Why a text is no name of its sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", .hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default())]
pub struct NameError {
    /// The text and the rule that it breaks.
    pub message: String,
    /// The rule alone, in Kubernetes' words.
    pub rule: String,
    /// What breaks it where, and a name that would do.
    pub hint: Option<String>,
}

/// Checks an RFC 1123 label: the name of a pod, a namespace, a host.
pub fn dns_label(text: &str) -> Result<(), NameError> {
    let suggestion = || suggest(text, MAX_LABEL, |c| c == '-', true);
    check_length(text, MAX_LABEL, suggestion)?;
    check_characters(text, LABEL_RULE, label_fault(text), suggestion)
}

/// Checks an RFC 1123 subdomain, labels joined by dots: the name of a node, an event.
pub fn dns_subdomain(text: &str) -> Result<(), NameError> {
    let suggestion = || suggest(text, MAX_SUBDOMAIN, |c| c == '-' || c == '.', true);
    check_length(text, MAX_SUBDOMAIN, suggestion)?;
    let mut start = 0;
    let fault = text.split('.').find_map(|label| {
        let fault = label_fault(label).map(|at| at + start);
        start += label.len() + 1;
        fault
    });
    check_characters(text, SUBDOMAIN_RULE, fault, suggestion)
}

/// Checks the key of a label or an annotation: `app`, `example.com/tier`.
pub fn label_key(text: &str) -> Result<(), NameError> {
    let (prefix, name) = match text.split_once('/') {
        None => (None, text),
        Some((_, rest)) if rest.contains('/') => {
            return Err(NameError {
                message: format!("`{text}`: {PREFIX_COUNT_RULE}"),
                rule: PREFIX_COUNT_RULE.to_owned(),
                hint: Some("it has more than one `/`".to_owned()),
            });
        }
        Some((prefix, name)) => (Some(prefix), name),
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            let rule = "prefix part must be non-empty".to_owned();
            let message = format!("`{text}`: {rule}");
            return Err(NameError { message, rule, hint: Some(format!("write `{name}`")) });
        }
        dns_subdomain(prefix).map_err(|error| NameError {
            message: format!("prefix part {}", error.message),
            rule: format!("prefix part {}", error.rule),
            hint: error.hint,
        })?;
    }
    if name.is_empty() {
        let rule = "name part must be non-empty".to_owned();
        return Err(NameError { message: format!("`{text}`: {rule}"), rule, hint: None });
    }
    let suggestion = || suggest(name, MAX_LABEL, |c| "-_.".contains(c), false);
    check_length(name, MAX_LABEL, suggestion)?;
    check_characters(name, KEY_RULE, word_fault(name), suggestion)
}

/// Checks the value of a label; the empty text is one.
pub fn label_value(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Ok(());
    }
    let suggestion = || suggest(text, MAX_LABEL, |c| "-_.".contains(c), false);
    check_length(text, MAX_LABEL, suggestion)?;
    check_characters(text, VALUE_RULE, word_fault(text), suggestion)
}

/// Checks the name of an environment variable.
pub fn env_name(text: &str) -> Result<(), NameError> {
    let fault = match text.chars().next() {
        None => Some(0),
        Some(first) if first.is_ascii_digit() => Some(0),
        Some(_) => text.find(|c: char| !(c.is_ascii_alphanumeric() || "-._".contains(c))),
    };
    let suggestion = || {
        let name: String = text
            .trim()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' })
            .collect();
        let digit = name.starts_with(|c: char| c.is_ascii_digit());
        (!name.is_empty()).then(|| if digit { format!("_{name}") } else { name })
    };
    check_characters(text, ENV_RULE, fault, suggestion)
}

/// Checks the name of a port, an IANA service name (RFC 6335 §5.1).
pub fn port_name(text: &str) -> Result<(), NameError> {
    let suggestion = || {
        let name = suggest(text, MAX_PORT_NAME, |c| c == '-', true)?;
        name.contains(|c: char| c.is_ascii_lowercase()).then_some(name)
    };
    check_length(text, MAX_PORT_NAME, suggestion)?;
    let foreign = text.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
    check_characters(text, PORT_RULE, if text.is_empty() { Some(0) } else { foreign }, suggestion)?;
    let broken = if !text.contains(|c: char| c.is_ascii_lowercase()) {
        "must contain at least one letter (a-z)"
    } else if text.contains("--") {
        "must not contain consecutive hyphens"
    } else if text.starts_with('-') || text.ends_with('-') {
        "must not begin or end with a hyphen"
    } else {
        return Ok(());
    };
    Err(NameError {
        message: format!("`{text}` {broken}"),
        rule: broken.to_owned(),
        hint: suggestion().map(|name| format!("write `{name}`")),
    })
}

/// The first byte at which `text` is no RFC 1123 label.
fn label_fault(text: &str) -> Option<usize> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    edge_fault(text, inner, |c| inner(c) || c == '-')
}

/// The first byte at which `text` is neither a label's value nor the name part of a key.
fn word_fault(text: &str) -> Option<usize> {
    let inner = |c: char| c.is_ascii_alphanumeric();
    edge_fault(text, inner, |c| inner(c) || "-_.".contains(c))
}

fn edge_fault(
    text: &str,
    at_edge: impl Fn(char) -> bool,
    within: impl Fn(char) -> bool,
) -> Option<usize> {
    let Some((last, end)) = text.char_indices().last() else { return Some(0) };
    if text.starts_with(|c| !at_edge(c)) {
        return Some(0);
    }
    text.find(|c| !within(c)).or_else(|| (!at_edge(end)).then_some(last))
}

fn check_length(
    text: &str,
    most: usize,
    suggestion: impl Fn() -> Option<String>,
) -> Result<(), NameError> {
    let length = text.chars().count();
    if length <= most {
        return Ok(());
    }
    let write = suggestion().map(|name| format!(", write for example `{name}`"));
    let rule = format!("must be no more than {most} characters");
    Err(NameError {
        message: format!("`{text}` {rule}"),
        rule,
        hint: Some(format!("it has {length}{}", write.unwrap_or_default())),
    })
}

fn check_characters(
    text: &str,
    rule: &str,
    fault: Option<usize>,
    suggestion: impl Fn() -> Option<String>,
) -> Result<(), NameError> {
    let Some(fault) = fault else { return Ok(()) };
    let place = match text[fault..].chars().next() {
        None if text.is_empty() => "it is empty".to_owned(),
        None => "nothing follows its last `.`".to_owned(),
        Some(character) => {
            let number = text[..fault].chars().count() + 1;
            let character = character.escape_debug();
            format!("`{character}` cannot stand at character {number}")
        }
    };
    let write = suggestion().map(|name| format!(", write `{name}`"));
    Err(NameError {
        message: match text {
            "" => rule.to_owned(),
            _ => format!("`{}`: {rule}", text.escape_debug()),
        },
        rule: rule.to_owned(),
        hint: Some(format!("{place}{}", write.unwrap_or_default())),
    })
}

/// The nearest text to `text` that keeps the rule, if anything of it is left.
fn suggest(text: &str, most: usize, joins: impl Fn(char) -> bool, lower: bool) -> Option<String> {
    let mut name = String::new();
    for character in text.chars() {
        let character = if lower { character.to_ascii_lowercase() } else { character };
        if character.is_ascii_alphanumeric() || joins(character) {
            // A join after a join would be a second fault, as in `a.-b` or `a--b`.
            if !(joins(character) && name.ends_with(&joins)) {
                name.push(character);
            }
        } else if !name.is_empty() && !name.ends_with(&joins) {
            name.push('-');
        }
        if name.len() == most {
            break;
        }
    }
    let name = name.trim_matches(joins);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests;
