// SPDX-License-Identifier: GPL-3.0-or-later
//! What the node says of a pod: facts in, a status out. Pure.

use netlab_api::Time;
use netlab_api::pod::{
    Condition, ConditionStatus, ContainerState, ContainerStatus, NETWORK_READY, PodNetworkStatus,
    PodPhase, PodSpec, PodStatus, READY, RestartPolicy, StateRunning, StateTerminated,
    StateWaiting,
};

use super::status::{ContainerState as Observed, RuntimeStatus};

/// All that the node knows of a pod.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What was made in the kernel; `None` as long as nothing was.
    pub network: Option<PodNetworkStatus>,
    /// Why there is no network, or no process: one word and a sentence.
    pub failure: Option<(String, String)>,
    /// What PID 1 says.
    pub runtime: Option<RuntimeStatus>,
    /// Restarts that PID 1 does not know of: those before it was itself started again.
    pub restarts_before: u32,
    /// What the readiness probe last said, and why; `None` as long as it said nothing.
    pub probe: Option<(bool, String)>,
    /// When the node took the pod up.
    pub start_time: Option<Time>,
}

/// The status of the pod `name`. Addresses and placement are left to the cluster.
pub fn pod_status(name: &str, spec: &PodSpec, facts: &Facts) -> PodStatus {
    let policy = spec.restart_policy;
    let runtime = facts.runtime.as_ref();
    let state = match (&facts.failure, runtime) {
        (Some((reason, message)), _) => ContainerState {
            waiting: Some(StateWaiting { reason: reason.clone(), message: message.clone() }),
            ..ContainerState::default()
        },
        (None, Some(runtime)) => container_state(&runtime.state),
        (None, None) => ContainerState {
            waiting: Some(StateWaiting {
                reason: "ContainerCreating".to_owned(),
                message: String::new(),
            }),
            ..ContainerState::default()
        },
    };
    let last_state =
        runtime.and_then(|r| r.last_state.as_ref()).map(container_state).unwrap_or_default();
    let phase = phase(policy, &state, &last_state);
    let is_running = state.running.is_some();
    let (ready, why) = readiness(spec, facts, &state, phase);
    let network_ready = facts.network.is_some();
    let mut conditions = vec![condition(
        NETWORK_READY,
        network_ready,
        facts.failure.as_ref().filter(|_| !network_ready).cloned(),
    )];
    conditions.push(condition(READY, ready, why));
    let ended_badly = (phase == PodPhase::Failed).then(|| state.terminated.clone()).flatten();
    PodStatus {
        phase,
        conditions,
        start_time: facts.start_time,
        reason: facts
            .failure
            .as_ref()
            .map(|f| f.0.clone())
            .or_else(|| ended_badly.as_ref().map(|t| t.reason.clone())),
        message: facts
            .failure
            .as_ref()
            .map(|f| f.1.clone())
            .or_else(|| ended_badly.map(|t| t.message).filter(|m| !m.is_empty())),
        container_statuses: vec![ContainerStatus {
            name: name.to_owned(),
            ready: ready && is_running,
            restart_count: facts.restarts_before + runtime.map_or(0, |r| r.restart_count),
            state,
            last_state,
        }],
        network: facts.network.clone(),
        ..PodStatus::default()
    }
}

fn phase(policy: RestartPolicy, state: &ContainerState, last: &ContainerState) -> PodPhase {
    if let Some(terminated) = &state.terminated {
        // PID 1 stops only where the policy says so; under another it is about to start again.
        return match (policy, terminated.exit_code) {
            (RestartPolicy::Always, _) => PodPhase::Running,
            (_, 0) => PodPhase::Succeeded,
            (RestartPolicy::Never, _) => PodPhase::Failed,
            (RestartPolicy::OnFailure, _) => PodPhase::Running,
        };
    }
    if state.running.is_some() || !last.is_empty() { PodPhase::Running } else { PodPhase::Pending }
}

/// Whether a pod is ready, and if not, why: one word and a sentence. One that is being deleted may
/// be: until its command ends it serves those for whom there is nobody else.
fn readiness(
    spec: &PodSpec,
    facts: &Facts,
    state: &ContainerState,
    phase: PodPhase,
) -> (bool, Option<(String, String)>) {
    let not = |reason: &str, message: String| (false, Some((reason.to_owned(), message)));
    match phase {
        PodPhase::Succeeded => return not("PodCompleted", String::new()),
        PodPhase::Failed => return not("PodFailed", String::new()),
        _ => {}
    }
    if facts.network.is_none() {
        return not("NetworkNotReady", "the pod's network is not programmed yet".to_owned());
    }
    if state.running.is_none() {
        let waiting = state.waiting.as_ref().map(|w| w.reason.as_str());
        let ended = state.terminated.as_ref().map(|t| t.reason.as_str());
        let word = waiting.or(ended).unwrap_or("ContainersNotReady");
        let message = state.waiting.as_ref().map(|w| w.message.clone()).unwrap_or_default();
        return not(word, message);
    }
    match (&spec.readiness_probe, &facts.probe) {
        (None, _) | (Some(_), Some((true, _))) => (true, None),
        (Some(_), Some((false, why))) => {
            not("ReadinessProbeFailed", format!("readiness probe failed: {why}"))
        }
        (Some(_), None) => {
            not("ReadinessProbePending", "the readiness probe has not succeeded yet".to_owned())
        }
    }
}

fn condition(kind: &str, holds: bool, why: Option<(String, String)>) -> Condition {
    let (reason, message) = why.filter(|_| !holds).unzip();
    Condition {
        kind: kind.to_owned(),
        status: if holds { ConditionStatus::True } else { ConditionStatus::False },
        last_transition_time: None,
        reason,
        message: message.filter(|m| !m.is_empty()),
    }
}

fn container_state(observed: &Observed) -> ContainerState {
    let mut state = ContainerState::default();
    match observed.clone() {
        Observed::Waiting { reason, message } => {
            state.waiting = Some(StateWaiting { reason, message });
        }
        Observed::Running { started_at } => {
            state.running = Some(StateRunning { started_at: started_at.into() });
        }
        Observed::Terminated { exit_code, signal, reason, message, started_at, finished_at } => {
            state.terminated = Some(StateTerminated {
                exit_code,
                signal,
                reason,
                message,
                started_at: Some(started_at.into()),
                finished_at: Some(finished_at.into()),
            });
        }
    }
    state
}

#[cfg(test)]
mod tests;
