// SPDX-License-Identifier: GPL-3.0-or-later
use serde_json::{from_value, json};

use super::*;

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_name_a_pod_and_kubectls_form_are_told_apart() {
    let read = |line: &str| Subject::read(&words(line)).unwrap();
    assert_eq!(read("web"), Subject::Name("web".to_owned()));
    assert_eq!(read("pod web"), Subject::Pod("web".to_owned()));
    assert_eq!(read("po/web"), Subject::Pod("web".to_owned()));
    let failure = Subject::read(&words("svc web")).expect_err("no pod");
    assert!(failure.hints[0].contains("svc expose web"), "{failure:?}");
    assert!(Subject::read(&words("deployment web")).is_err());
    assert!(Subject::read(&words("pod a b")).is_err());
}

#[test]
fn a_service_of_another_name_selects_the_pods_that_were_named() {
    let selector = |given: Option<&str>| {
        let mut flags = ServiceFlags { headless: true, ..ServiceFlags::default() };
        flags.selector = given.map(str::to_owned);
        like_name(&mut flags, "shop");
        flags.service("web", "default").unwrap().spec.selector
    };
    let one = |value: &str| [("app".to_owned(), value.to_owned())].into();
    assert_eq!(selector(None), one("shop"));
    assert_eq!(selector(Some("app=other")), one("other"));
}

#[test]
fn an_exposed_pod_lends_its_labels_and_ports() {
    let pod: Pod = from_value(json!({
        "metadata": { "name": "web-0", "labels": { "app": "web", "tier": "front" } },
        "spec": { "ports": [{ "name": "http", "containerPort": 8080 }, { "containerPort": 53, "protocol": "UDP" }] },
    }))
    .unwrap();
    let mut flags = ServiceFlags::default();
    like_pod(&mut flags, &pod).unwrap();
    let service = flags.service("web", "default").unwrap();
    assert_eq!(service.spec.selector, pod.metadata.labels);
    assert_eq!(service.metadata.labels, pod.metadata.labels);
    assert_eq!(
        serde_json::to_value(&service.spec.ports).unwrap(),
        json!([
            { "name": "http", "port": 8080, "protocol": "TCP" },
            { "name": "port-2", "port": 53, "protocol": "UDP" },
        ])
    );
    let bare: Pod = from_value(json!({ "metadata": { "name": "web" } })).unwrap();
    let failure = like_pod(&mut ServiceFlags::default(), &bare).expect_err("no labels");
    assert!(failure.hints[0].contains("netlabctl label pod web app=web"), "{failure:?}");
}

#[test]
fn how_a_service_is_reached_follows_its_type() {
    let told = |spec, status| {
        let service =
            from_value(json!({ "metadata": { "name": "web" }, "spec": spec, "status": status }));
        reach(&service.unwrap())
    };
    let none = json!({});
    assert_eq!(
        told(
            json!({
                "type": "LoadBalancer", "clusterIP": "10.43.0.7", "clusterIPs": ["10.43.0.7", "fd43::7"],
                "ports": [{ "port": 80, "nodePort": 30080 }, { "port": 53, "protocol": "UDP", "nodePort": 30053 }],
            }),
            json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.5" }] } })
        ),
        "pods and nodes reach it at 10.43.0.7 and fd43::7, port 80/TCP, 53/UDP; others at port 30080, 30053 of each node; others at 203.0.113.5, port 80/TCP, 53/UDP"
    );
    assert_eq!(
        told(json!({ "clusterIP": "10.43.0.7", "ports": [{ "port": 80 }] }), none.clone()),
        "pods and nodes reach it at 10.43.0.7, port 80/TCP"
    );
    let pending =
        json!({ "type": "LoadBalancer", "clusterIP": "10.43.0.7", "ports": [{ "port": 80 }] });
    assert!(told(pending, none.clone()).ends_with("; its load balancer's address is pending"));
    assert!(told(json!({ "clusterIP": "None" }), none.clone()).contains("no address of its own"));
    let alias = json!({ "type": "ExternalName", "externalName": "example.org" });
    assert!(told(alias, none).contains("an alias of example.org"));
}
