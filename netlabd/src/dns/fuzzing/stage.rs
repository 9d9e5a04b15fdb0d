// SPDX-License-Identifier: GPL-3.0-or-later
//! A small zone, and two chains that answer from it: one with little configured, one with all that
//! changes questions and answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use serde_json::{Value, from_value, json};
use tokio::runtime::{Builder, Runtime};

use crate::dns::chain::{Chain, Clients, Notes, Parts};
use crate::dns::config::DnsConfig;
use crate::dns::log::PodName;
use crate::dns::name::Name;
use crate::dns::upstream::{Uncounted, Upstreams};
use crate::dns::zone::{Zone, ZoneSettings};

/// A pod of the node, in the namespace `a`.
pub(super) const POD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 42, 0, 5)), 4000);

/// Nobody we know.
pub(super) const STRANGER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77)), 4000);

/// What `busy` lets clients take.
pub(super) const BUFSIZE: u16 = 1232;

/// What bytes are given to, made once. It asks nobody.
pub struct Prepared {
    pub(super) zone: Arc<RwLock<Zone>>,
    pub(super) plain: Chain,
    pub(super) busy: Chain,
    /// Those of `busy`.
    pub(super) upstreams: Arc<Upstreams>,
    /// The last to go.
    pub(super) runtime: Runtime,
}

impl Default for Prepared {
    fn default() -> Prepared {
        Prepared::new()
    }
}

impl Prepared {
    /// A zone with a few services, and chains that have no upstreams.
    pub fn new() -> Prepared {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _inside = runtime.enter();
        let nobody = json!({ "forward": { "to": [] } });
        let much = json!({
            "bufsize": BUFSIZE,
            "forward": { "to": [] },
            "pods": "insecure",
            "fallthrough": ["in-addr.arpa"],
            "autopath": { "enabled": true },
            "hosts": { "192.0.2.7": ["db.example"], "2001:db8::7": ["db.example"] },
            "transfer": { "to": ["*"] },
            "log": { "enabled": true },
            "loadbalance": { "prefer": ["10.42.0.0/24"] },
            "rewrite": [
                { "kind": "exact", "from": "www.old.example", "to": "www.example" },
                { "kind": "suffix", "from": ".old", "to": ".a.svc.cluster.local" },
                { "kind": "regex", "from": "^(.*)\\.two\\.(.*)$", "to": "{2}{1}.example" },
                { "kind": "substring", "from": "--", "to": "-" },
            ],
        });
        let settings: DnsConfig = from_value(much.clone()).expect("a configuration");
        let zone = Arc::new(RwLock::new(zone(&settings)));
        // One for both, as in the daemon: a thread that changes to others makes all anew.
        let notes = Notes::new();
        let (plain, _) = chain(nobody, &zone, &notes);
        let (busy, upstreams) = chain(much, &zone, &notes);
        drop(_inside);
        Prepared { zone, plain, busy, upstreams, runtime }
    }
}

fn domain() -> Name {
    "cluster.local.".parse().expect("a name")
}

fn chain(config: Value, zone: &Arc<RwLock<Zone>>, notes: &Arc<Notes>) -> (Chain, Arc<Upstreams>) {
    let config: DnsConfig = from_value(config).expect("a configuration");
    let pod = Arc::new(PodName { namespace: "a".to_owned(), name: "client".to_owned() });
    let clients = Clients::new(move |ip| (ip == POD.ip()).then(|| Arc::clone(&pod)));
    clients.set_pod_networks(vec!["10.42.0.0/16".parse().expect("a network")]);
    let upstreams = Upstreams::new(&config, &[], Arc::new(Uncounted));
    let parts = Parts {
        config: Arc::new(config),
        domain: domain(),
        searches: vec!["corp.example.".parse().expect("a name")],
        started: Instant::now(),
        clients: Arc::new(clients),
        zone: Arc::clone(zone),
        upstreams: Arc::clone(&upstreams),
        notes: Arc::clone(notes),
    };
    (Chain::new(parts).expect("a configuration that can be followed"), upstreams)
}

/// A service with an address in each family, a headless one whose endpoints do not fit in a small
/// answer, and aliases: of a name outside, of one inside, and in a circle.
fn zone(config: &DnsConfig) -> Zone {
    let networks = ["10.42.0.0/16", "10.43.0.0/16", "fd43::/112"]
        .map(|network| network.parse().expect("a network"));
    let servers = vec!["10.43.0.10".parse().expect("an address")];
    let mut zone = Zone::new(ZoneSettings::of(config, domain(), networks.into(), servers));
    zone.put_namespace("a");
    let ports = json!([{ "name": "p", "port": 80, "protocol": "TCP" }]);
    let alias = |target| json!({ "type": "ExternalName", "externalName": target });
    for (name, spec) in [
        (
            "b",
            json!({ "clusterIP": "10.43.0.1", "clusterIPs": ["10.43.0.1", "fd43::1"],
                "ports": ports }),
        ),
        ("h", json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": ports })),
        ("x", alias("www.example")),
        ("i", alias("b.a.svc.cluster.local")),
        ("c", alias("d.a.svc.cluster.local")),
        ("d", alias("c.a.svc.cluster.local")),
    ] {
        let service = json!({ "metadata": { "name": name, "namespace": "a" }, "spec": spec });
        zone.put_service(&from_value(service).expect("a service"));
    }
    let mut endpoints = vec![json!({ "addresses": ["10.42.0.1"], "hostname": "n", "zone": "z" })];
    endpoints.extend((2..80).map(|host| json!({ "addresses": [format!("10.42.0.{host}")] })));
    let slice = json!({
        "metadata": { "name": "h-1", "namespace": "a",
            "labels": { "kubernetes.io/service-name": "h" } },
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    });
    zone.put_slice(&from_value(slice).expect("a slice"));
    zone.set_synced();
    zone
}
