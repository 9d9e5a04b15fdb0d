// SPDX-License-Identifier: GPL-3.0-or-later
//! `lab eject`: a script of `ip`, `nft` and `sysctl` lines that builds the same network without
//! netlab. Pure, from the plan and the pods.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use clap::Args;
use ipnet::IpNet;
use netlab_api::Pod;
use netlab_api::client::Selectors;
use netlab_api::proxy::ProxyRuleset;
use netlab_link::mark;

use super::difference::{Observed, difference};
use super::plan::{Machine, Plan, ROUTER};
use super::step::{What, netns_name};
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct EjectArgs {
    /// The lab; the only one unless given. It must be up: the addresses of pods are its own
    #[arg(value_name = "NAME")]
    lab: Option<String>,
}

pub(crate) async fn eject(context: &Context, args: EjectArgs) -> Result<(), Failure> {
    let folder = context.lab(args.lab.as_deref())?;
    let plan = folder.state()?.unwrap_or_default().plan;
    let mut pods = Vec::new();
    if let Some(server) = plan.nodes().next() {
        let context = Context::of_socket(folder.socket(&server.name));
        pods = context.client.list_as::<Pod>(None, &Selectors::default()).await?.items;
    }
    let mut rulesets = BTreeMap::new();
    for node in plan.nodes() {
        let context = Context::of_socket(folder.socket(&node.name));
        rulesets.insert(node.name.clone(), context.client.proxy_ruleset().await?);
    }
    output::text(&script(&plan, &pods, &rulesets));
    Ok(())
}

const HEAD: &str = r#"set -euo pipefail

case "${1:-up}" in
    up) ;;
    down)
        for netns in "${ALL[@]}"; do ip netns delete "$netns" 2>/dev/null || true; done
        exit 0
        ;;
    *)
        echo "usage: $0 [up|down]" >&2
        exit 2
        ;;
esac
"#;

/// The script; rules are those of each node.
fn script(plan: &Plan, pods: &[Pod], rulesets: &BTreeMap<String, ProxyRuleset>) -> String {
    let lab = &plan.lab;
    let mut script = Script { plan, text: String::new() };
    let names: Vec<String> = [ROUTER.to_owned()]
        .into_iter()
        .chain(plan.machines.iter().map(|machine| machine.name.clone()))
        .chain(pods.iter().map(pod_name))
        .map(|name| netns_name(lab, &name))
        .collect();
    script.line(format_args!("#!/usr/bin/env bash"));
    script.line(format_args!("# The network of lab `{lab}`, written by `netlabctl lab eject`."));
    script.line(format_args!(
        "# Needs root, ip, nft and sysctl. `bash FILE up` builds it, `bash FILE down` removes it."
    ));
    script.line(format_args!("ALL=({})", names.join(" ")));
    script.text.push_str(HEAD);
    script.line(format_args!("\n# Machines, and the router that joins them"));
    for step in difference(plan, None, &Observed::default(), &|_| String::new()) {
        if !matches!(step.what, What::StartDaemon { .. }) {
            script.line(format_args!("{step}"));
        }
    }
    for machine in plan.nodes() {
        script.node(machine, pods, rulesets.get(&machine.name));
    }
    script.between(pods);
    script.text
}

struct Script<'a> {
    plan: &'a Plan,
    text: String,
}

/// Namespace of a pod, without the lab's name.
fn pod_name(pod: &Pod) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    format!("{namespace}_{}", pod.metadata.name)
}

fn addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> + '_ {
    pod.status.pod_ips.iter().map(|ip| ip.ip)
}

/// `ip` or `ip -6`, and the address alone as a prefix.
fn family(address: IpAddr) -> (&'static str, IpNet) {
    (if address.is_ipv6() { " -6" } else { "" }, IpNet::from(address))
}

impl Script<'_> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string never fails");
    }

    /// A node's own part: forwarding, rules, and its pods.
    fn node(&mut self, machine: &Machine, pods: &[Pod], ruleset: Option<&ProxyRuleset>) {
        let node = netns_name(&self.plan.lab, &machine.name);
        self.line(format_args!("\n# Node {}", machine.name));
        for key in ["net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"] {
            self.line(format_args!("ip netns exec {node} sysctl -qw {key}=1"));
        }
        let mtu = machine.ports.first().map_or(1500, |port| port.mtu);
        if let Some(ruleset) = ruleset {
            self.rules(&node, mtu, ruleset);
        }
        let own = pods.iter().filter(|pod| pod.spec.node_name.as_deref() == Some(&machine.name));
        for (at, pod) in own.enumerate() {
            self.pod(&node, at, mtu, pod);
        }
    }

    /// The rules for services, masquerading and pods' sources; and a device to which packets to
    /// services go, so that they have a route and come to the rules.
    fn rules(&mut self, node: &str, mtu: u32, ruleset: &ProxyRuleset) {
        let device = mark::SERVICE_NAME;
        if !ruleset.networks.is_empty() {
            self.line(format_args!("ip -n {node} link add {device} mtu {mtu} type bridge"));
            self.line(format_args!("ip -n {node} link set dev {device} addrgenmode none up"));
        }
        for network in &ruleset.networks {
            let six = if network.addr().is_ipv6() { " -6" } else { "" };
            self.line(format_args!("ip -n {node}{six} route add {network} dev {device}"));
        }
        self.line(format_args!("ip netns exec {node} nft -f - <<'RULES'"));
        // No comment of a rule has a line break in it.
        self.text.push_str(&ruleset.rules);
        self.line(format_args!("RULES"));
    }

    /// A pod: a namespace, a link, and permanent neighbours at both of its ends.
    fn pod(&mut self, node: &str, at: usize, mtu: u32, pod: &Pod) {
        let (name, link) = (netns_name(&self.plan.lab, &pod_name(pod)), format!("pod{at}"));
        let eth = mark::POD_IF_NAME;
        // Any MAC does, as long as both ends agree.
        let mac = format!("02:6e:6c:fe:{:02x}:{:02x}", at >> 8, at & 0xff);
        self.line(format_args!("\n# Pod {}", pod_name(pod)));
        self.line(format_args!("ip netns add {name}"));
        self.line(format_args!("ip -n {name} link set dev lo up"));
        self.line(format_args!(
            "ip -n {node} link add name {link} address {} mtu {mtu} type veth \
             peer name {eth} address {mac} mtu {mtu} netns {name}",
            mark::HOST_MAC
        ));
        // An address of its own would be detected for a second, and nobody needs it. By the group
        // rules know links of pods.
        let group = mark::LINK_GROUP;
        self.line(format_args!(
            "ip -n {node} link set dev {link} group {group} addrgenmode none up"
        ));
        self.line(format_args!("ip -n {name} link set dev {eth} addrgenmode none up"));
        for address in addresses(pod) {
            let (six, prefix) = family(address);
            let gateway: IpAddr = match address.is_ipv4() {
                true => mark::GATEWAY_V4.into(),
                false => mark::GATEWAY_V6.into(),
            };
            let nodad = if address.is_ipv6() { " nodad" } else { "" };
            self.line(format_args!("ip -n {name}{six} address add {prefix} dev {eth}{nodad}"));
            self.line(format_args!(
                "ip -n {name}{six} neigh replace {gateway} lladdr {} dev {eth} nud permanent",
                mark::HOST_MAC
            ));
            self.line(format_args!(
                "ip -n {name}{six} route add default via {gateway} dev {eth} onlink"
            ));
            self.line(format_args!("ip -n {node}{six} route add {prefix} dev {link}"));
            self.line(format_args!(
                "ip -n {node}{six} neigh replace {address} lladdr {mac} dev {link} nud permanent"
            ));
        }
        let command: Vec<String> =
            pod.spec.command.iter().chain(&pod.spec.args).map(|word| quoted(word)).collect();
        if !command.is_empty() {
            let command = command.join(" ").replace('\n', "\n# ");
            self.line(format_args!("# ip netns exec {name} {command} &"));
        }
    }

    /// The ways from each machine to the pods of others: by the other node where they share a
    /// network, else by the router.
    fn between(&mut self, pods: &[Pod]) {
        self.line(format_args!("\n# The ways between nodes"));
        let plan = self.plan;
        for pod in pods {
            let Some(owner) = pod.spec.node_name.as_deref().and_then(|node| plan.machine(node))
            else {
                continue;
            };
            for address in addresses(pod) {
                let (six, prefix) = family(address);
                let hop = |network: Option<&str>| {
                    let port = owner.port(network)?;
                    let hops = port.addresses.iter().map(IpNet::addr);
                    hops.into_iter().find(|hop| hop.is_ipv4() == address.is_ipv4())
                };
                if let Some(via) = hop(None) {
                    let router = netns_name(&plan.lab, ROUTER);
                    self.line(format_args!("ip -n {router}{six} route add {prefix} via {via}"));
                }
                for other in plan.nodes().filter(|other| other.name != owner.name) {
                    let shared = other.ports.iter().find_map(|port| hop(Some(&port.network)));
                    if let Some(via) = shared {
                        let name = netns_name(&plan.lab, &other.name);
                        self.line(format_args!("ip -n {name}{six} route add {prefix} via {via}"));
                    }
                }
            }
        }
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}
