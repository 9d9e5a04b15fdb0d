// SPDX-License-Identifier: GPL-3.0-or-later
//! No space left, where the store is and where runtime state is.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

use crate::audit::uid;
use crate::daemon::{Lab, wait_for};

/// A small file system, until it is dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: PathBuf, size: &str) -> Tmpfs {
        fs::create_dir_all(&path).unwrap();
        let options = format!("size={size}");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .unwrap();
        Tmpfs(path)
    }

    /// Takes all the space there is.
    fn fill(&self) {
        let mut file = fs::File::create(self.filler()).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let error = file.write_all(&[0; 4096]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::ENOSPC));
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(self.0.as_path() as &Path, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_state_dir_refuses_writes_and_touches_no_pod() {
    let mut lab = Lab::new("fullstate");
    let disk = Tmpfs::mount(lab.state_dir(), "24m");
    lab.start();
    lab.run_pods(&["a", "b", "c"]);
    let before = lab.audit();
    let processes: Vec<_> = before.values().map(|pod| lab.process(pod).unwrap()).collect();
    let (client, pods) = (lab.client(), "/v1/namespaces/default/pods");
    disk.fill();
    // What is free inside the store's files may still take a write or two.
    let mut made = Vec::new();
    let refused = wait_for("a write is refused", || {
        let name = format!("extra-{}", made.len());
        let answer = client.post(pods, &lab.pod_object(&name)).unwrap();
        if answer.status == 201 {
            made.push(name);
            return Err("everything was stored".to_owned());
        }
        Ok(answer)
    });
    assert_eq!(refused.status, 507, "{}", refused.body);
    assert_eq!(refused.body["reason"], "InsufficientStorage");
    let message = refused.body["message"].as_str().unwrap();
    assert!(message.contains("No space left on device"), "{message}");
    assert!(!message.contains("StorageFull"), "it is said as the kernel says it: {message}");
    // Whoever asks how it is hears of it.
    let told = "store: the last write was refused: No space left on device (os error 28): free some \
                disk space";
    let ready = client.get("/readyz").unwrap();
    assert_eq!((ready.status, &ready.body["missing"]), (503, &json!([told])));
    let checks = client.get("/v1/doctor").unwrap().body["checks"].clone();
    let check = json!({ "name": "ready", "outcome": "failed", "message": told });
    assert!(checks.as_array().unwrap().contains(&check), "{checks}");
    assert!(refused.body["hint"].as_str().unwrap().contains("nothing was changed"));
    let items = json!({ "items": [lab.pod_object("p1"), lab.pod_object("p2")] });
    assert_eq!(client.post("/v1/apply", &items).unwrap().status, 507);
    assert_eq!(client.delete(&format!("{pods}/a")).unwrap().status, 507);
    // Reads go on, and so do the pods.
    let present = lab.pods();
    assert_eq!(present.len(), 3 + made.len());
    assert!(present["default/a"]["metadata"]["deletionTimestamp"].is_null());
    lab.assert_connected("a", "b");
    let still: Vec<_> = before.values().map(|pod| lab.process(pod).unwrap()).collect();
    assert_eq!(processes, still);
    // A restart meanwhile finds what was acknowledged, or says what is wrong.
    lab.kill9();
    disk.free();
    lab.start();
    for name in &made {
        lab.wait_running(name);
    }
    let after = lab.audit();
    assert_eq!(after.len(), 3 + made.len());
    for (name, pod) in &before {
        assert_eq!(uid(pod), uid(&after[name]));
        assert_eq!(pod["status"]["podIPs"], after[name]["status"]["podIPs"]);
    }
    let still: Vec<_> = before.values().map(|pod| lab.process(pod).unwrap()).collect();
    assert_eq!(processes, still);
    lab.run_pods(&["p1", "p2"]);
    lab.client().delete(&format!("{pods}/a")).unwrap().ok();
    lab.wait_gone("a");
    lab.audit();
    // And without a restart in between.
    disk.fill();
    wait_for("a write is refused", || {
        let answer = client.post(pods, &lab.pod_object("late")).unwrap();
        if answer.status == 201 {
            client.delete(&format!("{pods}/late?gracePeriodSeconds=0")).unwrap();
        }
        if answer.status == 507 { Ok(()) } else { Err(answer.body.to_string()) }
    });
    disk.free();
    wait_for("a write is taken", || {
        match client.post("/v1/apply", &json!({ "items": [lab.pod_object("last")] })).unwrap() {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.body.to_string()),
        }
    });
    assert_eq!(client.get("/readyz").unwrap().status, 200);
    lab.wait_running("last");
    lab.audit();
    lab.kill9();
    // Removed with everything else, so that its mount must be gone first.
    lab.start();
    lab.client().delete(&format!("{pods}?gracePeriodSeconds=0")).unwrap().ok();
    lab.kill9();
    lab.start();
    wait_for("all pods are gone", || match lab.pods().len() {
        0 => Ok(()),
        left => Err(left.to_string()),
    });
    lab.audit();
    lab.kill9();
    drop(disk);
    lab.finish();
}

#[test]
fn a_full_run_dir_delays_pods_and_says_why() {
    let mut lab = Lab::new("fullrun");
    let disk = Tmpfs::mount(lab.run_dir(), "1m");
    lab.start();
    lab.run_pods(&["a"]);
    let process = lab.process(&lab.pod("a")).unwrap();
    disk.fill();
    let items = json!({ "items": [lab.pod_object("b"), lab.pod_object("c")] });
    lab.client().post("/v1/apply", &items).unwrap().ok();
    let message = lab.wait_event("b", "FailedCreatePodSandBox");
    assert!(message.contains("No space left on device"), "{message}");
    wait_for("the status says why", || {
        let status = &lab.pod("b")["status"];
        let waiting = &status["containerStatuses"][0]["state"]["waiting"];
        let text = waiting["message"].as_str().unwrap_or_default();
        if text.contains("No space left") { Ok(()) } else { Err(status.to_string()) }
    });
    // One that never started goes without a trace.
    lab.client().delete("/v1/namespaces/default/pods/c").unwrap().ok();
    lab.wait_gone("c");
    assert_eq!(lab.process(&lab.pod("a")), Some(process));
    lab.restart();
    disk.free();
    lab.wait_running("b");
    lab.assert_connected("a", "b");
    assert_eq!(lab.process(&lab.pod("a")), Some(process));
    let pods = lab.audit();
    assert_eq!(pods.len(), 2);
    lab.client().delete("/v1/namespaces/default/pods").unwrap().ok();
    lab.wait_gone("a");
    lab.wait_gone("b");
    lab.audit();
    lab.kill9();
    drop(disk);
    lab.finish();
}
