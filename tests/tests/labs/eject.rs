// SPDX-License-Identifier: GPL-3.0-or-later
//! The script of `lab eject` builds the same network without netlab.

use std::fs;

use netlab_tests::command::{command, run};
use netlab_tests::{Background, VirtualLab, wait_until};

use crate::SMALL;

#[test]
fn the_script_builds_a_network_whose_pods_reach_each_other() {
    let lab = VirtualLab::new("eject", SMALL);
    lab.up().ok();
    let ip = |pod: &str, at: usize| {
        lab.get(&["pod", pod])["status"]["podIPs"][at]["ip"].as_str().unwrap().to_owned()
    };
    let (web, web6) = (ip("web", 0), ip("web", 1));
    let expose = ["svc", "expose", "web", "--port=80:8080", "--node-port=30080"];
    lab.ctl(&[&expose[..], &["--ip-family-policy=RequireDualStack"]].concat()).ok();
    let service = lab.get(&["svc", "web"]);
    let cluster_ips = service["spec"]["clusterIPs"].as_array().unwrap().clone();
    let [v4, v6] = [0, 1].map(|at| cluster_ips[at].as_str().unwrap().to_owned());
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
        assert_reaches(from, to);
    }
    // The command of the pod is a comment of the script.
    let _server = Background::spawn(&mut command(&[
        "ip",
        "netns",
        "exec",
        &format!("netlab-{}-default_web", lab.name),
        "python3",
        "-m",
        "http.server",
        "8080",
        "--bind",
        "::",
        "--directory",
        "/tmp",
    ]));
    let node = format!("netlab-{}-n1", lab.name);
    for (from, url) in [
        (&client, format!("http://{v4}/")),
        (&client, format!("http://[{v6}]/")),
        (&node, format!("http://{v4}/")),
        (&laptop, "http://172.30.0.2:30080/".to_owned()),
    ] {
        wait_until(&format!("{from} is served by {url}"), || {
            let curl = ["curl", "-sf", "--noproxy", "*", "--max-time", "2", "-o", "/dev/null"];
            let words = [&["ip", "netns", "exec", from][..], &curl, &[&url]].concat();
            run(&mut command(&words)).is_ok()
        });
    }
    drop(ejected);
    let left = run(&mut command(&["ip", "netns", "list"])).ok();
    assert!(!left.contains(&lab.name), "{left}");
}

#[test]
fn the_script_joins_nodes_of_one_network_and_of_several() {
    let racks = "[[network]]\nname = \"a\"\n[[network]]\nname = \"b\"\n\
                 [[node]]\nname = \"n1\"\nnetwork = \"a\"\n[[node]]\nname = \"n2\"\nnetwork = \"a\"\n\
                 [[node]]\nname = \"n3\"\nnetwork = \"b\"\n\
                 [[pod]]\nname = \"one\"\nnodeName = \"n1\"\n\
                 [[pod]]\nname = \"two\"\nnodeName = \"n2\"\n\
                 [[pod]]\nname = \"three\"\nnodeName = \"n3\"\n";
    let lab = VirtualLab::new("racks", racks);
    lab.up().ok();
    let pods = lab.get(&["pods"]);
    let addresses = |pod: &str| -> Vec<String> {
        let pods = netlab_tests::observe::items(&pods["items"]);
        let pod = pods.iter().find(|found| found["metadata"]["name"] == pod).unwrap();
        let ips = netlab_tests::observe::items(&pod["status"]["podIPs"]);
        ips.iter().map(|ip| ip["ip"].as_str().unwrap().to_owned()).collect()
    };
    let script = lab.ctl(&["lab", "eject"]).ok();
    lab.down();
    let path = lab.dir().join("eject.sh");
    fs::write(&path, script).unwrap();
    let path = path.display().to_string();
    let _ejected = Ejected(path.clone());
    run(&mut command(&["bash", &path])).ok();
    for from in ["one", "two", "three"] {
        for to in ["one", "two", "three"].iter().flat_map(|to| addresses(to)) {
            let netns = format!("netlab-{}-default_{from}", lab.name);
            assert_reaches(&netns, &to);
        }
    }
}

/// Links that were just set up have their carrier a moment later, and a first packet may be lost.
#[track_caller]
fn assert_reaches(netns: &str, to: &str) {
    wait_until(&format!("{netns} reaches {to}"), || {
        run(&mut command(&["ip", "netns", "exec", netns, "ping", "-c1", "-W1", to])).is_ok()
    });
}

/// Removes what the script built, however the test ends.
struct Ejected(String);

impl Drop for Ejected {
    fn drop(&mut self) {
        run(&mut command(&["bash", &self.0, "down"]));
    }
}
