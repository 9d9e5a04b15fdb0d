// SPDX-License-Identifier: GPL-3.0-or-later
//! Services whose endpoints are pods that a selector finds: what a user does with the command line
//! is so when the command returns. Rows 4, 12 to 18, 28.

use serde_json::json;

use crate::agent::{Ask, is_answer};
use crate::stage::{Layout, Place, SERVER, Stage};

const EXPOSE: [&str; 6] = [
    "svc",
    "expose",
    "web",
    "--selector=app=web",
    "--port=80:8080",
    "--ip-family-policy=RequireDualStack",
];

/// Runs a server that ignores SIGTERM, as one does that serves what it has begun.
#[track_caller]
fn run_server(stage: &Stage, node: &str, name: &str, flags: &[&str]) {
    let script = format!("trap '' TERM; exec python3 -c \"$0\" {name}");
    let flags = [flags, &["-l", "app=web", "--", "sh", "-c", &script, SERVER]].concat();
    stage.cluster.run_on(node, name, &flags);
}

/// The answers that a client gets, without what servers see.
#[track_caller]
fn servers(stage: &Stage, place: Place, ask: &Ask) -> Vec<String> {
    let found = stage.agent(place).ask(ask);
    let mut names: Vec<_> =
        found.keys().map(|it| it.split(' ').next().unwrap().to_owned()).collect();
    names.dedup();
    names
}

#[test]
fn what_a_command_did_is_so_when_it_returns() {
    let mut stage = Stage::bare("live", Layout::Nftables, "");
    let ready = ["--ready=tcp:8080"];
    for layout in Layout::ALL {
        stage.switch(layout);
        stage.cluster.ctl(&EXPOSE).ok();
        stage.learn("web");
        let ask = Ask::tcp(&stage.cluster_ip("web", 1)).times(40);
        let who = |place| servers(&stage, place, &ask);
        assert_eq!(who(Place::Pod("c1")), ["refused"]);
        run_server(&stage, "n1", "web-0", &ready);
        assert_eq!(who(Place::Pod("c1")), ["web-0"]);
        assert_eq!(who(Place::Node("n3")), ["web-0"]);
        run_server(&stage, "n2", "web-1", &ready);
        assert_eq!(who(Place::Pod("c1")), ["web-0", "web-1"]);
        stage.cluster.ctl(&["label", "pod", "web-0", "app=other", "--overwrite"]).ok();
        assert_eq!(who(Place::Pod("c2")), ["web-1"]);
        stage.cluster.ctl(&["delete", "pod", "web-0", "web-1", "--now"]).ok();
        assert_eq!(who(Place::Pod("c2")), ["refused"]);
        // Not ready, but published.
        run_server(&stage, "n3", "web-2", &["--ready=exec:false", "--no-wait"]);
        stage.cluster.server().wait_for_pod("web-2", |pod| pod["status"]["phase"] == "Running");
        assert_eq!(who(Place::Pod("c1")), ["refused"]);
        let patch = json!({ "spec": { "publishNotReadyAddresses": true } });
        stage.patch("services", "web", &patch);
        // The server may still be starting: it is not ready, as was said.
        let first = Ask::tcp(&stage.cluster_ip("web", 0));
        netlab_tests::wait_until("the server listens", || {
            stage.agent(Place::Pod("c1")).ask(&first).keys().all(|answer| is_answer(answer))
        });
        assert_eq!(who(Place::Pod("c1")), ["web-2"]);
        stage.cluster.ctl(&["delete", "pod", "web-2", "--now"]).ok();
        stage.cluster.ctl(&["delete", "service", "web"]).ok();
    }
}

#[test]
fn one_pod_is_replaced_by_another_under_load_and_no_connection_is_refused() {
    let mut stage = Stage::bare("rolling", Layout::Nftables, "");
    stage.cluster.ctl(&EXPOSE).ok();
    stage.learn("web");
    let clients = [Place::Pod("c1"), Place::Pod("c3"), Place::Node("n2")];
    let to = stage.cluster_ip("web", 0);
    for layout in Layout::ALL {
        stage.switch(layout);
        run_server(&stage, "n1", "old", &["--ready=tcp:8080"]);
        for place in clients {
            stage.agent(place).load("load", &Ask::tcp(&to), 100);
        }
        let kept = Ask::tcp(&to);
        assert!(stage.agent(Place::Pod("c2")).open("kept", &kept).starts_with("old "));
        // It is told to end, and serves until it does: nobody else is there.
        let delete = ["delete", "pod", "old", "--grace-period=60", "--wait=false"];
        stage.cluster.ctl(&delete).ok();
        stage.settle_all();
        assert_eq!(servers(&stage, Place::Pod("c2"), &Ask::tcp(&to).times(20)), ["old"]);
        run_server(&stage, "n3", "new", &["--ready=tcp:8080"]);
        assert_eq!(servers(&stage, Place::Pod("c2"), &Ask::tcp(&to).times(40)), ["new"]);
        assert_eq!(stage.agent(Place::Pod("c2")).talk("kept", "still there?"), "still there?");
        stage.cluster.ctl(&["delete", "pod", "old", "--now"]).ok();
        for place in clients {
            let (found, all) = stage.agent(place).rest("load");
            assert!(found.keys().all(|answer| is_answer(answer)), "{place:?}: {all}");
            assert!(found.keys().any(|answer| answer.starts_with("old ")), "{place:?}: {all}");
        }
        stage.agent(Place::Pod("c2")).close("kept");
        stage.cluster.ctl(&["delete", "pod", "new", "--now"]).ok();
    }
}
