// SPDX-License-Identifier: GPL-3.0-or-later
//! Compares this node's kernel with the objects, and says what does not agree.
//!
//! Unlike the reconciler it changes nothing, and it trusts nothing that the reconciler remembers:
//! objects come from the cluster, the rest from the kernel and from the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use netlab_api::resource::{Kind, Object};
use netlab_api::wire::{DoctorCheck, DoctorOutcome};
use netlab_api::{ApiError, IpamBlock, Pod};

use super::machine::Machine;
use super::network::apply::host_links;
use crate::control::cluster::{Filter, Scope};
use crate::error::chain;

mod names;
mod overlap;
mod routes;
mod services;

/// All checks of this node.
pub async fn examine(machine: &Arc<Machine>) -> Vec<DoctorCheck> {
    let mut checks = Vec::new();
    match objects(machine).await {
        Ok((pods, blocks)) => {
            checks.push(addresses(&pods, &blocks));
            let worker = machine.clone();
            let local: Vec<Pod> = pods
                .into_iter()
                .filter(|pod| pod.spec.node_name.as_deref() == Some(&worker.options.name))
                .collect();
            let kernel = tokio::task::spawn_blocking(move || kernel(&worker, &local)).await;
            match kernel {
                Ok(found) => checks.extend(found),
                Err(error) => checks.push(failed("kernel", error.to_string(), None)),
            }
        }
        Err(error) => checks.push(failed("objects", error.to_string(), error.hint)),
    }
    checks.push(routes::examine(machine).await);
    checks.push(services::examine(machine).await);
    checks.extend(names::examine(machine).await);
    checks
}

async fn objects(machine: &Machine) -> Result<(Vec<Pod>, Vec<IpamBlock>), ApiError> {
    // Pods and blocks are two lists; a pod made in between would look like a finding.
    for _ in 0..5 {
        let list = |kind| {
            let scope = Scope { kind, namespace: None };
            async move { machine.cluster.list(&scope, &Filter::default()).await }
        };
        let blocks_before = list(Kind::IpamBlock).await?;
        let pods = list(Kind::Pod).await?;
        let blocks = list(Kind::IpamBlock).await?;
        if blocks.items != blocks_before.items {
            continue;
        }
        let pods = pods.items.into_iter().filter_map(|object| match object {
            Object::Pod(pod) => Some(pod),
            _ => None,
        });
        let blocks = blocks.items.into_iter().filter_map(|object| match object {
            Object::IpamBlock(block) => Some(block),
            _ => None,
        });
        return Ok((pods.collect(), blocks.collect()));
    }
    Err(ApiError::new(
        netlab_api::Reason::ServiceUnavailable,
        "pods come and go too fast to compare them with their addresses",
    )
    .with_hint("try again in a moment"))
}

/// Each pod's addresses are held by it and by nobody else, and nobody else holds any.
fn addresses(pods: &[Pod], blocks: &[IpamBlock]) -> DoctorCheck {
    let mut findings = Vec::new();
    let mut holders: BTreeMap<IpAddr, &str> = BTreeMap::new();
    for block in blocks {
        for (address, holder) in &block.spec.allocated {
            if holders.insert(*address, &holder.uid).is_some() {
                findings.push(format!("{address} is in two blocks"));
            }
        }
    }
    let mut count = 0;
    for pod in pods {
        for address in pod.ips() {
            count += 1;
            match holders.remove(&address) {
                Some(uid) if uid == pod.metadata.uid => {}
                Some(_) => findings.push(format!("{address} is {}'s and another's", full(pod))),
                None => findings.push(format!("{address} of {} is not allocated", full(pod))),
            }
        }
    }
    for address in holders.keys() {
        findings.push(format!("{address} is allocated and no pod has it"));
    }
    let good = format!("{count} addresses of {} pods, each held once", pods.len());
    check("addresses", findings, good, "this is a defect of netlab: please report it")
}

fn kernel(machine: &Machine, pods: &[Pod]) -> Vec<DoctorCheck> {
    vec![links(machine, pods), processes(machine, pods), overlap::examine(machine)]
}

/// Each pod has its link, address and route, and there are no others.
fn links(machine: &Machine, pods: &[Pod]) -> DoctorCheck {
    let fix = "netlabd mends this within 30 s; if it does not, look at its log";
    let mut network = machine.network();
    let observed = match network.observe() {
        Ok(observed) => observed,
        Err(error) => return failed("links and routes", chain(&error), None),
    };
    let mut records = match network.records() {
        Ok(records) => records,
        Err(error) => return failed("links and routes", chain(&error), None),
    };
    let links = host_links(&observed);
    let mut findings = Vec::new();
    let mut routed: BTreeSet<IpAddr> =
        observed.routes.iter().map(|route| route.destination.addr()).collect();
    for pod in pods {
        let name = full(pod);
        let Some(id) = records.remove(&name) else {
            if pod.metadata.deletion_timestamp.is_none() {
                findings.push(format!("{name} has no link"));
            }
            continue;
        };
        if !links.contains_key(&id) {
            findings.push(format!("link nl{id} of {name} is gone"));
        }
        match network.observe_inside(&name, id) {
            Ok(inside) => {
                for address in pod.ips() {
                    if !inside.addresses.iter().any(|a| a.address.addr() == address) {
                        findings.push(format!("{name} does not have its address {address}"));
                    }
                }
            }
            Err(error) => findings.push(chain(&error)),
        }
        for address in pod.ips() {
            if !routed.remove(&address) {
                findings.push(format!("there is no route to {address} of {name}"));
            }
        }
    }
    findings.extend(records.keys().map(|pod| format!("{pod} has a link and is no pod")));
    findings.extend(routed.iter().map(|address| format!("a route to {address} leads nowhere")));
    check("links and routes", findings, format!("{} pods wired as they must be", pods.len()), fix)
}

/// Each running pod has its processes, and there are no others.
fn processes(machine: &Machine, pods: &[Pod]) -> DoctorCheck {
    let mut left: BTreeSet<String> = match machine.runtime.list() {
        Ok(uids) => uids.into_iter().collect(),
        Err(error) => return failed("processes", chain(&error), None),
    };
    let mut findings = Vec::new();
    let mut running = 0;
    for pod in pods {
        let known = left.remove(&pod.metadata.uid);
        if pod.metadata.deletion_timestamp.is_some() || pod.is_finished() {
            continue;
        }
        match machine.runtime.observe(&pod.metadata.uid) {
            Ok(observed) if observed.alive.is_some() => running += 1,
            Ok(_) if known => findings.push(format!("{} has no PID 1", full(pod))),
            Ok(_) => findings.push(format!("{} was never started", full(pod))),
            Err(error) => findings.push(chain(&error)),
        }
    }
    findings.extend(left.iter().map(|uid| format!("processes of {uid} belong to no pod")));
    let fix = "netlabctl describe pod NAME says why a pod does not run";
    check("processes", findings, format!("{running} pods running"), fix)
}

fn full(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name)
}

fn check(name: &str, findings: Vec<String>, good: String, fix: &str) -> DoctorCheck {
    if findings.is_empty() {
        return DoctorCheck {
            name: name.to_owned(),
            outcome: DoctorOutcome::Ok,
            message: good,
            fix: None,
        };
    }
    failed(name, findings.join("; "), Some(fix.to_owned()))
}

fn failed(name: &str, message: String, fix: Option<String>) -> DoctorCheck {
    DoctorCheck { name: name.to_owned(), outcome: DoctorOutcome::Failed, message, fix }
}
