// SPDX-License-Identifier: GPL-3.0-or-later
use proptest::prelude::*;

use super::*;

type Check = fn(&str) -> Result<(), NameError>;

#[track_caller]
fn accepts(check: Check, names: &[&str]) {
    for name in names {
        assert_eq!(check(name), Ok(()), "{name}");
    }
}

#[track_caller]
fn refuses(check: Check, name: &str, message: &str, hint: &str) {
    let error = check(name).expect_err("is refused");
    assert!(error.message.contains(message), "{name}: {error}");
    assert_eq!(error.hint.as_deref().unwrap_or_default(), hint, "{name}");
}

#[test]
fn labels_are_those_of_rfc_1123() {
    accepts(dns_label, &["a", "0", "web-1", "a--b", &"x".repeat(63)]);
    let rule =
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'";
    refuses(dns_label, "Web_1", rule, "`W` cannot stand at character 1, write `web-1`");
    refuses(dns_label, "web.1", rule, "`.` cannot stand at character 4, write `web-1`");
    refuses(dns_label, "web-", rule, "`-` cannot stand at character 4, write `web`");
    refuses(dns_label, "-", rule, "`-` cannot stand at character 1");
    refuses(dns_label, "", rule, "it is empty");
    refuses(dns_label, "grüße", rule, "`ü` cannot stand at character 3, write `gr-e`");
    let long = format!("{}-b", "a".repeat(62));
    let hint = format!("it has 64, write for example `{}`", "a".repeat(62));
    refuses(dns_label, &long, "must be no more than 63 characters", &hint);
}

#[test]
fn subdomains_are_labels_joined_by_dots() {
    accepts(dns_subdomain, &["a", "n1.example.com", "web.17f3"]);
    let rule = "a lowercase RFC 1123 subdomain must consist of";
    refuses(dns_subdomain, "a..b", rule, "`.` cannot stand at character 3, write `a.b`");
    refuses(dns_subdomain, "a.B", rule, "`B` cannot stand at character 3, write `a.b`");
    refuses(dns_subdomain, "a.", rule, "nothing follows its last `.`, write `a`");
}

#[test]
fn keys_may_have_a_prefix() {
    accepts(label_key, &["app", "App_1.x", "example.com/tier", "a/b"]);
    refuses(label_key, "/tier", "prefix part must be non-empty", "write `tier`");
    refuses(label_key, "a/", "name part must be non-empty", "");
    refuses(label_key, "a/b/c", "a qualified name must", "it has more than one `/`");
    let hint = "`E` cannot stand at character 1, write `example.com`";
    refuses(label_key, "Example.com/tier", "prefix part `Example.com`: a lowercase RFC", hint);
    refuses(
        label_key,
        "my app",
        "name part must",
        "` ` cannot stand at character 3, write `my-app`",
    );
}

#[test]
fn values_may_be_empty() {
    accepts(label_value, &["", "1", "My_value.x"]);
    refuses(
        label_value,
        "a b",
        "a valid label must be",
        "` ` cannot stand at character 2, write `a-b`",
    );
    refuses(
        label_value,
        "_a",
        "a valid label must be",
        "`_` cannot stand at character 1, write `a`",
    );
}

#[test]
fn variables_do_not_start_with_a_digit() {
    accepts(env_name, &["PATH", "my.env-name", "_"]);
    refuses(
        env_name,
        "1A",
        "must not start with a digit",
        "`1` cannot stand at character 1, write `_1A`",
    );
    refuses(env_name, "A=B", "must consist of", "`=` cannot stand at character 2, write `A_B`");
    refuses(env_name, "", "must consist of", "it is empty");
}

#[test]
fn ports_have_service_names() {
    accepts(port_name, &["http", "a-1", "8080a", "exactly-15-char"]);
    refuses(port_name, "8080", "must contain at least one letter (a-z)", "");
    refuses(port_name, "a--b", "must not contain consecutive hyphens", "write `a-b`");
    refuses(port_name, "-a", "must not begin or end with a hyphen", "write `a`");
    refuses(
        port_name,
        "HTTP",
        "must contain only",
        "`H` cannot stand at character 1, write `http`",
    );
    refuses(port_name, "", "must contain only", "it is empty");
    let hint = "it has 17, write for example `longer-than-fift`";
    let hint = hint.replace("fift", "fif");
    refuses(port_name, "longer-than-fifte", "must be no more than 15 characters", &hint);
}

proptest! {
    /// What an error tells a user to write is accepted.
    #[test]
    fn every_suggestion_keeps_the_rule(text in "\\PC{0,80}|[-a-zA-Z0-9._/ ]{0,80}") {
        let checks: [Check; 5] = [dns_label, dns_subdomain, label_value, env_name, port_name];
        for check in checks {
            if let Err(NameError { hint: Some(hint), .. }) = check(&text)
                && let Some((_, name)) = hint.rsplit_once("write ")
            {
                let name = name.trim_start_matches("for example ").trim_matches('`');
                prop_assert_eq!(check(name), Ok(()), "{}", hint);
            }
        }
    }
}
