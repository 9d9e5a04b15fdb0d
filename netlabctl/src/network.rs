// SPDX-License-Identifier: GPL-3.0-or-later
//! `network`: what holds for the pod network of the cluster, and how nodes reach each other's pods.

use std::fmt::Write as _;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use netlab_api::client::Selectors;
use netlab_api::view::NetworkSettings;
use netlab_api::{Node, RouteMode};

use crate::by_hand;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::columns::{node_status, or_none};
use crate::output::table::{Look, Table};
use crate::wait::SettleArgs;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct NetworkArgs {
    #[command(subcommand)]
    command: Option<NetworkCommand>,
}

#[derive(Debug, Subcommand)]
enum NetworkCommand {
    /// Show or change how nodes reach each other's pods
    ///
    /// host-gw routes to the other node's address, which must be in the same subnet; vxlan wraps
    /// packets, whatever is between the nodes; auto does the first where it can and the second
    /// elsewhere.
    Mode(ModeArgs),
}

#[derive(Debug, Args)]
struct ModeArgs {
    /// The mode to change to
    #[arg(value_name = "MODE", value_parser = PossibleValuesParser::new(RouteMode::ALL.map(RouteMode::as_str)))]
    mode: Option<String>,
    #[command(flatten)]
    settle: SettleArgs,
}

impl NetworkArgs {
    /// Whether it changes something.
    pub(crate) fn is_change(&self) -> bool {
        matches!(self.command, Some(NetworkCommand::Mode(ModeArgs { mode: Some(_), .. })))
    }
}

pub(crate) async fn network(context: &Context, args: NetworkArgs) -> Result<(), Failure> {
    let settings = context.client.network().await?;
    match args.command {
        None => {
            let nodes = context.client.list_as::<Node>(None, &Selectors::default()).await?.items;
            output::text(&render(&settings, &nodes, context.colour));
            Ok(())
        }
        Some(NetworkCommand::Mode(ModeArgs { mode: None, .. })) => {
            output::line(settings.route_mode.as_str());
            Ok(())
        }
        Some(NetworkCommand::Mode(ModeArgs { mode: Some(mode), settle })) => {
            let mode = mode.parse().map_err(Failure::usage)?;
            change_mode(context, settings, mode, &settle).await
        }
    }
}

async fn change_mode(
    context: &Context,
    settings: NetworkSettings,
    mode: RouteMode,
    settle: &SettleArgs,
) -> Result<(), Failure> {
    let before = settings.route_mode;
    context.client.set_network(&NetworkSettings { route_mode: mode, ..settings }).await?;
    // Also when it was so already: it may have been changed a moment ago.
    let revision = context.client.version().await?.revision;
    settle.programmed(context, revision).await?;
    output::line(&match before == mode {
        true => format!("route mode {mode} unchanged"),
        false => format!("route mode {mode} configured, was {before}"),
    });
    by_hand::print_network(context).await
}

fn render(settings: &NetworkSettings, nodes: &[Node], colour: bool) -> String {
    let networks: Vec<_> = settings.pod_networks.iter().map(ToString::to_string).collect();
    let mut text = String::new();
    for (name, value) in
        [("Pod networks:", networks.join(" ")), ("Route mode:", settings.route_mode.to_string())]
    {
        writeln!(text, "{name:14}{value}").expect("writing to a string never fails");
    }
    if nodes.is_empty() {
        return text;
    }
    let mut table = Table::new(&["NODE", "STATUS", "ADDRESSES", "BLOCKS"]);
    table.rows = nodes
        .iter()
        .map(|node| {
            let addresses: Vec<_> = node.internal_ips().map(|ip| ip.to_string()).collect();
            let blocks: Vec<_> = node.status.pod_blocks.iter().map(ToString::to_string).collect();
            vec![
                node.metadata.name.clone(),
                node_status(node),
                or_none(addresses.join(",")),
                or_none(blocks.join(",")),
            ]
        })
        .collect();
    text.push('\n');
    text + &table.render(Look { headers: true, colour }, &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn the_network_is_shown_with_the_blocks_of_each_node() {
        let settings = NetworkSettings {
            route_mode: RouteMode::Auto,
            proxy_mode: None,
            pod_networks: ["10.42.0.0/16", "fd42::/48"].map(|net| net.parse().unwrap()).to_vec(),
        };
        let n1: Node = from_value(json!({
            "metadata": { "name": "n1" },
            "status": {
                "conditions": [{ "type": "Ready", "status": "True" }],
                "addresses": [{ "type": "InternalIP", "address": "192.168.56.11" }],
                "podBlocks": ["10.42.0.0/26", "fd42::/122"],
            },
        }))
        .unwrap();
        expect![[r#"
            Pod networks: 10.42.0.0/16 fd42::/48
            Route mode:   auto

            NODE   STATUS     ADDRESSES       BLOCKS
            n1     Ready      192.168.56.11   10.42.0.0/26,fd42::/122
            n2     NotReady   <none>          <none>
        "#]]
        .assert_eq(&render(&settings, &[n1, Node::named("n2")], false));
    }
}
