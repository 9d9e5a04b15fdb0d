// SPDX-License-Identifier: GPL-3.0-or-later
//! What a node tells of its services: rules, flows, metrics.

use netlab_tests::Lab;

#[test]
fn rules_flows_and_metrics_tell_of_a_service_in_both_layouts() {
    let lab = Lab::new("shown");
    let echo = ["socat", "TCP4-LISTEN:8080,fork,reuseaddr", "EXEC:cat"];
    lab.run("web", &[&["--ready=tcp:8080", "--"], &echo[..]].concat());
    lab.run("client", &[]);
    // Its endpoints are written here, so that nothing but the node's part is tried.
    let objects = format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{ name: web }}
spec: {{ ports: [{{ port: 80, targetPort: 8080 }}] }}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{ name: web-1, labels: {{ kubernetes.io/service-name: web }} }}
addressType: IPv4
endpoints: [{{ addresses: ["{}"], nodeName: n1 }}]
ports: [{{ port: 8080 }}]
"#,
        lab.pod_ips("web")[0]
    );
    lab.ctl_with_input(&["apply", "-f", "-"], &objects).ok();
    let path = "jsonpath={.spec.clusterIP}";
    let front = format!("{}:80", lab.ctl(&["get", "svc", "web", "-o", path]).ok().trim());
    let endpoint = format!("{}:8080", lab.pod_ips("web")[0]);
    for (mode, other) in [("nftables", "iptables"), ("iptables", "nftables")] {
        lab.ctl(&["proxy", "mode", mode]).ok();
        let shown = lab.ctl(&["proxy", "show", "svc/web"]).ok();
        let title = format!("Service default/web, mode {mode}, in use on node n1\n");
        assert!(shown.starts_with(&title), "{shown}");
        assert!(shown.contains(&format!("# {front} becomes {endpoint}\n")), "{shown}");
        // As shown, so done.
        let script = format!("echo {mode} | socat -t5 - TCP4:{front}");
        assert_eq!(lab.pod_exec("client", &["sh", "-c", &script]).ok().trim(), mode);
        let would = lab.ctl(&["proxy", "show", "web", "--as", other]).ok();
        let title = format!("mode {other}, as it would be on node n1, which uses {mode}\n");
        assert!(would.contains(&title) && would.contains(&endpoint), "{would}");
    }
    let all = lab.ctl(&["proxy", "show"]).ok();
    assert!(all.contains("KUBE-POSTROUTING:") && all.contains(&format!("{front}/TCP")), "{all}");
    let flows = lab.ctl(&["get", "flows", "--service", "web", "-o", "json"]).json();
    let flows = flows["flows"].as_array().unwrap().clone();
    assert_eq!(flows.len(), 2, "{flows:?}");
    for flow in &flows {
        assert_eq!(flow["destination"], front);
        assert_eq!(
            (&flow["service"], &flow["endpoint"]),
            (&"default/web".into(), &endpoint.clone().into())
        );
        assert_eq!(flow["sourcePod"], "default/client");
        assert_eq!(flow["endpointPod"], "default/web");
    }
    let table = lab.ctl(&["get", "flows"]).ok();
    assert!(table.contains("default/web:8080"), "{table}");
    let none = lab.ctl(&["get", "flows", "--protocol", "sctp"]);
    assert!(none.is_ok() && none.stderr.contains("No flows found on node n1"), "{none:?}");
    let missing = lab.ctl(&["proxy", "show", "nobody"]).fails(3);
    assert!(missing.contains("services \"nobody\" not found"), "{missing}");
    let missing = lab.ctl(&["get", "flows", "--service", "nobody"]).fails(3);
    assert!(missing.contains("services \"nobody\" not found"), "{missing}");
    let metrics = lab.get("/metrics").text;
    for name in [
        "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}",
        "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}",
        "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}",
        "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}",
    ] {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let count: u64 = line.unwrap_or_else(|| panic!("{metrics}")).trim().parse().unwrap();
        assert!(count > 0, "{name}");
    }
    assert!(
        metrics.contains("\nkubeproxy_sync_proxy_rules_service_changes_pending 0\n"),
        "{metrics}"
    );
    assert_eq!(lab.get("/healthz").status, 200);
}
