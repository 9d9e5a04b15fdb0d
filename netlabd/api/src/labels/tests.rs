// SPDX-License-Identifier: GPL-3.0-or-later
use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[track_caller]
fn check(selector: &str, yes: &[&[(&str, &str)]], no: &[&[(&str, &str)]]) {
    let selector = Selector::parse(selector).expect("parses");
    for pairs in yes {
        assert!(selector.matches(&labels(pairs)), "{selector} matches {pairs:?}");
    }
    for pairs in no {
        assert!(!selector.matches(&labels(pairs)), "{selector} does not match {pairs:?}");
    }
}

#[test]
fn each_operator_means_what_kubernetes_says() {
    check("app=web", &[&[("app", "web"), ("x", "y")]], &[&[], &[("app", "db")]]);
    check("app == web", &[&[("app", "web")]], &[&[], &[("app", "db")]]);
    check("app!=web", &[&[], &[("app", "db")]], &[&[("app", "web")]]);
    check("app in (web, db)", &[&[("app", "web")], &[("app", "db")]], &[&[], &[("app", "x")]]);
    check("app notin (web,db)", &[&[], &[("app", "x")]], &[&[("app", "web")], &[("app", "db")]]);
    check("app", &[&[("app", "")]], &[&[], &[("ap", "p")]]);
    check("!app", &[&[], &[("ap", "p")]], &[&[("app", "")]]);
    check("app=", &[&[("app", "")]], &[&[], &[("app", "web")]]);
    check("in in (in)", &[&[("in", "in")]], &[&[]]);
}

#[test]
fn all_conditions_must_hold() {
    check(
        " app = web , tier!=db,env in ( dev , test ),! old ",
        &[&[("app", "web"), ("env", "dev")]],
        &[
            &[("app", "web")],
            &[("app", "web"), ("env", "dev"), ("tier", "db")],
            &[("app", "web"), ("env", "dev"), ("old", "")],
        ],
    );
}

#[test]
fn nothing_selects_everything() {
    for text in ["", "  "] {
        let selector = Selector::parse(text).expect("parses");
        assert!(selector.is_everything());
        assert_eq!(selector, Selector::default());
        assert!(selector.matches(&labels(&[("a", "b")])));
    }
    assert!(!Selector::parse("a").expect("parses").is_everything());
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = Selector::parse(text).expect_err("is refused").to_string();
    assert!(error.contains(expected), "{error}\nlacks\n{expected}");
}

#[test]
fn errors_name_the_place() {
    check_error("app=web,", "at column 9: expected the key of a label, found the end");
    check_error("=web", "at column 1: expected the key of a label, found `=`");
    check_error("app web", "at column 5: expected `=`, `!=`, `in`, `notin`, `,` or the end");
    check_error("app=web tier=db", "at column 9: expected `,` or the end, found `tier`");
    check_error("app in web", "at column 8: expected `(` and values, found `web`");
    check_error("app in (web", "at column 12: expected `,` or `)`, found the end");
    check_error("!app=web", "at column 5: expected `,` or the end, found `=`");
    check_error("App!=Ä", "no label can have");
    check_error("-app=web", "no label can have");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z!=(), äA-Z._/-]{0,40}") {
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
    }

    #[test]
    fn what_is_printed_reads_back_the_same(
        key in "[a-z]([a-z0-9-]{0,5}[a-z0-9])?",
        values in prop::collection::vec("([a-zA-Z0-9]{0,3})", 1..4),
    ) {
        let texts = [
            format!("{key}={}", values[0]),
            format!("{key}!={},{key}", values[0]),
            format!("{key} in ({})", values.join(", ")),
            format!("{key} notin ({}),!{key}", values.join(",")),
        ];
        for text in texts {
            let selector = Selector::parse(&text).expect("parses");
            prop_assert_eq!(Selector::parse(&selector.to_string()), Ok(selector));
        }
    }
}
