// SPDX-License-Identifier: GPL-3.0-or-later
//! Questions and answers, by the specification (1.1.0), RFC 1034, RFC 8020, and CoreDNS.

use serde_json::json;

use super::{asked, service, settings, slice};
use crate::dns::config::PodNames;
use crate::dns::zone::{Zone, ZoneSettings};

const SOA: &str =
    "cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 7200 1800 86400 5";

const PODS: &str = "auth 42.10.in-addr.arpa. 5 SOA ns.dns.42.10.in-addr.arpa. \
                    hostmaster.42.10.in-addr.arpa. 7200 1800 86400 5";

fn zone(settings: ZoneSettings) -> Zone {
    let mut zone = Zone::new(settings);
    for namespace in ["default", "empty"] {
        zone.put_namespace(namespace);
    }
    let http = json!([{ "name": "http", "port": 80 }]);
    zone.put_service(&service(
        "default",
        "web",
        json!({ "clusterIPs": ["10.43.0.7", "fd43::7"], "ports": http }),
    ));
    zone.put_service(&service(
        "default",
        "v4",
        json!({ "clusterIPs": ["10.43.0.8"], "ports": [
            { "name": "http", "port": 80 }, { "name": "dns", "port": 53, "protocol": "UDP" },
            { "name": "dns-tcp", "port": 53 } ] }),
    ));
    zone.put_service(&service(
        "default",
        "plain",
        json!({ "clusterIPs": ["10.43.0.9"], "ports": [{ "port": 80 }] }),
    ));
    zone.put_service(&service(
        "default",
        "wide",
        json!({ "clusterIPs": ["10.96.3.4"], "ports": [{ "port": 80 }] }),
    ));
    zone.put_slice(&slice(
        "default",
        "web",
        "web-1",
        json!([{ "name": "http", "port": 8080 }]),
        json!([
            { "addresses": ["10.42.0.5"], "targetRef": { "kind": "Pod", "name": "web-0" } },
        ]),
    ));
    zone.put_service(&service("default", "head", json!({ "clusterIP": "None", "ports": http })));
    zone.put_slice(&slice("default", "head", "head-1", json!([{ "name": "http", "port": 8080 }]), json!([
        { "addresses": ["10.42.0.1"], "hostname": "a", "zone": "z1" },
        { "addresses": ["10.42.0.2"], "zone": "z2", "targetRef": { "kind": "Pod", "name": "head-b" } },
        { "addresses": ["10.42.0.3"], "conditions": { "ready": false } },
    ])));
    zone.put_slice(&slice(
        "default",
        "head",
        "head-2",
        json!([{ "name": "http", "port": 8080 }]),
        json!([
            { "addresses": ["10.42.0.1"], "hostname": "a", "zone": "z1" },
        ]),
    ));
    zone.put_slice(&slice(
        "default",
        "head",
        "head-3",
        json!([{ "name": "http", "port": 8080 }]),
        json!([
            { "addresses": ["fd42::"], "zone": "z1" },
        ]),
    ));
    zone.put_slice(&slice(
        "default",
        "head",
        "head-4",
        json!([]),
        json!([
            { "addresses": ["10.42.0.4"], "zone": "eu.example.com",
              "targetRef": { "kind": "Pod", "name": "p".repeat(64) } },
        ]),
    ));
    zone.put_service(&service(
        "default",
        "early",
        json!({ "clusterIP": "None", "publishNotReadyAddresses": true, "ports": http }),
    ));
    zone.put_service(&service("default", "later", json!({ "clusterIP": "None", "ports": http })));
    for (service, address) in [("early", "10.42.0.31"), ("later", "10.42.0.32")] {
        zone.put_slice(&slice(
            "default",
            service,
            &format!("{service}-1"),
            http.clone(),
            json!([{ "addresses": [address], "conditions": { "ready": false } }]),
        ));
    }
    zone.put_service(&service("default", "portless", json!({ "clusterIP": "None" })));
    zone.put_slice(&slice(
        "default",
        "portless",
        "portless-1",
        json!([]),
        json!([{ "addresses": ["192.0.2.20"] }]),
    ));
    zone.put_service(&service("default", "none", json!({ "clusterIP": "None" })));
    let external = |target: &str| json!({ "type": "ExternalName", "externalName": target });
    zone.put_service(&service("default", "out", external("www.example.com")));
    zone.put_service(&service("default", "in", external("web.default.svc.cluster.local")));
    zone.put_service(&service("default", "twice", external("in.default.svc.cluster.local.")));
    zone.put_service(&service("default", "dangling", external("nobody.default.svc.cluster.local")));
    zone.put_service(&service("default", "old", external("v4.default.svc.cluster.local")));
    zone.put_service(&service("default", "version", external("dns-version.cluster.local")));
    zone.put_service(&service("default", "self", external("self.default.svc.cluster.local")));
    zone.put_service(&service("default", "ring-a", external("ring-b.default.svc.cluster.local")));
    zone.put_service(&service("default", "ring-b", external("ring-a.default.svc.cluster.local")));
    zone.put_service(&service("default", "address", external("192.0.2.1")));
    zone.put_pod("default", "web-0", &["10.42.0.5".parse().unwrap(), "fd42::5".parse().unwrap()]);
    zone.set_synced();
    zone
}

/// Checks rows of `name type`, an arrow, and the answer's lines; `nodata` and `nxdomain` have the
/// zone's SOA, and `.` at the end of a name stands for the cluster's domain.
fn check(zone: &Zone, rows: &[(&str, &str, &[&str])]) {
    for (name, kind, expected) in rows {
        let full = match name.strip_suffix('~') {
            Some(short) => format!("{short}cluster.local."),
            None => (*name).to_owned(),
        };
        let expected: Vec<String> = expected
            .iter()
            .flat_map(|line| match *line {
                "nodata" => vec!["NOERROR".to_owned(), format!("auth {SOA}")],
                "nxdomain" => vec!["NXDOMAIN".to_owned(), format!("auth {SOA}")],
                line => vec![line.replace('~', "cluster.local.")],
            })
            .collect();
        assert_eq!(asked(zone, &full, kind), expected.join("\n"), "{full} {kind}");
    }
}

#[test]
fn services_with_an_address() {
    check(
        &zone(settings()),
        &[
            ("web.default.svc.~", "A", &["NOERROR", "@ 5 A 10.43.0.7"]),
            ("web.default.svc.~", "AAAA", &["NOERROR", "@ 5 AAAA fd43::7"]),
            ("WeB.DeFault.sVc.~", "A", &["NOERROR", "@ 5 A 10.43.0.7"]),
            ("v4.default.svc.~", "AAAA", &["nodata"]),
            ("v4.default.svc.~", "TXT", &["nodata"]),
            ("v4.default.svc.~", "MX", &["nodata"]),
            ("v4.default.svc.~", "HINFO", &["nodata"]),
            ("v4.default.svc.~", "ANY", &["nodata"]),
            ("v4.default.svc.~", "NS", &["nodata"]),
            ("v4.default.svc.~", "SOA", &["nodata"]),
            ("nobody.default.svc.~", "SOA", &["nxdomain"]),
            ("v4.default.svc.~", "CNAME", &["nodata"]),
            ("v4.default.svc.~", "PTR", &["nodata"]),
            (
                "_http._tcp.web.default.svc.~",
                "SRV",
                &[
                    "NOERROR",
                    "@ 5 SRV 0 50 80 web.default.svc.~",
                    "add web.default.svc.~ 5 A 10.43.0.7",
                    "add web.default.svc.~ 5 AAAA fd43::7",
                ],
            ),
            (
                "_dns._udp.v4.default.svc.~",
                "SRV",
                &[
                    "NOERROR",
                    "@ 5 SRV 0 100 53 v4.default.svc.~",
                    "add v4.default.svc.~ 5 A 10.43.0.8",
                ],
            ),
            (
                "_DNS._UDP.v4.default.svc.~",
                "SRV",
                &[
                    "NOERROR",
                    "@ 5 SRV 0 100 53 v4.default.svc.~",
                    "add v4.default.svc.~ 5 A 10.43.0.8",
                ],
            ),
            (
                "dns.udp.v4.default.svc.~",
                "SRV",
                &[
                    "NOERROR",
                    "@ 5 SRV 0 100 53 v4.default.svc.~",
                    "add v4.default.svc.~ 5 A 10.43.0.8",
                ],
            ),
            ("_dns._udp.v4.default.svc.~", "A", &["NOERROR", "@ 5 A 10.43.0.8"]),
            ("_dns._udp.v4.default.svc.~", "AAAA", &["nodata"]),
            ("_dns._tcp.v4.default.svc.~", "SRV", &["nxdomain"]),
            ("_nope._tcp.v4.default.svc.~", "SRV", &["nxdomain"]),
            ("_tcp.v4.default.svc.~", "SRV", &["nodata"]),
            ("_sctp.v4.default.svc.~", "SRV", &["nxdomain"]),
            (
                "v4.default.svc.~",
                "SRV",
                &[
                    "NOERROR",
                    "@ 5 SRV 0 33 53 v4.default.svc.~",
                    "@ 5 SRV 0 33 80 v4.default.svc.~",
                    "add v4.default.svc.~ 5 A 10.43.0.8",
                ],
            ),
            ("a._http._tcp.web.default.svc.~", "SRV", &["nxdomain"]),
            ("*.default.svc.~", "A", &["nxdomain"]),
            ("*._tcp.web.default.svc.~", "SRV", &["nxdomain"]),
            ("nobody.default.svc.~", "A", &["nxdomain"]),
            ("nobody.default.svc.~", "TXT", &["nxdomain"]),
            ("web.nowhere.svc.~", "A", &["nxdomain"]),
            ("10-42-0-5.web.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.5"]),
            ("10-42-0-6.web.default.svc.~", "A", &["nxdomain"]),
            ("web.default.~", "A", &["nxdomain"]),
            ("web.~", "A", &["nxdomain"]),
        ],
    );
}

#[test]
fn headless_services() {
    check(
        &zone(settings()),
        &[
            (
                "head.default.svc.~",
                "A",
                &["NOERROR", "@ 5 A 10.42.0.1", "@ 5 A 10.42.0.2", "@ 5 A 10.42.0.4"],
            ),
            ("head.default.svc.~", "AAAA", &["NOERROR", "@ 5 AAAA fd42::"]),
            ("head.default.svc.~", "TXT", &["nodata"]),
            ("a.head.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.1"]),
            ("A.head.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.1"]),
            ("a.head.default.svc.~", "AAAA", &["nodata"]),
            ("10-42-0-2.head.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.2"]),
            ("10-42-0-1.head.default.svc.~", "A", &["nxdomain"]),
            ("10-42-0-3.head.default.svc.~", "A", &["nxdomain"]),
            ("head-b.head.default.svc.~", "A", &["nxdomain"]),
            ("fd42--0.head.default.svc.~", "AAAA", &["NOERROR", "@ 5 AAAA fd42::"]),
            ("fd42-0-0-0-0-0-0-0.head.default.svc.~", "AAAA", &["nxdomain"]),
            (
                "a.head.default.svc.~",
                "SRV",
                &[
                    "NOERROR",
                    "@ 5 SRV 0 50 8080 a.head.default.svc.~",
                    "add a.head.default.svc.~ 5 A 10.42.0.1",
                ],
            ),
            (
                "_http._tcp.head.default.svc.~",
                "SRV",
                &[
                    "NOERROR",
                    "@ 5 SRV 0 25 8080 10-42-0-2.head.default.svc.~",
                    "@ 5 SRV 0 25 8080 a.head.default.svc.~",
                    "@ 5 SRV 0 25 8080 fd42--0.head.default.svc.~",
                    "add 10-42-0-2.head.default.svc.~ 5 A 10.42.0.2",
                    "add a.head.default.svc.~ 5 A 10.42.0.1",
                    "add fd42--0.head.default.svc.~ 5 AAAA fd42::",
                ],
            ),
            ("_http._udp.head.default.svc.~", "SRV", &["nxdomain"]),
            ("_tcp.head.default.svc.~", "A", &["nodata"]),
            ("none.default.svc.~", "A", &["nxdomain"]),
            // Endpoints that are not ready have names where the service says so.
            ("later.default.svc.~", "A", &["nxdomain"]),
            ("_tcp.later.default.svc.~", "A", &["nxdomain"]),
            ("10-42-0-32.later.default.svc.~", "A", &["nxdomain"]),
            ("32.0.42.10.in-addr.arpa.", "PTR", &["NXDOMAIN", PODS]),
            ("early.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.31"]),
            ("_tcp.early.default.svc.~", "A", &["nodata"]),
            ("10-42-0-31.early.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.31"]),
            (
                "31.0.42.10.in-addr.arpa.",
                "PTR",
                &["NOERROR", "@ 5 PTR 10-42-0-31.early.default.svc.~"],
            ),
            ("portless.default.svc.~", "A", &["NOERROR", "@ 5 A 192.0.2.20"]),
            ("portless.default.svc.~", "SRV", &["nodata"]),
            ("192-0-2-20.portless.default.svc.~", "A", &["NOERROR", "@ 5 A 192.0.2.20"]),
            ("z1.pin._zone.head.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.1"]),
            ("z1.pin._zone.head.default.svc.~", "AAAA", &["NOERROR", "@ 5 AAAA fd42::"]),
            ("z3.pin._zone.head.default.svc.~", "A", &["nodata"]),
            ("z3.pin._zone.head.default.svc.~", "SRV", &["nodata"]),
            ("z3.pin._zone.none.default.svc.~", "A", &["nxdomain"]),
            ("z3.pin._zone.nobody.default.svc.~", "A", &["nxdomain"]),
            // Names of zones may have dots.
            ("eu.Example.com.pin._zone.head.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.4"]),
            ("example.com.pin._zone.head.default.svc.~", "A", &["nodata"]),
            ("a.eu.example.com.pin._zone.head.default.svc.~", "A", &["nodata"]),
            ("a.b.z1.pin._zone.default.svc.~", "A", &["nxdomain"]),
            ("a.b.c._http._tcp.head.default.svc.~", "A", &["nxdomain"]),
            ("Z2.prefer._zone.head.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.2"]),
            (
                "z3.prefer._zone.head.default.svc.~",
                "A",
                &["NOERROR", "@ 5 A 10.42.0.1", "@ 5 A 10.42.0.2", "@ 5 A 10.42.0.4"],
            ),
            ("pin._zone.head.default.svc.~", "A", &["nodata"]),
            ("_zone.head.default.svc.~", "A", &["nodata"]),
            ("z1.pin._zone.web.default.svc.~", "A", &["nxdomain"]),
            ("z1.other._zone.head.default.svc.~", "A", &["nxdomain"]),
        ],
    );
    let named = zone(ZoneSettings { endpoint_pod_names: true, zonal: false, ..settings() });
    check(
        &named,
        &[
            ("head-b.head.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.2"]),
            ("10-42-0-2.head.default.svc.~", "A", &["nxdomain"]),
            // A pod's name that is too long for a label.
            ("10-42-0-4.head.default.svc.~", "A", &["NOERROR", "@ 5 A 10.42.0.4"]),
            ("z1.pin._zone.head.default.svc.~", "A", &["nxdomain"]),
        ],
    );
}

#[test]
fn the_domain_itself_and_branches() {
    let ns = "@ 5 NS ns.dns.~";
    check(
        &zone(settings()),
        &[
            ("~", "SOA", &["NOERROR", SOA]),
            (
                "~",
                "NS",
                &["NOERROR", ns, "add ns.dns.~ 5 A 10.43.0.10", "add ns.dns.~ 5 AAAA fd43::a"],
            ),
            ("~", "A", &["nodata"]),
            ("ns.dns.~", "A", &["NOERROR", "@ 5 A 10.43.0.10"]),
            ("ns.dns.~", "AAAA", &["NOERROR", "@ 5 AAAA fd43::a"]),
            ("ns.dns.~", "TXT", &["nodata"]),
            ("dns.~", "A", &["nodata"]),
            ("svc.~", "A", &["nodata"]),
            ("svc.~", "NS", &["nodata"]),
            ("pod.~", "A", &["nodata"]),
            ("default.svc.~", "A", &["nodata"]),
            ("empty.svc.~", "SRV", &["nodata"]),
            ("nowhere.svc.~", "A", &["nxdomain"]),
            ("dns-version.~", "TXT", &["NOERROR", "@ 28800 TXT 1.1.0"]),
            ("DNS-Version.~", "TXT", &["NOERROR", "@ 28800 TXT 1.1.0"]),
            ("dns-version.~", "A", &["nodata"]),
            ("x.dns-version.~", "TXT", &["nxdomain"]),
            ("nothing.~", "A", &["nxdomain"]),
            ("example.com.", "A", &["elsewhere"]),
            ("xcluster.local.", "A", &["elsewhere"]),
            (".", "NS", &["elsewhere"]),
        ],
    );
    let odd = asked(&zone(settings()), "Nothing.CLUSTER.Local.", "A");
    let soa =
        "CLUSTER.Local. 5 SOA ns.dns.CLUSTER.Local. hostmaster.CLUSTER.Local. 7200 1800 86400 5";
    assert_eq!(odd, format!("NXDOMAIN\nauth {soa}"));
}

#[test]
fn aliases() {
    let here = "@ 5 CNAME web.default.svc.~";
    let old = "@ 5 CNAME v4.default.svc.~";
    let version = "@ 5 CNAME dns-version.~";
    check(
        &zone(settings()),
        &[
            (
                "out.default.svc.~",
                "A",
                &["alias of www.example.com.", "@ 5 CNAME www.example.com."],
            ),
            ("out.default.svc.~", "CNAME", &["NOERROR", "@ 5 CNAME www.example.com."]),
            (
                "out.default.svc.~",
                "TXT",
                &["alias of www.example.com.", "@ 5 CNAME www.example.com."],
            ),
            ("x.out.default.svc.~", "A", &["nxdomain"]),
            ("_http._tcp.out.default.svc.~", "SRV", &["nxdomain"]),
            ("in.default.svc.~", "A", &["NOERROR", here, "web.default.svc.~ 5 A 10.43.0.7"]),
            // What leads to nothing is left out, as in CoreDNS.
            ("in.default.svc.~", "TXT", &["nodata"]),
            ("old.default.svc.~", "AAAA", &["nodata"]),
            ("old.default.svc.~", "A", &["NOERROR", old, "v4.default.svc.~ 5 A 10.43.0.8"]),
            (
                "version.default.svc.~",
                "TXT",
                &["NOERROR", version, "dns-version.~ 28800 TXT 1.1.0"],
            ),
            (
                "twice.default.svc.~",
                "AAAA",
                &[
                    "NOERROR",
                    "@ 5 CNAME in.default.svc.~",
                    "in.default.svc.~ 5 CNAME web.default.svc.~",
                    "web.default.svc.~ 5 AAAA fd43::7",
                ],
            ),
            ("dangling.default.svc.~", "A", &["nodata"]),
            ("dangling.default.svc.~", "MX", &["nodata"]),
            ("dangling.default.svc.~", "CNAME", &["NOERROR", "@ 5 CNAME nobody.default.svc.~"]),
            ("self.default.svc.~", "A", &["nodata"]),
            ("self.default.svc.~", "CNAME", &["NOERROR", "@ 5 CNAME self.default.svc.~"]),
            ("address.default.svc.~", "A", &["nxdomain"]),
            ("address.default.svc.~", "CNAME", &["nxdomain"]),
            ("ring-a.default.svc.~", "CNAME", &["NOERROR", "@ 5 CNAME ring-b.default.svc.~"]),
            ("ring-a.default.svc.~", "A", &["nodata"]),
            ("ring-a.default.svc.~", "ANY", &["nodata"]),
        ],
    );
}

#[test]
fn aliases_are_followed_eight_times() {
    let mut zone = zone(settings());
    for number in 0..9 {
        let target = match number {
            0 => "web".to_owned(),
            _ => format!("hop-{}", number - 1),
        };
        let target = format!("{target}.default.svc.cluster.local");
        let spec = json!({ "type": "ExternalName", "externalName": target });
        zone.put_service(&service("default", &format!("hop-{number}"), spec));
    }
    let lines = |name: &str| asked(&zone, name, "A").lines().count();
    // The code, eight aliases and an address; and the code with the zone's SOA.
    assert_eq!(lines("hop-7.default.svc.cluster.local."), 10);
    assert_eq!(lines("hop-8.default.svc.cluster.local."), 2);
}

#[test]
fn pods() {
    let rows = |mode: PodNames| {
        let zone = zone(ZoneSettings { pods: mode, ..settings() });
        [
            "default.pod.cluster.local.",
            "10-42-0-5.default.pod.cluster.local.",
            "1-2-3-4.default.pod.cluster.local.",
            "10-42-0-5.nowhere.pod.cluster.local.",
            "10-42-0-5.empty.pod.cluster.local.",
            "web-0.default.pod.cluster.local.",
            "x.10-42-0-5.default.pod.cluster.local.",
        ]
        .map(|name| asked(&zone, name, "A").lines().take(2).collect::<Vec<_>>().join(" "))
    };
    let soa = format!(" auth {SOA}");
    let none = format!("NXDOMAIN{soa}");
    let branch = format!("NOERROR{soa}");
    let [none, branch] = [none.as_str(), branch.as_str()];
    assert_eq!(rows(PodNames::Disabled), [none; 7]);
    let (five, any) = ("NOERROR @ 5 A 10.42.0.5", "NOERROR @ 5 A 1.2.3.4");
    assert_eq!(rows(PodNames::Insecure), [branch, five, any, none, five, none, none]);
    assert_eq!(rows(PodNames::Verified), [branch, five, none, none, none, none, none]);
    let six = zone(ZoneSettings { pods: PodNames::Verified, ..settings() });
    check(
        &six,
        &[
            ("fd42--5.default.pod.~", "AAAA", &["NOERROR", "@ 5 AAAA fd42::5"]),
            ("fd42--5.default.pod.~", "A", &["nodata"]),
        ],
    );
}

#[test]
fn names_of_addresses() {
    let soa =
        |zone: &str| format!("auth {zone} 5 SOA ns.dns.{zone} hostmaster.{zone} 7200 1800 86400 5");
    let (pods, services) = (soa("42.10.in-addr.arpa."), soa("43.10.in-addr.arpa."));
    let wide = soa("99.10.in-addr.arpa.");
    let six = format!("{}3.4.d.f.ip6.arpa.", "0.".repeat(24));
    let seven = format!("7.0.0.0.{six}");
    let eight = format!("8.0.0.0.{six}");
    let soa_six = soa(&six);
    check(
        &zone(settings()),
        &[
            ("7.0.43.10.in-addr.arpa.", "PTR", &["NOERROR", "@ 5 PTR web.default.svc.~"]),
            ("7.0.43.10.IN-ADDR.arpa.", "PTR", &["NOERROR", "@ 5 PTR web.default.svc.~"]),
            ("4.3.96.10.in-addr.arpa.", "PTR", &["NOERROR", "@ 5 PTR wide.default.svc.~"]),
            (&seven, "PTR", &["NOERROR", "@ 5 PTR web.default.svc.~"]),
            (&eight, "PTR", &["NXDOMAIN", &soa_six]),
            (
                &six,
                "NS",
                &[
                    "NOERROR",
                    "@ 5 NS ns.dns.~",
                    "add ns.dns.~ 5 A 10.43.0.10",
                    "add ns.dns.~ 5 AAAA fd43::a",
                ],
            ),
            ("1.0.42.10.in-addr.arpa.", "PTR", &["NOERROR", "@ 5 PTR a.head.default.svc.~"]),
            ("5.0.42.10.in-addr.arpa.", "PTR", &["NOERROR", "@ 5 PTR 10-42-0-5.web.default.svc.~"]),
            (
                "20.2.0.192.in-addr.arpa.",
                "PTR",
                &["NOERROR", "@ 5 PTR 192-0-2-20.portless.default.svc.~"],
            ),
            ("21.2.0.192.in-addr.arpa.", "PTR", &["elsewhere"]),
            ("3.0.42.10.in-addr.arpa.", "PTR", &["NXDOMAIN", &pods]),
            ("07.0.43.10.in-addr.arpa.", "PTR", &["elsewhere"]),
            ("7.0.43.10.in-addr.arpa.", "A", &["NOERROR", &services]),
            ("1.7.0.43.10.in-addr.arpa.", "PTR", &["NXDOMAIN", &services]),
            ("0.43.10.in-addr.arpa.", "PTR", &["NOERROR", &services]),
            ("43.10.in-addr.arpa.", "SOA", &["NOERROR", &services["auth ".len()..]]),
            ("1.2.99.10.in-addr.arpa.", "PTR", &["NXDOMAIN", &wide]),
            ("1.2.112.10.in-addr.arpa.", "PTR", &["elsewhere"]),
            ("10.in-addr.arpa.", "PTR", &["elsewhere"]),
            ("in-addr.arpa.", "PTR", &["elsewhere"]),
        ],
    );
}

#[test]
fn what_is_not_known_may_be_asked_of_others() {
    let fall = ["in-addr.arpa.", "lab.cluster.local."].map(|zone| zone.parse().unwrap()).to_vec();
    check(
        &zone(ZoneSettings { fallthrough: fall, ..settings() }),
        &[
            ("3.0.42.10.in-addr.arpa.", "PTR", &["elsewhere"]),
            ("7.0.43.10.in-addr.arpa.", "PTR", &["NOERROR", "@ 5 PTR web.default.svc.~"]),
            ("db.lab.~", "A", &["elsewhere"]),
            ("nobody.default.svc.~", "A", &["nxdomain"]),
        ],
    );
}

#[test]
fn before_all_is_known_nothing_is_known_to_be_missing() {
    let mut young = Zone::new(settings());
    young.put_service(&service(
        "default",
        "web",
        json!({ "clusterIPs": ["10.43.0.7"], "ports": [] }),
    ));
    young.put_service(&service(
        "default",
        "alias",
        json!({ "type": "ExternalName", "externalName": "db.default.svc.cluster.local" }),
    ));
    let soa = format!("auth {SOA}");
    check(
        &young,
        &[
            ("web.default.svc.~", "A", &["NOERROR", "@ 5 A 10.43.0.7"]),
            ("db.default.svc.~", "A", &["SERVFAIL", &soa]),
            ("alias.default.svc.~", "A", &["SERVFAIL", &soa]),
            ("nowhere.svc.~", "A", &["SERVFAIL", &soa]),
        ],
    );
}

#[test]
fn services_without_endpoints_may_have_no_names() {
    check(
        &zone(ZoneSettings { ignore_empty_service: true, ..settings() }),
        &[
            ("v4.default.svc.~", "A", &["nxdomain"]),
            ("web.default.svc.~", "A", &["NOERROR", "@ 5 A 10.43.0.7"]),
            ("out.default.svc.~", "CNAME", &["NOERROR", "@ 5 CNAME www.example.com."]),
        ],
    );
}
