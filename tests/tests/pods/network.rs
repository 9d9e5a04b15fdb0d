// SPDX-License-Identifier: GPL-3.0-or-later
//! Packets from, to and between pods.

use netlab_tests::observe::ip;
use netlab_tests::server::{SERVER, ask};
use netlab_tests::{Lab, Output, wait_until};
use serde_json::Value;

/// Runs a pod of this name with the server that tells clients their address.
fn run_server(lab: &Lab, name: &str) {
    let words = [&["--ready=tcp:8080", "--"], SERVER.as_slice()].concat();
    lab.run(name, &words);
}

#[test]
fn pods_are_reached_from_the_node_and_from_pods_that_keep_their_address() {
    let lab = Lab::new("reach");
    run_server(&lab, "web");
    lab.run("client", &[]);
    for (to, client) in lab.pod_ips("web").iter().zip(lab.pod_ips("client")) {
        let seen = ask(|words| lab.pod_command("client", words), to);
        assert_eq!(seen.to_string(), client, "from pod to pod");
        let node = if to.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
        assert_eq!(ask(|words| lab.node.command(words), to).to_string(), node, "from the node");
        let itself = ask(|words| lab.pod_command("web", words), to);
        assert_eq!(itself.to_string(), *to, "from the pod to itself");
    }
}

#[test]
fn pods_leave_the_cluster_with_the_nodes_address() {
    let lab = Lab::new("masq");
    lab.run("client", &[]);
    let server = lab.outside().spawn(&SERVER);
    wait_until("the server outside listens", || {
        lab.outside_exec(&["ss", "-tlnH", "sport = 8080"]).ok().contains("8080")
    });
    for (outside, node) in [("192.0.2.9", "192.0.2.1"), ("2001:db8::9", "2001:db8::1")] {
        let seen = ask(|words| lab.pod_command("client", words), outside);
        assert_eq!(seen.to_string(), node, "{}", server.output());
    }
}

#[test]
fn a_machine_outside_that_routes_to_pods_sees_their_own_address_in_answers() {
    let lab = Lab::new("inbound");
    run_server(&lab, "web");
    lab.outside().ip("route add 10.42.0.0/16 via 192.0.2.1");
    lab.outside().ip("-6 route add fd42::/48 via 2001:db8::1");
    for to in lab.pod_ips("web") {
        let own = if to.contains(':') { "2001:db8::9" } else { "192.0.2.9" };
        let seen = ask(|words| lab.outside().command(words), &to);
        assert_eq!(seen.to_string(), own, "an incoming connection is not masqueraded");
    }
}

fn mtu(links: &Value) -> u64 {
    links[0]["mtu"].as_u64().unwrap()
}

/// MTUs of a pod's link: inside and on the node.
fn mtus(lab: &Lab, name: &str) -> (u64, u64) {
    let inside = lab.pod_exec(name, &["ip", "-j", "link", "show", "eth0"]).json();
    let host = lab.pod(name)["status"]["network"]["hostLink"].as_str().unwrap().to_owned();
    (mtu(&inside), mtu(&ip(&lab.node, &format!("-j link show {host}"))))
}

fn ping(lab: &Lab, from: &str, size: u32, to: &str) -> Output {
    lab.pod_exec(from, &["ping", "-M", "do", "-s", &size.to_string(), "-c1", "-W2", to])
}

#[test]
fn the_mtu_is_the_uplinks_and_packets_of_that_size_pass_whole() {
    let lab = Lab::new("mtu");
    lab.run("web", &[]);
    lab.run("client", &[]);
    assert_eq!(mtus(&lab, "web"), (1400, 1400));
    let [v4, v6] = &lab.pod_ips("web")[..] else { panic!("two addresses expected") };
    // The headers of IP and ICMP take 28 bytes, or 48.
    for (to, whole) in [(v4.as_str(), 1372), ("192.0.2.9", 1372), (v6, 1352), ("2001:db8::9", 1352)]
    {
        ping(&lab, "client", whole, to).ok();
        let too_large = ping(&lab, "client", whole + 1, to);
        assert!(!too_large.is_ok(), "{too_large}");
    }
}

#[test]
fn the_mtu_can_be_configured_and_is_ethernets_without_an_uplink() {
    let lab = Lab::builder("mtuset").config("mtu = 1280").start();
    lab.run("web", &[]);
    assert_eq!(mtus(&lab, "web"), (1280, 1280));
    let lab = Lab::builder("nouplink").without_uplink().start();
    lab.run("web", &[]);
    assert_eq!(mtus(&lab, "web"), (1500, 1500));
    for ip in lab.pod_ips("web") {
        lab.netns_exec(&["ping", "-c1", "-W1", &ip]).ok();
    }
}

/// Global addresses inside a pod.
fn addresses_inside(lab: &Lab, name: &str) -> Vec<String> {
    let links = lab.pod_exec(name, &["ip", "-j", "addr", "show", "eth0", "scope", "global"]).json();
    let infos = links[0]["addr_info"].as_array().cloned().unwrap_or_default();
    infos
        .iter()
        .map(|info| format!("{}/{}", info["local"].as_str().unwrap(), info["prefixlen"]))
        .collect()
}

#[test]
fn pods_have_an_address_of_each_configured_family_and_no_other() {
    for (name, networks, expected) in [
        ("dual", "10.42.0.0/16,fd42::/48", vec!["10.42.0.1/32", "fd42::1/128"]),
        ("four", "10.77.0.0/24", vec!["10.77.0.1/32"]),
        ("six", "fd77::/64", vec!["fd77::1/128"]),
    ] {
        let lab = Lab::builder(name).flag(&format!("--pod-networks={networks}")).start();
        run_server(&lab, "web");
        lab.run("client", &[]);
        assert_eq!(addresses_inside(&lab, "web"), expected);
        let bare: Vec<_> = expected.iter().map(|ip| ip.split('/').next().unwrap()).collect();
        assert_eq!(lab.pod_ips("web"), bare);
        assert_eq!(lab.pod("web")["status"]["podIP"], bare[0]);
        for (to, client) in bare.iter().zip(lab.pod_ips("client")) {
            let seen = ask(|words| lab.pod_command("client", words), to);
            assert_eq!(seen.to_string(), client);
        }
    }
}
