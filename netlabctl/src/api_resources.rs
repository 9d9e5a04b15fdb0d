// SPDX-License-Identifier: GPL-3.0-or-later
//! `api-resources`: the types of objects.

use clap::Args;
use netlab_api::resource::{API_VERSION, Kind};

use crate::failure::Failure;
use crate::output;
use crate::output::table::{Look, Table};

#[derive(Debug, Args)]
pub(crate) struct ApiResourcesArgs {
    /// No line of headers
    #[arg(long)]
    no_headers: bool,
    /// `name` prints the names alone
    #[arg(short, long, value_parser = ["name"])]
    output: Option<String>,
}

pub(crate) fn list(args: &ApiResourcesArgs) -> Result<(), Failure> {
    let mut kinds = Kind::ALL;
    kinds.sort_by_key(|kind| kind.plural());
    if args.output.is_some() {
        for kind in kinds {
            output::line(kind.plural());
        }
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]);
    for kind in kinds {
        table.rows.push(vec![
            kind.plural().to_owned(),
            kind.short_names().join(","),
            API_VERSION.to_owned(),
            kind.is_namespaced().to_string(),
            kind.name().to_owned(),
        ]);
    }
    let look = Look { headers: !args.no_headers, colour: false };
    output::text(&table.render(look, &mut Vec::new()));
    Ok(())
}
