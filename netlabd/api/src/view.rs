// SPDX-License-Identifier: GPL-3.0-or-later
//! What a node sees of its cluster, and what it says back.
//!
//! A node is told what its own kernel must reflect and nothing else: its pods whole, the names of
//! other pods in namespaces that it runs pods of, all services with their endpoints, and where each
//! node and its address blocks are.
//! So a change costs only those whom it concerns, however many nodes there are.
//!
//! ```text
//!   server ──► Snapshot, then Changes … ──► node        one line of JSON each
//!   server ◄── Report ◄─────────────────── node         an empty one says that it is alive
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::endpoint_slice::ZONE_LABEL;
use crate::node::NodeStatus;
use crate::pod::PodStatus;
use crate::{
    ClusterSettings, DnsSettings, EndpointSlice, Event, Node, ObjectMeta, Pod, ProxyMode,
    RouteMode, Service,
};

/// Value of the `Upgrade` header of a tunnel: from then on the server sends HTTP requests and the
/// node answers.
pub const TUNNEL_PROTOCOL: &str = "netlab-tunnel/1";

/// One line of a node's view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum ViewEvent {
    /// All there is; what is not in it is gone.
    Snapshot(Box<ViewSnapshot>),
    /// What is different since the line before.
    Changes(ViewChanges),
    /// Nothing happened; the server is still there.
    Ping,
    /// Somebody wants to talk to this node: open a tunnel with this number.
    Dial {
        /// The number.
        tunnel: u64,
    },
}

/// All that concerns a node, as of one revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewSnapshot {
    /// The revision.
    pub revision: u64,
    /// How blocks of other nodes are reached.
    #[serde(flatten)]
    pub routing: Routing,
    /// All nodes, this one too.
    pub nodes: Vec<ViewNode>,
    /// The pods of this node.
    pub pods: Vec<Pod>,
    /// Pods of other nodes in namespaces of which this node has pods; in all namespaces, if the
    /// settings for names say so.
    pub names: Vec<ViewNames>,
    /// Which layout of rules carries services.
    #[serde(default)]
    pub proxy_mode: ProxyMode,
    /// What nodes go by when they answer for names; as it was when the node joined, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsSettings>,
    /// All namespaces.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// What of the server's configuration nodes go by.
    #[serde(default)]
    pub settings: ClusterSettings,
    /// All services, shared by all that look at them.
    #[serde(default)]
    pub services: Vec<Arc<Service>>,
    /// All slices of endpoints, shared likewise.
    #[serde(default)]
    pub slices: Vec<Arc<EndpointSlice>>,
}

impl ViewSnapshot {
    /// The same view after `changes`, which came after it.
    pub fn apply(&mut self, changes: ViewChanges) {
        self.revision = self.revision.max(changes.revision);
        for change in changes.changes {
            self.apply_one(change);
        }
    }

    fn apply_one(&mut self, change: ViewChange) {
        match change {
            ViewChange::Pod(pod) => {
                self.pods.retain(|known| known.metadata.uid != pod.metadata.uid);
                self.pods.push(*pod);
            }
            ViewChange::PodGone { uid, .. } => self.pods.retain(|pod| pod.metadata.uid != uid),
            ViewChange::Names(names) => {
                self.names.retain(|known| known.namespace != names.namespace);
                self.names.push(names);
            }
            ViewChange::Name { namespace, pod } => {
                let names = self.names_of(namespace);
                names.retain(|known| known.name != pod.name);
                names.push(pod);
            }
            ViewChange::NameGone { namespace, name } => {
                self.names_of(namespace).retain(|known| known.name != name);
            }
            ViewChange::Node(node) => {
                self.nodes.retain(|known| known.name != node.name);
                self.nodes.push(node);
            }
            ViewChange::NodeGone { name } => self.nodes.retain(|known| known.name != name),
            ViewChange::Routing(routing) => self.routing = routing,
            ViewChange::ProxyMode(mode) => self.proxy_mode = mode,
            ViewChange::Settings(settings) => self.settings = *settings,
            ViewChange::Dns(settings) => self.dns = Some(*settings),
            ViewChange::Namespace { name } => {
                if !self.namespaces.contains(&name) {
                    self.namespaces.push(name);
                }
            }
            ViewChange::NamespaceGone { name } => self.namespaces.retain(|known| *known != name),
            ViewChange::Service(service) => {
                let named = |it: &Service| same_name(&it.metadata, &service.metadata);
                self.services.retain(|known| !named(known));
                self.services.push(service);
            }
            ViewChange::ServiceGone { namespace, name } => {
                self.services.retain(|known| !is_named(&known.metadata, &namespace, &name));
            }
            ViewChange::Slice(slice) => {
                let named = |it: &EndpointSlice| same_name(&it.metadata, &slice.metadata);
                self.slices.retain(|known| !named(known));
                self.slices.push(slice);
            }
            ViewChange::SliceGone { namespace, name } => {
                self.slices.retain(|known| !is_named(&known.metadata, &namespace, &name));
            }
        }
    }

    fn names_of(&mut self, namespace: String) -> &mut Vec<PodName> {
        let place = self.names.iter().position(|known| known.namespace == namespace);
        let place = place.unwrap_or_else(|| {
            self.names.push(ViewNames { namespace, pods: Vec::new() });
            self.names.len() - 1
        });
        &mut self.names[place].pods
    }
}

fn is_named(metadata: &ObjectMeta, namespace: &str, name: &str) -> bool {
    metadata.name == name && metadata.namespace.as_deref() == Some(namespace)
}

fn same_name(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    one.name == other.name && one.namespace == other.namespace
}

/// What is different, up to one revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewChanges {
    /// The revision.
    pub revision: u64,
    /// In order.
    pub changes: Vec<ViewChange>,
}

/// One thing that is different.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ViewChange {
    /// A pod of this node is new, or is to be otherwise.
    Pod(Box<Pod>),
    /// A pod of this node is gone.
    PodGone {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid; a younger pod may have the name by now.
        uid: String,
    },
    /// All pods of other nodes in one namespace.
    Names(ViewNames),
    /// A pod of another node has a name and addresses.
    Name {
        /// Its namespace.
        namespace: String,
        /// The rest.
        #[serde(flatten)]
        pod: PodName,
    },
    /// A pod of another node is gone.
    NameGone {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A node is new, or has other addresses or blocks.
    Node(ViewNode),
    /// A node was deleted.
    NodeGone {
        /// Its name.
        name: String,
    },
    /// Blocks of other nodes are reached in another way.
    Routing(Routing),
    /// Another layout of rules carries services.
    ProxyMode(ProxyMode),
    /// The server has another configuration.
    Settings(Box<ClusterSettings>),
    /// Names are to be answered for otherwise.
    Dns(Box<DnsSettings>),
    /// A namespace is new.
    Namespace {
        /// Its name.
        name: String,
    },
    /// A namespace is gone.
    NamespaceGone {
        /// Its name.
        name: String,
    },
    /// A service is new, or is to be otherwise.
    Service(Arc<Service>),
    /// A service is gone.
    ServiceGone {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A slice of endpoints is new, or is to be otherwise.
    Slice(Arc<EndpointSlice>),
    /// A slice of endpoints is gone.
    SliceGone {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// How blocks of other nodes are reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Routing {
    /// The mode.
    pub route_mode: RouteMode,
    /// Takes encapsulated packets whatever the mode: the next mode sends them, and no node may
    /// send what another does not take yet.
    pub accept_encapsulated: bool,
}

impl Routing {
    /// Whether packets may be encapsulated, now or soon.
    pub fn may_encapsulate(self) -> bool {
        self.accept_encapsulated || self.route_mode.may_encapsulate()
    }
}

/// Where a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewNode {
    /// Its name.
    pub name: String,
    /// Addresses under which other nodes reach it, the uplink's first.
    pub addresses: Vec<IpAddr>,
    /// Address blocks that it owns.
    #[schemars(with = "Vec<String>")]
    pub blocks: Vec<IpNet>,
    /// Whether it is ready: one of these announces the addresses of load balancers.
    #[serde(default)]
    pub ready: bool,
    /// The zone that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

impl ViewNode {
    /// What other nodes have to know of `node`.
    pub fn of(node: &Node) -> ViewNode {
        ViewNode {
            name: node.metadata.name.clone(),
            addresses: node.internal_ips().collect(),
            blocks: node.status.pod_blocks.clone(),
            ready: node.is_ready(),
            zone: node.metadata.labels.get(ZONE_LABEL).cloned(),
        }
    }
}

/// Names of pods in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViewNames {
    /// The namespace.
    pub namespace: String,
    /// The pods.
    pub pods: Vec<PodName>,
}

/// A pod as its neighbours know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodName {
    /// Its name.
    pub name: String,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Its host name, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Its subdomain, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
}

/// What a node says of itself and its pods. Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodeReport {
    /// What the node is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<NodeStatus>,
    /// How far its kernel is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programmed: Option<ProgrammedReport>,
    /// What became of pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodReport>,
    /// Pods whose processes and network are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalized: Vec<PodIdentity>,
    /// What happened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
}

/// How far a node's kernel is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProgrammedReport {
    /// The revision that it reflects.
    pub revision: u64,
    /// What it could not program, and why; as `pod/default/web: …`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}

/// What became of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodReport {
    /// Which pod.
    pub pod: PodIdentity,
    /// Its status; addresses in it are ignored, they are the cluster's to say.
    pub status: PodStatus,
}

/// Names one pod at one point of its life.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl PodIdentity {
    /// Names `pod` at this point of its life.
    pub fn of(pod: &Pod) -> PodIdentity {
        PodIdentity {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
        }
    }
}

/// What the server answers to a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportAnswer {
    /// Milliseconds after which the server wants to hear of the node again, at the latest.
    pub heartbeat_millis: u64,
}

/// What holds for the pod network of the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkSettings {
    /// How blocks of other nodes are reached.
    pub route_mode: RouteMode,
    /// Which layout of rules carries services; as it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_mode: Option<ProxyMode>,
    /// Where pods get addresses from. Not to be changed while the cluster lives.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub pod_networks: Vec<IpNet>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_survives_the_wire() {
        let name = PodName {
            name: "web-0".to_owned(),
            addresses: vec![IpAddr::from([10, 42, 0, 1])],
            ..PodName::default()
        };
        let events = [
            ViewEvent::Snapshot(Box::default()),
            ViewEvent::Ping,
            ViewEvent::Dial { tunnel: 7 },
            ViewEvent::Changes(ViewChanges {
                revision: 3,
                changes: vec![
                    ViewChange::Pod(Box::default()),
                    ViewChange::Name { namespace: "default".to_owned(), pod: name },
                    ViewChange::NodeGone { name: "n2".to_owned() },
                    ViewChange::Routing(Routing {
                        route_mode: RouteMode::Vxlan,
                        accept_encapsulated: true,
                    }),
                ],
            }),
        ];
        for event in events {
            let text = serde_json::to_string(&event).expect("serialises");
            let back: ViewEvent = serde_json::from_str(&text).expect(&text);
            assert_eq!(back, event, "{text}");
        }
    }

    fn pod(uid: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.uid = uid.to_owned();
        pod
    }

    #[test]
    fn changes_lead_from_one_snapshot_to_the_next() {
        let name = |name: &str| PodName { name: name.to_owned(), ..PodName::default() };
        let node = |name: &str| ViewNode { name: name.to_owned(), ..ViewNode::default() };
        let mut view = ViewSnapshot {
            revision: 4,
            nodes: vec![node("n1"), node("n2")],
            pods: vec![pod("a"), pod("b")],
            ..ViewSnapshot::default()
        };
        let routing = Routing { route_mode: RouteMode::Vxlan, accept_encapsulated: false };
        let (namespace, gone) = ("default".to_owned(), "x".to_owned());
        let mut newer = node("n2");
        newer.blocks.push("10.42.0.64/26".parse().expect("a block"));
        view.apply(ViewChanges {
            revision: 9,
            changes: vec![
                ViewChange::PodGone {
                    namespace: namespace.clone(),
                    name: "b".to_owned(),
                    uid: "b".to_owned(),
                },
                ViewChange::Pod(Box::new(pod("c"))),
                ViewChange::Name { namespace: namespace.clone(), pod: name("x") },
                ViewChange::Name { namespace: namespace.clone(), pod: name("y") },
                ViewChange::NameGone { namespace: namespace.clone(), name: gone },
                ViewChange::Node(newer.clone()),
                ViewChange::NodeGone { name: "n1".to_owned() },
                ViewChange::Routing(routing),
                ViewChange::Namespace { name: "shop".to_owned() },
                ViewChange::Namespace { name: "shop".to_owned() },
                ViewChange::Namespace { name: "default".to_owned() },
                ViewChange::NamespaceGone { name: "default".to_owned() },
                ViewChange::Dns(Box::new(DnsSettings { all_pods: true, ..DnsSettings::default() })),
            ],
        });
        let expected = ViewSnapshot {
            revision: 9,
            routing,
            nodes: vec![newer],
            pods: vec![pod("a"), pod("c")],
            names: vec![ViewNames { namespace, pods: vec![name("y")] }],
            namespaces: vec!["shop".to_owned()],
            dns: Some(DnsSettings { all_pods: true, ..DnsSettings::default() }),
            ..ViewSnapshot::default()
        };
        assert_eq!(view, expected);
    }

    #[test]
    fn a_view_from_before_settings_travelled_is_understood() {
        let text = r#"{"revision":3,"routeMode":"auto","acceptEncapsulated":false,"nodes":[],
            "pods":[],"names":[],"proxyMode":"iptables"}"#;
        let view: ViewSnapshot = serde_json::from_str(text).expect("an older view");
        assert_eq!((view.revision, view.settings), (3, ClusterSettings::default()));
    }

    #[test]
    fn an_empty_report_is_two_bytes() {
        assert_eq!(serde_json::to_string(&NodeReport::default()).expect("serialises"), "{}");
    }
}
