// SPDX-License-Identifier: GPL-3.0-or-later
//! The objects whose names the sheets ask for, as manifests: services with addresses of their own
//! choice, and endpoints written by hand.

use netlab_tests::Lab;
use serde_json::{Value, json};

/// Which families a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    Both,
    V4,
    V6,
}

impl Families {
    fn has(self, address: &str) -> bool {
        match self {
            Families::Both => true,
            Families::V4 => !address.contains(':'),
            Families::V6 => address.contains(':'),
        }
    }

    /// The line of `netlabd.toml` for it.
    pub(crate) fn config(self) -> &'static str {
        match self {
            Families::Both => "",
            Families::V4 => "pod-networks = ['10.42.0.0/16']\n",
            Families::V6 => "pod-networks = ['fd42::/48']\n",
        }
    }
}

/// Ports as `(name, protocol, number)`; an empty name is none.
type Ports = &'static [(&'static str, &'static str, u16)];

/// Endpoints as `(address, host name, zone, is ready)`; an empty name is none.
type Endpoints = &'static [(&'static str, &'static str, &'static str, bool)];

const HTTP: Ports = &[("http", "TCP", 80)];

/// A service: namespace, name, addresses (none: headless), ports.
const SERVICES: &[(&str, &str, &[&str], Ports)] = &[
    (
        "default",
        "web",
        &["10.43.1.1", "fd43::101"],
        &[("http", "TCP", 80), ("metrics", "TCP", 9100)],
    ),
    ("default", "two", &["10.43.1.2", "fd43::102"], HTTP),
    ("default", "four", &["10.43.1.3"], HTTP),
    ("default", "six", &["fd43::103"], HTTP),
    ("default", "anon", &["10.43.1.4", "fd43::104"], &[("", "TCP", 80)]),
    ("default", "voice", &["10.43.1.5"], &[("sip", "UDP", 5060), ("sips", "TCP", 5061)]),
    ("default", "idle", &["10.43.1.6"], HTTP),
    ("default", "x-1-2-3", &["10.43.1.7"], HTTP),
    ("default", "pets", &[], &[("http", "TCP", 80), ("https", "TCP", 443)]),
    ("default", "solo", &[], &[("db", "TCP", 5432)]),
    ("default", "empty", &[], HTTP),
    ("default", "ill", &[], HTTP),
    ("default", "bare", &[], &[]),
    ("default", "split", &[], HTTP),
    ("default", "twin", &[], HTTP),
    ("default", "shared", &[], HTTP),
    ("default", "zoned", &[], HTTP),
    ("default", "late", &[], HTTP),
    ("shop", "web", &["10.43.2.1", "fd43::201"], &[("http", "TCP", 8080)]),
    ("svc", "pod", &["10.43.2.2", "fd43::202"], HTTP),
    ("pod", "svc", &["10.43.2.3"], HTTP),
];

/// Aliases: name, and of what.
const ALIASES: &[(&str, &str)] = &[
    ("outside", "www.example.org"),
    ("outside-alias", "alias.example.org"),
    ("outside-text", "text.example.org"),
    ("outside-nobody", "nobody.example.org"),
    ("dangling", "nobody.default.svc.cluster.local"),
    ("inside-text", "dns-version.cluster.local"),
    ("numeric", "192.0.2.77"),
    ("inside", "web.default.svc.cluster.local"),
    ("inside-six", "six.default.svc.cluster.local"),
    ("inside-pets", "pets.default.svc.cluster.local"),
    ("hop", "inside.default.svc.cluster.local"),
    ("hop-out", "outside.default.svc.cluster.local"),
    ("ring-a", "ring-b.default.svc.cluster.local"),
    ("ring-b", "ring-a.default.svc.cluster.local"),
    ("self", "self.default.svc.cluster.local"),
];

/// Slices: namespace, service, a suffix, ports, endpoints.
const SLICES: &[(&str, &str, &str, Ports, Endpoints)] = &[
    (
        "default",
        "web",
        "v4",
        &[("http", "TCP", 8080), ("metrics", "TCP", 9100)],
        &[("10.42.200.40", "w-0", "", true), ("10.42.200.41", "", "", true)],
    ),
    ("default", "web", "v6", &[("http", "TCP", 8080)], &[("fd42::c8:40", "", "", true)]),
    (
        "default",
        "pets",
        "v4",
        &[("http", "TCP", 80), ("https", "TCP", 443)],
        &[
            ("10.42.200.1", "rex", "", true),
            ("10.42.200.2", "tom", "", true),
            ("10.42.200.3", "", "", true),
            ("10.42.200.4", "ill", "", false),
        ],
    ),
    (
        "default",
        "pets",
        "v6",
        &[("http", "TCP", 80), ("https", "TCP", 443)],
        &[
            ("fd42::c8:1", "rex", "", true),
            ("fd42::c8:2", "tom", "", true),
            ("fd42:0:0:1::", "", "", true),
            ("fd42::c8:4", "ill", "", false),
        ],
    ),
    ("default", "solo", "v4", &[("db", "TCP", 5432)], &[("10.42.200.8", "solo-0", "", true)]),
    ("default", "ill", "v4", HTTP, &[("10.42.200.9", "ill-0", "", false)]),
    ("default", "bare", "v4", &[], &[("10.42.200.10", "b", "", true)]),
    (
        "default",
        "split",
        "a",
        HTTP,
        &[("10.42.200.20", "", "", true), ("10.42.200.21", "", "", true)],
    ),
    (
        "default",
        "split",
        "b",
        HTTP,
        &[("10.42.200.21", "", "", true), ("10.42.200.22", "", "", true)],
    ),
    ("default", "split", "c", &[("other", "TCP", 81)], &[("10.42.200.23", "", "", true)]),
    (
        "default",
        "twin",
        "v4",
        HTTP,
        &[("10.42.200.30", "pair", "", true), ("10.42.200.31", "pair", "", true)],
    ),
    // One pod behind two services.
    ("default", "shared", "v4", HTTP, &[("10.42.200.8", "", "", true)]),
    (
        "default",
        "zoned",
        "v4",
        HTTP,
        &[
            ("10.42.200.50", "", "a", true),
            ("10.42.200.51", "", "a", true),
            ("10.42.200.52", "", "b", true),
            ("10.42.200.53", "", "rack.example.com", true),
        ],
    ),
    // Nobody's.
    ("default", "orphan", "v4", HTTP, &[("10.42.200.60", "o", "", true)]),
];

/// All objects that a cluster of these families can have.
pub(crate) fn objects(families: Families) -> Vec<Value> {
    let mut items = Vec::new();
    for namespace in ["shop", "svc", "pod", "vacant"] {
        items.push(json!({ "kind": "Namespace", "metadata": { "name": namespace } }));
    }
    for (namespace, name, addresses, ports) in SERVICES {
        let ips: Vec<&str> = addresses.iter().copied().filter(|ip| families.has(ip)).collect();
        if ips.is_empty() && !addresses.is_empty() {
            continue;
        }
        let mut spec = match ips.first() {
            None => json!({ "clusterIP": "None" }),
            Some(first) => json!({ "clusterIP": first, "clusterIPs": ips }),
        };
        // A headless service of both is asked for; where there is one family it has that.
        spec["ipFamilyPolicy"] = json!(match ips.len() {
            0 => "PreferDualStack",
            1 => "SingleStack",
            _ => "RequireDualStack",
        });
        if let [one] = ips[..] {
            spec["ipFamilies"] = json!([if one.contains(':') { "IPv6" } else { "IPv4" }]);
        }
        spec["ports"] = ports_of(ports);
        items.push(json!({
            "kind": "Service",
            "metadata": { "name": name, "namespace": namespace },
            "spec": spec,
        }));
    }
    for (name, of) in ALIASES {
        items.push(json!({
            "kind": "Service",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "type": "ExternalName", "externalName": of },
        }));
    }
    for (namespace, service, suffix, ports, endpoints) in SLICES {
        if families.has(endpoints[0].0) {
            items.push(slice(namespace, service, suffix, ports, endpoints));
        }
    }
    items
}

fn ports_of(ports: Ports) -> Value {
    let port = |(name, protocol, number): &(&str, &str, u16)| {
        let mut port = json!({ "protocol": protocol, "port": number });
        if !name.is_empty() {
            port["name"] = json!(name);
        }
        port
    };
    ports.iter().map(port).collect()
}

fn slice(
    namespace: &str,
    service: &str,
    suffix: &str,
    ports: Ports,
    endpoints: Endpoints,
) -> Value {
    let endpoint = |(address, hostname, zone, is_ready): &(&str, &str, &str, bool)| {
        let mut endpoint = json!({ "addresses": [address], "conditions": { "ready": is_ready } });
        if !hostname.is_empty() {
            endpoint["hostname"] = json!(hostname);
        }
        if !zone.is_empty() {
            endpoint["zone"] = json!(zone);
        }
        endpoint
    };
    json!({
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{suffix}"),
            "namespace": namespace,
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": if endpoints[0].0.contains(':') { "IPv6" } else { "IPv4" },
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": ports_of(ports),
    })
}

/// Applies objects; returns when the node knows.
#[track_caller]
pub(crate) fn apply(lab: &Lab, items: &[Value]) {
    let applied = lab.api("POST", "/v1/apply", Some(&json!({ "items": items }))).expect(200);
    settle(lab, &applied["revision"]);
}

/// Waits until a revision is programmed.
#[track_caller]
pub(crate) fn settle(lab: &Lab, revision: &Value) {
    let path = format!("/v1/programmed?revision={revision}&timeoutSeconds=20");
    lab.get(&path).expect(200);
}
