// SPDX-License-Identifier: GPL-3.0-or-later
//! `host`: machines of a lab, from within.

use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::{Failure, NOT_FOUND};
use crate::lab;

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Run a command of this machine in the network of a host, a node or the router of a lab
    Exec {
        /// The host
        #[arg(value_name = "HOST")]
        host: String,
        /// The command and its arguments, after `--`
        #[arg(last = true, value_name = "CMD", required = true)]
        command: Vec<String>,
    },
}

/// Runs the command in place of this program: its terminal, its signals and its exit code are the
/// command's.
pub(crate) fn host(context: &Context, command: HostCommand) -> Result<(), Failure> {
    let HostCommand::Exec { host, command: words } = command;
    let name = host.strip_prefix("host/").unwrap_or(&host);
    let folder = context.lab(None)?;
    let machines = lab::machines(&folder)?;
    if !machines.iter().any(|machine| machine == name) {
        let text = format!("error: lab `{}` has no host `{name}`", folder.name);
        return Err(
            Failure::new(NOT_FOUND, text).with_hint(format!("machines: {}", machines.join(", ")))
        );
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    let error = lab::inside(&folder, name, || command.exec())?;
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => 127,
        _ => 126,
    };
    Err(Failure::new(code, format!("error: failed to run `{}`: {error}", words[0])))
}
