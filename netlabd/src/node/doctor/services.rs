// SPDX-License-Identifier: GPL-3.0-or-later
//! Whether the kernel's rules say of services what the cluster says now.
//!
//! The rules are planned anew of the cluster's objects, and the kernel is asked over sockets of
//! their own: what the reconciler remembers may be what is wrong.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use netlab_api::resource::{Kind, Object};
use netlab_api::wire::{DoctorCheck, DoctorOutcome};
use netlab_api::{ApiError, EndpointSlice, Node, ObjectMeta, ProxyMode, Reason, Service};

use super::{check, failed};
use crate::control::cluster::{Filter, Scope};
use crate::control::plane::of_kind;
use crate::error::chain;
use crate::node::machine::Machine;
use crate::node::proxy::port::NodeFacts;
use crate::node::proxy::view::Services;
use crate::node::rules::{Rules, RulesError};

const NAME: &str = "services";

/// What is wrong for less than this is on its way from the cluster to the kernel.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// What the cluster says of services.
struct Told {
    mode: ProxyMode,
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
    zone: Option<String>,
}

/// Compares the kernel with what the cluster's services ask for.
pub(super) async fn examine(machine: &Arc<Machine>) -> DoctorCheck {
    match lasting(machine).await {
        Ok(Look { findings, strays, .. }) if findings.is_empty() && !strays.is_empty() => {
            DoctorCheck {
                name: NAME.to_owned(),
                outcome: DoctorOutcome::Warning,
                message: strays.join("; "),
                fix: Some(
                    "give `load-balancer.pools` of the server's configuration the address \
                    again, or make the service anew for another"
                        .to_owned(),
                ),
            }
        }
        Ok(Look { findings, good, .. }) => {
            let fix = "netlabd mends this within 30 s if it can; \
                `netlabctl events` says what it cannot";
            check(NAME, findings, good, fix)
        }
        Err(error) => failed(NAME, error.to_string(), error.hint),
    }
}

/// What one look at services found.
struct Look {
    /// What is wrong.
    findings: Vec<String>,
    /// What works, and somebody should know: load balancers with addresses that no pool has.
    strays: Vec<String>,
    /// Words for when nothing is wrong.
    good: String,
}

/// What is wrong for longer than a change takes.
async fn lasting(machine: &Arc<Machine>) -> Result<Look, ApiError> {
    let mut first = look(machine).await?;
    if !first.findings.is_empty() {
        tokio::time::sleep(ON_ITS_WAY).await;
        let again = look(machine).await?;
        first.findings.retain(|finding| again.findings.contains(finding));
    }
    Ok(first)
}

async fn look(machine: &Arc<Machine>) -> Result<Look, ApiError> {
    let told = told(machine).await?;
    let strays = strays(&told.services, &machine.config().services.load_balancer_pools);
    let good =
        format!("{} services, rules of mode {} as they must be", told.services.len(), told.mode);
    let worker = machine.clone();
    let found = tokio::task::spawn_blocking(move || kernel(&worker, told)).await;
    let found = found.map_err(|error| ApiError::new(Reason::InternalError, error.to_string()))?;
    let findings = found.map_err(|error| ApiError::new(Reason::InternalError, chain(&error)))?;
    Ok(Look { findings, strays, good })
}

/// Load balancers with addresses that no pool has.
fn strays(services: &[Service], pools: &[IpNet]) -> Vec<String> {
    let addresses = services.iter().flat_map(|service| {
        service.status.load_balancer.ingress.iter().map(move |ingress| (service, ingress.ip))
    });
    let strays = addresses.filter(|(_, ip)| !pools.iter().any(|pool| pool.contains(ip)));
    strays
        .map(|(service, ip)| {
            let ObjectMeta { namespace, name, .. } = &service.metadata;
            let namespace = namespace.as_deref().unwrap_or_default();
            format!("service {namespace}/{name} has the address {ip}, which is in no pool")
        })
        .collect()
}

async fn told(machine: &Machine) -> Result<Told, ApiError> {
    let settings = machine.cluster.network_settings().await?;
    let list = |kind| {
        let scope = Scope { kind, namespace: None };
        async move { machine.cluster.list(&scope, &Filter::default()).await }
    };
    let nodes = of_kind(list(Kind::Node).await?, |object| match object {
        Object::Node(node) => Some(node),
        _ => None,
    });
    let own = nodes.iter().find(|node: &&Node| node.metadata.name == machine.options.name);
    Ok(Told {
        mode: settings.proxy_mode.unwrap_or_default(),
        zone: own.and_then(|node| netlab_api::view::ViewNode::of(node).zone),
        services: of_kind(list(Kind::Service).await?, |object| match object {
            Object::Service(service) => Some(service),
            _ => None,
        }),
        slices: of_kind(list(Kind::EndpointSlice).await?, |object| match object {
            Object::EndpointSlice(slice) => Some(slice),
            _ => None,
        }),
    })
}

fn kernel(machine: &Machine, told: Told) -> Result<Vec<String>, RulesError> {
    let mut services = Services::default();
    services.set_node(NodeFacts { name: machine.options.name.clone(), zone: told.zone });
    services.reset(&told.services, &told.slices);
    let mut rules = Rules::open(&machine.config())?;
    rules.set_names(&machine.names.plan().addresses);
    rules.examine(told.mode, services.plan())
}
