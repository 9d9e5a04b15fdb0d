// SPDX-License-Identifier: GPL-3.0-or-later
//! `lab down`: ends everything of a lab, however it was left.

use std::collections::BTreeSet;
use std::fs;

use clap::Args;

use super::folder::{self, Folder};
use super::process::Namespaces;
use super::{cgroup, limit, up, uplink};
use crate::context::Context;
use crate::failure::{Failure, NOT_FOUND};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Labs, by name or file; the only one unless given
    #[arg(value_name = "NAME|FILE")]
    labs: Vec<String>,
    /// All labs
    #[arg(long, conflicts_with = "labs")]
    all: bool,
    /// No error when there is no such lab
    #[arg(long)]
    ignore_not_found: bool,
}

pub(crate) fn down(context: &Context, args: &DownArgs) -> Result<(), Failure> {
    let folders = match (args.all, args.labs.is_empty()) {
        (true, _) => folder::list(),
        (false, false) => {
            let of = |word: &String| up::name_of(context, word).map(|name| Folder::of(&name));
            args.labs.iter().map(of).collect::<Result<_, _>>()?
        }
        (false, true) => match context.lab(None) {
            Err(_) if args.ignore_not_found && folder::list().is_empty() => Vec::new(),
            folder => vec![folder?],
        },
    };
    let mut failures = Vec::new();
    for folder in &folders {
        match remove(folder) {
            Ok(true) => output::line(&format!("lab/{} removed", folder.name)),
            Ok(false) if args.ignore_not_found => {}
            Ok(false) => failures.push(unknown(&folder.name)),
            Err(failure) => failures.push(failure),
        }
    }
    let last = failures.pop();
    failures.iter().for_each(Failure::report);
    last.map_or(Ok(()), Err)
}

/// There is no such lab.
pub(crate) fn unknown(name: &str) -> Failure {
    let failure = Failure::new(NOT_FOUND, format!("error: there is no lab `{name}`"));
    let labs: Vec<String> = folder::list().into_iter().map(|f| format!("`{}`", f.name)).collect();
    match labs.is_empty() {
        true => failure.with_hint("no lab is up; `netlabctl lab up FILE` makes one"),
        false => failure.with_hint(format!("labs: {}", labs.join(", "))),
    }
}

/// Removes a lab; whether there was one.
fn remove(folder: &Folder) -> Result<bool, Failure> {
    let Some(_lock) = folder.lock()? else {
        // A command that was killed may have left an empty folder.
        folder.remove()?;
        return Ok(false);
    };
    // Nodes with a folder, and those that were planned: either may be all that is left.
    let mut nodes: BTreeSet<String> = fs::read_dir(folder.run())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let state = folder.state().ok().flatten();
    if let Some(mut state) = state {
        uplink::remove(folder, &mut state)?;
        limit::restore(folder, &mut state)?;
        nodes.extend(state.plan.nodes().map(|node| node.name.clone()));
    }
    Namespaces::of(folder, None).kill()?;
    for node in &nodes {
        cgroup::remove(&folder.run_dir(node))?;
    }
    folder.remove()?;
    Ok(true)
}
