// SPDX-License-Identifier: GPL-3.0-or-later
//! `lab graph`: a lab as a drawing. Pure, from the plan and the pods.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use netlab_api::Pod;
use netlab_api::client::Selectors;

use super::check::escaped;
use super::plan::{Machine, MachineKind, Plan};
use super::up;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct GraphArgs {
    /// The lab, by name or file; the only one unless given. A lab that is not up has no pods
    #[arg(value_name = "NAME|FILE")]
    lab: Option<String>,
    /// The drawing's language
    #[arg(short, long, value_enum, default_value = "ascii")]
    format: GraphFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// A tree for a terminal
    Ascii,
    /// For Markdown, as GitHub and GitLab draw it
    Mermaid,
    /// For Graphviz
    Dot,
    /// A picture
    Svg,
}

pub(crate) async fn graph(context: &Context, args: GraphArgs) -> Result<(), Failure> {
    let name = args.lab.as_deref().map(|word| up::name_of(context, word)).transpose()?;
    let (plan, pods) = match (context.lab(name.as_deref()), &args.lab) {
        (Ok(folder), _) => {
            let plan = folder.state()?.unwrap_or_default().plan;
            let pods = match plan.nodes().next() {
                Some(node) => {
                    let context = Context::of_socket(folder.socket(&node.name));
                    context.client.list_as::<Pod>(None, &Selectors::default()).await?.items
                }
                None => Vec::new(),
            };
            (plan, pods)
        }
        (Err(_), Some(file)) if std::path::Path::new(file).is_file() => {
            (up::plan_of_file(context, file)?, Vec::new())
        }
        (Err(failure), _) => return Err(failure),
    };
    let drawn: Vec<DrawnPod> = pods.iter().map(DrawnPod::of).collect();
    output::text(&draw(&plan, &drawn, args.format));
    Ok(())
}

/// What a drawing says of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DrawnPod {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) addresses: Vec<String>,
}

impl DrawnPod {
    fn of(pod: &Pod) -> DrawnPod {
        let name = &pod.metadata.name;
        DrawnPod {
            name: match pod.metadata.namespace.as_deref() {
                None | Some("default") => name.clone(),
                Some(namespace) => format!("{namespace}/{name}"),
            },
            node: pod.spec.node_name.clone().unwrap_or_default(),
            addresses: pod.status.pod_ips.iter().map(|ip| ip.ip.to_string()).collect(),
        }
    }
}

pub(crate) fn draw(plan: &Plan, pods: &[DrawnPod], format: GraphFormat) -> String {
    match format {
        GraphFormat::Ascii => ascii(plan, pods),
        GraphFormat::Mermaid => mermaid(plan, pods),
        GraphFormat::Dot => dot(plan, pods),
        GraphFormat::Svg => svg(plan, pods),
    }
}

fn kind(machine: &Machine) -> &'static str {
    match machine.kind {
        MachineKind::Node => "node",
        MachineKind::Host => "host",
    }
}

fn on<'a>(pods: &'a [DrawnPod], machine: &'a Machine) -> impl Iterator<Item = &'a DrawnPod> {
    let is_node = machine.kind == MachineKind::Node;
    pods.iter().filter(move |pod| is_node && pod.node == machine.name)
}

fn subnets(network: &super::plan::Network) -> String {
    let subnets = network.router.iter().map(|own| own.trunc().to_string());
    subnets.collect::<Vec<_>>().join(" ")
}

/// A tree: networks, machines, pods.
fn ascii(plan: &Plan, pods: &[DrawnPod]) -> String {
    let mut text = format!("lab {} ({})\n", plan.lab, plan.route_mode);
    let mut line = |line: String| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    for (at, network) in plan.networks.iter().enumerate() {
        let is_last = at + 1 == plan.networks.len();
        let (branch, stem) = if is_last { ("└─", "  ") } else { ("├─", "│ ") };
        line(format!("{branch} {}  {}", network.name, subnets(network)));
        let plugged: Vec<_> = plan
            .machines
            .iter()
            .filter_map(|m| Some((m, m.ports.iter().find(|port| port.network == network.name)?)))
            .collect();
        let router: Vec<String> = network.router.iter().map(|own| own.addr().to_string()).collect();
        let more = if plugged.is_empty() { "└─" } else { "├─" };
        line(format!("{stem} {more} router  {}", router.join(" ")));
        for (place, (machine, port)) in plugged.iter().enumerate() {
            let is_last = place + 1 == plugged.len();
            let (twig, leaf) = if is_last { ("└─", "  ") } else { ("├─", "│ ") };
            let addresses: Vec<String> =
                port.addresses.iter().map(|own| own.addr().to_string()).collect();
            let what = kind(machine);
            let addresses = addresses.join(" ");
            line(format!("{stem} {twig} {what} {} ({})  {addresses}", machine.name, port.dev));
            // A machine of several networks has its pods drawn once, at its first link.
            let is_first = machine.ports.first() == Some(*port);
            let own: Vec<_> = on(pods, machine).filter(|_| is_first).collect();
            for (at, pod) in own.iter().enumerate() {
                let end = if at + 1 == own.len() { "└─" } else { "├─" };
                let addresses = pod.addresses.join(" ");
                line(format!("{stem} {leaf} {end} pod {}  {addresses}", pod.name));
            }
        }
    }
    text
}

/// An identifier that every language takes.
fn id(prefix: &str, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    // A name has no slash but that between namespace and pod.
    let name = name.replace('/', "__");
    format!("{prefix}_{}", name.chars().map(plain).collect::<String>())
}

fn mermaid(plan: &Plan, pods: &[DrawnPod]) -> String {
    let mut text = String::from("graph TD\n");
    let mut line = |line: String| {
        writeln!(text, "  {line}").expect("writing to a string never fails");
    };
    if plan.networks.len() > 1 {
        line("router{{router}}".to_owned());
    }
    for network in &plan.networks {
        let own = id("net", &network.name);
        line(format!("{own}([\"{}<br/>{}\"])", network.name, subnets(network)));
        if plan.networks.len() > 1 {
            line(format!("router --- {own}"));
        }
    }
    for machine in &plan.machines {
        let own = id("m", &machine.name);
        let address = machine.addresses().next().map(|a| a.to_string()).unwrap_or_default();
        let (open, close) = match machine.kind {
            MachineKind::Node => ("[", "]"),
            MachineKind::Host => ("[/", "/]"),
        };
        line(format!("{own}{open}\"{} {}<br/>{address}\"{close}", kind(machine), machine.name));
        for port in &machine.ports {
            line(format!("{} --- {own}", id("net", &port.network)));
        }
        for pod in on(pods, machine) {
            let pod_id = id("pod", &pod.name);
            let address = pod.addresses.first().cloned().unwrap_or_default();
            line(format!("{pod_id}(\"{}<br/>{address}\")", pod.name));
            line(format!("{own} --- {pod_id}"));
        }
    }
    text
}

fn dot(plan: &Plan, pods: &[DrawnPod]) -> String {
    let mut text = format!("graph {:?} {{\n", plan.lab);
    let mut line = |line: String| {
        writeln!(text, "  {line}").expect("writing to a string never fails");
    };
    line("node [fontname=\"sans-serif\"];".to_owned());
    if plan.networks.len() > 1 {
        line("router [shape=diamond];".to_owned());
    }
    for network in &plan.networks {
        let own = id("net", &network.name);
        line(format!("{own} [shape=ellipse, label=\"{}\\n{}\"];", network.name, subnets(network)));
        if plan.networks.len() > 1 {
            line(format!("router -- {own};"));
        }
    }
    for machine in &plan.machines {
        let own = id("m", &machine.name);
        let addresses: Vec<String> = machine.addresses().map(|a| a.to_string()).collect();
        let shape = match machine.kind {
            MachineKind::Node => "box",
            MachineKind::Host => "house",
        };
        let label = format!("{} {}\\n{}", kind(machine), machine.name, addresses.join("\\n"));
        line(format!("{own} [shape={shape}, label=\"{label}\"];"));
        for port in &machine.ports {
            line(format!("{} -- {own} [label=\"{}\"];", id("net", &port.network), port.dev));
        }
        for pod in on(pods, machine) {
            let pod_id = id("pod", &pod.name);
            let label = format!("{}\\n{}", pod.name, pod.addresses.join("\\n"));
            line(format!("{pod_id} [shape=box, style=rounded, label=\"{label}\"];"));
            line(format!("{own} -- {pod_id};"));
        }
    }
    text.push_str("}\n");
    text
}

/// Width and height of a box, and the room around it.
const BOX: (usize, usize) = (190, 46);
const GAP: usize = 24;

/// Three rows: networks, machines, and below each machine its pods.
fn svg(plan: &Plan, pods: &[DrawnPod]) -> String {
    let (width, height) = BOX;
    let column = |at: usize| GAP + at * (width + GAP);
    let row = |at: usize| GAP + at * (height + GAP);
    let columns = plan.machines.len().max(plan.networks.len()).max(1);
    let most = plan.machines.iter().map(|m| on(pods, m).count()).max().unwrap_or(0);
    let (w, h) = (column(columns), row(2 + most));
    let mut body = String::new();
    let mut lines = String::new();
    let mut boxed = |at: (usize, usize), class: &str, title: &str, text: &str| {
        let (x, y) = at;
        let middle = x + width / 2;
        write!(
            body,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\n\
             <text class=\"title\" x=\"{middle}\" y=\"{}\">{}</text>\n\
             <text x=\"{middle}\" y=\"{}\">{}</text>\n",
            y + 19,
            escaped(title),
            y + 36,
            escaped(text)
        )
        .expect("writing to a string never fails");
    };
    let mut joined = |from: (usize, usize), to: (usize, usize)| {
        writeln!(
            lines,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            from.0 + width / 2,
            from.1 + height,
            to.0 + width / 2,
            to.1
        )
        .expect("writing to a string never fails");
    };
    for (at, network) in plan.networks.iter().enumerate() {
        boxed((column(at), row(0)), "network", &network.name, &subnets(network));
    }
    for (at, machine) in plan.machines.iter().enumerate() {
        let own = (column(at), row(1));
        let addresses: Vec<String> = machine.addresses().map(|a| a.to_string()).collect();
        let title = format!("{} {}", kind(machine), machine.name);
        boxed(own, kind(machine), &title, &addresses.join(" "));
        for port in &machine.ports {
            let place = plan.networks.iter().position(|network| network.name == port.network);
            joined((column(place.unwrap_or(0)), row(0)), own);
        }
        for (place, pod) in on(pods, machine).enumerate() {
            boxed((column(at), row(2 + place)), "pod", &pod.name, &pod.addresses.join(" "));
            joined((column(at), row(1 + place)), (column(at), row(2 + place)));
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\">\n\
         <title>lab {}</title>\n\
         <style>text{{font:11px sans-serif;text-anchor:middle}}.title{{font-weight:bold}}\
         rect{{fill:#fff;stroke:#456}}.network{{fill:#def}}.node{{fill:#efe}}.host{{fill:#fed}}\
         line{{stroke:#789}}</style>\n{lines}{body}</svg>\n",
        escaped(&plan.lab)
    )
}

#[cfg(test)]
mod tests;
