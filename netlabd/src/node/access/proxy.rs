// SPDX-License-Identifier: GPL-3.0-or-later
//! What this node does with packets to services: its rules, planned anew of what the cluster says
//! now, and the flows that its kernel tracks.

use std::sync::Arc;

use netlab_api::endpoint_slice::ZONE_LABEL;
use netlab_api::proxy::{Flows, ProxyRules, ProxyRuleset};
use netlab_api::resource::{Kind, Object};
use netlab_api::{ApiError, EndpointSlice, ObjectMeta, Pod, ProxyMode, Reason, Service};
use netlab_nft::conntrack::{Conntrack, ConntrackError, Filter as FlowFilter, Flow};

use crate::control::access::{FlowsRequest, RulesRequest};
use crate::control::cluster::{Filter, Scope};
use crate::control::plane::of_kind;
use crate::error::chain;
use crate::node::machine::Machine;
use crate::node::proxy::anchor::anchored_networks;
use crate::node::proxy::desired::Desired;
use crate::node::proxy::flows::{Names, is_wanted};
use crate::node::proxy::port::NodeFacts;
use crate::node::proxy::script::in_order;
use crate::node::proxy::show::{Scene, show_base, show_service};
use crate::node::proxy::view::Services;
use crate::node::rules::{base_config, plan_fixed};

/// Flows that one answer has.
const MOST_FLOWS: usize = 10_000;

/// The rules of a service, or of all.
pub(super) async fn rules(
    machine: &Machine,
    request: RulesRequest,
) -> Result<ProxyRules, ApiError> {
    let scene = scene(machine).await?;
    let mode = request.mode.unwrap_or(scene.in_use);
    let Some((namespace, name)) = request.service else {
        let (services, slices) = (services(machine, None).await?, slices(machine, None).await?);
        return Ok(show_base(mode, &scene, &services, &slices));
    };
    let (services, slices) = (services(machine, None).await?, slices(machine, None).await?);
    let is_it = |service: &&Service| {
        let ObjectMeta { namespace: of, name: it, .. } = &service.metadata;
        *it == name && of.as_ref() == Some(&namespace)
    };
    let service = services.iter().find(is_it).cloned();
    let service = service.ok_or_else(|| ApiError::not_found(Kind::Service.plural(), &name))?;
    let all = plan(&scene, &services, &slices).plan();
    Ok(show_service(mode, &scene, &service, all))
}

/// What of this node its rules depend on.
pub(super) async fn scene(machine: &Machine) -> Result<Scene, ApiError> {
    let in_use = machine.cluster.network_settings().await?.proxy_mode.unwrap_or_default();
    let name = machine.options.name.clone();
    let nodes = list(machine, Kind::Node, None, |object| match object {
        Object::Node(node) => Some(node),
        _ => None,
    });
    let own = nodes.await?.into_iter().find(|node| node.metadata.name == name);
    let zone = own.and_then(|node| node.metadata.labels.get(ZONE_LABEL).cloned());
    let config = base_config(&machine.config());
    Ok(Scene { node: NodeFacts { name, zone }, config, in_use })
}

/// All services, as this node sees them.
pub(super) fn plan(scene: &Scene, services: &[Service], slices: &[EndpointSlice]) -> Services {
    let mut all = Services::default();
    all.set_node(scene.node.clone());
    all.reset(services, slices);
    all
}

/// All rules, as a script, with the routes that lead packets to them.
pub(super) async fn ruleset(
    machine: &Machine,
    mode: Option<ProxyMode>,
) -> Result<ProxyRuleset, ApiError> {
    let scene = scene(machine).await?;
    let mode = mode.unwrap_or(scene.in_use);
    let config = machine.config();
    let mut all = plan(&scene, &services(machine, None).await?, &slices(machine, None).await?);
    let networks = anchored_networks(&config, all.balancer_addresses());
    let mut rules = plan_fixed(&config.pod_networks, &machine.names.plan().addresses);
    rules.append(Desired::of(mode, scene.config, all.plan()).whole());
    Ok(ProxyRuleset {
        node: scene.node.name,
        mode,
        networks: networks.into_iter().collect(),
        rules: in_order(rules).to_string(),
    })
}

/// The flows to services.
pub(super) async fn flows(
    machine: &Arc<Machine>,
    request: FlowsRequest,
) -> Result<Flows, ApiError> {
    let mut services = services(machine, None).await?;
    if let Some((namespace, name)) = &request.service {
        services.retain(|service| service.metadata.namespace.as_ref() == Some(namespace));
        services = vec![of_name(services, name)?];
    }
    let pods = list(machine, Kind::Pod, None, |object| match object {
        Object::Pod(pod) => Some(pod),
        _ => None,
    });
    let pods: Vec<Pod> = pods.await?;
    let names = Names::of(&services, &pods);
    let node = machine.options.name.clone();
    // A table may have a hundred thousand flows, of which few are wanted.
    let reading = tokio::task::spawn_blocking(move || {
        let mut left_out = 0;
        let mut found = Vec::new();
        read(&request, |flow| {
            if let Some(named) = is_wanted(&names, &flow, request.all) {
                match found.len() < MOST_FLOWS {
                    true => found.push(named),
                    false => left_out += 1,
                }
            }
        })?;
        found.sort_by(|a, b| (&a.service, a.source).cmp(&(&b.service, b.source)));
        Ok(Flows { node, flows: found, left_out })
    });
    let read = reading.await.map_err(|error| internal(error.to_string()))?;
    read.map_err(|error: ConntrackError| internal(chain(&error)))
}

/// Blocking.
fn read(request: &FlowsRequest, each: impl FnMut(Flow)) -> Result<(), ConntrackError> {
    let filter = FlowFilter { family: None, protocol: request.protocol, translated: false };
    Conntrack::open()?.list(&filter, each)
}

pub(super) fn internal(message: String) -> ApiError {
    ApiError::new(Reason::InternalError, message)
}

fn of_name(services: Vec<Service>, name: &str) -> Result<Service, ApiError> {
    let found = services.into_iter().find(|service| service.metadata.name == name);
    found.ok_or_else(|| ApiError::not_found(Kind::Service.plural(), name))
}

pub(super) async fn services(
    machine: &Machine,
    namespace: Option<&str>,
) -> Result<Vec<Service>, ApiError> {
    list(machine, Kind::Service, namespace, |object| match object {
        Object::Service(service) => Some(service),
        _ => None,
    })
    .await
}

pub(super) async fn slices(
    machine: &Machine,
    namespace: Option<&str>,
) -> Result<Vec<EndpointSlice>, ApiError> {
    list(machine, Kind::EndpointSlice, namespace, |object| match object {
        Object::EndpointSlice(slice) => Some(slice),
        _ => None,
    })
    .await
}

pub(super) async fn list<T>(
    machine: &Machine,
    kind: Kind,
    namespace: Option<&str>,
    pick: impl Fn(Object) -> Option<T>,
) -> Result<Vec<T>, ApiError> {
    let scope = Scope { kind, namespace: namespace.map(str::to_owned) };
    Ok(of_kind(machine.cluster.list(&scope, &Filter::default()).await?, pick))
}
