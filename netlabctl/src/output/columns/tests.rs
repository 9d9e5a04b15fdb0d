// SPDX-License-Identifier: GPL-3.0-or-later
use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::output::table::Look;

fn view() -> View<'static> {
    let now = serde_json::from_str("\"2026-11-22T10:05:00Z\"").unwrap();
    View {
        wide: false,
        namespaces: false,
        labels: false,
        label_columns: &[],
        slash_names: false,
        now,
    }
}

#[track_caller]
fn check(view: View<'_>, objects: &[Value], expected: Expect) {
    let objects: Vec<Object> =
        objects.iter().map(|o| serde_json::from_value(o.clone()).unwrap()).collect();
    let table = table(objects[0].kind(), &objects, view);
    let text = table.render(Look { headers: true, colour: false }, &mut Vec::new());
    expected.assert_eq(&text);
}

fn web() -> Value {
    json!({
        "kind": "Pod",
        "metadata": {
            "name": "web", "namespace": "shop", "labels": { "app": "web", "tier": "front" },
            "creationTimestamp": "2026-11-22T10:00:00Z",
        },
        "spec": { "nodeName": "n1" },
        "status": {
            "phase": "Running",
            "podIP": "10.42.0.5",
            "containerStatuses": [{
                "name": "web", "ready": true, "restartCount": 1,
                "state": { "running": { "startedAt": "2026-11-22T10:04:00Z" } },
                "lastState": { "terminated": {
                    "exitCode": 1, "reason": "Error", "finishedAt": "2026-11-22T10:03:50Z",
                } },
            }],
        },
    })
}

fn new() -> Value {
    json!({ "kind": "Pod", "metadata": { "name": "database-0", "namespace": "shop" } })
}

#[test]
fn pods_read_as_in_kubectl() {
    check(
        view(),
        &[web(), new()],
        expect![[r#"
            NAME         READY   STATUS    RESTARTS      AGE
            web          1/1     Running   1 (70s ago)   5m
            database-0   0/1     Pending   0             <unknown>
        "#]],
    );
}

#[test]
fn pods_may_be_shown_with_everything() {
    check(
        View { wide: true, namespaces: true, labels: true, slash_names: true, ..view() },
        &[web(), new()],
        expect![[r#"
            NAMESPACE   NAME             READY   STATUS    RESTARTS      AGE         IP          NODE     LABELS
            shop        pod/web          1/1     Running   1 (70s ago)   5m          10.42.0.5   n1       app=web,tier=front
            shop        pod/database-0   0/1     Pending   0             <unknown>   <none>      <none>   <none>
        "#]],
    );
}

#[test]
fn nodes_show_their_system_and_their_blocks() {
    let node = json!({
        "kind": "Node",
        "metadata": {
            "name": "n1", "creationTimestamp": "2026-11-20T10:05:00Z",
            "labels": { "node-role.kubernetes.io/server": "true" },
        },
        "spec": { "unschedulable": true },
        "status": {
            "conditions": [{ "type": "Ready", "status": "True" }],
            "addresses": [
                { "type": "Hostname", "address": "n1" },
                { "type": "InternalIP", "address": "192.168.56.11" },
            ],
            "podBlocks": ["10.42.0.0/26", "fd42::/122"],
            "nodeInfo": {
                "kernelVersion": "6.18.0", "osImage": "Debian GNU/Linux 13", "netlabVersion": "0.1.0",
            },
        },
    });
    let silent = json!({ "kind": "Node", "metadata": { "name": "n2" } });
    check(
        view(),
        &[node.clone(), silent],
        expect![[r#"
            NAME   STATUS                     ROLES    AGE         VERSION
            n1     Ready,SchedulingDisabled   server   2d          0.1.0
            n2     NotReady                   <none>   <unknown>   <none>
        "#]],
    );
    check(
        View { wide: true, ..view() },
        &[node],
        expect![[r#"
            NAME   STATUS                     ROLES    AGE   VERSION   INTERNAL-IP     OS-IMAGE              KERNEL-VERSION   BLOCKS
            n1     Ready,SchedulingDisabled   server   2d    0.1.0     192.168.56.11   Debian GNU/Linux 13   6.18.0           10.42.0.0/26,fd42::/122
        "#]],
    );
}

#[test]
fn events_tell_what_happened_to_what() {
    let event = json!({
        "kind": "Event",
        "metadata": { "name": "web.1", "namespace": "default" },
        "involvedObject": { "kind": "Pod", "namespace": "default", "name": "web" },
        "reason": "BackOff", "message": "back-off restarting\nthe command", "type": "Warning",
        "count": 5,
        "firstTimestamp": "2026-11-22T09:55:00Z", "lastTimestamp": "2026-11-22T10:04:30Z",
        "source": { "component": "node", "host": "n1" },
    });
    check(
        view(),
        std::slice::from_ref(&event),
        expect![[r#"
            LAST SEEN   TYPE      REASON    OBJECT    MESSAGE
            30s         Warning   BackOff   pod/web   back-off restarting the command
        "#]],
    );
    let Ok(Object::Event(event)) = serde_json::from_value(event) else { panic!("no event") };
    assert_eq!(seen(&event, view().now), "30s (x5 over 10m)");
    assert_eq!(event_source(&event), "node, n1");
}

#[test]
fn namespaces_and_blocks_have_columns() {
    check(
        view(),
        &[json!({
            "kind": "Namespace",
            "metadata": { "name": "shop", "creationTimestamp": "2026-11-22T10:04:57Z" },
            "status": { "phase": "Terminating" },
        })],
        expect![[r#"
            NAME   STATUS        AGE
            shop   Terminating   3s
        "#]],
    );
    check(
        view(),
        &[json!({
            "kind": "IpamBlock",
            "metadata": { "name": "10-42-0-0-26" },
            "spec": {
                "cidr": "10.42.0.0/26", "node": "n1",
                "allocated": { "10.42.0.1": { "pod": "default/web", "uid": "u" } },
                "free": [2, 3],
            },
        })],
        expect![[r#"
            NAME           CIDR           NODE   USED   FREE
            10-42-0-0-26   10.42.0.0/26   n1     1      2
        "#]],
    );
}

#[test]
fn labels_may_have_columns_of_their_own() {
    let columns = ["app".to_owned(), "example.org/stage".to_owned()];
    check(
        View { label_columns: &columns, ..view() },
        &[web()],
        expect![[r#"
            NAME   READY   STATUS    RESTARTS      AGE   APP   STAGE
            web    1/1     Running   1 (70s ago)   5m    web   <none>
        "#]],
    );
}

fn service(name: &str, spec: Value, status: Value) -> Value {
    let metadata = json!({
        "name": name, "namespace": "shop", "creationTimestamp": "2026-11-22T10:00:00Z",
    });
    json!({ "kind": "Service", "metadata": metadata, "spec": spec, "status": status })
}

#[test]
fn services_of_each_type_read_as_in_kubectl() {
    let services = [
        service(
            "web",
            json!({
                "clusterIP": "10.43.0.7", "selector": { "app": "web", "tier": "front" },
                "ports": [{ "port": 80, "targetPort": 8080 }, { "port": 53, "protocol": "UDP" }],
            }),
            json!({}),
        ),
        service(
            "door",
            json!({
                "type": "NodePort", "clusterIP": "10.43.0.8", "externalIPs": ["192.0.2.7"],
                "ports": [{ "port": 80, "nodePort": 30080 }],
            }),
            json!({}),
        ),
        service(
            "shop",
            json!({
                "type": "LoadBalancer", "clusterIP": "10.43.0.9",
                "externalIPs": ["192.0.2.8"], "ports": [{ "port": 443, "nodePort": 30443 }],
            }),
            json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.5" }] } }),
        ),
        service(
            "waiting",
            json!({ "type": "LoadBalancer", "clusterIP": "10.43.0.10", "ports": [{ "port": 80 }] }),
            json!({}),
        ),
        service("members", json!({ "clusterIP": "None" }), json!({})),
        service(
            "db",
            json!({ "type": "ExternalName", "externalName": "db.example.org" }),
            json!({}),
        ),
    ];
    check(
        view(),
        &services,
        expect![[r#"
            NAME      TYPE           CLUSTER-IP   EXTERNAL-IP             PORT(S)         AGE
            web       ClusterIP      10.43.0.7    <none>                  80/TCP,53/UDP   5m
            door      NodePort       10.43.0.8    192.0.2.7               80:30080/TCP    5m
            shop      LoadBalancer   10.43.0.9    203.0.113.5,192.0.2.8   443:30443/TCP   5m
            waiting   LoadBalancer   10.43.0.10   <pending>               80/TCP          5m
            members   ClusterIP      None         <none>                  <none>          5m
            db        ExternalName   <none>       db.example.org          <none>          5m
        "#]],
    );
    check(
        View { wide: true, namespaces: true, ..view() },
        &services[..2],
        expect![[r#"
            NAMESPACE   NAME   TYPE        CLUSTER-IP   EXTERNAL-IP   PORT(S)         AGE   SELECTOR
            shop        web    ClusterIP   10.43.0.7    <none>        80/TCP,53/UDP   5m    app=web,tier=front
            shop        door   NodePort    10.43.0.8    192.0.2.7     80:30080/TCP    5m    <none>
        "#]],
    );
}

#[test]
fn slices_show_a_few_of_their_endpoints() {
    let slice = |name: &str, ports: Value, ips: &[&str]| {
        let endpoints: Vec<_> = ips.iter().map(|ip| json!({ "addresses": [ip] })).collect();
        json!({
            "kind": "EndpointSlice", "ports": ports, "endpoints": endpoints,
            "metadata": { "name": name, "creationTimestamp": "2026-11-22T10:04:00Z" },
        })
    };
    check(
        view(),
        &[
            slice(
                "web-a",
                json!([{ "port": 8080 }, { "port": 5353 }]),
                &["10.42.0.1", "10.42.0.2", "10.42.0.3", "10.42.0.4", "10.42.0.5"],
            ),
            slice("web-b", json!([{}]), &["10.42.0.1"]),
            slice("web-c", json!([]), &[]),
        ],
        expect![[r#"
            NAME    ADDRESSTYPE   PORTS       ENDPOINTS                                   AGE
            web-a   IPv4          8080,5353   10.42.0.1,10.42.0.2,10.42.0.3 + 2 more...   60s
            web-b   IPv4          *           10.42.0.1                                   60s
            web-c   IPv4          <unset>     <unset>                                     60s
        "#]],
    );
}
