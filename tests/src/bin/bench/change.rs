// SPDX-License-Identifier: GPL-3.0-or-later
//! What a change costs a cluster of many nodes: the server, the node that it concerns, and all
//! the others, each without what it costs to do nothing.
//!
//! ```text
//!   rest: nothing is done ──► what heartbeats cost a second
//!   the same change, often ──► (all of it − heartbeats of that time) / how often
//! ```

use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, ensure};

use crate::lab::{Daemon, Lab};
use crate::report::{Report, Row, Unit};
use crate::{process, targets};

/// Makes a change, of which it is told the number.
type Change<'a> = &'a dyn Fn(u32) -> anyhow::Result<()>;

/// How often a change is made: enough that the heartbeats of its time are known well.
const TIMES: u32 = 50;

/// How long nothing is done before it counts as rest.
const SETTLE: Duration = Duration::from_secs(5);

/// Where heartbeats arrive, and changes leave.
const UPLINK: &str = "eth0:";

/// What was spent until a moment.
struct Spent {
    at: Instant,
    server: Duration,
    concerned: Node,
    others: Node,
}

/// CPU time, and bytes that came in over the uplink, with all headers.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    cpu: Duration,
    bytes: u64,
}

/// What a second of rest costs, or one change.
struct Cost {
    seconds: f64,
    server_cpu: f64,
    concerned: (f64, f64),
    others: (f64, f64),
}

/// Measures what nothing costs, and then single changes. The first of `members` is the one that
/// they concern.
///
/// # Errors
/// When a command fails, or a daemon is gone.
pub(crate) fn measure(
    lab: &Lab,
    nodes: u16,
    members: &[Daemon],
    seconds: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    let server = lab.server()?;
    let (concerned, others) = members.split_first().context("a lab of one node")?;
    ensure!(!others.is_empty(), "a lab of two nodes");
    let home = concerned.node.as_str();
    let on = ["--node", home];
    // The node's first pod gives it a block, which is everybody's business.
    lab.ctl(&[&["pod", "run", "first"][..], &on].concat())?;
    thread::sleep(SETTLE);

    let look = || Spent::now(&server, concerned, others);
    eprintln!("{nodes} nodes, watched for {seconds} s");
    let before = look()?;
    thread::sleep(Duration::from_secs(seconds));
    let rest = Cost::between(&before, &look()?, others.len());
    let measure = format!("CPU of idle netlabds, {nodes} nodes");
    let percent = |cpu: f64| cpu / rest.seconds * 100.0;
    let row = Row::percent(&measure, "the server", percent(rest.server_cpu));
    report.add(row.target(targets::IDLE_SERVER_PERCENT));
    report.add(Row::percent(&measure, "each joined node", percent(rest.others.0)));
    let rate = rest.others.1 / rest.seconds;
    report.add(Row::bytes(&format!("bytes to an idle node, {nodes} nodes"), "a second", rate));

    let run = |number: u32| {
        lab.ctl(&[&["pod", "run", &format!("pod-{number}")][..], &on].concat()).map(drop)
    };
    let label = |number: u32| {
        let text = format!("number={number}");
        lab.ctl(&["label", "pod", "first", &text, "--overwrite"]).map(drop)
    };
    let namespace =
        |number: u32| lab.ctl(&["create", "namespace", &format!("space-{number}")]).map(drop);
    let delete = |number: u32| lab.ctl(&["pod", "rm", &format!("pod-{number}")]).map(drop);
    let changes: [(&str, Change<'_>); 4] = [
        ("run a pod", &run),
        ("label a pod", &label),
        ("create a namespace", &namespace),
        ("delete a pod", &delete),
    ];
    for (what, change) in changes {
        let before = look()?;
        (0..TIMES).try_for_each(change).with_context(|| format!("failed to {what}"))?;
        let cost = Cost::between(&before, &look()?, others.len()).of_one(&rest);
        let measure = format!("{what}, {nodes} nodes");
        let cpu = |how: &str, cpu: f64| {
            Row::times(&measure, how, Unit::Milliseconds, &[Duration::from_secs_f64(cpu.max(0.0))])
        };
        report.add(cpu("CPU of the server", cost.server_cpu));
        report.add(cpu("CPU of its node", cost.concerned.0));
        report.add(cpu("CPU of each other node", cost.others.0).target(targets::UNINVOLVED_CPU_MS));
        let measure = format!("bytes of: {measure}");
        report.add(Row::bytes(&measure, "to its node", cost.concerned.1));
        let row = Row::bytes(&measure, "to each other node", cost.others.1);
        report.add(row.target(targets::UNINVOLVED_BYTES));
    }
    Ok(())
}

impl Spent {
    fn now(server: &Daemon, concerned: &Daemon, others: &[Daemon]) -> anyhow::Result<Spent> {
        let mut all = Node::default();
        for other in others {
            let node = Node::of(other)?;
            all.cpu += node.cpu;
            all.bytes += node.bytes;
        }
        let concerned = Node::of(concerned)?;
        Ok(Spent { at: Instant::now(), server: process::cpu(server.pid)?, concerned, others: all })
    }
}

impl Node {
    /// Counters of a process are those of its network namespace.
    fn of(daemon: &Daemon) -> anyhow::Result<Node> {
        let path = format!("/proc/{}/net/dev", daemon.pid);
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{path}`"))?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(UPLINK));
        let bytes = line.and_then(|line| line.split_whitespace().next());
        let bytes = bytes.with_context(|| format!("`{path}` has no `{UPLINK}`"))?.parse()?;
        Ok(Node { cpu: process::cpu(daemon.pid)?, bytes })
    }
}

impl Cost {
    /// Of all that was done between two looks; of the others, what each spent on average.
    fn between(before: &Spent, after: &Spent, others: usize) -> Cost {
        let of = |before: Node, after: Node, nodes: f64| {
            let bytes = after.bytes.saturating_sub(before.bytes);
            ((after.cpu - before.cpu).as_secs_f64() / nodes, bytes as f64 / nodes)
        };
        Cost {
            seconds: (after.at - before.at).as_secs_f64(),
            server_cpu: (after.server - before.server).as_secs_f64(),
            concerned: of(before.concerned, after.concerned, 1.0),
            others: of(before.others, after.others, others as f64),
        }
    }

    /// One of [`TIMES`] changes, without the rest of that time.
    fn of_one(&self, rest: &Cost) -> Cost {
        let share = self.seconds / rest.seconds;
        let one = |all: f64, rest: f64| (all - rest * share) / f64::from(TIMES);
        let both = |all: (f64, f64), rest: (f64, f64)| (one(all.0, rest.0), one(all.1, rest.1));
        Cost {
            seconds: self.seconds / f64::from(TIMES),
            server_cpu: one(self.server_cpu, rest.server_cpu),
            concerned: both(self.concerned, rest.concerned),
            others: both(self.others, rest.others),
        }
    }
}
