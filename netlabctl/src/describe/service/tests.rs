// SPDX-License-Identifier: GPL-3.0-or-later
use expect_test::expect;
use serde_json::{Value, from_value, json};

use super::*;

fn now() -> Time {
    from_value(json!("2026-11-22T10:05:00Z")).unwrap()
}

fn pod(name: &str, status: Value) -> Pod {
    from_value(json!({
        "metadata": { "name": name, "namespace": "shop", "labels": { "app": "web" } },
        "spec": { "ports": [{ "name": "http", "containerPort": 8080 }] },
        "status": status,
    }))
    .unwrap()
}

fn endpoint(ip: &str, pod: &str, ready: bool) -> Value {
    json!({
        "addresses": [ip], "nodeName": "n1", "zone": "a",
        "conditions": { "ready": ready, "serving": ready, "terminating": pod == "web-2" },
        "targetRef": { "kind": "Pod", "name": pod },
    })
}

fn slices() -> [EndpointSlice; 2] {
    let slice = |name: &str, kind: &str, endpoints: Value| {
        from_value(json!({
            "metadata": { "name": name, "namespace": "shop", "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": kind, "endpoints": endpoints,
            "ports": [{ "name": "http", "port": 8080 }, { "name": "dns", "protocol": "UDP", "port": 5353 }],
        }))
        .unwrap()
    };
    [
        slice(
            "web-v4",
            "IPv4",
            json!([
                endpoint("10.42.0.5", "web-0", true),
                endpoint("10.42.0.6", "web-1", false),
                endpoint("10.42.0.7", "web-2", false),
            ]),
        ),
        slice("web-v6", "IPv6", json!([endpoint("fd42::5", "web-0", true)])),
    ]
}

#[test]
fn a_service_tells_who_takes_its_connections_and_why_others_do_not() {
    let web: Service = from_value(json!({
        "metadata": { "name": "web", "namespace": "shop", "labels": { "app": "web" } },
        "spec": {
            "type": "LoadBalancer", "selector": { "app": "web" },
            "clusterIP": "10.43.0.7", "clusterIPs": ["10.43.0.7", "fd43::7"],
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack",
            "ports": [
                { "name": "http", "port": 80, "targetPort": "http", "nodePort": 30080 },
                { "name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP", "nodePort": 30053 },
            ],
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000,
            "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.7"],
            "loadBalancerSourceRanges": ["198.51.100.0/24"], "trafficDistribution": "PreferSameZone",
        },
        "status": { "loadBalancer": { "ingress": [{ "ip": "203.0.113.5" }] } },
    }))
    .unwrap();
    let ready = json!({ "phase": "Running", "podIP": "10.42.0.5", "conditions": [{ "type": "Ready", "status": "True" }] });
    let mut leaving = pod("web-2", ready.clone());
    leaving.metadata.deletion_timestamp = Some(now());
    let pods = [
        pod("web-0", ready),
        pod(
            "web-1",
            json!({ "phase": "Running", "podIP": "10.42.0.6", "containerStatuses": [{
                "name": "web-1", "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 20s" } },
                "lastState": { "terminated": { "exitCode": 3, "reason": "Error" } },
            }]}),
        ),
        leaving,
        pod("web-3", json!({ "phase": "Succeeded", "podIP": "10.42.0.8" })),
        pod("web-4", json!({})),
    ];
    expect![[r#"
        Name:                       web
        Namespace:                  shop
        Labels:                     app=web
        Annotations:                <none>
        Selector:                   app=web
        Type:                       LoadBalancer
        IP Family Policy:           PreferDualStack
        IP Families:                IPv4,IPv6
        IP:                         10.43.0.7
        IPs:                        10.43.0.7,fd43::7
        External IPs:               192.0.2.7
        LoadBalancer Ingress:       203.0.113.5 (VIP)
        Port:                       http  80/TCP
        TargetPort:                 http/TCP
        NodePort:                   http  30080/TCP
        Endpoints:                  10.42.0.5:8080,[fd42::5]:8080
        Port:                       dns  53/UDP
        TargetPort:                 5353/UDP
        NodePort:                   dns  30053/UDP
        Endpoints:                  10.42.0.5:5353,[fd42::5]:5353
        Session Affinity:           ClientIP
        Affinity Timeout:           10800s
        External Traffic Policy:    Local
        Internal Traffic Policy:    Cluster
        Traffic Distribution:       PreferSameZone
        HealthCheck NodePort:       32000
        LoadBalancer Source Ranges: 198.51.100.0/24
        Targets:
          Endpoint             Pod    Node  Zone  Ready  Serving  Terminating  Why Not
          --------             ---    ----  ----  -----  -------  -----------  -------
          10.42.0.5:8080,5353  web-0  n1    a     true   true     false
          10.42.0.6:8080,5353  web-1  n1    a     false  false    false        CrashLoopBackOff: back-off 20s (last: Error, exit code 3)
          10.42.0.7:8080,5353  web-2  n1    a     false  false    true         it is being deleted
          [fd42::5]:8080,5353  web-0  n1    a     true   true     false
        Selected But No Endpoint:
          Pod    Why
          ---    ---
          web-3  its command has ended for good
          web-4  it has no address: no node has taken it up yet
        Events:                     <none>
    "#]]
    .assert_eq(&service(&web, &slices(), &pods, &[], now()));
}

#[test]
fn an_alias_has_a_name_and_no_endpoints() {
    let db: Service = from_value(json!({
        "metadata": { "name": "db", "namespace": "shop" },
        "spec": { "type": "ExternalName", "externalName": "db.example.org" },
    }))
    .unwrap();
    expect![[r#"
        Name:                       db
        Namespace:                  shop
        Labels:                     <none>
        Annotations:                <none>
        Selector:                   <none>
        Type:                       ExternalName
        External Name:              db.example.org
        Session Affinity:           None
        Events:                     <none>
    "#]]
    .assert_eq(&service(&db, &[], &[], &[], now()));
}

#[test]
fn a_slice_is_described_as_in_kubectl() {
    expect![[r#"
        Name:               web-v6
        Namespace:          shop
        Labels:             kubernetes.io/service-name=web
        Annotations:        <none>
        AddressType:        IPv6
        Ports:
          Name  Port  Protocol
          ----  ----  --------
          http  8080  TCP
          dns   5353  UDP
        Endpoints:
          - Addresses:      fd42::5
            Conditions:
              Ready:        true
              Serving:      true
              Terminating:  false
            Hostname:       <unset>
            TargetRef:      Pod/web-0
            NodeName:       n1
            Zone:           a
        Events:             <none>
    "#]]
    .assert_eq(&slice(&slices()[1], &[], now()));
}
