// SPDX-License-Identifier: GPL-3.0-or-later
//! `netlabctl` as people type it: what it prints, how it ends, and what it says of mistakes. Needs
//! root.

use std::fs;

use netlab_tests::command::run;
use netlab_tests::{Lab, Output, poll, wait_until};
use nix::sys::signal::Signal;

const WEB: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: web
    command: [sleep, \"1000\"]
";

/// Tables without what differs from run to run: ages become `AGE`, and columns one space apart.
fn table(output: Output) -> Vec<String> {
    let is_age = |word: &str| {
        let digits = word.trim_end_matches(['s', 'm', 'h']);
        digits != word && digits.chars().all(|c| c.is_ascii_digit())
    };
    let line = |line: &str| {
        let words = line.split_whitespace().map(|word| if is_age(word) { "AGE" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    output.ok().lines().map(line).collect()
}

#[test]
fn get_prints_kubectls_tables() {
    let lab = Lab::new("get");
    assert_eq!(lab.ctl(&["get", "pods"]).stderr, "No resources found in default namespace.\n");
    lab.run("web", &["--labels=app=web"]);
    lab.run("db", &["--labels=app=db"]);
    assert_eq!(
        table(lab.ctl(&["get", "pods"])),
        ["NAME READY STATUS RESTARTS AGE", "db 1/1 Running 0 AGE", "web 1/1 Running 0 AGE"]
    );
    assert_eq!(
        table(lab.ctl(&["get", "po", "-o", "wide", "-l", "app=web"])),
        ["NAME READY STATUS RESTARTS AGE IP NODE", "web 1/1 Running 0 AGE 10.42.0.1 n1"]
    );
    assert_eq!(
        table(lab.ctl(&["get", "pods", "-A", "--no-headers", "--show-labels"])),
        ["default db 1/1 Running 0 AGE app=db", "default web 1/1 Running 0 AGE app=web"]
    );
    assert_eq!(
        table(lab.ctl(&["get", "nodes"])),
        ["NAME STATUS ROLES AGE VERSION", "n1 Ready server AGE 0.1.0"]
    );
    assert_eq!(
        lab.ctl(&["get", "pods,ns", "-o", "name"]).ok(),
        "pod/db\npod/web\nnamespace/default\n"
    );
    let path = "jsonpath={range .items[*]}{.metadata.name}={.status.podIP} {end}";
    assert_eq!(lab.ctl(&["get", "pods", "-o", path]).ok(), "db=10.42.0.2 web=10.42.0.1 ");
    let json = lab.ctl(&["get", "pod", "web", "-o", "json"]).json();
    assert_eq!(json["metadata"]["name"], "web");
    let yaml = lab.ctl(&["get", "pod", "web", "-o", "yaml"]).ok();
    assert!(yaml.starts_with("apiVersion: v1\n") && yaml.contains("\n  name: web\n"), "{yaml}");
}

#[test]
fn a_watching_get_prints_what_changes() {
    let lab = Lab::new("getw");
    let watch = lab.ctl_spawn(&["get", "pods", "-w"]);
    lab.run("web", &[]);
    watch.wait_for("Running");
    lab.ctl(&["delete", "pod", "web", "--now"]).ok();
    watch.wait_for("Terminating");
    let output = watch.output();
    assert!(output.starts_with("NAME "), "{output}");
    assert_eq!(output.matches("NAME ").count(), 1, "{output}");
}

#[test]
fn apply_and_diff_tell_what_they_do() {
    let lab = Lab::new("files");
    let file = lab.dir().join("web.yaml");
    fs::write(&file, WEB).expect("a file can be written");
    let diff = lab.ctl(&["diff", "-f", "web.yaml"]);
    assert_eq!(diff.code, 1, "{diff}");
    assert!(diff.stdout.contains("+  name: web\n"), "{diff}");
    lab.get("/v1/namespaces/default/pods/web").error(404, "NotFound");
    assert_eq!(lab.ctl(&["apply", "-f", "web.yaml"]).ok(), "pod/web created\n");
    assert_eq!(lab.ctl(&["apply", "-f", "web.yaml"]).ok(), "pod/web unchanged\n");
    assert_eq!(lab.ctl(&["diff", "-f", "web.yaml"]).ok(), "");
    for (how, told) in [("client", "dry run"), ("server", "server dry run")] {
        let dry_run = format!("--dry-run={how}");
        let dry = lab.ctl(&["apply", "-f", "web.yaml", &dry_run]).ok();
        assert_eq!(dry, format!("pod/web unchanged ({told})\n"));
        let dry = lab.ctl(&["delete", "pod", "web", &dry_run]).ok();
        assert_eq!(dry, format!("pod \"web\" deleted from default namespace ({told})\n"));
    }
    fs::write(&file, WEB.replace("{app: web}", "{app: web, tier: front}")).expect("as before");
    let diff = lab.ctl(&["diff", "-f", "web.yaml"]);
    assert!(diff.code == 1 && diff.stdout.contains("+    tier: front\n"), "{diff}");
    let dry = lab.ctl(&["apply", "-f", "web.yaml", "--dry-run=client"]).ok();
    assert_eq!(dry, "pod/web configured (dry run)\n");
    assert_eq!(
        lab.ctl_with_input(&["apply", "-f", "-"], &fs::read_to_string(&file).expect("it is there"))
            .ok(),
        "pod/web configured\n"
    );
    // Where an object comes from is kept, and is no change of it.
    let source = || lab.pod("web")["metadata"]["annotations"]["netlab.io/source"].clone();
    assert_eq!(source(), "stdin:1");
    assert_eq!(lab.ctl(&["diff", "-f", "web.yaml"]).ok(), "");
    assert_eq!(lab.ctl(&["apply", "-f", "web.yaml"]).ok(), "pod/web unchanged\n");
    assert_eq!(source(), "web.yaml:1");
    fs::write(&file, WEB.replace("1000", "2000")).expect("as before");
    lab.ctl(&["diff", "-f", "web.yaml"]).fails(2);
    lab.ctl(&["diff", "-f", "none.yaml"]).fails(2);
    let refused = lab.ctl(&["apply", "-f", "web.yaml"]).fails(1);
    assert!(
        refused.contains("spec.command") && refused.contains("netlabctl delete pod web"),
        "{refused}"
    );
    assert_eq!(
        lab.ctl(&["delete", "-f", "web.yaml"]).ok(),
        "pod \"web\" deleted from default namespace\n"
    );
}

#[test]
fn describe_tells_all_of_a_pod_and_its_events() {
    let lab = Lab::new("describe");
    lab.run("web", &["--port=8080", "--env=A=1", "--", "sleep", "1000"]);
    wait_until("the start is told", || lab.events_of("web").len() >= 2);
    let text = lab.ctl(&["describe", "pod", "web"]).ok();
    for line in [
        "Name:             web",
        "Node:             n1/192.0.2.1",
        "IP:               10.42.0.1",
        "                  fd42::1",
        "Command:          sleep 1000",
        "Ports:            8080/TCP",
        "State:            Running",
        "  MTU:            1400",
        "Events:",
    ] {
        assert!(text.lines().any(|found| found.trim_end() == line), "`{line}` is missing: {text}");
    }
    assert!(text.contains("Scheduled") && text.contains("Started pod web: sleep 1000"), "{text}");
    let enter = text.lines().find_map(|line| line.strip_prefix("  Enter:")).unwrap_or_default();
    let shown = lab.netns_exec(&["sh", "-c", enter.trim()]).ok();
    assert!(shown.contains("10.42.0.1/32"), "what describe says can be typed: {shown}");
    let events = lab.ctl(&["events", "--for", "pod/web"]).ok();
    assert!(events.starts_with("LAST SEEN ") && events.contains("Started pod web"), "{events}");
    let node = lab.ctl(&["describe", "node", "n1"]).ok();
    assert!(node.contains("InternalIP 192.0.2.1") && node.contains("default    web"), "{node}");
}

#[test]
fn labels_are_set_changed_and_removed() {
    let lab = Lab::new("label");
    lab.run("web", &[]);
    assert_eq!(lab.ctl(&["label", "pod", "web", "a=b", "app-"]).ok(), "pod/web labeled\n");
    assert_eq!(lab.pod("web")["metadata"]["labels"], serde_json::json!({ "a": "b" }));
    let refused = lab.ctl(&["label", "pod", "web", "a=c"]).fails(1);
    assert!(
        refused.contains("already has a value (b)") && refused.contains("--overwrite"),
        "{refused}"
    );
    lab.ctl(&["label", "pod", "web", "a=c", "--overwrite"]).ok();
    let dry = lab.ctl(&["label", "pod", "web", "b=c", "--dry-run=server"]).ok();
    assert_eq!(dry, "pod/web labeled (server dry run)\n");
    lab.ctl(&["label", "pod", "web", "b=c", "b-"]).fails(2);
    assert_eq!(lab.pod("web")["metadata"]["labels"], serde_json::json!({ "a": "c" }));
    let nobody = lab.ctl(&["label", "pods", "-l", "app=none", "a=b"]);
    assert_eq!(nobody.stderr, "No resources found in default namespace.\n");
    assert_eq!(nobody.ok(), "");
}

#[test]
fn an_edit_keeps_the_object_that_it_is_of() {
    let lab = Lab::new("edit");
    lab.run("web", &[]);
    let edit = |script: &str| {
        let mut edit = lab.netlabctl(&["edit", "pod", "web"]);
        edit.env_remove("NETLAB_EDITOR").env("TMPDIR", lab.dir()).env("EDITOR", "false");
        run(edit.env("KUBE_EDITOR", format!("sed -i '{script}'")))
    };
    assert_eq!(edit("s/app: web/app: shop/").ok(), "pod/web edited\n");
    assert_eq!(lab.pod("web")["metadata"]["labels"], serde_json::json!({ "app": "shop" }));
    let refused = edit("s/name: web/name: db/").fails(1);
    assert!(refused.contains("neither kind nor name") && refused.contains("pod/db"), "{refused}");
    assert_eq!(lab.ctl(&["get", "pods", "-o", "name"]).ok(), "pod/web\n");
}

#[test]
fn a_command_for_a_pod_that_does_not_run_is_refused_in_one_line() {
    let lab = Lab::new("exec-none");
    lab.ctl(&["run", "web", "--rootfs", "/nonexistent", "--no-wait", "--", "sleep", "5"]).ok();
    // While its first process looks for the folder, there is one.
    let refused = poll("the pod's process has ended", || {
        Some(lab.ctl(&["exec", "web", "--", "true"])).filter(|output| output.code == 1)
    });
    assert_eq!(
        refused.stderr,
        "Error from server (Conflict): cannot exec in pod \"web\": it is not running\n\
         hint: look at it: netlabctl describe pod web\n"
    );
}

#[test]
fn wait_ends_when_it_is_so_and_says_so_when_it_is_not() {
    let lab = Lab::new("wait");
    lab.run("web", &[]);
    let met = lab.ctl(&["wait", "--for=condition=Ready", "pod/web"]).ok();
    assert_eq!(met, "pod/web condition met\n");
    let late = lab.ctl(&["wait", "--for=delete", "pod/web", "--timeout=100ms"]).fails(4);
    assert!(late.contains("timed out waiting for the condition on pods/web"), "{late}");
    lab.ctl(&["wait", "--for=condition=Ready", "pod/none"]).fails(3);
    let waiting = lab.ctl_spawn(&["wait", "--for=delete", "pod/web"]);
    lab.ctl(&["delete", "pod", "web", "--now"]).ok();
    assert_eq!(waiting.wait().0, 0);
}

#[test]
fn files_are_copied_both_ways_unchanged() {
    let lab = Lab::new("cp");
    lab.run("web", &[]);
    let bytes: Vec<u8> =
        (0..1_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(lab.dir().join("there"), &bytes).expect("a file can be written");
    lab.ctl(&["cp", "there", "web:/tmp/in the pod"]).ok();
    lab.ctl(&["cp", "web:/tmp/in the pod", "back"]).ok();
    assert!(fs::read(lab.dir().join("back")).is_ok_and(|back| back == bytes));
    fs::create_dir_all(lab.dir().join("dir/sub")).expect("a folder can be made");
    fs::write(lab.dir().join("dir/sub/file"), "x").expect("a file can be written");
    lab.ctl(&["cp", "dir", "web:/tmp/dir"]).ok();
    assert_eq!(lab.ctl(&["exec", "web", "--", "cat", "/tmp/dir/sub/file"]).ok(), "x");
    let missing = lab.ctl(&["cp", "web:/tmp/none", "none"]).fails(1);
    assert!(missing.contains("none") && missing.contains("No such file"), "{missing}");
    assert!(!lab.dir().join("none").exists());
}

#[test]
fn mistakes_are_told_with_a_way_out() {
    let lab = Lab::new("mistakes");
    for (words, code, texts) in [
        (vec!["get", "pods", "none"], 3, vec!["pods \"none\" not found"]),
        (vec!["describe", "pod", "none"], 3, vec!["pods \"none\" not found"]),
        (vec!["delete", "pod", "none"], 3, vec!["pods \"none\" not found"]),
        (vec!["logs", "none"], 3, vec!["pods \"none\" not found"]),
        (vec!["get", "nods"], 1, vec!["resource type \"nods\"", "did you mean `node"]),
        (vec!["get", "deployments"], 1, vec!["--replicas 3"]),
        (vec!["gte", "pods"], 2, vec!["unknown command \"gte\""]),
        (vec!["get", "pods", "--nope"], 2, vec!["--nope"]),
        (vec!["get", "pods", "-l", "a=("], 1, vec!["a=("]),
        (vec!["run"], 2, vec!["NAME"]),
        (vec!["run", "a", "sleep", "5"], 2, vec!["netlabctl run a -- sleep 5"]),
        (vec!["run", "Web"], 1, vec!["write `web`"]),
        (vec!["run", "a", "--image=nginx"], 2, vec!["commands, not images"]),
        (vec!["run", "a", "--limit=memory=64Mb"], 2, vec!["64Mb"]),
        (vec!["run", "a", "--port=99999"], 2, vec!["65535"]),
        (vec!["apply", "-f", "none.yaml"], 1, vec!["`none.yaml`"]),
        (vec!["delete", "ns", "default"], 1, vec!["always exists"]),
        (vec!["delete", "pods"], 2, vec!["--all"]),
        (vec!["delete", "node", "n1"], 1, vec!["holds the cluster's store", "netlabd teardown"]),
        (vec!["delete", "node", "n9"], 3, vec!["nodes \"n9\" not found"]),
        (vec!["drain", "n9"], 3, vec!["nodes \"n9\" not found"]),
        (vec!["drain", "-l", "rack=z"], 1, vec!["no node has labels `rack=z`"]),
        (
            vec!["run", "a", "--node=n9"],
            1,
            vec!["node \"n9\"", "does not exist", "only node is: n1"],
        ),
        (vec!["network", "mode", "vxlna"], 2, vec!["'vxlna'", "'vxlan'"]),
        (vec!["get", "pods,svc", "-w"], 2, vec!["a single resource type"]),
        (vec!["get", "pod", "a", "b", "-w"], 2, vec!["takes one name"]),
        (vec!["events", "--for", "web"], 2, vec!["`--for pod/web`"]),
        (vec!["get", "pod", ""], 2, vec!["name may not be empty"]),
        (vec!["delete", "pod", ""], 2, vec!["name may not be empty"]),
        (vec!["delete", "", "--all"], 2, vec!["which type"]),
        (vec!["pod", "rm", ""], 2, vec!["name may not be empty"]),
        (vec!["drain", ""], 2, vec!["name may not be empty"]),
    ] {
        let output = lab.ctl(&words);
        assert_eq!(output.code, code, "{output}");
        for text in texts {
            assert!(output.stderr.contains(text), "no `{text}` in {output}");
        }
        assert_eq!(output.stdout, "", "mistakes go to standard error: {output}");
    }
    fs::write(lab.dir().join("bad.yaml"), "kind: Pod\nmetadata:\n  name: x\n  lables: {}\n")
        .expect("a file can be written");
    let bad = lab.ctl(&["apply", "-f", "bad.yaml"]).fails(1);
    assert!(bad.contains("--> bad.yaml:4:3") && bad.contains("did you mean `labels`?"), "{bad}");
    assert_eq!(lab.ctl(&["get", "pods", "-o", "name"]).ok(), "");
}

#[test]
fn a_command_that_ends_at_once_or_never_gets_ready_is_told_with_its_last_lines() {
    let lab = Lab::new("runfails");
    let script = "echo starting; echo no such option >&2; exit 3";
    let refused = lab
        .ctl(&["run", "bad", "--restart=Never", "--ready=tcp:1", "--", "sh", "-c", script])
        .fails(1);
    for text in
        ["pod/bad does not run", "exit code 3", "no such option", "netlabctl describe pod bad"]
    {
        assert!(refused.contains(text), "no `{text}` in {refused}");
    }
    let late = lab.ctl(&["run", "slow", "--ready=tcp:1", "--timeout=1s"]).fails(4);
    assert!(late.contains("timed out after 1s waiting for pod/slow"), "{late}");
    lab.ctl(&["run", "now", "--ready=tcp:1", "--no-wait"]).ok();
}

#[test]
fn a_daemon_that_hangs_is_waited_for_no_longer_than_said() {
    let lab = Lab::new("hangs");
    lab.run("web", &[]);
    fs::write(lab.dir().join("db.toml"), "[[pod]]\nname = \"db\"\n").expect("a file");
    lab.signal(Signal::SIGSTOP);
    let verbs: [&[&str]; 4] = [
        &["run", "new", "--timeout=1s"],
        &["apply", "-f", "db.toml", "--timeout=1s"],
        &["delete", "pod", "web", "--timeout=1s"],
        &["delete", "pods", "--all", "--timeout=1s"],
    ];
    let refused = verbs.map(|words| lab.ctl(words));
    lab.signal(Signal::SIGCONT);
    for refused in refused {
        let text = refused.fails(4);
        let wanted = "timed out after 1s: netlabd does not answer; the request was sent and may still be carried out";
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn apply_warns_of_a_pod_that_no_node_takes() {
    let lab = Lab::new("unplaced");
    fs::write(lab.dir().join("db.toml"), "[[pod]]\nname = \"db\"\n").expect("a file");
    lab.ctl(&["cordon", "n1"]).ok();
    let output = lab.ctl(&["apply", "-f", "db.toml"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, "pod/db created\n"), "{output}");
    let why = "PodScheduled is False: Unschedulable: 0/1 nodes are available: 1 cordoned";
    assert!(output.stderr.starts_with(&format!("Warning: pod/db waits: {why}")), "{output}");
    let late = lab.ctl(&["run", "web", "--timeout=1s"]).fails(4);
    assert!(late.contains(why), "{late}");
}

#[test]
fn status_doctor_and_version_tell_how_it_is() {
    let mut lab = Lab::new("status");
    lab.run("web", &["--replicas=2"]);
    let status = lab.ctl(&["status"]).ok();
    assert!(status.contains("1 of 1 ready") && status.contains("2: 2 Running"), "{status}");
    assert!(status.contains("192.0.2.1 2001:db8::1"), "{status}");
    let checks = table(lab.ctl(&["doctor"]));
    assert!(checks.iter().skip(1).all(|line| line.contains(" ok ")), "{checks:?}");
    assert!(checks.iter().any(|line| line.contains("4 addresses of 2 pods")), "{checks:?}");
    let version = lab.ctl(&["version"]).ok();
    assert_eq!(version, "Client Version: v0.1.0\nServer Version: v0.1.0 (n1)\n");
    lab.stop();
    let without = lab.ctl(&["version"]);
    assert!(without.stdout.starts_with("Client Version: v0.1.0\n"), "{without}");
    let refused = lab.ctl(&["get", "pods"]).fails(1);
    assert!(
        refused.contains("netlabd is not running") && refused.contains("systemctl start netlabd"),
        "{refused}"
    );
    assert!(!lab.ctl(&["doctor"]).is_ok());
}

#[test]
fn a_cordoned_node_takes_no_new_pods_and_keeps_the_old() {
    let lab = Lab::new("cordon");
    lab.run("old", &[]);
    lab.ctl(&["cordon", "n1"]).ok();
    assert!(lab.ctl(&["get", "nodes"]).ok().contains("Ready,SchedulingDisabled"));
    lab.ctl(&["run", "new", "--timeout=1s"]).fails(4);
    assert!(lab.ctl(&["get", "pod", "new"]).ok().contains("Pending"));
    assert!(lab.events_of("new").iter().any(|event| event.starts_with("FailedScheduling")));
    lab.ctl(&["exec", "old", "--", "true"]).ok();
    lab.ctl(&["uncordon", "n1"]).ok();
    lab.ctl(&["wait", "--for=condition=Ready", "pod/new"]).ok();
}

#[test]
fn a_drain_that_would_lose_pods_is_refused_unless_it_is_forced() {
    let lab = Lab::new("drain");
    lab.run("web", &[]);
    let before = lab.pod("web");
    let refused = lab.ctl(&["drain", "n1", "--ignore-daemonsets"]).fails(1);
    assert_eq!(
        refused,
        "error: unable to drain node \"n1\": there is no other node for its pods\n\
         hint: nothing was changed; --force deletes the pod, and nothing makes it anew: default/web\n"
    );
    assert_eq!(lab.pod("web"), before);
    assert!(!lab.ctl(&["get", "nodes"]).ok().contains("SchedulingDisabled"));
    let path = "/v1/namespaces/default/pods/web?evict=true";
    lab.api("DELETE", path, None).error(409, "Conflict");
    lab.api("DELETE", "/v1/nodes/n1?evict=true", None).error(400, "BadRequest");
    let dry = lab.ctl(&["drain", "n1", "--force", "--dry-run=server"]).ok();
    let lines = ["node/n1 cordoned", "deleting pod default/web", "node/n1 drained"];
    assert_eq!(dry, lines.map(|line| format!("{line} (server dry run)\n")).concat());
    assert_eq!(lab.pod("web"), before);
    let other = lab.ctl(&["drain", "n1", "--pod-selector=app=none"]).ok();
    assert_eq!(other, "node/n1 cordoned\nnode/n1 drained\n");
    let forced = lab.ctl(&["node", "drain", "node/n1", "--force", "--grace-period=1"]);
    let warning = "Warning: deleting Pods that no other node takes: default/web\n";
    assert_eq!(forced.stderr, warning);
    assert_eq!(forced.ok(), "node/n1 already cordoned\npod/web deleted\nnode/n1 drained\n");
    assert_eq!(lab.ctl(&["get", "pods", "-A", "-o", "name"]).ok(), "");
    // A pod that names the node does not care whether it is cordoned.
    let named = lab.ctl(&["run", "web", "--node=n1"]);
    assert!(named.stderr.starts_with("Warning: node/n1 is cordoned;"), "{named}");
    assert_eq!(named.ok(), "pod/web created\n");
}

#[test]
fn a_drain_ends_with_the_pods_that_have_ended() {
    let lab = Lab::new("drained");
    lab.ctl(&["run", "job", "--restart=Never", "--", "true"]).ok();
    let told = lab.ctl(&["drain", "n1"]).ok();
    let lines = ["node/n1 cordoned", "evicting pod default/job", "pod/job evicted"];
    assert_eq!(told, format!("{}\nnode/n1 drained\n", lines.join("\n")));
    assert_eq!(lab.ctl(&["get", "pods", "-o", "name"]).ok(), "");
}

#[test]
fn the_network_is_shown_and_its_mode_changed() {
    let lab = Lab::new("netmode");
    lab.run("web", &[]);
    assert_eq!(
        table(lab.ctl(&["network"])),
        [
            "Pod networks: 10.42.0.0/16 fd42::/48",
            "Route mode: host-gw",
            "",
            "NODE STATUS ADDRESSES BLOCKS",
            "n1 Ready 192.0.2.1,2001:db8::1 10.42.0.0/26,fd42::/122",
        ]
    );
    let changed = lab.ctl(&["network", "mode", "vxlan"]).ok();
    assert_eq!(changed, "route mode vxlan configured, was host-gw\n");
    assert_eq!(lab.ctl(&["network", "mode", "vxlan"]).ok(), "route mode vxlan unchanged\n");
    assert_eq!(lab.ctl(&["network", "mode"]).ok(), "vxlan\n");
    assert!(lab.ctl(&["status"]).ok().contains("route mode vxlan"));
    let met = lab.ctl(&["wait", "--for=condition=Ready", "node/n1"]).ok();
    assert_eq!(met, "node/n1 condition met\n");
}

#[test]
fn a_namespace_goes_with_all_its_pods() {
    let lab = Lab::new("ns");
    assert_eq!(lab.ctl(&["create", "ns", "shop"]).ok(), "namespace/shop created\n");
    lab.ctl(&["-n", "shop", "run", "web"]).ok();
    lab.run("web", &[]);
    assert_eq!(lab.ctl(&["delete", "ns", "shop"]).ok(), "namespace \"shop\" deleted\n");
    assert_eq!(lab.ctl(&["get", "pods", "-A", "-o", "name"]).ok(), "pod/web\n");
    assert!(!lab.ctl(&["get", "ns"]).ok().contains("shop"));
    let refused = lab.ctl(&["-n", "shop", "run", "web"]);
    assert!(!refused.is_ok() && refused.stderr.contains("shop"), "{refused}");
}
