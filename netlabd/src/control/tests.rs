// SPDX-License-Identifier: GPL-3.0-or-later
//! Decisions over a real store. Nodes are played: they register, report and let go of pods.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use netlab_api::node::NodeStatus;
use netlab_api::pod::{Condition, ConditionStatus};
use netlab_api::resource::{Kind, Object};
use netlab_api::wire::{ApplyResponse, ApplyResult};
use netlab_api::{ApiError, Event, IpamBlock, Namespace, Node, Pod, Reason};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Control;
use super::cluster::{
    Cluster, DeleteOptions, Filter, ObjectKey, PodIdentity, PodStatusUpdate, Scope, WriteOptions,
};
use super::config::{ClusterConfig, ServiceConfig};
use crate::store::{Options, Revision, SledStore, Store};

mod admission;
mod endpoints;
mod eviction;
mod nodes;
mod placement;
mod programmed;
mod removal;
mod services;
mod status;
mod watches;

/// How long anything in a test may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A cluster without a server.
struct Lab {
    control: Arc<Control>,
    store: Arc<dyn Store>,
    _folder: TempDir,
}

impl Lab {
    /// With one node `n1` and one IPv4 network.
    async fn new() -> Lab {
        let lab = Lab::with_networks(&["10.42.0.0/16"]).await;
        lab.register("n1", true).await;
        lab
    }

    /// With one node `n1`; a silent node is lost after `grace`.
    async fn with_grace(grace: Duration) -> Lab {
        let lab = Lab::made(&["10.42.0.0/16"], grace).await;
        lab.register("n1", true).await;
        lab
    }

    /// Without a node.
    async fn with_networks(networks: &[&str]) -> Lab {
        Lab::made(networks, super::NODE_GRACE).await
    }

    async fn made(networks: &[&str], grace: Duration) -> Lab {
        Lab::configured(networks, Default::default(), grace).await
    }

    async fn configured(networks: &[&str], services: ServiceConfig, grace: Duration) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(SledStore::open(&folder.path().join("store"), Options::default()).unwrap());
        let config = ClusterConfig {
            pod_networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            cluster_dns: Vec::new(),
            domain: "cluster.local".to_owned(),
            services,
        };
        let control = Control::open(store.clone(), config).await.unwrap().with_node_grace(grace);
        let control = Arc::new(control);
        Lab { control, store, _folder: folder }
    }

    async fn register(&self, name: &str, ready: bool) {
        self.control.register_node(name, node_status(ready)).await.unwrap();
    }

    async fn apply(&self, objects: Vec<Object>) -> Result<ApplyResponse, ApiError> {
        self.control.apply(objects, WriteOptions::default()).await
    }

    async fn apply_one(&self, object: impl Into<Object>) -> ApplyResult {
        self.apply(vec![object.into()]).await.unwrap().items[0].result
    }

    async fn create(&self, object: impl Into<Object>) -> Result<Object, ApiError> {
        let options = WriteOptions { create: true, ..WriteOptions::default() };
        let mut answer = self.control.apply(vec![object.into()], options).await?;
        Ok(answer.items.remove(0).object)
    }

    async fn run(&self, name: &str) -> Pod {
        match self.create(pod(name)).await.unwrap() {
            Object::Pod(pod) => pod,
            other => panic!("a pod, not {other:?}"),
        }
    }

    async fn patch(&self, key: &ObjectKey, patch: Value) -> Result<Object, ApiError> {
        self.control.patch(key, patch, false).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<Object, ApiError> {
        self.control.delete(key, &DeleteOptions::default()).await
    }

    async fn finalize(&self, pods: &[&Pod]) {
        for pod in pods {
            let node = pod.spec.node_name.as_deref().unwrap_or_default();
            self.control.finalize_pods(node, vec![PodIdentity::of(pod)]).await.unwrap();
        }
    }

    async fn pod(&self, name: &str) -> Pod {
        match self.control.get(&pod_key(name)).await.unwrap() {
            Object::Pod(pod) => pod,
            other => panic!("a pod, not {other:?}"),
        }
    }

    async fn blocks(&self) -> Vec<IpamBlock> {
        let blocks = self.all(Kind::IpamBlock).await.into_iter();
        blocks.map(|object| if let Object::IpamBlock(b) = object { b } else { panic!() }).collect()
    }

    async fn events(&self) -> Vec<Event> {
        let events = self.all(Kind::Event).await.into_iter();
        events.map(|object| if let Object::Event(e) = object { e } else { panic!() }).collect()
    }

    async fn all(&self, kind: Kind) -> Vec<Object> {
        self.control.list(&scope(kind), &Filter::default()).await.unwrap().items
    }

    /// Addresses that blocks say are held.
    async fn held(&self) -> usize {
        self.blocks().await.iter().map(|block| block.spec.allocated.len()).sum()
    }

    async fn is_gone(&self, key: &ObjectKey) -> bool {
        self.control.get(key).await.is_err_and(|error| error.is_not_found())
    }
}

fn node_status(ready: bool) -> NodeStatus {
    let status = if ready { ConditionStatus::True } else { ConditionStatus::False };
    let ready = Condition {
        kind: "Ready".to_owned(),
        status,
        last_transition_time: None,
        reason: None,
        message: None,
    };
    NodeStatus { conditions: vec![ready], ..NodeStatus::default() }
}

fn pod(name: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = name.to_owned();
    pod
}

fn namespace(name: &str) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata.name = name.to_owned();
    namespace
}

fn object(value: Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn pod_key(name: &str) -> ObjectKey {
    ObjectKey { kind: Kind::Pod, namespace: Some("default".to_owned()), name: name.to_owned() }
}

fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey { kind, namespace: None, name: name.to_owned() }
}

fn scope(kind: Kind) -> Scope {
    Scope { kind, namespace: None }
}

/// Runs a test on several threads, so that what may race does.
fn run<F: Future<Output = ()>>(test: F) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.expect("it hangs") });
}
