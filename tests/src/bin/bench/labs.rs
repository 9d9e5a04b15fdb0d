// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole labs by `netlabctl lab up`: a small one, and one of many nodes.

use anyhow::ensure;

use crate::change;
use crate::lab::{Lab, file};
use crate::report::{Report, Row, Unit};
use crate::{process, targets};

/// The lab that its target speaks of.
const SMALL_NODES: u16 = 3;
const SMALL_PODS: u16 = 10;

/// Makes and removes a small lab, again and again, each time from nothing.
///
/// # Errors
/// When a command fails, or something is left.
pub(crate) fn measure_small(lab: &Lab, rounds: u32, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("lab of {SMALL_NODES} nodes and {SMALL_PODS} pods, {rounds} times");
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ups.push(lab.up(&file(SMALL_NODES, SMALL_PODS))?);
        let ready = lab.count_ready()?;
        ensure!(ready == usize::from(SMALL_PODS), "{ready} of {SMALL_PODS} pods are ready");
        downs.push(lab.down()?);
    }
    let measure = format!("lab of {SMALL_NODES} nodes and {SMALL_PODS} pods");
    let row = Row::times(&measure, "`lab up`, cold, until all is programmed", Unit::Seconds, &ups);
    report.add(row.target(targets::LAB_UP_S));
    let row = Row::times(&measure, "`lab down`", Unit::Seconds, &downs);
    report.add(row.target(targets::LAB_DOWN_S));
    Ok(())
}

/// A lab of many nodes: what it takes to make, to keep, to change and to remove.
///
/// # Errors
/// When a command fails, or something is left.
pub(crate) fn measure_many(
    lab: &Lab,
    nodes: u16,
    seconds: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("lab of {nodes} nodes");
    let measure = format!("lab of {nodes} nodes");
    let up = lab.up(&file(nodes, 0))?;
    report.add(Row::times(&measure, "`lab up` until all are ready", Unit::Seconds, &[up]));
    let members = lab.members()?;
    ensure!(members.len() + 1 == usize::from(nodes), "{} nodes joined", members.len());
    change::measure(lab, nodes, &members, seconds, report)?;
    let server = lab.server()?.pid;
    let memory = format!("memory (PSS) of a lab of {nodes} nodes");
    let shares = members
        .iter()
        .map(|member| process::proportional(member.pid))
        .collect::<anyhow::Result<Vec<u64>>>()?;
    let of_server = process::proportional(server)?;
    let all = of_server + shares.iter().sum::<u64>();
    report.add(Row::sizes(&memory, "netlabd of each joined node", &shares));
    report.add(Row::sizes(&memory, "netlabd of the server", &[of_server]));
    report.add(Row::sizes(&memory, "all together", &[all]));
    let down = lab.down()?;
    report.add(Row::times(&measure, "`lab down`", Unit::Seconds, &[down]));
    Ok(())
}
