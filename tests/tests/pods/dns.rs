// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the cluster's DNS is: the addresses that every node has, whom pods ask, and the
//! configuration when it is read again.

use std::fs;

use netlab_tests::{Lab, wait_until};
use nix::sys::signal::Signal;

const ADDRESSES: [&str; 2] = ["10.43.0.10", "fd43::a"];

/// The addresses of the device of services.
fn addresses(lab: &Lab) -> Vec<String> {
    let listed = lab.netns_exec(&["ip", "-o", "addr", "show", "dev", "nlsvc"]).ok();
    let words = listed.lines().filter_map(|line| line.split_whitespace().nth(3));
    let plain = words.map(|word| word.split('/').next().unwrap_or_default().to_owned());
    plain.filter(|address| !address.starts_with("fe80")).collect()
}

#[test]
fn a_pod_asks_the_clusters_dns_and_searches_its_namespace_first() {
    let lab = Lab::new("dnsconf");
    lab.run("web", &[]);
    let text = lab.ctl(&["exec", "web", "--", "cat", "/etc/resolv.conf"]).ok();
    let lines: Vec<_> = text.lines().collect();
    let search = "search default.svc.cluster.local svc.cluster.local cluster.local";
    assert!(lines[0].starts_with(search), "{text}");
    assert_eq!(lines[1..], ["nameserver 10.43.0.10", "nameserver fd43::a", "options ndots:5"]);
}

#[test]
fn every_node_has_the_addresses_which_come_back_and_are_not_tracked() {
    let lab = Lab::new("dnsaddr");
    lab.run("web", &[]);
    wait_until("the addresses are there", || addresses(&lab) == ADDRESSES);
    for address in ADDRESSES {
        lab.ctl(&["exec", "web", "--", "ping", "-c1", "-W1", address]).ok();
        lab.netns_exec(&["ping", "-c1", "-W1", address]).ok();
        lab.netns_exec(&["ip", "addr", "del", address, "dev", "nlsvc"]).ok();
        wait_until("it is put back", || addresses(&lab) == ADDRESSES);
        let told = format!("Put back address {address}");
        wait_until("it is told", || lab.events_of("n1").iter().any(|line| line.contains(&told)));
    }
    // Whatever the answer is, the question makes no entry, and that to another port does.
    let ask = "import socket, sys
for family, address in (socket.AF_INET, '10.43.0.10'), (socket.AF_INET6, 'fd43::a'):
    for port in 53, 54:
        socket.socket(family, socket.SOCK_DGRAM).sendto(b'x', (address, port))
";
    lab.pod_exec("web", &["python3", "-c", ask]).ok();
    lab.netns_exec(&["python3", "-c", ask]).ok();
    for family in ["ipv4", "ipv6"] {
        let tracked = || lab.netns_exec(&["conntrack", "-L", "-f", family, "-p", "udp"]).ok();
        wait_until("others are tracked", || tracked().matches("dport=54 ").count() == 2);
        // The node's own questions to servers outside are somebody else's business.
        let is_ours = |line: &str| {
            line.contains("dport=53 ")
                && ADDRESSES.iter().any(|address| line.contains(&format!("dst={address} ")))
        };
        assert!(!tracked().lines().any(is_ours), "{}", tracked());
    }
}

#[test]
fn names_alone_are_read_again_and_a_bad_file_changes_nothing() {
    let lab = Lab::builder("dnsagain").config("[dns]\nttl = 7").start();
    let path = lab.dir().join("netlabd.toml");
    let before = fs::read_to_string(&path).unwrap();
    let reload = |text: &str, says: &str| {
        fs::write(&path, text).unwrap();
        let seen = lab.log().matches(says).count();
        lab.signal(Signal::SIGHUP);
        wait_until(says, || lab.log().matches(says).count() > seen);
    };
    assert_eq!(addresses(&lab), ADDRESSES);
    reload(&before.replace("ttl = 7", "tll = 7"), "line 2");
    assert!(lab.log().contains("tll") && lab.log().contains("column"), "{}", lab.log());
    let metrics = lab.get("/metrics").text;
    assert!(metrics.contains("coredns_reload_failed_total 1"), "{metrics}");
    reload(&format!("mtu = 1300\n{before}"), "mtu will hold after a restart");
    assert_eq!(addresses(&lab), ADDRESSES);
    reload(&before.replace("ttl = 7", "enabled = false"), "[dns] is taken over");
    wait_until("the addresses go", || addresses(&lab).is_empty());
    lab.run("alone", &[]);
    let text = lab.ctl(&["exec", "alone", "--", "cat", "/etc/resolv.conf"]).ok();
    assert!(!text.contains("10.43.0.10") && !text.contains("ndots:5"), "{text}");
    reload(&before, "[dns] is taken over");
    wait_until("they come back", || addresses(&lab) == ADDRESSES);
}

#[test]
fn a_pod_with_a_subdomain_knows_its_full_name() {
    let lab = Lab::new("dnsfull");
    let pod = r#"
[[pod]]
name = "db-0"
hostname = "first"
subdomain = "db"
"#;
    lab.ctl_with_input(&["apply", "-f", "-"], pod).ok();
    lab.wait_for_pod("db-0", |pod| pod["status"]["phase"] == "Running");
    let exec = |words: &[&str]| lab.ctl(&[&["exec", "db-0", "--"], words].concat()).ok();
    assert_eq!(exec(&["hostname"]), "first\n");
    assert_eq!(exec(&["hostname", "-f"]), "first.db.default.svc.cluster.local\n");
}

#[test]
fn a_service_has_its_name_when_the_command_returns_and_none_when_it_is_deleted() {
    let lab = Lab::new("dnsname");
    lab.run("web", &[]);
    lab.run("client", &[]);
    let exec = |words: &[&str]| lab.ctl(&[&["exec", "client", "--"], words].concat());
    for round in 0..5 {
        let name = format!("svc{round}");
        lab.ctl(&["svc", "expose", "pod", "web", "--port=80", "--name", &name]).ok();
        let service = lab.get(&format!("/v1/namespaces/default/services/{name}")).expect(200);
        let ip = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
        let found = exec(&["getent", "ahosts", &name]).ok();
        assert!(found.contains(&ip), "{found}");
        let full = format!("{name}.default.svc.cluster.local");
        for server in ADDRESSES {
            for way in ["+notcp", "+tcp"] {
                let at = format!("@{server}");
                let found = exec(&["dig", &at, way, "+short", "+tries=1", &full]).ok();
                assert_eq!(found.trim(), ip, "{server} {way}");
            }
        }
        lab.ctl(&["delete", "svc", &name]).ok();
        let gone = exec(&["dig", "+tries=1", &full]).ok();
        assert!(gone.contains("status: NXDOMAIN"), "{gone}");
        exec(&["getent", "ahosts", &name]).fails(2);
    }
    let doctor = lab.ctl(&["doctor"]).ok();
    assert!(doctor.contains("answered at 10.43.0.10 and fd43::a"), "{doctor}");
}
