// SPDX-License-Identifier: GPL-3.0-or-later
//! Drained nodes: their pods go on elsewhere, whoever is killed meanwhile.

use netlab_tests::{Cluster, wait_until};

#[test]
fn a_drained_nodes_pods_are_reached_by_name_on_another_when_the_command_returns() {
    let cluster = Cluster::builder("drain").start();
    cluster.run_on("n1", "client", &[]);
    cluster.run_on("n2", "web", &["--labels=app=web", "--", "sleep", "1000"]);
    cluster.ctl(&["cordon", "n1"]).ok();
    // Asked of the daemon of a third node.
    let told = cluster.node("n3").ctl(&["drain", "n2", "--grace-period=1"]).ok();
    assert_eq!(
        told,
        "node/n2 cordoned\nevicting pod default/web\npod/web evicted\npod/web moved to n3\n\
         node/n2 drained\n"
    );
    let web = cluster.server().pod("web");
    assert_eq!(web["spec"]["nodeName"], "n3");
    assert_eq!(web["metadata"]["labels"]["app"], "web");
    cluster.ctl(&["exec", "client", "--", "ping", "-c1", "-W2", "web"]).ok();
    let refused = cluster.ctl(&["drain", "n3"]).fails(1);
    let why = "no other node takes its pods: n1 is cordoned, n2 is cordoned";
    assert!(refused.contains(why) && refused.contains("`netlabctl uncordon n1`"), "{refused}");
    assert_eq!(cluster.ctl(&["delete", "node", "n2"]).ok(), "node \"n2\" deleted\n");
    assert!(!cluster.ctl(&["get", "nodes", "-o", "name"]).ok().contains("node/n2"));
}

#[test]
fn a_drain_goes_on_when_its_command_and_the_server_are_killed() {
    let mut cluster = Cluster::builder("drainkill").racks(&[2]).start();
    // It ends only by SIGKILL, after its grace.
    let script = "trap '' TERM; while :; do sleep 1; done";
    cluster.run_on("n2", "slow", &["--", "sh", "-c", script]);
    let uid = cluster.server().pod("slow")["metadata"]["uid"].clone();
    let drain = cluster.server().ctl_spawn(&["drain", "n2", "--grace-period=3"]);
    drain.wait_for("evicting pod default/slow");
    drop(drain);
    cluster.node_mut("n1").kill9();
    cluster.node_mut("n1").start();
    wait_until("the pod is made anew on n1", || {
        let pod = cluster.server().get("/v1/namespaces/default/pods/slow");
        pod.status == 200 && {
            let pod = pod.expect(200);
            pod["metadata"]["uid"] != uid && pod["spec"]["nodeName"] == "n1"
        }
    });
    cluster.ctl(&["wait", "--for=condition=Ready", "pod/slow"]).ok();
    cluster.ctl(&["delete", "pod", "slow", "--force"]).ok();
}
