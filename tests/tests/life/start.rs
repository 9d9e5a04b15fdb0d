// SPDX-License-Identifier: GPL-3.0-or-later
//! Starting: once, and with what it was told.

use netlab_tests::Lab;

#[test]
fn a_second_daemon_of_the_same_state_is_refused_and_disturbs_nothing() {
    let lab = Lab::new("twice");
    lab.run("web", &[]);
    let output = netlab_tests::command::run(&mut lab.netlabd(&[]));
    let refused = output.fails(1);
    assert!(refused.contains("another netlabd") || refused.contains("in use"), "{refused}");
    assert!(refused.contains("state"), "the folder is named: {refused}");
    assert_eq!(lab.get("/readyz").status, 200, "the first one answers on its socket");
    lab.ctl(&["exec", "web", "--", "true"]).ok();
}

#[test]
fn a_second_daemon_of_the_same_run_directory_is_refused_and_disturbs_nothing() {
    let lab = Lab::new("tworun");
    lab.run("web", &[]);
    let other = lab.dir().join("other-state");
    let netlabd = lab.netlabd(&[]);
    let program = netlabd.get_args().nth(2).unwrap().to_str().unwrap().to_owned();
    let (state, run) = (other.display().to_string(), lab.run_dir().display().to_string());
    let output =
        lab.netns_exec(&[&program, "--state-dir", &state, "--run-dir", &run, "--node-name", "n1"]);
    let refused = output.fails(1);
    assert!(refused.contains("netlabd.sock"), "{refused}");
    assert_eq!(lab.get("/readyz").status, 200, "the first one answers on its socket");
    lab.ctl(&["exec", "web", "--", "true"]).ok();
    assert!(!other.exists(), "a start that is refused leaves nothing");
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_made() {
    let mut lab = Lab::builder("cannot").build();
    let program = lab.netlabd(&[]).get_args().nth(2).unwrap().to_str().unwrap().to_owned();
    let state = format!("--state-dir={}", lab.state_dir().display());
    let run = format!("--run-dir={}", lab.run_dir().display());
    let long = format!("--run-dir={}", lab.dir().join("x".repeat(120)).display());
    for (words, why) in [
        // The node is 192.0.2.1 and 2001:db8::1.
        ([&run, "--pod-networks=192.0.2.0/24"], "`192.0.2.1`, which this machine has on `eth0`"),
        ([&run, "--pod-networks=2001:db8::/48"], "`2001:db8::1`, which this machine has on `eth0`"),
        ([&run, "--pod-networks=127.0.0.0/8"], "has loopback addresses"),
        ([&run, "--mtu=1000"], "mtu (--mtu) is 1000: give 1280 to 65535"),
        ([&run, "--node-name=Foo_Bar"], "`Foo_Bar` cannot be a node's name: a lowercase RFC 1123"),
        ([long.as_str(), "--node-name=n1"], "use a shorter --run-dir"),
    ] {
        let refused = lab.netns_exec(&[&program, &state, words[0], words[1]]).fails(1);
        assert!(refused.contains(why), "{words:?}: {refused}");
        assert!(!lab.run_dir().exists() && !lab.state_dir().exists(), "{words:?}");
    }
    lab.start();
}

#[test]
fn a_route_into_the_pod_network_is_told_and_hinders_nothing() {
    let mut lab = Lab::new("covered");
    lab.run("web", &[]);
    lab.node.ip("route add 10.42.200.0/24 via 192.0.2.9");
    let told = "route to 10.42.200.0/24 via 192.0.2.9 dev eth0 covers part of the pod network";
    let doctor = lab.ctl(&["doctor"]).ok();
    let line = doctor.lines().find(|line| line.contains(told)).unwrap_or(&doctor);
    assert!(line.contains("warning"), "{doctor}");
    lab.restart();
    lab.ctl(&["exec", "web", "--", "true"]).ok();
    assert!(lab.log().contains(told), "{}", lab.log());
    // What netlab made itself is in nobody's way: not at that start, and not now.
    assert_eq!(lab.log().matches("covers part of").count(), 1, "{}", lab.log());
    lab.node.ip("route del 10.42.200.0/24");
    assert!(!lab.ctl(&["doctor"]).ok().contains("warning"));
}

#[test]
fn a_second_daemon_of_the_same_network_is_refused_and_disturbs_nothing() {
    let lab = Lab::new("twonet");
    lab.run("web", &[]);
    let links = lab.netns_exec(&["ip", "-o", "link"]).ok();
    let netlabd = lab.netlabd(&[]);
    let program = netlabd.get_args().nth(2).unwrap().to_str().unwrap().to_owned();
    let other = lab.dir().join("other");
    let (state, run) = (other.join("state"), other.join("run"));
    let folders = ["--state-dir", state.to_str().unwrap(), "--run-dir", run.to_str().unwrap()];
    for command in [&["--node-name", "n1"][..], &["teardown"]] {
        let output = lab.netns_exec(&[&[program.as_str()], command, &folders].concat());
        let refused = output.fails(1);
        let said = format!("another netlabd (pid {}) works in this network namespace", lab.pid());
        assert!(refused.contains(&said), "{refused}");
    }
    assert_eq!(lab.netns_exec(&["ip", "-o", "link"]).ok(), links);
    lab.ctl(&["exec", "web", "--", "true"]).ok();
    assert!(!other.exists());
}

#[test]
fn a_wrong_configuration_is_refused_with_its_line_before_anything_is_made() {
    let mut lab = Lab::builder("badconf").config("pool-size = 4\npod-network = []").build();
    let refused = netlab_tests::command::run(&mut lab.netlabd(&[])).fails(1);
    assert!(refused.contains("line 2") && refused.contains("pod-network"), "{refused}");
    let refused = netlab_tests::command::run(&mut lab.netlabd(&["--mtu=many"])).fails(2);
    assert!(refused.contains("--mtu"), "{refused}");
    assert!(!lab.run_dir().exists() && !lab.state_dir().exists());
    std::fs::write(lab.dir().join("netlabd.toml"), "").unwrap();
    lab.start();
}

#[test]
fn a_socket_that_a_killed_daemon_left_is_taken_over() {
    let mut lab = Lab::new("stale");
    lab.kill9();
    assert!(lab.socket().exists());
    let refused = lab.ctl(&["get", "pods"]).fails(1);
    assert!(refused.contains("netlabd is not running"), "{refused}");
    lab.start();
    lab.ctl(&["get", "pods"]).ok();
}
