// SPDX-License-Identifier: GPL-3.0-or-later
//! Pods: where they run, which addresses they hold, what their status means, when they go.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use netlab_api::event::EventKind;
use netlab_api::ipam::AddressHolder;
use netlab_api::pod::{
    Condition, ConditionStatus, ContainerState, ContainerStatus, DEFAULT_GRACE_PERIOD_SECONDS,
    POD_SCHEDULED, PodIp, PodPhase, PodStatus, StateWaiting,
};
use netlab_api::{ApiError, IpamBlock, Node, Pod, Reason, Time};

use super::config::ClusterConfig;
use super::ipam::Blocks;

/// Why a pod runs nowhere yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unschedulable(pub(super) String);

/// Chooses the node for a pod that names none: ready, not cordoned, fewest pods; the first by name
/// among equals.
pub(super) fn choose_node(
    nodes: &[Arc<Node>],
    blocks: &Blocks,
    config: &ClusterConfig,
) -> Result<String, Unschedulable> {
    let candidates = nodes.iter().filter(|node| node.is_ready() && !node.spec.unschedulable);
    // Each pod holds one address of each family, so one family counts the pods.
    let pods = |name: &str| match config.pod_networks.first() {
        Some(network) => blocks.allocated_count(name, *network),
        None => 0,
    };
    candidates
        .min_by_key(|node| (pods(&node.metadata.name), node.metadata.name.clone()))
        .map(|node| node.metadata.name.clone())
        .ok_or_else(|| {
            let cordoned = nodes.iter().filter(|node| node.spec.unschedulable).count();
            let unready = nodes.iter().filter(|node| !node.is_ready()).count();
            Unschedulable(format!(
                "0/{} nodes are available: {cordoned} cordoned, {unready} not ready",
                nodes.len()
            ))
        })
}

/// Puts a pod on a node: allocates its addresses and says so in its status.
pub(super) fn bind(
    pod: &mut Pod,
    node: &Node,
    blocks: &mut Blocks,
    config: &ClusterConfig,
    now: Time,
) -> Result<(), ApiError> {
    let holder = AddressHolder { pod: namespaced_name(pod), uid: pod.metadata.uid.clone() };
    let mut addresses: Vec<IpAddr> = Vec::with_capacity(config.pod_networks.len());
    for &network in &config.pod_networks {
        match blocks.allocate(&node.metadata.name, network, &holder, now) {
            Ok(address) => addresses.push(address),
            Err(error) => {
                return Err(ApiError::new(Reason::ServiceUnavailable, error.to_string())
                    .with_object(format!("pod/{}", pod.metadata.name))
                    .with_hint(
                        "delete pods, or make the pod network larger in netlabd's configuration",
                    ));
            }
        }
    }
    pod.spec.node_name = Some(node.metadata.name.clone());
    pod.status.pod_ip = addresses.first().copied();
    pod.status.pod_ips = addresses.into_iter().map(|ip| PodIp { ip }).collect();
    pod.status.host_ip = node.internal_ips().next();
    pod.status.conditions = vec![condition(POD_SCHEDULED, ConditionStatus::True, now)];
    Ok(())
}

/// Says in a pod's status why it runs nowhere yet.
pub(super) fn mark_unschedulable(pod: &mut Pod, why: &Unschedulable, now: Time) {
    let mut scheduled = condition(POD_SCHEDULED, ConditionStatus::False, now);
    scheduled.reason = Some("Unschedulable".to_owned());
    scheduled.message = Some(why.0.clone());
    pod.status.conditions = vec![scheduled];
    // No node creates anything yet: without this the pod is `Pending`, as in Kubernetes.
    pod.status.container_statuses.clear();
}

/// The status of a pod that no node has taken up.
pub(super) fn initial_status(pod: &Pod) -> PodStatus {
    PodStatus {
        phase: PodPhase::Pending,
        container_statuses: vec![ContainerStatus {
            name: pod.metadata.name.clone(),
            state: ContainerState {
                waiting: Some(StateWaiting {
                    reason: "ContainerCreating".to_owned(),
                    message: String::new(),
                }),
                ..ContainerState::default()
            },
            ..ContainerStatus::default()
        }],
        ..PodStatus::default()
    }
}

/// What a node reports, joined with what the cluster itself decided: addresses and placement are
/// the cluster's, and a condition that did not change keeps its time.
pub(super) fn merge_status(stored: &PodStatus, mut reported: PodStatus, now: Time) -> PodStatus {
    reported.pod_ip = stored.pod_ip;
    reported.pod_ips.clone_from(&stored.pod_ips);
    reported.host_ip = stored.host_ip;
    reported.conditions.retain(|c| c.kind != POD_SCHEDULED);
    reported
        .conditions
        .splice(0..0, stored.conditions.iter().filter(|c| c.kind == POD_SCHEDULED).cloned());
    for condition in &mut reported.conditions {
        let before = stored.conditions.iter().find(|c| c.kind == condition.kind);
        condition.last_transition_time = match before {
            Some(before) if before.status == condition.status => before.last_transition_time,
            _ => Some(now),
        };
    }
    reported
}

/// Marks a pod as on its way out. A second delete can only shorten the grace period.
pub(super) fn mark_deleted(pod: &mut Pod, grace_period_seconds: Option<u64>, now: Time) {
    let wanted = grace_period_seconds
        .or(pod.spec.termination_grace_period_seconds)
        .unwrap_or(DEFAULT_GRACE_PERIOD_SECONDS);
    let metadata = &mut pod.metadata;
    if metadata.deletion_timestamp.is_none() {
        metadata.deletion_timestamp = Some(now);
        metadata.deletion_grace_period_seconds = Some(wanted);
    } else if grace_period_seconds.is_some() {
        let before = metadata.deletion_grace_period_seconds.unwrap_or(wanted);
        metadata.deletion_grace_period_seconds = Some(before.min(wanted));
    }
}

/// What the event of a placement says.
pub(super) fn scheduled_message(pod: &Pod) -> (EventKind, &'static str, String) {
    let node = pod.spec.node_name.as_deref().unwrap_or_default();
    let name = namespaced_name(pod);
    (EventKind::Normal, "Scheduled", format!("Successfully assigned {name} to {node}"))
}

/// `default/web`.
pub(super) fn namespaced_name(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name)
}

/// Blocks of `network` that `node` owns, for its status.
pub(super) fn blocks_of(node: &str, blocks: &[Arc<IpamBlock>]) -> Vec<IpNet> {
    blocks.iter().filter(|b| b.spec.node == node).map(|b| b.spec.cidr).collect()
}

fn condition(kind: &str, status: ConditionStatus, now: Time) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status,
        last_transition_time: Some(now),
        reason: None,
        message: None,
    }
}
