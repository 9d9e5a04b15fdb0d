// SPDX-License-Identifier: GPL-3.0-or-later
//! Up, up again, changed, and down.

use std::fs;

use netlab_tests::command::run;
use netlab_tests::{VirtualLab, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::SMALL;

fn uid(lab: &VirtualLab, pod: &str) -> String {
    lab.get(&["pod", pod])["metadata"]["uid"].as_str().unwrap().to_owned()
}

#[test]
fn a_lab_comes_up_works_and_goes_without_a_trace() {
    let lab = VirtualLab::new("life", SMALL);
    let told = lab.up().ok();
    for word in ["laptop", "172.30.0.3", "fd44::2", "web", "10.42.0.", "host exec laptop"] {
        assert!(told.contains(word), "{word} in\n{told}");
    }
    let code = lab.ctl(&[
        "exec",
        "client",
        "--",
        "curl",
        "-so/dev/null",
        "-w%{http_code}",
        "http://web:8080/",
    ]);
    assert_eq!(code.ok(), "200");
    lab.ctl(&["host", "exec", "laptop", "--", "ping", "-c1", "-W2", "172.30.0.2"]).ok();
    lab.ctl(&["host", "exec", "laptop", "--", "ping", "-c1", "-W2", "fd44::1"]).ok();
    lab.ctl(&["host", "exec", "laptop", "--", "sh", "-c", "exit 7"]).fails(7);
    let unknown = lab.ctl(&["host", "exec", "labtop", "--", "true"]).fails(3);
    assert!(unknown.contains("laptop"), "{unknown}");
    // The only lab is meant where none is named.
    let listed = run(&mut lab.netlabctl(&["lab", "ls"])).ok();
    assert!(listed.contains("Running") && listed.contains(&lab.name), "{listed}");
    lab.down();
}

#[test]
fn a_lab_that_is_up_is_left_as_it_is() {
    let lab = VirtualLab::new("same", SMALL);
    lab.up().ok();
    let before = (uid(&lab, "web"), uid(&lab, "client"), lab.daemon("n1"));
    lab.up().ok();
    assert_eq!((uid(&lab, "web"), uid(&lab, "client"), lab.daemon("n1")), before);
    let dry = run(&mut lab.netlabctl(&["lab", "up", "--dry-run", "lab.toml"]));
    assert_eq!(dry.ok(), "");
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let lab = VirtualLab::new("dry", SMALL);
    let text = run(&mut lab.netlabctl(&["lab", "up", "--dry-run", "lab.toml"])).ok();
    assert!(text.contains(&format!("ip netns add netlab-{}-n1", lab.name)), "{text}");
    assert!(text.contains("address replace 172.30.0.2/24 dev eth0"), "{text}");
    assert!(!lab.labs().exists());
}

#[test]
fn a_changed_file_is_applied_as_a_difference() {
    let lab = VirtualLab::new("changed", SMALL);
    lab.up().ok();
    let (client, web, daemon) = (uid(&lab, "client"), uid(&lab, "web"), lab.daemon("n1"));
    // Another port for the server, another host for the old one, and one more pod.
    let changed = SMALL.replace("8080", "8081").replace("laptop", "printer").replace(
        "[[pod]]\nname = \"client\"",
        "[[pod]]\nname = \"client\"\n[[pod]]\nname = \"more\"",
    );
    lab.write(&changed);
    lab.up().ok();
    assert_eq!((uid(&lab, "client"), lab.daemon("n1")), (client, daemon));
    assert_ne!(uid(&lab, "web"), web, "its command changed");
    lab.ctl(&["exec", "more", "--", "curl", "-sf", "http://web:8081/"]).ok();
    assert!(lab.pin("printer").exists() && !lab.pin("laptop").exists());
    let router = lab.inside(&lab.pin("router"), &["ip", "-o", "link"]).ok();
    assert!(router.contains("to-printer") && !router.contains("to-laptop"), "{router}");
    // What leaves the file leaves the lab.
    lab.write("[[node]]\nname = \"n1\"\n[[pod]]\nname = \"client\"\n");
    lab.up().ok();
    let pods = lab.ctl(&["get", "pods", "-o", "name"]).ok();
    assert_eq!(pods.trim(), "pod/client");
    assert!(!lab.pin("printer").exists());
}

#[test]
fn what_was_killed_or_taken_away_is_put_back() {
    let lab = VirtualLab::new("mended", SMALL);
    lab.up().ok();
    let web = uid(&lab, "web");
    kill(Pid::from_raw(lab.daemon("n1").cast_signed()), Signal::SIGKILL).unwrap();
    lab.inside(&lab.pin("n1"), &["ip", "address", "del", "172.30.0.2/24", "dev", "eth0"]).ok();
    lab.inside(&lab.pin("router"), &["ip", "link", "del", "to-laptop"]).ok();
    let status = || run(&mut lab.netlabctl(&["lab", "ls"])).ok();
    wait_until("the daemon is gone", || status().contains("1 of 1 nodes down"));
    lab.up().ok();
    assert_eq!(uid(&lab, "web"), web, "pods outlive the daemon");
    lab.ctl(&["host", "exec", "laptop", "--", "ping", "-c1", "-W2", "172.30.0.2"]).ok();
}

#[test]
fn a_lab_goes_away_whatever_was_killed() {
    let lab = VirtualLab::new("killed", SMALL);
    lab.up().ok();
    kill(Pid::from_raw(lab.daemon("n1").cast_signed()), Signal::SIGKILL).unwrap();
    lab.down();
    lab.up().ok();
    // Not even what was decided can be read.
    fs::write(lab.folder().join("state.json"), "{").unwrap();
    let refused = lab.up().fails(1);
    assert!(refused.contains("lab down"), "{refused}");
    lab.down();
}

#[test]
fn of_several_labs_one_must_be_named() {
    let lab = VirtualLab::new("first", "[[node]]\nname = \"n1\"\n");
    lab.up().ok();
    let file = lab.dir().join("other.toml");
    fs::write(&file, "[[node]]\nname = \"other\"\n").unwrap();
    run(&mut lab.netlabctl(&["lab", "up", "other.toml"])).ok();
    let refused = run(&mut lab.netlabctl(&["lab", "graph"])).fails(2);
    assert!(refused.contains(&lab.name) && refused.contains("other"), "{refused}");
    let nodes = run(lab.netlabctl(&["get", "nodes", "-o", "name"]).env("NETLAB_LAB", "other"));
    assert_eq!(nodes.ok().trim(), "node/other");
    let refused = run(&mut lab.netlabctl(&["--lab", "other", "--node", "n1", "get", "nodes"]));
    assert!(refused.fails(3).contains("nodes: other"));
    run(&mut lab.netlabctl(&["lab", "down", "other.toml"])).ok();
    let refused = run(&mut lab.netlabctl(&["lab", "down", "other"])).fails(3);
    assert!(refused.contains(&lab.name), "{refused}");
}

#[test]
fn a_node_that_moves_to_another_network_comes_anew_with_its_pods() {
    let file = |network: &str| {
        format!(
            "[[network]]\nname = \"a\"\n[[network]]\nname = \"b\"\n\
             [[node]]\nname = \"n1\"\nnetwork = \"a\"\n\
             [[node]]\nname = \"n2\"\nnetwork = \"{network}\"\n\
             [[pod]]\nname = \"here\"\nnodeName = \"n1\"\n\
             [[pod]]\nname = \"there\"\nnodeName = \"n2\"\n"
        )
    };
    let lab = VirtualLab::new("moved", &file("a"));
    lab.up().ok();
    let (here, there, daemon) = (uid(&lab, "here"), uid(&lab, "there"), lab.daemon("n1"));
    lab.write(&file("b"));
    lab.up().ok();
    assert_eq!((uid(&lab, "here"), lab.daemon("n1")), (here, daemon));
    assert_ne!(uid(&lab, "there"), there);
    lab.ctl(&["exec", "here", "--", "ping", "-c1", "-W2", "there"]).ok();
    lab.down();
}
