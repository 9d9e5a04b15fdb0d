// SPDX-License-Identifier: GPL-3.0-or-later
//! What a daemon stands on: a store of its own, or the server of a cluster that it joined.
//!
//! From here on both are the same: the node follows a control plane and the socket serves a
//! cluster, and neither asks where these are.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use netlab_api::Time;
use netlab_api::client::{Client, Dial, Dialing, Io, Transport};

use tokio::sync::watch;

use super::config::Config;
use super::lock::StateLock;
use super::{STORE_DIR, store_options};
use crate::control::Control;
use crate::control::cluster::Cluster;
use crate::control::config::ClusterConfig;
use crate::control::plane::ControlPlane;
use crate::error::chain;
use crate::remote::{RemoteCluster, RemoteControlPlane, WayTo};
use crate::server::{BoundPort, NodePort, TunnelServer, Tunnels, bind_port};
use crate::store::SledStore;
use crate::trust::{Authority, Connector, JoinOptions, Membership, renewal};

/// What a daemon stands on.
pub(super) struct Seat {
    /// The cluster's networks and names.
    pub(super) config: ClusterConfig,
    /// For those who use the socket.
    pub(super) cluster: Arc<dyn Cluster>,
    /// For the node.
    pub(super) plane: Arc<dyn ControlPlane>,
    /// Connections to other nodes.
    pub(super) tunnels: Arc<Tunnels>,
    /// How pods of other nodes are reached.
    pub(super) way_to: WayTo,
    /// The decisions, where they are made.
    pub(super) control: Option<Arc<Control>>,
    /// Why the store refuses writes, where it is here.
    pub(super) refusal: Option<watch::Receiver<Option<String>>>,
    /// The port for nodes that join.
    pub(super) port: Option<BoundPort>,
    /// Where the one goes who serves what the server asks.
    pub(super) asked: Option<Arc<OnceLock<TunnelServer>>>,
    /// Keeps others from this state directory; a server's store does so itself.
    pub(super) _lock: Option<StateLock>,
}

impl Seat {
    /// Opens the store of this daemon, and the port for nodes if there is to be one.
    ///
    /// # Errors
    /// When either cannot be had.
    pub(super) async fn server(config: &Config, name: &str) -> anyhow::Result<Seat> {
        let store = SledStore::open(&config.state_dir.join(STORE_DIR), store_options())?;
        let refusal = store.refusal();
        let control = Control::open(Arc::new(store), config.cluster()?).await?;
        let control = control.with_node_grace(config.node_grace).with_home(name);
        let control = Arc::new(control);
        if let Some(mode) = config.route_mode {
            control.configure_route_mode(mode).await?;
        }
        if let Some(mode) = config.proxy_mode {
            control.configure_proxy_mode(mode).await?;
        }
        let port = match config.listen {
            Some(address) => Some(open_port(config, name, address, &control).await?),
            None => None,
        };
        let telling = control.clone();
        let tunnels = Tunnels::new(move |node, event| telling.tell_node(node, event));
        let ways = tunnels.clone();
        Ok(Seat {
            config: control.config().clone(),
            cluster: control.clone(),
            plane: control.clone(),
            tunnels,
            way_to: Box::new(move |node| ways.to(node)),
            control: Some(control),
            refusal: Some(refusal),
            port,
            asked: None,
            _lock: None,
        })
    }

    /// Joins a cluster, or takes up that it did. Waits for a server that does not answer yet.
    ///
    /// # Errors
    /// When the server refuses.
    pub(super) async fn member(config: &Config, options: &JoinOptions) -> anyhow::Result<Seat> {
        let lock = StateLock::take(&config.state_dir)?;
        let joined = crate::trust::join(options).await?;
        tracing::info!(server = joined.server, node = joined.node, "a node of the cluster");
        let connector = joined.connector;
        tokio::spawn(keep_certificate(connector.clone(), joined.node, config.state_dir.clone()));
        let to_server: Arc<dyn Dial> = Arc::new(ToServer(connector));
        let client = Arc::new(Client::new(Transport::Other(to_server.clone())));
        let asked: Arc<OnceLock<TunnelServer>> = Arc::default();
        let answering = asked.clone();
        let serve = Arc::new(move |upgraded| {
            // Until this daemon is ready nobody asks for its pods.
            if let Some(server) = answering.get() {
                server.serve(upgraded);
            }
        });
        Ok(Seat {
            config: joined.cluster,
            cluster: Arc::new(RemoteCluster::new(client.clone())),
            plane: Arc::new(RemoteControlPlane::new(client, serve, &config.state_dir)),
            tunnels: Tunnels::none(),
            // The server knows the way to every node.
            way_to: Box::new(move |_| to_server.clone()),
            control: None,
            refusal: None,
            port: None,
            asked: Some(asked),
            _lock: Some(lock),
        })
    }
}

/// The port for nodes, and the authority that they trust.
async fn open_port(
    config: &Config,
    name: &str,
    address: SocketAddr,
    control: &Arc<Control>,
) -> anyhow::Result<BoundPort> {
    let names = NodePort::names(name);
    let lifetime = config.certificate_lifetime;
    let authority = Authority::open(&config.state_dir, lifetime, &names, Time::now())?;
    let membership = Membership::new(control.clone(), Arc::new(authority), name.to_owned());
    Ok(bind_port(address, Arc::new(membership)).await?)
}

async fn keep_certificate(connector: Arc<Connector>, node: String, state_dir: PathBuf) {
    renewal::keep(&connector, &node, &state_dir).await;
}

/// The way to the server, as this node.
struct ToServer(Arc<Connector>);

impl Dial for ToServer {
    fn dial(&self) -> Dialing<'_> {
        Box::pin(async {
            let stream = self.0.connect().await;
            let stream = stream.map_err(|error| io::Error::other(chain(&error)))?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }

    fn describe(&self) -> String {
        self.0.server().to_string()
    }
}
