// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole pods by the built daemon and command line: one, many, idle, and through a restart.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;

use crate::cluster::{COMMAND, Cluster};
use crate::network::ping;
use crate::report::{Report, Row, Unit};
use crate::{process, targets};

const MEMORY: &str = "resident memory of netlabd";
/// How long a daemon is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(10);

const IDLE: &str = "CPU of an idle netlabd";
const RESTART: &str = "restart until ready";

/// How many work at once in [`measure_clients`].
const CLIENTS: u16 = 8;

/// One in this many pods is asked for an answer.
const PING_EVERY: u32 = 10;

/// What is busy for less of this is at rest.
const REST: Duration = Duration::from_millis(500);

/// Single pods, one after the other, each the whole process of the command line.
///
/// # Errors
/// When a command fails or a pod does not answer.
pub(crate) fn measure_runs(
    cluster: &Cluster,
    count: u32,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("single pods");
    let (mut starts, mut runs, mut removals) = (Vec::new(), Vec::new(), Vec::new());
    let names: Vec<String> = (0..count).map(|number| format!("one-{number}")).collect();
    for (number, name) in (0..).zip(&names) {
        starts.push(cluster.ctl(&["version"])?.took);
        let args = [&["pod", "run", name], COMMAND].concat();
        runs.push(cluster.ctl(&args)?.took);
        if number % PING_EVERY == 0 {
            ping(&cluster.address(name)?.to_string())
                .with_context(|| format!("pod `{name}` does not answer"))?;
        }
    }
    for name in &names {
        removals.push(cluster.ctl(&["pod", "rm", name])?.took);
    }
    cluster.wait_until_gone()?;
    let ms = Unit::Milliseconds;
    let row = Row::times("one pod", "`netlabctl pod run`, running and reachable", ms, &runs);
    report.add(row.target(targets::POD_RUN_MS));
    report.add(Row::times("one pod", "`netlabctl pod rm`, gone", ms, &removals));
    report.add(Row::times("one pod", "`netlabctl version`, to compare", ms, &starts));
    Ok(())
}

/// Many pods by one command.
///
/// # Errors
/// When a command fails, or something is left.
pub(crate) fn measure_many(
    cluster: &Cluster,
    pods: u16,
    rounds: u32,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("{pods} pods, {rounds} times");
    let (mut creations, mut deletions) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        creations.push(create(cluster, pods)?);
        deletions.push(delete(cluster)?);
    }
    let row = Row::times(&created(pods), "one client", Unit::Seconds, &creations);
    report.add(row.target(targets::CREATE_MANY_S));
    let row = Row::times(&deleted(pods), "one client", Unit::Seconds, &deletions);
    report.add(row.target(targets::DELETE_MANY_S));
    Ok(())
}

/// As many by several clients at once.
///
/// # Errors
/// When a command fails, or something is left.
pub(crate) fn measure_clients(
    cluster: &Cluster,
    pods: u16,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("{pods} pods by {CLIENTS} clients");
    let share = (pods / CLIENTS).to_string();
    let all = share.parse::<usize>()? * usize::from(CLIENTS);
    let began = Instant::now();
    at_once(|client| {
        let (name, label) = (format!("many-{client}"), format!("client={client}"));
        let args = ["pod", "run", &name, "--replicas", &share, "-l", &label, "--timeout", "120s"];
        cluster.ctl(&[&args, COMMAND].concat()).map(drop)
    })?;
    let creation = began.elapsed();
    ensure_ready(cluster, all)?;
    let began = Instant::now();
    at_once(|client| {
        let label = format!("client={client}");
        cluster.ctl(&["delete", "pods", "-l", &label, "--timeout", "120s"]).map(drop)
    })?;
    let deletion = began.elapsed() + cluster.wait_until_gone()?;
    let how = format!("{CLIENTS} clients, {share} each");
    report.add(Row::times(&created(pods), &how, Unit::Seconds, &[creation]));
    report.add(Row::times(&deleted(pods), &how, Unit::Seconds, &[deletion]));
    Ok(())
}

/// Does something while there are many pods.
///
/// # Errors
/// Those of `work`, or when a command fails.
pub(crate) fn with_many(
    cluster: &mut Cluster,
    pods: u16,
    work: impl FnOnce(&mut Cluster) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    create(cluster, pods)?;
    work(cluster)?;
    delete(cluster)?;
    Ok(())
}

/// A daemon that has nothing to do, and the pods' PID 1, which have nothing to do either.
///
/// # Errors
/// When a process is gone.
pub(crate) fn measure_idle(
    cluster: &Cluster,
    pods: u16,
    seconds: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let daemon = cluster.pid()?;
    wait_for_rest(cluster)?;
    // Once nothing happens any more, netlabd names links and gives memory back: not idle yet.
    thread::sleep(SETTLE);
    eprintln!("{pods} pods, watched for {seconds} s");
    let inits = cluster.inits()?;
    let of_inits = || inits.iter().map(|pid| process::cpu(*pid)).sum::<anyhow::Result<Duration>>();
    let before = (process::cpu(daemon)?, of_inits()?);
    let began = Instant::now();
    thread::sleep(Duration::from_secs(seconds));
    let after = (process::cpu(daemon)?, of_inits()?);
    let share = |busy: Duration| busy.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let how = format!("{pods} pods");
    let row = Row::percent(IDLE, &how, share(after.0 - before.0));
    report.add(row.target(targets::IDLE_PERCENT));
    let row = Row::sizes(MEMORY, &how, &[process::resident(daemon)?]);
    report.add(row.target(targets::RESIDENT_MB));
    if !inits.is_empty() {
        report.add(Row::percent(
            "CPU of idle pods' PID 1",
            "all together",
            share(after.1 - before.1),
        ));
        let sizes = inits
            .iter()
            .map(|pid| process::proportional(*pid))
            .collect::<anyhow::Result<Vec<u64>>>()?;
        report.add(Row::sizes("memory (PSS) of a pod's PID 1", "each", &sizes));
        let all = sizes.iter().sum();
        report.add(Row::sizes("memory (PSS) of all pods' PID 1", "all together", &[all]));
    }
    Ok(())
}

/// What the daemon keeps of pods that are gone.
///
/// # Errors
/// When the daemon is gone.
pub(crate) fn measure_memory_afterwards(
    cluster: &Cluster,
    report: &mut Report,
) -> anyhow::Result<()> {
    wait_for_rest(cluster)?;
    let resident = process::resident(cluster.pid()?)?;
    report.add(Row::sizes(MEMORY, "after all pods are deleted", &[resident]));
    Ok(())
}

/// The daemon's restart, in peace and by force. Pods must not notice.
///
/// # Errors
/// When it does not get ready, or a pod noticed.
pub(crate) fn measure_restart(
    cluster: &mut Cluster,
    pods: u16,
    rounds: u32,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("restarts with {pods} pods");
    let inits = cluster.inits()?;
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let times = (0..rounds)
            .map(|_| cluster.restart(signal))
            .collect::<anyhow::Result<Vec<Duration>>>()?;
        ensure!(cluster.inits()? == inits, "pods were started anew after {signal} to netlabd");
        ensure_ready(cluster, usize::from(pods))?;
        let how = format!("{pods} pods, after {signal}");
        report.add(Row::times(RESTART, &how, Unit::Seconds, &times));
    }
    Ok(())
}

fn created(pods: u16) -> String {
    format!("{pods} pods: until all are ready")
}

fn deleted(pods: u16) -> String {
    format!("{pods} pods: until all are gone")
}

fn create(cluster: &Cluster, pods: u16) -> anyhow::Result<Duration> {
    let replicas = pods.to_string();
    let args = ["pod", "run", "many", "--replicas", &replicas, "--timeout", "120s"];
    let took = cluster.ctl(&[&args, COMMAND].concat())?.took;
    ensure_ready(cluster, usize::from(pods))?;
    for number in [0, pods / 2, pods - 1] {
        ping(&cluster.address(&format!("many-{number}"))?.to_string())?;
    }
    Ok(took)
}

/// The time until no object, no process and no link is left.
fn delete(cluster: &Cluster) -> anyhow::Result<Duration> {
    let took = cluster.ctl(&["delete", "pods", "--all", "--timeout", "120s"])?.took;
    Ok(took + cluster.wait_until_gone()?)
}

fn ensure_ready(cluster: &Cluster, pods: usize) -> anyhow::Result<()> {
    let ready = cluster.count_ready()?;
    ensure!(ready == pods, "{ready} of {pods} pods are ready");
    Ok(())
}

/// Does something as each of the clients.
fn at_once(work: impl Fn(u16) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let work = &work;
        let clients: Vec<_> = (0..CLIENTS).map(|it| scope.spawn(move || work(it))).collect();
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("BUG: a client panicked"))??;
        }
        Ok(())
    })
}

/// Waits until the daemon has done what the last command left for later.
fn wait_for_rest(cluster: &Cluster) -> anyhow::Result<()> {
    let daemon = cluster.pid()?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let before = process::cpu(daemon)?;
        thread::sleep(REST);
        if process::cpu(daemon)? - before < REST / 100 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "netlabd has no rest with nothing to do");
    }
}
