// SPDX-License-Identifier: GPL-3.0-or-later
//! What `describe` prints: kubectl's sections, from objects alone.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlab_api::pod::{
    Condition, ConditionStatus, ContainerState, ContainerStatus, PortRef, Probe, Protocol,
};
use netlab_api::{Event, IpamBlock, Namespace, Node, Object, Pod, Time};

use crate::output::columns::{self, event_source, or_none, seen};
use crate::output::{age, format, pod_status};

/// Column at which values stand.
const VALUE_AT: usize = 18;

/// Lines that grow.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) text: String,
    /// Column at which values stand.
    value_at: usize,
}

impl Default for Page {
    fn default() -> Page {
        Page::with_values_at(VALUE_AT)
    }
}

impl Page {
    /// A page whose values stand at a column of its own.
    pub(super) fn with_values_at(value_at: usize) -> Page {
        Page { text: String::new(), value_at }
    }

    /// `Name:   value`.
    pub(super) fn field(&mut self, name: &str, value: impl AsRef<str>) {
        let value = value.as_ref();
        let name = format!("{name}:");
        let line = format!("{name:width$}{value}", width = self.value_at);
        self.line(line.trim_end());
    }

    /// Several values, one under the other.
    pub(super) fn fields(&mut self, name: &str, values: impl IntoIterator<Item = String>) {
        let mut values = values.into_iter();
        self.field(name, values.next().unwrap_or_else(|| "<none>".to_owned()));
        for value in values {
            self.line(&format!("{:width$}{value}", "", width = self.value_at));
        }
    }

    pub(super) fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// A table under a heading, indented, with a rule under its headers.
    pub(super) fn table(&mut self, heading: &str, headers: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return self.field(heading, "<none>");
        }
        self.line(&format!("{heading}:"));
        let rule = headers.iter().map(|header| "-".repeat(header.len())).collect();
        let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
        let lines: Vec<&Vec<String>> = [&headers, &rule].into_iter().chain(rows).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<usize> = (0..headers.len()).filter_map(width).collect();
        for line in &lines {
            let mut text = String::from(" ");
            for (cell, width) in line.iter().zip(&widths) {
                write!(text, " {cell:width$} ").expect("writing to a string never fails");
            }
            self.line(text.trim_end());
        }
    }
}

pub(crate) fn pod(pod: &Pod, events: &[Event], now: Time) -> String {
    let mut page = Page::default();
    let (metadata, spec, status) = (&pod.metadata, &pod.spec, &pod.status);
    page.field("Name", &metadata.name);
    page.field("Namespace", metadata.namespace.as_deref().unwrap_or_default());
    let node = spec.node_name.clone().unwrap_or_default();
    page.field(
        "Node",
        match status.host_ip {
            Some(ip) => format!("{node}/{ip}"),
            None => or_none(node),
        },
    );
    if let Some(start) = status.start_time {
        page.field("Start Time", age::full(start));
    }
    labels(&mut page, &Object::Pod(pod.clone()));
    match metadata.deletion_timestamp {
        Some(since) => {
            page.field("Status", format!("Terminating (lasts {})", age::since(Some(since), now)));
            if let Some(seconds) = metadata.deletion_grace_period_seconds {
                page.field("Termination Grace Period", format!(" {seconds}s"));
            }
        }
        None => page.field("Status", pod_status::phase(status.phase)),
    }
    for (name, value) in [("Reason", &status.reason), ("Message", &status.message)] {
        if let Some(value) = value {
            page.field(name, value);
        }
    }
    page.field("IP", status.pod_ip.map(|ip| ip.to_string()).unwrap_or_default());
    page.fields("IPs", pod.ips().map(|ip| ip.to_string()));
    if let Some(hostname) = &spec.hostname {
        page.field("Hostname", hostname);
    }
    if let Some(rootfs) = &spec.rootfs {
        page.field("Rootfs", rootfs);
    }
    let command: Vec<_> = pod.command_line().map(shell_word).collect();
    page.field(
        "Command",
        match command.is_empty() {
            true => "<none> (holds its namespaces and sleeps)".to_owned(),
            false => command.join(" "),
        },
    );
    if let Some(folder) = &spec.working_dir {
        page.field("Working Dir", folder);
    }
    page.fields(
        "Ports",
        spec.ports.iter().map(|port| {
            let protocol = match port.protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
                Protocol::Sctp => "SCTP",
            };
            let name = port.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            format!("{}/{protocol}{name}", port.container_port)
        }),
    );
    if let Some(container) = status.container_statuses.first() {
        run_state(&mut page, container);
    }
    limits(&mut page, pod);
    for (name, probe) in [("Liveness", &spec.liveness_probe), ("Readiness", &spec.readiness_probe)]
    {
        if let Some(text) = probe.as_ref().map(probe_text) {
            page.field(name, text);
        }
    }
    page.fields("Environment", spec.env.iter().map(|v| format!("{}={}", v.name, v.value)));
    page.field("Restart Policy", format!("{:?}", spec.restart_policy));
    page.field("DNS Policy", format!("{:?}", spec.dns_policy));
    if let Some(network) = &status.network {
        page.line("Network:");
        page.field("  Netns", &network.netns);
        page.field("  Host Link", &network.host_link);
        page.field("  MTU", network.mtu.to_string());
        page.field("  Enter", format!("nsenter --net={} ip addr", network.netns));
    }
    conditions(&mut page, &status.conditions);
    event_table(&mut page, events, now);
    page.text
}

pub(crate) fn node(node: &Node, pods: &[Pod], events: &[Event], now: Time) -> String {
    let mut page = Page::default();
    let status = &node.status;
    page.field("Name", &node.metadata.name);
    page.field("Roles", columns::roles(node));
    labels(&mut page, &Object::Node(node.clone()));
    if let Some(created) = node.metadata.creation_timestamp {
        page.field("Created", age::full(created));
    }
    if let Some(since) = node.metadata.deletion_timestamp {
        let since = age::since(Some(since), now);
        page.field("Status", format!("Terminating (lasts {since}): it goes with the last pod"));
    }
    page.field("Unschedulable", node.spec.unschedulable.to_string());
    let since = |condition: &Condition| age::since(condition.last_transition_time, now);
    let rows: Vec<_> =
        status.conditions.iter().map(|c| condition_cells(c, Some(since(c)))).collect();
    page.table("Conditions", &["Type", "Status", "Since", "Reason", "Message"], &rows);
    page.fields(
        "Addresses",
        status.addresses.iter().map(|a| {
            let kind = match a.kind {
                netlab_api::node::NodeAddressKind::InternalIp => "InternalIP",
                netlab_api::node::NodeAddressKind::Hostname => "Hostname",
            };
            format!("{kind} {}", a.address)
        }),
    );
    page.fields("Pod Blocks", status.pod_blocks.iter().map(|block| block.to_string()));
    page.field("Kernel Version", &status.node_info.kernel_version);
    page.field("OS Image", &status.node_info.os_image);
    page.field("Architecture", &status.node_info.architecture);
    page.field("Netlab Version", &status.node_info.netlab_version);
    let rows: Vec<_> = pods
        .iter()
        .map(|pod| {
            vec![
                pod.metadata.namespace.clone().unwrap_or_default(),
                pod.metadata.name.clone(),
                pod_status::word(pod),
                or_none(pod.status.pod_ip.map(|ip| ip.to_string()).unwrap_or_default()),
                age::since(pod.metadata.creation_timestamp, now),
            ]
        })
        .collect();
    page.table("Pods", &["Namespace", "Name", "Status", "IP", "Age"], &rows);
    event_table(&mut page, events, now);
    page.text
}

pub(crate) fn namespace(namespace: &Namespace, events: &[Event], now: Time) -> String {
    let mut page = Page::default();
    page.field("Name", &namespace.metadata.name);
    labels(&mut page, &Object::Namespace(namespace.clone()));
    page.field("Status", format!("{:?}", namespace.status.phase));
    event_table(&mut page, events, now);
    page.text
}

pub(crate) fn block(block: &IpamBlock) -> String {
    let mut page = Page::default();
    page.field("Name", &block.metadata.name);
    page.field("CIDR", block.spec.cidr.to_string());
    page.field("Node", &block.spec.node);
    page.field("Used", block.spec.allocated.len().to_string());
    page.field("Free", block.spec.free.len().to_string());
    let next = block.spec.free.first().map(|offset| address(block.spec.cidr, *offset).to_string());
    page.field("Next", or_none(next.unwrap_or_default()));
    let rows: Vec<_> = block
        .spec
        .allocated
        .iter()
        .map(|(ip, holder)| vec![ip.to_string(), holder.pod.clone()])
        .collect();
    page.table("Addresses", &["Address", "Pod"], &rows);
    page.text
}

/// The address so far into a prefix.
fn address(prefix: IpNet, offset: u8) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() | u32::from(offset)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() | u128::from(offset)).into(),
    }
}

pub(crate) fn event(event: &Event) -> String {
    format::yaml(&format::to_value(&Object::Event(event.clone())))
}

pub(super) fn labels(page: &mut Page, object: &Object) {
    let metadata = object.metadata();
    let lines = |map: &std::collections::BTreeMap<String, String>, sign: &str| {
        map.iter().map(|(key, value)| format!("{key}{sign}{value}")).collect::<Vec<_>>()
    };
    page.fields("Labels", lines(&metadata.labels, "="));
    page.fields("Annotations", lines(&metadata.annotations, ": "));
}

fn run_state(page: &mut Page, container: &ContainerStatus) {
    state(page, "State", &container.state);
    if !container.last_state.is_empty() {
        state(page, "Last State", &container.last_state);
    }
    page.field("Ready", if container.ready { "True" } else { "False" });
    page.field("Restart Count", container.restart_count.to_string());
}

fn state(page: &mut Page, name: &str, state: &ContainerState) {
    if let Some(running) = &state.running {
        page.field(name, "Running");
        page.field("  Started", age::full(running.started_at));
    } else if let Some(ended) = &state.terminated {
        page.field(name, "Terminated");
        page.field("  Reason", &ended.reason);
        if !ended.message.is_empty() {
            page.field("  Message", &ended.message);
        }
        page.field("  Exit Code", ended.exit_code.to_string());
        if let Some(signal) = ended.signal {
            page.field("  Signal", signal.to_string());
        }
        for (name, time) in [("  Started", ended.started_at), ("  Finished", ended.finished_at)] {
            if let Some(time) = time {
                page.field(name, age::full(time));
            }
        }
    } else {
        page.field(name, "Waiting");
        if let Some(waiting) = &state.waiting {
            page.field("  Reason", &waiting.reason);
            if !waiting.message.is_empty() {
                page.field("  Message", &waiting.message);
            }
        }
    }
}

fn limits(page: &mut Page, pod: &Pod) {
    let Some(limits) = pod.spec.resources.as_ref().and_then(|r| r.limits.as_ref()) else {
        return;
    };
    page.line("Limits:");
    let values = [
        ("  cpu", limits.cpu.as_ref().map(ToString::to_string)),
        ("  memory", limits.memory.as_ref().map(ToString::to_string)),
        ("  pids", limits.pids.map(|pids| pids.to_string())),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            page.field(name, value);
        }
    }
}

/// `http-get http://:8080/ delay=0s timeout=1s period=10s #success=1 #failure=3`.
fn probe_text(probe: &Probe) -> String {
    let port = |port: &PortRef| match port {
        PortRef::Number(number) => number.to_string(),
        PortRef::Name(name) => name.clone(),
    };
    let action = if let Some(http) = &probe.http_get {
        let host = http.host.as_deref().unwrap_or_default();
        let path = http.path.as_deref().unwrap_or("/");
        format!("http-get http://{host}:{}{path}", port(&http.port))
    } else if let Some(tcp) = &probe.tcp_socket {
        format!("tcp-socket {}:{}", tcp.host.as_deref().unwrap_or_default(), port(&tcp.port))
    } else {
        let command = probe.exec.as_ref().map(|exec| exec.command.as_slice()).unwrap_or_default();
        let words: Vec<_> = command.iter().map(|word| shell_word(word)).collect();
        format!("exec [{}]", words.join(" "))
    };
    format!(
        "{action} delay={}s timeout={}s period={}s #success={} #failure={}",
        probe.initial_delay_seconds.unwrap_or(0),
        probe.timeout_seconds.unwrap_or(1),
        probe.period_seconds.unwrap_or(10),
        probe.success_threshold.unwrap_or(1),
        probe.failure_threshold.unwrap_or(3),
    )
}

/// A word as a shell would read it back.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn conditions(page: &mut Page, conditions: &[Condition]) {
    let rows: Vec<_> = conditions.iter().map(|c| condition_cells(c, None)).collect();
    page.table("Conditions", &["Type", "Status", "Reason", "Message"], &rows);
}

fn condition_cells(condition: &Condition, since: Option<String>) -> Vec<String> {
    let status = match condition.status {
        ConditionStatus::True => "True",
        ConditionStatus::False => "False",
        ConditionStatus::Unknown => "Unknown",
    };
    let mut cells = vec![condition.kind.clone(), status.to_owned()];
    cells.extend(since);
    cells.push(condition.reason.clone().unwrap_or_default());
    cells.push(condition.message.clone().unwrap_or_default());
    cells
}

pub(super) fn event_table(page: &mut Page, events: &[Event], now: Time) {
    let rows: Vec<_> = events
        .iter()
        .map(|event| {
            let [_, kind, reason, _, message] = columns::event_cells(event, String::new());
            vec![kind, reason, seen(event, now), event_source(event), message]
        })
        .collect();
    page.table("Events", &["Type", "Reason", "Age", "From", "Message"], &rows);
}

#[cfg(test)]
mod tests;
