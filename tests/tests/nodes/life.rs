// SPDX-License-Identifier: GPL-3.0-or-later
//! What a cluster survives: servers that go, nodes that are cut off, nodes that are deleted.

use std::time::{Duration, Instant};

use netlab_tests::server::{SERVER, ask};
use netlab_tests::{Background, Cluster, Lab, command, observe, wait_until};
use nix::sys::signal::Signal;

const GRACE: &str = "node-grace = '2s'";

/// Packets that a ping lost, of how many.
fn end_ping(ping: Background) -> (u32, u32) {
    ping.signal(Signal::SIGINT);
    let (_, output) = ping.wait();
    let line = output.lines().find(|line| line.contains("packets transmitted")).unwrap();
    let numbers: Vec<u32> =
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    (numbers[0] - numbers[1], numbers[0])
}

/// PID 1 and the command of a pod. Besides, the server has a process for each connection.
fn processes(node: &Lab, pod: &str) -> Vec<u32> {
    let mut pids = node.pod_pids(pod);
    pids.truncate(2);
    pids
}

#[test]
fn the_server_is_killed_and_restarted_under_traffic_and_nobody_notices() {
    let mut cluster = Cluster::builder("server").racks(&[3]).config(GRACE).start();
    let words = [&["--ready=tcp:8080", "--"], SERVER.as_slice()].concat();
    cluster.run_on("n2", "client", &[]);
    cluster.run_on("n3", "web", &words);
    let targets = cluster.server().pod_ips("web");
    let pings: Vec<Background> = targets
        .iter()
        .map(|to| {
            let words = ["ping", "-i", "0.02", "-W", "2", to.as_str()];
            Background::spawn(&mut cluster.node("n2").pod_command("client", &words))
        })
        .collect();
    pings.iter().for_each(|ping| ping.wait_for("icmp_seq=5 "));
    cluster.node_mut("n1").kill9();
    // Without a server nodes mend what is taken from them, as with one.
    let n3 = cluster.node("n3");
    let route = format!("route del {}", targets[0]);
    let link = n3.node.ip(&format!("route show {}", targets[0]));
    assert!(link.contains("dev nl"), "{link}");
    n3.node.ip(&route);
    wait_until("the route is back", || {
        n3.node.ip(&format!("route show {}", targets[0])).contains("dev nl")
    });
    for to in &targets {
        ask(|words| cluster.node("n2").pod_command("client", words), to);
    }
    let refused = cluster.node("n2").ctl(&["get", "pods"]).fails(1);
    assert!(refused.contains("server"), "{refused}");
    cluster.node_mut("n1").start();
    // Whoever comes back first: all that was missed is told.
    cluster.run_on("n2", "late", &[]);
    let late = cluster.node("n3").ctl(&["exec", "late", "--", "hostname"]).ok();
    assert_eq!(late.trim(), "late");
    for ping in pings {
        let (lost, sent) = end_ping(ping);
        // The one route that was taken away, for the moment until it was back.
        assert!(lost <= 60, "{lost} of {sent}");
    }
}

#[test]
fn a_node_that_is_cut_off_is_lost_and_comes_back_with_its_pods() {
    let cluster = Cluster::builder("cut").config(GRACE).start();
    cluster.run_on("n2", "web", &["--ready=tcp:8080", "--", SERVER[0], SERVER[1], SERVER[2]]);
    cluster.run_on("n1", "client", &[]);
    let pids = processes(cluster.node("n2"), "web");
    cluster.cut("n2");
    cluster.wait_node("n2", "Unknown");
    let ready = |name: &str| {
        let pod = cluster.server().pod(name);
        let conditions = observe::items(&pod["status"]["conditions"]);
        let ready = conditions.into_iter().find(|c| c["type"] == "Ready").unwrap();
        (ready["status"].as_str().unwrap().to_owned(), ready["reason"].clone())
    };
    assert_eq!(ready("web"), ("False".to_owned(), "NodeNotReady".into()));
    // Commands do not wait for a node that is lost, and no pod is placed on it.
    cluster.ctl(&["pod", "run", "more", "--replicas=2"]).ok();
    for pod in ["more-0", "more-1"] {
        assert_ne!(cluster.home_of(pod).node_name, "n2");
    }
    // The pod did not notice, and is reached from its own node.
    let n2 = cluster.node("n2");
    for to in cluster.server().pod_ips("web") {
        n2.netns_exec(&["ping", "-c", "1", "-W", "2", &to]).ok();
    }
    cluster.heal("n2");
    cluster.wait_node("n2", "True");
    wait_until("its pod is ready again", || ready("web").0 == "True");
    assert_eq!(processes(cluster.node("n2"), "web"), pids, "the same processes");
    let home = cluster.home_of("client");
    for to in cluster.server().pod_ips("web") {
        ask(|words| home.pod_command("client", words), &to);
    }
    // What happened meanwhile is known on it, too.
    cluster.run_on("n2", "last", &[]);
    for pod in ["more-0", "client"] {
        cluster.ctl(&["exec", "last", "--", "getent", "hosts", pod]).ok();
    }
}

#[test]
fn a_command_names_the_node_that_lags() {
    let cluster = Cluster::builder("lag").racks(&[2]).config("node-grace = '60s'").start();
    cluster.run_on("n1", "here", &[]);
    cluster.run_on("n2", "there", &[]);
    cluster.node("n2").signal(Signal::SIGSTOP);
    // It has to learn the name of the new pod, and does not.
    let output = cluster.ctl(&["pod", "run", "slow", "--node=n1", "--timeout=2s"]);
    cluster.node("n2").signal(Signal::SIGCONT);
    let error = output.fails(4);
    assert!(error.contains("n2"), "{error}");
    wait_until("it catches up", || {
        cluster.ctl(&["exec", "there", "--", "getent", "hosts", "slow"]).is_ok()
    });
}

#[test]
fn a_member_is_restarted_and_killed_with_its_pods_untouched() {
    let mut cluster = Cluster::builder("member").racks(&[2]).config(GRACE).start();
    cluster.run_on("n2", "web", &[]);
    let pids = processes(cluster.node("n2"), "web");
    cluster.node_mut("n2").kill9();
    cluster.node_mut("n2").start();
    cluster.node_mut("n2").restart();
    assert_eq!(processes(cluster.node("n2"), "web"), pids);
    assert_eq!(cluster.ctl(&["exec", "web", "--", "hostname"]).ok().trim(), "web");
    cluster.wait_node("n2", "True");
}

#[test]
fn a_member_that_starts_without_a_server_mends_its_pods_and_hears_the_rest_later() {
    let mut cluster = Cluster::builder("alone").racks(&[2]).config(GRACE).start();
    cluster.run_on("n2", "web", &["--ready=tcp:8080", "--", SERVER[0], SERVER[1], SERVER[2]]);
    let targets = cluster.server().pod_ips("web");
    let pids = processes(cluster.node("n2"), "web");
    let kept = cluster.node("n2").state_dir().join("view.json");
    wait_until("what it sees is on disk", || {
        std::fs::read_to_string(&kept).is_ok_and(|text| text.contains("\"web\""))
    });
    cluster.node_mut("n2").kill9();
    cluster.node_mut("n1").kill9();
    cluster.node("n2").node.ip(&format!("route del {}", targets[0]));
    cluster.node_mut("n2").start();
    let n2 = cluster.node("n2");
    wait_until("the route is back", || {
        n2.node.ip(&format!("route show {}", targets[0])).contains("dev nl")
    });
    assert_eq!(processes(n2, "web"), pids, "the same processes");
    for to in &targets {
        ask(|words| n2.node.command(words), to);
    }
    cluster.node_mut("n1").start();
    cluster.wait_node("n2", "True");
    cluster.run_on("n2", "late", &[]);
    assert_eq!(cluster.ctl(&["exec", "late", "--", "hostname"]).ok().trim(), "late");
}

#[test]
fn a_deleted_node_takes_its_pods_blocks_and_routes_with_it() {
    let mut cluster = Cluster::builder("gone").config(GRACE).start();
    cluster.run_on("n1", "client", &[]);
    cluster.run_on("n2", "web", &[]);
    cluster.run_on("n3", "db", &[]);
    let blocks = |name: &str| {
        let node = cluster.server().get(&format!("/v1/nodes/{name}"));
        observe::items(&node.expect(200)["status"]["podBlocks"])
    };
    let (web, db) = (blocks("n2"), blocks("n3"));
    let routed = |cluster: &Cluster, block: &serde_json::Value| {
        let block = block.as_str().unwrap();
        let flag = if block.contains(':') { "-6" } else { "-4" };
        cluster.server().node.ip(&format!("{flag} route show {block}")).contains("via")
    };
    assert!(web.iter().chain(&db).all(|block| routed(&cluster, block)));
    // A node that is alive lets go of its pods first.
    cluster.server().api("DELETE", "/v1/nodes/n2", None).expect(200);
    wait_until("the node is gone", || cluster.server().get("/v1/nodes/n2").status == 404);
    assert_eq!(cluster.server().get("/v1/namespaces/default/pods/web").status, 404);
    wait_until("no route leads to it", || !web.iter().any(|block| routed(&cluster, block)));
    assert!(!cluster.node("n2").pod_netns("web").exists());
    assert!(db.iter().all(|block| routed(&cluster, block)), "others keep theirs");
    // One that is lost is let go of by the others, and by itself when it is back.
    cluster.cut("n3");
    cluster.wait_node("n3", "Unknown");
    cluster.server().api("DELETE", "/v1/nodes/n3", None).expect(200);
    assert_eq!(cluster.server().get("/v1/nodes/n3").status, 404);
    wait_until("no route leads to it", || !db.iter().any(|block| routed(&cluster, block)));
    assert!(cluster.node("n3").pod_netns("db").exists());
    cluster.heal("n3");
    wait_until("it lets go of its pods", || !cluster.node("n3").pod_netns("db").exists());
    cluster.node_mut("n2").stop();
}

#[test]
fn a_joined_nodes_state_is_one_daemons_and_nobody_takes_it_away_while_it_runs() {
    let cluster = Cluster::builder("memberlock").racks(&[2]).start();
    cluster.run_on("n2", "web", &[]);
    let pids = processes(cluster.node("n2"), "web");
    let refused = command::run(&mut cluster.node("n2").netlabd(&["teardown"])).fails(1);
    assert!(refused.contains("stop it first"), "{refused}");
    let refused = command::run(&mut cluster.node("n2").netlabd(&[])).fails(1);
    assert!(refused.contains("another netlabd uses"), "{refused}");
    assert_eq!(processes(cluster.node("n2"), "web"), pids);
    assert_eq!(cluster.ctl(&["exec", "web", "--", "hostname"]).ok().trim(), "web");
}

#[test]
fn a_member_stops_and_starts_while_its_server_is_out_of_reach() {
    let mut cluster = Cluster::builder("alone").racks(&[2]).config(GRACE).start();
    cluster.run_on("n2", "web", &[]);
    let pids = processes(cluster.node("n2"), "web");
    cluster.cut("n2");
    // Its answer will not come; the daemon must not wait for it.
    let asking = cluster.node("n2").ctl_spawn(&["get", "pods", "--watch"]);
    let took = cluster.node_mut("n2").stop();
    assert!(took < Duration::from_secs(8), "{took:?}");
    drop(asking);
    cluster.node_mut("n2").spawn();
    cluster.wait_node("n2", "Unknown");
    assert_eq!(processes(cluster.node("n2"), "web"), pids);
    cluster.heal("n2");
    cluster.node_mut("n2").wait_ready();
    cluster.wait_node("n2", "True");
    assert_eq!(processes(cluster.node("n2"), "web"), pids);
}

#[test]
fn nodes_are_not_lost_because_the_server_did_not_listen() {
    let cluster = Cluster::builder("lull").racks(&[2]).config(GRACE).start();
    cluster.server().signal(Signal::SIGSTOP);
    let since = Instant::now();
    wait_until("longer than the grace", || since.elapsed() > Duration::from_secs(3));
    cluster.server().signal(Signal::SIGCONT);
    cluster.run_on("n2", "web", &[]);
    let events = cluster.ctl(&["get", "events"]).ok();
    assert!(!events.contains("NodeNotReady"), "{events}");
}

#[test]
fn commands_on_a_member_do_not_wait_for_a_frozen_server() {
    let cluster = Cluster::builder("frozen").racks(&[2]).config(GRACE).start();
    // The connection that is kept is there, and the kernel goes on to acknowledge what is sent.
    cluster.node("n2").ctl(&["get", "pods"]).ok();
    cluster.server().signal(Signal::SIGSTOP);
    let asked = Instant::now();
    let error = cluster.node("n2").ctl(&["get", "pods"]).fails(1);
    let took = asked.elapsed();
    cluster.server().signal(Signal::SIGCONT);
    assert!(error.contains("the cluster's server is silent"), "{error}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    cluster.node("n2").ctl(&["get", "pods"]).ok();
}
