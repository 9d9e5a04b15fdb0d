// SPDX-License-Identifier: GPL-3.0-or-later
//! What is filled into the spec of a service: what an update leaves out, defaults, and the families
//! of its addresses. Pure. The rules are Kubernetes'.

use ipnet::IpNet;
use netlab_api::pod::PortRef;
use netlab_api::service::{
    ClientIpConfig, DEFAULT_AFFINITY_SECONDS, IpFamily, IpFamilyPolicy, NO_CLUSTER_IP, ServicePort,
    ServiceSpec, ServiceType, SessionAffinity, SessionAffinityConfig, TrafficPolicy,
};

/// The spec that `wanted` means when it takes the place of `old`: with what it leaves out as it
/// was, without what the former type alone had, and with defaults.
pub(in crate::control) fn complete(
    old: Option<&ServiceSpec>,
    mut wanted: ServiceSpec,
) -> ServiceSpec {
    wanted.cluster_ip = wanted.cluster_ip.filter(|ip| !ip.is_empty());
    wanted.cluster_ips.retain(|ip| !ip.is_empty());
    if let Some(old) = old {
        keep_addresses(old, &mut wanted);
        keep_ports(old, &mut wanted);
        drop_leftovers(old, &mut wanted);
    }
    let spec = &mut wanted;
    if spec.cluster_ip.is_none() {
        spec.cluster_ip = spec.cluster_ips.first().cloned();
    } else if spec.cluster_ips.is_empty() {
        spec.cluster_ips = spec.cluster_ip.iter().cloned().collect();
    }
    fill_in_defaults(spec);
    wanted
}

fn keep_addresses(old: &ServiceSpec, wanted: &mut ServiceSpec) {
    let is_name = |spec: &ServiceSpec| spec.kind == ServiceType::ExternalName;
    if is_name(old) || is_name(wanted) {
        return;
    }
    let is_other = wanted.cluster_ip.is_some() && wanted.cluster_ip != old.cluster_ip;
    if is_other && wanted.cluster_ips == old.cluster_ips {
        // Only the first was written anew; that it may not change is said elsewhere.
        wanted.cluster_ips.clear();
    }
    if wanted.cluster_ip.is_none() && wanted.cluster_ips.is_empty() {
        wanted.cluster_ip.clone_from(&old.cluster_ip);
    }
    if wanted.cluster_ips.is_empty() && wanted.cluster_ip == old.cluster_ip {
        wanted.cluster_ips.clone_from(&old.cluster_ips);
    }
    if wanted.ip_families.is_empty() {
        wanted.ip_families.clone_from(&old.ip_families);
    }
    wanted.ip_family_policy = wanted.ip_family_policy.or(old.ip_family_policy);
    let becomes_single = wanted.ip_family_policy == Some(IpFamilyPolicy::SingleStack)
        && old.ip_family_policy != Some(IpFamilyPolicy::SingleStack);
    if becomes_single && wanted.ip_families == old.ip_families {
        wanted.ip_families.truncate(1);
        if wanted.cluster_ips == old.cluster_ips {
            wanted.cluster_ips.truncate(1);
        }
    }
}

/// Whether node ports are to be allocated.
pub(super) fn wants_node_ports(spec: &ServiceSpec) -> bool {
    spec.kind.has_node_ports()
        && !(spec.kind == ServiceType::LoadBalancer
            && spec.allocate_load_balancer_node_ports == Some(false))
}

/// Whether load balancers ask for its health at a port of each node.
pub(super) fn wants_health_check(spec: &ServiceSpec) -> bool {
    spec.kind == ServiceType::LoadBalancer
        && spec.external_traffic_policy == Some(TrafficPolicy::Local)
}

fn keep_ports(old: &ServiceSpec, wanted: &mut ServiceSpec) {
    if wants_node_ports(old) && wants_node_ports(wanted) {
        let taken: Vec<_> =
            wanted.ports.iter().filter_map(|p| Some((p.protocol, p.node_port?))).collect();
        for port in wanted.ports.iter_mut().filter(|port| port.node_port.is_none()) {
            let same = |p: &&ServicePort| p.port == port.port && p.protocol == port.protocol;
            let before = old.ports.iter().find(same).and_then(|before| before.node_port);
            port.node_port = before.filter(|number| !taken.contains(&(port.protocol, *number)));
        }
    }
    if wants_health_check(old) && wants_health_check(wanted) {
        wanted.health_check_node_port =
            wanted.health_check_node_port.or(old.health_check_node_port);
    }
}

/// Removes what the former type had and the new one cannot have, unless it was written anew.
fn drop_leftovers(old: &ServiceSpec, wanted: &mut ServiceSpec) {
    fn forget<T: PartialEq + Default>(old: &T, wanted: &mut T) {
        if wanted == old {
            *wanted = T::default();
        }
    }
    if !wanted.kind.has_node_ports() {
        let had = |port: &ServicePort| {
            old.ports.iter().any(|p| p.node_port == port.node_port && p.protocol == port.protocol)
        };
        for port in wanted.ports.iter_mut().filter(|port| had(port)) {
            port.node_port = None;
        }
    }
    if wanted.kind != ServiceType::LoadBalancer {
        forget(
            &old.allocate_load_balancer_node_ports,
            &mut wanted.allocate_load_balancer_node_ports,
        );
        forget(&old.load_balancer_ip, &mut wanted.load_balancer_ip);
        forget(&old.load_balancer_source_ranges, &mut wanted.load_balancer_source_ranges);
    }
    if !wants_health_check(wanted) {
        forget(&old.health_check_node_port, &mut wanted.health_check_node_port);
    }
    if !is_reached_from_outside(wanted) {
        forget(&old.external_traffic_policy, &mut wanted.external_traffic_policy);
    }
    if wanted.kind == ServiceType::ExternalName {
        forget(&old.cluster_ip, &mut wanted.cluster_ip);
        forget(&old.cluster_ips, &mut wanted.cluster_ips);
        forget(&old.ip_families, &mut wanted.ip_families);
        forget(&old.ip_family_policy, &mut wanted.ip_family_policy);
        forget(&old.internal_traffic_policy, &mut wanted.internal_traffic_policy);
    } else {
        forget(&old.external_name, &mut wanted.external_name);
    }
    if wanted.session_affinity == SessionAffinity::None {
        forget(&old.session_affinity_config, &mut wanted.session_affinity_config);
    }
}

fn is_reached_from_outside(spec: &ServiceSpec) -> bool {
    spec.kind.has_node_ports()
        || spec.kind == ServiceType::ClusterIp && !spec.external_ips.is_empty()
}

fn fill_in_defaults(spec: &mut ServiceSpec) {
    for port in &mut spec.ports {
        port.target_port.get_or_insert(PortRef::Number(port.port));
    }
    if spec.session_affinity == SessionAffinity::ClientIp {
        let config =
            spec.session_affinity_config.get_or_insert_with(SessionAffinityConfig::default);
        let client_ip = config.client_ip.get_or_insert_with(ClientIpConfig::default);
        client_ip.timeout_seconds.get_or_insert(DEFAULT_AFFINITY_SECONDS);
    }
    if spec.kind != ServiceType::ExternalName {
        spec.internal_traffic_policy.get_or_insert_default();
    }
    if is_reached_from_outside(spec) {
        spec.external_traffic_policy.get_or_insert_default();
    }
    if spec.kind == ServiceType::LoadBalancer {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

/// Something that a spec wants and cannot have: field, what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) field: String,
    pub(super) message: String,
    pub(super) hint: String,
}

/// Decides of which families its addresses are, where the cluster's services have `networks`.
pub(super) fn decide_families(spec: &mut ServiceSpec, networks: &[IpNet]) -> Result<(), Problem> {
    if spec.kind == ServiceType::ExternalName {
        return Ok(());
    }
    let of_cluster: Vec<IpFamily> = networks.iter().map(|net| IpFamily::of(net.addr())).collect();
    let is_dual = of_cluster.len() > 1;
    let is_headless = spec.cluster_ip.as_deref() == Some(NO_CLUSTER_IP);
    let given: Vec<IpFamily> =
        spec.cluster_ips.iter().filter_map(|ip| ip.parse().ok().map(IpFamily::of)).collect();
    let policy = spec.ip_family_policy.unwrap_or({
        // Who writes the endpoints may write either family.
        let is_open = is_headless && spec.selector.is_empty() && spec.ip_families.is_empty();
        match given.len() > 1 || spec.ip_families.len() > 1 || (is_open && is_dual) {
            true => IpFamilyPolicy::RequireDualStack,
            false => IpFamilyPolicy::SingleStack,
        }
    });
    let mut families = match (spec.ip_families.is_empty(), given.is_empty()) {
        (false, _) if given.len() > spec.ip_families.len() => given,
        (false, _) => spec.ip_families.clone(),
        (true, false) => given,
        (true, true) => of_cluster.first().copied().into_iter().collect(),
    };
    if let Some(at) = families.iter().position(|family| !of_cluster.contains(family)) {
        let family = families[at].as_str();
        return Err(Problem {
            field: format!("spec.ipFamilies[{at}]"),
            message: format!("the cluster has no {family} network for services"),
            hint: "leave the field out, or add a network to `services.networks` in netlabd.toml"
                .to_owned(),
        });
    }
    if policy == IpFamilyPolicy::RequireDualStack && !is_dual {
        let family = of_cluster.first().map_or("no", |family| family.as_str());
        return Err(Problem {
            field: "spec.ipFamilyPolicy".to_owned(),
            message: format!(
                "it is `RequireDualStack`, and the cluster's services are {family} only"
            ),
            hint: "use `PreferDualStack`, or add a network to `services.networks` in netlabd.toml"
                .to_owned(),
        });
    }
    if policy != IpFamilyPolicy::SingleStack && families.len() == 1 {
        let first = families[0];
        families.extend(of_cluster.into_iter().filter(|family| *family != first));
    }
    spec.ip_families = families;
    spec.ip_family_policy = Some(policy);
    Ok(())
}
