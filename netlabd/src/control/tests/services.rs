// SPDX-License-Identifier: GPL-3.0-or-later
use std::collections::BTreeSet;

use netlab_api::Service;
use netlab_api::service::{IpFamily, IpMode};

use super::*;

/// Named `name`, with this spec.
fn service(name: &str, spec: Value) -> Object {
    object(json!({ "kind": "Service", "metadata": { "name": name }, "spec": spec }))
}

fn web(name: &str) -> Object {
    service(name, json!({ "ports": [{ "port": 80 }] }))
}

fn of_type(name: &str, kind: &str) -> Object {
    service(name, json!({ "type": kind, "ports": [{ "port": 80 }] }))
}

fn service_key(name: &str) -> ObjectKey {
    ObjectKey { kind: Kind::Service, namespace: Some("default".to_owned()), name: name.to_owned() }
}

impl Lab {
    async fn with_services(change: impl FnOnce(&mut ServiceConfig)) -> Lab {
        let mut services = ServiceConfig::default();
        change(&mut services);
        Lab::configured(&["10.42.0.0/16", "fd42::/48"], services, crate::control::NODE_GRACE).await
    }

    async fn serve(&self, service: Object) -> Result<Service, ApiError> {
        match self.create(service).await? {
            Object::Service(service) => Ok(service),
            other => panic!("a service, not {other:?}"),
        }
    }

    async fn service(&self, name: &str) -> Service {
        match self.control.get(&service_key(name)).await.unwrap() {
            Object::Service(service) => service,
            other => panic!("a service, not {other:?}"),
        }
    }

    async fn patch_service(&self, name: &str, spec: Value) -> Result<Service, ApiError> {
        match self.patch(&service_key(name), json!({ "spec": spec })).await? {
            Object::Service(service) => Ok(service),
            other => panic!("a service, not {other:?}"),
        }
    }

    /// Paths of what is held, below `allocations/`.
    async fn allocations(&self) -> Vec<String> {
        let listing = self.store.list("allocations/").await.unwrap();
        let path = |key: &str| key.strip_prefix("allocations/").unwrap().to_owned();
        listing.entries.iter().map(|entry| path(&entry.key)).collect()
    }
}

fn node_port(service: &Service) -> Option<u16> {
    service.spec.ports[0].node_port
}

fn ingress(service: &Service) -> Vec<String> {
    service.status.load_balancer.ingress.iter().map(|ingress| ingress.ip.to_string()).collect()
}

#[test]
fn a_service_gets_what_it_leaves_out() {
    run(async {
        let lab = Lab::with_services(|_| {}).await;
        let made = lab.serve(web("web")).await.unwrap();
        let ip = made.spec.cluster_ip.clone().unwrap();
        assert!(ip.starts_with("10.43."), "{ip}");
        let expected = json!({
            "type": "ClusterIP",
            "ports": [{ "protocol": "TCP", "port": 80, "targetPort": 80 }],
            "clusterIP": ip,
            "clusterIPs": [ip],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
        });
        assert_eq!(serde_json::to_value(&made.spec).unwrap(), expected);
        assert_eq!(lab.allocations().await, [format!("clusterip/{ip}")]);
        lab.delete(&service_key("web")).await.unwrap();
        assert!(lab.allocations().await.is_empty());
    });
}

#[test]
fn what_is_taken_is_refused_with_its_holder() {
    run(async {
        let lab = Lab::with_services(|_| {}).await;
        let spec = json!({
            "type": "NodePort", "clusterIP": "10.43.0.7", "ports": [{ "port": 80, "nodePort": 30080 }]
        });
        lab.serve(service("db", spec)).await.unwrap();
        let refused = async |spec| {
            let error = lab.serve(service("web", spec)).await.unwrap_err();
            assert_eq!(error.reason, Reason::Invalid);
            assert!(error.hint.is_some());
            (error.field.unwrap(), error.message)
        };
        let (field, message) =
            refused(json!({ "clusterIP": "10.43.0.7", "ports": [{ "port": 80 }] })).await;
        assert_eq!(field, "spec.clusterIP");
        let holder = "10.43.0.7 is already the cluster IP of service default/db";
        assert!(message.ends_with(holder), "{message}");
        let port =
            |number| json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": number }] });
        let (field, message) = refused(port(30_080)).await;
        assert_eq!(field, "spec.ports[0].nodePort");
        let holder = "30080/TCP is already a node port of service default/db";
        assert!(message.ends_with(holder), "{message}");
        let (_, message) = refused(port(80)).await;
        assert!(message.ends_with("80 is not in the range of node ports, 30000-32767"));
        for wrong in ["10.44.0.7", "10.43.0.0", "10.43.255.255"] {
            let (_, message) =
                refused(json!({ "clusterIP": wrong, "ports": [{ "port": 1 }] })).await;
            assert!(message.contains("the service network 10.43.0.0/16"), "{message}");
        }
        // Nothing of those that were refused is held.
        assert_eq!(lab.allocations().await, ["clusterip/10.43.0.7", "nodeport/tcp/30080"]);
    });
}

#[test]
fn of_two_services_that_want_one_address_at_once_one_gets_it() {
    run(async {
        for _ in 0..20 {
            let lab = Lab::with_services(|_| {}).await;
            let spec = || json!({ "clusterIP": "10.43.1.1", "ports": [{ "port": 80 }] });
            let (one, two) =
                tokio::join!(lab.serve(service("a", spec())), lab.serve(service("b", spec())));
            assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        }
    });
}

#[test]
fn a_full_network_gives_its_last_addresses_and_then_says_so() {
    run(async {
        let network = "10.43.0.0/28".parse().unwrap();
        let lab = Lab::with_services(|services| services.networks = vec![network]).await;
        let mut given = BTreeSet::new();
        for number in 0..14 {
            let made = lab.serve(web(&format!("web-{number}"))).await.unwrap();
            given.insert(made.spec.cluster_ip.unwrap());
        }
        assert_eq!(given.len(), 14);
        let error = lab.serve(web("late")).await.unwrap_err();
        assert!(error.message.contains("no address is left in the service network"), "{error}");
        lab.delete(&service_key("web-3")).await.unwrap();
        lab.serve(web("late")).await.unwrap();
    });
}

#[test]
fn node_ports_of_the_band_are_given_last() {
    run(async {
        // 18 ports, of which the lowest 16 are the band.
        let lab = Lab::with_services(|services| services.node_ports = 30_000..=30_017).await;
        let mut given = Vec::new();
        for number in 0..18 {
            let name = format!("web-{number}");
            given.extend(node_port(&lab.serve(of_type(&name, "NodePort")).await.unwrap()));
        }
        given[..2].sort();
        assert_eq!(given[..2], [30_016, 30_017]);
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 18);
        let error = lab.serve(of_type("late", "NodePort")).await.unwrap_err();
        assert!(error.message.ends_with("no node port is left of 30000-30017"), "{error}");
    });
}

#[test]
fn both_protocols_of_a_port_share_its_node_port() {
    run(async {
        let lab = Lab::with_services(|_| {}).await;
        let ports = json!([
            { "name": "dns", "port": 53, "protocol": "UDP" },
            { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
            { "name": "web", "port": 80 },
        ]);
        let spec = json!({ "type": "NodePort", "ports": ports });
        let made = lab.serve(service("dns", spec)).await.unwrap();
        let numbers: Vec<_> = made.spec.ports.iter().map(|port| port.node_port.unwrap()).collect();
        assert_eq!(numbers[0], numbers[1]);
        assert_ne!(numbers[0], numbers[2]);
        assert_eq!(lab.allocations().await.len(), 4);
    });
}

#[test]
fn an_update_keeps_what_it_leaves_out() {
    run(async {
        let lab = Lab::with_services(|_| {}).await;
        let spec = json!({
            "type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "ports": [{ "name": "a", "port": 80 }, { "name": "b", "port": 443 }]
        });
        lab.apply_one(service("web", spec.clone())).await;
        let before = lab.service("web").await;
        assert!(before.spec.health_check_node_port.is_some());
        assert_eq!(lab.apply_one(service("web", spec.clone())).await, ApplyResult::Unchanged);
        assert_eq!(lab.service("web").await, before);
        // The other way round, and with one more.
        let mut other = spec;
        other["ports"] = json!([
            { "name": "b", "port": 443 }, { "name": "c", "port": 8080 }, { "name": "a", "port": 80 }
        ]);
        let mut replaced = service("web", other);
        replaced.metadata_mut().resource_version = before.metadata.resource_version.clone();
        lab.control.replace(replaced, false).await.unwrap();
        let after = lab.service("web").await;
        assert_eq!(after.spec.cluster_ips, before.spec.cluster_ips);
        assert_eq!(after.spec.health_check_node_port, before.spec.health_check_node_port);
        assert_eq!(after.spec.ports[0].node_port, before.spec.ports[1].node_port);
        assert_eq!(after.spec.ports[2].node_port, before.spec.ports[0].node_port);
        assert!(after.spec.ports[1].node_port.is_some());
        assert_eq!(lab.allocations().await.len(), 5);
    });
}

#[test]
fn a_change_of_type_gives_and_takes_back() {
    run(async {
        let lab = Lab::with_services(|_| {}).await;
        lab.serve(web("web")).await.unwrap();
        let made = lab.patch_service("web", json!({ "type": "NodePort" })).await.unwrap();
        assert!(node_port(&made).is_some());
        assert_eq!(lab.allocations().await.len(), 2);
        let made = lab.patch_service("web", json!({ "type": "ClusterIP" })).await.unwrap();
        assert_eq!((node_port(&made), made.spec.external_traffic_policy), (None, None));
        assert_eq!(lab.allocations().await.len(), 1);
        let name = json!({ "type": "ExternalName", "externalName": "example.com" });
        let made = lab.patch_service("web", name).await.unwrap();
        assert_eq!((made.spec.cluster_ip, made.spec.ip_families), (None, vec![]));
        assert!(lab.allocations().await.is_empty());
        let made = lab.patch_service("web", json!({ "type": "ClusterIP" })).await.unwrap();
        assert!(made.spec.cluster_ip.is_some() && made.spec.external_name.is_none());
        assert_eq!(lab.allocations().await.len(), 1);
    });
}

#[test]
fn an_applied_change_of_type_is_the_same() {
    run(async {
        let lab = Lab::with_services(|_| {}).await;
        lab.apply_one(of_type("web", "NodePort")).await;
        let before = lab.service("web").await;
        assert_eq!(lab.apply_one(of_type("web", "ClusterIP")).await, ApplyResult::Configured);
        let after = lab.service("web").await;
        assert_eq!((node_port(&after), &after.spec.cluster_ip), (None, &before.spec.cluster_ip));
        assert_eq!(after.metadata.generation, 2);
    });
}

#[test]
fn families_are_as_many_as_are_wished_for() {
    run(async {
        let lab = Lab::with_services(|_| {}).await;
        let families = async |name: &str, mut spec: Value| {
            spec["ports"] = json!([{ "port": 80 }]);
            let made = lab.serve(service(name, spec)).await.unwrap();
            let of_ips: Vec<_> = made.cluster_ips().map(IpFamily::of).collect();
            assert_eq!(of_ips, made.spec.ip_families);
            (made.spec.ip_family_policy.map(|p| format!("{p:?}")).unwrap(), of_ips)
        };
        let (v4, v6) = (IpFamily::IPv4, IpFamily::IPv6);
        let dual = |policy: &str, families: [IpFamily; 2]| (policy.to_owned(), families.to_vec());
        let prefer = json!({ "ipFamilyPolicy": "PreferDualStack" });
        assert_eq!(families("a", prefer).await, dual("PreferDualStack", [v4, v6]));
        let turned = json!({ "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"] });
        assert_eq!(families("b", turned).await, dual("RequireDualStack", [v6, v4]));
        let given = json!({ "clusterIPs": ["10.43.3.3", "fd43::33"] });
        assert_eq!(families("c", given).await, dual("RequireDualStack", [v4, v6]));
        let single = json!({ "ipFamilies": ["IPv6"] });
        assert_eq!(families("d", single).await, ("SingleStack".to_owned(), vec![v6]));
        // One family more, and one less.
        let prefer = json!({ "ipFamilyPolicy": "PreferDualStack" });
        assert_eq!(lab.patch_service("d", prefer).await.unwrap().spec.cluster_ips.len(), 2);
        let single = json!({ "ipFamilyPolicy": "SingleStack" });
        let made = lab.patch_service("d", single).await.unwrap();
        assert_eq!((made.spec.cluster_ips.len(), made.spec.ip_families), (1, vec![v6]));
        assert_eq!(lab.allocations().await.len(), 7);
    });
}

#[test]
fn a_cluster_of_one_family_cannot_give_two() {
    run(async {
        let network = "10.43.0.0/16".parse().unwrap();
        let lab = Lab::with_services(|services| services.networks = vec![network]).await;
        let spec = |policy| json!({ "ipFamilyPolicy": policy, "ports": [{ "port": 80 }] });
        let made = lab.serve(service("web", spec("PreferDualStack"))).await.unwrap();
        assert_eq!(made.spec.ip_families, [IpFamily::IPv4]);
        let error = lab.serve(service("db", spec("RequireDualStack"))).await.unwrap_err();
        assert_eq!(error.field.as_deref(), Some("spec.ipFamilyPolicy"));
        let spec = json!({ "ipFamilies": ["IPv6"], "ports": [{ "port": 80 }] });
        let error = lab.serve(service("db", spec)).await.unwrap_err();
        assert!(error.message.ends_with("the cluster has no IPv6 network for services"), "{error}");
    });
}

#[test]
fn a_headless_service_has_no_address() {
    run(async {
        let lab = Lab::with_services(|_| {}).await;
        let spec = json!({ "clusterIP": "None", "selector": { "app": "db" } });
        let made = lab.serve(service("db", spec)).await.unwrap();
        assert!(made.is_headless());
        assert_eq!((made.spec.cluster_ips, made.spec.ip_families.len()), (vec!["None".into()], 1));
        let made = lab.serve(service("open", json!({ "clusterIP": "None" }))).await.unwrap();
        assert_eq!(made.spec.ip_families, [IpFamily::IPv4, IpFamily::IPv6]);
        assert!(lab.allocations().await.is_empty());
    });
}

#[test]
fn load_balancers_get_addresses_and_wait_when_there_is_none() {
    run(async {
        let pools = ["192.0.2.0/31", "fd99::/127"].map(|pool| pool.parse().unwrap());
        let lab =
            Lab::with_services(|services| services.load_balancer_pools = pools.to_vec()).await;
        let spec = json!({
            "type": "LoadBalancer", "ipFamilyPolicy": "PreferDualStack", "ports": [{ "port": 80 }]
        });
        let made = lab.serve(service("both", spec)).await.unwrap();
        assert_eq!(ingress(&made), ["192.0.2.0", "fd99::"]);
        let spec = json!({
            "type": "LoadBalancer", "loadBalancerIP": "192.0.2.0", "ports": [{ "port": 80 }]
        });
        let made = lab.serve(service("wish", spec)).await.unwrap();
        assert!(ingress(&made).is_empty());
        let message = lab.events().await.into_iter().map(|event| event.message).next().unwrap();
        assert!(message.ends_with("192.0.2.0 is already the address of service default/both"));
        let second = lab.serve(of_type("second", "LoadBalancer")).await.unwrap();
        assert_eq!(ingress(&second), ["192.0.2.1"]);
        assert!(ingress(&lab.serve(of_type("third", "LoadBalancer")).await.unwrap()).is_empty());
        lab.delete(&service_key("both")).await.unwrap();
        assert_eq!(ingress(&lab.service("wish").await), ["192.0.2.0"]);
        assert!(ingress(&lab.service("third").await).is_empty());
        lab.patch_service("second", json!({ "type": "ClusterIP" })).await.unwrap();
        assert!(ingress(&lab.service("second").await).is_empty());
        assert_eq!(ingress(&lab.service("third").await), ["192.0.2.1"]);
        assert!(lab.store.list("waiting/").await.unwrap().entries.is_empty());
    });
}

#[test]
fn without_a_pool_a_load_balancer_waits_for_the_next_start() {
    run(async {
        let lab = Lab::with_services(|_| {}).await;
        let made = lab.serve(of_type("web", "LoadBalancer")).await.unwrap();
        assert!(ingress(&made).is_empty() && node_port(&made).is_some());
        let mut config = lab.control.config().clone();
        config.services.load_balancer_pools = vec!["192.0.2.7/32".parse().unwrap()];
        Control::open(lab.store.clone(), config).await.unwrap();
        assert_eq!(ingress(&lab.service("web").await), ["192.0.2.7"]);
    });
}

#[test]
fn load_balancers_follow_another_configuration_and_keep_their_addresses() {
    run(async {
        let pools = |text: &str| vec![text.parse().unwrap()];
        let pool = pools("192.0.2.0/28");
        let lab = Lab::with_services(|config| config.load_balancer_pools = pool).await;
        lab.serve(of_type("web", "LoadBalancer")).await.unwrap();
        let had = lab.service("web").await.status;
        let mut config = lab.control.config().clone();
        config.services.load_balancer_ip_mode = IpMode::Proxy;
        config.services.load_balancer_pools = pools("198.51.100.0/28");
        let control = Control::open(lab.store.clone(), config.clone()).await.unwrap();
        let mut expected = had.clone();
        expected.load_balancer.ingress[0].ip_mode = IpMode::Proxy;
        assert_eq!(lab.service("web").await.status, expected);
        let told = async || {
            let events = lab.all(Kind::Event).await.into_iter();
            let events = events.filter_map(|object| match object {
                Object::Event(event) => Some((event.reason, event.count)),
                _ => None,
            });
            events.filter(|(reason, _)| reason == "AddressOutsidePools").collect::<Vec<_>>()
        };
        assert_eq!(told().await, [("AddressOutsidePools".to_owned(), 1)]);
        // It stays when the service changes otherwise, and nobody else gets it.
        let key = service_key("web");
        let patch = json!({ "spec": { "ports": [{ "port": 81 }] } });
        control.patch(&key, patch, false).await.unwrap();
        assert_eq!(lab.service("web").await.status, expected);
        // The same configuration once more is no news; and the old one undoes all of it.
        Control::open(lab.store.clone(), config).await.unwrap();
        assert_eq!(told().await, [("AddressOutsidePools".to_owned(), 1)]);
        Control::open(lab.store.clone(), lab.control.config().clone()).await.unwrap();
        assert_eq!(lab.service("web").await.status, had);
    });
}

#[test]
fn services_go_with_their_namespace_and_need_one() {
    run(async {
        let lab = Lab::with_services(|_| {}).await;
        let mut lost = of_type("web", "NodePort");
        lost.metadata_mut().namespace = Some("shop".to_owned());
        let error = lab.serve(lost.clone()).await.unwrap_err();
        assert_eq!(error.reason, Reason::NotFound);
        lab.create(namespace("shop")).await.unwrap();
        lab.serve(lost).await.unwrap();
        let mut slice = object(json!({
            "kind": "EndpointSlice", "metadata": { "name": "mine" }, "addressType": "IPv4"
        }));
        slice.metadata_mut().namespace = Some("shop".to_owned());
        lab.create(slice).await.unwrap();
        lab.delete(&key(Kind::Namespace, "shop")).await.unwrap();
        assert!(lab.all(Kind::Service).await.is_empty());
        assert!(lab.all(Kind::EndpointSlice).await.is_empty());
        assert!(lab.allocations().await.is_empty());
    });
}
