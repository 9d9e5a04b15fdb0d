// SPDX-License-Identifier: GPL-3.0-or-later
//! What every command has: the client, the namespace, and how to print.

use std::io::IsTerminal;

use netlab_api::client::{Client, Transport};

use crate::cli::Global;
use crate::{output, terminal};

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
}

impl Context {
    pub(crate) fn new(global: &Global) -> Context {
        let mut client = Client::new(Transport::Unix(global.socket.clone()));
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
        Context {
            client,
            namespace: global.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            namespace_given: global.namespace.is_some(),
            colour: !plain && std::io::stdout().is_terminal(),
        }
    }
}
