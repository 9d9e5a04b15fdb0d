// SPDX-License-Identifier: GPL-3.0-or-later
//! What one word says of a pod: kubectl's STATUS column (`printPod` of
//! k8s.io/kubernetes/pkg/printers/internalversion), and whether waiting for it makes sense.

use netlab_api::pod::{
    Condition, ConditionStatus, NETWORK_READY, POD_SCHEDULED, PodPhase, READY, StateTerminated,
};
use netlab_api::{Pod, Time};

use crate::output::age;

/// The STATUS column.
pub(crate) fn word(pod: &Pod) -> String {
    let status = &pod.status;
    let mut word = status.reason.clone().unwrap_or_else(|| phase(status.phase).to_owned());
    // What no node has taken yet is not being created.
    let placed = unplaced(pod).is_none();
    if let Some(container) = status.container_statuses.first().filter(|_| placed) {
        let state = &container.state;
        if let Some(waiting) = state.waiting.as_ref().filter(|w| !w.reason.is_empty()) {
            word = waiting.reason.clone();
        } else if let Some(ended) = &state.terminated {
            word = ended_word(ended);
        }
    }
    if pod.metadata.deletion_timestamp.is_some() {
        word = match status.reason.as_deref() {
            Some("NodeLost") => "Unknown".to_owned(),
            _ if pod.is_finished() => word,
            _ => "Terminating".to_owned(),
        };
    }
    word
}

fn ended_word(ended: &StateTerminated) -> String {
    match (ended.reason.as_str(), ended.signal) {
        ("", Some(signal)) if signal != 0 => format!("Signal:{signal}"),
        ("", _) => format!("ExitCode:{}", ended.exit_code),
        (reason, _) => reason.to_owned(),
    }
}

pub(crate) fn phase(phase: PodPhase) -> &'static str {
    match phase {
        PodPhase::Pending => "Pending",
        PodPhase::Running => "Running",
        PodPhase::Succeeded => "Succeeded",
        PodPhase::Failed => "Failed",
        PodPhase::Unknown => "Unknown",
    }
}

/// The READY column: `1/1`.
pub(crate) fn ready(pod: &Pod) -> String {
    let ready = pod.status.container_statuses.iter().filter(|c| c.ready).count();
    format!("{ready}/1")
}

/// The RESTARTS column: `2 (10s ago)`.
pub(crate) fn restarts(pod: &Pod, now: Time) -> String {
    let Some(container) = pod.status.container_statuses.first() else {
        return "0".to_owned();
    };
    let ended = container.last_state.terminated.as_ref().and_then(|t| t.finished_at);
    match (container.restart_count, ended) {
        (count @ 1.., Some(ended)) => format!("{count} ({} ago)", age::since(Some(ended), now)),
        (count, _) => count.to_string(),
    }
}

/// Where a pod stands for somebody who waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is ready.
    Ready,
    /// Its command ended with 0, for good.
    Finished,
    /// It is on its way; why it is not there yet.
    Waiting(String),
    /// It will not get there by itself; why.
    Broken(String),
}

/// Reasons of a command that does not run which waiting longer does not mend.
const HOPELESS: [&str; 7] = [
    "CrashLoopBackOff",
    "CommandNotFound",
    "CommandNotExecutable",
    "RootfsNotFound",
    "WorkingDirNotFound",
    "CreateContainerError",
    "RunContainerError",
];

/// Whether waiting for a pod makes sense.
pub(crate) fn verdict(pod: &Pod) -> Verdict {
    match pod.status.phase {
        PodPhase::Succeeded => return Verdict::Finished,
        PodPhase::Failed => return Verdict::Broken(ending(pod)),
        _ => {}
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return Verdict::Broken("it is being deleted".to_owned());
    }
    if let Some(container) = pod.status.container_statuses.first() {
        let ended =
            container.state.terminated.as_ref().or(container.last_state.terminated.as_ref());
        // 126 and 127 are also what a shell says of a command in a script, which may be mended by
        // the next start; with these reasons it was the pod's own command.
        if let Some(ended) = ended
            && HOPELESS.contains(&ended.reason.as_str())
        {
            return Verdict::Broken(ending_of(ended));
        }
        if let Some(waiting) = &container.state.waiting
            && HOPELESS.contains(&waiting.reason.as_str())
        {
            let why = sentence(&waiting.reason, &waiting.message);
            return Verdict::Broken(match ended {
                Some(ended) => format!("{why} (last: {})", ending_of(ended)),
                None => why,
            });
        }
    }
    if pod.has_condition(READY) { Verdict::Ready } else { Verdict::Waiting(missing(pod)) }
}

/// Why no node takes a pod, if none does.
pub(crate) fn unplaced(pod: &Pod) -> Option<String> {
    let condition = pod.status.conditions.iter().find(|c| c.kind == POD_SCHEDULED)?;
    (!condition.is(POD_SCHEDULED)).then(|| condition_sentence(condition))
}

/// What a pod that is not ready waits for: the first condition that does not hold.
pub(crate) fn missing(pod: &Pod) -> String {
    let conditions = [POD_SCHEDULED, NETWORK_READY, READY];
    let unmet = conditions
        .iter()
        .find_map(|kind| pod.status.conditions.iter().find(|c| c.kind == *kind && !c.is(kind)));
    match unmet {
        Some(condition) => condition_sentence(condition),
        None => match word(pod).as_str() {
            "Pending" => "no node has taken it up yet".to_owned(),
            word => format!("its status is {word}"),
        },
    }
}

fn condition_sentence(condition: &Condition) -> String {
    let status = match condition.status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    };
    let reason = condition.reason.as_deref().unwrap_or_default();
    let message = condition.message.as_deref().unwrap_or_default();
    let mut text = format!("{} is {status}", condition.kind);
    for part in [reason, message].into_iter().filter(|part| !part.is_empty()) {
        text += ": ";
        text += part;
    }
    text
}

/// How a pod's command ended, in words.
pub(crate) fn ending(pod: &Pod) -> String {
    let container = pod.status.container_statuses.first();
    match container.and_then(|c| c.state.terminated.as_ref()) {
        Some(ended) => ending_of(ended),
        None => {
            let reason = pod.status.reason.as_deref().unwrap_or("Failed");
            sentence(reason, pod.status.message.as_deref().unwrap_or_default())
        }
    }
}

fn ending_of(ended: &StateTerminated) -> String {
    let mut text = sentence(&ended.reason, &ended.message);
    if ended.message.is_empty() {
        text += &match ended.signal {
            Some(signal) => format!(", ended by signal {signal}"),
            None => format!(", exit code {}", ended.exit_code),
        };
    }
    text
}

fn sentence(reason: &str, message: &str) -> String {
    match message {
        "" => reason.to_owned(),
        message => format!("{reason}: {message}"),
    }
}

#[cfg(test)]
mod tests;
