// SPDX-License-Identifier: GPL-3.0-or-later
//! What a command did is so when it returns: on each of three nodes, the first query after it.

use std::net::IpAddr;

use netlab_tests::{Cluster, wait_until};

use crate::stage::Stage;
use crate::wire::{self, ask, kind};

const NAME: &str = "shop.default.svc.cluster.local.";

#[test]
fn names_come_and_go_with_the_command_on_every_node() {
    let dns = "[dns]\npods = 'verified'\n[dns.forward]\nto = ['192.0.2.9']\n";
    let mut cluster = Cluster::builder("dns-now").config(dns).start();
    let nodes = ["n1", "n2", "n3"];
    for node in nodes {
        cluster.run_on(node, &format!("c-{node}"), &[]);
    }
    cluster.run_on("n2", "web", &["-l", "app=web"]);
    let sockets: Vec<_> = nodes
        .iter()
        .map(|node| {
            wire::udp(&cluster.node(node).pod_netns(&format!("c-{node}")), Stage::server(0))
        })
        .collect();
    let everywhere = |name: &str, kind: u16| -> Vec<(&'static str, Vec<IpAddr>)> {
        let replies = sockets.iter().map(|socket| wire::over_udp(socket, &ask(name, kind)));
        replies.map(|reply| (reply.rcode(), reply.addresses())).collect()
    };
    let all = |rcode: &'static str, ips: &[IpAddr]| vec![(rcode, ips.to_vec()); 3];
    for round in 0..8 {
        assert_eq!(everywhere(NAME, kind::A), all("NXDOMAIN", &[]), "round {round}");
        let expose = ["svc", "expose", "shop", "--selector=app=web", "--port=80:8080"];
        // Every second time it is headless, and then names are pods.
        let is_headless = round % 2 == 1;
        let flags = if is_headless { &["--headless"][..] } else { &[] };
        cluster.ctl(&[&expose[..], flags].concat()).ok();
        let wanted: IpAddr = if is_headless {
            cluster.server().pod_ips("web")[0].parse().unwrap()
        } else {
            let path = "/v1/namespaces/default/services/shop";
            let service = cluster.server().get(path).expect(200);
            service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap()
        };
        assert_eq!(everywhere(NAME, kind::A), all("NOERROR", &[wanted]), "round {round}");
        cluster.ctl(&["delete", "service", "shop"]).ok();
    }
    assert_eq!(everywhere(NAME, kind::A), all("NXDOMAIN", &[]));
    // Pods' names, on nodes that have no such pod.
    let ip = cluster.server().pod_ips("web")[0].clone();
    let pod = format!("{}.default.pod.cluster.local.", ip.replace('.', "-"));
    assert_eq!(everywhere(&pod, kind::A), all("NOERROR", &[ip.parse().unwrap()]));
    cluster.ctl(&["delete", "pod", "web", "--now"]).ok();
    assert_eq!(everywhere(&pod, kind::A), all("NXDOMAIN", &[]));
    // Whoever has finished keeps its address and is found no more, as in CoreDNS.
    let listens = ["--restart=Never", "--", "socat", "-u", "TCP-LISTEN:7", "STDOUT"];
    cluster.run_on("n2", "job", &listens);
    let ip = cluster.server().pod_ips("job")[0].clone();
    let job = format!("{}.default.pod.cluster.local.", ip.replace('.', "-"));
    assert_eq!(everywhere(&job, kind::A), all("NOERROR", &[ip.parse().unwrap()]));
    let end = ["socat", "-u", "/dev/null", &format!("TCP:{ip}:7")];
    wait_until("it is told to end", || cluster.pod_exec("c-n2", &end).is_ok());
    let done = cluster.server().wait_for_pod("job", |pod| pod["status"]["phase"] == "Succeeded");
    assert_eq!(done["status"]["podIPs"][0]["ip"], ip);
    wait_until("no node has its name", || everywhere(&job, kind::A) == all("NXDOMAIN", &[]));
    cluster.node_mut("n2").restart();
    assert_eq!(everywhere(&job, kind::A), all("NXDOMAIN", &[]), "after a restart");
    // Namespaces.
    let between = "shop.svc.cluster.local.";
    assert_eq!(everywhere(between, kind::A), all("NXDOMAIN", &[]));
    cluster.ctl(&["create", "namespace", "shop"]).ok();
    assert_eq!(everywhere(between, kind::A), all("NOERROR", &[]));
    cluster.ctl(&["delete", "namespace", "shop"]).ok();
    assert_eq!(everywhere(between, kind::A), all("NXDOMAIN", &[]));
}

/// A restart, and addresses that somebody deletes.
#[test]
fn names_outlive_the_daemon() {
    let mut stage = Stage::new("dns-kill", "[dns.forward]\nto = ['192.0.2.9']\n");
    let version = || ask("dns-version.cluster.local.", kind::TXT);
    assert_eq!(stage.send(&version()).rcode(), "NOERROR");
    stage.lab.kill9();
    stage.lab.start();
    assert_eq!(stage.send(&version()).rcode(), "NOERROR", "ready means that names are");
    stage.lab.restart();
    assert_eq!(stage.send(&version()).rcode(), "NOERROR");
    // The addresses come back.
    let device = |address: &str| -> Option<String> {
        let links =
            netlab_tests::observe::items(&netlab_tests::observe::ip(&stage.lab.node, "-j addr"));
        links.iter().find_map(|link| {
            let infos = netlab_tests::observe::items(&link["addr_info"]);
            infos
                .iter()
                .any(|info| info["local"] == address)
                .then(|| link["ifname"].as_str().unwrap().to_owned())
        })
    };
    for (family, address) in ["10.43.0.10", "fd43::a"].into_iter().enumerate() {
        let link = device(address).unwrap_or_else(|| panic!("no link has {address}"));
        let length = if family == 0 { 32 } else { 128 };
        stage.lab.node.ip(&format!("addr del {address}/{length} dev {link}"));
        wait_until("the address is back", || device(address).is_some());
        let socket = wire::udp(&stage.pod(), Stage::server(family));
        wait_until("it is answered at again", || {
            wire::exchange(&socket, &version().bytes(), wire::SILENCE).is_some()
        });
    }
}
