// SPDX-License-Identifier: GPL-3.0-or-later
//! The command of a pod: where it runs, with what, and how its end is told.

use std::fs;

use netlab_tests::Lab;
use serde_json::Value;

/// Runs a pod once, to its end, and returns its terminated state.
fn run_to_end(lab: &Lab, name: &str, flags: &[&str], command: &[&str]) -> Value {
    let words = [&["run", name, "--restart=Never"], flags, &["--"], command].concat();
    // A command that fails is an error of `run` only when it is seen before the pod was ready.
    let _ = lab.ctl(&words);
    let ended =
        |pod: &Value| pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
    let pod = lab.wait_for_pod(name, ended);
    let succeeded = pod["status"]["phase"] == "Succeeded";
    let state = pod["status"]["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!(succeeded, state["exitCode"] == 0, "{pod:#}");
    state
}

/// Runs a script in a pod and returns what it wrote.
fn script(lab: &Lab, name: &str, flags: &[&str], script: &str) -> String {
    let state = run_to_end(lab, name, flags, &["sh", "-c", script]);
    let log = lab.ctl(&["logs", name]).ok();
    assert_eq!(state["exitCode"], 0, "{state}\n{log}");
    log
}

#[test]
fn a_command_has_the_host_name_environment_and_folder_it_was_given() {
    let lab = Lab::new("given");
    let flags = ["--hostname=shop-1", "--env=A=1", "--env=B=two words", "--workdir=/usr/lib"];
    let log = script(&lab, "a", &flags, r#"hostname; cat /etc/hostname; echo "$A-$B"; pwd"#);
    assert_eq!(log, "shop-1\nshop-1\n1-two words\n/usr/lib\n");
    let log = script(&lab, "b", &[], "hostname; pwd; echo $$; getent hosts b | wc -l");
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines[..2], ["b", "/"], "{log}");
    assert_eq!(lines[3], "1", "its own name resolves: {log}");
}

#[test]
fn a_command_sees_no_other_processes_and_no_links_but_its_own() {
    let lab = Lab::new("sees");
    lab.run("other", &["--", "sleep", "4321"]);
    let log =
        script(&lab, "a", &[], "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; ls /sys/class/net");
    assert!(!log.contains("sleep 4321") && !log.contains("netlabd --config"), "{log}");
    assert!(log.ends_with("eth0\nlo\n"), "{log}");
}

#[test]
fn files_that_a_pod_writes_to_its_own_root_never_reach_the_folder() {
    let lab = Lab::new("rootfs");
    let root = lab.dir().join("rootfs");
    for dir in ["bin", "etc", "proc", "dev", "sys", "tmp", "lib", "lib64", "usr"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    // Of the host's own programs, with the libraries that it has.
    let copy = "set -e; cd \"$0\"; for f in /bin/sh /bin/cat /bin/rm /bin/ls; do cp $f bin/; \
                ldd $f | grep -o '/[^ ]*' | sort -u | while read lib; do cp -n --parents \"$lib\" . || true; done; done";
    lab.netns_exec(&["sh", "-c", copy, root.to_str().unwrap()]).ok();
    fs::write(root.join("etc/motd"), "of the folder\n").unwrap();
    let before = lab
        .netns_exec(&[
            "sh",
            "-c",
            "cd \"$0\"; find . -type f | sort | xargs sha256sum; find . | sort",
            root.to_str().unwrap(),
        ])
        .ok();
    let flag = format!("--rootfs={}", root.display());
    let log = script(
        &lab,
        "a",
        &[&flag],
        "cat /etc/motd; echo new > /etc/motd; echo x > /made; rm /bin/ls; cat /etc/motd /made; cat /etc/hostname",
    );
    assert_eq!(log, "of the folder\nnew\nx\na\n");
    let after = lab
        .netns_exec(&[
            "sh",
            "-c",
            "cd \"$0\"; find . -type f | sort | xargs sha256sum; find . | sort",
            root.to_str().unwrap(),
        ])
        .ok();
    assert_eq!(before, after);
}

#[test]
fn a_command_that_is_not_there_or_may_not_run_is_told_by_name() {
    let lab = Lab::new("notfound");
    let state = run_to_end(&lab, "a", &[], &["/no/such", "thing"]);
    assert_eq!(state["exitCode"], 127, "{state}");
    assert!(state["message"].as_str().unwrap().contains("`/no/such` was not found"), "{state}");
    let state = run_to_end(&lab, "b", &[], &["/etc/passwd"]);
    assert_eq!(state["exitCode"], 126, "{state}");
    let shown = lab.ctl(&["get", "pods", "--no-headers"]).ok();
    assert!(shown.contains("CommandNotFound"), "{shown}");
    let refused = lab.ctl(&["run", "c", "--", "/no/such"]).fails(1);
    assert!(refused.contains("command `/no/such` was not found"), "{refused}");
}

#[test]
fn a_root_that_is_no_folder_is_told_at_once_and_the_pod_starts_when_it_is_one() {
    let lab = Lab::new("noroot");
    let root = lab.dir().join("root");
    fs::write(lab.dir().join("file"), "").unwrap();
    for (pod, path) in [("a", root.clone()), ("b", lab.dir().join("file"))] {
        let flag = format!("--rootfs={}", path.display());
        let refused = lab.ctl(&["run", pod, &flag, "--no-wait"]).ok();
        assert!(refused.contains("created"), "{refused}");
        lab.wait_for_pod(pod, |pod| pod["status"]["reason"] == "RootfsNotFound");
    }
    let flag = format!("--rootfs={}", root.display());
    let refused = lab.ctl(&["run", "c", &flag, "--timeout=1h"]).fails(1);
    let wanted =
        format!("pod/c does not run: RootfsNotFound: the pod's root folder `{}`", root.display());
    assert!(refused.contains(&wanted), "{refused}");
    fs::create_dir(&root).unwrap();
    lab.wait_for_pod("a", |pod| pod["status"]["phase"] == "Running");
}

#[test]
fn exit_codes_and_signals_are_told() {
    let lab = Lab::new("exit");
    let state = run_to_end(&lab, "zero", &[], &["true"]);
    assert_eq!((&state["exitCode"], &state["reason"]), (&0.into(), &"Completed".into()));
    let state = run_to_end(&lab, "seven", &[], &["sh", "-c", "exit 7"]);
    assert_eq!((&state["exitCode"], &state["reason"]), (&7.into(), &"Error".into()));
    let state = run_to_end(&lab, "killed", &[], &["sh", "-c", "kill -9 $$"]);
    assert_eq!((&state["exitCode"], &state["signal"]), (&137.into(), &9.into()));
}

#[test]
fn restart_policies_start_what_they_should_and_nothing_else() {
    let lab = Lab::builder("restart").config("restart-delay-ms = 10").start();
    let restarts =
        |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
    let run = |name: &str, policy: &str, command: &str| {
        let restart = format!("--restart={policy}");
        lab.ctl(&["run", name, &restart, "--no-wait", "--", "sh", "-c", command]).ok();
    };
    for (name, policy, command) in [
        ("always-ok", "Always", "exit 0"),
        ("always-bad", "Always", "exit 1"),
        ("onfailure-bad", "OnFailure", "exit 1"),
    ] {
        run(name, policy, command);
        lab.wait_for_pod(name, |pod| restarts(pod) >= 2);
    }
    for (name, policy, command, phase) in [
        ("onfailure-ok", "OnFailure", "exit 0", "Succeeded"),
        ("never-ok", "Never", "exit 0", "Succeeded"),
        ("never-bad", "Never", "exit 1", "Failed"),
    ] {
        run(name, policy, command);
        let pod = lab.wait_for_pod(name, |pod| pod["status"]["phase"] == phase);
        assert_eq!(restarts(&pod), 0, "{pod:#}");
    }
    lab.wait_for_pod("always-bad", |pod| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
}

#[test]
fn a_command_that_takes_more_memory_than_its_limit_is_killed_and_it_is_said_why() {
    let lab = Lab::new("oom");
    // tail keeps the last line, and the input is one line.
    let state = run_to_end(&lab, "a", &["--limit=memory=16Mi"], &["tail", "/dev/zero"]);
    assert_eq!(
        (&state["reason"], &state["exitCode"]),
        (&"OOMKilled".into(), &137.into()),
        "{state}"
    );
}

#[test]
fn a_pod_cannot_have_more_processes_than_its_limit() {
    let lab = Lab::new("pids");
    let forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 60 & done; echo all";
    assert_eq!(script(&lab, "free", &[], forks), "all\n");
    let state = run_to_end(&lab, "bound", &["--limit=pids=8"], &["sh", "-c", forks]);
    let log = lab.ctl(&["logs", "bound"]).ok();
    assert!(state["exitCode"] != 0 && log.contains("fork"), "{state} {log}");
}
