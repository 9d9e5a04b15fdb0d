// SPDX-License-Identifier: GPL-3.0-or-later
//! `cordon` and `uncordon`: whether new pods are placed on a node.

use clap::Args;
use netlab_api::Node;
use netlab_api::client::{ObjectRef, Selectors};
use netlab_api::resource::Kind;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::{output, target};

#[derive(Debug, Args)]
pub(crate) struct CordonArgs {
    #[command(flatten)]
    nodes: NodesArgs,
}

/// Which nodes a verb is about.
#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    /// Nodes
    #[arg(required_unless_present = "selector", value_name = "NODE")]
    names: Vec<String>,
    /// Nodes with these labels
    #[arg(short = 'l', long, conflicts_with = "names")]
    selector: Option<String>,
}

impl NodesArgs {
    /// The nodes as they are.
    pub(crate) async fn read(&self, context: &Context) -> Result<Vec<Node>, Failure> {
        if let Some(selector) = &self.selector {
            let selectors = Selectors::labels(selector.clone());
            let nodes = context.client.list_as::<Node>(None, &selectors).await?.items;
            if nodes.is_empty() {
                return Err(Failure::failed(format!("no node has labels `{selector}`")));
            }
            return Ok(nodes);
        }
        let mut nodes: Vec<Node> = Vec::new();
        for name in &self.names {
            let bare =
                name.split_once('/').filter(|(kind, _)| Kind::from_word(kind) == Some(Kind::Node));
            let name = bare.map_or(name.as_str(), |(_, name)| name);
            target::check_name(name)?;
            if nodes.iter().all(|node| node.metadata.name != name) {
                nodes.push(context.client.get_as(None, name).await?);
            }
        }
        Ok(nodes)
    }
}

pub(crate) async fn cordon(
    context: &Context,
    args: &CordonArgs,
    unschedulable: bool,
) -> Result<(), Failure> {
    for node in args.nodes.read(context).await? {
        mark(context, &node, unschedulable).await?;
    }
    Ok(())
}

/// Cordons or uncordons a node, and says so.
pub(crate) async fn mark(
    context: &Context,
    node: &Node,
    unschedulable: bool,
) -> Result<(), Failure> {
    let name = &node.metadata.name;
    let word = if unschedulable { "cordoned" } else { "uncordoned" };
    if node.spec.unschedulable == unschedulable {
        output::line(&format!("node/{name} already {word}"));
        return Ok(());
    }
    let patch = json!({ "spec": { "unschedulable": unschedulable } });
    context.client.patch(&ObjectRef::new(Kind::Node, None, name), &patch, false).await?;
    output::line(&format!("node/{name} {word}"));
    Ok(())
}
