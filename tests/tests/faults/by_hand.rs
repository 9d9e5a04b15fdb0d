// SPDX-License-Identifier: GPL-3.0-or-later
//! Somebody kills, unmounts, deletes or garbles what belongs to a pod.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::audit::uid;
use crate::daemon::{Lab, ip_of, processes, wait_for};

#[test]
fn a_killed_pid_1_comes_back_with_its_address() {
    let lab = Lab::started("pid1");
    lab.run_pods(&["a", "b"]);
    let before = lab.pod("a");
    let (pid, start) = lab.process(&before).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let now = wait_for("another PID 1", || match lab.process(&lab.pod("a")) {
        Some(process) if process != (pid, start) => Ok(process),
        other => Err(format!("{other:?}")),
    });
    assert_ne!(now, (pid, start));
    lab.wait_event("a", "SandboxChanged");
    let after = wait_for("the restart is counted", || {
        let pod = lab.pod("a");
        let count = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        if count == Some(1) { Ok(pod) } else { Err(pod["status"].to_string()) }
    });
    assert_eq!(ip_of(&before), ip_of(&after));
    lab.assert_connected("a", "b");
    lab.audit();
    lab.finish();
}

/// How often a process is looked for that is about to start. A look takes a millisecond or so.
const LOOKS: usize = 100;

#[test]
fn a_killed_intermediate_only_delays_its_pod() {
    let lab = Lab::started("intermed");
    let needle = lab.run_dir().join("pods");
    let needle = needle.to_str().unwrap();
    let names: Vec<String> = (0..30).map(|n| format!("p{n}")).collect();
    let mut killed = 0;
    for name in &names {
        lab.client().post("/v1/namespaces/default/pods", &lab.pod_object(name)).unwrap().ok();
        // Whatever pod-init there is first is an intermediate, or a PID 1 that was just made.
        let uid = uid(&lab.pod(name));
        // On a busy machine it takes a while to be there.
        let pid = (0..LOOKS).find_map(|_| {
            let found = processes(needle);
            found.iter().find(|(_, line)| line.contains(&uid)).map(|(pid, _)| *pid)
        });
        if let Some(pid) = pid {
            killed += usize::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
    }
    assert!(killed > 0, "no pod-init was caught");
    for name in &names {
        lab.wait_running(name);
    }
    lab.audit();
    lab.finish();
}

#[test]
fn what_was_removed_by_hand_is_back_after_a_restart() {
    let mut lab = Lab::started("removed");
    lab.run_pods(&["a", "b", "c", "d", "e", "f", "peer"]);
    let before = lab.audit();
    let pod = |name: &str| &before[&format!("default/{name}")];
    let run = lab.run_dir();
    let record = |name: &str| run.join("netns").join(format!("default_{name}"));
    // a: its pin; b: its record; c: both.
    let pin = |name: &str| fs::canonicalize(record(name)).unwrap();
    umount2(&pin("a"), MntFlags::MNT_DETACH).unwrap();
    fs::remove_file(record("b")).unwrap();
    umount2(&pin("c"), MntFlags::MNT_DETACH).unwrap();
    fs::remove_file(record("c")).unwrap();
    // d: status and init.json garbled; e: both gone; f: status garbled, and its PID 1 killed.
    let status = |name: &str| run.join("status").join(format!("{}.json", uid(pod(name))));
    let init = |name: &str| run.join("pods").join(uid(pod(name))).join("init.json");
    fs::write(status("d"), "{ not json").unwrap();
    fs::write(init("d"), "\0\0\0").unwrap();
    fs::remove_file(status("e")).unwrap();
    fs::remove_file(init("e")).unwrap();
    fs::write(status("f"), "").unwrap();
    fs::remove_file(run.join("hosts/default/hosts")).unwrap();
    fs::remove_file(run.join("netlabd.sock")).unwrap();
    lab.kill9();
    let f = lab.process(pod("f")).unwrap();
    kill(Pid::from_raw(f.0), Signal::SIGKILL).unwrap();
    let processes: Vec<_> =
        ["a", "b", "c", "d", "e"].iter().map(|name| lab.process(pod(name)).unwrap()).collect();
    lab.start();
    for name in ["a", "b", "c", "d", "e", "f"] {
        let after = lab.wait_running(name);
        assert_eq!(uid(&after), uid(pod(name)));
        assert_eq!(after["status"]["podIPs"], pod(name)["status"]["podIPs"]);
        lab.assert_connected(name, "peer");
    }
    let after: Vec<_> =
        ["a", "b", "c", "d", "e"].iter().map(|name| lab.process(pod(name)).unwrap()).collect();
    assert_eq!(processes, after, "a pod that lived was started again");
    let hosts = fs::read_to_string(run.join("hosts/default/hosts")).unwrap();
    assert!(hosts.contains(&format!("{}\tpeer peer.default", ip_of(pod("peer")))), "{hosts}");
    lab.audit();
    lab.client().delete("/v1/namespaces/default/pods").unwrap().ok();
    for name in ["a", "b", "c", "d", "e", "f", "peer"] {
        lab.wait_gone(name);
    }
    assert!(lab.audit().is_empty());
    lab.finish();
}

#[test]
fn what_is_removed_by_hand_comes_back_while_the_daemon_runs() {
    let lab = Lab::started("comesback");
    lab.run_pods(&["a", "b", "c", "peer"]);
    let before = lab.audit();
    let run = lab.run_dir();
    let record = |name: &str| run.join("netns").join(format!("default_{name}"));
    let pin = |name: &str| fs::canonicalize(record(name)).unwrap();
    umount2(&pin("a"), MntFlags::MNT_DETACH).unwrap();
    // The start that follows finds no namespace where the pin was.
    umount2(&pin("b"), MntFlags::MNT_DETACH).unwrap();
    let (pid, _) = lab.process(&before["default/b"]).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    fs::remove_file(record("c")).unwrap();
    fs::remove_file(run.join("hosts/default/hosts")).unwrap();
    let socket = run.join("netlabd.sock");
    fs::remove_file(&socket).unwrap();
    wait_for("the socket is back", || {
        socket.exists().then_some(()).ok_or_else(|| "it is gone".to_owned())
    });
    wait_for("everything is back", || {
        let hosts = run.join("hosts/default/hosts").exists();
        if hosts && record("c").exists() { Ok(()) } else { Err(format!("hosts: {hosts}")) }
    });
    let after = lab.audit();
    for name in ["a", "b", "c"] {
        let key = format!("default/{name}");
        assert_eq!(before[&key]["status"]["podIPs"], after[&key]["status"]["podIPs"]);
        lab.wait_running(name);
        lab.assert_connected(name, "peer");
    }
    lab.audit();
    lab.finish();
}

#[test]
fn pods_can_be_deleted_whatever_was_removed_before() {
    let lab = Lab::started("deletable");
    let names = ["a", "b", "c", "d", "e"];
    lab.run_pods(&names);
    let pods = lab.audit();
    let run = lab.run_dir();
    let record = |name: &str| run.join("netns").join(format!("default_{name}"));
    umount2(&fs::canonicalize(record("a")).unwrap(), MntFlags::MNT_DETACH).unwrap();
    fs::remove_file(record("b")).unwrap();
    let uid = |name: &str| uid(&pods[&format!("default/{name}")]);
    fs::remove_file(run.join("status").join(format!("{}.json", uid("c")))).unwrap();
    fs::write(run.join("pods").join(uid("c")).join("init.json"), "?").unwrap();
    fs::remove_dir_all(run.join("hosts")).unwrap();
    fs::remove_dir_all(lab.state_dir().join("logs")).unwrap();
    let link = pods["default/d"]["status"]["network"]["hostLink"].as_str().unwrap();
    assert!(lab.inside("ip").args(["link", "delete", link]).status().unwrap().success());
    lab.client().delete("/v1/namespaces/default/pods").unwrap().ok();
    for name in names {
        lab.wait_gone(name);
    }
    assert!(lab.audit().is_empty());
    lab.finish();
}

#[test]
fn a_stopped_daemon_makes_clients_wait_and_breaks_nothing() {
    let lab = Lab::started("stopped");
    lab.run_pods(&["a", "b"]);
    kill(lab.pid(), Signal::SIGSTOP).unwrap();
    wait_for("all threads stop", || {
        let threads = fs::read_dir(format!("/proc/{}/task", lab.pid())).unwrap().flatten();
        let stat = |path: PathBuf| fs::read_to_string(path.join("stat")).unwrap_or_default();
        let running = threads.map(|t| stat(t.path())).find(|stat| !stat.contains(") T "));
        running.map_or(Ok(()), Err)
    });
    let hasty = lab.client().with_timeout(Duration::from_millis(300));
    let timed_out = hasty.get("/v1/pods").unwrap_err();
    assert_eq!(timed_out.kind(), std::io::ErrorKind::WouldBlock);
    // A client that gives up in the middle of a write and one that waits.
    hasty.post("/v1/namespaces/default/pods", &lab.pod_object("hasty")).unwrap_err();
    let (client, pod) = (lab.client(), lab.pod_object("patient"));
    let patient = thread::spawn(move || client.post("/v1/namespaces/default/pods", &pod));
    lab_connected_without_api(&lab);
    thread::sleep(Duration::from_secs(2));
    kill(lab.pid(), Signal::SIGCONT).unwrap();
    assert_eq!(patient.join().unwrap().unwrap().status, 201);
    lab.wait_running("patient");
    lab.assert_connected("a", "patient");
    // The write that nobody waited for happened whole, or not at all.
    lab.audit();
    lab.finish();
}

/// The pods' packets need no daemon.
fn lab_connected_without_api(lab: &Lab) {
    let pins = lab.run_dir().join("netns");
    let output = std::process::Command::new("nsenter")
        .arg(format!("--net={}", pins.join("default_a").display()))
        .args(["ping", "-c3", "-i0.05", "-W1", "10.42.0.2"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
