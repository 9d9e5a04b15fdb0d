// SPDX-License-Identifier: GPL-3.0-or-later
//! `status`: how the whole is doing, on one screen.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use netlab_api::client::Selectors;
use netlab_api::pod::READY;
use netlab_api::view::NetworkSettings;
use netlab_api::wire::{Readiness, Version};
use netlab_api::{IpamBlock, Node, Pod, Time};

use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::age;
use crate::output::columns::node_status;
use crate::output::pod_status::{self, Verdict};
use crate::version::CLIENT;

/// Pods that are named, of those that are not as they should be.
const NAMED: usize = 10;

/// What there is to tell.
#[derive(Debug)]
struct Overview {
    socket: String,
    version: Version,
    readiness: Readiness,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    blocks: Vec<IpamBlock>,
    network: NetworkSettings,
    now: Time,
}

pub(crate) async fn status(context: &Context) -> Result<(), Failure> {
    let client = &context.client;
    let all = Selectors::default();
    let overview = Overview {
        socket: client.transport().to_string(),
        version: client.version().await?,
        readiness: client.ready().await?,
        nodes: client.list_as::<Node>(None, &all).await?.items,
        pods: client.list_as::<Pod>(None, &all).await?.items,
        blocks: client.list_as::<IpamBlock>(None, &all).await?.items,
        network: client.network().await?,
        now: Time::now(),
    };
    output::text(&render(&overview));
    Ok(())
}

fn render(overview: &Overview) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        writeln!(text, "{name:10}{value}").expect("writing to a string never fails");
    };
    let Overview { version, readiness, .. } = overview;
    let ready = match readiness.ready {
        true => "ready".to_owned(),
        false => format!("not ready: {}", readiness.missing.join("; ")),
    };
    field("Daemon:", &format!("netlabd v{} on {} ({ready})", version.version, overview.socket));
    if version.version != CLIENT {
        field("", &format!("netlabctl is v{CLIENT}: the versions differ"));
    }
    field("Revision:", &version.revision.to_string());
    let up = overview.nodes.iter().filter(|node| node.is_ready()).count();
    field("Nodes:", &format!("{} of {} ready", up, overview.nodes.len()));
    for node in &overview.nodes {
        let name = &node.metadata.name;
        let ips: Vec<_> = node.internal_ips().map(|ip| ip.to_string()).collect();
        let here = |pod: &&Pod| pod.spec.node_name.as_deref() == Some(name);
        let pods = overview.pods.iter().filter(here).count();
        let mut line = format!("  {name}  {}  {pods} pods", node_status(node));
        if !ips.is_empty() {
            line += &format!("  {}", ips.join(" "));
        }
        if let Some(why) = lost(node, overview.now) {
            line += &format!("  ({why})");
        }
        field("", line.trim_start());
    }
    let networks: Vec<_> = overview.network.pod_networks.iter().map(ToString::to_string).collect();
    field(
        "Network:",
        &format!("{}, route mode {}", networks.join(" "), overview.network.route_mode),
    );
    field("Pods:", &pods_by_word(&overview.pods));
    let (used, free) = overview.blocks.iter().fold((0, 0), |(used, free), block| {
        (used + block.spec.allocated.len(), free + block.spec.free.len())
    });
    let blocks = overview.blocks.len();
    field("Blocks:", &format!("{blocks} blocks, {used} addresses used, {free} free in them"));
    let troubled: Vec<_> = overview.pods.iter().filter_map(trouble).collect();
    if !troubled.is_empty() {
        text.push_str("\nNot as it should be:\n");
        for line in troubled.iter().take(NAMED) {
            text += &format!("  {line}\n");
        }
        if troubled.len() > NAMED {
            text += &format!("  … and {} more: netlabctl get pods -A\n", troubled.len() - NAMED);
        }
    }
    text
}

/// Since when and why a node is not ready.
pub(crate) fn lost(node: &Node, now: Time) -> Option<String> {
    let condition = node.status.conditions.iter().find(|c| c.kind == READY && !c.is(READY))?;
    let since = condition.last_transition_time;
    let since = since.map(|since| format!("for {}", age::since(Some(since), now)));
    let told: Vec<String> = since.into_iter().chain(condition.message.clone()).collect();
    (!told.is_empty()).then(|| told.join(": "))
}

fn pods_by_word(pods: &[Pod]) -> String {
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods {
        *words.entry(pod_status::word(pod)).or_default() += 1;
    }
    let words: Vec<_> = words.iter().map(|(word, count)| format!("{count} {word}")).collect();
    match words.is_empty() {
        true => "0".to_owned(),
        false => format!("{}: {}", pods.len(), words.join(", ")),
    }
}

fn trouble(pod: &Pod) -> Option<String> {
    let why = match pod_status::verdict(pod) {
        Verdict::Ready | Verdict::Finished => return None,
        Verdict::Waiting(why) | Verdict::Broken(why) => why,
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("pod {namespace}/{}: {why}", pod.metadata.name))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn an_overview_tells_what_is_wrong_and_why() {
        let pod = |name: &str, status| {
            from_value(json!({
                "metadata": { "name": name, "namespace": "default" },
                "spec": { "nodeName": "n1" }, "status": status,
            }))
            .unwrap()
        };
        let overview = Overview {
            socket: "/run/netlab/netlabd.sock".to_owned(),
            version: Version { version: CLIENT.to_owned(), node: "n1".to_owned(), revision: 42 },
            readiness: Readiness { ready: true, missing: Vec::new() },
            nodes: vec![
                from_value(json!({
                    "metadata": { "name": "n1" },
                    "status": {
                        "conditions": [{ "type": "Ready", "status": "True" }],
                        "addresses": [{ "type": "InternalIP", "address": "192.168.56.11" }],
                    },
                }))
                .unwrap(),
                from_value(json!({
                    "metadata": { "name": "n2" },
                    "status": {
                        "conditions": [{
                            "type": "Ready", "status": "Unknown",
                            "lastTransitionTime": "2026-11-22T10:02:00Z",
                            "message": "netlabd on it was not heard for 10 s: is it running?",
                        }],
                        "addresses": [{ "type": "InternalIP", "address": "192.168.56.12" }],
                    },
                }))
                .unwrap(),
            ],
            pods: vec![
                pod(
                    "web",
                    json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }),
                ),
                pod(
                    "db",
                    json!({ "phase": "Failed", "containerStatuses": [{ "state": {
                        "terminated": { "exitCode": 3, "reason": "Error" },
                    }}]}),
                ),
            ],
            blocks: vec![
                from_value(json!({
                    "metadata": { "name": "b" },
                    "spec": { "cidr": "10.42.0.0/26", "node": "n1", "free": [3],
                              "allocated": { "10.42.0.1": { "pod": "default/web", "uid": "u" } } },
                }))
                .unwrap(),
            ],
            network: NetworkSettings {
                route_mode: netlab_api::RouteMode::Vxlan,
                proxy_mode: None,
                pod_networks: vec!["10.42.0.0/16".parse().unwrap()],
            },
            now: from_value(json!("2026-11-22T10:05:00Z")).unwrap(),
        };
        expect![[r#"
            Daemon:   netlabd v0.1.0 on /run/netlab/netlabd.sock (ready)
            Revision: 42
            Nodes:    1 of 2 ready
                      n1  Ready  2 pods  192.168.56.11
                      n2  NotReady  0 pods  192.168.56.12  (for 3m: netlabd on it was not heard for 10 s: is it running?)
            Network:  10.42.0.0/16, route mode vxlan
            Pods:     2: 1 Error, 1 Running
            Blocks:   1 blocks, 1 addresses used, 1 free in them

            Not as it should be:
              pod default/db: Error, exit code 3
        "#]]
        .assert_eq(&render(&overview));
    }
}
