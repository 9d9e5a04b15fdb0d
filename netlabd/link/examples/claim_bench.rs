// SPDX-License-Identifier: GPL-3.0-or-later
//! Measures what a pod's link costs: claimed from the pool, made, and removed.
//!
//! `cargo run --release -p netlab-link --example claim_bench [PODS]`, as root. Everything happens
//! in a network namespace and a mount namespace of its own.

use std::{
    error::Error,
    net::{Ipv4Addr, Ipv6Addr},
    thread,
    time::{Duration, Instant},
};

use netlab_link::{
    Address, Batch, Families, Netns, PodAddresses, PodLinkPool, PodLinkPoolOptions, PreparedLink,
    Request, RouteSocket, mark::LOOPBACK_INDEX, netns, observe_node, remove_pod_links,
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::resource::{Resource, getrlimit, setrlimit},
};

const NONE: Option<&str> = None;

fn main() -> Result<(), Box<dyn Error>> {
    let pods = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse::<u32>())?;
    // Two descriptors a pod: its namespace and the socket in it.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let dir = std::env::temp_dir().join(format!("claim-bench-{}", std::process::id()));
    netns::prepare_pin_dir(&dir)?;
    let node = Netns::create()?;
    let mut socket = RouteSocket::open_in(&node)?;
    // As every real node has: for a route over a link without an address of its own the kernel
    // looks for a source address on all links, and stops at the first that has one.
    let address = Address { dev: LOOPBACK_INDEX, address: "192.0.2.1/32".parse()? };
    socket.request(Request::AddAddress(address))?;
    let start = |size| {
        let options = PodLinkPoolOptions {
            node: node.try_clone()?,
            pin_dir: dir.clone(),
            size,
            mtu: 1450,
            families: Families::DUAL_STACK,
        };
        Ok::<_, Box<dyn Error>>(PodLinkPool::start(options)?)
    };

    let half = pods / 2;
    let began = Instant::now();
    let pool = start(half as usize)?;
    while pool.ready() < half as usize {
        thread::sleep(Duration::from_millis(1));
    }
    let made = began.elapsed();
    println!("pool of {half} filled in {made:.0?}: {:.2?} each", made / half);
    let mut claimed = Vec::new();
    let mut times = Vec::new();
    for n in 0..half {
        times.push(claim(&pool, &mut socket, n, &mut claimed)?);
    }
    report("claim, assign and node batch, from a full pool", &mut times);

    let began = Instant::now();
    for n in half..pods {
        claim(&pool, &mut socket, n, &mut claimed)?;
    }
    let burst = began.elapsed();
    println!(
        "the next {} in a burst: {burst:.0?}, {:.2?} each",
        pods - half,
        burst / (pods - half)
    );

    while pool.ready() < half as usize {
        thread::sleep(Duration::from_millis(1));
    }
    let mut quiet = Vec::new();
    for n in 0..half.min(100) {
        // Until the thread has made up for the last claim: a claim now and then.
        while pool.ready() < half as usize {
            thread::sleep(Duration::from_millis(1));
        }
        quiet.push(claim(&pool, &mut socket, pods + n, &mut claimed)?);
    }
    report("the same now and then, beside all of these", &mut quiet);

    let began = Instant::now();
    let found = observe_node(&mut socket)?;
    println!(
        "observe_node: {:.1?} for {} links, {} routes, {} neighbours",
        began.elapsed(),
        found.links.len(),
        found.routes.len(),
        found.neighbours.len()
    );

    let began = Instant::now();
    let unclaimed = pool.ready();
    pool.close().map_err(|errors| format!("{errors:?}"))?;
    println!("pool with {unclaimed} unclaimed links closed in {:.0?}", began.elapsed());

    let removed: Vec<PreparedLink> = claimed.drain(..pods as usize).collect();
    let ids: Vec<_> = removed.iter().map(PreparedLink::id).collect();
    let began = Instant::now();
    remove_pod_links(&mut socket, &dir, &ids).map_err(|errors| format!("{errors:?}"))?;
    println!("{pods} pods removed in {:.0?}", began.elapsed());
    drop(removed);

    let ids: Vec<_> = claimed.iter().map(PreparedLink::id).collect();
    let began = Instant::now();
    remove_pod_links(&mut socket, &dir, &ids[..1]).map_err(|errors| format!("{errors:?}"))?;
    println!("one pod removed in {:.1?}", began.elapsed());
    remove_pod_links(&mut socket, &dir, &ids[1..]).map_err(|errors| format!("{errors:?}"))?;
    let left = observe_node(&mut socket)?;
    println!("left: {} links, {} routes", left.links.len(), left.routes.len());
    umount2(&dir, MntFlags::MNT_DETACH)?;
    std::fs::remove_dir(&dir)?;
    Ok(())
}

fn claim(
    pool: &PodLinkPool,
    socket: &mut RouteSocket,
    n: u32,
    claimed: &mut Vec<PreparedLink>,
) -> Result<Duration, Box<dyn Error>> {
    let addresses = PodAddresses {
        v4: Some(Ipv4Addr::from(0x0a2a_0000 + n)),
        v6: Some(Ipv6Addr::from((0xfd42_u128 << 112) + u128::from(n))),
    };
    let began = Instant::now();
    let mut pod = pool.claim()?;
    pod.assign(addresses)?;
    let mut batch = Batch::new();
    pod.plan_node_claim(addresses, Some(&format!("default/pod-{n}")), &mut batch);
    socket.send_all(&batch)?;
    let took = began.elapsed();
    claimed.push(pod);
    Ok(took)
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    println!("{what} ({}): p50 {:.1?}, p99 {:.1?}", times.len(), at(50), at(99));
}
