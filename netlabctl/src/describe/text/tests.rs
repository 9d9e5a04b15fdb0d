// SPDX-License-Identifier: GPL-3.0-or-later
use expect_test::expect;
use serde_json::{from_value, json};

use super::*;

fn now() -> Time {
    from_value(json!("2026-11-22T10:05:00Z")).unwrap()
}

#[test]
fn a_pod_is_described_in_kubectls_sections() {
    let web: Pod = from_value(json!({
        "metadata": {
            "name": "web", "namespace": "shop", "labels": { "app": "web", "tier": "front" },
        },
        "spec": {
            "command": ["sh", "-c", "echo it's on"],
            "ports": [{ "name": "http", "containerPort": 8080 }],
            "env": [{ "name": "A", "value": "1" }],
            "readinessProbe": { "httpGet": { "port": 8080, "path": "/health" } },
            "resources": { "limits": { "cpu": "500m", "pids": 50 } },
            "nodeName": "n1",
        },
        "status": {
            "phase": "Running",
            "startTime": "2026-11-22T10:00:00Z",
            "hostIP": "192.168.56.11",
            "podIP": "10.42.0.5",
            "podIPs": [{ "ip": "10.42.0.5" }, { "ip": "fd42::5" }],
            "conditions": [
                { "type": "PodScheduled", "status": "True" },
                { "type": "Ready", "status": "False", "reason": "ReadinessProbe", "message": "refused" },
            ],
            "containerStatuses": [{
                "name": "web", "restartCount": 1,
                "state": { "running": { "startedAt": "2026-11-22T10:04:00Z" } },
                "lastState": { "terminated": { "exitCode": 137, "signal": 9, "reason": "OOMKilled" } },
            }],
            "network": { "netns": "/run/netlab/netns/x", "hostLink": "nl0123", "mtu": 1500 },
        },
    }))
    .unwrap();
    let event: Event = from_value(json!({
        "metadata": { "name": "web.1" },
        "involvedObject": { "kind": "Pod", "name": "web" },
        "reason": "Unhealthy", "message": "readiness probe failed", "type": "Warning",
        "count": 3, "firstTimestamp": "2026-11-22T10:04:00Z",
        "lastTimestamp": "2026-11-22T10:04:58Z", "source": { "component": "node", "host": "n1" },
    }))
    .unwrap();
    expect![[r#"
        Name:             web
        Namespace:        shop
        Node:             n1/192.168.56.11
        Start Time:       Sun, 22 Nov 2026 10:00:00 +0000
        Labels:           app=web
                          tier=front
        Annotations:      <none>
        Status:           Running
        IP:               10.42.0.5
        IPs:              10.42.0.5
                          fd42::5
        Command:          sh -c 'echo it'\''s on'
        Ports:            8080/TCP (http)
        State:            Running
          Started:        Sun, 22 Nov 2026 10:04:00 +0000
        Last State:       Terminated
          Reason:         OOMKilled
          Exit Code:      137
          Signal:         9
        Ready:            False
        Restart Count:    1
        Limits:
          cpu:            500m
          pids:           50
        Readiness:        http-get http://:8080/health delay=0s timeout=1s period=10s #success=1 #failure=3
        Environment:      A=1
        Restart Policy:   Always
        DNS Policy:       ClusterFirst
        Network:
          Netns:          /run/netlab/netns/x
          Host Link:      nl0123
          MTU:            1500
          Enter:          nsenter --net=/run/netlab/netns/x ip addr
        Conditions:
          Type          Status  Reason          Message
          ----          ------  ------          -------
          PodScheduled  True
          Ready         False   ReadinessProbe  refused
        Events:
          Type     Reason     Age               From      Message
          ----     ------     ---               ----      -------
          Warning  Unhealthy  2s (x3 over 60s)  node, n1  readiness probe failed
    "#]]
    .assert_eq(&pod(&web, &[event], now()));
}

#[test]
fn a_pod_that_is_only_stored_says_what_it_is() {
    let new: Pod =
        from_value(json!({ "metadata": { "name": "new", "namespace": "default" } })).unwrap();
    let text = pod(&new, &[], now());
    assert!(text.contains("Node:             <none>\n"), "{text}");
    assert!(
        text.contains("Command:          <none> (holds its namespaces and sleeps)\n"),
        "{text}"
    );
    assert!(text.ends_with("Conditions:       <none>\nEvents:           <none>\n"), "{text}");
}

#[test]
fn a_block_tells_who_holds_what_and_who_is_next() {
    let block: IpamBlock = from_value(json!({
        "metadata": { "name": "10-42-0-64-26" },
        "spec": {
            "cidr": "10.42.0.64/26", "node": "n1", "free": [2, 0],
            "allocated": { "10.42.0.65": { "pod": "default/web", "uid": "u" } },
        },
    }))
    .unwrap();
    expect![[r#"
        Name:             10-42-0-64-26
        CIDR:             10.42.0.64/26
        Node:             n1
        Used:             1
        Free:             2
        Next:             10.42.0.66
        Addresses:
          Address     Pod
          -------     ---
          10.42.0.65  default/web
    "#]]
    .assert_eq(&super::block(&block));
}

#[test]
fn a_node_lists_its_pods() {
    let n1: Node = from_value(json!({
        "metadata": {
            "name": "n1", "creationTimestamp": "2026-11-22T09:05:00Z",
            "labels": { "node-role.kubernetes.io/server": "true" },
        },
        "status": {
            "conditions": [{
                "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
                "message": "netlabd on it was not heard",
                "lastTransitionTime": "2026-11-22T10:04:00Z",
            }],
            "addresses": [
                { "type": "InternalIP", "address": "192.168.56.11" },
                { "type": "Hostname", "address": "n1" },
            ],
            "podBlocks": ["10.42.0.0/26", "fd42::/122"],
            "nodeInfo": {
                "kernelVersion": "6.18.0", "osImage": "Debian GNU/Linux 13",
                "architecture": "amd64", "netlabVersion": "0.1.0",
            },
        },
    }))
    .unwrap();
    let web: Pod =
        from_value(json!({ "metadata": { "name": "web", "namespace": "shop" } })).unwrap();
    let event: Event = from_value(json!({
        "metadata": { "name": "n1.1" },
        "involvedObject": { "kind": "Node", "name": "n1" },
        "reason": "NodeNotReady", "message": "Node n1 is NotReady", "type": "Warning",
        "count": 1, "lastTimestamp": "2026-11-22T10:04:00Z",
        "source": { "component": "node-controller" },
    }))
    .unwrap();
    expect![[r#"
        Name:             n1
        Roles:            server
        Labels:           node-role.kubernetes.io/server=true
        Annotations:      <none>
        Created:          Sun, 22 Nov 2026 09:05:00 +0000
        Unschedulable:    false
        Conditions:
          Type   Status   Since  Reason             Message
          ----   ------   -----  ------             -------
          Ready  Unknown  60s    NodeStatusUnknown  netlabd on it was not heard
        Addresses:        InternalIP 192.168.56.11
                          Hostname n1
        Pod Blocks:       10.42.0.0/26
                          fd42::/122
        Kernel Version:   6.18.0
        OS Image:         Debian GNU/Linux 13
        Architecture:     amd64
        Netlab Version:   0.1.0
        Pods:
          Namespace  Name  Status   IP      Age
          ---------  ----  ------   --      ---
          shop       web   Pending  <none>  <unknown>
        Events:
          Type     Reason        Age  From             Message
          ----     ------        ---  ----             -------
          Warning  NodeNotReady  60s  node-controller  Node n1 is NotReady
    "#]]
    .assert_eq(&node(&n1, &[web], &[event], now()));
}
