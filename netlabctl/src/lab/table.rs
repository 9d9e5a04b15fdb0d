// SPDX-License-Identifier: GPL-3.0-or-later
//! The table that `lab up` ends with, and that of `lab ls`.

use netlab_api::Pod;
use netlab_api::client::Selectors;

use super::folder::{self, Folder};
use super::plan::{Machine, MachineKind};
use super::process::Namespaces;
use super::state::State;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::pod_status;
use crate::output::table::{Look, Table};

const LOOK: Look = Look { headers: true, colour: false };

/// A lab's machines and pods, and how to get into them.
pub(crate) async fn lab(context: &Context, state: &State) -> Result<String, Failure> {
    let mut machines = Table::new(&["MACHINE", "KIND", "NETWORK", "ADDRESS"]);
    for machine in &state.plan.machines {
        machines.rows.push(vec![
            machine.name.clone(),
            kind(machine).to_owned(),
            machine.ports.iter().map(|port| port.network.as_str()).collect::<Vec<_>>().join(","),
            joined(machine.addresses()),
        ]);
    }
    let mut text = machines.render(LOOK, &mut Vec::new());
    let pods = context.client.list_as::<Pod>(None, &Selectors::default()).await?.items;
    if !pods.is_empty() {
        let mut table = Table::new(&["POD", "READY", "STATUS", "IP", "NODE"]);
        for pod in &pods {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let name = match namespace {
                "default" => pod.metadata.name.clone(),
                namespace => format!("{namespace}/{}", pod.metadata.name),
            };
            table.rows.push(vec![
                name,
                pod_status::ready(pod),
                pod_status::word(pod),
                joined(pod.status.pod_ips.iter().map(|ip| ip.ip)),
                pod.spec.node_name.clone().unwrap_or_default(),
            ]);
        }
        text += "\n";
        text += &table.render(LOOK, &mut Vec::new());
    }
    let lab = &state.plan.lab;
    text += "\n";
    if let Some(pod) = pods.iter().find(|pod| pod.metadata.namespace.as_deref() == Some("default"))
    {
        text += &format!("netlabctl --lab {lab} exec -it {} -- sh\n", pod.metadata.name);
    }
    if let Some(host) = state.plan.hosts().next() {
        text += &format!("netlabctl --lab {lab} host exec {} -- ip route\n", host.name);
    }
    if !state.lab.tests.is_empty() {
        text += &format!("netlabctl lab test {lab}\n");
    }
    text += &format!("netlabctl lab down {lab}\n");
    Ok(text)
}

fn kind(machine: &Machine) -> &'static str {
    match machine.kind {
        MachineKind::Node => "node",
        MachineKind::Host => "host",
    }
}

fn joined(addresses: impl Iterator<Item = std::net::IpAddr>) -> String {
    addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(",")
}

/// `lab ls`.
pub(crate) fn list() -> Result<(), Failure> {
    let labs = folder::list();
    if labs.is_empty() {
        output::note("No labs are up");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "STATUS", "NODES", "HOSTS", "FILE"]);
    for folder in labs {
        let state = folder.state().ok().flatten();
        let count = |kind: MachineKind| match &state {
            Some(state) => state.plan.machines.iter().filter(|m| m.kind == kind).count(),
            None => 0,
        };
        let file = state.as_ref().and_then(|state| state.file.as_ref());
        table.rows.push(vec![
            folder.name.clone(),
            status(&folder, state.as_ref())?,
            count(MachineKind::Node).to_string(),
            count(MachineKind::Host).to_string(),
            file.map(|file| file.display().to_string()).unwrap_or_default(),
        ]);
    }
    output::text(&table.render(LOOK, &mut Vec::new()));
    Ok(())
}

/// Whether all machines and daemons of a lab are there.
fn status(folder: &Folder, state: Option<&State>) -> Result<String, Failure> {
    let Some(state) = state.filter(|state| state.is_built) else {
        return Ok("Incomplete".to_owned());
    };
    let daemons = Namespaces::of(folder, None).daemons();
    let down = state.plan.nodes().filter(|node| !daemons.contains_key(&node.name)).count();
    Ok(match down {
        0 => "Running".to_owned(),
        down => format!("{down} of {} nodes down", state.plan.nodes().count()),
    })
}
