// SPDX-License-Identifier: GPL-3.0-or-later
//! `proxy`: which layout of rules carries services, and the rules it makes.

mod show;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use netlab_api::ProxyMode;
use netlab_api::view::NetworkSettings;

use crate::by_hand;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::wait::SettleArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ProxyCommand {
    /// Show or change which layout of rules carries services
    ///
    /// nftables looks addresses up in maps: a packet costs the same however many services there
    /// are. iptables walks the chains that kube-proxy makes, under their names: to learn from and
    /// to compare with. Clients see no difference, and open connections stay.
    Mode(ModeArgs),
    /// Show the rules that packets to a service meet, each with what it does
    ///
    /// The rules are those of the node that answers (--node chooses one), in the order in which a
    /// packet meets them, for each address of the service; at the end stands what becomes of the
    /// addresses in the packet. --as shows the rules of either layout, whichever is in use.
    Show(show::ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ModeArgs {
    /// The mode to change to
    #[arg(value_name = "MODE", value_parser = PossibleValuesParser::new(ProxyMode::ALL.map(ProxyMode::as_str)))]
    mode: Option<String>,
    #[command(flatten)]
    settle: SettleArgs,
}

impl ProxyCommand {
    /// Whether it changes something.
    pub(crate) fn is_change(&self) -> bool {
        matches!(self, ProxyCommand::Mode(ModeArgs { mode: Some(_), .. }))
    }
}

pub(crate) async fn proxy(context: &Context, command: ProxyCommand) -> Result<(), Failure> {
    match command {
        ProxyCommand::Mode(args) => change_mode(context, args).await,
        ProxyCommand::Show(args) => show::show(context, args).await,
    }
}

async fn change_mode(context: &Context, args: ModeArgs) -> Result<(), Failure> {
    let ModeArgs { mode, settle } = args;
    let settings = context.client.network().await?;
    let before = settings.proxy_mode.unwrap_or_default();
    let Some(mode) = mode else {
        output::line(before.as_str());
        return Ok(());
    };
    let mode: ProxyMode = mode.parse().map_err(Failure::usage)?;
    let wanted = NetworkSettings { proxy_mode: Some(mode), ..settings };
    let now = context.client.set_network(&wanted).await?;
    if now.proxy_mode.unwrap_or_default() != mode {
        return Err(Failure::failed(format!("the server did not change the proxy mode to {mode}")));
    }
    // Also when it was so already: it may have been changed a moment ago.
    let revision = context.client.version().await?.revision;
    settle.programmed(context, revision).await?;
    output::line(&told(before, mode));
    by_hand::print_proxy(context).await
}

fn told(before: ProxyMode, mode: ProxyMode) -> String {
    match before == mode {
        true => format!("proxy mode {mode} unchanged"),
        false => format!("proxy mode {mode} configured, was {before}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_with_what_it_changed() {
        let (new, old) = (ProxyMode::Nftables, ProxyMode::Iptables);
        assert_eq!(told(old, new), "proxy mode nftables configured, was iptables");
        assert_eq!(told(new, new), "proxy mode nftables unchanged");
    }
}
