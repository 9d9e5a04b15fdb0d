// SPDX-License-Identifier: GPL-3.0-or-later
//! The cluster's names: how many are answered, what each costs, how long one waits, and the memory;
//! beside knot, unbound and dnsmasq with the same names.
//!
//! ```text
//!   catalogue  names, as objects for netlabd, as a zone for knot, unbound and dnsmasq
//!   server     one that runs and answers: its address, process, CPU time, memory
//!   load       dnsperf for queries a second; a paced client of our own for waiting times
//! ```
//!
//! All listen in the sandbox's namespace, one after the other, and netlabd with its rules in place.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::cluster::Cluster;
use crate::process;
use crate::report::{Report, Row, Unit};
use crate::targets;

mod catalogue;
mod daemon;
mod load;
mod server;

use catalogue::{Catalogue, Outside};
use load::{Load, Transport};
use server::{Program, Server};

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Sizes {
    /// Services with a cluster IP.
    pub(crate) services: u32,
    /// Records in all, of headless services with endpoints that have host names.
    pub(crate) records: u32,
    /// How often each figure is taken.
    pub(crate) rounds: u32,
    /// Length of one.
    pub(crate) seconds: u32,
}

/// Queries a second at which waiting times are compared.
const HALF_LOAD: u32 = 20_000;

/// Queries a second at which CPU time is compared.
const STEADY_LOAD: u32 = 40_000;

/// Measures all of it.
///
/// # Errors
/// When something does not work.
pub(crate) fn measure(bin_dir: &Path, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let outside = Outside::default();
    // Who is asked for names outside: the same for all.
    let upstream = Server::start(Program::Knot, &Catalogue::Outside(outside), server::UPSTREAM)
        .context("the upstream")?;
    let services = Catalogue::Services { count: sizes.services };
    let headless = Catalogue::headless(sizes.records);
    for catalogue in [services, headless] {
        eprintln!("{catalogue}");
        let mut figures = Vec::new();
        figures.push(of_netlab(bin_dir, &catalogue, sizes, report)?);
        for program in [Program::Knot, Program::Unbound, Program::Dnsmasq] {
            let server = Server::start(program, &catalogue, server::PEER)
                .with_context(|| format!("{program} with {catalogue}"))?;
            figures.push(of_server(&server, &catalogue, sizes, report)?);
            let memory = process::resident(server.pid()?)?;
            let what = format!("{catalogue}: memory");
            report.add(Row::sizes(&what, &program.to_string(), &[memory]));
        }
        compare(&catalogue, &figures, report);
    }
    forwarded(bin_dir, outside, sizes, report)?;
    drop(upstream);
    Ok(())
}

/// Medians of one server.
#[derive(Debug, Clone, Copy)]
struct Figures {
    udp: f64,
    cpu: f64,
}

fn of_netlab(
    bin_dir: &Path,
    catalogue: &Catalogue,
    sizes: &Sizes,
    report: &mut Report,
) -> anyhow::Result<Figures> {
    with_daemon(bin_dir, |cluster| {
        let idle = process::resident(cluster.pid()?)?;
        daemon::apply(catalogue)?;
        std::thread::sleep(daemon::REST);
        let resident = process::resident(cluster.pid()?)?;
        let server = Server::daemon(cluster.pid()?);
        let figures = of_server(&server, catalogue, sizes, report)?;
        let memory = format!("{catalogue}: memory");
        report.add(Row::sizes(&memory, "netlabd", &[resident]));
        let more = format!("{catalogue}: memory over the idle daemon");
        let row = Row::sizes(&more, "netlabd", &[resident.saturating_sub(idle)]);
        let is_headless = matches!(catalogue, Catalogue::Headless { .. });
        report.add(if is_headless { row.target(targets::RECORDS_MB) } else { row });
        Ok(figures)
    })
}

/// Starts a daemon, does something with it, and removes it again.
fn with_daemon<T>(
    bin_dir: &Path,
    work: impl FnOnce(&mut Cluster) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let config = daemon::config()?;
    let mut cluster = Cluster::start_with(bin_dir, Some(&config))?;
    let done = work(&mut cluster);
    let log = cluster.last_lines();
    let left = cluster.stop();
    let done = done.with_context(|| format!("netlabd's last lines:\n{log}"))?;
    let left = left?;
    if !left.is_empty() {
        bail!("netlab left something behind: {}", left.join(", "));
    }
    Ok(done)
}

/// What one server does with questions for the names of a catalogue.
fn of_server(
    server: &Server,
    catalogue: &Catalogue,
    sizes: &Sizes,
    report: &mut Report,
) -> anyhow::Result<Figures> {
    let who = server.to_string();
    let questions = catalogue.questions()?;
    let load = Load { server, questions: questions.path(), seconds: sizes.seconds };
    let mut rates = Vec::new();
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut samples = Vec::new();
        for _ in 0..sizes.rounds {
            samples.push(load.most(transport).with_context(|| who.clone())?);
        }
        let what = format!("{catalogue}: queries a second over {transport}");
        let row = Row::rates(&what, &who, &samples);
        rates.push(row.median());
        report.add(row);
    }
    let mut costs = Vec::new();
    for _ in 0..sizes.rounds {
        let before = process::cpu(server.pid()?)?;
        let answered = load.at(STEADY_LOAD)?;
        let spent = process::cpu(server.pid()?)?.saturating_sub(before);
        costs.push(spent.as_secs_f64() * 1e6 / answered as f64);
    }
    let what = format!("{catalogue}: CPU per query at {STEADY_LOAD} a second");
    let row = Row::microseconds(&what, &who, &costs);
    let cpu = row.median();
    report.add(row);
    let (mut middle, mut late) = (Vec::new(), Vec::new());
    for _ in 0..sizes.rounds {
        let waits = load::waits(server, catalogue, HALF_LOAD, Duration::from_secs(2))?;
        middle.push(waits.at(0.5));
        late.push(waits.at(0.99));
    }
    let what = format!("{catalogue}: waiting at {HALF_LOAD} queries a second");
    report.add(Row::milliseconds(&what, &format!("{who}: p50"), &middle));
    let row = Row::milliseconds(&what, &format!("{who}: p99"), &late);
    report.add(if server.is_netlab() { row.target(targets::WAIT_P99_MS) } else { row });
    Ok(Figures { udp: rates[0], cpu })
}

/// Netlab's figures against knot's: the first and the second.
fn compare(catalogue: &Catalogue, figures: &[Figures], report: &mut Report) {
    let [ours, knot, ..] = figures else { return };
    let what = format!("{catalogue}: knot's queries a second over UDP, of netlab's");
    let row = Row::factors(&what, "netlabd", &[knot.udp / ours.udp]);
    report.add(row.target(targets::KNOT_OF_NETLAB));
    let what = format!("{catalogue}: CPU per query, of knot's");
    report.add(Row::factors(&what, "netlabd", &[ours.cpu / knot.cpu]).target(targets::CPU_OF_KNOT));
}

/// Names outside: the first time, when upstream is asked, and again, out of the cache.
fn forwarded(
    bin_dir: &Path,
    outside: Outside,
    sizes: &Sizes,
    report: &mut Report,
) -> anyhow::Result<()> {
    let catalogue = Catalogue::Outside(outside);
    eprintln!("{catalogue}");
    with_daemon(bin_dir, |cluster| {
        both_passes(&Server::daemon(cluster.pid()?), &catalogue, sizes, report)
    })?;
    for program in [Program::Unbound, Program::Dnsmasq] {
        let server = Server::start(program, &Catalogue::Forwarded, server::PEER)
            .with_context(|| format!("{program} as a forwarder"))?;
        both_passes(&server, &catalogue, sizes, report)?;
    }
    Ok(())
}

fn both_passes(
    server: &Server,
    catalogue: &Catalogue,
    sizes: &Sizes,
    report: &mut Report,
) -> anyhow::Result<()> {
    let who = server.to_string();
    let questions = catalogue.questions()?;
    let load = Load { server, questions: questions.path(), seconds: sizes.seconds };
    let what = format!("{catalogue}: queries a second, each name for the first time");
    report.add(Row::rates(&what, &who, &[load.once()?]));
    let mut samples = Vec::new();
    for _ in 0..sizes.rounds {
        samples.push(load.most(Transport::Udp)?);
    }
    let what = format!("{catalogue}: queries a second, out of the cache");
    report.add(Row::rates(&what, &who, &samples));
    Ok(())
}

impl Row {
    /// Microseconds of CPU.
    fn microseconds(measure: &str, how: &str, samples: &[f64]) -> Row {
        Row::of(measure, how, Unit::Microseconds, samples)
    }

    /// So many a second.
    fn rates(measure: &str, how: &str, samples: &[f64]) -> Row {
        Row::of(measure, how, Unit::PerSecond, samples)
    }
}
