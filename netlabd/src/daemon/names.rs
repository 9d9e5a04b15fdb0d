// SPDX-License-Identifier: GPL-3.0-or-later
//! The section `[dns]` while the daemon runs: read again at SIGHUP and from time to time, told to
//! the cluster, and followed by the server of names until that stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use uuid::Uuid;

use super::config::names::{need_restart, read_source};
use super::config::{Config, Source};
use super::told_to_stop;
use crate::control::Control;
use crate::dns::chain::Notes;
use crate::dns::config::Reload;
use crate::node::Machine;
use crate::node::names::{NameServer, settings};
use crate::server::Gate;
use server::Answering;

mod server;

/// The shortest times between two looks at the file, as for CoreDNS.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(2);
const SHORTEST_JITTER: Duration = Duration::from_secs(1);

/// How soon an address that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What keeps names as the configuration says.
pub(super) struct NamesKeeping {
    config: Config,
    /// What the file said when the daemon started: the rest of it still holds.
    started: Source,
    /// What it said when it was last looked at, good or bad; none when it could not be read.
    looked: Option<Source>,
    machine: Arc<Machine>,
    /// Whom the other nodes hear it from, where this is the server.
    control: Option<Arc<Control>>,
    server: Box<dyn NameServer>,
    /// Why the server does not follow, as it was last told.
    failure: Option<String>,
    notes: Arc<Notes>,
}

impl NamesKeeping {
    /// Takes over what the file says; the machine goes by it at once. Must be called in a runtime,
    /// before the machine is followed.
    ///
    /// # Errors
    /// When the cluster's domain cannot be followed.
    pub(super) fn new(
        config: &Config,
        machine: Arc<Machine>,
        control: Option<Arc<Control>>,
        notes: Arc<Notes>,
    ) -> anyhow::Result<NamesKeeping> {
        let server = Box::new(Answering::new(machine.clone(), notes.clone())?);
        let keeping = NamesKeeping {
            started: config.source.clone(),
            looked: Some(config.source.clone()),
            config: config.clone(),
            machine,
            control,
            server,
            failure: None,
            notes,
        };
        keeping.configure();
        Ok(keeping)
    }

    /// Follows the file and the cluster until it is told to leave. `listening` is opened once names
    /// are answered, or are not to be.
    pub(super) async fn keep(
        mut self,
        mut hangup: Signal,
        listening: Gate,
        mut leaving: watch::Receiver<bool>,
    ) {
        let mut listening = Some(listening);
        let mut plans = self.machine.names.plans();
        plans.mark_changed();
        self.tell_cluster().await;
        let mut next_look = look_after(&self.machine.names.plan().config.reload);
        loop {
            let failed = self.failure.is_some();
            tokio::select! {
                () = told_to_stop(&mut leaving) => break,
                // The sender lives in the machine.
                _ = plans.changed() => {
                    next_look = look_after(&self.machine.names.plan().config.reload);
                    self.follow_plan(&mut listening).await;
                }
                () = tokio::time::sleep(RETRY), if failed => self.follow_plan(&mut listening).await,
                heard = hangup.recv() => match heard {
                    Some(()) => self.look(true).await,
                    None => std::future::pending().await,
                },
                () = at(next_look) => {
                    next_look = look_after(&self.machine.names.plan().config.reload);
                    self.look(false).await;
                }
            }
        }
        let lameduck = self.machine.names.plan().config.health.lameduck;
        if !lameduck.is_zero() {
            tracing::info!("names are answered for another {lameduck:?}");
        }
        self.server.stop(lameduck).await;
    }

    async fn follow_plan(&mut self, listening: &mut Option<Gate>) {
        let plan = self.machine.names.plan();
        match self.server.follow(&plan).await {
            Ok(()) => {
                if self.failure.take().is_some() {
                    tracing::info!("names are answered as configured again");
                }
                drop(listening.take());
            }
            Err(error) => {
                let message = format!("{error:#}");
                if self.failure.as_ref() != Some(&message) {
                    tracing::error!("names are not answered as configured: {message}");
                    let kind = netlab_api::event::EventKind::Warning;
                    self.machine.node_event(kind, "NamesNotServed", message.clone());
                }
                self.failure = Some(message);
            }
        }
    }

    /// Looks at the file. What is wrong with it leaves everything as it was.
    async fn look(&mut self, asked: bool) {
        let path = &self.config.source.path;
        let may_miss = self.started.text.is_empty();
        let source = match read_source(path, may_miss) {
            Ok(source) => source,
            Err(error) => {
                // Told once, and again to those who ask.
                if self.looked.take().is_some() || asked {
                    self.fail(&error);
                }
                return;
            }
        };
        if !asked && self.looked.as_ref() == Some(&source) {
            return;
        }
        self.looked = Some(source.clone());
        let now = match Config::parse(source).and_then(|now| check(&now).map(|()| now)) {
            Ok(now) => now,
            Err(error) => return self.fail(&error),
        };
        let others = need_restart(&self.started, &now.source);
        if !others.is_empty() {
            tracing::warn!(
                "{}: only [dns] is taken over while netlabd runs: {} will hold after a restart",
                now.source.path.display(),
                others.join(", ")
            );
        }
        if now.dns == self.config.dns {
            tracing::info!("{}: nothing new in [dns]", now.source.path.display());
            return;
        }
        tracing::info!("{}: [dns] is taken over", now.source.path.display());
        self.config.dns = now.dns;
        self.configure();
        self.tell_cluster().await;
    }

    fn fail(&self, error: &anyhow::Error) {
        self.notes.metrics.reload_failed();
        let path = self.config.source.path.display();
        let message = format!("{path} is not taken over, netlabd's log says why");
        self.machine.node_event(netlab_api::event::EventKind::Warning, "ReloadFailed", message);
        tracing::error!(
            "the configuration is not taken over, the one before still holds: {error:#}"
        );
    }

    /// Tells the machine. The server goes by its file whatever the cluster says; others only if
    /// that has a section for names.
    fn configure(&self) {
        let own = self.config.dns.clone();
        let is_server = self.control.is_some();
        self.machine.names.configure(own.or_else(|| is_server.then(Default::default)));
    }

    /// Tells the other nodes.
    async fn tell_cluster(&self) {
        let Some(control) = &self.control else { return };
        let told = match self.config.cluster() {
            Ok(cluster) => {
                let config = self.config.dns.clone().unwrap_or_default();
                control.configure_dns(&settings(&cluster, &config)).await.map_err(Into::into)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::error!("the other nodes do not hear of [dns]: {error:#}");
        }
    }
}

/// Whether what a file says of names can be followed; the error shows the place.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    config.cluster()?;
    let Some(dns) = &config.dns else { return Ok(()) };
    dns.check().map_err(|errors| {
        let Source { path, text } = &config.source;
        let file =
            netlab_api::manifest::Source { name: path.display().to_string(), text: text.clone() };
        errors.in_file(&file).into()
    })
}

/// When to look at the file again: never when that is switched off.
fn look_after(reload: &Reload) -> Option<tokio::time::Instant> {
    if reload.interval.is_zero() {
        return None;
    }
    let interval = reload.interval.max(SHORTEST_INTERVAL);
    let jitter = reload.jitter.max(SHORTEST_JITTER).min(interval);
    // Half of it sooner, half of it later, so that not all nodes look at once.
    let share = (Uuid::new_v4().as_u64_pair().1 & 0xffff) as f64 / 65536.0;
    Some(tokio::time::Instant::now() + interval - jitter / 2 + jitter.mul_f64(share))
}

async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_look_is_about_the_interval_away_and_never_when_switched_off() {
        let seconds = |seconds| Duration::from_secs(seconds);
        let never = Reload { interval: Duration::ZERO, jitter: seconds(1) };
        assert!(look_after(&never).is_none());
        for (interval, jitter, low, high) in [(30, 15, 22, 38), (0, 0, 0, 0), (60, 120, 30, 90)] {
            let reload = Reload { interval: seconds(interval), jitter: seconds(jitter) };
            for _ in 0..100 {
                let Some(next) = look_after(&reload) else { continue };
                let away = next - tokio::time::Instant::now();
                assert!(away <= seconds(high) && away >= seconds(low) - seconds(1), "{away:?}");
            }
        }
    }
}
