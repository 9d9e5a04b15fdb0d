// SPDX-License-Identifier: GPL-3.0-or-later
use super::*;

fn cluster(dns: &[&str]) -> ClusterConfig {
    ClusterConfig {
        pod_networks: vec!["10.42.0.0/16".parse().unwrap()],
        cluster_dns: dns.iter().map(|it| it.parse().unwrap()).collect(),
        domain: "cluster.local".to_owned(),
        services: crate::control::config::ServiceConfig::default(),
    }
}

fn ips(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|it| it.parse().unwrap()).collect()
}

#[test]
fn a_server_elsewhere_is_asked_by_pods_and_is_no_address_of_the_node() {
    let names = Names::of(&cluster(&["10.43.0.10", "192.0.2.1"]));
    let plan = names.plan();
    assert_eq!(plan.addresses, ips(&["10.43.0.10"]));
    assert_eq!(plan.pod_servers, ips(&["10.43.0.10", "192.0.2.1"]));
}

#[test]
fn a_node_that_does_not_answer_sends_its_pods_to_those_who_do() {
    let names = Names::of(&cluster(&["10.43.0.10", "192.0.2.1"]));
    let off = DnsConfig { enabled: false, ..DnsConfig::default() };
    names.configure(Some(off.clone()));
    // Nobody of netlab answers: the address is that of a service of somebody's own.
    let plan = names.plan();
    assert_eq!((plan.addresses.len(), plan.pod_servers.len()), (0, 2));
    // The cluster's nodes do, each for itself.
    names.hear(&settings(&cluster(&["10.43.0.10", "192.0.2.1"]), &DnsConfig::default()));
    let plan = names.plan();
    assert_eq!((plan.addresses.len(), &plan.pod_servers), (0, &ips(&["192.0.2.1"])));
}

#[test]
fn an_own_section_counts_and_without_one_what_the_cluster_says() {
    let names = Names::of(&cluster(&["10.43.0.10"]));
    let mut plans = names.plans();
    let with_ttl = |ttl| DnsConfig { ttl, ..DnsConfig::default() };
    names.hear(&settings(&cluster(&["10.43.0.11"]), &with_ttl(7)));
    assert!(plans.has_changed().unwrap());
    let plan = plans.borrow_and_update().clone();
    assert_eq!((plan.config.ttl, &plan.addresses), (7, &ips(&["10.43.0.11"])));
    names.configure(Some(with_ttl(9)));
    assert_eq!(names.plan().config.ttl, 9);
    names.hear(&settings(&cluster(&["10.43.0.11"]), &with_ttl(8)));
    assert_eq!(names.plan().config.ttl, 9);
    plans.borrow_and_update();
    names.configure(Some(with_ttl(9)));
    assert!(!plans.has_changed().unwrap(), "the same is no news");
    names.configure(None);
    assert_eq!(names.plan().config.ttl, 8);
}

#[test]
fn a_configuration_that_is_not_understood_leaves_the_one_before() {
    let names = Names::of(&cluster(&["10.43.0.10"]));
    let mut said =
        settings(&cluster(&["10.43.0.10"]), &DnsConfig { ttl: 7, ..DnsConfig::default() });
    names.hear(&said);
    said.config["of-the-future"] = true.into();
    said.addresses = ips(&["10.43.0.12"]);
    names.hear(&said);
    let plan = names.plan();
    assert_eq!((plan.config.ttl, &plan.addresses), (7, &ips(&["10.43.0.12"])));
}

#[test]
fn a_whole_configuration_survives_the_way_to_a_node() {
    let text = r#"
        ttl = 30
        pods = "verified"
        startup-timeout = "250ms"
        allow = ["192.0.2.0/24"]
        listen = ["127.0.0.1:5353"]
        [stub."example.com"]
        to = ["192.0.2.1"]
        [hosts]
        "192.0.2.7" = ["db.example.com", "db"]
        "2001:db8::7" = "db6.example.com"
        [[rewrite]]
        kind = "suffix"
        from = ".example.com"
        to = ".default.svc.cluster.local"
        [[errors.consolidate]]
        duration = "30s"
        pattern = ".* timed out$"
    "#;
    let config: DnsConfig = toml::from_str(text).unwrap();
    let said = settings(&cluster(&[]), &config);
    assert!(said.all_pods);
    let names = Names::of(&cluster(&[]));
    let text = serde_json::to_string(&said).unwrap();
    names.hear(&serde_json::from_str(&text).unwrap());
    assert_eq!(names.plan().config, config);
}

#[test]
fn who_asks_is_found_by_address_and_a_younger_pod_keeps_it() {
    let names = Names::of(&cluster(&[]));
    let at = |ip: &str| names.pod_at(ip.parse().unwrap()).map(|pod| pod.name.clone());
    names.place("shop", "web", &ips(&["10.42.0.1", "fd42::1"]));
    assert_eq!(at("fd42::1").as_deref(), Some("web"));
    names.place("shop", "db", &ips(&["10.42.0.1"]));
    names.displace("shop", "web", &ips(&["10.42.0.1", "fd42::1"]));
    assert_eq!((at("10.42.0.1").as_deref(), at("fd42::1")), (Some("db"), None));
}
