// SPDX-License-Identifier: GPL-3.0-or-later
//! Probes: when a pod is ready, and when its command is started again.

use netlab_tests::Lab;
use serde_json::{Value, json};

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// Makes a pod that holds its namespaces, with this readiness probe each second.
fn make(lab: &Lab, name: &str, probe: Value) {
    let mut probe = probe;
    probe["periodSeconds"] = json!(1);
    probe["failureThreshold"] = json!(1);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "readinessProbe": probe },
    });
    lab.api("POST", "/v1/namespaces/default/pods", Some(&pod)).expect(201);
    lab.wait_for_pod(name, |pod| pod["status"]["phase"] == "Running");
    assert!(!is_ready(&lab.pod(name)), "{name} is ready before its probe ever succeeded");
}

#[test]
fn readiness_follows_what_the_probe_finds() {
    let lab = Lab::new("ready");
    make(&lab, "tcp", json!({ "tcpSocket": { "port": 8080 } }));
    make(&lab, "http", json!({ "httpGet": { "port": 8080, "path": "/health" } }));
    make(&lab, "exec", json!({ "exec": { "command": ["test", "-e", "/tmp/ready"] } }));
    let answer = |status: &str| format!("SYSTEM:read request; echo HTTP/1.0 {status}; echo; echo");
    let listen = "TCP6-LISTEN:8080,ipv6only=0,fork,reuseaddr";
    let ok = answer("200 OK");
    let tcp = lab.ctl_spawn(&["exec", "-i", "tcp", "--", "socat", listen, &ok]);
    let http = lab.ctl_spawn(&["exec", "-i", "http", "--", "socat", listen, &ok]);
    lab.ctl(&["exec", "exec", "--", "touch", "/tmp/ready"]).ok();
    for name in ["tcp", "http", "exec"] {
        lab.wait_for_pod(name, is_ready);
    }
    drop(tcp);
    drop(http);
    lab.ctl(&["exec", "exec", "--", "rm", "/tmp/ready"]).ok();
    for name in ["tcp", "http", "exec"] {
        let pod = lab.wait_for_pod(name, |pod| !is_ready(pod));
        assert_eq!(pod["status"]["phase"], "Running", "{pod:#}");
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod:#}");
        let events = lab.events_of(name);
        assert!(events.iter().any(|event| event.starts_with("Unhealthy: Readiness")), "{events:?}");
    }
    let bad = answer("500 Broken");
    let _http = lab.ctl_spawn(&["exec", "-i", "http", "--", "socat", listen, &bad]);
    lab.wait_for_pod("http", |_| lab.events_of("http").iter().any(|event| event.contains("500")));
    assert!(!is_ready(&lab.pod("http")), "an error is no readiness");
}

#[test]
fn a_failing_liveness_probe_starts_the_command_again() {
    let lab = Lab::builder("live").config("restart-delay-ms = 10").start();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web" },
        "spec": {
            "command": ["sh", "-c", "touch /tmp/alive; exec sleep 1000"],
            "terminationGracePeriodSeconds": 1,
            "livenessProbe": {
                "exec": { "command": ["test", "-e", "/tmp/alive"] },
                "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 1,
            },
        },
    });
    lab.api("POST", "/v1/namespaces/default/pods", Some(&pod)).expect(201);
    lab.wait_for_pod("web", is_ready);
    lab.ctl(&["exec", "web", "--", "rm", "/tmp/alive"]).ok();
    let pod = lab.wait_for_pod("web", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["state"]["running"].is_object()
    });
    assert!(is_ready(&pod) || is_ready(&lab.wait_for_pod("web", is_ready)));
    let events = lab.events_of("web");
    assert!(events.iter().any(|event| event.contains("Liveness")), "{events:?}");
}
