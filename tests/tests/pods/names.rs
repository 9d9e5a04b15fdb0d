// SPDX-License-Identifier: GPL-3.0-or-later
//! Names: pods find each other by `/etc/hosts`, from the first instruction on.

use netlab_tests::observe::items;
use netlab_tests::{Lab, wait_until};

#[test]
fn the_very_first_command_of_a_pod_reaches_another_by_name() {
    let lab = Lab::new("first");
    lab.run("peer", &[]);
    let ping =
        ["--restart=Never", "--replicas=20", "--no-wait", "--", "ping", "-c1", "-W1", "peer"];
    lab.run("probe", &ping);
    wait_until("all 20 commands end", || {
        let list = lab.get("/v1/pods?labelSelector=app=probe").expect(200);
        let phases: Vec<_> =
            items(&list["items"]).iter().map(|pod| pod["status"]["phase"].clone()).collect();
        phases.len() == 20 && phases.iter().all(|phase| phase == "Succeeded" || phase == "Failed")
    });
    let list = lab.get("/v1/pods?labelSelector=app=probe").expect(200);
    for pod in items(&list["items"]) {
        assert_eq!(pod["status"]["phase"], "Succeeded", "{pod:#}");
    }
}

#[test]
fn pods_that_come_later_and_go_appear_and_vanish_in_the_names_of_others() {
    let lab = Lab::new("names");
    lab.run("early", &[]);
    lab.run("late", &[]);
    let hosts = || lab.ctl(&["exec", "early", "--", "getent", "ahosts", "late"]);
    let found = hosts().ok();
    for ip in lab.pod_ips("late") {
        assert!(found.contains(&ip), "{found}");
    }
    lab.ctl(&["exec", "early", "--", "ping", "-c1", "-W1", "late.default"]).ok();
    lab.ctl(&["delete", "pod", "late", "--now"]).ok();
    wait_until("the name is gone", || hosts().code == 2);
    assert_eq!(lab.ctl(&["exec", "early", "--", "hostname"]).ok(), "early\n");
}

#[test]
fn pods_of_another_namespace_are_not_found_by_the_bare_name() {
    let lab = Lab::new("namens");
    lab.ctl(&["create", "namespace", "shop"]).ok();
    lab.ctl(&["-n", "shop", "run", "web"]).ok();
    lab.run("client", &[]);
    lab.ctl(&["exec", "client", "--", "getent", "hosts", "web"]).fails(2);
    lab.ctl(&["-n", "shop", "run", "near"]).ok();
    lab.ctl(&["-n", "shop", "exec", "near", "--", "ping", "-c1", "-W1", "web"]).ok();
}
