// SPDX-License-Identifier: GPL-3.0-or-later
//! Names on every node: all answer the same, and follow the server's section `[dns]`.

use std::fs;

use netlab_tests::{Cluster, Lab, wait_until};
use nix::sys::signal::Signal;

fn ask(lab: &Lab, name: &str) -> String {
    lab.netns_exec(&["dig", "@10.43.0.10", "+tries=1", "+noall", "+comments", "+answer", name]).ok()
}

#[test]
fn joined_nodes_follow_the_servers_names_and_know_all_pods_when_these_need_it() {
    let cluster = Cluster::builder("dnsall").racks(&[2]).start();
    let (server, other) = (cluster.server(), &cluster.nodes()[1]);
    cluster.run_on("n1", "web", &[]);
    let ip = server.pod_ips("web").remove(0);
    let name = format!("{}.default.pod.cluster.local", ip.replace('.', "-"));
    assert!(ask(other, &name).contains("NXDOMAIN"), "names of pods are switched off");
    let path = server.dir().join("netlabd.toml");
    let before = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{before}\n[dns]\nttl = 9\npods = \"verified\"\n")).unwrap();
    server.signal(Signal::SIGHUP);
    for node in [server, other] {
        wait_until("the pod has its name", || {
            let said = ask(node, &name);
            said.contains("NOERROR")
                && said.contains(&ip)
                && said.split_whitespace().any(|word| word == "9")
        });
    }
    // From now on a pod's name is there on every node when the command returns.
    cluster.run_on("n1", "late", &[]);
    let late = server.pod_ips("late").remove(0);
    let name = format!("{}.default.pod.cluster.local", late.replace('.', "-"));
    assert!(ask(other, &name).contains(&late), "{}", ask(other, &name));
    cluster.ctl(&["delete", "pod", "late", "--now"]).ok();
    wait_until("it goes with the pod", || ask(other, &name).contains("NXDOMAIN"));
}
