// SPDX-License-Identifier: GPL-3.0-or-later
//! Which probes run, and what their answers mean.

use netlab_api::event::EventKind;
use netlab_api::pod::Probe;

use super::{Input, Reconciler};
use crate::error::chain;
use crate::node::pod::probe::{Prober, Target, Verdict};
use crate::node::pod::status::{ContainerState, RuntimeStatus};

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeKind {
    /// Decides whether the pod is ready.
    Readiness,
    /// Decides whether the command is restarted.
    Liveness,
}

impl ProbeKind {
    fn word(self) -> &'static str {
        match self {
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct ProbeResult {
    uid: String,
    /// Start of the command that was asked; an answer about an earlier one is stale.
    start: jiff::Timestamp,
    kind: ProbeKind,
    verdict: Verdict,
}

impl Reconciler {
    /// Starts a pod's probes with its command, and stops them with it. A command that is to end may
    /// be ready until it does, and needs no restart.
    pub(super) fn renew_probes(&mut self, uid: &str, status: &RuntimeStatus) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let start = match &status.state {
            ContainerState::Running { started_at } => Some(*started_at),
            _ => None,
        };
        if entry.probed_start == start {
            return;
        }
        entry.stop_probes();
        entry.facts.probe = None;
        entry.probed_start = start;
        let (Some(start), Some(link)) = (start, entry.link) else { return };
        let target = Target {
            machine: self.machine.clone(),
            uid: uid.to_owned(),
            link: link.id,
            addresses: entry.pod.addresses.to_vec(),
            ports: entry.pod.spec().ports.clone(),
        };
        let probes: [(ProbeKind, Option<&Probe>); 2] = [
            (ProbeKind::Readiness, entry.pod.spec().readiness_probe.as_ref()),
            (ProbeKind::Liveness, entry.pod.spec().liveness_probe.as_ref()),
        ];
        let mut started = Vec::new();
        for (kind, probe) in probes {
            let Some(probe) = probe else { continue };
            if kind == ProbeKind::Liveness && entry.terminating {
                continue;
            }
            let (input, uid) = (self.input.clone(), uid.to_owned());
            let tell = move |verdict| {
                // The loop ends only with the daemon.
                let _ = input.send(Input::Probed(ProbeResult {
                    uid: uid.clone(),
                    start,
                    kind,
                    verdict,
                }));
            };
            let prober = Prober {
                target: target.clone(),
                probe: probe.clone(),
                // A pod starts alive and not ready.
                holds: kind == ProbeKind::Liveness,
                is_eager: kind == ProbeKind::Readiness,
            };
            started.push((kind, tokio::spawn(prober.run(tell)).abort_handle()));
        }
        started.into_iter().for_each(|(kind, probe)| entry.add_probe(kind, probe));
    }

    pub(super) fn take_probe(&mut self, result: ProbeResult) {
        let ProbeResult { uid, start, kind, verdict } = result;
        let Some(entry) = self.entries.get_mut(&*uid) else { return };
        if entry.probed_start != Some(start) {
            return;
        }
        let word = kind.word();
        if !verdict.success {
            let message = format!("{word} probe failed: {}", verdict.message);
            self.machine.pod_event(&entry.pod.identity(), EventKind::Warning, "Unhealthy", message);
        }
        match (kind, verdict.turned) {
            (ProbeKind::Readiness, Some(ready)) => {
                entry.facts.probe = Some((ready, verdict.message));
                self.touched.insert(uid);
            }
            (ProbeKind::Readiness, None) => {
                // Not ready yet, and now it is known why.
                if entry.facts.probe.as_ref().is_none_or(|(ready, _)| !ready) && !verdict.success {
                    entry.facts.probe = Some((false, verdict.message));
                    self.touched.insert(uid);
                }
            }
            (ProbeKind::Liveness, Some(false)) => {
                let name = &entry.pod.name;
                let message =
                    format!("Pod {name} failed its liveness probe, its command is restarted");
                self.machine.pod_event(
                    &entry.pod.identity(),
                    EventKind::Normal,
                    "Killing",
                    message,
                );
                entry.stop_probes();
                if let Err(error) = self.machine.runtime.restart_command(&uid) {
                    tracing::error!(%uid, error = %chain(&error), "a command was not restarted");
                }
            }
            (ProbeKind::Liveness, _) => {}
        }
    }
}
