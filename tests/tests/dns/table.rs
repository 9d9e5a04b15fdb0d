// SPDX-License-Identifier: GPL-3.0-or-later
//! Walks the sheets of cases, over UDP and TCP, with and without EDNS, from a pod.

use netlab_tests::Lab;
use serde_json::{Value, json};

use crate::dig::dig;
use crate::fixtures::{Families, apply, objects};
use crate::outside::Outside;
use crate::sheet;

/// Who is asked for names outside.
const UPSTREAM: [&str; 2] = ["192.0.2.9@53", "2001:db8::9@53"];

/// How questions are sent.
const WAYS: [&[&str]; 3] = [&["+notcp"], &["+notcp", "+noedns"], &["+tcp"]];

#[test]
fn every_name_of_a_cluster_of_both_families_is_answered_as_the_sheet_says() {
    let dns = "[dns.forward]\nto = ['192.0.2.9']\n";
    let sheet = include_str!("cases/dual.txt");
    walk(&Walk { name: "dns-dual", families: Families::Both, dns, sheet, ttl: 5, extra: &[] });
}

#[test]
fn every_name_of_a_cluster_of_ipv4_is_answered_as_the_sheet_says() {
    let dns = "[dns]\nttl = 30\npods = 'insecure'\nforward.to = ['192.0.2.9']\n";
    let sheet = include_str!("cases/v4.txt");
    walk(&Walk { name: "dns-v4", families: Families::V4, dns, sheet, ttl: 30, extra: &[] });
}

#[test]
fn every_name_of_a_cluster_of_ipv6_is_answered_as_the_sheet_says() {
    let dns = "[dns]\npods = 'verified'\nignore-empty-service = true\n\
               forward.to = ['[2001:db8::9]:53']\n";
    let sheet = include_str!("cases/v6.txt");
    walk(&Walk { name: "dns-v6", families: Families::V6, dns, sheet, ttl: 5, extra: &[] });
}

/// Options as a Corefile writes them, with `_`, count as well.
const VERIFIED: &str = "[dns]
pods = 'verified'
endpoint_pod_names = true
fallthrough = ['in-addr.arpa']
zonal = false
forward.to = ['192.0.2.9']
rewrite = [
  { from = 'shop.example.com', to = 'web.shop.svc.cluster.local' },
  { kind = 'suffix', from = '.services.example.net', to = '.default.svc.cluster.local' },
]
[dns.hosts]
'192.0.2.7' = ['db.example.com', 'old-db.example.com']
'2001:db8::7' = 'db.example.com'
";

#[test]
fn every_name_is_answered_as_the_sheet_says_with_options() {
    let pod = |address: &str, hostname: Option<&str>, pod: Option<&str>| {
        let mut endpoint = json!({ "addresses": [address] });
        if let Some(hostname) = hostname {
            endpoint["hostname"] = json!(hostname);
        }
        if let Some(pod) = pod {
            let target = json!({ "kind": "Pod", "name": pod, "namespace": "default" });
            endpoint["targetRef"] = target;
        }
        endpoint
    };
    let port = json!({ "name": "http", "port": 80 });
    let extra = [
        json!({
            "kind": "Service",
            "metadata": { "name": "named", "namespace": "default" },
            "spec": { "clusterIP": "None", "ports": [port] },
        }),
        json!({
            "kind": "EndpointSlice",
            "metadata": {
                "name": "named-1", "namespace": "default",
                "labels": { "kubernetes.io/service-name": "named" },
            },
            "addressType": "IPv4",
            "endpoints": [
                pod("10.42.201.1", None, Some("pod-one")),
                pod("10.42.201.2", Some("n-2"), Some("pod-two")),
                pod("10.42.201.3", None, None),
            ],
            "ports": [port],
        }),
    ];
    let sheet = include_str!("cases/verified.txt");
    let (dns, extra) = (VERIFIED, &extra[..]);
    walk(&Walk { name: "dns-opt", families: Families::Both, dns, sheet, ttl: 5, extra });
}

/// A sheet, and where it holds.
#[derive(Debug)]
struct Walk<'a> {
    name: &'a str,
    families: Families,
    dns: &'a str,
    sheet: &'a str,
    ttl: u32,
    extra: &'a [Value],
}

#[track_caller]
fn walk(walk: &Walk<'_>) {
    let config = format!("{}{}", walk.families.config(), walk.dns);
    let lab = Lab::builder(walk.name).config(&config).start();
    let _outside = Outside::start(lab.outside(), lab.dir(), &UPSTREAM);
    lab.run("client", &[]);
    apply(&lab, &[&objects(walk.families)[..], walk.extra].concat());
    let own = &lab.pod_ips("client")[0];
    let sheet = walk.sheet.replace('&', own).replace('%', &own.replace(['.', ':'], "-"));
    let cases = sheet::read(&sheet, walk.ttl);
    let questions: Vec<(String, String)> =
        cases.iter().map(|case| (case.name.clone(), case.kind.clone())).collect();
    let mut failures = Vec::new();
    let servers = match walk.families {
        Families::Both => vec!["10.43.0.10", "fd43::a"],
        Families::V4 => vec!["10.43.0.10"],
        Families::V6 => vec!["fd43::a"],
    };
    for server in servers {
        for way in WAYS {
            let told = dig(&lab, "client", server, way, &questions);
            for (case, told) in cases.iter().zip(told) {
                let differences = case.differs(&told);
                if !differences.is_empty() {
                    failures.push(format!(
                        "line {}, asked of {server} {way:?}: {}\n{told}",
                        case.line,
                        differences.join("\n  ")
                    ));
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
    println!("{} cases hold", cases.len());
}
