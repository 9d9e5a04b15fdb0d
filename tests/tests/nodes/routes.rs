// SPDX-License-Identifier: GPL-3.0-or-later
//! Packets between pods of different nodes, in each route mode.

use netlab_tests::cluster::MTU;
use netlab_tests::server::ask;
use netlab_tests::{Background, Cluster, Output, wait_until};

/// Answers TCP on port 8080 with the client's address, and UDP on port 8081 with what it got.
const SERVERS: &str = "socat UDP6-RECVFROM:8081,ipv6only=0,fork PIPE & \
    exec socat TCP6-LISTEN:8080,ipv6only=0,fork,reuseaddr \
    'SYSTEM:read request; echo HTTP/1.0 200 OK; echo; echo $SOCAT_PEERADDR'";

/// What VXLAN takes of a packet over IPv4: IP, UDP, VXLAN and Ethernet headers.
pub(crate) const VXLAN_HEADER: u32 = 50;

/// Runs a pod with servers on each node: `on-n1`, `on-n2`, …
pub(crate) fn run_servers(cluster: &Cluster) -> Vec<String> {
    let mut pods = Vec::new();
    for node in cluster.nodes() {
        let pod = format!("on-{}", node.node_name);
        cluster.run_on(&node.node_name, &pod, &["--ready=tcp:8080", "--", "sh", "-c", SERVERS]);
        pods.push(pod);
    }
    pods
}

fn ping(cluster: &Cluster, from: &str, to: &str, payload: u32) -> Output {
    let size = payload.to_string();
    cluster.pod_exec(from, &["ping", "-M", "do", "-s", &size, "-c", "1", "-W", "5", to])
}

fn udp(cluster: &Cluster, from: &str, to: &str) -> String {
    let target = match to.contains(':') {
        true => format!("UDP6:[{to}]:8081"),
        false => format!("UDP4:{to}:8081"),
    };
    let script = format!("echo over udp | timeout 5 socat -t 5 - {target},readbytes=9");
    cluster.pod_exec(from, &["sh", "-c", &script]).ok()
}

/// Every pair of pods talks over ICMP at the full MTU, TCP and UDP, and keeps its own addresses.
pub(crate) fn assert_all_pairs(cluster: &Cluster, pods: &[String], mtu: u32) {
    for from in pods {
        let own = cluster.server().pod_ips(from);
        for to in pods {
            for (own, to) in own.iter().zip(cluster.server().pod_ips(to)) {
                let what = format!("{from} to {to}");
                let payload = mtu - if to.contains(':') { 48 } else { 28 };
                let output = ping(cluster, from, &to, payload);
                assert!(output.is_ok(), "{what}: {output}");
                let home = cluster.home_of(from);
                let seen = ask(|words| home.pod_command(from, words), &to);
                assert_eq!(seen.to_string(), *own, "{what}: the source over TCP");
                assert_eq!(udp(cluster, from, &to), "over udp\n", "{what}");
            }
        }
    }
}

/// Nodes reach pods of other nodes, too.
fn assert_nodes_reach(cluster: &Cluster, pods: &[String]) {
    for node in cluster.nodes() {
        for to in pods.iter().flat_map(|pod| cluster.server().pod_ips(pod)) {
            node.netns_exec(&["ping", "-c", "1", "-W", "5", &to]).ok();
        }
    }
}

#[test]
fn every_pair_of_pods_talks_directly_in_one_subnet() {
    let cluster = Cluster::builder("hostgw").config("route-mode = 'host-gw'").start();
    let pods = run_servers(&cluster);
    assert_all_pairs(&cluster, &pods, MTU);
    assert_nodes_reach(&cluster, &pods);
    for node in cluster.nodes() {
        let links = node.node.ip("-br link show");
        assert!(!links.contains("nlvx"), "on {}: {links}", node.node_name);
    }
}

#[test]
fn every_pair_of_pods_talks_in_vxlan_across_subnets() {
    let cluster = Cluster::builder("vxlan").racks(&[2, 1]).config("route-mode = 'vxlan'").start();
    let pods = run_servers(&cluster);
    assert_all_pairs(&cluster, &pods, MTU - VXLAN_HEADER);
    assert_nodes_reach(&cluster, &pods);
    let too_large = ping(&cluster, "on-n1", &cluster.server().pod_ips("on-n3")[0], MTU - 28);
    assert!(!too_large.is_ok(), "{too_large}");
}

#[test]
fn auto_goes_directly_in_a_subnet_and_in_vxlan_to_others() {
    let cluster = Cluster::builder("auto").racks(&[2, 1]).config("route-mode = 'auto'").start();
    let pods = run_servers(&cluster);
    assert_all_pairs(&cluster, &pods, MTU - VXLAN_HEADER);
    assert_nodes_reach(&cluster, &pods);
    let routes = cluster.server().node.ip("route show proto 110");
    let block_of = |node: &str| {
        let node = cluster.server().get(&format!("/v1/nodes/{node}")).expect(200);
        node["status"]["podBlocks"][0].as_str().expect("a block").to_owned()
    };
    let route_to = |node: &str| {
        let block = block_of(node);
        let found = routes.lines().find(|line| line.starts_with(&block));
        found.unwrap_or_else(|| panic!("no route to {block}:\n{routes}")).to_owned()
    };
    assert!(route_to("n2").contains("via 172.30.1.2 dev eth0"), "{routes}");
    assert!(route_to("n3").contains("dev nlvx"), "{routes}");
}

#[test]
fn host_gw_says_which_node_it_cannot_reach() {
    let cluster = Cluster::builder("apart").racks(&[1, 1]).config("route-mode = 'host-gw'").start();
    cluster.run_on("n2", "web", &[]);
    let events = || cluster.ctl(&["events", "--for", "node/n1"]).ok();
    wait_until("an event says so", || {
        let events = events();
        events.contains("n2") && events.contains("auto")
    });
}

/// Ends a ping and asserts that nothing was lost.
#[track_caller]
fn assert_whole(ping: Background, what: &str) {
    ping.signal(nix::sys::signal::Signal::SIGINT);
    let (_, output) = ping.wait();
    let line = output.lines().find(|line| line.contains("packets transmitted"));
    let line = line.unwrap_or_else(|| panic!("{what}: {output}"));
    assert!(line.contains(" 0% packet loss"), "{what}: {line}");
}

#[test]
fn the_mode_is_switched_under_traffic_and_nothing_is_lost() {
    let cluster = Cluster::builder("switch").config("route-mode = 'host-gw'").start();
    let pods = run_servers(&cluster);
    let home = cluster.home_of("on-n1");
    let pings: Vec<Background> = cluster
        .server()
        .pod_ips("on-n3")
        .iter()
        .map(|to| {
            let words = ["ping", "-i", "0.02", "-W", "3", to.as_str()];
            Background::spawn(&mut home.pod_command("on-n1", &words))
        })
        .collect();
    pings.iter().for_each(|ping| ping.wait_for("icmp_seq=5 "));
    for (mode, mtu) in
        [("vxlan", MTU - VXLAN_HEADER), ("auto", MTU - VXLAN_HEADER), ("host-gw", MTU)]
    {
        let settings = serde_json::json!({ "routeMode": mode });
        let answer = cluster.server().api("PUT", "/v1/network", Some(&settings));
        assert_eq!(answer.expect(200)["routeMode"], mode);
        let revision = cluster.server().get("/v1/version").expect(200)["revision"].clone();
        let path = format!("/v1/programmed?revision={revision}&timeoutSeconds=20");
        cluster.server().get(&path).expect(200);
        assert_all_pairs(&cluster, &pods, mtu);
    }
    for ping in pings {
        assert_whole(ping, "over three switches");
    }
}

#[test]
fn a_source_that_is_not_the_pods_own_gets_nowhere() {
    let cluster = Cluster::builder("spoof").racks(&[2]).start();
    cluster.run_on("n1", "mallory", &[]);
    cluster.run_on("n1", "alice", &[]);
    cluster.run_on("n2", "bob", &[]);
    let own = cluster.server().pod_ips("mallory");
    for (family, forged) in [(0, "10.42.3.77"), (1, "fd42::3:77")] {
        let flag = if family == 0 { "-4" } else { "-6" };
        let prefix = if family == 0 { 32 } else { 128 };
        let address = format!("{forged}/{prefix}");
        cluster.pod_exec("mallory", &["ip", flag, "addr", "add", &address, "dev", "eth0"]).ok();
        for target in ["alice", "bob"] {
            let to = &cluster.server().pod_ips(target)[family];
            let honest = ["ping", "-c", "2", "-i", "0.1", "-W", "2", "-I", &own[family], to];
            cluster.pod_exec("mallory", &honest).ok();
            let before = received(&cluster, target);
            let lie = ["ping", "-c", "5", "-i", "0.05", "-W", "1", "-I", forged, to];
            let output = cluster.pod_exec("mallory", &lie);
            assert!(output.stdout.contains("100% packet loss"), "{output}");
            let heard = received(&cluster, target) - before;
            assert!(heard < 5, "{target} got {heard} packets, {forged} sent 5");
        }
    }
}

/// Echo requests that a pod got, over both families.
fn received(cluster: &Cluster, pod: &str) -> u64 {
    let text = cluster.pod_exec(pod, &["cat", "/proc/net/snmp", "/proc/net/snmp6"]).ok();
    let mut icmp = text.lines().filter(|line| line.starts_with("Icmp: "));
    let (names, values) = (icmp.next().unwrap(), icmp.next().unwrap());
    let position = names.split_whitespace().position(|name| name == "InEchos").unwrap();
    let v4: u64 = values.split_whitespace().nth(position).unwrap().parse().unwrap();
    let v6 = text.lines().find_map(|line| line.strip_prefix("Icmp6InEchos")).unwrap();
    v4 + v6.trim().parse::<u64>().unwrap()
}
