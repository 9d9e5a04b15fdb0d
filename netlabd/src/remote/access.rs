// SPDX-License-Identifier: GPL-3.0-or-later
//! [`PodAccess`] to pods wherever they run: here, or by way of whoever reaches their node.

use std::sync::Arc;

use async_trait::async_trait;
use netlab_api::client::{Client, Dial, ExecOptions, LogOptions, NameQuery, Transport};
use netlab_api::dns::{DnsLogEntry, DnsRecords, DnsTrace};
use netlab_api::exec::Frame;
use netlab_api::proxy::{Flows, ProxyRules, ProxyRuleset};
use netlab_api::script::Script;
use netlab_api::wire::DoctorCheck;
use netlab_api::{ApiError, Pod, ProxyMode};
use tokio::sync::mpsc;

use super::failed;
use crate::control::access::{
    ExecRequest, ExecSession, FlowsRequest, LogCut, LogPieces, LogRequest, NameLogRequest,
    NameRequest, PodAccess, PodStream, RulesRequest, ScriptRequest,
};

/// Frames and pieces in flight in each direction.
const FRAMES: usize = 16;

/// The way to a node, by its name.
pub type WayTo = Box<dyn Fn(&str) -> Arc<dyn Dial> + Send + Sync>;

/// Pods of this node are served here, those of others where they are.
pub struct RoutedAccess {
    node: String,
    here: Arc<dyn PodAccess>,
    way_to: WayTo,
}

impl RoutedAccess {
    /// Access to the pods of `node` by `here`, to those of another in the `way_to` it.
    pub fn new(node: &str, here: Arc<dyn PodAccess>, way_to: WayTo) -> RoutedAccess {
        RoutedAccess { node: node.to_owned(), here, way_to }
    }

    /// A client for the node of a pod; `None` when it runs here, or nowhere yet.
    fn elsewhere(&self, pod: &Pod) -> Option<Client> {
        let node = pod.spec.node_name.as_deref().filter(|node| *node != self.node)?;
        Some(Client::new(Transport::Other((self.way_to)(node))))
    }
}

fn named(pod: &Pod) -> (&str, &str) {
    (pod.metadata.namespace.as_deref().unwrap_or_default(), &pod.metadata.name)
}

#[async_trait]
impl PodAccess for RoutedAccess {
    async fn exec(&self, pod: &Pod, request: ExecRequest) -> Result<ExecSession, ApiError> {
        let Some(client) = self.elsewhere(pod) else { return self.here.exec(pod, request).await };
        let ExecRequest { command, stdin, terminal } = request;
        let options = ExecOptions { command, stdin, terminal };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let (mut there, mut from_there) =
            client.exec(namespace, &pod.metadata.name, &options).await.map_err(failed)?;
        let (input, mut to_send) = mpsc::channel::<Frame>(FRAMES);
        let (to_show, output) = mpsc::channel(FRAMES);
        tokio::spawn(async move {
            let forward = async {
                while let Some(frame) = to_send.recv().await {
                    if there.send(frame).await.is_err() {
                        // The command takes no more input, and may still say something.
                        std::future::pending::<()>().await;
                    }
                }
            };
            let back = async {
                while let Ok(Some(frame)) = from_there.next().await {
                    if to_show.send(frame).await.is_err() {
                        return;
                    }
                }
            };
            // Either end that goes takes the connection, and so the other, with it.
            tokio::select! {
                () = forward => {}
                () = back => {}
            }
        });
        Ok(ExecSession { input, output })
    }

    async fn logs(&self, pod: &Pod, request: LogRequest) -> Result<LogPieces, ApiError> {
        let Some(client) = self.elsewhere(pod) else { return self.here.logs(pod, request).await };
        let options = LogOptions {
            follow: request.follow,
            tail_lines: request.tail.map(|lines| lines as u64),
            since_seconds: request.since.map(|since| since.as_secs()),
            timestamps: request.timestamps,
            previous: request.previous,
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut stream =
            client.logs(namespace, &pod.metadata.name, &options).await.map_err(failed)?;
        let (to_show, lines) = mpsc::channel(FRAMES);
        tokio::spawn(async move {
            loop {
                let piece = tokio::select! {
                    piece = stream.next() => piece,
                    () = to_show.closed() => return,
                };
                let Some(piece) = piece.map_err(|_| LogCut).transpose() else { return };
                let is_last = piece.is_err();
                if to_show.send(piece).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok(lines)
    }

    async fn forward(&self, pod: &Pod, port: u16) -> Result<Box<dyn PodStream>, ApiError> {
        let Some(client) = self.elsewhere(pod) else { return self.here.forward(pod, port).await };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let there = client.forward(namespace, &pod.metadata.name, port).await.map_err(failed)?;
        Ok(Box::new(there))
    }

    async fn doctor(&self) -> Vec<DoctorCheck> {
        self.here.doctor().await
    }

    async fn proxy_rules(&self, request: RulesRequest) -> Result<ProxyRules, ApiError> {
        self.here.proxy_rules(request).await
    }

    async fn ruleset(&self, mode: Option<ProxyMode>) -> Result<ProxyRuleset, ApiError> {
        self.here.ruleset(mode).await
    }

    async fn flows(&self, request: FlowsRequest) -> Result<Flows, ApiError> {
        self.here.flows(request).await
    }

    async fn script(&self, request: ScriptRequest) -> Result<Script, ApiError> {
        if let ScriptRequest::Pod(pod) = &request
            && let Some(client) = self.elsewhere(pod)
        {
            let (namespace, name) = named(pod);
            return client.explain_pod(namespace, name).await.map_err(failed);
        }
        self.here.script(request).await
    }

    async fn look_up(&self, pod: Option<&Pod>, request: NameRequest) -> Result<DnsTrace, ApiError> {
        let Some((client, pod)) = pod.and_then(|pod| Some((self.elsewhere(pod)?, pod))) else {
            return self.here.look_up(pod, request).await;
        };
        let query = NameQuery {
            name: &request.name,
            kinds: &request.kinds,
            pod: Some(named(pod)),
            namespace: None,
        };
        client.dns_query(&query).await.map_err(failed)
    }

    async fn names(&self, namespace: Option<String>) -> Result<DnsRecords, ApiError> {
        self.here.names(namespace).await
    }

    async fn name_log(
        &self,
        pod: Option<&Pod>,
        request: NameLogRequest,
    ) -> Result<mpsc::Receiver<DnsLogEntry>, ApiError> {
        let Some((client, pod)) = pod.and_then(|pod| Some((self.elsewhere(pod)?, pod))) else {
            return self.here.name_log(pod, request).await;
        };
        let tail = request.tail.map(|lines| lines as u64);
        let mut stream =
            client.dns_log(Some(named(pod)), request.follow, tail).await.map_err(failed)?;
        let (to_show, entries) = mpsc::channel(FRAMES);
        tokio::spawn(async move {
            loop {
                let entry = tokio::select! {
                    entry = stream.next() => entry,
                    () = to_show.closed() => return,
                };
                let Ok(Some(entry)) = entry else { return };
                if to_show.send(entry).await.is_err() {
                    return;
                }
            }
        });
        Ok(entries)
    }

    fn ailment(&self) -> Option<String> {
        self.here.ailment()
    }
}
