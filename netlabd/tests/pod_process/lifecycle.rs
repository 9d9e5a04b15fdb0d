// SPDX-License-Identifier: GPL-3.0-or-later
//! Starts, ends, restarts, crashes.

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netlabd::node::pod::cgroup::Limits;
use netlabd::node::pod::config::{BackOff, RestartPolicy};
use netlabd::node::pod::log::LogQuery;
use netlabd::node::pod::{ContainerState, InitConfig, Runtime, RuntimeStatus};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, TIMEOUT, exe, wait_until};

const FAST: BackOff = BackOff { initial_millis: 20, max_millis: 40, reset_after_millis: 600_000 };

fn is_running(status: &RuntimeStatus) -> bool {
    matches!(status.state, ContainerState::Running { .. })
}

fn is_terminated(status: &RuntimeStatus) -> bool {
    matches!(status.state, ContainerState::Terminated { .. })
}

/// Exit code, signal, reason, message.
fn end(state: &ContainerState) -> (i32, Option<i32>, &str, &str) {
    match state {
        ContainerState::Terminated { exit_code, signal, reason, message, .. } => {
            (*exit_code, *signal, reason, message)
        }
        other => panic!("not terminated: {other:?}"),
    }
}

fn sh(lab: &Lab, uid: &str, script: &str) -> InitConfig {
    lab.config(uid, &["/bin/sh", "-c", script])
}

#[test]
fn ends_are_told_apart() {
    let lab = Lab::new();
    for (uid, script, expected) in [
        ("zero", "exit 0", (0, None, "Completed", "")),
        ("three", "exit 3", (3, None, "Error", "")),
        ("killed", "kill -KILL $$", (137, Some(9), "Error", "")),
    ] {
        lab.runtime.start(&sh(&lab, uid, script)).unwrap();
        let status = lab.wait_for(uid, is_terminated);
        assert_eq!(end(&status.state), expected);
        assert_eq!((status.pid, status.restart_count), (None, 0));
        assert!(lab.is_alive(uid), "PID 1 keeps the namespaces");
    }
}

#[test]
fn a_command_that_cannot_be_started_says_why() {
    let lab = Lab::new();
    let mut lost = lab.config("lost", &["/bin/true"]);
    lost.working_dir = Some("/no/such/folder".into());
    for (config, code, reason, message) in [
        (
            lab.config("absent", &["frobnicate", "x"]),
            127,
            "CommandNotFound",
            "command `frobnicate` was not found in PATH \
             `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`: is it installed in \
             the pod's root?",
        ),
        (
            lab.config("nopath", &["/no/such/file"]),
            127,
            "CommandNotFound",
            "command `/no/such/file` was not found: does it exist in the pod's root?",
        ),
        (
            lab.config("data", &["/etc/hostname"]),
            126,
            "CommandNotExecutable",
            "command `/etc/hostname` cannot be executed: Permission denied: is it an executable \
             file for this machine?",
        ),
        (
            lost,
            128,
            "WorkingDirNotFound",
            "cannot enter the working directory `/no/such/folder`: No such file or directory: \
             does it exist in the pod's root?",
        ),
    ] {
        lab.runtime.start(&config).unwrap();
        let status = lab.wait_for(&config.uid, is_terminated);
        assert_eq!(end(&status.state), (code, None, reason, message));
    }
}

#[test]
fn a_pod_without_a_command_holds_its_namespaces_and_ends_at_once() {
    let lab = Lab::new();
    let process = lab.runtime.start(&lab.config("hold", &[])).unwrap();
    lab.wait_for("hold", is_running);
    assert!(!process.wait(Duration::ZERO));
    lab.runtime.terminate("hold").unwrap();
    assert!(process.wait(TIMEOUT));
    assert!(!lab.is_alive("hold"));
}

#[test]
fn sigterm_reaches_the_command_and_its_end_is_recorded() {
    let lab = Lab::new();
    let script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done";
    let process = lab.runtime.start(&sh(&lab, "polite", script)).unwrap();
    lab.wait_for_log("polite", "up");
    lab.runtime.terminate("polite").unwrap();
    assert!(process.wait(TIMEOUT));
    let status = lab.runtime.status("polite").unwrap().unwrap();
    assert_eq!(end(&status.state), (5, None, "Error", ""));
    assert!(status.terminating);
    assert_eq!(lab.log("polite", LogQuery::default()), "up\nbye\n");
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_after_the_grace_period() {
    let lab = Lab::new();
    let mut config = sh(&lab, "rude", "trap '' TERM; echo up; while :; do sleep 0.01; done");
    config.termination_grace_period_seconds = 1;
    let process = lab.runtime.start(&config).unwrap();
    lab.wait_for_log("rude", "up");
    let begin = Instant::now();
    lab.runtime.terminate("rude").unwrap();
    assert!(process.wait(TIMEOUT));
    assert!(begin.elapsed() >= Duration::from_millis(990), "{:?}", begin.elapsed());
    let status = lab.runtime.status("rude").unwrap().unwrap();
    assert_eq!(end(&status.state), (137, Some(9), "Error", ""));
}

#[test]
fn a_command_that_keeps_ending_is_restarted_with_back_off() {
    let lab = Lab::new();
    let mut config = sh(&lab, "crash", "echo run; exit 1");
    config.restart_policy = RestartPolicy::Always;
    config.back_off = FAST;
    lab.runtime.start(&config).unwrap();
    let status = lab.wait_for("crash", |status| {
        status.restart_count >= 3 && matches!(status.state, ContainerState::Waiting { .. })
    });
    assert_eq!(
        status.state,
        ContainerState::Waiting {
            reason: "CrashLoopBackOff".into(),
            message: "back-off 40ms restarting failed container".into(),
        }
    );
    assert_eq!(end(status.last_state.as_ref().unwrap()), (1, None, "Error", ""));
    lab.runtime.terminate("crash").unwrap();
    wait_until(|| !lab.is_alive("crash"), || "still alive".into());
    let status = lab.runtime.status("crash").unwrap().unwrap();
    assert_eq!(end(&status.state), (1, None, "Error", ""));
    // The logs of this run and the one before, no others.
    let count = status.restart_count;
    let names = crate::lab::entries(&lab.log_dir("crash"));
    assert!(names.len() <= 2, "{names:?} after {count} restarts");
    let previous = LogQuery { previous: true, ..LogQuery::default() };
    assert_eq!(lab.log("crash", previous), "run\n");
}

#[test]
fn on_failure_ends_with_success_and_always_does_not() {
    let lab = Lab::new();
    let script = "if [ -e /tmp/again ]; then exit 0; fi; touch /tmp/again; exit 1";
    let mut config = sh(&lab, "once", script);
    config.restart_policy = RestartPolicy::OnFailure;
    config.back_off = FAST;
    lab.runtime.start(&config).unwrap();
    let status = lab.wait_for("once", is_terminated);
    assert_eq!(end(&status.state), (0, None, "Completed", ""));
    assert_eq!(status.restart_count, 1);

    let mut config = sh(&lab, "forever", "exit 0");
    config.restart_policy = RestartPolicy::Always;
    config.back_off = FAST;
    lab.runtime.start(&config).unwrap();
    let status = lab.wait_for("forever", |status| status.restart_count >= 2);
    assert_eq!(end(status.last_state.as_ref().unwrap()), (0, None, "Completed", ""));
}

#[test]
fn an_unhealthy_command_is_restarted_whatever_its_exit_code() {
    let lab = Lab::new();
    let script = "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done";
    let mut config = sh(&lab, "sick", script);
    config.restart_policy = RestartPolicy::OnFailure;
    lab.runtime.start(&config).unwrap();
    lab.wait_for_log("sick", "up");
    lab.runtime.restart_command("sick").unwrap();
    let status = lab.wait_for("sick", |status| status.restart_count == 1 && is_running(status));
    assert_eq!(end(status.last_state.as_ref().unwrap()), (0, None, "Completed", ""));
}

#[test]
fn orphans_are_reaped_and_end_with_the_command() {
    let lab = Lab::new();
    // A hundred orphans that end, and one that does not.
    let script = "i=0; while [ $i -lt 100 ]; do (true & ) ; i=$((i+1)); done
                  (sleep 1000 &); echo made
                  until [ $(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l) = 0 ]
                  do :; done; echo clean";
    let output = lab.output(&sh(&lab, "orphans", script));
    assert_eq!(output, "made\nclean\n");
    wait_until(
        || lab.runtime.cgroups().processes("orphans").unwrap().len() == 1,
        || format!("{:?}", lab.runtime.cgroups().processes("orphans")),
    );
}

#[test]
fn a_signal_from_inside_the_pod_goes_to_the_command() {
    let lab = Lab::new();
    let script = "trap 'echo got; exit 0' TERM; kill -TERM 1; while :; do sleep 0.01; done";
    let config = sh(&lab, "inside", script);
    assert_eq!(lab.output(&config), "got\n");
    assert!(lab.is_alive("inside"), "the pod itself was ended from inside");
    assert!(!lab.runtime.status("inside").unwrap().unwrap().terminating);
}

#[test]
fn a_second_init_leaves_the_first_alone() {
    let lab = Lab::new();
    let process = lab.runtime.start(&lab.config("twice", &[])).unwrap();
    let dir = lab.dir.path().join("run/pods/twice");
    let output = Command::new(exe()).arg("pod-init").arg(&dir).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stderr, b"");
    assert_eq!(lab.runtime.start(&lab.config("twice", &[])).unwrap().pid, process.pid);
    assert!(!process.wait(Duration::ZERO));
}

#[test]
fn the_next_daemon_finds_the_pods_of_the_one_before() {
    let lab = Lab::new();
    let script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done";
    let pid = lab.runtime.start(&sh(&lab, "old", script)).unwrap().pid;
    lab.wait_for_log("old", "up");
    let next = Runtime::new(lab.dir.path().join("run"), exe()).unwrap();
    assert_eq!(next.list().unwrap(), ["old"]);
    let process = next.observe("old").unwrap().alive.unwrap();
    assert_eq!(process.pid, pid);
    assert_eq!(next.config("old").unwrap().unwrap().argv()[2], script);
    next.terminate("old").unwrap();
    assert!(process.wait(TIMEOUT));
    assert_eq!(end(&next.status("old").unwrap().unwrap().state).0, 3);
}

#[test]
fn a_pod_whose_pid_1_was_killed_can_be_started_again() {
    let lab = Lab::new();
    let config = sh(&lab, "shot", "echo up; sleep 1000");
    let process = lab.runtime.start(&config).unwrap();
    lab.wait_for("shot", is_running);
    lab.runtime.kill("shot").unwrap();
    assert!(process.wait(TIMEOUT));
    assert!(!lab.is_alive("shot"));
    assert_eq!(lab.runtime.cgroups().processes("shot").unwrap(), [0; 0]);
    lab.runtime.start(&config).unwrap();
    let status = lab.wait_for("shot", is_running);
    assert_eq!(status.restart_count, 1);
    let (code, signal, _, message) = end(status.last_state.as_ref().unwrap());
    assert_eq!((code, signal, message), (137, Some(9), "the pod's PID 1 was killed"));
}

#[test]
fn a_pid_that_belongs_to_another_process_now_is_left_alone() {
    let lab = Lab::new();
    let process = lab.runtime.start(&lab.config("reused", &[])).unwrap();
    lab.runtime.kill("reused").unwrap();
    assert!(process.wait(TIMEOUT));
    // The pid of a stranger with another start time.
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid_file = lab.dir.path().join("run/pods/reused/pid");
    std::fs::write(&pid_file, format!("{} 1\n", stranger.id())).unwrap();
    assert!(!lab.is_alive("reused"));
    lab.runtime.kill("reused").unwrap();
    lab.runtime.terminate("reused").unwrap();
    lab.runtime.remove("reused", TIMEOUT).unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn an_intermediate_that_is_killed_anywhere_leaves_a_pod_or_none() {
    let lab = Lab::new();
    let config = lab.config("torn", &[]);
    let mut outcomes = HashSet::new();
    for round in 0..60_u32 {
        let dir = lab.dir.path().join("run/pods/torn");
        std::fs::create_dir_all(dir.join("root")).unwrap();
        std::fs::write(dir.join("init.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        std::fs::write(dir.join("lock"), "").unwrap();
        lab.runtime.cgroups().ensure("torn", &Limits::default()).unwrap();
        let mut child = Command::new(exe())
            .arg0("netlabd")
            .arg("pod-init")
            .arg(&dir)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let kill_at = Instant::now() + Duration::from_micros(u64::from(round) * 150);
        while Instant::now() < kill_at {
            std::hint::spin_loop();
        }
        kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        outcomes.insert(lab.is_alive("torn"));
        // Whatever is there now, a pod can be made of it, and all of it can be removed.
        let process = lab.runtime.start(&config).unwrap();
        lab.runtime.remove("torn", TIMEOUT).unwrap();
        assert!(process.wait(Duration::ZERO));
        assert!(!dir.exists());
    }
    assert_eq!(outcomes.len(), 2, "the kills did not hit both before and after the start");
}

#[test]
fn fifty_pods_start_in_parallel() {
    let lab = Lab::new();
    std::thread::scope(|scope| {
        for number in 0..50 {
            let lab = &lab;
            scope.spawn(move || {
                let uid = format!("many-{number}");
                let config = sh(lab, &uid, "echo $HOSTNAME; exec sleep 1000");
                lab.runtime.start(&config).unwrap();
            });
        }
    });
    let uids = lab.runtime.list().unwrap();
    assert_eq!(uids.len(), 50);
    let mut pids = HashSet::new();
    for uid in &uids {
        lab.wait_for_log(uid, &format!("{uid}-host"));
        pids.insert(lab.runtime.observe(uid).unwrap().alive.unwrap().pid);
    }
    assert_eq!(pids.len(), 50);
}

#[test]
fn removing_is_idempotent_and_ends_everything() {
    let lab = Lab::new();
    lab.runtime.start(&sh(&lab, "gone", "sleep 1000 & sleep 1000")).unwrap();
    lab.wait_for("gone", is_running);
    lab.runtime.remove("gone", TIMEOUT).unwrap();
    assert_eq!(lab.runtime.cgroups().list().unwrap(), [""; 0]);
    lab.runtime.remove("gone", TIMEOUT).unwrap();
    lab.runtime.terminate("gone").unwrap();
    let observed = lab.runtime.observe("gone").unwrap();
    assert!(observed.alive.is_none() && observed.status.is_none());
    assert!(lab.runtime.remove("../up", TIMEOUT).is_err());
}

#[test]
fn a_full_log_disk_neither_stops_nor_ends_the_command() {
    // The small disk is in a mount namespace of this thread; what it spawns sees it too.
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let lab = Lab::new();
        let mut config = sh(&lab, "chatty", "seq 100000; exit 3");
        std::fs::create_dir_all(&config.log.dir).unwrap();
        mount(Some("disk"), &config.log.dir, Some("tmpfs"), MsFlags::empty(), Some("size=128k"))
            .unwrap();
        config.log.max_bytes = 1 << 20;
        lab.runtime.start(&config).unwrap();
        let status = lab.wait_for("chatty", is_terminated);
        assert_eq!(end(&status.state), (3, None, "Error", ""));
        let kept = lab.log("chatty", LogQuery::default()).lines().count() as u64;
        assert!(kept > 0 && status.log_records_dropped > 0, "{kept} {status:?}");
        assert_eq!(kept + status.log_records_dropped, 100_000);
    })
    .join()
    .unwrap();
}

#[test]
fn memory_and_process_limits_hold() {
    let lab = Lab::new();
    let cgroups = lab.runtime.cgroups();
    let limits = Limits { memory_bytes: Some(32 << 20), ..Limits::default() };
    // A shell that doubles a string allocates fast enough.
    let mut config = lab.config("fat", &["/bin/sh", "-c", "a=x; while :; do a=$a$a; done"]);
    config.cgroups = cgroups.ensure("fat", &limits).unwrap();
    lab.runtime.start(&config).unwrap();
    let status = lab.wait_for("fat", is_terminated);
    assert_eq!(end(&status.state), (137, Some(9), "OOMKilled", ""));
    assert!(lab.is_alive("fat"));

    let limits = Limits { pids: Some(5), cpu_millis: Some(500), ..Limits::default() };
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all";
    let mut config = sh(&lab, "forks", script);
    config.cgroups = cgroups.ensure("forks", &limits).unwrap();
    lab.runtime.start(&config).unwrap();
    let status = lab.wait_for("forks", is_terminated);
    assert_ne!(end(&status.state).0, 0);
    assert!(!lab.log("forks", LogQuery::default()).contains("all"));
}
