// SPDX-License-Identifier: GPL-3.0-or-later
//! Real resolvers in pods: glibc's, musl's, python's, dig's; and what stands in their files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use netlab_tests::{Lab, wait_until};
use serde_json::{Value, json};

use crate::fake::Fake;
use crate::fixtures::{apply, objects};
use crate::outside::Outside;
use crate::stage::Stage;

/// Names as a program in namespace `default` may write them, and the addresses that it must find.
const NAMES: [(&str, &[&str]); 12] = [
    ("web", &["10.43.1.1", "fd43::101"]),
    ("web.default", &["10.43.1.1", "fd43::101"]),
    ("web.default.svc", &["10.43.1.1", "fd43::101"]),
    ("web.default.svc.cluster.local", &["10.43.1.1", "fd43::101"]),
    ("web.default.svc.cluster.local.", &["10.43.1.1", "fd43::101"]),
    ("web.shop", &["10.43.2.1", "fd43::201"]),
    ("four", &["10.43.1.3"]),
    ("rex.pets", &["10.42.200.1", "fd42::c8:1"]),
    ("inside", &["10.43.1.1", "fd43::101"]),
    ("www.example.org", &["198.51.100.80", "2001:db8:100::80"]),
    ("nobody", &[]),
    ("web.elsewhere", &[]),
];

/// A line of a program: the name, then its addresses or `-`.
fn read(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        Some((name, words.filter(|word| *word != "-").map(str::to_owned).collect()))
    };
    text.lines().filter_map(line).collect()
}

#[track_caller]
fn check(who: &str, text: &str) {
    let found = read(text);
    for (name, addresses) in NAMES {
        let wanted: BTreeSet<String> = addresses.iter().map(|ip| (*ip).to_owned()).collect();
        assert_eq!(found.get(name), Some(&wanted), "{who} asks for {name}: {text}");
    }
}

/// A program whose C library is musl, without anything that it needs of the machine.
#[track_caller]
fn musl_program(lab: &Lab) -> Vec<u8> {
    let program = lab.dir().join("resolve");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dns/resolve.c");
    let words = ["musl-gcc", "-static", "-Os", "-s", "-o", &program.display().to_string(), source];
    netlab_tests::command::run(&mut netlab_tests::command::command(&words)).ok();
    std::fs::read(program).unwrap()
}

#[test]
fn every_resolver_finds_what_it_asks_for() {
    let stage = Stage::new("dns-libc", "[dns.forward]\nto = ['192.0.2.9']\n");
    let lab = &stage.lab;
    let _outside = Outside::knowing_all(lab.outside(), lab.dir(), &["192.0.2.9@53"]);
    apply(lab, &objects(crate::fixtures::Families::Both));
    let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    let exec = |words: &[&str]| lab.ctl(&[&["exec", "client", "--"][..], words].concat());
    // glibc, which asks for both families at a time over one socket.
    let script =
        "for name; do echo $name $(getent ahosts $name | awk '{print $1}' | sort -u); done";
    check("getent", &exec(&[&["sh", "-c", script, "sh"], &names[..]].concat()).ok());
    exec(&["getent", "hosts", "nobody"]).fails(2);
    let python = "import socket, sys
for name in sys.argv[1:]:
    try:
        found = {info[4][0] for info in socket.getaddrinfo(name, 80, proto=socket.IPPROTO_TCP)}
    except socket.gaierror as error:
        assert error.errno == socket.EAI_NONAME, error
        found = {'-'}
    print(name, *found)";
    check("python", &exec(&[&["python3", "-c", python], &names[..]].concat()).ok());
    // musl, which asks all servers at once and searches by itself.
    let program = musl_program(lab);
    let mut hexadecimal = String::new();
    for byte in program {
        let _ = write!(hexadecimal, "{byte:02x}");
    }
    let words = [&["exec", "-i", "client", "--", "python3", "-c", MUSL][..], &names].concat();
    check("musl", &lab.ctl_with_input(&words, &hexadecimal).ok());
    // dig, which searches when it is told to.
    for (name, addresses) in NAMES.iter().filter(|(_, addresses)| !addresses.is_empty()) {
        let told = exec(&["dig", "+search", "+short", name, "A", name, "AAAA"]).ok();
        let found: BTreeSet<&str> = told.lines().filter(|line| !line.ends_with('.')).collect();
        assert_eq!(found, addresses.iter().copied().collect(), "dig asks for {name}");
    }
    let reverse = exec(&["getent", "hosts", "10.43.1.1"]).ok();
    assert!(reverse.contains("web.default.svc.cluster.local"), "{reverse}");
}

/// Writes what it is given in hexadecimal to a file, and executes it.
const MUSL: &str = "import os, sys
path = '/tmp/resolve'
with open(path, 'wb') as program:
    program.write(bytes.fromhex(sys.stdin.read()))
os.chmod(path, 0o755)
os.execv(path, [path, *sys.argv[1:]])";

/// Lines of a pod's `/etc/resolv.conf`, by their first word.
#[track_caller]
fn resolv_conf(lab: &Lab, pod: &str) -> BTreeMap<String, Vec<String>> {
    let text = lab.ctl(&["exec", pod, "--", "cat", "/etc/resolv.conf"]).ok();
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace().map(str::to_owned);
        let Some(key) = words.next() else { continue };
        lines.entry(key).or_default().extend(words);
    }
    lines
}

#[track_caller]
fn run_pod(lab: &Lab, name: &str, namespace: &str, spec: &Value) {
    let pod = json!({
        "kind": "Pod", "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    });
    apply(lab, &[pod]);
    let path = format!("/v1/namespaces/{namespace}/pods/{name}");
    wait_until(&format!("{name} runs"), || lab.get(&path).body["status"]["phase"] == "Running");
}

#[test]
fn each_policy_gives_a_pod_its_servers() {
    let stage = Stage::new("dns-policy", "[dns.forward]\nto = ['192.0.2.9']\n");
    let lab = &stage.lab;
    lab.ctl(&["create", "namespace", "shop"]).ok();
    let found = resolv_conf(lab, "client");
    assert_eq!(found["nameserver"], ["10.43.0.10", "fd43::a"]);
    let own = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    assert_eq!(found["search"][..3], own);
    assert!(found["options"].contains(&"ndots:5".to_owned()), "{found:?}");
    let dns = json!({
        "dnsConfig": {
            "nameservers": ["192.0.2.77"], "searches": ["lab.test"],
            "options": [{ "name": "ndots", "value": "2" }, { "name": "edns0" }],
        },
    });
    run_pod(lab, "more", "default", &dns);
    let found = resolv_conf(lab, "more");
    assert_eq!(found["nameserver"][..2], ["10.43.0.10", "fd43::a"], "{found:?}");
    assert!(found["nameserver"].contains(&"192.0.2.77".to_owned()));
    assert_eq!(found["search"][..3], own);
    assert_eq!(found["search"].last().unwrap(), "lab.test");
    let options: BTreeSet<&str> = found["options"].iter().map(String::as_str).collect();
    assert!(options.is_superset(&BTreeSet::from(["ndots:2", "edns0"])), "{options:?}");
    assert!(!options.contains("ndots:5"), "{options:?}");
    let mut none = dns.clone();
    none["dnsPolicy"] = json!("None");
    run_pod(lab, "none", "default", &none);
    let found = resolv_conf(lab, "none");
    assert_eq!(
        (&found["nameserver"][..], &found["search"][..]),
        (&["192.0.2.77".to_owned()][..], &["lab.test".to_owned()][..])
    );
    run_pod(lab, "machine", "default", &json!({ "dnsPolicy": "Default" }));
    let machine = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let found = resolv_conf(lab, "machine");
    let servers: Vec<String> = machine
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver "))
        .map(|server| server.trim().to_owned())
        .collect();
    if !servers.iter().any(|server| server.starts_with("127.")) {
        assert_eq!(found.get("nameserver").cloned().unwrap_or_default(), servers);
    }
    assert!(!found.get("nameserver").is_some_and(|all| all.contains(&"10.43.0.10".to_owned())));
    // The namespace is in the search path.
    run_pod(lab, "till", "shop", &json!({}));
    let text = lab.ctl(&["-n", "shop", "exec", "till", "--", "cat", "/etc/resolv.conf"]).ok();
    assert!(
        text.contains("search shop.svc.cluster.local svc.cluster.local cluster.local"),
        "{text}"
    );
}

/// Pods that give themselves a name in a domain of their own, as stateful ones do.
#[test]
fn hostname_and_subdomain_are_names() {
    let stage = Stage::new("dns-host", "[dns]\npods = 'verified'\nforward.to = ['192.0.2.9']\n");
    let lab = &stage.lab;
    let port = json!({ "name": "http", "port": 80 });
    let spec = json!({
        "clusterIP": "None", "selector": { "app": "db" }, "ports": [port],
        "publishNotReadyAddresses": false, "ipFamilyPolicy": "RequireDualStack",
    });
    let early = json!({
        "clusterIP": "None", "selector": { "app": "db" }, "ports": [port],
        "publishNotReadyAddresses": true,
    });
    let service = |name: &str, spec: Value| json!({ "kind": "Service", "metadata": { "name": name }, "spec": spec });
    apply(lab, &[service("db", spec), service("early", early)]);
    let pod = json!({
        "kind": "Pod",
        "metadata": { "name": "db-0", "namespace": "default", "labels": { "app": "db" } },
        "spec": {
            "hostname": "primary", "subdomain": "db",
            "command": ["sleep", "infinity"],
            "readinessProbe": { "exec": { "command": ["test", "-e", "/tmp/ready"] }, "periodSeconds": 1 },
        },
    });
    apply(lab, &[pod]);
    lab.wait_for_pod("db-0", |pod| pod["status"]["phase"] == "Running");
    let ips: BTreeSet<String> = lab.pod_ips("db-0").into_iter().collect();
    let dig = |name: &str| -> BTreeSet<String> {
        let name = format!("{name}.default.svc.cluster.local");
        let told =
            lab.pod_exec("client", &["dig", "@10.43.0.10", "+short", &name, "A", &name, "AAAA"]);
        told.ok().lines().map(str::to_owned).collect()
    };
    // Not ready: known only where that is wished.
    assert_eq!(dig("db"), BTreeSet::new());
    assert_eq!(dig("primary.db"), BTreeSet::new());
    wait_until("who is not ready is published", || !dig("early").is_empty());
    assert!(dig("early").is_subset(&ips));
    lab.ctl(&["exec", "db-0", "--", "touch", "/tmp/ready"]).ok();
    wait_until("the pod is known by its service", || dig("db") == ips);
    assert_eq!(dig("primary.db"), ips);
    assert_eq!(dig("db-0.db"), BTreeSet::new(), "the pod has another name");
    // It knows its own whole name, and others find it by the short one.
    let own = lab.ctl(&["exec", "db-0", "--", "hostname", "-f"]).ok();
    assert_eq!(own.trim(), "primary.db.default.svc.cluster.local");
    let found = lab.ctl(&["exec", "client", "--", "getent", "ahosts", "primary.db"]).ok();
    let found: BTreeSet<String> =
        found.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect();
    assert_eq!(found, ips);
    let reverse =
        lab.ctl(&["exec", "client", "--", "dig", "+short", "-x", &lab.pod_ips("db-0")[0]]);
    let reverse = reverse.ok();
    assert!(
        reverse.lines().any(|line| line == "primary.db.default.svc.cluster.local."),
        "{reverse}"
    );
    // The name of its address.
    let address = lab.pod_ips("db-0")[0].clone();
    let name = format!("{}.default.pod.cluster.local", address.replace('.', "-"));
    let told = lab.pod_exec("client", &["dig", "@10.43.0.10", "+short", &name]).ok();
    assert_eq!(told.trim(), address);
    lab.ctl(&["delete", "pod", "db-0", "--now"]).ok();
    assert_eq!(dig("db"), BTreeSet::new(), "gone when the command returns");
    assert_eq!(dig("primary.db"), BTreeSet::new());
    let told = lab.pod_exec("client", &["dig", "@10.43.0.10", &name]).ok();
    assert!(told.contains("NXDOMAIN"), "{told}");
}

/// Outside names cost one query instead of five.
#[test]
fn the_search_path_is_walked_for_the_pod() {
    let dns = "[dns]\npods = 'verified'\n[dns.autopath]\nenabled = true\n\
               [dns.forward]\nto = ['192.0.2.9:5301']\n";
    let stage = Stage::new("dns-path", dns);
    let good = std::net::Ipv4Addr::new(198, 51, 100, 1);
    let server = Fake::start(&stage.outside(), "192.0.2.9:5301", move |query, socket| {
        let is_there = query.name().eq_ignore_ascii_case("www.example.org.");
        let _ = socket.send_to(&query.answer(is_there.then_some(good.octets()), 60), query.from);
    });
    let reply = stage.ask("www.example.org.default.svc.cluster.local.", crate::wire::kind::A);
    assert_eq!((reply.rcode(), reply.addresses()), ("NOERROR", vec![good.into()]), "{reply:?}");
    let first = &reply.message.answers[0];
    assert_eq!(first.name.to_ascii(), "www.example.org.default.svc.cluster.local.");
    assert_eq!(first.record_type().to_string(), "CNAME");
    assert!(server.count("www.example.org.") >= 1);
    // Only the first name of the path begins a walk.
    let reply = stage.ask("www.example.org.svc.cluster.local.", crate::wire::kind::A);
    assert_eq!(reply.rcode(), "NXDOMAIN");
    let told =
        stage.lab.ctl(&["exec", "client", "--", "getent", "ahostsv4", "www.example.org"]).ok();
    assert!(told.contains("198.51.100.1"), "{told}");
    assert_eq!(
        stage.ask("web.default.svc.cluster.local.", crate::wire::kind::A).rcode(),
        "NXDOMAIN"
    );
    // The node is no pod: it has no search path to walk.
    let node = crate::wire::udp(&stage.lab.node.path(), Stage::server(0));
    let query =
        crate::wire::ask("www.example.org.default.svc.cluster.local.", crate::wire::kind::A);
    assert_eq!(crate::wire::over_udp(&node, &query).rcode(), "NXDOMAIN");
}
