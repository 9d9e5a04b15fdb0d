// SPDX-License-Identifier: GPL-3.0-or-later
//! `node token`: what lets other machines join, made, listed and revoked.

use clap::{Args, Subcommand};
use netlab_api::Time;
use netlab_api::token::{IssuedToken, TokenInfo, TokenRequest};

use crate::context::Context;
use crate::failure::Failure;
use crate::output::age;
use crate::output::table::{Look, Table};
use crate::{duration, output, target};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: Option<TokenCommand>,
    #[command(flatten)]
    create: CreateArgs,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// List tokens, without their secrets
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Let nobody join with a token any more; nodes that did stay
    #[command(visible_aliases = ["rm", "delete"])]
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// How long it is good for: `30m`, `24h`, `7d` at most [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration::exact)]
    ttl: Option<std::time::Duration>,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// `wide` prints the command that joins, `json` all that is known
    #[arg(short, long, value_parser = ["wide", "json"])]
    output: Option<String>,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// No line of headers
    #[arg(long)]
    no_headers: bool,
    /// `json` prints all that is known
    #[arg(short, long, value_parser = ["json"])]
    output: Option<String>,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// Ids of tokens, as `node token list` tells them
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub(crate) async fn token(context: &Context, args: TokenArgs) -> Result<(), Failure> {
    match args.command {
        None => create(context, args.create).await,
        Some(TokenCommand::List(args)) => list(context, &args).await,
        Some(TokenCommand::Revoke(args)) => revoke(context, &args).await,
    }
}

async fn create(context: &Context, args: CreateArgs) -> Result<(), Failure> {
    let wish = TokenRequest {
        ttl_seconds: args.ttl.map(|ttl| ttl.as_secs()),
        description: args.description,
    };
    let issued = context.client.create_token(&wish).await?;
    match args.output.as_deref() {
        Some("json") => json(&issued)?,
        Some(_) => output::line(&join_command(&issued)),
        None => {
            output::line(&issued.token);
            // Beside the token, so that `TOKEN=$(netlabctl node token)` is the token alone.
            output::note(&format!("on another machine:  {}", join_command(&issued)));
        }
    }
    Ok(())
}

async fn list(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let tokens = context.client.tokens().await?;
    if args.output.is_some() {
        return json(&tokens);
    }
    if tokens.items.is_empty() {
        output::note("No tokens found");
        return Ok(());
    }
    let look = Look { headers: !args.no_headers, colour: false };
    output::text(&table(&tokens.items, Time::now()).render(look, &mut Vec::new()));
    Ok(())
}

async fn revoke(context: &Context, args: &RevokeArgs) -> Result<(), Failure> {
    for id in &args.ids {
        // Whoever pastes all of a token means its id.
        let id = id.split('_').nth(2).unwrap_or(id);
        target::check_name(id)?;
        let info = context.client.revoke_token(id).await?;
        output::line(&format!("token/{} revoked", info.id));
    }
    Ok(())
}

/// What to type on the machine that is to join.
fn join_command(issued: &IssuedToken) -> String {
    let server = issued.servers.first().map_or("https://HOST:7411", String::as_str);
    format!("netlabd --join {server} --token {}", issued.token)
}

fn table(tokens: &[TokenInfo], now: Time) -> Table {
    let mut table = Table::new(&["ID", "EXPIRES IN", "AGE", "DESCRIPTION"]);
    for token in tokens {
        table.rows.push(vec![
            token.id.clone(),
            age::human(token.expires.seconds_since(now) as i64),
            age::since(Some(token.created), now),
            token.description.clone(),
        ]);
    }
    table
}

fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))?;
    output::line(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: &str) -> TokenInfo {
        let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap().into();
        TokenInfo {
            id: id.to_owned(),
            description: "the racks".to_owned(),
            created: time("2026-11-25T10:00:00Z"),
            expires: time("2026-11-26T10:00:00Z"),
        }
    }

    #[test]
    fn the_list_shows_when_tokens_end_and_no_secret() {
        let now = "2026-11-25T12:00:00Z".parse::<jiff::Timestamp>().unwrap().into();
        let look = Look { headers: true, colour: false };
        let text = table(&[info("abcdef")], now).render(look, &mut Vec::new());
        let wanted = "ID       EXPIRES IN   AGE    DESCRIPTION\n\
                      abcdef   22h          120m   the racks\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn the_command_that_joins_can_be_pasted() {
        let issued = IssuedToken {
            token: "nlt1_x".to_owned(),
            info: info("abcdef"),
            servers: vec!["https://192.0.2.1:7411".to_owned(), "https://[fd00::1]:7411".to_owned()],
        };
        assert_eq!(join_command(&issued), "netlabd --join https://192.0.2.1:7411 --token nlt1_x");
    }
}
