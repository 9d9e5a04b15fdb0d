// SPDX-License-Identifier: GPL-3.0-or-later
//! Many services: what all of them and what one change cost, and what a connection pays.
//!
//! ```text
//!   daemon   API call ──► store ──► node ──► kernel    the whole way, and memory
//!   rules                           plan ──► kernel    the same planning and writing, called here
//!   peers               text ──► nft, iptables-restore kube-proxy's layouts
//!   latency  client ──► node ──► server                with each of the rules in place
//! ```

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::cluster::Cluster;
use crate::report::{Report, Row, Unit};
use crate::targets;

mod daemon;
mod fleet;
mod latency;
mod peers;
mod rules;

use fleet::Fleet;
use latency::{Connects, Pair};
use rules::OurRules;

/// The size that targets are for.
const MANY: u32 = 10_000;

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Sizes {
    /// How many services there are.
    pub(crate) services: Vec<u32>,
    /// Changes of one service.
    pub(crate) rounds: u32,
    /// The same by each peer, which takes longer.
    pub(crate) peer_rounds: u32,
}

/// Medians with [`MANY`] services, which more services are compared with.
#[derive(Debug, Default)]
struct AtMany {
    changed: Option<f64>,
    written: Option<f64>,
}

/// Measures all of it, for each number of services.
///
/// # Errors
/// When something does not work.
pub(crate) fn measure(bin_dir: &Path, sizes: &Sizes, report: &mut Report) -> anyhow::Result<()> {
    let mut at_many = AtMany::default();
    for &count in &sizes.services {
        eprintln!("{count} services");
        let fleet = Fleet { count };
        through_the_daemon(bin_dir, fleet, sizes, &mut at_many, report)?;
        rules_and_peers(fleet, sizes, &mut at_many, report)?;
    }
    Ok(())
}

fn measure_of(fleet: Fleet, what: &str) -> String {
    format!("{} services: {what}", fleet.count)
}

fn through_the_daemon(
    bin_dir: &Path,
    fleet: Fleet,
    sizes: &Sizes,
    at_many: &mut AtMany,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(bin_dir)?;
    let measured = daemon::starts_without(&mut cluster).and_then(|without| {
        let measured = daemon::measure(&mut cluster, fleet, sizes)?;
        Ok((without, measured))
    });
    let log = cluster.last_lines();
    let left = cluster.stop();
    let (without, measured) = measured.with_context(|| format!("netlabd's last lines:\n{log}"))?;
    let left = left?;
    if !left.is_empty() {
        bail!("netlab left something behind: {}", left.join(", "));
    }
    let ms = Unit::Milliseconds;
    let without = median(&without);
    let builds: Vec<_> = measured.starts.iter().map(|it| it.saturating_sub(without)).collect();
    let build = measure_of(fleet, "full build");
    let ours = "netlabd: start until ready, less one without services";
    report.add(bounded(fleet, Row::times(&build, ours, Unit::Seconds, &builds), targets::BUILD_S));
    let applied = "netlabd: applied by requests of 500";
    report.add(Row::times(&build, applied, Unit::Seconds, &[measured.applied]));

    let change = measure_of(fleet, "change one endpoint");
    let row = Row::times(&change, "netlabd: API call until programmed", ms, &measured.changed);
    let target = grown(fleet, targets::CHANGE_MS, &mut at_many.changed, row.median());
    report.add(maybe(row, target));
    let how = "netlabd: a write that concerns no kernel, to compare";
    report.add(Row::times(&change, how, ms, &measured.unconcerned));
    report.add(Row::times(&change, "netlabd: a read, to compare", ms, &measured.asked));
    let add = measure_of(fleet, "add one");
    let row = Row::times(&add, "netlabd: API call until programmed", ms, &measured.added);
    report.add(bounded(fleet, row, targets::CHANGE_MS));
    let remove = measure_of(fleet, "remove one");
    let row = Row::times(&remove, "netlabd: API call until programmed", ms, &measured.removed);
    report.add(bounded(fleet, row, targets::CHANGE_MS));

    let memory = measure_of(fleet, "memory of netlabd");
    let row = Row::sizes(&memory, "resident, after all changes", &[measured.resident]);
    report.add(bounded(fleet, row, targets::SERVICES_RESIDENT_MB));
    report.add(Row::sizes(&memory, "proportional share (PSS)", &[measured.proportional]));
    let new = "resident, of a daemon just started";
    report.add(Row::sizes(&memory, new, &[measured.resident_of_new]));
    Ok(())
}

fn rules_and_peers(
    fleet: Fleet,
    sizes: &Sizes,
    at_many: &mut AtMany,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (ms, s) = (Unit::Milliseconds, Unit::Seconds);
    let pair = Pair::make().context("failed to make a client and a server")?;
    let service = Fleet::cluster_ip(fleet.last());
    let [build, change] = ["full build", "change one endpoint"].map(|it| measure_of(fleet, it));
    let (mut ours, took) = OurRules::build(fleet).context("netlab's rules")?;
    report.add(Row::times(&build, "netlab: rules alone, planned and written", s, &[took]));
    let changes = ours.change(sizes).context("netlab's rules")?;
    let row = Row::times(&change, "netlab: nf_tables alone", ms, &changes.written);
    let target = grown(fleet, targets::CHANGE_RULES_MS, &mut at_many.written, row.median());
    report.add(maybe(row, target));
    report.add(Row::times(&change, "netlab: planning alone", ms, &changes.planned));
    let (added, removed) = ours.add_and_remove(sizes).context("netlab's rules")?;
    let add = measure_of(fleet, "add one");
    report.add(Row::times(&add, "netlab: nf_tables alone", ms, &added.written));
    let remove = measure_of(fleet, "remove one");
    report.add(Row::times(&remove, "netlab: nf_tables alone", ms, &removed.written));
    let connects = pair.measure(service).context("netlab's rules")?;
    ours.remove()?;
    connect_rows(fleet, "netlab", &connects, report);
    for peer in peers::peers(fleet.count) {
        let title = peer.title();
        let built = peer.build(fleet).with_context(|| title.clone())?;
        report.add(Row::times(&build, &title, s, &[built]));
        let changed = peer.change(fleet, sizes).with_context(|| title.clone())?;
        report.add(Row::times(&change, &title, ms, &changed));
        let theirs = pair.measure(service).with_context(|| title.clone())?;
        peer.remove()?;
        connect_rows(fleet, &title, &theirs, report);
        if peer == peers::Peer::Nft {
            compare_connects(fleet, &connects, &theirs, report);
        }
    }
    pair.remove()
}

fn connect_rows(fleet: Fleet, who: &str, connects: &Connects, report: &mut Report) {
    let connect = measure_of(fleet, "connect");
    let direct = format!("{who}: to the pod");
    report.add(Row::milliseconds(&connect, &direct, &connects.direct));
    let through = format!("{who}: through the last service");
    report.add(Row::milliseconds(&connect, &through, &connects.through));
    let over = measure_of(fleet, "connect through a service, of direct");
    let row = Row::factors(&over, who, &connects.ratios());
    match who {
        "netlab" => report.add(bounded(fleet, row, targets::CONNECT_OF_DIRECT)),
        // What goes straight to a pod walks along all services there, so it is no measure.
        _ if who.contains("iptables") => {}
        _ => report.add(row),
    }
}

/// How many times as long ours takes as theirs, each as a multiple of what the way to the pod took
/// at the same time: the two were measured one after the other, and the machine is not the same.
fn compare_connects(fleet: Fleet, ours: &Connects, theirs: &Connects, report: &mut Report) {
    let of_theirs = middle(&theirs.ratios());
    let ratios: Vec<f64> = ours.ratios().iter().map(|ratio| ratio / of_theirs).collect();
    let over = measure_of(fleet, "connect through a service, of kube-proxy's nftables layout");
    let row = Row::factors(&over, "netlab", &ratios);
    report.add(bounded(fleet, row, targets::CONNECT_OF_KUBE_PROXY));
}

fn middle(all: &[f64]) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// With a target where there is one: the figures are for ten thousand services.
fn bounded(fleet: Fleet, row: Row, target: f64) -> Row {
    maybe(row, (fleet.count == MANY).then_some(target))
}

fn maybe(row: Row, target: Option<f64>) -> Row {
    match target {
        Some(target) => row.target(target),
        None => row,
    }
}

/// The target of a cost that must not grow with the number of services.
fn grown(fleet: Fleet, target: f64, at_many: &mut Option<f64>, median: f64) -> Option<f64> {
    if fleet.count == MANY {
        *at_many = Some(median);
        return Some(target);
    }
    at_many.filter(|_| fleet.count > MANY).map(|it| it * targets::GROWTH)
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
