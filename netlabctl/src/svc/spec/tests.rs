// SPDX-License-Identifier: GPL-3.0-or-later
use std::ffi::OsString;

use clap::Parser;
use serde_json::{Value, json};

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    flags: ServiceFlags,
}

fn read(flags: &str) -> Result<Value, Failure> {
    let words = ["x"].into_iter().chain(flags.split_whitespace()).map(OsString::from);
    let line = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{flags}: {error}"));
    let service = line.flags.service("web", "shop")?;
    assert_eq!(service.metadata.namespace.as_deref(), Some("shop"));
    Ok(serde_json::to_value(service).unwrap())
}

#[test]
fn the_shortest_line_selects_what_pod_run_makes() {
    let web = read("--port 80").unwrap();
    assert_eq!(web["metadata"]["labels"], json!({ "app": "web" }));
    assert_eq!(
        web["spec"],
        json!({
            "type": "ClusterIP", "selector": { "app": "web" }, "sessionAffinity": "None",
            "ports": [{ "port": 80, "protocol": "TCP" }],
        })
    );
}

#[test]
fn every_flag_has_its_field() {
    let web = read(
        "--selector app=shop,tier=front --port http:80:8080,dns:53:domain/udp --type loadbalancer \
         --node-port 30080 --external-ip 192.0.2.7 --load-balancer-ip 203.0.113.5 \
         --source-range 198.51.100.0/24 --affinity-timeout 60 --internal-traffic-policy local \
         --external-traffic-policy Local --traffic-distribution prefersamezone --publish-not-ready \
         --ip-family-policy requiredualstack --ip-families ipv6,ipv4 --cluster-ip fd43::7 -l a=b",
    )
    .unwrap();
    assert_eq!(web["metadata"]["labels"], json!({ "a": "b" }));
    assert_eq!(
        web["spec"],
        json!({
            "type": "LoadBalancer",
            "selector": { "app": "shop", "tier": "front" },
            "ports": [
                { "name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 30080 },
                { "name": "dns", "port": 53, "targetPort": "domain", "protocol": "UDP" },
            ],
            "clusterIP": "fd43::7",
            "ipFamilies": ["IPv6", "IPv4"],
            "ipFamilyPolicy": "RequireDualStack",
            "externalIPs": ["192.0.2.7"],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 60 } },
            "internalTrafficPolicy": "Local",
            "externalTrafficPolicy": "Local",
            "publishNotReadyAddresses": true,
            "loadBalancerIP": "203.0.113.5",
            "loadBalancerSourceRanges": ["198.51.100.0/24"],
            "trafficDistribution": "PreferSameZone",
        })
    );
}

#[test]
fn a_flag_that_only_one_type_has_chooses_it() {
    let kind = |flags: &str| read(flags).unwrap()["spec"]["type"].clone();
    assert_eq!(kind("--port 80 --node-port 30080"), "NodePort");
    assert_eq!(kind("--port 80 --load-balancer-ip 203.0.113.5"), "LoadBalancer");
    assert_eq!(kind("--port 80 --type ClusterIP --node-port 30080"), "ClusterIP");
    let alias = read("--external-name example.org").unwrap();
    assert_eq!(
        alias["spec"],
        json!({ "type": "ExternalName", "externalName": "example.org", "sessionAffinity": "None" })
    );
}

#[test]
fn ports_without_names_get_kubectls_where_there_are_several() {
    let web = read("--port 80 --port 443:8443 --target-port web --protocol sctp").unwrap();
    assert_eq!(
        web["spec"]["ports"],
        json!([
            { "name": "port-1", "port": 80, "targetPort": "web", "protocol": "SCTP" },
            { "name": "port-2", "port": 443, "targetPort": 8443, "protocol": "SCTP" },
        ])
    );
}

#[test]
fn a_headless_service_needs_no_port_and_others_do() {
    assert_eq!(read("--headless").unwrap()["spec"]["clusterIP"], "None");
    assert_eq!(read("--cluster-ip none").unwrap()["spec"]["clusterIP"], "None");
    let failure = read("").expect_err("no port");
    assert_eq!(failure.code, crate::failure::USAGE);
    assert!(failure.hints[0].contains("--port 80:8080"), "{failure:?}");
    assert!(read("--port 80 --node-port 30080,30081").is_err());
    let failure = read("--port 80 --selector app!=web").expect_err("no equality");
    assert!(failure.message.contains("app!=web"), "{failure:?}");
    assert_eq!(read("--port 80 --selector=").unwrap()["spec"].get("selector"), None);
}

#[test]
fn a_port_that_is_none_is_answered_with_how_to_write_it() {
    for text in ["0", "65536", "http", "80/icmp", "", "a:b:c:d", "80:0", "http:http"] {
        let error = port(text).expect_err(text);
        assert!(error.contains('`'), "{text}: {error}");
    }
    assert_eq!(port(":80").unwrap().name, None);
}
