// SPDX-License-Identifier: GPL-3.0-or-later
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// RFC 7386, appendix A: original, patch, result.
#[test]
fn the_examples_of_rfc_7386_hold() {
    let examples = [
        (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
        (json!({"a":"b"}), json!({"a":null}), json!({})),
        (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
        (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
        (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
        (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
        (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a":"b"}), json!(["c"]), json!(["c"])),
        (json!({"a":"foo"}), json!(null), json!(null)),
        (json!({"a":"foo"}), json!("bar"), json!("bar")),
        (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
        (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
        (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
    ];
    for (original, patch, result) in examples {
        let mut target = original.clone();
        merge_patch(&mut target, &patch);
        assert_eq!(target, result, "{original} patched with {patch}");
    }
}

#[track_caller]
fn check(live: Value, last: Option<Value>, wanted: Value, expected: Value) {
    let merged = apply_merge(&live, last.as_ref(), &wanted);
    assert_eq!(merged, expected, "{wanted} applied to {live} after {last:?}");
}

#[test]
fn an_apply_removes_what_it_set_and_keeps_what_others_set() {
    check(
        json!({"labels":{"mine":"1","theirs":"2"},"phase":"Running"}),
        Some(json!({"labels":{"mine":"1"}})),
        json!({"labels":{"new":"3"}}),
        json!({"labels":{"new":"3","theirs":"2"},"phase":"Running"}),
    );
    check(
        json!({"labels":{"mine":"1","theirs":"2"},"own":{"a":1}}),
        Some(json!({"labels":{"mine":"1"},"own":{"a":1}})),
        json!({}),
        json!({"labels":{"theirs":"2"}}),
    );
}

#[test]
fn a_first_apply_removes_nothing() {
    check(json!({"a":1,"b":2}), None, json!({"a":3,"c":null}), json!({"a":3,"b":2}));
}

#[test]
fn lists_are_replaced_whole_except_those_with_keys() {
    check(
        json!({"command":["a","b"],"env":[{"name":"MINE","value":"1"},{"name":"THEIRS"}]}),
        Some(json!({"command":["a"],"env":[{"name":"MINE","value":"1"}]})),
        json!({"command":["c"],"env":[{"name":"NEW"}]}),
        json!({"command":["c"],"env":[{"name":"NEW"},{"name":"THEIRS"}]}),
    );
    check(
        json!({"ports":[{"containerPort":53,"protocol":"UDP"},{"containerPort":53,"name":"tcp"}]}),
        None,
        json!({"ports":[{"containerPort":53,"protocol":"TCP"}]}),
        json!({"ports":[
            {"containerPort":53,"name":"tcp","protocol":"TCP"},
            {"containerPort":53,"protocol":"UDP"},
        ]}),
    );
}

#[test]
fn entries_with_equal_keys_are_replaced_whole() {
    let twice = json!({"env":[{"name":"A","value":"1"},{"name":"A","value":"2"}]});
    check(json!({"env":[{"name":"B"}]}), None, twice.clone(), twice);
}

/// Values like those of objects: few names, so that they meet, and lists with keys among them.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (0..3u8).prop_map(Value::from),
        "[ab]".prop_map(Value::from),
        Just(json!(["x"])),
        prop::collection::vec(("[AB]", "[xy]"), 0..3).prop_map(|env| {
            env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
        }),
        prop::collection::vec((1..3u16, "TCP|UDP"), 0..3).prop_map(|ports| {
            let port = |(number, protocol)| json!({"containerPort": number, "protocol": protocol});
            ports.into_iter().map(port).collect()
        }),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop::collection::btree_map("a|b|env|ports", inner, 0..4)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()))
    })
}

proptest! {
    #[test]
    fn applying_the_same_twice_changes_nothing(
        live in value(),
        last in prop::option::of(value()),
        wanted in value(),
    ) {
        let once = apply_merge(&live, last.as_ref(), &wanted);
        prop_assert_eq!(apply_merge(&once, Some(&wanted), &wanted), once);
    }

    /// When nobody else has changed anything, the object is what the last apply says.
    #[test]
    fn an_object_that_only_applies_have_written_is_as_applied(last in value(), wanted in value()) {
        prop_assert_eq!(apply_merge(&last, Some(&last), &wanted), wanted);
    }

    #[test]
    fn a_patch_that_was_applied_changes_nothing_more(mut target in value(), patch in value()) {
        merge_patch(&mut target, &patch);
        let once = target.clone();
        merge_patch(&mut target, &patch);
        prop_assert_eq!(target, once);
    }
}
