// SPDX-License-Identifier: GPL-3.0-or-later
//! The script of `lab eject` builds the same network without netlab.

use std::fs;

use netlab_tests::VirtualLab;
use netlab_tests::command::{command, run};

use crate::SMALL;

#[test]
fn the_script_builds_a_network_whose_pods_reach_each_other() {
    let lab = VirtualLab::new("eject", SMALL);
    lab.up().ok();
    let ip = |pod: &str, at: usize| {
        lab.get(&["pod", pod])["status"]["podIPs"][at]["ip"].as_str().unwrap().to_owned()
    };
    let (web, web6) = (ip("web", 0), ip("web", 1));
    let script = lab.ctl(&["lab", "eject"]).ok();
    // Nothing of netlab is there any more when the script runs.
    lab.down();
    let path = lab.dir().join("eject.sh");
    fs::write(&path, script).unwrap();
    let path = path.display().to_string();
    let ejected = Ejected(path.clone());
    run(&mut command(&["bash", &path, "up"])).ok();
    let client = format!("netlab-{}-default_client", lab.name);
    let laptop = format!("netlab-{}-laptop", lab.name);
    for (from, to) in [
        (&client, web.as_str()),
        (&client, web6.as_str()),
        (&client, "172.30.0.2"),
        // It sees the node, not the pod.
        (&client, "172.30.0.3"),
        (&client, "fd44::3"),
        (&laptop, "172.30.0.2"),
    ] {
        run(&mut command(&["ip", "netns", "exec", from, "ping", "-c1", "-W2", to])).ok();
    }
    drop(ejected);
    let left = run(&mut command(&["ip", "netns", "list"])).ok();
    assert!(!left.contains(&lab.name), "{left}");
}

/// Removes what the script built, however the test ends.
struct Ejected(String);

impl Drop for Ejected {
    fn drop(&mut self) {
        run(&mut command(&["bash", &self.0, "down"]));
    }
}
