// SPDX-License-Identifier: GPL-3.0-or-later
//! `cordon` and `uncordon`: whether new pods are placed on a node.

use clap::Args;
use netlab_api::Node;
use netlab_api::client::ObjectRef;
use netlab_api::resource::Kind;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct CordonArgs {
    /// Nodes
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
}

pub(crate) async fn cordon(
    context: &Context,
    args: &CordonArgs,
    unschedulable: bool,
) -> Result<(), Failure> {
    let word = if unschedulable { "cordoned" } else { "uncordoned" };
    for name in &args.nodes {
        let name = name.strip_prefix("node/").unwrap_or(name);
        let node: Node = context.client.get_as(None, name).await?;
        if node.spec.unschedulable == unschedulable {
            output::line(&format!("node/{name} already {word}"));
            continue;
        }
        let patch = json!({ "spec": { "unschedulable": unschedulable } });
        context.client.patch(&ObjectRef::new(Kind::Node, None, name), &patch, false).await?;
        output::line(&format!("node/{name} {word}"));
    }
    Ok(())
}
