// SPDX-License-Identifier: GPL-3.0-or-later
//! `lab`: virtual nodes on this machine, made of network namespaces, each with a daemon.
//!
//! ```text
//! file ─► plan (pure) ─┐
//!                      ├─► difference (pure) ─► steps ─► kernel ─► daemons ─► objects
//! observed ────────────┘
//! ```

mod cgroup;
mod daemon;
mod difference;
mod down;
mod fault;
pub(crate) mod folder;
mod kernel;
mod plan;
mod process;
pub(crate) mod state;
mod step;
mod table;
mod up;

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;

use crate::context::Context;
use crate::failure::{Failure, NOT_FOUND, chain};

pub(crate) use down::unknown;

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Make a lab as a file says, or change the one that is there
    Up(up::UpArgs),
    /// Remove a lab with everything in it
    Down(down::DownArgs),
    /// List labs
    #[command(visible_alias = "list")]
    Ls,
}

pub(crate) async fn lab(context: &Context, command: LabCommand) -> Result<(), Failure> {
    match command {
        LabCommand::Up(args) => up::up(context, args).await,
        LabCommand::Down(args) => down::down(context, &args),
        LabCommand::Ls => table::list(),
    }
}

/// There is no lab at all.
pub(crate) fn none() -> Failure {
    Failure::new(NOT_FOUND, "error: no lab is up").with_hint("`netlabctl lab up FILE` makes one")
}

/// There are several labs, and none was named.
pub(crate) fn several(labs: &[folder::Folder]) -> Failure {
    let names: Vec<&str> = labs.iter().map(|folder| folder.name.as_str()).collect();
    Failure::usage(format!("there are several labs: {}", names.join(", ")))
        .with_hint(format!("name one: `--lab {}`, or NETLAB_LAB={}", names[0], names[0]))
}

/// An error of the kernel or of netlab-link, with its causes.
fn failed(error: impl Error) -> Failure {
    Failure::failed(chain(&error))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
