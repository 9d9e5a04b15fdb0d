// SPDX-License-Identifier: GPL-3.0-or-later
//! `make bench`: what netlab costs on this machine, beside its peers, all in one run.
//!
//! ```text
//!   main ──► sandbox (namespaces of its own) ──► parts ──► Report ──► table, JSON
//!                                                 │
//!                     network, run, many, idle, restart, labs, services, names
//! ```
//!
//! A part measures and says nothing about what is good: targets stand beside the measures in
//! [`targets`], and a missed one is printed as a miss.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::{Parser, ValueEnum};

mod api;
mod change;
mod cluster;
mod cni;
mod command;
mod ip_tool;
mod lab;
mod labs;
mod names;
mod network;
mod pods;
mod process;
mod report;
mod sandbox;
mod services;
mod targets;

use cluster::Cluster;
use lab::Lab;
use report::Report;

/// How often a small lab is made at least: it takes a second.
const LAB_ROUNDS: u32 = 7;

/// How much longer an idle daemon with many pods is watched. Its full looks are minutes apart, and most
/// of what it does: in one minute there would be one, or none, by chance.
const STRETCH: u64 = 5;

/// Measures netlab beside its peers. Needs root; works in namespaces of its own.
#[derive(Debug, Parser)]
struct Cli {
    /// Parts to run, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// How many pods are many
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(8..=1000))]
    pods: u16,
    /// Pods whose network is made by each peer
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=200))]
    links: u32,
    /// Single `pod run`s
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=1000))]
    runs: u32,
    /// How often many pods are made and deleted
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Nodes of the large lab
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(3..=1000))]
    nodes: u16,
    /// How many services there are, separated by commas; 50000 take some minutes
    #[arg(
        long,
        default_value = "1000,10000",
        value_delimiter = ',',
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(10..=60_000)
    )]
    services: Vec<u32>,
    /// Services whose names are asked for
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    names: u32,
    /// Records of headless services
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=200_000))]
    records: u32,
    /// Changes of one service
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=2000))]
    changes: u32,
    /// For how long an idle daemon is watched: twice the interval of its full look, or a multiple.
    /// With many pods, of which it takes a full look less often, five times as long
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    idle: u64,
    /// Where netlabd and netlabctl are [default: beside this program]
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Where the JSON goes [default: target/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The network of one pod: ours, CNI's, and by `ip`
    Network,
    /// `netlabctl pod run` as a whole process
    Run,
    /// Many pods made and deleted by one client, and by eight
    Many,
    /// Memory and idle CPU, without pods and with many
    Idle,
    /// The daemon's restart with many pods
    Restart,
    /// Many services: all of them, one change, a connection; beside kube-proxy's layouts
    Services,
    /// The cluster's names: answers a second, CPU, waiting, memory; beside knot, unbound, dnsmasq
    Names,
    /// `netlabctl lab up` and `lab down`, and what a change costs a cluster of many nodes
    Labs,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let place = Place::find(&cli)?;
    if let Some(code) = sandbox::enter()? {
        return Ok(code);
    }
    let mut report = Report::new(&place.bin_dir)?;
    let began = Instant::now();
    let measured = measure(&cli, &place, &mut report);
    // What was measured before a failure is worth keeping.
    if !report.is_empty() {
        println!("{report}");
        let path = report.save(&place.out)?;
        println!("{:.0?} in all; every sample: {}", began.elapsed(), path.display());
    }
    measured.map(|()| ExitCode::SUCCESS)
}

/// The folders of a run.
struct Place {
    bin_dir: PathBuf,
    out: PathBuf,
}

impl Place {
    fn find(cli: &Cli) -> anyhow::Result<Place> {
        ensure!(nix::unistd::Uid::effective().is_root(), "namespaces need root: use sudo");
        let program = std::env::current_exe().context("failed to find this program's folder")?;
        let beside = program.parent().unwrap_or(Path::new("/"));
        let bin_dir = cli.bin_dir.clone().unwrap_or_else(|| beside.to_owned());
        let out = cli.out.clone().unwrap_or_else(|| beside.join("../bench"));
        for name in ["netlabd", "netlabctl"] {
            let path = bin_dir.join(name);
            ensure!(path.exists(), "`{}` is missing: run `make bench`", path.display());
        }
        fs::create_dir_all(&out)
            .with_context(|| format!("failed to make the folder `{}`", out.display()))?;
        Ok(Place { bin_dir: bin_dir.canonicalize()?, out: out.canonicalize()? })
    }
}

fn measure(cli: &Cli, place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let wants = |part| cli.only.is_empty() || cli.only.contains(&part);
    if wants(Part::Network) {
        network::measure(cli.links, report).context("failed to measure the network of a pod")?;
    }
    if wants(Part::Services) {
        let sizes = services::Sizes {
            services: cli.services.clone(),
            rounds: cli.changes,
            peer_rounds: (cli.changes / 20).max(2),
        };
        services::measure(&place.bin_dir, &sizes, report).context("failed to measure services")?;
    }
    if wants(Part::Names) {
        let sizes = names::Sizes {
            services: cli.names,
            records: cli.records,
            // Which thread has a client is chance: many short turns say more than few long ones.
            rounds: cli.rounds * 3,
            seconds: 1,
        };
        names::measure(&place.bin_dir, &sizes, report).context("failed to measure names")?;
    }
    if wants(Part::Labs) {
        measure_labs(cli, place, report)?;
    }
    if !(wants(Part::Run) || wants(Part::Many) || wants(Part::Idle) || wants(Part::Restart)) {
        return Ok(());
    }
    let mut cluster = Cluster::start(&place.bin_dir)?;
    let measured = (|| {
        // First, while the daemon has seen nothing yet.
        if wants(Part::Idle) {
            pods::measure_idle(&cluster, 0, cli.idle, report)?;
        }
        if wants(Part::Restart) {
            pods::measure_restart(&mut cluster, 0, cli.rounds, report)?;
        }
        if wants(Part::Run) {
            pods::measure_runs(&cluster, cli.runs, report)?;
        }
        if wants(Part::Many) {
            pods::measure_many(&cluster, cli.pods, cli.rounds, report)?;
            pods::measure_clients(&cluster, cli.pods, report)?;
        }
        if wants(Part::Idle) || wants(Part::Restart) {
            pods::with_many(&mut cluster, cli.pods, |cluster| {
                if wants(Part::Idle) {
                    pods::measure_idle(cluster, cli.pods, cli.idle * STRETCH, report)?;
                }
                if wants(Part::Restart) {
                    pods::measure_restart(cluster, cli.pods, cli.rounds, report)?;
                }
                Ok(())
            })?;
        }
        if wants(Part::Many) || wants(Part::Idle) {
            pods::measure_memory_afterwards(&cluster, report)?;
        }
        Ok(())
    })();
    let log = cluster.last_lines();
    let left = cluster.stop();
    if let Err(error) = measured {
        return Err(anyhow::Error::context(error, format!("netlabd's last lines:\n{log}")));
    }
    let left = left?;
    if !left.is_empty() {
        bail!("netlab left something behind: {}", left.join(", "));
    }
    Ok(())
}

fn measure_labs(cli: &Cli, place: &Place, report: &mut Report) -> anyhow::Result<()> {
    let lab = Lab::new(&place.bin_dir);
    labs::measure_small(&lab, cli.rounds.max(LAB_ROUNDS), report)
        .and_then(|()| labs::measure_many(&lab, cli.nodes, cli.idle, report))
        .inspect_err(|_| lab.clean())
        .context("failed to measure labs")
}
