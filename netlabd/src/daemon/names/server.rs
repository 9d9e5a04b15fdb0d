// SPDX-License-Identifier: GPL-3.0-or-later
//! The server of names, put together: the zone that the reconciler tells, the chain of a plan, the
//! sockets at the plan's addresses, and the pages.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use netlab_api::{EndpointSlice, Service};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::control::config::ClusterConfig;
use crate::dns::chain::{Chain, Clients, Notes, Parts};
use crate::dns::config::DnsConfig;
use crate::dns::http::Pages;
use crate::dns::name::Name;
use crate::dns::server::DnsServer;
use crate::dns::upstream::Upstreams;
use crate::dns::zone::{Zone, ZoneSettings};
use crate::error::chain;
use crate::node::Machine;
use crate::node::names::{Answers, NameServer, NamesPlan, Zone as Told};
use crate::node::pod::resolv_file;

/// The port of DNS.
const PORT: u16 = 53;

impl Told for Zone {
    fn put_service(&mut self, service: &Service) {
        Zone::put_service(self, service);
    }
    fn remove_service(&mut self, namespace: &str, name: &str) {
        Zone::remove_service(self, namespace, name);
    }
    fn keep_services(&mut self, kept: &dyn Fn(&str, &str) -> bool) {
        Zone::keep_services(self, kept);
    }
    fn put_slice(&mut self, slice: &EndpointSlice) {
        Zone::put_slice(self, slice);
    }
    fn remove_slice(&mut self, namespace: &str, name: &str) {
        Zone::remove_slice(self, namespace, name);
    }
    fn keep_slices(&mut self, kept: &dyn Fn(&str, &str) -> bool) {
        Zone::keep_slices(self, kept);
    }
    fn put_namespace(&mut self, name: &str) {
        Zone::put_namespace(self, name);
    }
    fn remove_namespace(&mut self, name: &str) {
        Zone::remove_namespace(self, name);
    }
    fn put_pod(&mut self, namespace: &str, name: &str, addresses: &[IpAddr]) {
        Zone::put_pod(self, namespace, name, addresses);
    }
    fn remove_pod(&mut self, namespace: &str, name: &str) {
        Zone::remove_pod(self, namespace, name);
    }
    fn set_synced(&mut self) {
        Zone::set_synced(self);
    }
}

/// What answers for names on this node.
pub(in crate::daemon) struct Answering {
    machine: Arc<Machine>,
    zone: Arc<RwLock<Zone>>,
    /// When the zone began to be told.
    started: Instant,
    clients: Arc<Clients>,
    notes: Arc<Notes>,
    /// The metrics of names alone, for their own page.
    registry: Arc<Mutex<Registry>>,
    server: Option<DnsServer>,
    pages: Option<Pages>,
    /// Of which plan the chain is.
    followed: Option<NamesPlan>,
    /// Of which configuration the pages are.
    shown: Option<DnsConfig>,
}

impl Answering {
    /// Makes the zone and lets the machine tell it; nothing is answered yet. Must be called in a
    /// runtime.
    ///
    /// # Errors
    /// When the cluster's domain is no name.
    pub(in crate::daemon) fn new(
        machine: Arc<Machine>,
        notes: Arc<Notes>,
    ) -> anyhow::Result<Answering> {
        let settings = zone_settings(&machine.options.cluster, &machine.names.plan())?;
        let mut zone = Zone::new(settings);
        // Secondary servers take a zone whose serial number grew.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        zone.continue_from(now.as_secs() as u32);
        let zone = Arc::new(RwLock::new(zone));
        machine.names.keep_in(zone.clone());
        let pods = machine.clone();
        let clients = Arc::new(Clients::new(move |address| pods.names.pod_at(address)));
        clients.set_pod_networks(machine.options.cluster.pod_networks.clone());
        let (told, mut nodes) = (clients.clone(), machine.names.nodes());
        nodes.mark_changed();
        tokio::spawn(async move {
            while nodes.changed().await.is_ok() {
                let addresses = nodes.borrow_and_update().clone();
                told.set_nodes(addresses);
            }
        });
        let mut registry = Registry::default();
        notes.metrics.register(&mut registry, env!("CARGO_PKG_VERSION"));
        let registry = Arc::new(Mutex::new(registry));
        Ok(Answering {
            machine,
            zone,
            started: Instant::now(),
            clients,
            notes,
            registry,
            server: None,
            pages: None,
            followed: None,
            shown: None,
        })
    }

    fn make_chain(&self, plan: &NamesPlan) -> anyhow::Result<Arc<Chain>> {
        let searches = resolv_file::of_node().searches;
        let upstreams = Upstreams::new(&plan.config, &plan.addresses, self.notes.metrics.clone());
        let made = Chain::new(Parts {
            config: Arc::new(plan.config.clone()),
            domain: domain(&self.machine.options.cluster)?,
            started: self.started,
            searches: searches.iter().filter_map(|search| search.parse().ok()).collect(),
            clients: self.clients.clone(),
            zone: self.zone.clone(),
            upstreams,
            notes: self.notes.clone(),
        })?;
        Ok(Arc::new(made))
    }

    async fn show_pages(&mut self, config: &DnsConfig) -> anyhow::Result<()> {
        let same = |shown: &DnsConfig| {
            let what =
                |it: &DnsConfig| (it.health.clone(), it.ready.clone(), it.prometheus.clone());
            what(shown) == what(config)
        };
        if self.shown.as_ref().is_some_and(same) {
            return Ok(());
        }
        self.shown = None;
        if let Some(pages) = self.pages.take() {
            pages.stop().await;
        }
        let (zone, registry) = (self.zone.clone(), self.registry.clone());
        let not_ready = Arc::new(move || {
            let synced = zone.read().unwrap_or_else(PoisonError::into_inner).is_synced();
            if synced { Vec::new() } else { vec!["kubernetes".to_owned()] }
        });
        let metrics = Arc::new(move || {
            let mut out = String::new();
            let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
            // Writing to a string cannot fail.
            let _ = text::encode(&mut out, &registry);
            out
        });
        let pages = Pages::start(config, not_ready, metrics, self.notes.metrics.clone()).await?;
        self.pages = Some(pages);
        self.shown = Some(config.clone());
        Ok(())
    }
}

#[async_trait::async_trait]
impl NameServer for Answering {
    async fn follow(&mut self, plan: &NamesPlan) -> anyhow::Result<()> {
        plan.config.check()?;
        let settings = zone_settings(&self.machine.options.cluster, plan)?;
        self.zone.write().unwrap_or_else(PoisonError::into_inner).configure(settings);
        if !plan.config.enabled {
            self.followed = None;
            self.machine.names.show(None);
            if let Some(server) = self.server.take() {
                server.stop(Duration::ZERO).await;
            }
            return self.show_pages(&DnsConfig::default()).await;
        }
        if self.followed.as_ref() != Some(plan) {
            let made = self.make_chain(plan)?;
            self.machine.names.show(Some(Answers {
                chain: made.clone(),
                zone: self.zone.clone(),
                notes: self.notes.clone(),
            }));
            match &self.server {
                Some(server) => server.set_chain(made),
                None => {
                    let netns = self.machine.netns.try_clone()?;
                    self.server = Some(DnsServer::start(made, Some(netns))?);
                }
            }
            self.notes.metrics.plugins(plugins(&plan.config));
            self.notes.metrics.configured(&fingerprint(&plan.config));
            self.followed = Some(plan.clone());
        }
        let cluster = plan.addresses.iter().map(|address| SocketAddr::new(*address, PORT));
        let wanted: Vec<SocketAddr> = cluster.chain(plan.config.listen.iter().copied()).collect();
        let errors = self.server.as_ref().map(|server| server.set_addresses(&wanted));
        self.show_pages(&plan.config).await?;
        let errors: Vec<String> = errors.iter().flatten().map(|error| chain(error)).collect();
        anyhow::ensure!(errors.is_empty(), "{}", errors.join("; "));
        Ok(())
    }

    async fn stop(&mut self, lameduck: Duration) {
        if let Some(pages) = &self.pages {
            pages.lameduck();
        }
        if let Some(server) = self.server.take() {
            server.stop(lameduck).await;
        }
        if let Some(pages) = self.pages.take() {
            pages.stop().await;
        }
    }
}

fn domain(cluster: &ClusterConfig) -> anyhow::Result<Name> {
    let domain = &cluster.domain;
    domain.parse().with_context(|| format!("cluster-domain `{domain}` is no domain name"))
}

/// What is on, by the names of CoreDNS's plugins.
fn plugins(config: &DnsConfig) -> Vec<&'static str> {
    let switched = [
        ("reload", !config.reload.interval.is_zero()),
        ("ready", config.ready.listen.is_some()),
        ("health", config.health.listen.is_some()),
        ("prometheus", config.prometheus.listen.is_some()),
        ("log", config.log.enabled),
        ("loadbalance", config.loadbalance.enabled),
        ("autopath", config.autopath.enabled),
        ("cache", config.cache.enabled),
        ("rewrite", !config.rewrite.is_empty()),
        ("hosts", !config.hosts.entries.is_empty()),
        ("transfer", !config.transfer.to.is_empty()),
        ("loop", config.loop_detection.enabled),
        ("forward", !config.forward.servers().is_empty()),
    ];
    let always = ["errors", "kubernetes"];
    always.into_iter().chain(switched.into_iter().filter(|it| it.1).map(|it| it.0)).collect()
}

/// What tells one configuration from another.
fn fingerprint(config: &DnsConfig) -> String {
    let text = serde_json::to_vec(config).expect("a configuration has a form");
    let digest = ring::digest::digest(&ring::digest::SHA512, &text);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a plan says of the zone.
fn zone_settings(cluster: &ClusterConfig, plan: &NamesPlan) -> anyhow::Result<ZoneSettings> {
    let config = &plan.config;
    let bound = config.listen.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
    let mut dns_addresses = plan.addresses.clone();
    if dns_addresses.is_empty() {
        dns_addresses.extend(bound);
    }
    let reverse = [&cluster.pod_networks[..], &cluster.services.networks].concat();
    Ok(ZoneSettings::of(config, domain(cluster)?, reverse, dns_addresses))
}
