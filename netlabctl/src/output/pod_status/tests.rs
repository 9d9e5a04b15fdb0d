// SPDX-License-Identifier: GPL-3.0-or-later
use serde_json::{Value, json};

use super::*;

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": "web" }, "status": status })).unwrap()
}

fn container(state: Value) -> Pod {
    pod(json!({ "phase": "Running", "containerStatuses": [{ "name": "web", "state": state }] }))
}

fn deleted(mut pod: Pod) -> Pod {
    pod.metadata.deletion_timestamp = Some(Time::now());
    pod
}

#[test]
fn the_status_column_is_kubectls() {
    let ended = |reason: &str| json!({ "terminated": { "exitCode": 3, "reason": reason } });
    let unplaced = pod(json!({
        "phase": "Pending",
        "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }],
        "containerStatuses": [{ "name": "web", "state": { "waiting": { "reason": "ContainerCreating" } } }],
    }));
    let table = [
        (pod(json!({ "phase": "Pending" })), "Pending"),
        (container(json!({ "waiting": { "reason": "ContainerCreating" } })), "ContainerCreating"),
        (unplaced, "Pending"),
        (container(json!({ "waiting": { "reason": "CrashLoopBackOff" } })), "CrashLoopBackOff"),
        (container(json!({ "running": { "startedAt": "2026-11-22T10:00:00Z" } })), "Running"),
        (container(ended("Completed")), "Completed"),
        (container(ended("Error")), "Error"),
        (container(ended("")), "ExitCode:3"),
        (
            container(json!({ "terminated": { "exitCode": 137, "signal": 9, "reason": "" } })),
            "Signal:9",
        ),
        (pod(json!({ "phase": "Failed", "reason": "Evicted" })), "Evicted"),
        (deleted(pod(json!({ "phase": "Running" }))), "Terminating"),
        (deleted(pod(json!({ "phase": "Succeeded" }))), "Succeeded"),
        (deleted(pod(json!({ "phase": "Running", "reason": "NodeLost" }))), "Unknown"),
    ];
    for (pod, expected) in table {
        assert_eq!(word(&pod), expected, "{:?}", pod.status);
    }
}

#[test]
fn restarts_tell_when_the_last_one_was() {
    let now: Time = serde_json::from_str("\"2026-11-22T10:00:10Z\"").unwrap();
    let state = json!({ "terminated": { "exitCode": 1, "reason": "Error", "finishedAt": "2026-11-22T10:00:00Z" } });
    let web = pod(json!({ "containerStatuses": [{ "restartCount": 2, "lastState": state }] }));
    assert_eq!(restarts(&web, now), "2 (10s ago)");
    assert_eq!(restarts(&pod(json!({})), now), "0");
}

#[test]
fn waiting_ends_where_it_makes_no_sense() {
    let ready =
        json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
    assert_eq!(verdict(&pod(ready)), Verdict::Ready);
    assert_eq!(verdict(&pod(json!({ "phase": "Succeeded" }))), Verdict::Finished);
    let failed = json!({
        "phase": "Failed",
        "containerStatuses": [{ "state": { "terminated": { "exitCode": 3, "reason": "Error" } } }],
    });
    assert_eq!(verdict(&pod(failed)), Verdict::Broken("Error, exit code 3".to_owned()));
    let crashing = json!({
        "phase": "Running",
        "containerStatuses": [{
            "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } },
            "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } },
        }],
    });
    assert_eq!(
        verdict(&pod(crashing)),
        Verdict::Broken("CrashLoopBackOff: back-off 10s (last: Error, exit code 1)".to_owned())
    );
    let missing = json!({
        "phase": "Running",
        "containerStatuses": [{ "state": { "terminated": {
            "exitCode": 127, "reason": "CommandNotFound", "message": "no `nginxx` in PATH",
        } } }],
    });
    assert_eq!(
        verdict(&pod(missing)),
        Verdict::Broken("CommandNotFound: no `nginxx` in PATH".to_owned())
    );
}

#[test]
fn who_waits_hears_the_first_thing_that_is_missing() {
    let conditions = json!([
        { "type": "Ready", "status": "False", "reason": "ReadinessProbe", "message": "connection refused" },
        { "type": "PodScheduled", "status": "True" },
    ]);
    assert_eq!(
        verdict(&pod(json!({ "phase": "Running", "conditions": conditions }))),
        Verdict::Waiting("Ready is False: ReadinessProbe: connection refused".to_owned())
    );
    assert_eq!(
        verdict(&pod(json!({ "phase": "Pending" }))),
        Verdict::Waiting("no node has taken it up yet".to_owned())
    );
}
