// SPDX-License-Identifier: GPL-3.0-or-later
//! The network of one pod: netlab's, CNI's, and by iproute2.
//!
//! netlab's is measured in this process, through the same pool of prepared links that the daemon
//! claims from, and with the same requests: a claim, the batch inside the pod, the batch of the
//! node. What preparing a link costs is no secret either: a burst that empties the pool pays it.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use netlab_link::{
    Batch, Families, Netns, PodAddresses, PodLinkId, PodLinkPool, PodLinkPoolOptions, RouteSocket,
    netns, remove_pod_links,
};

use crate::cni::Cni;
use crate::report::{Report, Row, Unit};
use crate::{command, ip_tool, targets};

const ADD: &str = "network of a pod: add";
const DEL: &str = "network of a pod: remove";

/// Links that a daemon keeps ready by default.
const POOL: usize = 16;

/// How long the pool may take to be full.
const FILL_TIMEOUT: Duration = Duration::from_secs(30);

/// Measures all ways, `count` pods each.
///
/// # Errors
/// When a way does not work, which includes pods that do not answer.
pub(crate) fn measure(count: u32, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("the network of a pod");
    let ours = ours(count).context("netlab-link")?;
    let (steps, batch) = by_ip(count).context("iproute2")?;
    let bridge = by_cni(&Cni::bridge(), "b", count).context("CNI bridge")?;
    let ptp = by_cni(&Cni::ptp(), "p", count).context("CNI ptp")?;
    let ms = Unit::Milliseconds;
    let claim = Row::times(ADD, "netlab, dual stack: claim", ms, &ours.claims);
    report.add(claim.target(targets::CLAIM_MS));
    report.add(Row::times(ADD, "netlab, link not prepared (burst)", ms, &[ours.burst / count]));
    report.add(Row::times(ADD, "CNI bridge, namespace given", ms, &bridge.adds));
    report.add(Row::times(ADD, "CNI ptp, namespace given", ms, &ptp.adds));
    report.add(Row::times(ADD, "`ip netns add` for CNI", ms, &ptp.netns));
    report.add(Row::times(ADD, "`ip`, a process a step", ms, &steps.adds));
    report.add(Row::times(ADD, "`ip -batch`", ms, &batch.adds));
    report.add(Row::times(DEL, "netlab: one", ms, &ours.removals));
    report.add(Row::times(DEL, "netlab: share of many", ms, &[ours.removal_of_many / count]));
    report.add(Row::times(DEL, "CNI bridge, without the namespace", ms, &bridge.dels));
    report.add(Row::times(DEL, "CNI ptp, without the namespace", ms, &ptp.dels));
    report.add(Row::times(DEL, "`ip`, a process a step", ms, &steps.dels));
    Ok(())
}

/// What a peer's pods took.
#[derive(Default)]
struct Times {
    netns: Vec<Duration>,
    adds: Vec<Duration>,
    dels: Vec<Duration>,
}

/// What netlab's pods took.
struct OurTimes {
    /// Each from a full pool.
    claims: Vec<Duration>,
    /// As many at once, the pool full at the beginning.
    burst: Duration,
    /// Each by itself.
    removals: Vec<Duration>,
    /// As many at once.
    removal_of_many: Duration,
}

fn ours(count: u32) -> anyhow::Result<OurTimes> {
    let pins = Path::new("/run/pins");
    netns::prepare_pin_dir(pins)?;
    let node = Netns::current()?;
    let mut socket = RouteSocket::open_in(&node)?;
    let pool = PodLinkPool::start(PodLinkPoolOptions {
        node,
        pin_dir: pins.to_owned(),
        size: POOL,
        mtu: 1500,
        families: Families::DUAL_STACK,
    })?;
    let (mut ids, mut claims) = (Vec::new(), Vec::new());
    for number in 0..count {
        fill(&pool)?;
        let began = Instant::now();
        ids.push(claim(&pool, &mut socket, number)?);
        claims.push(began.elapsed());
    }
    ping(&pod_address(count - 1).to_string())?;
    fill(&pool)?;
    let began = Instant::now();
    for number in count..2 * count {
        ids.push(claim(&pool, &mut socket, number)?);
    }
    let burst = began.elapsed();
    ping(&pod_address(2 * count - 1).to_string())?;
    pool.close().map_err(|errors| anyhow!("failed to close the pool: {errors:?}"))?;
    let mut remove = |ids: &[PodLinkId]| {
        let began = Instant::now();
        remove_pod_links(&mut socket, pins, ids)
            .map_err(|errors| anyhow!("failed to remove links: {errors:?}"))?;
        Ok::<_, anyhow::Error>(began.elapsed())
    };
    let many = ids.split_off(ids.len() / 2);
    let removal_of_many = remove(&many)?;
    let removals = ids.iter().map(|id| remove(&[*id])).collect::<Result<_, _>>()?;
    Ok(OurTimes { claims, burst, removals, removal_of_many })
}

fn fill(pool: &PodLinkPool) -> anyhow::Result<()> {
    let deadline = Instant::now() + FILL_TIMEOUT;
    while pool.ready() < POOL {
        ensure!(Instant::now() < deadline, "the pool has {} of {POOL} links", pool.ready());
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What the daemon does for a pod, see `netlabd/src/node/network/apply.rs`.
fn claim(pool: &PodLinkPool, socket: &mut RouteSocket, number: u32) -> anyhow::Result<PodLinkId> {
    let v6 = Ipv6Addr::from((0xfd42_u128 << 112) + u128::from(number) + 2);
    let addresses = PodAddresses { v4: Some(pod_address(number)), v6: Some(v6) };
    let mut link = pool.claim()?;
    link.assign(addresses)?;
    let mut batch = Batch::new();
    link.plan_node_claim(addresses, None, &mut batch);
    socket.send_all(&batch)?;
    Ok(link.id())
}

fn pod_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 97, 0, 2)) + number)
}

fn by_cni(cni: &Cni, prefix: &str, count: u32) -> anyhow::Result<Times> {
    let mut times = Times::default();
    let pods: Vec<String> = (0..count).map(|number| format!("{prefix}{number}")).collect();
    let mut last = String::new();
    for pod in &pods {
        times.netns.push(ip_tool::add_netns(pod)?);
        let (took, address) = cni.add(pod)?;
        times.adds.push(took);
        last = address;
    }
    ping(&last)?;
    for pod in &pods {
        times.dels.push(cni.del(pod)?);
        ip_tool::del_netns(pod)?;
    }
    Ok(times)
}

fn by_ip(count: u32) -> anyhow::Result<(Times, Times)> {
    let [mut steps, mut batch] = [Times::default(), Times::default()];
    for (times, add, prefix) in [
        (&mut steps, ip_tool::add_by_steps as fn(&str, Ipv4Addr) -> _, "s"),
        (&mut batch, ip_tool::add_by_batch, "t"),
    ] {
        let pods: Vec<String> = (0..count).map(|number| format!("{prefix}{number}")).collect();
        for (number, pod) in (0..).zip(&pods) {
            times.adds.push(add(pod, pod_address(number))?);
        }
        ping(&pod_address(count - 1).to_string())?;
        for pod in &pods {
            times.dels.push(ip_tool::del_by_steps(pod)?);
        }
    }
    let left = fs::read_dir("/run/netns")?.count();
    ensure!(left == 0, "{left} namespaces are left");
    Ok((steps, batch))
}

/// Outside of the time that is measured: was it a network at all?
///
/// # Errors
/// When there is no answer.
pub(crate) fn ping(address: &str) -> anyhow::Result<()> {
    command::run(Command::new("ping").args(["-n", "-c", "1", "-W", "2", address])).map(drop)
}
