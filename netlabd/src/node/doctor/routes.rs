// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the kernel knows the way to the pods of all other nodes.
//!
//! The plan is made anew of what the cluster says now, and the kernel is asked over a socket of its
//! own: the reconciler's memory may be what is wrong.

use std::sync::Arc;
use std::time::Duration;

use netlab_api::resource::{Kind, Object};
use netlab_api::view::{Routing, ViewNode};
use netlab_api::wire::DoctorCheck;
use netlab_api::{ApiError, Reason};

use super::{check, failed};
use crate::control::cluster::{Filter, Scope};
use crate::control::plane::of_kind;
use crate::error::chain;
use crate::node::machine::Machine;
use crate::node::network::fabric::{Fabric, FabricError, FabricWish};

const NAME: &str = "routes to other nodes";

/// What is wrong for less than this is on its way from the cluster to the kernel.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// Compares the kernel with what the cluster's nodes and its route mode ask for.
pub(super) async fn examine(machine: &Arc<Machine>) -> DoctorCheck {
    match lasting(machine).await {
        Ok((findings, peers)) => {
            let good = format!("{peers} other nodes, each block with its route");
            let fix = "netlabd mends this within 30 s if it can; \
                `netlabctl events` says what it cannot";
            check(NAME, findings, good, fix)
        }
        Err(error) => failed(NAME, error.to_string(), error.hint),
    }
}

/// What is wrong for longer than a change takes, and the number of other nodes.
async fn lasting(machine: &Arc<Machine>) -> Result<(Vec<String>, usize), ApiError> {
    let (mut findings, peers) = look(machine).await?;
    if !findings.is_empty() {
        tokio::time::sleep(ON_ITS_WAY).await;
        let (again, _) = look(machine).await?;
        findings.retain(|finding| again.contains(finding));
    }
    Ok((findings, peers))
}

/// What is wrong now, and the number of other nodes.
async fn look(machine: &Arc<Machine>) -> Result<(Vec<String>, usize), ApiError> {
    let settings = machine.cluster.network_settings().await?;
    let scope = Scope { kind: Kind::Node, namespace: None };
    let nodes = machine.cluster.list(&scope, &Filter::default()).await?;
    let nodes = of_kind(nodes, |object| match object {
        Object::Node(node) => Some(ViewNode::of(&node)),
        _ => None,
    });
    let peers = nodes.iter().filter(|node| node.name != machine.options.name).count();
    // Devices that are there for the next mode only are not asked for, and not too much either.
    let routing = Routing { route_mode: settings.route_mode, accept_encapsulated: false };
    let worker = machine.clone();
    let found = tokio::task::spawn_blocking(move || kernel(&worker, &nodes, routing)).await;
    let found = found.map_err(|error| ApiError::new(Reason::InternalError, error.to_string()))?;
    let findings = found.map_err(|error| ApiError::new(Reason::InternalError, chain(&error)))?;
    Ok((findings, peers))
}

fn kernel(
    machine: &Machine,
    nodes: &[ViewNode],
    routing: Routing,
) -> Result<Vec<String>, FabricError> {
    let options = &machine.options;
    let networks = &options.cluster.pod_networks;
    let mut fabric = Fabric::open(&machine.netns)?;
    let underlay = fabric.underlay()?;
    fabric.examine(&FabricWish::of(&options.name, nodes, routing, networks, underlay, options.mtu))
}
