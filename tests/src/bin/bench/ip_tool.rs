// SPDX-License-Identifier: GPL-3.0-or-later
//! A pod's network made by iproute2: one process a step, as scripts do it, or a batch for the node
//! and one for the pod. The result is netlab's, but IPv4 only.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{run, run_with};

/// Makes an empty namespace, which is where CNI plugins begin.
///
/// # Errors
/// What `ip` says.
pub(crate) fn add_netns(pod: &str) -> anyhow::Result<Duration> {
    ip(&["netns", "add", pod])
}

/// Removes a namespace; the link in it goes when the kernel gets to it.
///
/// # Errors
/// What `ip` says.
pub(crate) fn del_netns(pod: &str) -> anyhow::Result<Duration> {
    ip(&["netns", "del", pod])
}

/// Makes a namespace, a link, an address and routes, a process for each step.
///
/// # Errors
/// What `ip` says.
pub(crate) fn add_by_steps(pod: &str, address: Ipv4Addr) -> anyhow::Result<Duration> {
    let began = Instant::now();
    add_netns(pod)?;
    for step in node_steps(pod, address) {
        ip(&step.split(' ').collect::<Vec<_>>())?;
    }
    for step in pod_steps(address) {
        let args = format!("-n {pod} {step}");
        ip(&args.split(' ').collect::<Vec<_>>())?;
    }
    Ok(began.elapsed())
}

/// The same by three processes.
///
/// # Errors
/// What `ip` says.
pub(crate) fn add_by_batch(pod: &str, address: Ipv4Addr) -> anyhow::Result<Duration> {
    let began = Instant::now();
    add_netns(pod)?;
    run_with(Command::new("ip").args(["-batch", "-"]), &node_steps(pod, address).join("\n"))?;
    let steps = pod_steps(address).join("\n");
    run_with(Command::new("ip").args(["-n", pod, "-batch", "-"]), &steps)?;
    Ok(began.elapsed())
}

/// Removes a pod's link and namespace.
///
/// # Errors
/// What `ip` says.
pub(crate) fn del_by_steps(pod: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    ip(&["link", "del", &format!("v{pod}")])?;
    del_netns(pod)?;
    Ok(began.elapsed())
}

fn node_steps(pod: &str, address: Ipv4Addr) -> Vec<String> {
    vec![
        format!("link add v{pod} type veth peer name eth0 netns {pod}"),
        format!("link set v{pod} up"),
        format!("route add {address}/32 dev v{pod}"),
        // A router with a local address of its own answers for the gateway.
        format!("address add 169.254.1.1/32 dev v{pod}"),
    ]
}

fn pod_steps(address: Ipv4Addr) -> Vec<String> {
    vec![
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("address add {address}/32 dev eth0"),
        "route add default via 169.254.1.1 dev eth0 onlink".to_owned(),
    ]
}

fn ip(args: &[&str]) -> anyhow::Result<Duration> {
    Ok(run(Command::new("ip").args(args))?.took)
}
