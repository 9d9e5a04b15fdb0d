// SPDX-License-Identifier: GPL-3.0-or-later
//! `version`: of netlabctl and of the daemon.

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, format};

/// Version of this program.
pub(crate) const CLIENT: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Form of the output
    #[arg(short, long, value_parser = ["json", "yaml"])]
    output: Option<String>,
    /// Only the version of netlabctl; asks no daemon
    #[arg(long)]
    client: bool,
}

pub(crate) async fn version(context: &Context, args: &VersionArgs) -> Result<(), Failure> {
    let server = match args.client {
        true => None,
        false => Some(context.client.version().await),
    };
    let mut value = json!({ "clientVersion": { "version": CLIENT } });
    if let Some(Ok(server)) = &server {
        value["serverVersion"] = serde_json::to_value(server).expect("versions have string keys");
    }
    match args.output.as_deref() {
        Some("json") => output::text(&format::json_text(&value)),
        Some(_) => output::text(&format::yaml(&value)),
        None => {
            output::line(&format!("Client Version: v{CLIENT}"));
            if let Some(Ok(server)) = &server {
                output::line(&format!("Server Version: v{} ({})", server.version, server.node));
                if server.version != CLIENT {
                    output::note("warning: netlabctl and netlabd are of different versions");
                }
            }
        }
    }
    match server {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}
