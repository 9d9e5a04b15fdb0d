// SPDX-License-Identifier: GPL-3.0-or-later
//! What all parts of the node share: its options, its kernel handles, its queues.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ipnet::IpNet;
use netlab_api::node::{NodeAddress, NodeAddressKind, NodeInfo, NodeStatus};
use netlab_api::pod::{Condition, ConditionStatus};
use netlab_api::{ClusterSettings, Time};
use netlab_link::{
    Families, IfIndex, MAX_MTU, MIN_MTU_V4, MIN_MTU_V6, Netns, PodLinkId, RouteSocket, mark,
};
use nix::unistd::gethostname;

use super::hosts::HostsFiles;
use super::names::Names;
use super::network::{self, Network, NetworkError, NetworkOptions};
use super::overlap::{self, ClusterNetwork, Covered, OverlapError};
use super::pod::config::BackOff;
use super::pod::mounts::NodeMounts;
use super::pod::{Runtime, RuntimeError};
use super::proxy::metrics::ProxyMetrics;
use super::queue::ReportQueue;
use crate::control::cluster::PodIdentity;
use crate::control::config::ClusterConfig;
use crate::control::plane::ControlPlane;

/// MTU of pod links on a node without an uplink: Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// What a node is told.
#[derive(Debug, Clone)]
pub struct MachineOptions {
    /// Its name in the cluster.
    pub name: String,
    /// Runtime state; gone after a reboot, and that is right.
    pub run_dir: PathBuf,
    /// State that lasts.
    pub state_dir: PathBuf,
    /// The netlabd binary.
    pub program: PathBuf,
    /// The cluster's networks and names, as they were at the start; see [`Machine::config`].
    pub cluster: ClusterConfig,
    /// Pod links to keep ready.
    pub pool_size: usize,
    /// MTU of pod links; the uplink's unless given.
    pub mtu: Option<u32>,
    /// Bytes after which a pod's log is rotated.
    pub log_max_bytes: u64,
    /// Files of a pod's log that are kept.
    pub log_max_files: u32,
    /// Delays between restarts.
    pub back_off: BackOff,
}

/// Why a node cannot work.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The node's own network cannot be looked at.
    #[error("failed to look at the node's network: is CAP_NET_ADMIN missing?")]
    Look {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Pod links cannot have the MTU that they were told to have.
    #[error(transparent)]
    Mtu(#[from] MtuError),
    /// An address of the machine would be a pod's or a service's too.
    #[error(transparent)]
    Overlap(#[from] OverlapError),
    /// Pod links cannot be made here.
    #[error("failed to take over the node's pod links")]
    Network {
        /// Why.
        #[source]
        source: NetworkError,
    },
    /// Processes cannot be started here.
    #[error("failed to take over the node's pods")]
    Runtime {
        /// Why.
        #[source]
        source: RuntimeError,
    },
    /// The watcher of processes cannot be started.
    #[error("failed to watch the node's pods: is `fs.inotify.max_user_instances` too low?")]
    Watch {
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An MTU that pod links cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("mtu (--mtu) is {mtu}: give {least} to {MAX_MTU}; {}", self.reason())]
pub struct MtuError {
    mtu: u32,
    least: u32,
}

impl MtuError {
    fn reason(&self) -> &'static str {
        if self.least == MIN_MTU_V6 {
            "IPv6, which pods have, needs 1280, and with an IPv4 network alone in pod-networks 68 \
             are enough"
        } else {
            "below there is no IPv4, and no pod link takes more"
        }
    }
}

/// Whether links of pods with addresses of these networks can have an MTU.
///
/// # Errors
/// When they cannot.
pub fn check_mtu(mtu: u32, pod_networks: &[IpNet]) -> Result<(), MtuError> {
    let least = least_mtu(pod_networks);
    if (least..=MAX_MTU).contains(&mtu) { Ok(()) } else { Err(MtuError { mtu, least }) }
}

fn least_mtu(pod_networks: &[IpNet]) -> u32 {
    let has_v6 = pod_networks.iter().any(|network| network.addr().is_ipv6());
    if has_v6 { MIN_MTU_V6 } else { MIN_MTU_V4 }
}

/// This machine.
pub struct Machine {
    /// What it was told.
    pub options: MachineOptions,
    /// Its network namespace.
    pub netns: Netns,
    /// The cluster it belongs to.
    pub cluster: Arc<dyn ControlPlane>,
    /// Pods' processes.
    pub runtime: Runtime,
    /// Pods' hosts files.
    pub hosts: HostsFiles,
    /// Reports to the cluster.
    pub reports: Arc<ReportQueue>,
    /// MTU of pod links.
    pub mtu: u32,
    /// Which mounts pods share with the node.
    pub mounts: NodeMounts,
    /// How the programming of services goes.
    pub proxy: ProxyMetrics,
    /// The cluster's names.
    pub names: Names,
    network: Mutex<Network>,
    config: RwLock<Arc<ClusterConfig>>,
}

impl Machine {
    /// Takes over the machine. Blocking.
    ///
    /// # Errors
    /// When something that pods need cannot be had here.
    pub fn open(
        options: MachineOptions,
        cluster: Arc<dyn ControlPlane>,
    ) -> Result<Machine, MachineError> {
        let networks = &options.cluster.pod_networks;
        if let Some(mtu) = options.mtu {
            check_mtu(mtu, networks)?;
        }
        let look = |source: Box<dyn std::error::Error + Send + Sync>| MachineError::Look { source };
        let netns = Netns::current().map_err(|e| look(e.into()))?;
        let mut socket = RouteSocket::open_in(&netns).map_err(|e| look(e.into()))?;
        let around = overlap::check(&mut socket, &options.cluster)?;
        for covered in overlap::covered(&ClusterNetwork::all(&options.cluster), &around) {
            tracing::warn!("{covered}: {}", Covered::CURE);
        }
        let uplink = netlab_link::observe_uplink(&mut socket).map_err(|e| look(e.into()))?;
        let fits = uplink.map_or(DEFAULT_MTU, |uplink| uplink.link.mtu);
        let mtu = options.mtu.unwrap_or(fits.max(least_mtu(networks)));
        let families = Families {
            v4: networks.iter().any(|n| n.addr().is_ipv4()),
            v6: networks.iter().any(|n| n.addr().is_ipv6()),
        };
        let runtime = Runtime::new(&options.run_dir, &options.program)
            .map_err(|source| MachineError::Runtime { source })?;
        let network = Network::open(NetworkOptions {
            node: netns.try_clone().map_err(|e| look(e.into()))?,
            run_dir: options.run_dir.clone(),
            pool_size: options.pool_size,
            mtu,
            families,
            known: links_of_processes(&runtime),
        })
        .map_err(|source| MachineError::Network { source })?;
        let hosts = HostsFiles::new(options.run_dir.join("hosts"));
        let reports = Arc::default();
        let network = Mutex::new(network);
        let config = RwLock::new(Arc::new(options.cluster.clone()));
        let mounts = NodeMounts::default();
        let proxy = ProxyMetrics::new(Time::now());
        let names = Names::of(&options.cluster);
        Ok(Machine {
            options,
            netns,
            cluster,
            runtime,
            hosts,
            reports,
            mtu,
            mounts,
            proxy,
            names,
            network,
            config,
        })
    }

    /// The cluster's networks and names, as the server says now.
    pub fn config(&self) -> Arc<ClusterConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what the server says that nodes go by now.
    pub fn follow(&self, settings: &ClusterSettings) {
        let mut config = ClusterConfig::clone(&self.config());
        config.follow(settings);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// The node's links, for one short blocking call at a time.
    pub fn network(&self) -> std::sync::MutexGuard<'_, Network> {
        // A panic in between leaves kernel state half done, which the next look finds and mends.
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something that blocks on the pods' network off the async threads.
    pub async fn with_network<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Network) -> T + Send + 'static,
    ) -> T {
        let machine = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&mut machine.network())).await;
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// The pin of a link's network namespace.
    pub fn pin_path(&self, id: PodLinkId) -> PathBuf {
        id.pin(&network::pin_dir(&self.options.run_dir))
    }

    /// The folder of a pod's log files.
    pub fn log_dir(&self, pod: &PodIdentity) -> PathBuf {
        let PodIdentity { namespace, name, uid } = pod;
        self.options.state_dir.join("logs").join(format!("{namespace}_{name}_{uid}"))
    }

    /// Tells the cluster that something happened to a pod.
    pub fn pod_event(
        &self,
        pod: &PodIdentity,
        kind: netlab_api::event::EventKind,
        reason: &str,
        message: String,
    ) {
        let host = &self.options.name;
        let mut about = netlab_api::Pod::default();
        about.metadata.namespace = Some(pod.namespace.clone());
        about.metadata.name.clone_from(&pod.name);
        about.metadata.uid.clone_from(&pod.uid);
        let event =
            crate::control::event::event_about(&about.into(), kind, reason, message, "node", host);
        self.reports.event(event);
    }

    /// Tells the cluster that something happened to this node.
    pub fn node_event(&self, kind: netlab_api::event::EventKind, reason: &str, message: String) {
        let mut node = netlab_api::Node::default();
        node.metadata.name.clone_from(&self.options.name);
        let host = &self.options.name;
        let event =
            crate::control::event::event_about(&node.into(), kind, reason, message, "node", host);
        self.reports.event(event);
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// When its links cannot be listed.
    pub fn status(&self) -> Result<NodeStatus, MachineError> {
        let look = |source: Box<dyn std::error::Error + Send + Sync>| MachineError::Look { source };
        let mut socket = RouteSocket::open_in(&self.netns).map_err(|e| look(e.into()))?;
        let addresses = own_addresses(&mut socket).map_err(|e| look(e.into()))?;
        let hostname = gethostname().ok().and_then(|name| name.into_string().ok());
        let ips = addresses.into_iter().map(|address| NodeAddress {
            kind: NodeAddressKind::InternalIp,
            address: address.to_string(),
        });
        let names =
            hostname.map(|address| NodeAddress { kind: NodeAddressKind::Hostname, address });
        Ok(NodeStatus {
            conditions: vec![Condition {
                kind: "Ready".to_owned(),
                status: ConditionStatus::True,
                last_transition_time: None,
                reason: Some("NetlabdReady".to_owned()),
                message: Some("netlabd is running and its kernel is programmed".to_owned()),
            }],
            addresses: ips.chain(names).collect(),
            pod_blocks: Vec::new(),
            node_info: node_info(),
        })
    }
}

/// The links that processes were started with, by pod: a second record, should the first be lost.
fn links_of_processes(runtime: &Runtime) -> BTreeMap<String, PodLinkId> {
    let link = |uid: String| {
        let config = runtime.config(&uid).ok()??;
        let id = config.netns.file_name()?.to_str()?.parse().ok()?;
        Some((format!("{}/{}", config.namespace, config.name), id))
    };
    runtime.list().unwrap_or_default().into_iter().filter_map(link).collect()
}

/// Addresses of the node that others may reach: those of the uplink first, then of other links
/// that are not pods'; no loopback, no link-local ones.
fn own_addresses(socket: &mut RouteSocket) -> Result<Vec<IpAddr>, netlab_link::SocketError> {
    let uplink = netlab_link::observe_uplink(socket)?.map(|uplink| uplink.link.index);
    let mut addresses = socket.list_addresses()?;
    // Pods' links have no address, so however many there are, only a few are asked for.
    let indexes: BTreeSet<IfIndex> = addresses.iter().map(|address| address.dev).collect();
    let mut foreign = BTreeSet::new();
    for index in indexes.into_iter().filter(|index| *index != mark::LOOPBACK_INDEX) {
        let is_ours = |group| [mark::LINK_GROUP, mark::FABRIC_LINK_GROUP].contains(&group);
        if socket.get_link(index)?.is_some_and(|link| !is_ours(link.group)) {
            foreign.insert(index);
        }
    }
    addresses.retain(|address| foreign.contains(&address.dev));
    addresses
        .sort_by_key(|address| (Some(address.dev) != uplink, address.address.addr().is_ipv6()));
    let reachable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    Ok(addresses.into_iter().map(|address| address.address.addr()).filter(reachable).collect())
}

fn node_info() -> NodeInfo {
    let kernel_version = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    NodeInfo {
        kernel_version,
        os_image: os_image(Path::new("/etc/os-release")),
        architecture: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
        .to_owned(),
        netlab_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// `PRETTY_NAME` of os-release(5).
fn os_image(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .unwrap_or_default()
}
