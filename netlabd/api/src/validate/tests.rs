// SPDX-License-Identifier: GPL-3.0-or-later
use serde_json::json;

use super::*;
use crate::Pod;

fn pod(spec: Value) -> Object {
    let value = json!({ "metadata": { "name": "web", "namespace": "default" }, "spec": spec });
    Object::Pod(serde_json::from_value::<Pod>(value).expect("the spec has a pod's form"))
}

/// Each error as `field: message`.
#[track_caller]
fn check(spec: Value, expected: &[(&str, &str)]) {
    let errors = validate(&pod(spec.clone()));
    let found: Vec<(&str, &str)> =
        errors.iter().map(|error| (error.field.as_str(), error.message.as_str())).collect();
    assert_eq!(found.len(), expected.len(), "{spec}: {found:?}");
    for ((field, message), (expected_field, expected_message)) in found.iter().zip(expected) {
        assert_eq!(field, expected_field, "{spec}");
        assert!(message.contains(expected_message), "{message} lacks {expected_message}");
    }
}

#[test]
fn the_empty_pod_and_a_full_one_are_good() {
    check(json!({}), &[]);
    check(
        json!({
            "command": ["sh", "-c", ""], "args": [""],
            "env": [{ "name": "A" }, { "name": "A", "value": "again" }],
            "ports": [
                { "name": "dns", "containerPort": 53, "protocol": "UDP" },
                { "name": "dns-tcp", "containerPort": 53 },
            ],
            "readinessProbe": { "tcpSocket": { "port": "dns-tcp" }, "successThreshold": 3 },
            "livenessProbe": { "exec": { "command": ["true"] }, "initialDelaySeconds": 0 },
            "resources": { "limits": { "cpu": "1m", "memory": "4Mi", "pids": 1 } },
            "workingDir": "/srv", "rootfs": "/", "hostname": "a", "subdomain": "b",
            "dnsPolicy": "None",
            "dnsConfig": { "nameservers": ["1.1.1.1"], "searches": ["."],
                           "options": [{ "name": "ndots", "value": "2" }, { "name": "rotate" }] },
            "terminationGracePeriodSeconds": 0,
        }),
        &[],
    );
}

#[test]
fn ports_differ_in_their_names_and_else_in_number_or_protocol() {
    check(
        json!({ "ports": [
            { "name": "a", "containerPort": 0 },
            { "name": "a", "containerPort": 80 },
            { "name": "b", "containerPort": 80 },
            { "containerPort": 80 },
            { "containerPort": 80, "protocol": "UDP" },
            { "containerPort": 80 },
        ]}),
        &[
            ("spec.ports[0].containerPort", "must be between 1 and 65535, inclusive"),
            ("spec.ports[1].name", "is `a`, which is the name of `ports[0]` already"),
            ("spec.ports[5].containerPort", "is 80, which stands in `ports[3]` already"),
        ],
    );
}

#[test]
fn a_probe_has_one_action_that_makes_sense() {
    check(
        json!({ "readinessProbe": {} }),
        &[("spec.readinessProbe", "must specify a handler type")],
    );
    check(
        json!({ "readinessProbe": {
            "exec": { "command": [] },
            "httpGet": { "port": 0, "path": "x y", "httpHeaders": [{ "name": "a b", "value": "\n" }] },
            "timeoutSeconds": 0, "failureThreshold": 0,
        }}),
        &[
            ("spec.readinessProbe.httpGet", "may not specify more than 1 handler type"),
            ("spec.readinessProbe.exec.command", "must name a program"),
            ("spec.readinessProbe.httpGet.port", "must be between 1 and 65535"),
            ("spec.readinessProbe.httpGet.path", "must start with `/`"),
            ("spec.readinessProbe.httpGet.path", "must not contain spaces"),
            (
                "spec.readinessProbe.httpGet.httpHeaders[0].name",
                "must be the name of an HTTP header",
            ),
            ("spec.readinessProbe.httpGet.httpHeaders[0].value", "must be one line"),
            ("spec.readinessProbe.timeoutSeconds", "must be greater than or equal to 1"),
            ("spec.readinessProbe.failureThreshold", "must be greater than or equal to 1"),
        ],
    );
    let probe = json!({ "tcpSocket": { "port": 1 }, "successThreshold": 2 });
    check(json!({ "readinessProbe": probe }), &[]);
    check(
        json!({ "livenessProbe": probe }),
        &[("spec.livenessProbe.successThreshold", "must be 1")],
    );
}

#[test]
fn memory_that_no_process_fits_in_is_refused_with_what_was_meant() {
    let hint = |memory: &str| {
        let errors = validate(&pod(json!({ "resources": { "limits": { "memory": memory } } })));
        let [error] = errors.as_slice() else { panic!("{memory}: {errors:?}") };
        error.hint.clone().expect("a hint is given")
    };
    assert_eq!(hint("64m"), "write `64Mi`");
    assert!(hint("4194303").starts_with("write at least `4Mi`"));
    assert_eq!(hint("64MB"), "write `64Mi`");
    assert_eq!(hint("1.5 gb"), "write `1.5Gi`");
    check(json!({ "resources": { "limits": { "memory": "4194304" } } }), &[]);
}

#[test]
fn texts_that_the_kernel_cannot_take_are_refused() {
    check(
        json!({ "command": ["a\0b", "x".repeat(131_072)], "env": [{ "name": "A", "value": "\0" }] }),
        &[
            ("spec.command[0]", "NUL"),
            ("spec.command[1]", "the kernel takes at most 131071"),
            ("spec.env[0].value", "NUL"),
        ],
    );
}

#[test]
fn dns_settings_keep_to_the_resolvers_bounds() {
    let searches: Vec<String> = (0..33).map(|n| format!("{n}.{}", "a".repeat(62))).collect();
    check(
        json!({ "dnsConfig": { "searches": searches } }),
        &[
            ("spec.dnsConfig.searches[32]", "must not have more than 32 search paths"),
            ("spec.dnsConfig.searches", "must not have more than 2048 characters"),
        ],
    );
    check(
        json!({ "dnsPolicy": "None", "dnsConfig": {} }),
        &[("spec.dnsConfig.nameservers", "must provide at least one DNS nameserver")],
    );
}

#[test]
fn namespaced_kinds_alone_have_a_namespace() {
    let mut namespace = crate::Namespace::default();
    namespace.metadata.name = "shop".to_owned();
    assert_eq!(validate(&Object::Namespace(namespace.clone())), []);
    namespace.metadata.namespace = Some("default".to_owned());
    let errors = validate(&Object::Namespace(namespace));
    assert_eq!(errors[0].message, "is not allowed: namespaces have no namespace");
}

#[test]
fn annotations_have_a_bound() {
    let Object::Pod(mut web) = pod(json!({})) else { unreachable!("it is a pod") };
    web.metadata.annotations.insert("note".to_owned(), "x".repeat(256 * 1024));
    let errors = validate(&Object::Pod(web));
    assert_eq!(errors[0].field, "metadata.annotations");
}

#[test]
fn of_a_living_pod_only_labels_annotations_and_grace_may_change() {
    let old =
        pod(json!({ "command": ["a"], "nodeName": "n1", "terminationGracePeriodSeconds": 5 }));
    let mut new = pod(json!({ "command": ["a"], "terminationGracePeriodSeconds": 9 }));
    new.metadata_mut().labels.insert("app".to_owned(), "web".to_owned());
    new.metadata_mut().annotations.insert("note".to_owned(), "x".to_owned());
    assert_eq!(validate_update(&old, &new), []);

    let new = pod(json!({ "command": ["b"], "nodeName": "n2", "env": [{ "name": "A" }] }));
    let errors = validate_update(&old, &new);
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["spec.command", "spec.env", "spec.nodeName"]);
    let error = errors[0].to_string();
    assert!(error.contains("field is immutable"), "{error}");
    assert!(error.ends_with("`netlabctl delete pod web`, then apply again"), "{error}");
}

#[test]
fn an_update_must_be_good_by_itself() {
    let new = pod(json!({ "args": ["x"] }));
    let errors = validate_update(&pod(json!({})), &new);
    assert!(
        errors.iter().any(|error| error.message.starts_with("needs a `command`")),
        "{errors:?}"
    );
}
