// SPDX-License-Identifier: GPL-3.0-or-later
//! What a person would type on this node to have by hand what is there: planned anew, with the
//! names that things really have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use netlab_api::resource::{Kind, Object};
use netlab_api::script::Script;
use netlab_api::service::Service;
use netlab_api::view::{Routing, ViewNode};
use netlab_api::{ApiError, ObjectMeta, Pod, Reason};
use netlab_link::{Batch, IfIndex, PodLink, RouteSocket};
use netlab_nft::teardown;

use super::proxy::{internal, list, plan, ruleset, scene, services, slices};
use crate::control::access::ScriptRequest;
use crate::error::chain;
use crate::node::machine::Machine;
use crate::node::network::addresses_of;
use crate::node::network::apply::host_links;
use crate::node::network::fabric::{self, Fabric, FabricWish, State as FabricState};
use crate::node::network::{NetworkError, fabric::diff::diff as fabric_diff};
use crate::node::proxy::anchor::{self, AnchorWish, anchored_networks};
use crate::node::proxy::script::{Lines, fed_to_nft, script as service_script};

/// The lines for something.
pub(super) async fn script(
    machine: &Arc<Machine>,
    request: ScriptRequest,
) -> Result<Script, ApiError> {
    let Lines { make, remove } = match request {
        ScriptRequest::Pod(pod) => of_pod(machine, &pod).await?,
        ScriptRequest::Service(namespace, name) => of_service(machine, namespace, name).await?,
        ScriptRequest::Proxy => of_proxy(machine).await?,
        ScriptRequest::Network => of_network(machine).await?,
    };
    Ok(Script { node: machine.options.name.clone(), make, remove })
}

async fn of_pod(machine: &Arc<Machine>, pod: &Pod) -> Result<Lines, ApiError> {
    let ObjectMeta { namespace, name, .. } = &pod.metadata;
    let namespace = namespace.as_deref().unwrap_or_default();
    let full = format!("{namespace}/{name}");
    let link = machine.with_network({
        let full = full.clone();
        move |network| -> Result<Option<PodLink>, NetworkError> {
            let Some(id) = network.record(&full) else { return Ok(None) };
            let node = network.observe()?;
            let index = host_links(&node).get(&id).map(|link| link.index);
            Ok(index.map(|index| network.link(id, index)))
        }
    });
    let link = link.await.map_err(|error| internal(chain(&error)))?.ok_or_else(|| {
        ApiError::new(Reason::Conflict, format!("pod \"{name}\" has no link on its node"))
            .with_object(format!("pod/{name}"))
            .with_hint("it has one once it is ready: wait for it, or do not say --no-wait")
    })?;
    let netns = format!("{namespace}_{name}");
    let pin = machine.pin_path(link.id);
    let lines = link.script(&netns, addresses_of(pod.ips()), &full);
    let make = format!("# its namespace is {} here\n{lines}", pin.display());
    Ok(Lines { make, remove: link.removal_script(&netns) })
}

async fn of_service(
    machine: &Arc<Machine>,
    namespace: String,
    name: String,
) -> Result<Lines, ApiError> {
    let scene = scene(machine).await?;
    let (services, slices) = (services(machine, None).await?, slices(machine, None).await?);
    let is_it = |service: &Service| {
        let ObjectMeta { namespace: of, name: it, .. } = &service.metadata;
        *it == name && of.as_ref() == Some(&namespace)
    };
    let Some(service) = services.iter().find(|service| is_it(service)) else {
        return Err(ApiError::not_found(Kind::Service.plural(), &name));
    };
    if !service.is_proxied() {
        let note = "# no rules: its name leads to its pods, or is an alias\n".to_owned();
        return Ok(Lines { make: note.clone(), remove: note });
    }
    let config = machine.config();
    let others: Vec<_> = services.iter().filter(|service| !is_it(service)).cloned().collect();
    let without = plan(&scene, &others, &slices);
    let mut all = plan(&scene, &services, &slices);
    let before = anchored_networks(&config, without.balancer_addresses());
    let networks = anchored_networks(&config, all.balancer_addresses());
    let plans = all.plan();
    let mut lines = service_script(scene.in_use, scene.config, plans, &(namespace, name));
    // Of addresses outside of all networks alone: the others' routes are there for all services.
    let wish = |networks| anchor::plan(&anchored(machine, networks));
    let (with, without) = (wish(networks), wish(before));
    let name = |_| Some(anchor::device_name().to_string());
    lines.make.insert_str(0, &typed(&anchor::diff(&without, &with).batch, name));
    lines.remove.push_str(&typed(&anchor::diff(&with, &without).batch, name));
    Ok(lines)
}

/// The device that routes to these networks lead to, with the addresses at which names are answered.
fn anchored(machine: &Machine, networks: BTreeSet<IpNet>) -> AnchorWish {
    let addresses = machine.names.plan().addresses.iter().copied().collect();
    AnchorWish { networks, addresses, mtu: machine.mtu }
}

async fn of_proxy(machine: &Arc<Machine>) -> Result<Lines, ApiError> {
    let rules = ruleset(machine, None).await?;
    let networks = rules.networks.into_iter().collect();
    let wanted = anchor::plan(&anchored(machine, networks));
    let none = anchor::State::default();
    let name = |_| Some(anchor::device_name().to_string());
    let mut make = typed(&anchor::diff(&none, &wanted).batch, name);
    // What another mode made goes in the same transaction.
    make.push_str(&format!("nft -f - <<'RULES'\n{}{}RULES\n", teardown(), rules.rules));
    let mut remove = fed_to_nft(&teardown());
    remove.push_str(&typed(&anchor::diff(&wanted, &none).batch, name));
    Ok(Lines { make, remove })
}

async fn of_network(machine: &Arc<Machine>) -> Result<Lines, ApiError> {
    let settings = machine.cluster.network_settings().await?;
    let nodes = list(machine, Kind::Node, None, |object| match object {
        Object::Node(node) => Some(ViewNode::of(&node)),
        _ => None,
    });
    let nodes = nodes.await?;
    let routing = Routing { route_mode: settings.route_mode, accept_encapsulated: false };
    let worker = machine.clone();
    let planned = tokio::task::spawn_blocking(move || {
        let options = &worker.options;
        let networks = &options.cluster.pod_networks;
        let underlay = Fabric::open(&worker.netns)
            .and_then(|mut fabric| fabric.underlay())
            .map_err(|error| internal(chain(&error)))?;
        let links = RouteSocket::open_in(&worker.netns)
            .and_then(|mut socket| socket.list_links())
            .map_err(|error| internal(chain(&error)))?;
        let wish = FabricWish::of(&options.name, &nodes, routing, networks, underlay, options.mtu);
        Ok::<_, ApiError>((fabric::plan(&wish), links))
    });
    let (plan, links) = planned.await.map_err(|error| internal(error.to_string()))??;
    let mut names: BTreeMap<IfIndex, String> =
        links.into_iter().map(|link| (link.index, link.name.to_string())).collect();
    let devices = plan.state.devices.iter();
    names.extend(devices.map(|(name, device)| (device.vxlan.index, name.to_string())));
    let name = |index| names.get(&index).cloned();
    let come = fabric_diff(&FabricState::default(), &plan.state);
    let mut make = typed(&come.plan_devices(), name);
    come.offloads.iter().for_each(|name| make.push_str(&format!("ethtool -K {name} tx off\n")));
    make.push_str(&typed(&come.batch, name));
    plan.problems.iter().for_each(|problem| make.push_str(&format!("# {problem}\n")));
    let go = fabric_diff(&plan.state, &FabricState::default());
    let mut remove = typed(&go.batch, name);
    go.retired.iter().for_each(|name| remove.push_str(&format!("ip link del dev {name}\n")));
    Ok(Lines { make, remove })
}

fn typed(batch: &Batch, name: impl Fn(IfIndex) -> Option<String>) -> String {
    let lines = batch.requests().iter().flat_map(|request| request.by_hand(&name));
    lines.map(|line| line + "\n").collect()
}
