// SPDX-License-Identifier: GPL-3.0-or-later
//! Facts and what is said of them.

use netlab_api::pod::Probe;

use super::*;

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn running() -> RuntimeStatus {
    RuntimeStatus { state: Observed::Running { started_at: at(0) }, ..RuntimeStatus::creating() }
}

fn ended(exit_code: i32) -> RuntimeStatus {
    let state = Observed::Terminated {
        exit_code,
        signal: None,
        reason: if exit_code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: String::new(),
        started_at: at(0),
        finished_at: at(1),
    };
    RuntimeStatus { state, ..RuntimeStatus::creating() }
}

fn facts(runtime: Option<RuntimeStatus>) -> Facts {
    Facts { network: Some(PodNetworkStatus::default()), runtime, ..Facts::default() }
}

fn spec(restart_policy: RestartPolicy) -> PodSpec {
    PodSpec { restart_policy, ..PodSpec::default() }
}

fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().any(|c| c.is(READY))
}

#[test]
fn a_running_pod_without_probe_is_ready() {
    let status = pod_status("web", &spec(RestartPolicy::Always), &facts(Some(running())));
    assert_eq!(status.phase, PodPhase::Running);
    assert!(is_ready(&status) && status.container_statuses[0].ready);
}

#[test]
fn a_readiness_probe_decides_and_gives_its_reason() {
    let mut spec = spec(RestartPolicy::Always);
    spec.readiness_probe = Some(Probe::default());
    let mut facts = facts(Some(running()));
    let reason = |facts: &Facts| pod_status("web", &spec, facts).conditions[1].reason.clone();
    assert_eq!(reason(&facts).as_deref(), Some("ReadinessProbePending"));
    facts.probe = Some((false, "connection refused".to_owned()));
    assert_eq!(reason(&facts).as_deref(), Some("ReadinessProbeFailed"));
    facts.probe = Some((true, String::new()));
    assert_eq!(reason(&facts), None);
}

#[test]
fn how_a_command_ended_and_the_policy_make_the_phase() {
    use PodPhase::{Failed, Running, Succeeded};
    use RestartPolicy::{Always, Never, OnFailure};
    for (policy, exit_code, phase) in [
        (Always, 0, Running),
        (Always, 1, Running),
        (OnFailure, 0, Succeeded),
        (OnFailure, 1, Running),
        (Never, 0, Succeeded),
        (Never, 1, Failed),
    ] {
        let status = pod_status("web", &spec(policy), &facts(Some(ended(exit_code))));
        assert_eq!(status.phase, phase, "{policy:?} {exit_code}");
        assert!(!is_ready(&status));
    }
}

#[test]
fn a_pod_between_restarts_is_running_and_not_ready() {
    let state = Observed::Waiting {
        reason: "CrashLoopBackOff".to_owned(),
        message: "back-off 10s".to_owned(),
    };
    let last_state = Some(ended(1).state);
    let runtime =
        RuntimeStatus { state, last_state, restart_count: 3, ..RuntimeStatus::creating() };
    let mut facts = facts(Some(runtime));
    facts.restarts_before = 2;
    let status = pod_status("web", &spec(RestartPolicy::Always), &facts);
    assert_eq!(status.phase, PodPhase::Running);
    assert_eq!(status.container_statuses[0].restart_count, 5);
    assert_eq!(status.conditions[1].reason.as_deref(), Some("CrashLoopBackOff"));
}

#[test]
fn what_failed_is_said_in_status_and_condition() {
    let failure = Some(("FailedCreatePodSandBox".to_owned(), "no link".to_owned()));
    let status =
        pod_status("web", &spec(RestartPolicy::Always), &Facts { failure, ..Facts::default() });
    assert_eq!(status.phase, PodPhase::Pending);
    assert_eq!(status.message.as_deref(), Some("no link"));
    assert_eq!(status.conditions[0].kind, NETWORK_READY);
    assert_eq!(status.conditions[0].message.as_deref(), Some("no link"));
}
