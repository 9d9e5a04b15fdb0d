// SPDX-License-Identifier: GPL-3.0-or-later
//! Daemons of nodes: their configuration, their start, and when they are ready.
#![allow(unsafe_code, reason = "a session of its own is made between fork and exec")]

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use netlab_api::client::{Client, Transport};
use netlab_api::token::TokenRequest;
use netlab_link::Netns;

use super::failed;
use super::folder::Folder;
use super::plan::Plan;
use super::process::{self, Namespaces};
use crate::context::Context;
use crate::failure::{Failure, chain};
use crate::progress::Progress;

/// Between two questions whether a daemon is ready.
const LOOK: Duration = Duration::from_millis(2);
/// Lines of its log that are shown of a daemon that ended.
const LAST_LINES: usize = 10;

/// The `netlabd` beside this program, or else that of the search path.
pub(crate) fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("netlabd"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("netlabd"))
}

/// What starts the daemon of a node, as a shell would have it.
pub(crate) fn words(folder: &Folder, node: &str) -> String {
    let config = folder.node(node).join("netlabd.toml");
    format!("{} --config {}", program().display(), config.display())
}

/// How long a token is good for: as long as 200 nodes may take to join on a slow machine.
const TOKEN_SECONDS: u64 = 600;

/// With more nodes than this, each keeps fewer pod links ready: every one of them is a namespace,
/// which takes a millisecond and memory, and pods are spread over many nodes then.
const MANY_NODES: usize = 10;
const SMALL_POOL: usize = 2;

/// TCP port of the server for nodes.
const PORT: u16 = 7411;

/// Address and port of the server, as every node reaches it.
fn server_address(plan: &Plan) -> Option<SocketAddr> {
    let server = plan.nodes().next()?;
    Some(SocketAddr::new(server.addresses().next()?, PORT))
}

/// `netlabd.toml` of a node.
pub(crate) fn config(folder: &Folder, plan: &Plan, node: &str) -> String {
    let quoted = |text: String| format!("{text:?}");
    let mut lines = vec![
        format!("# Node `{node}` of lab `{}`, written by `netlabctl lab up`.", plan.lab),
        format!("node-name = {}", quoted(node.to_owned())),
        format!("state-dir = {}", quoted(folder.node(node).join("state").display().to_string())),
        format!("run-dir = {}", quoted(folder.run_dir(node).display().to_string())),
    ];
    if !plan.pod_networks.is_empty() {
        lines.push(format!("pod-networks = {}", list(&plan.pod_networks)));
    }
    if plan.nodes().count() > MANY_NODES {
        lines.push(format!("pool-size = {SMALL_POOL}"));
    }
    let is_server = plan.nodes().next().is_some_and(|server| server.name == node);
    if let Some(address) = server_address(plan) {
        if is_server {
            // Also when it is alone: a node may be added to the file.
            lines.push(format!("listen = {}", quoted(address.to_string())));
            lines.push(format!("route-mode = {}", quoted(plan.route_mode.to_string())));
            lines.extend(service_lines(plan));
            lines.extend(name_lines(plan));
        } else {
            lines.push(format!("join = {}", quoted(format!("https://{address}"))));
            lines
                .push(format!("token-file = {}", quoted(token_file(folder).display().to_string())));
        }
    }
    lines.join("\n") + "\n"
}

/// What the server's configuration says of services. Ends with a section, so nothing may follow.
fn service_lines(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(plan.proxy_mode.map(|mode| format!("proxy-mode = \"{mode}\"")));
    if !plan.load_balancer_pools.is_empty() {
        lines.push("[load-balancer]".to_owned());
        lines.push(format!("pools = {}", list(&plan.load_balancer_pools)));
    }
    lines
}

/// What the server's configuration says of names, as the file of the lab has it: the daemon knows
/// which keys there are. Sections only.
fn name_lines(plan: &Plan) -> Option<String> {
    #[derive(serde::Serialize)]
    struct Section<'a> {
        dns: &'a serde_json::Map<String, serde_json::Value>,
    }
    if plan.dns.is_empty() {
        return None;
    }
    // JSON's null is the one value that TOML has not, and parsing left none.
    let text = toml::to_string(&Section { dns: &plan.dns }).expect("what TOML can say");
    Some(text.trim_end().to_owned())
}

/// Networks as a list of TOML.
fn list(networks: &[IpNet]) -> String {
    let quoted: Vec<String> = networks.iter().map(|network| format!("\"{network}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// Starts the daemon of a node in its namespace, in a session of its own: it goes on when this
/// program ends and when its terminal is closed.
pub(crate) fn start(
    folder: &Folder,
    plan: &Plan,
    node: &str,
    netns: &Netns,
) -> Result<Child, Failure> {
    let dir = folder.node(node);
    let wrong = |error| Failure::failed(format!("failed to start the daemon of `{node}`: {error}"));
    fs::create_dir_all(&dir).map_err(wrong)?;
    let path = dir.join("netlabd.toml");
    fs::write(&path, config(folder, plan, node)).map_err(wrong)?;
    let log = File::options().create(true).append(true).open(folder.log(node)).map_err(wrong)?;
    let mut command = Command::new(program());
    command.arg("--config").arg(&path).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // What is meant for the machine's own daemon is not meant for this one.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("NETLABD_") && name != "NETLABD_LOG") {
            command.env_remove(name);
        }
    }
    // SAFETY: setsid(2) is async-signal-safe and touches no memory of this process.
    unsafe {
        command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?));
    }
    netns.run(|| command.spawn()).map_err(failed)?.map_err(|error| {
        wrong(error).with_hint(format!("`{}` was looked for", program().display()))
    })
}

fn token_file(folder: &Folder) -> PathBuf {
    folder.path().join("token")
}

/// Ends the daemons that were started with another configuration; their pods live on.
pub(crate) fn end_outdated(folder: &Folder, plan: &Plan) -> Result<(), Failure> {
    for (node, pid) in Namespaces::of(folder, None).daemons() {
        let written = fs::read_to_string(folder.node(&node).join("netlabd.toml"));
        let is_known = plan.nodes().any(|known| known.name == node);
        if is_known && written.is_ok_and(|text| text != config(folder, plan, &node)) {
            process::end(pid)?;
        }
    }
    Ok(())
}

/// Whether a node has what it needs to be the one that it was.
pub(crate) fn has_joined(folder: &Folder, node: &str) -> bool {
    folder.node(node).join("state/pki/joined.json").exists()
}

/// Asks the server for a token that lets nodes join, and writes it where they look for it.
pub(crate) async fn token(folder: &Folder, context: &Context) -> Result<(), Failure> {
    let wish = TokenRequest {
        ttl_seconds: Some(TOKEN_SECONDS),
        description: format!("lab {}", folder.name),
    };
    let issued = context.client.create_token(&wish).await?;
    let path = token_file(folder);
    let wrong = |error| Failure::failed(format!("failed to write `{}`: {error}", path.display()));
    let mut file = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(wrong)?;
    writeln!(file, "{}", issued.token).map_err(wrong)
}

/// Waits until a daemon answers that it is ready. `child` is looked at when this program started
/// it.
pub(crate) async fn ready(
    folder: &Folder,
    node: &str,
    mut child: Option<Child>,
    progress: &Progress,
) -> Result<(), Failure> {
    let socket = folder.socket(node);
    let client = Client::new(Transport::Unix(socket.clone()));
    loop {
        let missing = match socket.exists() {
            false => "it has no socket yet".to_owned(),
            true => match client.ready().await {
                Ok(answer) if answer.ready => return Ok(()),
                Ok(answer) => answer.missing.join(", "),
                Err(error) => chain(&error),
            },
        };
        if let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) {
            return Err(Failure::failed(format!(
                "the daemon of node `{node}` ended ({status}); its last lines:\n{}",
                last_lines(folder, node)
            )));
        }
        progress.set(format!("node/{node}: {missing}"));
        tokio::time::sleep(LOOK).await;
    }
}

fn last_lines(folder: &Folder, node: &str) -> String {
    let log = fs::read_to_string(folder.log(node)).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let tail = &lines[lines.len().saturating_sub(LAST_LINES)..];
    tail.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
