// SPDX-License-Identifier: GPL-3.0-or-later
//! The services of a stage. Their endpoints are written by hand, so that each condition and hint
//! is there that an endpoint may have.

use serde_json::{Value, json};

/// Port at which servers listen.
const SERVER_PORT: u16 = 8080;

/// External addresses of service `outer`.
pub(crate) const OUTER: [&str; 2] = ["198.51.100.10", "2001:db8:51::10"];

/// An address of each service network that no service gets: addresses are given from above the
/// lowest ones, which are for those who ask.
pub(crate) const UNALLOCATED: [&str; 2] = ["10.43.0.200", "fd43::c8"];

/// How an endpoint is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    /// It takes connections.
    Ready,
    /// It is being deleted, and serves.
    Lingers,
    /// It takes none.
    Unready,
    /// It takes those of a zone.
    ForZone(&'static str),
    /// It takes those of a node.
    ForNode(&'static str),
}

/// A server by its name, and how it is.
type Endpoint = (&'static str, How);

/// A service and its endpoints.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) name: &'static str,
    spec: Value,
    endpoints: Vec<Endpoint>,
    /// Families in which it has endpoints.
    families: &'static [usize],
    /// Endpoints that only one protocol has.
    parted: &'static [(&'static str, &'static str)],
}

/// A service that is more than a cluster IP says so in `spec`.
pub(crate) fn offer(name: &'static str, spec: Value, servers: &[&'static str]) -> Offer {
    let endpoints = servers.iter().map(|server| (*server, How::Ready)).collect();
    Offer { name, spec, endpoints, families: &[0, 1], parted: &[] }
}

impl Offer {
    /// Endpoints that are not just ready.
    pub(crate) fn with(mut self, endpoints: &[Endpoint]) -> Offer {
        self.endpoints.extend(endpoints);
        self
    }

    /// The service's object. Each protocol has port 80.
    pub(crate) fn service(&self, protocols: &[&str]) -> Value {
        let mut spec = self.spec.clone();
        if spec["type"] != "ExternalName" {
            spec["ipFamilyPolicy"] = json!("RequireDualStack");
            let port = |protocol: &&str| {
                json!({
                    "name": protocol, "protocol": protocol.to_uppercase(), "port": 80,
                    "targetPort": SERVER_PORT,
                })
            };
            spec["ports"] = protocols.iter().map(port).collect();
        }
        json!({ "kind": "Service", "metadata": { "name": self.name }, "spec": spec })
    }

    /// The service's endpoints, in a slice for each family; `addresses` are a server's.
    pub(crate) fn slices(
        &self,
        protocols: &[&str],
        addresses: impl Fn(&str) -> (String, Vec<String>),
    ) -> Vec<Value> {
        if self.spec["type"] == "ExternalName" {
            return Vec::new();
        }
        let slice = |family: usize, part: &str, protocols: &[&str], endpoints: &[Endpoint]| {
            let ports = protocols.iter().map(|protocol| {
                let in_capitals = protocol.to_uppercase();
                json!({ "name": protocol, "protocol": in_capitals, "port": SERVER_PORT })
            });
            let endpoints = endpoints.iter().map(|(server, how)| {
                let (node, ips) = addresses(server);
                let mut endpoint = json!({ "addresses": [ips[family]], "nodeName": node });
                how.write(&mut endpoint);
                endpoint
            });
            json!({
                "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{}-v{}{part}", self.name, [4, 6][family]),
                    "labels": { "kubernetes.io/service-name": self.name },
                },
                "addressType": (["IPv4", "IPv6"][family]),
                "endpoints": endpoints.collect::<Vec<_>>(),
                "ports": ports.collect::<Vec<_>>(),
            })
        };
        let mut slices = Vec::new();
        for family in [0, 1] {
            let is_in = self.families.contains(&family);
            let endpoints = if is_in { &self.endpoints[..] } else { &[] };
            slices.push(slice(family, "", protocols, endpoints));
            slices.extend(self.parted.iter().map(|(protocol, server)| {
                slice(family, &format!("-{protocol}"), &[protocol], &[(server, How::Ready)])
            }));
        }
        slices
    }
}

impl How {
    fn write(self, endpoint: &mut Value) {
        let (ready, serving, terminating) = match self {
            How::Lingers => (false, true, true),
            How::Unready => (false, false, false),
            How::Ready | How::ForZone(_) | How::ForNode(_) => (true, true, false),
        };
        let conditions = json!({ "ready": ready, "serving": serving, "terminating": terminating });
        endpoint["conditions"] = conditions;
        match self {
            How::ForZone(zone) => endpoint["hints"] = json!({ "forZones": [{ "name": zone }] }),
            How::ForNode(node) => endpoint["hints"] = json!({ "forNodes": [{ "name": node }] }),
            How::Ready | How::Lingers | How::Unready => {}
        }
    }
}

/// All services of a stage. `laptop` is a host's addresses, `n1` a node's.
pub(crate) fn offers(laptop: &[String], n1: &[String]) -> Vec<Offer> {
    use How::{ForNode, ForZone, Lingers, Ready, Unready};
    let node_port = || json!({ "type": "NodePort" });
    let to_local = |kind: &str| json!({ "type": kind, "externalTrafficPolicy": "Local" });
    let ranges: Vec<String> = laptop
        .iter()
        .chain(n1)
        .map(|ip| format!("{ip}/{}", if ip.contains(':') { 128 } else { 32 }))
        .collect();
    let elsewhere = json!({ "internalTrafficPolicy": "Local" });
    let none =
        json!({ "type": "LoadBalancer", "externalIPs": ["198.51.100.11", "2001:db8:51::11"] });
    let guarded = json!({ "type": "LoadBalancer", "loadBalancerSourceRanges": ranges });
    let half = Offer { families: &[0], ..offer("half", node_port(), &["s1"]) };
    vec![
        offer("plain", json!({}), &["s1", "s2", "s3"]),
        offer("alone", json!({}), &["s1"]),
        offer("near", elsewhere.clone(), &["s1", "s2"]),
        offer("nobody", elsewhere, &[]),
        offer("empty", none, &[]),
        offer("unready", node_port(), &[]).with(&[("s1", Unready)]),
        offer("door", node_port(), &["s1", "s2"]),
        offer("door-local", to_local("NodePort"), &["s1", "s2"]),
        offer("outer", json!({ "externalIPs": OUTER }), &["s1", "s2", "s3"]),
        offer("balanced", json!({ "type": "LoadBalancer" }), &["s1", "s2", "s3"]),
        offer("balanced-local", to_local("LoadBalancer"), &["s2"]),
        offer("guarded", guarded, &["s1", "s3"]),
        offer("ending", to_local("NodePort"), &[]).with(&[("s1", Lingers), ("s2", Lingers)]),
        offer("one-ends", to_local("NodePort"), &["s1"]).with(&[("s2", Lingers)]),
        offer("zones", json!({}), &[]).with(&[
            ("s1", ForZone("a")),
            ("s2", ForZone("b")),
            ("s3", ForZone("b")),
        ]),
        offer("zone-unhinted", json!({}), &[]).with(&[
            ("s1", ForZone("a")),
            ("s2", ForZone("b")),
            ("s3", Ready),
        ]),
        offer("zone-missing", json!({}), &[]).with(&[("s2", ForZone("b")), ("s3", ForZone("b"))]),
        offer("nodes", json!({}), &[]).with(&[("s1", ForNode("n1")), ("s2", ForNode("n2"))]),
        half,
        Offer { parted: &[("tcp", "s1"), ("udp", "s2")], ..offer("parted", node_port(), &[]) },
        offer("headless", json!({ "clusterIP": "None" }), &["s1"]),
        offer("alias", json!({ "type": "ExternalName", "externalName": "example.org" }), &[]),
    ]
}
