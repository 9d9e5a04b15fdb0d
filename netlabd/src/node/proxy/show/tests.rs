// SPDX-License-Identifier: GPL-3.0-or-later
use expect_test::expect_file;
use serde_json::{Value, json};

use super::*;

fn scene() -> Scene {
    Scene {
        node: NodeFacts { name: "n1".to_owned(), zone: None },
        config: BaseConfig {
            pod_networks: vec!["10.42.0.0/16".parse().unwrap(), "fd42::/48".parse().unwrap()],
            service_networks: vec!["10.43.0.0/16".parse().unwrap(), "fd43::/112".parse().unwrap()],
            ..BaseConfig::default()
        },
        in_use: ProxyMode::Nftables,
    }
}

/// A service `default/web` with this spec.
fn service(spec: Value) -> Service {
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": spec,
        "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.9" }] } },
    }))
    .unwrap()
}

fn slice(endpoints: &[(&str, &str)]) -> EndpointSlice {
    let v6 = endpoints.first().is_some_and(|(address, _)| address.contains(':'));
    serde_json::from_value(json!({
        "metadata": {
            "name": "web-1",
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": "web" },
        },
        "addressType": if v6 { "IPv6" } else { "IPv4" },
        "ports": [{ "port": 8080 }],
        "endpoints": endpoints.iter().map(|(address, node)| json!({
            "addresses": [address], "conditions": { "ready": true }, "nodeName": node,
        })).collect::<Vec<_>>(),
    }))
    .unwrap()
}

const TWO: &[(&str, &str)] = &[("10.42.0.1", "n1"), ("10.42.1.2", "n2")];

fn plain() -> Value {
    json!({ "clusterIP": "10.43.0.7", "ports": [{ "port": 80 }] })
}

fn with(mut spec: Value, more: Value) -> Value {
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn node_port() -> Value {
    with(plain(), json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] }))
}

fn balancer() -> Value {
    let ports = json!([{ "port": 80, "nodePort": 30080 }]);
    with(
        plain(),
        json!({
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "loadBalancerSourceRanges": ["198.51.100.0/24"],
            "ports": ports,
        }),
    )
}

/// The plans of a service with these endpoints.
fn planned(service: &Service, endpoints: &[(&str, &str)]) -> (ServiceName, Vec<PortPlan>) {
    let name = ("default".to_owned(), service.metadata.name.clone());
    (name, plan_service(service, &Endpoints::of([&slice(endpoints)]), &scene().node))
}

fn show(mode: ProxyMode, service: &Service, endpoints: &[(&str, &str)]) -> ProxyRules {
    show_service(mode, &scene(), service, BTreeMap::from([planned(service, endpoints)]))
}

/// Compares what both layouts do with a file of the folder `golden` each.
#[track_caller]
fn check(name: &str, spec: Value, endpoints: &[(&str, &str)]) {
    for mode in ProxyMode::ALL {
        let shown = show(mode, &service(spec.clone()), endpoints);
        expect_file![format!("golden/{name}.{mode}.txt")].assert_eq(&shown.to_string());
    }
}

#[test]
fn a_cluster_ip_leads_to_any_endpoint() {
    check("cluster-ip", plain(), TWO);
}

#[test]
fn a_service_without_endpoints_is_refused() {
    check("no-endpoints", plain(), &[]);
}

#[test]
fn endpoints_elsewhere_are_no_use_to_a_local_policy() {
    let spec = with(plain(), json!({ "internalTrafficPolicy": "Local" }));
    check("internal-local", spec, &TWO[1..]);
}

#[test]
fn a_node_port_is_at_the_node() {
    check("node-port", node_port(), TWO);
}

#[test]
fn a_load_balancer_has_source_ranges_and_keeps_sources() {
    check("load-balancer", balancer(), TWO);
}

#[test]
fn an_external_ip_with_affinity_remembers_clients() {
    let more = json!({ "externalIPs": ["203.0.113.5"], "sessionAffinity": "ClientIP" });
    check("external-ip", with(plain(), more), TWO);
}

/// Of two services that ask for one address, and of two with one node port, the first has it.
#[test]
fn what_another_service_has_leads_there() {
    let both = json!({
        "type": "NodePort", "externalIPs": ["203.0.113.5"],
        "ports": [{ "port": 80, "nodePort": 30080 }],
    });
    let web = service(with(plain(), both.clone()));
    let mut first = service(with(both, json!({ "clusterIP": "10.43.0.6" })));
    first.metadata.name = "first".to_owned();
    for mode in ProxyMode::ALL {
        let others = [("10.42.9.9", "n2")];
        let all = BTreeMap::from([planned(&web, TWO), planned(&first, &others)]);
        let shown = show_service(mode, &scene(), &web, all.clone());
        assert_eq!(shown.notes.len(), 2, "{shown}");
        assert!(shown.notes.iter().all(|note| note.contains("service default/first")), "{shown}");
        for front in &shown.fronts {
            let is_own = front.kind == FrontKind::ClusterIp;
            let leads_to = if is_own { "10.42.0.1:8080" } else { "10.42.9.9:8080" };
            let outcome = &front.outcomes.iter().find(|it| it.client == "a pod").unwrap().result;
            assert!(outcome.contains(leads_to), "{mode}: {shown}");
        }
        // The one that has them says nothing of others.
        assert!(show_service(mode, &scene(), &first, all).notes.is_empty());
    }
}

#[test]
fn services_without_rules_say_why() {
    check("headless", json!({ "clusterIP": "None", "ports": [{ "port": 80 }] }), TWO);
    check("alias", json!({ "type": "ExternalName", "externalName": "example.org" }), &[]);
}

#[test]
fn the_base_is_told_with_the_services() {
    let scene = Scene {
        config: BaseConfig {
            pod_networks: vec!["10.42.0.0/16".parse().unwrap()],
            service_networks: vec!["10.43.0.0/16".parse().unwrap()],
            ..BaseConfig::default()
        },
        in_use: ProxyMode::Iptables,
        ..scene()
    };
    let services = [service(node_port())];
    let shown = show_base(ProxyMode::Nftables, &scene, &services, &[slice(TWO)]);
    assert_eq!(
        shown.services,
        [ProxyService {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            fronts: vec!["10.43.0.7:80/TCP".to_owned(), "*:30080/TCP".to_owned()],
            endpoints: vec!["10.42.0.1:8080".parse().unwrap(), "10.42.1.2:8080".parse().unwrap()],
        }]
    );
    expect_file!["golden/base.nftables.txt"].assert_eq(&shown.to_string());
    let shown = show_base(ProxyMode::Iptables, &scene, &services, &[]);
    expect_file!["golden/base.iptables.txt"].assert_eq(&shown.to_string());
}

/// Every rule that is shown stands in what the planner makes, word for word.
#[test]
fn no_rule_is_invented() {
    for mode in ProxyMode::ALL {
        for spec in [plain(), node_port(), balancer()] {
            let service = service(spec);
            let shown = show(mode, &service, TWO);
            let plans = plan_service(&service, &Endpoints::of([&slice(TWO)]), &scene().node);
            let mut desired = Desired::new(mode, scene().config);
            let name = ("default".to_owned(), "web".to_owned());
            desired.replace(BTreeMap::from([(name, plans)]));
            let made = desired.whole().to_string();
            for rule in shown.fronts.iter().flat_map(|front| &front.hooks).flat_map(|it| &it.rules)
            {
                for chain in rule.chain.split(", ") {
                    let line = format!(
                        "add rule ip netlab {chain} {} comment \"{}\"\n",
                        rule.rule, rule.comment
                    );
                    assert!(made.contains(&line), "{line} is not in\n{made}");
                }
            }
        }
    }
}

#[test]
fn both_families_are_told() {
    let spec = json!({
        "clusterIP": "fd43::7", "clusterIPs": ["fd43::7"], "ports": [{ "port": 80 }],
    });
    let shown = show(ProxyMode::Nftables, &service(spec), &[("fd42::1", "n1")]);
    let [front] = shown.fronts.as_slice() else { panic!("{shown}") };
    assert_eq!(front.family, "ip6");
    assert_eq!(front.outcomes[0].client, "a pod");
    assert_eq!(front.outcomes[0].result, "[fd43::7]:80 becomes [fd42::1]:8080; the source stays");
}
