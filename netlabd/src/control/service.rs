// SPDX-License-Identifier: GPL-3.0-or-later
//! Services: their defaults, and the addresses and ports that each has alone.
//!
//! All that a service gets it gets in the transaction that makes or changes it, on the condition
//! that nobody else has it; see [`slot`].

use std::collections::BTreeSet;

use netlab_api::pod::Protocol;
use netlab_api::resource::{Kind, Object};
use netlab_api::service::{IpFamily, NO_CLUSTER_IP, ServiceStatus, ServiceType};
use netlab_api::validate::FieldError;
use netlab_api::{ApiError, ClusterSettings, Service};

use super::Control;
use super::admission::{Admission, Wish};
use super::cluster::ObjectKey;
use super::draft::{Draft, read_failed};
use super::refusal::check;
use balance::{WAITING, waiting_path};
use slot::{Holder, LOAD_BALANCER_IPS, Slot};
use spec::Problem;

mod balance;
mod slot;
mod spec;

pub(super) use spec::complete;

impl Admission<'_, '_> {
    /// Gives a new service what it needs.
    pub(super) async fn create_service(&mut self, service: &mut Service) -> Result<(), ApiError> {
        let namespace = service.metadata.namespace.clone().unwrap_or_default();
        self.check_namespace(&namespace).await?;
        service.spec = complete(None, std::mem::take(&mut service.spec));
        service.status = ServiceStatus::default();
        self.settle_service(None, service).await
    }

    /// Gives a service what it lacks, and takes back what `old` had and it has no more.
    pub(super) async fn settle_service(
        &mut self,
        old: Option<&Service>,
        service: &mut Service,
    ) -> Result<(), ApiError> {
        let config = self.placement.config.services.clone();
        if let Err(problem) = spec::decide_families(&mut service.spec, &config.networks) {
            return Err(refuse(service, problem));
        }
        let had = old.map(Slot::of).unwrap_or_default();
        self.settle_cluster_ips(&had, service).await?;
        self.settle_node_ports(&had, service).await?;
        self.settle_balancer(service).await?;
        let has = Slot::of(service);
        let holder = Holder::of(service);
        for slot in had.difference(&has) {
            slot.give_back(self.draft, &holder).await?;
        }
        Ok(())
    }

    async fn settle_cluster_ips(
        &mut self,
        had: &BTreeSet<Slot>,
        service: &mut Service,
    ) -> Result<(), ApiError> {
        let spec = &service.spec;
        if spec.kind == ServiceType::ExternalName {
            return Ok(());
        }
        if spec.cluster_ip.as_deref() == Some(NO_CLUSTER_IP) {
            service.spec.cluster_ips = vec![NO_CLUSTER_IP.to_owned()];
            return Ok(());
        }
        let config = &self.placement.config;
        let (networks, reserved) = (config.services.networks.clone(), config.cluster_dns.clone());
        let holder = Holder::of(service);
        for (at, family) in service.spec.ip_families.clone().into_iter().enumerate() {
            let network = networks.iter().find(|net| IpFamily::of(net.addr()) == family);
            let network = *network.expect("families are those of the networks");
            let field = if at == 0 { "spec.clusterIP" } else { "spec.clusterIPs[1]" };
            let problem = |message: String, hint: &str| Problem {
                field: field.to_owned(),
                message,
                hint: hint.to_owned(),
            };
            let Some(text) = service.spec.cluster_ips.get(at).cloned() else {
                let slots = slot::cluster_ips(network, &reserved, slot::random);
                let Some(slot) = Slot::take_first(slots, self.draft, &holder).await? else {
                    let message = format!("no address is left in the service network {network}");
                    let hint =
                        "delete services, or make `services.networks` larger in netlabd.toml";
                    return Err(refuse(service, problem(message, hint)));
                };
                service.spec.cluster_ips.push(slot.to_string());
                continue;
            };
            let address = text.parse().expect("validation read it");
            let slot = Slot::ClusterIp(address);
            if had.contains(&slot) {
                continue;
            }
            let leave_out = "leave it out to have one chosen";
            if !slot::is_usable(network, address) {
                let what = match network.contains(&address) {
                    true => "is the network or broadcast address of",
                    false => "is not in",
                };
                let message = format!("{address} {what} the service network {network}");
                return Err(refuse(service, problem(message, leave_out)));
            }
            if reserved.contains(&address) {
                let message = format!("{address} is the address of the cluster's DNS");
                return Err(refuse(service, problem(message, leave_out)));
            }
            if let Err(other) = slot.take(self.draft, &holder).await? {
                let message =
                    format!("{address} is already the cluster IP of service {}", other.service);
                return Err(refuse(service, problem(message, leave_out)));
            }
        }
        service.spec.cluster_ip = service.spec.cluster_ips.first().cloned();
        Ok(())
    }

    async fn settle_node_ports(
        &mut self,
        had: &BTreeSet<Slot>,
        service: &mut Service,
    ) -> Result<(), ApiError> {
        let holder = Holder::of(service);
        // Those that are given first: one that is chosen must not be in their way.
        for (at, port) in service.spec.ports.iter().enumerate() {
            let Some(number) = port.node_port else { continue };
            let field = format!("spec.ports[{at}].nodePort");
            let slot = Slot::NodePort(port.protocol, number);
            if let Err(problem) = self.take_port(had, slot, number, field, &holder).await? {
                return Err(refuse(service, problem));
            }
        }
        if spec::wants_node_ports(&service.spec) {
            for at in 0..service.spec.ports.len() {
                if service.spec.ports[at].node_port.is_none() {
                    let chosen = self.choose_port(service, at, &holder).await?;
                    service.spec.ports[at].node_port = Some(chosen);
                }
            }
        }
        if !spec::wants_health_check(&service.spec) {
            return Ok(());
        }
        let field = "spec.healthCheckNodePort".to_owned();
        match service.spec.health_check_node_port {
            Some(number) => {
                let slot = Slot::NodePort(Protocol::Tcp, number);
                let taken = self.take_port(had, slot, number, field, &holder).await?;
                taken.map_err(|problem| refuse(service, problem))
            }
            None => {
                let number = self.any_port(Protocol::Tcp, &holder).await?;
                let number = number.ok_or_else(|| refuse(service, self.no_port(field)))?;
                service.spec.health_check_node_port = Some(number);
                Ok(())
            }
        }
    }

    async fn take_port(
        &mut self,
        had: &BTreeSet<Slot>,
        slot: Slot,
        number: u16,
        field: String,
        holder: &Holder,
    ) -> Result<Result<(), Problem>, ApiError> {
        if had.contains(&slot) {
            return Ok(Ok(()));
        }
        let hint = "leave it out to have one chosen".to_owned();
        let range = &self.placement.config.services.node_ports;
        if !range.contains(&number) {
            let (first, last) = (range.start(), range.end());
            let message = format!("{number} is not in the range of node ports, {first}-{last}");
            return Ok(Err(Problem { field, message, hint }));
        }
        Ok(slot.take(self.draft, holder).await?.map_err(|other| {
            let message = format!("{slot} is already a node port of service {}", other.service);
            Problem { field, message, hint }
        }))
    }

    /// A port for one of the service's; the same number as that of its other protocols, if it is
    /// free.
    async fn choose_port(
        &mut self,
        service: &Service,
        at: usize,
        holder: &Holder,
    ) -> Result<u16, ApiError> {
        let ports = &service.spec.ports;
        let (number, protocol) = (ports[at].port, ports[at].protocol);
        let siblings = ports.iter().filter(|port| port.port == number && port.protocol != protocol);
        let siblings = siblings.filter_map(|port| port.node_port);
        let siblings = siblings.map(|number| Slot::NodePort(protocol, number));
        let chosen = Slot::take_first(siblings, self.draft, holder).await?;
        if let Some(Slot::NodePort(_, number)) = chosen {
            return Ok(number);
        }
        let found = self.any_port(protocol, holder).await?;
        let field = format!("spec.ports[{at}].nodePort");
        found.ok_or_else(|| refuse(service, self.no_port(field)))
    }

    async fn any_port(
        &mut self,
        protocol: Protocol,
        holder: &Holder,
    ) -> Result<Option<u16>, ApiError> {
        let numbers = slot::node_ports(&self.placement.config.services.node_ports, slot::random);
        let slots: Vec<Slot> = numbers.map(|number| Slot::NodePort(protocol, number)).collect();
        let taken = Slot::take_first(slots.into_iter(), self.draft, holder).await?;
        Ok(taken.and_then(|slot| match slot {
            Slot::NodePort(_, number) => Some(number),
            Slot::ClusterIp(_) | Slot::LoadBalancerIp(_) => None,
        }))
    }

    fn no_port(&self, field: String) -> Problem {
        let range = &self.placement.config.services.node_ports;
        Problem {
            field,
            message: format!("no node port is left of {}-{}", range.start(), range.end()),
            hint: "delete services, or make `services.node-ports` larger in netlabd.toml"
                .to_owned(),
        }
    }
}

impl Control {
    /// Gives addresses to load balancers that wait for one. To be called whenever one may be free.
    /// A failure is logged: whoever freed it is not to blame.
    pub(super) async fn balance_waiting(&self) {
        if let Err(error) = self.try_balance_waiting().await {
            tracing::warn!(%error, "failed to give addresses to load balancers that wait");
        }
    }

    async fn try_balance_waiting(&self) -> Result<(), ApiError> {
        let mut listing = self.store.list(WAITING).await.map_err(read_failed)?;
        // Who waits longest is served first.
        listing.entries.sort_by_key(|entry| entry.created);
        let key = |key: &str| key_of(key.strip_prefix(WAITING)?);
        let waiting: Vec<_> = listing.entries.iter().filter_map(|e| key(&e.key)).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        self.admit(&Wish::Balance(waiting), false).await.map(|_| ())
    }
}

impl Control {
    /// Has nodes and load balancers follow the configuration, if it is another than that of the
    /// daemon before.
    pub(super) async fn take_configuration(&self) -> Result<(), ApiError> {
        let before = self.spread_configuration().await?;
        let of_balancers = |settings: &ClusterSettings| {
            let services = settings.services.clone();
            services.map(|it| (it.load_balancer_pools, it.load_balancer_ip_mode))
        };
        if of_balancers(&before) == of_balancers(&self.config().settings()) {
            return Ok(());
        }
        let listing = self.store.list(LOAD_BALANCER_IPS).await.map_err(read_failed)?;
        let holders = listing.entries.iter();
        let holders = holders.filter_map(|entry| serde_json::from_slice(&entry.value).ok());
        // One that has addresses of both families is named twice.
        let services: BTreeSet<String> = holders.map(|holder: Holder| holder.service).collect();
        let keys: Vec<_> = services.iter().filter_map(|name| key_of(name)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        self.admit(&Wish::Rebalance(keys), false).await.map(|_| ())
    }
}

/// Gives back all that a service has which goes.
pub(super) async fn release(draft: &mut Draft<'_>, gone: &Service) -> Result<(), ApiError> {
    let holder = Holder::of(gone);
    for slot in Slot::of(gone) {
        slot.give_back(draft, &holder).await?;
    }
    draft.put_raw(waiting_path(gone), None);
    Ok(())
}

/// The service that is written as `default/web`.
fn key_of(service: &str) -> Option<ObjectKey> {
    let (namespace, name) = service.split_once('/')?;
    let (namespace, name) = (Some(namespace.to_owned()), name.to_owned());
    Some(ObjectKey { kind: Kind::Service, namespace, name })
}

fn refuse(service: &Service, problem: Problem) -> ApiError {
    let error = FieldError {
        field: problem.field,
        invalid_value: Some(problem.message.clone()),
        message: problem.message,
        hint: Some(problem.hint),
        in_key: false,
    };
    let object = Object::Service(service.clone());
    check(&object, vec![error]).expect_err("there is an error")
}
