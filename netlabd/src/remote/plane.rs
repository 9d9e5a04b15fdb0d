// SPDX-License-Identifier: GPL-3.0-or-later
//! [`ControlPlane`] by way of the server's API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::upgrade::Upgraded;
use netlab_api::client::{Client, ClientError, ViewStream};
use netlab_api::view::{NetworkSettings, NodeReport, ReportAnswer, ViewEvent, ViewSnapshot};
use netlab_api::{ApiError, Reason};

use super::memory::Memory;
use super::{ANSWER, failed, silent, within};
use crate::control::cluster::{Cluster, Filter, Objects, Scope};
use crate::control::plane::{ControlPlane, NodeView};
use crate::remote::RemoteCluster;
use crate::store::Revision;

/// A server that said nothing for so long is gone, whatever TCP believes: it speaks every two
/// seconds.
const SILENCE: Duration = Duration::from_secs(8);

/// Serves what the server asks on a tunnel.
pub type ServeTunnel = Arc<dyn Fn(Upgraded) + Send + Sync>;

/// What a joined node asks of its server and tells it.
pub struct RemoteControlPlane {
    client: Arc<Client>,
    cluster: RemoteCluster,
    serve: ServeTunnel,
    memory: Arc<Memory>,
}

impl RemoteControlPlane {
    /// The server that `client` reaches; what it asks in tunnels is answered by `serve`. What it
    /// told last is kept in `state_dir`.
    pub fn new(client: Arc<Client>, serve: ServeTunnel, state_dir: &Path) -> RemoteControlPlane {
        let cluster = RemoteCluster::new(client.clone());
        RemoteControlPlane { client, cluster, serve, memory: Memory::of(state_dir) }
    }

    async fn open_view(&self, node: &str, from: Option<Revision>) -> Result<ViewStream, ApiError> {
        let view = self.client.view(node, from.map(|from| from.0));
        within(SILENCE, view).await
    }
}

#[async_trait]
impl ControlPlane for RemoteControlPlane {
    async fn view(
        &self,
        node: &str,
        from: Option<Revision>,
    ) -> Result<Box<dyn NodeView>, ApiError> {
        let error = match self.open_view(node, from).await {
            Ok(stream) => {
                return Ok(Box::new(RemoteView {
                    stream,
                    client: self.client.clone(),
                    node: node.to_owned(),
                    serve: self.serve.clone(),
                    memory: self.memory.clone(),
                }));
            }
            Err(error) => error,
        };
        match error.reason {
            Reason::Forbidden => self.memory.forget(),
            Reason::ServiceUnavailable if from.is_none() => {
                if let Some(snapshot) = self.memory.recall() {
                    let revision = snapshot.revision;
                    tracing::warn!(%error, revision, "going on with what was seen last");
                    return Ok(Box::new(RecalledView {
                        snapshot: Some(Box::new(snapshot)),
                        error,
                    }));
                }
            }
            _ => {}
        }
        Err(error)
    }

    async fn report(&self, node: &str, report: NodeReport) -> Result<ReportAnswer, ApiError> {
        within(ANSWER, self.client.report(node, &report)).await
    }

    async fn list(&self, scope: &Scope, filter: &Filter) -> Result<Objects, ApiError> {
        self.cluster.list(scope, filter).await
    }

    async fn network_settings(&self) -> Result<NetworkSettings, ApiError> {
        self.cluster.network().await
    }

    async fn await_programmed(
        &self,
        revision: Revision,
        timeout: Duration,
    ) -> Result<(), ApiError> {
        self.cluster.programmed(revision, timeout).await.map(|_| ())
    }
}

struct RemoteView {
    stream: ViewStream,
    client: Arc<Client>,
    node: String,
    serve: ServeTunnel,
    memory: Arc<Memory>,
}

/// What was seen last, for a node that starts while its server is away.
struct RecalledView {
    snapshot: Option<Box<ViewSnapshot>>,
    error: ApiError,
}

#[async_trait]
impl NodeView for RecalledView {
    async fn next(&mut self) -> Result<ViewEvent, ApiError> {
        // Whoever follows asks the server again from there.
        self.snapshot.take().map(ViewEvent::Snapshot).ok_or_else(|| self.error.clone())
    }
}

#[async_trait]
impl NodeView for RemoteView {
    async fn next(&mut self) -> Result<ViewEvent, ApiError> {
        loop {
            let event = self.stream.next(SILENCE).await.map_err(|error| match error {
                ClientError::NoAnswer { .. } => silent(),
                error => failed(error),
            })?;
            match event {
                Some(ViewEvent::Ping) => {}
                Some(ViewEvent::Dial { tunnel }) => self.dial_back(tunnel),
                Some(event) => {
                    self.memory.see(&event);
                    return Ok(event);
                }
                None => {
                    return Err(ApiError::new(
                        Reason::ServiceUnavailable,
                        "the cluster's server ended this node's view",
                    ));
                }
            }
        }
    }
}

impl RemoteView {
    fn dial_back(&self, tunnel: u64) {
        let (client, node, serve) = (self.client.clone(), self.node.clone(), self.serve.clone());
        tokio::spawn(async move {
            match client.tunnel(&node, tunnel).await {
                Ok(upgraded) => serve(upgraded),
                Err(error) => {
                    let error = crate::error::chain(&error);
                    tracing::warn!(%error, "the server asked for a tunnel and did not get it");
                }
            }
        });
    }
}
