// SPDX-License-Identifier: GPL-3.0-or-later
//! Who has which address, and for how long.

use std::collections::BTreeSet;

use netlab_tests::observe::{self, items};
use netlab_tests::server::{SERVER, ask};
use netlab_tests::{Lab, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Blocks of a family that the node owns: its prefix and how many addresses are taken.
fn blocks(lab: &Lab, family: char) -> Vec<(String, usize)> {
    let list = lab.get("/v1/ipamblocks").expect(200);
    let of = |block: &Value| {
        let cidr = block["spec"]["cidr"].as_str()?.to_owned();
        let taken = block["spec"]["allocated"].as_object().map_or(0, serde_json::Map::len);
        cidr.contains(family).then_some((cidr, taken))
    };
    items(&list["items"]).iter().filter_map(of).collect()
}

#[test]
fn a_pod_keeps_its_address_over_restarts_of_its_command_and_of_the_daemon() {
    let mut lab = Lab::new("keepip");
    let words = [&["--ready=tcp:8080", "--"], SERVER.as_slice()].concat();
    lab.run("web", &words);
    let before = lab.pod_ips("web");
    lab.ctl(&["exec", "web", "--", "sh", "-c", "kill -9 $(pidof socat)"]);
    lab.wait_for_pod("web", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["ready"] == true
    });
    assert_eq!(lab.pod_ips("web"), before, "after a restart of the command");
    lab.restart();
    assert_eq!(lab.pod_ips("web"), before, "after a restart of the daemon");
    lab.kill9();
    lab.start();
    assert_eq!(lab.pod_ips("web"), before, "after a kill of the daemon");
    for ip in before {
        ask(|words| lab.node.command(words), &ip);
    }
}

/// What a reboot does: all processes gone, `/run` and the kernel's memory empty.
fn reboot(lab: &mut Lab, pods: &[&str]) {
    lab.kill9();
    let all = |lab: &Lab| pods.iter().flat_map(|pod| lab.pod_pids(pod)).collect::<Vec<_>>();
    for pid in all(lab) {
        // One that ended with another is fine.
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
    poll("the pods' processes are gone", || all(lab).is_empty().then_some(()));
    let run_dir = lab.run_dir().display().to_string();
    for mount in observe::mounts(&run_dir).iter().rev() {
        let target = mount.split(' ').nth(4).unwrap();
        lab.netns_exec(&["umount", "-l", target]).ok();
    }
    for link in observe::pod_links(&lab.node) {
        // With its namespace's last mount and process gone, a link goes by itself.
        lab.netns_exec(&["ip", "link", "del", &link]);
    }
    poll("the pods' links are gone", || observe::pod_links(&lab.node).is_empty().then_some(()));
    lab.netns_exec(&["nft", "flush", "ruleset"]).ok();
    lab.netns_exec(&["sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0"])
        .ok();
    std::fs::remove_dir_all(lab.run_dir()).unwrap();
}

#[test]
fn pods_come_back_from_a_reboot_with_their_addresses() {
    let mut lab = Lab::new("reboot");
    let words = [&["--ready=tcp:8080", "--"], SERVER.as_slice()].concat();
    lab.run("web", &words);
    lab.run("client", &[]);
    let before = [lab.pod_ips("web"), lab.pod_ips("client")];
    reboot(&mut lab, &["web", "client"]);
    lab.start();
    lab.ctl(&["wait", "--for=condition=Ready", "pods", "--all"]).ok();
    assert_eq!([lab.pod_ips("web"), lab.pod_ips("client")], before);
    for (to, client) in before[0].iter().zip(&before[1]) {
        let seen = ask(|words| lab.pod_command("client", words), to);
        assert_eq!(seen.to_string(), *client);
    }
}

#[test]
fn an_address_that_was_freed_last_is_given_out_last() {
    let lab = Lab::builder("reuse").flag("--pod-networks=10.9.0.0/26").start();
    let run = |name: &str| {
        lab.run(name, &[]);
        lab.pod_ips(name).remove(0)
    };
    assert_eq!([run("a"), run("b")], ["10.9.0.1", "10.9.0.2"]);
    lab.ctl(&["delete", "pod", "b", "--now"]).ok();
    lab.ctl(&["delete", "pod", "a", "--now"]).ok();
    let taken: Vec<String> = (3..=62).map(|i| run(&format!("p{i}"))).collect();
    let unused: BTreeSet<String> = taken.iter().cloned().collect();
    assert_eq!(unused.len(), 60, "each once: {taken:?}");
    assert!(!unused.contains("10.9.0.1") && !unused.contains("10.9.0.2"), "{taken:?}");
    assert_eq!([run("x"), run("y")], ["10.9.0.2", "10.9.0.1"], "in the order of their freeing");
}

#[test]
fn a_full_block_is_followed_by_another_of_the_nodes_own() {
    let lab = Lab::new("blocks");
    lab.run("p", &["--replicas=70"]);
    for family in ['.', ':'] {
        let blocks = blocks(&lab, family);
        assert_eq!(blocks.len(), 2, "{blocks:?}");
        assert_eq!(blocks.iter().map(|block| block.1).sum::<usize>(), 70, "{blocks:?}");
    }
    let list = lab.get("/v1/pods").expect(200);
    let ips = items(&list["items"])
        .iter()
        .map(|pod| pod["status"]["podIP"].to_string())
        .collect::<BTreeSet<_>>();
    assert_eq!(ips.len(), 70, "no address is held twice");
    lab.ctl(&["delete", "pods", "--all", "--now"]).ok();
    assert!(blocks(&lab, '.').iter().all(|block| block.1 == 0), "all are given back");
}

#[test]
fn a_full_pod_network_is_told_and_takes_pods_again_when_one_is_gone() {
    let lab = Lab::builder("full").flag("--pod-networks=10.9.0.0/26").start();
    // Of the 64 addresses of a block, the first and the last are nobody's.
    lab.run("p", &["--replicas=62"]);
    let refused = lab.ctl(&["run", "late"]).fails(1);
    assert!(refused.contains("no address is left in the pod network `10.9.0.0/26`"), "{refused}");
    assert!(refused.contains("hint: delete pods"), "{refused}");
    lab.get("/v1/namespaces/default/pods/late").error(404, "NotFound");
    lab.ctl(&["delete", "pod", "p-7", "--now"]).ok();
    lab.run("late", &[]);
    lab.pod_exec("late", &["ping", "-c1", "-W1", &lab.pod_ips("p-8")[0]]).ok();
}
