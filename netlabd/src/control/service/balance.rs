// SPDX-License-Identifier: GPL-3.0-or-later
//! Addresses of load balancers, from the pools of the configuration.
//!
//! A service that gets none is no error: it waits, as in Kubernetes, with a record
//! `waiting/loadbalancer/<namespace>/<name>` by which it is found when an address is free.
//!
//! An address that a service has stays, also when its pool is taken out of the configuration:
//! clients know it. An event and `doctor` say so.

use std::net::IpAddr;

use ipnet::IpNet;
use netlab_api::event::EventKind;
use netlab_api::resource::Object;
use netlab_api::service::{IpFamily, LoadBalancerIngress, ServiceType};
use netlab_api::{ApiError, Service};
use serde_json::json;

use super::super::admission::Admission;
use super::super::event::{event_about, name_event, put_event};
use super::slot::{self, Holder, Slot};

/// Where services wait for an address.
pub(super) const WAITING: &str = "waiting/loadbalancer/";

pub(super) fn waiting_path(service: &Service) -> String {
    format!("{WAITING}{}", Holder::of(service).service)
}

impl Admission<'_, '_> {
    /// Gives a load balancer the addresses that it lacks, and forgets those that it may not have.
    pub(super) async fn settle_balancer(&mut self, service: &mut Service) -> Result<(), ApiError> {
        let config = &self.placement.config.services;
        let (pools, ip_mode) = (config.load_balancer_pools.clone(), config.load_balancer_ip_mode);
        let wished = service.spec.load_balancer_ip;
        if service.spec.kind != ServiceType::LoadBalancer {
            service.status.load_balancer.ingress.clear();
            return self.note_waiting(service, None).await;
        }
        let families = service.spec.ip_families.clone();
        let mut ingress = std::mem::take(&mut service.status.load_balancer.ingress);
        ingress.retain(|ingress| {
            let family = IpFamily::of(ingress.ip);
            let is_wished = wished.is_none_or(|ip| ip == ingress.ip || IpFamily::of(ip) != family);
            families.contains(&family) && is_wished
        });
        ingress.iter_mut().for_each(|ingress| ingress.ip_mode = ip_mode);
        let holder = Holder::of(service);
        let mut lacks = None;
        for family in families {
            if ingress.iter().any(|ingress| IpFamily::of(ingress.ip) == family) {
                continue;
            }
            let wished = wished.filter(|ip| IpFamily::of(*ip) == family);
            match self.balancer_ip(family, wished, &pools, &holder).await? {
                Ok(ip) => ingress.push(LoadBalancerIngress { ip, ip_mode }),
                // A pool of one family is enough for a service of both.
                Err(Lack::NoPool(why)) => lacks = lacks.or(Some((why, false))),
                Err(Lack::NoAddress(why)) => lacks = Some((why, true)),
            }
        }
        service.status.load_balancer.ingress = ingress;
        let has_some = !service.status.load_balancer.ingress.is_empty();
        let lacks = lacks.filter(|(_, waits)| *waits || !has_some).map(|(why, _)| why);
        self.note_waiting(service, lacks).await
    }

    async fn balancer_ip(
        &mut self,
        family: IpFamily,
        wished: Option<IpAddr>,
        pools: &[IpNet],
        holder: &Holder,
    ) -> Result<Result<IpAddr, Lack>, ApiError> {
        let pools: Vec<IpNet> =
            pools.iter().copied().filter(|pool| IpFamily::of(pool.addr()) == family).collect();
        let names = || pools.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ");
        if let Some(ip) = wished {
            if pool_of(&pools, ip).is_none() {
                let why = match pools.is_empty() {
                    true => format!("{ip} is in no pool: there is none"),
                    false => format!("{ip} is in no pool: pools are {}", names()),
                };
                return Ok(Err(Lack::NoAddress(why)));
            }
            let taken = Slot::LoadBalancerIp(ip).take(self.draft, holder).await?;
            return Ok(taken.map(|()| ip).map_err(|other| {
                Lack::NoAddress(format!("{ip} is already the address of service {}", other.service))
            }));
        }
        if pools.is_empty() {
            let family = family.as_str();
            let why = format!("there is no pool of {family} addresses: see `load-balancer.pools`");
            return Ok(Err(Lack::NoPool(why)));
        }
        let slots = pools.iter().flat_map(|pool| slot::pool(*pool));
        Ok(match Slot::take_first(slots, self.draft, holder).await? {
            Some(Slot::LoadBalancerIp(ip)) => Ok(ip),
            _ => Err(Lack::NoAddress(format!("no address is left in the pools {}", names()))),
        })
    }

    /// Keeps the record of a service that waits, and says so once for each reason.
    async fn note_waiting(
        &mut self,
        service: &Service,
        why: Option<String>,
    ) -> Result<(), ApiError> {
        let path = waiting_path(service);
        let known = self.draft.get_raw(&path).await?;
        let Some(why) = why else {
            if known.is_some() {
                self.draft.put_raw(path, None);
            }
            return Ok(());
        };
        let record = json!({ "uid": service.metadata.uid, "why": why });
        if known.as_ref() == Some(&record) {
            return Ok(());
        }
        self.draft.put_raw(path, Some(&record));
        let message = format!("no address for the load balancer: {why}");
        self.tell(service, "AllocationFailed", message).await
    }

    async fn tell(
        &mut self,
        service: &Service,
        reason: &str,
        message: String,
    ) -> Result<(), ApiError> {
        let about = Object::Service(service.clone());
        let mut event =
            event_about(&about, EventKind::Warning, reason, message, "service-controller", "");
        name_event(&mut event, self.now);
        put_event(self.draft, event).await
    }

    /// Gives a service an address that waited for one, if it still does.
    pub(in crate::control) async fn balance(&mut self, service: Service) -> Result<(), ApiError> {
        let mut settled = service.clone();
        self.settle_balancer(&mut settled).await?;
        if settled.status != service.status {
            self.draft.put(&settled.into());
        }
        Ok(())
    }

    /// Brings a load balancer in line with another configuration than it got its addresses by.
    pub(in crate::control) async fn rebalance(&mut self, service: Service) -> Result<(), ApiError> {
        let pools = &self.placement.config.services.load_balancer_pools;
        let ingress = service.status.load_balancer.ingress.iter();
        let strays: Vec<String> = ingress
            .filter(|ingress| pool_of(pools, ingress.ip).is_none())
            .map(|ingress| ingress.ip.to_string())
            .collect();
        if !strays.is_empty() {
            let message = format!(
                "keeps {}, which is in no pool of the configuration any more: make the service \
                 anew for another address",
                strays.join(", ")
            );
            self.tell(&service, "AddressOutsidePools", message).await?;
        }
        self.balance(service).await
    }
}

/// Why there is no address.
enum Lack {
    /// Nobody gave addresses of this family.
    NoPool(String),
    /// They are all taken, or the one that is wished for is.
    NoAddress(String),
}

fn pool_of(pools: &[IpNet], address: IpAddr) -> Option<&IpNet> {
    pools.iter().find(|pool| pool.contains(&address))
}
