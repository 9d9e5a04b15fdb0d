// SPDX-License-Identifier: GPL-3.0-or-later
//! Leaving: nothing of netlab is left.

use netlab_tests::{Lab, command, observe};

#[test]
fn a_stopped_daemon_leaves_its_pods_and_teardown_leaves_nothing() {
    let mut lab = Lab::new("teardown");
    lab.run("web", &["--replicas=3", "--limit=memory=64Mi", "--", "sleep", "9999"]);
    let pids: Vec<_> = (0..3).flat_map(|i| lab.pod_pids(&format!("web-{i}"))).collect();
    let links = observe::pod_links(&lab.node);
    lab.stop();
    assert!(pids.iter().all(|pid| observe::is_alive(*pid)), "pods live on");
    assert!(links.len() >= 3 && lab.leftovers().len() > 10, "{:?}", lab.leftovers());
    command::run(&mut lab.netlabd(&["teardown"])).ok();
    let left = lab.leftovers();
    assert!(left.is_empty(), "{left:#?}");
    assert!(!pids.iter().any(|pid| observe::is_alive(*pid)));
    command::run(&mut lab.netlabd(&["teardown"])).ok();
    lab.start();
    assert_eq!(lab.ctl(&["get", "pods", "-o", "name"]).ok(), "", "it starts as new");
}

#[test]
fn teardown_is_refused_while_the_daemon_runs() {
    let lab = Lab::new("teardownrun");
    lab.run("web", &[]);
    let refused = command::run(&mut lab.netlabd(&["teardown"])).fails(1);
    assert!(refused.contains("stop it first"), "{refused}");
    lab.ctl(&["exec", "web", "--", "true"]).ok();
}

#[test]
fn teardown_after_a_kill_in_the_middle_of_much_work_leaves_nothing() {
    let mut lab = Lab::new("teardownkill");
    let client = lab.ctl_spawn(&["run", "p", "--replicas=60", "--", "sleep", "9999"]);
    netlab_tests::wait_until("some pods run", || observe::pod_links(&lab.node).len() >= 20);
    lab.kill9();
    drop(client);
    command::run(&mut lab.netlabd(&["teardown"])).ok();
    let left = lab.leftovers();
    assert!(left.is_empty(), "{left:#?}");
}
