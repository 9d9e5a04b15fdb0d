// SPDX-License-Identifier: GPL-3.0-or-later
//! What every command has: the client, the namespace, and how to print.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netlab_api::client::{Client, Patience, Transport};

use crate::cli::Global;
use crate::failure::{Failure, NOT_FOUND};
use crate::lab::folder::{self, Folder};
use crate::{lab, output, progress, terminal};

/// What every command has.
#[derive(Debug)]
pub(crate) struct Context {
    /// The daemon.
    pub(crate) client: Client,
    /// The namespace that names without one mean.
    pub(crate) namespace: String,
    /// Whether the user named it.
    pub(crate) namespace_given: bool,
    /// Whether stdout takes colours.
    pub(crate) colour: bool,
    /// Whether to print what does the same by hand.
    pub(crate) explain: bool,
    /// `--lab`.
    lab: Option<String>,
}

/// No request takes so long, save those that wait for something.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket of the machine's own daemon.
const SOCKET: &str = "/run/netlab/netlabd.sock";

impl Context {
    /// The daemon that the flags choose. With `is_own` the command needs none, and none is looked
    /// for.
    pub(crate) fn new(global: &Global, is_own: bool) -> Result<Context, Failure> {
        let socket = if is_own { SOCKET.into() } else { socket(global)? };
        let mut client = Client::new(Transport::Unix(socket)).with_patience(patience());
        if global.verbose > 0 {
            client = client.with_observer(Box::new(|exchange| {
                output::note(&format!(
                    "{} {} {} in {:.1} ms",
                    exchange.method,
                    exchange.path,
                    exchange.status,
                    exchange.took.as_secs_f64() * 1000.0,
                ));
            }));
        }
        // NO_COLOR: https://no-color.org
        let plain = global.no_color
            || terminal::is_dumb()
            || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Ok(Context {
            client,
            namespace: global.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            namespace_given: global.namespace.is_some(),
            colour: !plain && std::io::stdout().is_terminal(),
            explain: global.explain,
            lab: global.lab.clone(),
        })
    }

    /// A context of another daemon, with nothing said on the command line.
    pub(crate) fn of_socket(socket: PathBuf) -> Context {
        Context {
            client: Client::new(Transport::Unix(socket)),
            namespace: "default".to_owned(),
            namespace_given: false,
            colour: false,
            explain: false,
            lab: None,
        }
    }

    /// The lab that a command is about: the one named, or `--lab`, or the only one.
    pub(crate) fn lab(&self, name: Option<&str>) -> Result<Folder, Failure> {
        lab_of(name.or(self.lab.as_deref()))
    }
}

/// Tells once of a daemon that is there and does not answer.
fn patience() -> Patience {
    let told = AtomicBool::new(false);
    let tell = move || {
        if !told.swap(true, Ordering::Relaxed) {
            progress::clear_line();
            output::note(&format!(
                "netlabd has not answered for {} s; waiting goes on",
                PATIENCE.as_secs()
            ));
        }
    };
    Patience { time: PATIENCE, tell: Box::new(tell) }
}

/// The lab of this name, or the only one.
pub(crate) fn lab_of(name: Option<&str>) -> Result<Folder, Failure> {
    let folder = match name {
        Some(name) => Folder::of(name),
        None => match &folder::list()[..] {
            [] => return Err(lab::none()),
            [only] => only.clone(),
            several => return Err(lab::several(several)),
        },
    };
    if !folder.exists() {
        return Err(lab::unknown(&folder.name));
    }
    Ok(folder)
}

/// The socket that is meant: a lab's, when one is named; the machine's own, when it is there; or
/// that of the only lab.
fn socket(global: &Global) -> Result<PathBuf, Failure> {
    if let (Some(socket), None) = (&global.socket, &global.lab) {
        return Ok(socket.clone());
    }
    if global.lab.is_none() {
        let labs = folder::list();
        let has_own = Path::new(SOCKET).exists();
        match &labs[..] {
            // Whoever asks nobody is told so with the path.
            [] => return Ok(SOCKET.into()),
            [_, _, ..] if !has_own => return Err(lab::several(&labs)),
            _ if has_own && global.node.is_none() => return Ok(SOCKET.into()),
            [_only] => {}
            several => return Err(lab::several(several)),
        }
    }
    let folder = lab_of(global.lab.as_deref())?;
    let state = folder.state()?.unwrap_or_default();
    let nodes: Vec<&str> = state.plan.nodes().map(|node| node.name.as_str()).collect();
    let node = match &global.node {
        None => nodes.first().copied(),
        Some(name) => nodes.iter().copied().find(|node| node == name),
    };
    node.map(|node| folder.socket(node)).ok_or_else(|| {
        let named = global.node.as_ref().map(|node| format!(" `{node}`")).unwrap_or_default();
        let failure =
            Failure::new(NOT_FOUND, format!("error: lab `{}` has no node{named}", folder.name));
        match nodes.is_empty() {
            true => failure.with_hint("it is not built yet: `netlabctl lab up` finishes it"),
            false => failure.with_hint(format!("nodes: {}", nodes.join(", "))),
        }
    })
}
