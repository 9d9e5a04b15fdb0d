// SPDX-License-Identifier: GPL-3.0-or-later
//! What a joined node and its server say to each other, and what holds between nodes.

use hyper::Method;
use hyper::upgrade::Upgraded;

use super::exchange::empty;
use super::query::escape;
use super::{Client, ClientError, Query, ViewStream};
use crate::view::{NetworkSettings, NodeReport, ReportAnswer, TUNNEL_PROTOCOL};

impl Client {
    /// For a node: what concerns it, or what is different since `from`.
    pub async fn view(&self, node: &str, from: Option<u64>) -> Result<ViewStream, ClientError> {
        let mut query = Query::new(node_path(node, "view"));
        if let Some(revision) = from {
            query = query.set("resourceVersion", revision.to_string());
        }
        let response = self.open(empty(Method::GET, &query.into_path())?).await?.0;
        Ok(ViewStream::new(response.into_body()))
    }

    /// For a node: what it says of itself and its pods.
    pub async fn report(
        &self,
        node: &str,
        report: &NodeReport,
    ) -> Result<ReportAnswer, ClientError> {
        self.json(Method::POST, &node_path(node, "report"), Some(report)).await
    }

    /// For a node: a connection on which the server asks and the node answers.
    pub async fn tunnel(&self, node: &str, tunnel: u64) -> Result<Upgraded, ClientError> {
        let path = node_path(node, &format!("tunnels/{tunnel}"));
        self.upgrade(&path, None::<&()>, TUNNEL_PROTOCOL).await
    }

    /// What holds for the pod network.
    pub async fn network(&self) -> Result<NetworkSettings, ClientError> {
        self.json(Method::GET, "/v1/network", None::<&()>).await
    }

    /// Changes what holds for the pod network.
    pub async fn set_network(
        &self,
        settings: &NetworkSettings,
    ) -> Result<NetworkSettings, ClientError> {
        self.json(Method::PUT, "/v1/network", Some(settings)).await
    }
}

fn node_path(node: &str, what: &str) -> String {
    format!("/v1/nodes/{}/{what}", escape(node))
}
