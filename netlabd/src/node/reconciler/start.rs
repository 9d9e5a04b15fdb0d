// SPDX-License-Identifier: GPL-3.0-or-later
//! From a wired pod to a running command, and what is heard of it afterwards.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlab_api::Time;
use netlab_api::event::EventKind;
use netlab_api::pod::{Limits as ApiLimits, PodSpec, RestartPolicy};

use super::entry::Process;
use super::seen::SeenPod;
use super::{Input, Reconciler};
use crate::error::chain;
use crate::node::hosts::HOSTS_FILE;
use crate::node::machine::Machine;
use crate::node::pod::PodProcess;
use crate::node::pod::cgroup::Limits;
use crate::node::pod::config::{
    EnvVar, Etc, InitConfig, LogConfig, RestartPolicy as InitRestart, Root,
};
use crate::node::pod::resolv::plan_resolv_conf;
use crate::node::pod::resolv_file;
use crate::node::pod::status::{
    ContainerState, REASON_COMPLETED, REASON_CRASH_LOOP, REASON_ROOTFS_NOT_FOUND, RuntimeStatus,
};

/// Why PID 1 of a pod was not started.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) struct NotStarted {
    /// One word.
    reason: &'static str,
    message: String,
}

impl From<String> for NotStarted {
    fn from(message: String) -> NotStarted {
        NotStarted { reason: "FailedCreatePodSandBox", message }
    }
}

impl Reconciler {
    /// Starts PID 1 of a pod on a thread of its own.
    pub(super) fn start_process(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let Some(link) = entry.link else { return };
        entry.process = Process::Starting;
        let (machine, input) = (self.machine.clone(), self.input.clone());
        let (starters, pod) = (self.starters.clone(), entry.pod.clone());
        tokio::spawn(async move {
            // Closed only when the loop is gone.
            let Ok(_turn) = starters.acquire_owned().await else { return };
            let uid = pod.uid.to_string();
            let started = tokio::task::spawn_blocking(move || {
                let netns = machine.pin_path(link.id);
                start(&machine, &pod, netns)
            });
            let result = started.await.unwrap_or_else(|panic| Err(panic.to_string().into()));
            let _ = input.send(Input::Started { uid, result });
        });
    }

    pub(super) fn take_started(&mut self, uid: &str, result: Result<PodProcess, NotStarted>) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        self.touched.insert(uid.to_owned());
        match result {
            Ok(process) => {
                entry.process = Process::Alive;
                entry.succeed();
                if let Err(error) = self.watcher.add(Arc::clone(&entry.pod.uid), process.pidfd) {
                    tracing::error!(uid, %error, "the end of a pod will go unnoticed");
                }
                self.take_status(uid);
            }
            Err(NotStarted { reason, message }) => {
                entry.process = Process::None;
                self.doubt_pins = true;
                self.fail(uid, reason, message);
            }
        }
    }

    /// Reads what PID 1 says of its command.
    pub(super) fn take_status(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let status = match self.machine.runtime.status(uid) {
            Ok(Some(status)) => status,
            lost => {
                if let Err(error) = lost {
                    tracing::warn!(uid, error = %chain(&error), "the status of a pod is garbled");
                }
                if entry.process == Process::Alive
                    && let Err(error) = self.machine.runtime.ask_status(uid)
                {
                    tracing::warn!(uid, error = %chain(&error), "a pod does not tell its status");
                }
                return;
            }
        };
        if entry.facts.runtime.as_ref() == Some(&status) {
            return;
        }
        let before = entry.facts.runtime.replace(status.clone());
        for (kind, reason, message) in news(&entry.pod, before.as_ref(), &status) {
            self.machine.pod_event(&entry.pod.identity(), kind, reason, message);
        }
        self.renew_probes(uid, &status);
        self.touched.insert(uid.to_owned());
    }

    /// PID 1 of a pod is gone: because we wanted it, or because somebody killed it.
    pub(super) fn take_end(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.stop_probes();
        entry.probed_start = None;
        self.touched.insert(uid.to_owned());
        if entry.pod.is_deleted() {
            entry.process = Process::None;
            return;
        }
        let now = Instant::now();
        let finished = is_finished(&entry.pod, entry.facts.runtime.as_ref());
        if finished || entry.pod.spec().restart_policy == RestartPolicy::Never {
            if !finished {
                entry.facts.runtime = Some(killed(entry.facts.runtime.take()));
            }
            entry.process = Process::Ended;
        } else {
            entry.process = Process::None;
            // The command's own restarts have their back-off in PID 1; this one keeps a PID 1 that
            // is killed again and again from eating the machine.
            let rest = Duration::from_secs(1);
            let recent = entry.facts.runtime.as_ref().is_some_and(|r| started_within(r, rest));
            if recent {
                entry.rest(rest, now);
                self.look_after(uid, rest);
            }
        }
        let Some(entry) = self.entries.get(uid) else { return };
        let message = "Pod sandbox changed: its PID 1 was killed".to_owned();
        self.machine.pod_event(
            &entry.pod.identity(),
            EventKind::Warning,
            "SandboxChanged",
            message,
        );
    }

    /// Ends a pod's command as its deletion asks for; looks again when its time is up.
    pub(super) fn terminate(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let Some(asked) = entry.pod.deletion_timestamp else { return };
        let grace = entry.pod.grace_seconds.unwrap_or(0);
        let left = grace as f64 - Time::now().seconds_since(asked);
        // One that is killed at once, or told already, has nothing to wait for.
        let backs = left > 0.0 && !entry.terminating && self.drains.backs(uid);
        if backs && !entry.is_drained {
            if !std::mem::replace(&mut entry.is_draining, true) {
                self.drain(uid, Duration::from_secs_f64(left));
            }
            return;
        }
        let first = !std::mem::replace(&mut entry.terminating, true);
        let done = if left <= 0.0 {
            self.machine.runtime.kill(uid)
        } else if first {
            self.machine.runtime.terminate(uid)
        } else {
            Ok(())
        };
        if first {
            let message = format!("Stopping pod {}", entry.pod.name);
            entry.stop_liveness();
            self.machine.pod_event(&entry.pod.identity(), EventKind::Normal, "Killing", message);
        }
        if let Err(error) = done {
            let message = chain(&error);
            self.fail(uid, "FailedKillPod", message);
        } else if left > 0.0 {
            self.look_after(uid, Duration::from_secs_f64(left + 0.01));
        }
    }
}

/// Starts PID 1. Blocking.
fn start(
    machine: &Arc<Machine>,
    pod: &SeenPod,
    netns: std::path::PathBuf,
) -> Result<PodProcess, NotStarted> {
    if let Some(rootfs) = &pod.spec().rootfs {
        check_rootfs(Path::new(rootfs))?;
    }
    let text = |error: &dyn std::error::Error| NotStarted::from(chain(error));
    let limits = limits_of(pod.spec())?;
    let cgroups =
        machine.runtime.cgroups().ensure(&pod.uid, &limits).map_err(|error| text(&error))?;
    let config = init_config(machine, pod, netns, cgroups);
    machine.runtime.start(&config).map_err(|error| text(&error))
}

/// Refuses a root that PID 1 could not enter whatever else is tried.
fn check_rootfs(rootfs: &Path) -> Result<(), NotStarted> {
    let what = match rootfs.metadata() {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "is no folder",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "does not exist",
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => "lies below a file",
        // PID 1 says what the kernel says.
        Err(_) => return Ok(()),
    };
    let message = format!("the pod's root folder `{}` {what} on this node", rootfs.display());
    Err(NotStarted { reason: REASON_ROOTFS_NOT_FOUND, message })
}

fn limits_of(spec: &PodSpec) -> Result<Limits, String> {
    let Some(ApiLimits { cpu, memory, pids }) =
        spec.resources.as_ref().and_then(|r| r.limits.as_ref())
    else {
        return Ok(Limits::default());
    };
    let amount = |error: netlab_api::quantity::QuantityError| error.to_string();
    Ok(Limits {
        cpu_millis: cpu.as_ref().map(|q| q.milli().map_err(amount)).transpose()?,
        memory_bytes: memory.as_ref().map(|q| q.value().map_err(amount)).transpose()?,
        pids: pids.map(u64::from),
    })
}

fn init_config(
    machine: &Machine,
    pod: &SeenPod,
    netns: std::path::PathBuf,
    cgroups: Vec<std::path::PathBuf>,
) -> InitConfig {
    let spec = pod.spec();
    let namespace = pod.namespace().to_owned();
    let node_conf = resolv_file::of_node();
    let cluster = machine.config();
    let families =
        |server: &IpAddr| pod.addresses.iter().any(|ip| ip.is_ipv4() == server.is_ipv4());
    let servers = &machine.names.plan().pod_servers;
    let servers: Vec<IpAddr> = servers.iter().copied().filter(families).collect();
    let resolv_conf = plan_resolv_conf(spec, &namespace, &servers, &cluster.domain, &node_conf);
    InitConfig {
        uid: pod.uid.to_string(),
        name: pod.name.to_string(),
        hostname: spec.hostname.clone().unwrap_or_else(|| pod.name.to_string()),
        domain: spec
            .subdomain
            .as_ref()
            .map(|subdomain| format!("{subdomain}.{namespace}.svc.{}", cluster.domain)),
        netns,
        cgroups,
        root: match &spec.rootfs {
            Some(dir) => Root::Dir(dir.into()),
            None => Root::Host { mounts: machine.mounts.carried_over() },
        },
        etc: Etc {
            resolv_conf: resolv_conf.render(),
            hosts_dir: machine.hosts.dir_of(&namespace),
            hosts_file: HOSTS_FILE.to_owned(),
        },
        namespace,
        command: spec.command.clone(),
        args: spec.args.clone(),
        env: spec
            .env
            .iter()
            .map(|var| EnvVar { name: var.name.clone(), value: var.value.clone() })
            .collect(),
        working_dir: spec.working_dir.clone(),
        restart_policy: match spec.restart_policy {
            RestartPolicy::Always => InitRestart::Always,
            RestartPolicy::OnFailure => InitRestart::OnFailure,
            RestartPolicy::Never => InitRestart::Never,
        },
        termination_grace_period_seconds: spec
            .termination_grace_period_seconds
            .unwrap_or(netlab_api::pod::DEFAULT_GRACE_PERIOD_SECONDS),
        log: LogConfig {
            dir: machine.log_dir(&pod.identity()),
            max_bytes: machine.options.log_max_bytes,
            max_files: machine.options.log_max_files,
        },
        back_off: machine.options.back_off,
    }
}

/// Whether a pod's command has ended and is not started again.
pub(super) fn is_finished(pod: &SeenPod, runtime: Option<&RuntimeStatus>) -> bool {
    match runtime.map(|r| &r.state) {
        Some(ContainerState::Terminated { exit_code, .. }) => match pod.spec().restart_policy {
            RestartPolicy::Always => false,
            RestartPolicy::OnFailure => *exit_code == 0,
            RestartPolicy::Never => true,
        },
        Some(_) => false,
        None => pod.said.as_ref().is_some_and(|said| said.phase.is_finished()),
    }
}

fn started_within(runtime: &RuntimeStatus, time: Duration) -> bool {
    match &runtime.state {
        ContainerState::Running { started_at } => {
            jiff::Timestamp::now().duration_since(*started_at).as_secs_f64() < time.as_secs_f64()
        }
        _ => false,
    }
}

/// The status of a command whose PID 1 was killed and that is not started again.
fn killed(before: Option<RuntimeStatus>) -> RuntimeStatus {
    let before = before.unwrap_or_else(RuntimeStatus::creating);
    let now = jiff::Timestamp::now();
    let started_at = match &before.state {
        ContainerState::Running { started_at } => *started_at,
        _ => now,
    };
    RuntimeStatus {
        state: ContainerState::Terminated {
            exit_code: 137,
            signal: Some(libc::SIGKILL),
            reason: "Error".to_owned(),
            message: "the pod's PID 1 was killed".to_owned(),
            started_at,
            finished_at: now,
        },
        pid: None,
        ..before
    }
}

/// What people should hear when a command's state changes; kubelet's reasons.
fn news(
    pod: &SeenPod,
    before: Option<&RuntimeStatus>,
    now: &RuntimeStatus,
) -> Vec<(EventKind, &'static str, String)> {
    let mut news = Vec::new();
    let name = &pod.name;
    let is_new = before.is_none_or(|b| b.state != now.state);
    // An end that was asked for is no news.
    if !is_new || pod.is_deleted() {
        return news;
    }
    match &now.state {
        ContainerState::Running { started_at } => {
            // A daemon that comes back hears of old starts; the pod's own status knows them.
            let told = pod.said.iter().flat_map(|said| &said.container_statuses).any(|c| {
                c.state.running.as_ref().is_some_and(|r| r.started_at == Time::from(*started_at))
            });
            if !told {
                let command: Vec<_> = pod.spec().command_line().collect();
                let message = match command.as_slice() {
                    [] => format!("Started pod {name}, which holds its namespaces"),
                    command => format!("Started pod {name}: {}", command.join(" ")),
                };
                news.push((EventKind::Normal, "Started", message));
            }
        }
        ContainerState::Terminated { exit_code, reason, message, .. } => {
            if reason == REASON_COMPLETED {
                let message = format!("Command of pod {name} ended with exit code 0");
                news.push((EventKind::Normal, "Completed", message));
            } else {
                let mut text =
                    format!("Command of pod {name} ended: {reason}, exit code {exit_code}");
                if !message.is_empty() {
                    text.push_str(&format!(": {message}"));
                }
                news.push((EventKind::Warning, "Failed", text));
            }
        }
        ContainerState::Waiting { reason, .. } if reason == REASON_CRASH_LOOP => {
            if let Some(ContainerState::Terminated { exit_code, reason, message, .. }) =
                &now.last_state
                && before.is_none_or(|b| !matches!(b.state, ContainerState::Terminated { .. }))
            {
                let mut text =
                    format!("Command of pod {name} ended: {reason}, exit code {exit_code}");
                if !message.is_empty() {
                    text.push_str(&format!(": {message}"));
                }
                news.push((EventKind::Warning, "Failed", text));
            }
            let message = format!("Back-off restarting failed command of pod {name}");
            news.push((EventKind::Warning, "BackOff", message));
        }
        ContainerState::Waiting { .. } => {}
    }
    news
}
