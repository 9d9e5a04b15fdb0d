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
//! All listen in one namespace at the same time, netlabd's rules in the way of each, and are asked in
//! turns.

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
#[derive(Debug, Clone, Copy)]
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

/// How long one turn of waiting is.
const PACED: Duration = Duration::from_secs(1);

/// Queries a second at which CPU time is compared.
const STEADY_LOAD: u32 = 40_000;

/// Measures all of it.
///
/// # Errors
/// When something does not work.
pub(crate) fn measure(bin_dir: &Path, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let outside = Outside::default();
    // Who is asked for names outside: the same for all.
    server::make_room()?;
    let upstream = Server::start(Program::Knot, &Catalogue::Outside(outside), server::UPSTREAM)
        .context("the upstream")?;
    let services = Catalogue::Services { count: sizes.services };
    let headless = Catalogue::headless(sizes.records);
    for catalogue in [services, headless] {
        eprintln!("{catalogue}");
        with_daemon(bin_dir, |cluster| of_catalogue(cluster, &catalogue, sizes, report))?;
    }
    forwarded(bin_dir, outside, sizes, report)?;
    drop(upstream);
    Ok(())
}

/// What all servers do with questions for the names of a catalogue.
fn of_catalogue(
    cluster: &Cluster,
    catalogue: &Catalogue,
    sizes: &Sizes,
    report: &mut Report,
) -> anyhow::Result<()> {
    let idle = process::resident(cluster.pid()?)?;
    daemon::apply(catalogue)?;
    std::thread::sleep(daemon::REST);
    let resident = process::resident(cluster.pid()?)?;
    let memory = format!("{catalogue}: memory");
    report.add(Row::sizes(&memory, "netlabd", &[resident]));
    let more = format!("{catalogue}: memory over the idle daemon");
    let row = Row::sizes(&more, "netlabd", &[resident.saturating_sub(idle)]);
    let is_headless = matches!(catalogue, Catalogue::Headless { .. });
    report.add(if is_headless { row.target(targets::RECORDS_MB) } else { row });

    let mut servers = vec![Server::daemon(cluster.pid()?)];
    for (program, address) in server::PEERS {
        let peer = Server::start(program, catalogue, address)
            .with_context(|| format!("{program} with {catalogue}"))?;
        let resident = process::resident(peer.pid()?)?;
        report.add(Row::sizes(&memory, &program.to_string(), &[resident]));
        servers.push(peer);
    }
    server::untrack_peers()?;
    let questions = catalogue.questions()?;
    let mut turns = Turns { servers: &servers, questions: questions.path(), sizes, report };

    let what = format!("{catalogue}: queries a second over {}", Transport::Udp);
    let udp = turns.take(&what, Row::rates, |load| load.most(Transport::Udp))?;
    let what = format!("{catalogue}: queries a second over {}", Transport::Tcp);
    turns.take(&what, Row::rates, |load| load.most(Transport::Tcp))?;
    let what = format!("{catalogue}: CPU per query at {STEADY_LOAD} a second");
    let cpu = turns.take(&what, Row::microseconds, |load| {
        let before = process::cpu(load.server.pid()?)?;
        let answered = load.at(STEADY_LOAD)?;
        let spent = process::cpu(load.server.pid()?)?.saturating_sub(before);
        Ok(spent.as_secs_f64() * 1e6 / answered as f64)
    })?;
    turns.waits(catalogue)?;

    // The first is netlab, the second knot.
    if let ([Some(ours), Some(knot), ..], [Some(our_cpu), Some(knots_cpu), ..]) = (&*udp, &*cpu) {
        let what = format!("{catalogue}: knot's queries a second over UDP, of netlab's");
        let row = Row::factors(&what, "netlabd", &[knot / ours]);
        report.add(row.target(targets::KNOT_OF_NETLAB));
        let what = format!("{catalogue}: CPU per query, of knot's");
        let row = Row::factors(&what, "netlabd", &[our_cpu / knots_cpu]);
        report.add(row.target(targets::CPU_OF_KNOT));
    }
    Ok(())
}

/// Servers that are measured in turns, so that what else the machine does meets all of them.
struct Turns<'a> {
    servers: &'a [Server],
    questions: &'a Path,
    sizes: &'a Sizes,
    report: &'a mut Report,
}

impl Turns<'_> {
    /// Takes a figure of each server in each round, reports them, and returns their medians.
    ///
    /// A peer that cannot be measured so, as it loses questions perhaps, has none.
    fn take(
        &mut self,
        what: &str,
        row: impl Fn(&str, &str, &[f64]) -> Row,
        figure: impl Fn(&Load<'_>) -> anyhow::Result<f64>,
    ) -> anyhow::Result<Vec<Option<f64>>> {
        let mut samples = vec![Vec::new(); self.servers.len()];
        let Turns { questions, sizes, .. } = *self;
        for _ in 0..sizes.rounds {
            for (server, samples) in self.servers.iter().zip(&mut samples) {
                match figure(&Load { server, questions, seconds: sizes.seconds }) {
                    Ok(sample) => samples.push(sample),
                    Err(error) if server.is_netlab() => return Err(error),
                    Err(error) => no_figure(server, what, &error),
                }
            }
        }
        let mut medians = Vec::new();
        for (server, samples) in self.servers.iter().zip(&samples) {
            let row = Some(row(what, &server.to_string(), samples));
            let row = row.filter(|_| !samples.is_empty());
            medians.push(row.as_ref().map(Row::median));
            row.into_iter().for_each(|row| self.report.add(row));
        }
        Ok(medians)
    }

    /// Waiting times of each server.
    fn waits(&mut self, catalogue: &Catalogue) -> anyhow::Result<()> {
        let what = format!("{catalogue}: waiting at {HALF_LOAD} queries a second");
        let mut times = vec![(Vec::new(), Vec::new()); self.servers.len()];
        for _ in 0..self.sizes.rounds {
            for (server, (middle, late)) in self.servers.iter().zip(&mut times) {
                match load::waits(server, catalogue, HALF_LOAD, PACED) {
                    Ok(waits) => {
                        middle.push(waits.at(0.5));
                        late.push(waits.at(0.99));
                    }
                    Err(error) if server.is_netlab() => return Err(error),
                    Err(error) => no_figure(server, &what, &error),
                }
            }
        }
        for (server, (middle, late)) in self.servers.iter().zip(&times) {
            if middle.is_empty() {
                continue;
            }
            self.report.add(Row::milliseconds(&what, &format!("{server}: p50"), middle));
            let row = Row::milliseconds(&what, &format!("{server}: p99"), late);
            self.report.add(if server.is_netlab() {
                row.target(targets::WAIT_P99_MS)
            } else {
                row
            });
        }
        Ok(())
    }
}

fn no_figure(server: &Server, what: &str, error: &anyhow::Error) {
    let error = format!("{error:#}");
    eprintln!("  {what}: {server}: no figure: {}", error.lines().next().unwrap_or_default());
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
        let mut servers = vec![Server::daemon(cluster.pid()?)];
        // Knot asks nobody.
        for (program, address) in server::PEERS.into_iter().filter(|it| it.0 != Program::Knot) {
            let peer = Server::start(program, &Catalogue::Forwarded, address)
                .with_context(|| format!("{program} as a forwarder"))?;
            servers.push(peer);
        }
        server::untrack_peers()?;
        let questions = catalogue.questions()?;
        let questions = questions.path();
        let what = format!("{catalogue}: queries a second, each name for the first time");
        let once = Sizes { rounds: 1, ..*sizes };
        let mut turns = Turns { servers: &servers, questions, sizes: &once, report };
        turns.take(&what, Row::rates, |load| load.once())?;
        let what = format!("{catalogue}: queries a second, out of the cache");
        let mut turns = Turns { servers: &servers, questions, sizes, report };
        turns.take(&what, Row::rates, |load| load.most(Transport::Udp))?;
        Ok(())
    })
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
