// SPDX-License-Identifier: GPL-3.0-or-later

use netlab_api::manifest::{Options, Source, parse};

use super::*;

fn lab(text: &str) -> Lab {
    let source = Source { name: "shop.toml".to_owned(), text: text.to_owned() };
    parse(&source, &Options::default()).unwrap().lab.unwrap_or_default()
}

fn planned(text: &str, before: Option<&Plan>) -> Plan {
    plan("shop", &lab(text), before).unwrap()
}

fn addresses(plan: &Plan, machine: &str) -> Vec<String> {
    plan.machine(machine).unwrap().addresses().map(|address| address.to_string()).collect()
}

#[test]
fn machines_get_addresses_in_the_order_of_the_file() {
    let plan = planned("[[node]]\nname='n1'\n[[node]]\nname='n2'\n[[host]]\nname='laptop'\n", None);
    assert_eq!(addresses(&plan, "n1"), ["172.30.0.2", "fd44::2"]);
    assert_eq!(addresses(&plan, "laptop"), ["172.30.0.4", "fd44::4"]);
    assert_eq!(plan.networks[0].router[0].to_string(), "172.30.0.1/24");
    assert_eq!(plan.machine("n2").unwrap().ports[0].peer, "to-n2");
}

#[test]
fn a_machine_keeps_its_address_when_others_come_and_go() {
    let first = planned("[[node]]\nname='n1'\n[[node]]\nname='n2'\n", None);
    let second = planned("[[node]]\nname='n0'\n[[node]]\nname='n2'\n", Some(&first));
    assert_eq!(addresses(&second, "n2"), ["172.30.0.3", "fd44::3"]);
    assert_eq!(addresses(&second, "n0"), ["172.30.0.2", "fd44::2"]);
    let moved = planned("[[network]]\nname='lan'\nsubnets=['10.0.0.0/24']\n", Some(&second));
    assert_eq!(addresses(&moved, "n1"), ["10.0.0.2"]);
}

#[test]
fn networks_that_name_no_prefix_get_free_ones() {
    let plan = planned(
        "[[network]]\nname='a'\nsubnets=['172.30.1.0/24']\n[[network]]\nname='b'\n\
         [[network]]\nname='c'\n[[node]]\nname='n1'\nnetworks=['c','a']\n",
        None,
    );
    let subnets: Vec<_> = plan.networks.iter().map(|network| network.router[0].trunc()).collect();
    let subnets: Vec<_> = subnets.iter().map(ToString::to_string).collect();
    assert_eq!(subnets, ["172.30.1.0/24", "172.30.2.0/24", "172.30.3.0/24"]);
    let ports = &plan.machine("n1").unwrap().ports;
    assert_eq!((ports[0].dev.as_str(), ports[0].network.as_str()), ("eth0", "c"));
    assert_eq!((ports[1].dev.as_str(), ports[1].peer.as_str()), ("eth1", "to-n1-1"));
}

#[test]
fn one_family_is_one_family_everywhere() {
    let plan = planned("[lab]\nfamilies=['ipv6']\n", None);
    assert_eq!(addresses(&plan, "n1"), ["fd44::2"]);
    assert_eq!(
        plan.pod_networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["fd42::/48"]
    );
}

#[test]
fn a_network_that_is_full_is_named() {
    let text = "[[network]]\nname='lan'\nsubnets=['10.0.0.0/30']\n[[node]]\nname='a'\n\
                [[node]]\nname='b'\n";
    let error = plan("shop", &lab(text), None).unwrap_err();
    assert!(error.contains("network `lan` is full"), "{error}");
}

#[test]
fn names_are_those_of_interfaces_and_never_the_same() {
    assert_eq!(if_name("to-", "n1"), "to-n1");
    let long = if_name("to-", "a-machine-with-a-long-name");
    assert!(long.starts_with("to-") && long.len() <= 15, "{long}");
    assert_ne!(long, if_name("to-", "a-machine-with-a-long-nane"));
}

#[test]
fn two_hundred_nodes_have_room() {
    let text: String = (0..200).map(|n| format!("[[node]]\nname='n{n}'\n")).collect();
    let plan = planned(&text, None);
    let all: std::collections::BTreeSet<_> =
        plan.machines.iter().flat_map(|machine| machine.addresses()).collect();
    assert_eq!(all.len(), 400);
}
