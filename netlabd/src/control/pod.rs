// SPDX-License-Identifier: GPL-3.0-or-later
//! Pods: where they run, which addresses they hold, what their status means, when they go.

use std::net::IpAddr;
use std::sync::Arc;

use netlab_api::event::EventKind;
use netlab_api::ipam::AddressHolder;
use netlab_api::pod::{
    Condition, ConditionStatus, ContainerState, ContainerStatus, DEFAULT_GRACE_PERIOD_SECONDS,
    POD_SCHEDULED, PodIp, PodPhase, PodStatus, StateWaiting,
};
use netlab_api::{ApiError, Node, Pod, Reason, Time};

use super::config::ClusterConfig;
use super::ipam::{Blocks, IpamError};

/// Why a pod runs nowhere yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unschedulable {
    /// No node takes pods.
    #[error("0/{nodes} nodes are available: {cordoned} cordoned, {unready} not ready")]
    NoNode {
        /// All nodes.
        nodes: usize,
        /// Those that take no new pods.
        cordoned: usize,
        /// Those that are not ready, cordoned or not.
        unready: usize,
    },
    /// Nodes take pods, but none has an address for one.
    #[error(transparent)]
    NoAddress(IpamError),
}

/// Chooses the node for a pod that names none: ready, not cordoned, with addresses left. Among
/// these the one with the fewest replicas of the same pod, then with the fewest pods; the first by
/// name among equals.
pub(super) fn choose_node<'a>(
    pod: &Pod,
    nodes: &'a [Arc<Node>],
    blocks: &Blocks,
    config: &ClusterConfig,
) -> Result<&'a Arc<Node>, Unschedulable> {
    let candidates = || nodes.iter().filter(|node| takes_pods(node));
    let check_room = |node: &Node| {
        let mut networks = config.pod_networks.iter();
        networks.try_for_each(|network| blocks.check_room(&node.metadata.name, *network))
    };
    // Each pod holds one address of each family, so one family counts the pods.
    let family = config.pod_networks.first();
    let pods = |name: &str| family.map_or(0, |network| blocks.allocated_count(name, *network));
    let replica = replicas_of(pod);
    let replicas = |name: &str| match (family, &replica) {
        (Some(network), Some(stem)) => blocks.count_replicas(name, *network, stem),
        _ => 0,
    };
    let chosen = candidates().filter(|node| check_room(node).is_ok()).min_by_key(|node| {
        let name = &node.metadata.name;
        (replicas(name), pods(name), name)
    });
    chosen.ok_or_else(|| match candidates().find_map(|node| check_room(node).err()) {
        Some(error) => Unschedulable::NoAddress(error),
        None => Unschedulable::NoNode {
            nodes: nodes.len(),
            cordoned: nodes.iter().filter(|node| node.spec.unschedulable).count(),
            unready: nodes.iter().filter(|node| !node.is_ready()).count(),
        },
    })
}

/// Whether new pods may be placed on a node.
fn takes_pods(node: &Node) -> bool {
    node.is_ready() && !node.spec.unschedulable && node.metadata.deletion_timestamp.is_none()
}

/// What the names of a pod's replicas begin with: `shop/web-` of `shop/web-2`. A name without a
/// number has none.
fn replicas_of(pod: &Pod) -> Option<String> {
    let name = namespaced_name(pod);
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.len() < name.len() && stem.ends_with('-')).then(|| stem.to_owned())
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
            Err(error) => return Err(no_address(pod, &error)),
        }
    }
    pod.spec.node_name = Some(node.metadata.name.clone());
    pod.status.pod_ip = addresses.first().copied();
    pod.status.pod_ips = addresses.into_iter().map(|ip| PodIp { ip }).collect();
    pod.status.host_ip = node.internal_ips().next();
    pod.status.conditions = vec![condition(POD_SCHEDULED, ConditionStatus::True, now)];
    Ok(())
}

/// What whoever makes a pod hears when there is no address for it.
pub(super) fn no_address(pod: &Pod, error: &IpamError) -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, error.to_string())
        .with_object(format!("pod/{}", pod.metadata.name))
        .with_hint("delete pods, or make the pod network larger in netlabd's configuration")
}

/// Says in a pod's status why it runs nowhere yet. A status that says so already stays as it is.
pub(super) fn mark_unschedulable(pod: &mut Pod, why: &Unschedulable, now: Time) {
    let message = Some(why.to_string());
    let before = pod.status.conditions.iter().find(|c| c.kind == POD_SCHEDULED);
    let since =
        before.filter(|c| c.status == ConditionStatus::False).map(|c| c.last_transition_time);
    let mut scheduled = condition(POD_SCHEDULED, ConditionStatus::False, now);
    scheduled.last_transition_time = since.unwrap_or(scheduled.last_transition_time);
    scheduled.reason = Some("Unschedulable".to_owned());
    scheduled.message = message;
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

fn condition(kind: &str, status: ConditionStatus, now: Time) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status,
        last_transition_time: Some(now),
        reason: None,
        message: None,
    }
}
