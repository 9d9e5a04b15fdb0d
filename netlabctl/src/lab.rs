// SPDX-License-Identifier: GPL-3.0-or-later
//! `lab`: virtual nodes on this machine, made of network namespaces, each with a daemon.
//!
//! ```text
//! file ─► plan (pure) ─┐
//!                      ├─► difference (pure) ─► steps ─► kernel ─► daemons ─► objects
//! observed ────────────┘
//! ```

mod cgroup;
mod check;
mod daemon;
mod difference;
mod down;
mod eject;
mod fault;
pub(crate) mod folder;
mod graph;
mod kernel;
mod limit;
pub(crate) mod link;
mod plan;
mod probe;
mod process;
pub(crate) mod state;
mod step;
mod table;
mod up;
mod uplink;

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
    /// Check what the lab's file says must be true; exit code 1 when it is not, 2 without tests
    Test(check::TestArgs),
    /// Draw the lab
    Graph(graph::GraphArgs),
    /// Print a script of ip, nft and sysctl lines that builds the same network without netlab
    Eject(eject::EjectArgs),
    /// Forget what the command line said of links and partitions
    Reset {
        /// The lab; the only one unless given
        #[arg(value_name = "NAME")]
        lab: Option<String>,
    },
    /// Ends faults that were to last for a time
    #[command(hide = true)]
    RevertInTime {
        /// The lab
        lab: String,
    },
}

pub(crate) async fn lab(context: &Context, command: LabCommand) -> Result<(), Failure> {
    match command {
        LabCommand::Up(args) => up::up(context, args).await,
        LabCommand::Down(args) => down::down(context, &args),
        LabCommand::Ls => table::list(),
        LabCommand::Test(args) => check::test(context, args).await,
        LabCommand::Graph(args) => graph::graph(context, args).await,
        LabCommand::Eject(args) => eject::eject(context, args).await,
        LabCommand::Reset { lab } => link::reset(context, lab.as_deref()),
        LabCommand::RevertInTime { lab } => link::revert_in_time(context, &lab).await,
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

/// Names of a lab's machines, the router last.
pub(crate) fn machines(folder: &folder::Folder) -> Result<Vec<String>, Failure> {
    let state = folder.state()?.unwrap_or_default();
    let names = state.plan.machines.iter().map(|machine| machine.name.clone());
    Ok(names.chain([plan::ROUTER.to_owned()]).collect())
}

/// Does something in the network of a machine.
pub(crate) fn inside<T: Send>(
    folder: &folder::Folder,
    machine: &str,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Failure> {
    let netns = netlab_link::Netns::open(&folder.pin(machine)).map_err(failed)?;
    netns.run(work).map_err(failed)
}

/// An error of the kernel or of netlab-link, with its causes.
fn failed(error: impl Error) -> Failure {
    Failure::failed(chain(&error))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
