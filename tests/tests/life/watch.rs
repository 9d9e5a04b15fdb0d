// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands that are running while the daemon is not.

use netlab_tests::Lab;

#[test]
fn a_watch_goes_on_after_the_daemon_was_killed_and_repeats_nothing() {
    let mut lab = Lab::new("watch-on");
    lab.run("web", &[]);
    let line = "jsonpath={.metadata.name}@{.metadata.resourceVersion}{\"\\n\"}";
    let watch = lab.ctl_spawn(&["get", "pods", "web", "-w", "-o", line]);
    watch.wait_for("web@");
    lab.kill9();
    watch.wait_for("it goes on as soon as netlabd is back");
    lab.start();
    lab.ctl(&["label", "pod", "web", "seen=yes"]).ok();
    let labelled = lab.pod("web")["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    watch.wait_for(&format!("web@{}\n", labelled.expect("a pod has a revision")));
    let output = watch.output();
    let mut lines: Vec<&str> = output.lines().filter(|line| line.starts_with("web@")).collect();
    let printed = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), printed, "{output}");
}

#[test]
fn a_stranger_that_is_deleted_ends_no_wait_of_a_run() {
    let lab = Lab::new("stranger");
    lab.run("stranger", &[]);
    let run = lab.ctl_spawn(&[
        "run",
        "web",
        "--replicas",
        "2",
        "--ready",
        "exec:test -e /tmp/go",
        "--",
        "sleep",
        "1000",
    ]);
    lab.ctl(&["wait", "--for=create", "pod/web-1"]).ok();
    lab.wait_for_pod("web-1", |pod| pod["status"]["phase"] == "Running");
    lab.ctl(&["delete", "pod", "stranger", "--now"]).ok();
    for name in ["web-0", "web-1"] {
        lab.ctl(&["exec", name, "--", "touch", "/tmp/go"]).ok();
    }
    let (code, output) = run.wait();
    assert_eq!(code, 0, "{output}");
    assert!(
        output.contains("pod/web-0 created") && output.contains("pod/web-1 created"),
        "{output}"
    );
}

#[test]
fn a_followed_log_goes_on_after_the_daemon_was_stopped_or_killed() {
    let mut lab = Lab::new("follow-on");
    let script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done";
    lab.run("web", &["--", "sh", "-c", script]);
    let follow = lab.ctl_spawn(&["logs", "-f", "web"]);
    for kill in [false, true] {
        let reached = follow.output().lines().count();
        follow.wait_for(&format!("line {}\n", reached + 50));
        match kill {
            true => lab.kill9(),
            false => drop(lab.stop()),
        }
        follow.wait_for("netlabd closed the log: it goes on as soon as netlabd is back");
        lab.start();
    }
    let reached = follow.output().lines().count();
    follow.wait_for(&format!("line {}\n", reached + 50));
    lab.ctl(&["delete", "pod", "web", "--now"]).ok();
    let (code, output) = follow.wait();
    assert_eq!(code, 0, "{output}");
    assert_eq!(output.matches("closed the log").count(), 2, "{output}");
    let lines = output.lines().filter(|line| line.starts_with("line "));
    for (index, line) in lines.enumerate() {
        assert_eq!(line, format!("line {}", index + 1));
    }
}
